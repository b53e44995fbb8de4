"""Waves of time: as pandas has the calendar, exact in far centuries, and none that a step would hide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from data.calendar import DAY, YEAR, Calendar
from data.errors import InputError
from models import fourier

HOUR = Calendar(unit="seconds", step=3600)


def test_waves_equal_pandas_and_numpy() -> None:
    times = pd.date_range("1959-12-31 23:59:59", "2040-01-01", periods=1001).as_unit("s")
    seconds = times.to_numpy().astype(np.int64)
    which = fourier.waves({"year": 2, "day": 3}, HOUR)
    assert which == ((DAY, 1), (DAY, 2), (DAY, 3), (YEAR, 1), (YEAR, 2))
    found = fourier.compute(torch.from_numpy(seconds)[None], which)[0].numpy()
    assert found.shape == (1001, 10) and found.dtype == np.float32
    of_day = (times.hour * 3600 + times.minute * 60 + times.second).to_numpy() / 86_400
    of_year = (times.as_unit("s").asi8 % 31_556_952) / 31_556_952
    angles = 2 * np.pi * np.stack([of_day, 2 * of_day, 3 * of_day, of_year, 2 * of_year], axis=1)
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(1001, 10)
    assert np.abs(found - expected).max() < 2e-6


def test_waves_of_week_and_year_follow_the_calendar_of_people() -> None:
    times = pd.date_range("1969-01-01", "2040-01-01", freq="31h").as_unit("s")
    found = fourier.compute(torch.from_numpy(times.to_numpy().astype(np.int64))[None], ((7 * DAY, 1), (YEAR, 1)))[0]
    clock = (times.hour / 24).to_numpy()
    # The week's wave starts where 1970 did, on a Thursday; the year's, a mean one, keeps to within a day and a half.
    week = 2 * np.pi * ((times.day_of_week.to_numpy() - 3) % 7 + clock) / 7
    assert np.abs(found[:, :2].numpy() - np.stack([np.sin(week), np.cos(week)], axis=1)).max() < 2e-6
    year = 2 * np.pi * (times.day_of_year.to_numpy() - 1 + clock) / 365.2425
    assert np.abs(found[:, 2:].numpy() - np.stack([np.sin(year), np.cos(year)], axis=1)).max() < 2 * np.pi * 1.5 / 365


def test_a_year_of_a_far_century_loses_no_digit() -> None:
    late = torch.tensor([[10_000_000_000 * 31_556_952 + 31_556_952 // 4]])  # a quarter of a year, long after float64
    assert fourier.compute(late, ((YEAR, 1),))[0, 0].tolist() == pytest.approx([1, 0], abs=1e-6)


MONTH = Calendar(unit="month", step=1)


@pytest.mark.parametrize(
    ("asked", "calendar", "message"),
    [
        ({"hour": 1}, HOUR, "hour: 1 has a wave of 3600 seconds, .* step, hour, is too long to show; leave hour out"),
        ({"day": 24}, HOUR, "day: 24 has a wave of 3600 seconds, .*; use day: 23 at most"),
        ({"week": 1}, MONTH, "step, month, is too long to show; leave week out"),
        ({"year": 12}, MONTH, "use year: 11 at most"),
        ({"year": 1}, Calendar(unit="month", step=12), "leave year out"),
        ({"day": 1}, Calendar(unit="business_day", step=1), "leave day out"),
    ],
)
def test_a_wave_no_longer_than_a_step_is_refused(asked: dict[str, int], calendar: Calendar, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fourier.waves(asked, calendar)


def test_waves_that_a_step_shows_are_taken() -> None:
    assert fourier.waves({"day": 23}, HOUR)[-1] == (DAY, 23)
    assert fourier.waves({"hour": 1}, Calendar(unit="row", step=1)) == ((3600, 1),)  # no step is known
    assert fourier.waves({}, HOUR) == ()
