"""Fourier terms of time, worked out inside the graph: the place in the hour, day, week or year as waves.

A term of harmonic n of a period of P seconds at time t, in seconds since 1970 UTC, is sin and cos of 2 pi n t / P. The
remainder of n t by P is taken in int64, where nothing is lost; only the angle is float32.

Shapes: B batch, L steps, W waves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from data.calendar import DAY, YEAR, Calendar
from data.errors import InputError

PERIODS = {"hour": 3600, "day": DAY, "week": 7 * DAY, "year": YEAR}  # seconds

Waves = tuple[tuple[int, int], ...]  # (period in seconds, harmonic) of each; a wave is a sine and a cosine


def waves(asked: Mapping[Any, int], calendar: Calendar) -> Waves:
    """The waves of so many harmonics of each period; InputError for one no longer than a step of `calendar`."""
    found: list[tuple[int, int]] = []
    for name, period in PERIODS.items():
        harmonics = asked.get(name, 0)
        if harmonics and period <= harmonics * calendar.seconds:
            most = (period - 1) // calendar.seconds
            way_out = f"use {name}: {most} at most" if most else f"leave {name} out"
            raise InputError(
                f"features.fourier: {name}: {harmonics} has a wave of {period // harmonics} seconds, which the "
                f"table's step, {calendar.name}, is too long to show; {way_out}"
            )
        found += [(period, n) for n in range(1, harmonics + 1)]
    return tuple(found)


def compute(time_BL: Tensor, which: Waves) -> Tensor:
    """Seconds since 1970, int64 -> (B, L, 2 W) float32: sine and cosine of each wave in turn."""
    angles = []
    for period, n in which:
        place = (time_BL % period) * n % period  # in [0, period), also before 1970
        angles.append(place.float() * (2 * math.pi / period))
    angle_BLW = torch.stack(angles, dim=2)
    return torch.stack([angle_BLW.sin(), angle_BLW.cos()], dim=3).flatten(2)
