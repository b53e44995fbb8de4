"""Forecasts that need no training, the yardsticks of every leaderboard.

Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 5.2 (otexts.com/fpp3).
Shapes: T rows, N origins, H steps ahead, K targets. An origin is the row of the first target step, so row o - 1 is the
last that may be known, and step h is row o + h - 1. Missing values are NaN, and never looked at beyond o - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("last value", "seasonal naive", "drift", "mean")

Floats = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

_FEWEST = 3  # whole seasons that must have been seen
_CERTAIN = 9.0  # variance ratio that 99 in 100 series without a season stay below, at every length of 40 to 2,000 rows
_WEAKEST = 0.02  # share of variance below which a season is too weak to matter, however certain
_AS_GOOD = 0.9  # a season that divides the strongest one and explains this part of it is the season itself
_RARE = 3.0  # mean absolute deviations beyond which a value counts no more, so that a few outliers do not decide
_ENOUGH = 50  # of the longest seasons: rows before the last so many add nothing but time


def forecast(
    name: str,
    values: Floats,
    origins: Int64s,
    steps: Int64s,
    *,
    starts: Int64s,
    seasons: Int64s,
    means: Floats,
) -> NDArray[np.float32]:
    """Answers (N, H, K) float32 of baseline `name` in each target's unit.

    values (T, K), NaN for missing; origins (N,); steps (H,) from 1; starts (N,) the first row of each origin's segment,
    the farthest that may be looked back to; seasons (K,) in rows; means (K,) of the train rows.

    last value      the last known value, for every step
    seasonal naive  the latest known row in phase with the step; the last value where that row lies before the segment's
                    start or is missing
    drift           the line through the segment's first and last known values, continued
    mean            the mean of the train rows
    Where an origin's segment holds no known value before it, the answer is the mean.
    """
    if name not in NAMES:
        raise ValueError(f"no baseline {name!r}; known: {', '.join(NAMES)}")
    shape = (len(origins), len(steps), values.shape[1])
    if name == "mean":
        return np.broadcast_to(means, shape).astype(np.float32)
    history = _history(values, origins, starts, means)
    if name == "last value":
        answer = np.broadcast_to(history.last[:, None], shape)
    elif name == "drift":
        ahead_NH = origins[:, None] + steps - 1
        answer = history.last[:, None] + history.slope[:, None] * (ahead_NH[..., None] - history.last_row[:, None])
    else:
        back_HK = seasons * -(-steps[:, None] // seasons)  # whole seasons, at least as long as the step
        row_NHK = origins[:, None, None] + steps[:, None] - 1 - back_HK
        seen = values[np.maximum(row_NHK, 0), np.arange(shape[2])]
        usable = (row_NHK >= starts[:, None, None]) & np.isfinite(seen)
        answer = np.where(usable, seen, history.last[:, None])
    return answer.astype(np.float32)


def last_known(values: Floats, origins: Int64s, starts: Int64s, means: Floats) -> Float64s:
    """Each target's last known value before each origin, within its segment: (N, K); the mean where there is none."""
    return _history(values, origins, starts, means).last


def find_season(values: Floats, max_season: int = 400) -> int:
    """The length in rows of the strongest season in values (T,), oldest first, at most max_season; 1 if there is none.

    For each length m the trend, a moving average over m rows, is taken off; what remains is averaged by phase, and the
    share of its variance that these averages explain, less what chance would explain, is the strength of the season
    (in the spirit of FPP3 4.3). Of the lengths whose strength cannot be chance the strongest is returned, or the
    shortest that divides it and is nearly as strong. Autocorrelation was tried first: it takes noise for a season in
    series that measure in coarse units and misses a day in those that drift.

    values may be one segment, or the whole train part with missing rows as NaN. Three whole seasons must be there.
    """
    recent = np.asarray(values, np.float64)[-_ENOUGH * max(max_season, 2) :]
    lengths = np.arange(2, min(max_season, len(recent) // _FEWEST) + 1)
    found = np.array([_season_strength(recent, int(m)) for m in lengths]).reshape(-1, 2)
    strength, certainty = found[:, 0], found[:, 1]
    likely = (strength > _WEAKEST) & (certainty > _CERTAIN)
    if not likely.any():
        return 1
    best = int(np.argmax(np.where(likely, strength, 0.0)))
    divides = (lengths[best] % lengths == 0) & likely & (strength >= _AS_GOOD * strength[best])
    return int(lengths[divides][0])


@dataclass(frozen=True, kw_only=True, slots=True)
class _History:
    last: Float64s  # (N, K) last known value, or the mean
    last_row: Int64s  # (N, K) its row
    slope: Float64s  # (N, K) per row, from the first known value to the last; 0 where there are not two


def _history(values: Floats, origins: Int64s, starts: Int64s, means: Floats) -> _History:
    n_rows, n_targets = values.shape
    targets = np.arange(n_targets)
    own_row = np.arange(n_rows)[:, None]
    known = np.isfinite(values)
    before = np.maximum.accumulate(np.where(known, own_row, -1), axis=0)  # latest known row at or before each row
    after = np.minimum.accumulate(np.where(known, own_row, n_rows)[::-1], axis=0)[::-1]  # earliest at or after
    last_row, first_row = before[np.maximum(origins - 1, 0)], after[starts]
    some = (last_row >= starts[:, None]) & (last_row < origins[:, None])
    last_row, first_row = np.where(some, last_row, 0), np.where(some, first_row, 0)
    last = np.where(some, values[last_row, targets], means).astype(np.float64)
    rise = np.where(some, last - values[first_row, targets], 0.0)
    return _History(last=last, last_row=last_row, slope=rise / np.maximum(last_row - first_row, 1))


def _season_strength(values: Float64s, season: int) -> tuple[float, float]:
    """Share of the detrended variance that the phase explains, less chance's share, and its ratio to the rest."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    count = _moving_sum(known.astype(np.float64), season)
    trend = _moving_sum(filled, season) / np.maximum(count, 1)
    inside = slice(season // 2, season // 2 + len(trend))
    counts = known[inside] & (count >= season / 2)
    cycles = len(trend) // season
    if cycles < _FEWEST - 1:
        return 0.0, 0.0
    whole = slice(len(trend) - cycles * season, None)  # the latest
    counts = counts[whole].reshape(cycles, season)
    rest = np.where(counts, (filled[inside] - trend)[whole].reshape(cycles, season), 0.0)
    size = counts.sum(axis=0)
    usual = float(np.abs(rest).sum()) / max(int(size.sum()), 1)
    rest = rest.clip(-_RARE * usual, _RARE * usual)
    phase = rest.sum(axis=0) / np.maximum(size, 1)
    phase -= (phase * size).sum() / max(size.sum(), 1)
    total = float(np.square(rest).sum())
    if total <= 1e-12 * float(np.square(filled).sum()):  # nothing but the moving sum's rounding
        return 0.0, 0.0
    explained = float((size * np.square(phase)).sum()) / total
    strength = (explained - 1 / cycles) / (1 - 1 / cycles)
    return strength, cycles * strength / max(1 - strength, 1e-9)


def _moving_sum(values: Float64s, length: int) -> Float64s:
    total = np.concatenate([[0.0], np.cumsum(values)])
    moving: Float64s = total[length:] - total[:-length]
    return moving
