"""Times: reading them, finding the step they keep, and the gaps in it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from data.calendar import Calendar, find_calendar, find_gaps, show_time
from data.errors import InputError
from data.load import read_table
from data.times import read_times

HALF_HOUR = Calendar(unit="seconds", step=1800)
BUSINESS = Calendar(unit="business_day", step=1)
MONTH = Calendar(unit="month", step=1)


def seconds(*times: str) -> np.ndarray:
    return np.array(times, dtype="datetime64[s]").astype(np.int64)


def days(*times: str) -> np.ndarray:
    return seconds(*(f"2024-01-{day:0>2}" for day in times))


def find(time: np.ndarray) -> Calendar:
    return find_calendar(time, np.zeros(len(time), dtype=np.int64))


def gaps_of(calendar: Calendar, time: np.ndarray):
    return find_gaps(calendar, time, np.zeros(len(time), dtype=np.int64))


@pytest.mark.parametrize(
    ("time", "name"),
    [
        (np.arange(9) * 1, "second"),
        (np.arange(9) * 90, "90 seconds"),
        (np.arange(9) * 300, "5 minutes"),
        (np.arange(9) * 3600, "hour"),
        (np.arange(9) * 86_400, "day"),
        (np.arange(9) * 7 * 86_400, "week"),
        (days(*"12345", "08", "09"), "business day"),  # 1 January 2024 was a Monday
        (days(*"123456", "08", "09"), "day"),  # a row on a Saturday
        (seconds(*(f"2023-{month:02}-01" for month in range(1, 13))), "month"),
        (seconds("2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30"), "month"),
        (seconds("2023-01-31", "2023-04-28", "2023-07-31", "2023-10-31"), "quarter"),
        (seconds(*(f"{year}-07-01" for year in range(2015, 2025))), "year"),
        (np.array([0, 10, 25, 27, 60, 61]), "irregular"),
        (np.array([5]), "irregular"),
    ],
)
def test_the_calendar_is_the_one_by_which_most_steps_are_one(time, name):
    assert find(time.astype(np.int64)).name == name


def test_half_of_the_steps_must_be_regular():
    assert find(np.array([0, 10, 20, 23, 25])) == Calendar(unit="seconds", step=10)  # 2 of 4
    assert find(np.array([0, 10, 20, 23, 25, 26])) == Calendar(unit="row", step=1)  # 2 of 5


def test_differences_are_taken_inside_a_series_only():
    time, series = np.array([0, 60, 120, 10, 70]), np.array([0, 0, 0, 1, 1])
    calendar = find_calendar(time, series)
    assert calendar.name == "minute" and find_gaps(calendar, time, series).count == 0


def test_steps_count_from_the_first_time_by_the_calendar():
    assert HALF_HOUR.steps(seconds("2024-01-01T00:00", "2024-01-01T00:30", "2024-01-01T02:00")).tolist() == [0, 1, 4]
    assert BUSINESS.steps(days("4", "5", "8", "10")).tolist() == [0, 1, 2, 4]
    assert MONTH.steps(seconds("2024-01-31", "2024-02-29", "2024-05-31")).tolist() == [0, 1, 4]
    assert Calendar(unit="month", step=3).steps(seconds("2023-10-31", "2024-01-31")).tolist() == [0, 1]
    assert Calendar(unit="row", step=1).steps(np.array([3, 4, 100])).tolist() == [0, 1, 2]
    assert HALF_HOUR.steps(np.array([], dtype=np.int64)).tolist() == []


def test_times_that_jitter_count_to_the_nearest_step_and_never_less_than_one():
    time = np.array([0, 1803, 3597, 3600, 6299, 9000])  # strides of 1.002, 0.997, 0.002, 1.4994, 1.5006
    assert HALF_HOUR.strides(time).tolist() == [1, 1, 1, 1, 2]


def test_gaps_say_after_which_row_and_how_many_steps_are_missing():
    gaps = gaps_of(HALF_HOUR, np.array([0, 1800, 5400, 7200, 16_200]))
    assert gaps.after.tolist() == [1, 3] and gaps.missing.tolist() == [1, 4]
    assert gaps.count == 2 and gaps.longest == 4
    assert gaps_of(HALF_HOUR, np.array([0, 1800])).longest == 0


def test_four_missing_business_days_are_holidays_and_five_a_gap():
    assert gaps_of(BUSINESS, seconds("2001-09-10", "2001-09-17")).count == 0  # Tuesday to Friday
    assert gaps_of(BUSINESS, seconds("2001-09-10", "2001-09-18")).missing.tolist() == [5]


def test_an_irregular_calendar_knows_no_gap_and_no_later_time():
    irregular = Calendar(unit="row", step=1)
    assert gaps_of(irregular, np.array([0, 5, 900])).count == 0
    with pytest.raises(ValueError, match="irregular"):
        irregular.later(np.array([0]), np.array([1]))


def test_later_times_follow_the_calendar():
    def later(calendar: Calendar, start: str, count: int) -> str:
        return show_time(int(calendar.later(seconds(start), np.array([count]))[0]))

    assert later(HALF_HOUR, "2024-01-01T23:30", 1) == "2024-01-02"
    assert later(BUSINESS, "2024-01-05T16:00", 1) == "2024-01-08 16:00"
    assert later(MONTH, "2024-01-31", 1) == "2024-02-29"
    assert later(MONTH, "2024-02-29", 1) == "2024-03-31"
    assert later(MONTH, "2024-01-30", 1) == "2024-02-29"
    assert later(Calendar(unit="month", step=12), "2023-07-04T12:00", 2) == "2025-07-04 12:00"


# ---- reading


EPOCH = [1_704_067_200, 1_704_069_000]  # 2024-01-01 00:00 and 00:30


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.to_datetime(["2024-01-01 00:00", "2024-01-01 00:30"])),
        pd.Series(pd.to_datetime(["2024-01-01 01:00+01:00", "2024-01-01 01:30+01:00"])),
        pd.Series(["2024-01-01", "2024-01-01T00:30"]),
        pd.Series([" 2024-01", "2024-01-01 00:30:00.000"], dtype=object),
        pd.Series(["2023-12-31T23:00-0100", "2024-01-01T00:30Z"], dtype=object),
        pd.Series([pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01 00:30")], dtype=object),
        pd.Series(EPOCH),
        pd.Series(EPOCH, dtype=float),
        pd.Series(EPOCH) * 1000,
        pd.Series(EPOCH) * 1000 + 250,
    ],
)
def test_times_are_read_from_every_form_they_come_in(column):
    assert read_times(column, "t")[0].tolist() == EPOCH


def test_dates_are_midnight():
    assert read_times(pd.Series([date(2024, 1, 1)], dtype=object), "t")[0].tolist() == EPOCH[:1]


@pytest.mark.parametrize(
    ("column", "notice"),
    [
        (pd.Series(EPOCH), "Numbers in 't' were read as seconds since 1970."),
        (pd.Series(EPOCH) * 1000, "Numbers in 't' were read as milliseconds since 1970."),
        (pd.Series(["2024-01-01T00:00Z", "2024-01-01T00:00+01:00"]), "Times in 't' were converted to UTC."),
        (pd.Series(pd.to_datetime(["2024-01-01 00:00:00.5"])), "Times in 't' have fractions of a second"),
        (pd.Series(pd.to_datetime(["2024-01-01"])).dt.tz_localize("Asia/Tokyo"), "from Asia/Tokyo to UTC"),
    ],
)
def test_what_was_done_to_times_is_said(column, notice):
    assert notice in read_times(column, "t")[1][0]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (["2024-01-01", None], "data row 2 has no time"),
        (["2024-01-01", "02/01/2024"], "'02/01/2024' in data row 2 is no ISO date"),
        (["2024-01-01", "2024-02-30"], "'2024-02-30' in data row 2"),
        (["2024-01-01", "2024-01-01T25:00"], "data row 2"),
        (["now", "2024-01-01"], "'now' in data row 1"),
        (
            ["2024-01-01 00:00", "2024-01-01T01:00Z"],
            "'2024-01-01T01:00Z' in data row 2; write a zone on all or on none",
        ),
        ([1, 2], "number 1 in data row 1 is no time"),
        ([20240131, 20240201], "2024-01-31T18:30"),
        ([1_704_067_200, 2], "number 2 in data row 2"),
        ([1.7e9, np.inf], "number inf in data row 2"),
        ([1.7e9, np.nan], "data row 2 has no time"),
        ([1.7e15], "number 1700000000000000.0 in data row 1"),
        ([True, False], "holds booleans"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_with_its_row(values, part):
    with pytest.raises(InputError) as caught:
        read_times(pd.Series(values), "t")
    assert part in str(caught.value) and "'t'" in str(caught.value)


def test_times_are_shown_as_people_write_them():
    assert [show_time(second) for second in (0, 1800, 1801, -86_400)] == [
        "1970-01-01",
        "1970-01-01 00:30",
        "1970-01-01 00:30:01",
        "1969-12-31",
    ]


# ---- real tables


@pytest.mark.parametrize(
    ("file", "column", "name", "gaps"),
    [
        ("etth1", "date", "hour", []),
        ("exchange_rate", "date", "day", []),
        ("nab_elb_request_count", "timestamp", "5 minutes", [1] * 8),
    ],
)
def test_real_tables_have_the_step_and_the_gaps_their_makers_say(shared_data, file, column, name, gaps):
    time = read_times(read_table(str(shared_data / f"{file}.parquet"))[column], column)[0]
    calendar = find(time)
    assert calendar.name == name and gaps_of(calendar, time).missing.tolist() == gaps
