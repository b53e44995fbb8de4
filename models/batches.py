"""Windows of one table as batches on a device: a batch is one gather, and no window is stored.

Shapes: T rows, F columns, N windows, B batch, L lookback steps, H steps ahead, K targets (the first K columns).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Inputs = dict[str, Tensor]  # what a model takes, by name; the exported graph's inputs are named so, too


class Windows:
    """`gather(index (B,))` -> inputs and future (B, H, K), float32, raw, of the windows at `index`.

    The inputs by name, as a model takes them: "past" (B, L, F); with `future`, positions of G columns, "ahead"
    (B, H, G), their values at the target rows; with `time` (T,) int64, "time" (B, L) and "time_ahead" (B, H), that of
    the rows.

    `values` (T, F) float32 may be read-only and mapped from shared memory: it is never written. `origins` (N,) are the
    rows of the first target step; the past ends on the row before. `weight` (T,) says how much a row counts.
    """

    def __init__(
        self,
        values: Tensor | NDArray[np.float32],
        origins: NDArray[np.int64],
        *,
        lookback: int,
        steps: NDArray[np.int64],
        n_targets: int,
        future: Sequence[int] = (),
        time: NDArray[np.int64] | None = None,
        weight: NDArray[np.float32] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(origins) and (origins.min() < lookback or origins.max() + steps.max() > len(values)):
            raise ValueError(
                f"windows of {lookback} + {steps.max()} rows at origins {origins.min()}..{origins.max()} "
                f"leave a table of {len(values)} rows"
            )
        self.device = torch.device(device)
        self.steps = steps
        table_TF = as_tensor(values).to(self.device).contiguous()
        n_columns = table_TF.shape[1]
        self.origins = torch.from_numpy(np.ascontiguousarray(origins)).to(self.device)
        self.lookback = lookback
        # Each past is one contiguous run of L * F numbers, so that the gather copies whole runs.
        self.past = table_TF.as_strided((len(table_TF) - lookback + 1, lookback, n_columns), (n_columns, n_columns, 1))
        self.targets_TK = table_TF[:, :n_targets]
        self.table_TF = table_TF
        self.future_G = torch.tensor(future, dtype=torch.int64, device=self.device)
        self.time_T = None if time is None else as_tensor(time).to(self.device)
        self.ahead = torch.from_numpy(np.asarray(steps) - 1).to(self.device)
        self.weight_T = None if weight is None else as_tensor(weight).to(self.device)

    def __len__(self) -> int:
        return len(self.origins)

    def gather(self, index: Tensor) -> tuple[Inputs, Tensor]:
        origins = self.origins[index.to(self.device)]
        rows_BH = origins[:, None] + self.ahead
        inputs = {"past": self.past[origins - self.lookback]}
        if len(self.future_G):
            inputs["ahead"] = self.table_TF[rows_BH[:, :, None], self.future_G]
        if self.time_T is not None:
            back_L = torch.arange(-self.lookback, 0, device=self.device)
            inputs["time"], inputs["time_ahead"] = self.time_T[origins[:, None] + back_L], self.time_T[rows_BH]
        return inputs, self.targets_TK[rows_BH]

    @property
    def has_weights(self) -> bool:
        return self.weight_T is not None

    def weights(self, index: Tensor) -> Tensor | None:
        """(B,): what each window weighs, by the last row of its past; None where all weigh the same."""
        return None if self.weight_T is None else self.weight_T[self.origins[index.to(self.device)] - 1]

    def target_range(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value (K,) of each target over all windows and steps."""
        low = torch.full_like(self.targets_TK[0], torch.inf)
        high = -low
        for ahead in self.ahead if len(self.origins) else ():  # a step at a time: all at once may need gigabytes
            values_NK = self.targets_TK[self.origins + ahead]
            low, high = torch.minimum(low, values_NK.amin(dim=0)), torch.maximum(high, values_NK.amax(dim=0))
        return low, high

    def truth(self) -> NDArray[np.float32]:
        """Targets (N, H, K) of every window, in order."""
        answers: NDArray[np.float32] = self.targets_TK[self.origins[:, None] + self.ahead].cpu().numpy()
        return answers


def as_tensor(values: Tensor | NDArray[np.float32] | NDArray[np.int64]) -> Tensor:
    """The same memory as a tensor; nobody may write to it."""
    if isinstance(values, Tensor):
        return values
    with warnings.catch_warnings():  # torch warns that the array is read-only; nothing here writes to it
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(values))
