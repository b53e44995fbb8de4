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

_SIGNIFICANT = 4.0  # standard errors of an autocorrelation of noise; few enough chance hits among hundreds of lags
_WEAKEST = 0.1  # autocorrelation below which a season does not help a forecast, however long the series
_AS_GOOD = 0.9  # a shorter season with this part of the highest autocorrelation is the season itself


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
    """The last known value of each target before each origin, within its segment: (N, K); the mean where there is none."""
    return _history(values, origins, starts, means).last


def find_season(values: Floats, max_season: int) -> int:
    """The length in rows of the strongest repetition in values (T,), at most max_season; 1 where there is none.

    It is the lag of the highest local peak in the autocorrelation of the values' differences (which have no trend), if
    that peak cannot be chance, or the shortest lag that it is a multiple of and that is nearly as high. Three whole
    seasons must have been seen. Missing values (NaN) are left out; gaps between rows must have been filled with them.
    """
    changes = np.diff(np.asarray(values, np.float64))
    longest = min(max_season, len(values) // 3)
    if longest < 2:
        return 1
    correlation, pairs = _autocorrelation(changes, longest + 1)
    floor = np.maximum(_WEAKEST, _SIGNIFICANT / np.sqrt(np.maximum(pairs, 1)))
    lags = np.arange(2, longest + 1)
    here = correlation[lags]
    peak = (here > correlation[lags - 1]) & (here >= correlation[lags + 1]) & (here > floor[lags])
    peaks = lags[peak]
    if not len(peaks):
        return 1
    best = int(peaks[np.argmax(correlation[peaks])])
    for lag in peaks[peaks < best]:
        times = round(best / lag)
        if abs(best - times * lag) <= 1 and correlation[lag] >= _AS_GOOD * correlation[best]:
            return int(lag)
    return best


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


def _autocorrelation(values: Float64s, max_lag: int) -> tuple[Float64s, Float64s]:
    """Autocorrelation and number of known pairs at lags 0 to max_lag, by the fast Fourier transform."""
    known = np.isfinite(values)
    count = known.sum()
    centred = np.where(known, values, 0.0)
    centred = np.where(known, centred - centred.sum() / max(count, 1), 0.0)
    size = 1 << (len(values) + max_lag).bit_length()
    products, pairs = (
        np.fft.irfft(np.abs(np.fft.rfft(part, size)) ** 2, size)[: max_lag + 1] for part in (centred, known * 1.0)
    )
    pairs = np.round(pairs)
    variance = products[0] / max(count, 1)
    if variance <= 0:
        return np.zeros(max_lag + 1), pairs
    return np.where(pairs > 0, products / np.maximum(pairs, 1) / variance, 0.0), pairs
