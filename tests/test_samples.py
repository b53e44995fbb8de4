"""The built-in tables: they are there, they are what they say, and they pass their own checks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from data import samples
from data.errors import InputError
from data.load import read_table
from data.samples import SAMPLES, read_sample
from data.table import check_table


def test_every_sample_has_the_roles_it_names():
    for name, sample in SAMPLES.items():
        frame = read_sample(name)
        roles = [role for role in (sample.time, sample.series, *sample.targets) if role]
        assert sample.name == name and set(roles) <= set(frame.columns)
        assert sample.make or name == "stock-weeks" or list(frame.columns) == list(sample.columns.values())


def test_sea_temperature_is_every_30_minutes_with_two_gaps_of_1_and_23_steps():
    frame = read_sample("sea-temperature")
    assert list(frame.columns) == ["time", "temperature"] and len(frame) == 19_225  # 19,226 with the repeated time
    table = check_table(frame, time="time", series=None, targets=["temperature"])
    assert table.calendar.name == "30 minutes"
    assert (table.segments[:, 1] - table.segments[:, 0]).tolist() == [5_787, 1_128, 12_310]
    first = "the first after 2016-06-14 13:00 (1 missing)"
    longest = "the longest after 2016-07-08 01:30 (23 missing)"
    assert f"2 gaps, 24 steps missing in all; {first}, {longest}" in table.notices[1]


def test_sea_temperature_keeps_the_first_of_two_readings_at_one_time():
    frame = read_sample("sea-temperature").set_index("time")["temperature"]
    assert frame[pd.Timestamp("2017-03-21 16:30")] == 4.276


def test_stocks_are_the_panel_that_the_shared_copy_holds(shared_data):
    pd.testing.assert_frame_equal(
        read_sample("stocks"), read_table(str(shared_data / "stocks_daily.parquet")), check_dtype=False
    )


def test_titanic_has_557_unknown_ages():
    frame = read_sample("titanic")
    assert len(frame) == 1_313 and frame["age"].isna().sum() == 557
    assert sorted(frame["survived"].unique()) == [0, 1]


def test_an_unknown_sample_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"no sample 'sea-temp' \(did you mean 'sea-temperature'\?\); known: sea-"):
        read_sample("sea-temp")


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install bokeh-sampledata"):
        read_sample("stocks")


def test_reading_a_sample_imports_nothing_of_its_package():
    code = "import sys, data.samples as s; s.read_sample('titanic'); print('bokeh_sampledata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_stock_weeks_are_what_their_days_tell():
    days, weeks = read_sample("stocks"), read_sample("stock-weeks")
    assert list(weeks.columns) == [
        "ticker",
        "date",
        "trend",
        "log_price",
        "return",
        "volatility",
        "range",
        "log_volume",
    ]
    assert weeks["date"].dt.day_of_week.eq(4).all() and weeks["trend"].between(-1, 1).all()
    known = days[(days["ticker"] == "IBM") & (days["date"] <= "2010-06-11")]
    week = weeks[(weeks["ticker"] == "IBM") & (weeks["date"] == "2010-06-11")].iloc[0]
    price = np.log(known["adj_close"].to_numpy())
    assert week["log_price"] == price[-1] and week["return"] == pytest.approx(price[-1] - price[-6])
    assert week["trend"] == pytest.approx(np.corrcoef(price[-20:], np.arange(20))[0, 1])
    assert week["volatility"] == pytest.approx(np.diff(price[-6:]).std(ddof=1))
    five = known.tail(5)
    assert week["range"] == pytest.approx(((five["high"] - five["low"]) / five["close"]).mean())
    assert week["log_volume"] == pytest.approx(np.log(five["volume"].mean()))
