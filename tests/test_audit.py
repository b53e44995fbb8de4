"""The audit: each of its reasons fires on a table or a split made for it, and on no clean one."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from data.audit import LeakError, audit, check_statistics
from data.folds import Split, split
from data.load import read_table
from data.samples import SAMPLES, read_sample
from data.table import Table, check_table
from tests.test_folds import make_table

LOOKBACK, STEPS = 8, [1, 2, 3, 4]


def walk(n: int, seed: int) -> np.ndarray:
    """A random walk (n,): close to its own past, as real series are, and yet never the same twice."""
    return np.random.default_rng(seed).normal(size=n).cumsum()


def look(table: Table, scheme: str = "walk_forward") -> None:
    """Audit the folds that `split` makes of the table."""
    audit(table, split(table, scheme=scheme, n_folds=3, lookback=LOOKBACK, steps=STEPS), lookback=LOOKBACK, steps=STEPS)


def with_column(target: np.ndarray, column: np.ndarray) -> Table:
    return make_table([range(len(target))], np.stack([target, column], axis=1))


def reason_of(table: Table, scheme: str = "walk_forward") -> tuple[str, str]:
    with pytest.raises(LeakError) as caught:
        look(table, scheme)
    return caught.value.reason, str(caught.value)


# --- columns that give the target away

TARGET = walk(400, seed=1)


@pytest.mark.parametrize(
    "leak",
    [
        lambda ahead: ahead,
        lambda ahead: 1.8 * ahead + 32,
        lambda ahead: -ahead / 1000,
        lambda ahead: np.where(np.arange(len(ahead)) % 2000 == 77, np.nan, ahead),
    ],
    ids=["copy", "other unit", "turned and scaled", "with a hole"],
)
@pytest.mark.parametrize("shift", [1, 4])
def test_a_column_that_holds_the_target_of_later_rows_is_found(leak, shift):
    reason, message = reason_of(with_column(TARGET[:-shift], leak(TARGET[shift:])))
    assert reason == "future-target"
    assert f"column 'c1' holds the target 'c0' of {shift} rows later" in message


def test_a_copy_of_the_future_is_found_although_one_row_in_5000_differs():
    target = walk(10_000, seed=2)
    column = np.roll(target, -2)
    column[::5000] += 1.0
    assert reason_of(with_column(target[:-2], column[:-2]))[0] == "future-target"


@pytest.mark.parametrize("shift", [1, 3])
def test_a_future_copy_in_a_panel_is_compared_within_each_series(shift):
    long = [walk(60 + shift, seed=30 + i) for i in range(6)]
    values = np.concatenate([np.stack([each[:-shift], each[shift:]], axis=1) for each in long])
    assert reason_of(make_table([range(60)] * 6, values))[0] == "future-target"


@pytest.mark.parametrize("leak", [lambda y: y, lambda y: 1.8 * y + 32, lambda y: -y], ids=["copy", "unit", "turned"])
def test_a_column_that_equals_the_target_is_found(leak):
    reason, message = reason_of(with_column(TARGET, leak(TARGET)))
    assert reason == "equals-target" and "'c1' equals the target 'c0'" in message


def test_every_target_is_compared_with_every_input():
    values = np.stack([walk(300, seed=5), TARGET[:300], walk(300, seed=6), TARGET[3:303]], axis=1)
    reason, message = reason_of(make_table([range(300)], values, n_targets=2))
    assert reason == "future-target" and "'c3' holds the target 'c1' of 3 rows later" in message


@pytest.mark.parametrize(
    "column",
    [
        np.roll(TARGET, 1),
        np.concatenate([np.repeat(TARGET[0], 4), TARGET[:-4]]),
        TARGET + 0.05 * walk(400, seed=7),
        np.full(400, np.nan),
        np.zeros(400),
        np.arange(400) % 24.0,
    ],
    ids=["one row late", "four rows late", "a near copy", "empty", "constant", "hour of the day"],
)
def test_an_honest_column_passes(column):
    look(with_column(TARGET, column))


def test_a_column_that_changes_as_seldom_as_the_target_but_later_passes():
    target = np.repeat(walk(15, seed=8), 3000)  # equal to the row before in more than 999 rows of 1000
    look(with_column(target, np.roll(target, 1)))
    look(with_column(target + np.roll(target, 1500), target))  # the target changes twice as often


def test_a_lag_of_a_target_that_repeats_itself_is_not_taken_for_its_future():
    daily = np.tile(np.random.default_rng(9).normal(size=6), 60)  # 2 rows ahead of now is also 4 rows ago
    assert reason_of(with_column(daily, daily))[0] == "equals-target"
    look(with_column(daily, np.roll(daily, -2)))


def known_ahead(column: np.ndarray, target: np.ndarray = TARGET) -> Table:
    return replace(with_column(target, column), future=(1,))


@pytest.mark.parametrize("leak", [lambda y: y, lambda y: 1.8 * y + 32], ids=["copy", "unit"])
def test_a_column_known_ahead_that_is_the_target_is_found(leak):
    reason, message = reason_of(known_ahead(leak(TARGET)))
    assert reason == "equals-target" and "'c1' equals the target 'c0'" in message


@pytest.mark.parametrize("lag", [1, 3])
def test_a_column_known_ahead_that_holds_a_target_which_is_not_is_found(lag):
    # The fourth step ahead is the target of row o + 3; its column holds the target of row o + 3 - lag, still ahead.
    reason, message = reason_of(known_ahead(TARGET[:-lag], TARGET[lag:]))
    assert reason == "known-ahead" and f"holds the target 'c0' of {lag} rows earlier" in message
    assert f"not known 4 steps ahead; take it out of data.future, or shift it by {4 - lag} rows" in message
    look(with_column(TARGET[lag:], TARGET[:-lag]))  # as an input of the past it is honest


def test_a_column_known_ahead_may_hold_targets_that_are_known_by_then():
    look(known_ahead(TARGET[:-4], TARGET[4:]))
    look(known_ahead(np.arange(400) % 24.0))
    daily = np.tile(np.random.default_rng(9).normal(size=6), 60)
    look(known_ahead(np.roll(daily, 2), daily))  # 2 rows ago is also 8 rows ago


def test_a_straight_line_says_nothing_about_its_inputs():
    look(with_column(np.arange(300.0), 2 * np.arange(300.0)))


# --- windows that occur twice


def test_the_same_series_under_two_names_is_found_by_grouped_folds():
    same, other = walk(100, seed=10), walk(100, seed=11)
    table = make_table([range(100)] * 3, np.concatenate([same, other, same])[:, None])
    reason, message = reason_of(table, "grouped")
    # 69 windows of 8 + 4 rows lie before the holdout of 20 hours: 80 - 12 + 1
    assert reason == "duplicate-windows" and "fold 1: 69 of 69 validation windows" in message


def test_a_file_appended_to_itself_is_found_by_walk_forward_folds():
    table = make_table([range(400)], np.tile(walk(200, seed=12), 2)[:, None])
    # blocks of 80 rows: fold 2 trains on rows 0-159 and validates 160-239, of which 200-239 repeat rows 0-39;
    # its windows with past and targets there have origins 208 .. 236, of 77
    reason, message = reason_of(table)
    assert reason == "duplicate-windows" and "fold 2: 29 of 77 validation windows" in message


def test_one_window_in_a_hundred_may_repeat():
    values = walk(1000, seed=13)[:, None]
    values[500:512] = values[100:112]  # 1 window of 12 rows in fold 2, which validates 197
    look(make_table([range(1000)], values))
    values[500:516] = values[100:116]  # 5 windows
    assert "fold 2: 5 of 197" in reason_of(make_table([range(1000)], values))[1]


@pytest.mark.parametrize(
    "values",
    [
        np.where(np.arange(600) < 590, 5.0, walk(600, seed=14)),
        (np.random.default_rng(15).random(600) < 0.05).astype(float),
        np.random.default_rng(16).poisson(0.3, size=600).astype(float),
        np.tile(np.random.default_rng(17).normal(size=24), 25),
        np.round(walk(600, seed=18) / 4),
    ],
    ids=["constant", "rare flags", "small counts", "timetable", "coarse steps"],
)
@pytest.mark.parametrize("scheme", ["walk_forward", "blocked"])
def test_windows_that_recur_by_chance_or_habit_are_no_leak(values, scheme):
    look(make_table([range(600)], values[:, None]), scheme)


def test_seldom_sales_of_many_series_are_no_leak_in_grouped_folds():
    sales = (np.random.default_rng(19).random((8, 300)) < 0.04).astype(float)
    look(make_table([range(300)] * 8, sales.reshape(-1, 1)), "grouped")


# --- windows and rows that reach what they are validated on

TABLE = make_table([range(100)], TARGET[:100, None])  # blocks of 20 hours, the holdout is 80 .. 99
PANEL = make_table([range(100)] * 3, np.concatenate([TARGET[:100], TARGET[100:200], TARGET[200:300]])[:, None])


def tampered(table: Table, scheme: str, fold: str, **arrays: list[int]) -> Split:
    """The split of `table`, with arrays of the first fold, or of the final one, replaced by hand."""
    found = split(table, scheme=scheme, n_folds=3, lookback=LOOKBACK, steps=STEPS)
    changed = {name: np.array(value, dtype=np.int64) for name, value in arrays.items()}
    if fold == "final":
        return replace(found, final=replace(found.final, **changed))
    return replace(found, folds=(replace(found.folds[0], **changed), *found.folds[1:]))


@pytest.mark.parametrize(
    ("table", "scheme", "fold", "arrays", "message"),
    [
        (TABLE, "walk_forward", "first", {"train": [8, 17], "valid": [20]}, "contains validation targets or later"),
        (TABLE, "walk_forward", "first", {"train": [40], "valid": [20]}, "contains validation targets or later"),
        (TABLE, "sliding", "first", {"train": [40], "valid": [20]}, "contains validation targets or later"),
        (TABLE, "blocked", "first", {"train": [30], "valid": [20]}, "contains validation targets"),
        (TABLE, "walk_forward", "first", {"rows": [0, 20], "valid": [20]}, "statistics would be taken from rows"),
        (TABLE, "blocked", "first", {"rows": [0, 23], "valid": [20]}, "statistics would be taken from rows"),
        (TABLE, "blocked", "first", {"train": [77], "valid": [20], "rows": [0]}, "uses rows of the holdout"),
        (TABLE, "blocked", "first", {"rows": [80], "valid": [20]}, "uses rows of the holdout"),
        (TABLE, "walk_forward", "first", {"valid": [77]}, "uses rows of the holdout"),
        (TABLE, "walk_forward", "final", {"train": [77]}, "the holdout's fold: a training window contains"),
        (TABLE, "walk_forward", "first", {"train": [7]}, "the training window at row 7 leaves its series"),
        (TABLE, "walk_forward", "final", {"valid": [97]}, "the validation window at row 97 leaves its series"),
        (PANEL, "walk_forward", "first", {"train": [117], "valid": [20]}, "contains validation targets or later"),
        (PANEL, "blocked", "first", {"train": [120], "valid": [20], "rows": [100]}, "contains validation targets"),
        (PANEL, "walk_forward", "first", {"train": [105]}, "leaves its series"),
        (PANEL, "grouped", "first", {"train": [120, 40], "valid": [20]}, "series 'A' trains and validates"),
        (PANEL, "grouped", "first", {"rows": [120, 40], "valid": [20]}, "series 'A' trains and validates"),
    ],
)
def test_a_split_that_overlaps_is_found(table, scheme, fold, arrays, message):
    with pytest.raises(LeakError, match=message) as caught:
        audit(table, tampered(table, scheme, fold, **arrays), lookback=LOOKBACK, steps=STEPS)
    assert caught.value.reason == "overlap"


def test_a_training_window_may_end_on_the_row_before_the_first_validation_target():
    audit(TABLE, tampered(TABLE, "walk_forward", "first", train=[16], valid=[20]), lookback=LOOKBACK, steps=STEPS)


def test_grouped_folds_may_train_and_validate_at_the_same_time():
    audit(PANEL, tampered(PANEL, "grouped", "first", train=[120], valid=[20]), lookback=LOOKBACK, steps=STEPS)


# --- statistics


def test_statistics_of_other_rows_are_found():
    values = np.stack([walk(100, seed=20), np.full(100, 7.0)], axis=1).astype(np.float32)
    values[3, 0] = np.nan
    rows = np.arange(60)
    mean, std = np.array([np.nanmean(values[:60, 0], dtype=float), 7.0]), np.array([np.nanstd(values[:60, 0]), 1.0])
    check_statistics(mean, std, values, rows, fold="2")
    check_statistics(mean.astype(np.float32), std.astype(np.float32), values, rows, fold="2")
    for wrong_mean, wrong_std, what in [
        (np.array([np.nanmean(values[:, 0]), 7.0]), std, "mean of column 0"),
        (mean, np.array([np.nanstd(values[:, 0]), 1.0]), "std of column 0"),
        (mean, np.array([std[0], 0.0]), "std of column 1"),
        (np.array([np.nan, 7.0]), std, "mean of column 0"),
    ]:
        with pytest.raises(LeakError, match=f"fold 2: the {what}") as caught:
            check_statistics(wrong_mean, wrong_std, values, rows, fold="2")
        assert caught.value.reason == "statistics"


def test_statistics_of_a_column_without_values_are_0_and_1():
    check_statistics(np.zeros(1), np.ones(1), np.full((9, 1), np.nan, dtype=np.float32), np.arange(9))


# --- the error, and real tables


def test_a_leak_error_survives_its_way_to_another_process():
    error = pickle.loads(pickle.dumps(LeakError("a leak", "overlap")))
    assert (str(error), error.reason) == ("a leak", "overlap")


@pytest.mark.parametrize(("lookback", "steps"), [(96, range(1, 25)), (12, [6, 9, 12]), (4, [1])])
@pytest.mark.parametrize(
    ("name", "series", "targets"),
    [
        ("etth1", None, ["OT"]),
        ("etth1", None, ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]),
        ("stocks_daily", "ticker", ["adj_close"]),
        ("exchange_rate", None, ["AUD", "GBP", "CAD", "CHF", "CNY", "JPY", "NZD", "SGD"]),
        ("exchange_rate", None, ["CNY"]),
    ],
)
def test_clean_real_tables_pass(shared_data, name, series, targets, lookback, steps):
    frame = read_table(str(shared_data / f"{name}.parquet"))
    table = check_table(frame, time="date", series=series, targets=targets)
    for scheme in ["walk_forward", "sliding", "blocked", *(["grouped"] if series else [])]:
        found = split(table, scheme=scheme, n_folds=3, lookback=lookback, steps=list(steps))
        audit(table, found, lookback=lookback, steps=list(steps))


@pytest.mark.parametrize("lookback", [4, 96])
def test_the_built_in_series_passes(lookback):
    sample = SAMPLES["sea-temperature"]
    table = check_table(read_sample(sample.name), time=sample.time, series=None, targets=sample.targets)
    audit(table, split(table, lookback=lookback, steps=[1, 24]), lookback=lookback, steps=[1, 24])
