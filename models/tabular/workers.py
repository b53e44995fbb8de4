"""Which of how many processes grow a model of boosted trees together: each holds a share of the rows, and all have the
same trees. LightGBM and XGBoost exchange their histograms by themselves; one process alone is the plain thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np

from models.tabular.learning import Rows

_rank, _size = 0, 1
_holder: lightgbm.Booster | None = None


def join(rank: int, size: int, network: Mapping[str, Any] | None = None) -> None:
    """This process is the `rank`-th of `size`. `network` are LightGBM's parameters of the same name: num_machines,
    local_listen_port, machines; it waits there for the others. Those of XGBoost have met in its CommunicatorContext.
    """
    global _rank, _size, _holder
    _rank, _size = rank, size
    if network and size > 1:
        # The connection lives as long as the booster that opened it, and serves all others of the process.
        _holder = lightgbm.Booster(model_str=_any_model())
        _holder.set_network(**network)


def size() -> int:
    return _size


def share(rows: Rows) -> Rows:
    """This process's part."""
    if _size == 1:
        return rows
    mine = slice(_rank, None, _size)
    weight = None if rows.weight is None else rows.weight[mine]
    return Rows(matrix=np.ascontiguousarray(rows.matrix[mine]), target=rows.target[mine], weight=weight)


def _any_model() -> str:
    """LightGBM opens a connection for a booster alone, and for a booster there must be a model."""
    data = lightgbm.Dataset(np.arange(4.0)[:, None], np.arange(4.0), params={"verbose": -1})
    return str(lightgbm.train({"verbose": -1, "num_threads": 1}, data, 1).model_to_string())
