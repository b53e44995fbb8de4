"""What a metric is: a figure of answers and truth, with its unit, direction and source.

Shapes: N windows, H steps ahead, C classes, Q quantiles. Everything is computed in float64. What the truth leaves
undefined (a percentage of zeros only, R² of a constant) is NaN, without a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.heads import Heads

Floats = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a metric is computed from, of one target, float64."""

    truth: Float64s  # (N, H), in the target's unit, like predicted, last and quantiles
    predicted: Float64s  # (N, H)
    last: Float64s  # (N, 1): the last value known when the forecast is made
    mase_scale: float
    heads: Heads
    direction: Float64s | None = None  # (N, H, C) probabilities
    quantiles: Float64s | None = None  # (N, H, Q)

    @property
    def error(self) -> Float64s:
        return self.predicted - self.truth


Axis = Literal[0] | None  # 0: each step ahead on its own; None: all windows and steps together


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    name: str
    unit: Literal["target", "target^2", "%", "1"]
    direction: Literal["min", "max"]  # what is better
    source: str  # formula (y truth, p predicted) and reference
    compute: Callable[[Given, Axis], Float64s]
    head: Literal["value", "direction", "quantiles"] = "value"  # whose answers it judges

    @property
    def minimise(self) -> bool:
        return self.direction == "min"


def mean_of(values: Float64s, axis: Axis, where: NDArray[np.bool_] | None = None) -> Float64s:
    """Mean of those `where` is true; NaN where nothing is left."""
    if where is None:
        count = np.asarray(values.size if axis is None else values.shape[0], np.float64)
        total = values.sum(axis=axis)
    else:
        count = where.sum(axis=axis, dtype=np.float64)
        total = values.sum(axis=axis, where=where)
    mean: Float64s = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return mean
