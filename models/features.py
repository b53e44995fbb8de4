"""Features worked out of the raw window inside the graph, row by row as pandas would over the whole table.

| kind       | value at row t of a column x, for n steps | in pandas                             | scale |
|------------|-------------------------------------------|---------------------------------------|-------|
| lag        | x[t - n]                                  | x.shift(n)                            | level |
| average    | mean of the last n values                 | x.rolling(n).mean()                   | level |
| minimum    | smallest of the last n values             | x.rolling(n).min()                    | level |
| maximum    | largest of the last n values              | x.rolling(n).max()                    | level |
| difference | x[t] - x[t - n]                           | x.diff(n)                             | own   |
| return     | x[t] / x[t - n] - 1                       | x.pct_change(n)                       | own   |
| deviation  | standard deviation of the last n          | x.rolling(n).std(ddof=0)              | own   |
| volatility | the same of the last n one-step returns   | x.pct_change().rolling(n).std(ddof=0) | own   |

A feature is missing where a value that it needs is missing (pandas too, with fill_method=None), or where it would
divide by zero. What is a level lives on
its column's scale, and moves with what normalisation takes off the window; the others are scaled by their own train
rows. So that the first row of the window has its features, too, `reach` more rows stand before it.

Shapes: B batch, R rows of reach, L lookback steps, T rows, F columns, P features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LEVELS = ("lag", "average", "minimum", "maximum")
KINDS = {  # field of `Features` -> kind
    "lags": "lag",
    "averages": "average",
    "minima": "minimum",
    "maxima": "maximum",
    "differences": "difference",
    "returns": "return",
    "deviations": "deviation",
    "volatilities": "volatility",
}


_SPANS = ("averages", "minima", "maxima", "deviations", "volatilities")  # over one step they say nothing new


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Which features, each over so many steps, of which columns (positions in the table). Empty: none."""

    columns: tuple[int, ...] = ()
    lags: tuple[int, ...] = ()
    averages: tuple[int, ...] = ()
    minima: tuple[int, ...] = ()
    maxima: tuple[int, ...] = ()
    differences: tuple[int, ...] = ()
    returns: tuple[int, ...] = ()
    deviations: tuple[int, ...] = ()
    volatilities: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name == "columns" else 2 if field.name in _SPANS else 1
            for value in getattr(self, field.name):
                if value < least:
                    raise ValueError(f"{field.name} must be at least {least}, got {value}")

    @property
    def each(self) -> tuple[tuple[str, int], ...]:
        """(kind, steps), in the order in which their values stand; each for all columns."""
        return tuple((kind, n) for name, kind in KINDS.items() for n in getattr(self, name)) if self.columns else ()

    @property
    def reach(self) -> int:
        """Rows before the window's first one that its features need."""
        return max((_reach(kind, n) for kind, n in self.each), default=0)

    @property
    def levels(self) -> NDArray[np.bool_]:
        """(P,): whether a feature lives on its column's scale."""
        return np.repeat([kind in LEVELS for kind, _ in self.each], len(self.columns)).astype(bool)

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """(P,), such as "load average 24"."""
        return tuple(f"{columns[i]} {kind} {n}" for kind, n in self.each for i in self.columns)


NO_FEATURES = Features()


def compute(raw_BTF: Tensor, scaled_BTF: Tensor, features: Features) -> tuple[Tensor, Tensor]:
    """All features (B, T - R, P) and whether each is known, of rows R, R + 1, ... of `raw` and of the same rows scaled.

    Both have 0 where a raw value is missing; NaN in `raw` says where. Levels come in the scaled columns' units,
    differences and deviations likewise, returns and volatility as they are.
    """
    chosen = list(features.columns)
    raw, x = raw_BTF[:, :, chosen], scaled_BTF[:, :, chosen]
    missing = (raw - raw) != 0
    raw = torch.where(missing, torch.nan, raw)  # an infinite value is missing, too
    rows = raw.shape[1] - features.reach
    values, gone = [], []
    for kind, n in features.each:
        value, without = _feature(kind, n, raw, x, missing)
        values.append(torch.where(without, 0.0, value)[:, -rows:])
        gone.append(without[:, -rows:])
    return torch.cat(values, dim=2), ~torch.cat(gone, dim=2)


def _feature(kind: str, n: int, raw: Tensor, x: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """One kind for all columns, (B, at most T, P) ending with the last row, and where it is missing."""
    match kind:
        case "lag":
            return x[:, :-n], missing[:, :-n]
        case "difference":
            return x[:, n:] - x[:, :-n], missing[:, n:] | missing[:, :-n]
        case "return":
            return _returns(raw, n)
        case "volatility":
            returns, without = _returns(raw, 1)
            return _deviation(returns, n), _pooled("maximum", without.float(), n) > 0
    without = _pooled("maximum", missing.float(), n) > 0
    return _deviation(x, n) if kind == "deviation" else _pooled(kind, x, n), without


def over_table(
    values: NDArray[np.float32],
    scaled: NDArray[np.float32],
    segments: NDArray[np.int64],
    features: Features,
) -> NDArray[np.float32]:
    """(T, P): the features of every row of a table, NaN where missing; no feature reaches across a segment's start."""
    found = np.full((len(values), len(features.each) * len(features.columns)), np.nan, np.float32)
    for start, stop in segments if features.each else ():
        if stop - start <= features.reach:
            continue
        raw, x = (torch.from_numpy(np.ascontiguousarray(each[start:stop]))[None] for each in (values, scaled))
        value, known = compute(raw, x, features)
        found[start + features.reach : stop] = torch.where(known, value, torch.nan)[0].numpy()
    return found


def _reach(kind: str, n: int) -> int:
    return n - 1 if kind in ("average", "minimum", "maximum", "deviation") else n  # the row itself counts


def _returns(raw: Tensor, n: int) -> tuple[Tensor, Tensor]:
    value = raw[:, n:] / raw[:, :-n] - 1.0
    without = (value - value) != 0  # a value is missing, or it divided by zero
    return torch.where(without, 0.0, value), without


def _pooled(kind: str, x: Tensor, n: int) -> Tensor:
    """(B, T, P) -> (B, T - n + 1, P): average, minimum or maximum of each n values in a row."""
    x_BPT = x.transpose(1, 2)
    if kind == "average":
        pooled = functional.avg_pool1d(x_BPT, n, stride=1)
    elif kind == "maximum":
        pooled = functional.max_pool1d(x_BPT, n, stride=1)
    else:
        pooled = -functional.max_pool1d(-x_BPT, n, stride=1)
    return pooled.transpose(1, 2)


def _deviation(x: Tensor, n: int) -> Tensor:
    """(B, T, P) -> (B, T - n + 1, P): of each n values in a row, from their own mean.

    Spans of 1, 2, 4, ... steps are joined until they are n long (Chan, Golub & LeVeque 1983,
    doi.org/10.1080/00031305.1983.10483115): a difference of running sums would lose its digits, and every span for
    itself takes n times the memory.
    """
    part, whole = _Spans(x, torch.zeros_like(x), 1), None
    while True:
        if n & part.steps:
            whole = part if whole is None else whole.followed_by(part)
        if 2 * part.steps > n:
            break
        part = part.followed_by(part)
    assert whole is not None
    return (whole.squares / n).sqrt()


@dataclass(frozen=True, slots=True)
class _Spans:
    """All spans of so many steps in a row: their means, and their sums of squares from it; (B, T - steps + 1, P)."""

    mean: Tensor
    squares: Tensor
    steps: int

    def followed_by(self, other: _Spans) -> _Spans:
        a, b = self.steps, other.steps
        count = other.mean.shape[1] - a
        mean, squares = self.mean[:, :count], self.squares[:, :count]
        apart = other.mean[:, a:] - mean
        return _Spans(
            mean + apart * (b / (a + b)),
            squares + other.squares[:, a:] + apart.square() * (a * b / (a + b)),
            a + b,
        )
