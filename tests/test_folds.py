"""Folds: worked examples for each scheme, and properties that hold for any table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from data.audit import audit
from data.calendar import Calendar
from data.errors import InputError
from data.folds import Fold, Split, smallest, split
from data.table import Table

HOUR = 3600


def make_table(
    ticks: Sequence[Sequence[int]], values: np.ndarray | None = None, *, n_targets: int = 1, seed: int = 0
) -> Table:
    """A table of hourly series, each given by the hours at which it has a row; a missing hour is a gap.

    `values` (T, F) are normal draws, one column, unless given.
    """
    hours = np.concatenate([np.asarray(each, dtype=np.int64) for each in ticks])
    series = np.repeat(np.arange(len(ticks)), [len(each) for each in ticks])
    if values is None:
        values = np.random.default_rng(seed).normal(size=(len(hours), 1))
    new = np.flatnonzero((np.diff(hours, prepend=-9) != 1) | (np.diff(series, prepend=-1) != 0))
    return Table(
        values=np.asarray(values, dtype=np.float32),
        names=tuple(f"c{i}" for i in range(values.shape[1])),
        n_targets=n_targets,
        time=hours * HOUR,
        clock=np.unique(hours, return_inverse=True)[1].astype(np.int64),
        series=series,
        series_names=("",) if len(ticks) == 1 else tuple("ABCDEFGHIJ"[: len(ticks)]),
        segments=np.stack([new, np.append(new[1:], len(hours))], axis=1),
        calendar=Calendar(unit="seconds", step=HOUR),
        notices=(),
        fingerprint="",
    )


def spans_in_hours(spans: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    return [(first // HOUR, last // HOUR) for first, last in spans]


def rows(start: int, stop: int) -> list[int]:
    """Rows start .. stop, both included: the way the worked examples are written down."""
    return list(range(start, stop + 1))


# --- worked examples: 20 hours, lookback 2, horizon 2; the holdout of 0.2 is hours 16 .. 19

EXAMPLE = {"n_folds": 3, "holdout": 0.2, "lookback": 2, "steps": [1, 2]}


def assert_fold(fold: Fold, *, train: list[int], valid: list[int], rows: list[int]) -> None:
    assert (fold.train.tolist(), fold.valid.tolist(), fold.rows.tolist()) == (train, valid, rows)
    assert fold.train.dtype == fold.valid.dtype == fold.rows.dtype == np.int64


def test_walk_forward_trains_on_all_that_came_before_each_block():
    found = split(make_table([range(20)]), scheme="walk_forward", **EXAMPLE)  # blocks 0-3, 4-7, 8-11, 12-15
    one, two, three = found.folds
    assert_fold(one, train=[2], valid=[4, 5, 6], rows=rows(0, 3))
    assert_fold(two, train=rows(2, 6), valid=[8, 9, 10], rows=rows(0, 7))
    assert_fold(three, train=rows(2, 10), valid=[12, 13, 14], rows=rows(0, 11))
    assert_fold(found.final, train=rows(2, 14), valid=[16, 17, 18], rows=rows(0, 15))
    assert [fold.name for fold in found.folds] == ["1", "2", "3"] and found.final.name == "holdout"
    assert spans_in_hours(two.train_spans) == [(0, 7)] and spans_in_hours(two.valid_spans) == [(8, 11)]
    assert spans_in_hours(found.final.valid_spans) == [(16, 19)]


def test_sliding_trains_on_as_much_as_the_first_block_holds():
    one, two, three = split(make_table([range(20)]), scheme="sliding", **EXAMPLE).folds
    assert_fold(one, train=[2], valid=[4, 5, 6], rows=rows(0, 3))
    assert_fold(two, train=[6], valid=[8, 9, 10], rows=rows(4, 7))
    assert_fold(three, train=[10], valid=[12, 13, 14], rows=rows(8, 11))
    assert spans_in_hours(three.train_spans) == [(8, 11)]


def test_blocked_trains_on_both_sides_of_each_block():
    one, two, three = split(make_table([range(20)]), scheme="blocked", **EXAMPLE).folds  # blocks 0-5, 6-10, 11-15
    assert_fold(one, train=rows(8, 14), valid=[2, 3, 4], rows=rows(6, 15))
    assert_fold(two, train=[2, 3, 4, 13, 14], valid=[6, 7, 8, 9], rows=rows(0, 5) + rows(11, 15))
    assert_fold(three, train=rows(2, 9), valid=[11, 12, 13, 14], rows=rows(0, 10))
    assert spans_in_hours(two.train_spans) == [(0, 5), (11, 15)]


def test_grouped_validates_on_series_that_do_not_train():
    table = make_table([range(10), range(10), range(4, 10)])  # A rows 0-9, B 10-19, C 20-25; holdout hours 8, 9
    found = split(table, scheme="grouped", n_folds=2, holdout=0.2, lookback=2, steps=[1, 2])
    # windows before the holdout: A 5 (origins 2-6), B 5 (12-16), C 1 (22). A to fold 1, B to fold 2, C to fold 1.
    one, two = found.folds
    assert_fold(one, train=rows(12, 16), valid=[*rows(2, 6), 22], rows=rows(10, 17))
    assert_fold(two, train=[*rows(2, 6), 22], valid=rows(12, 16), rows=rows(0, 7) + rows(20, 23))
    assert_fold(
        found.final,
        train=[*rows(2, 6), *rows(12, 16), 22],
        valid=[8, 18, 24],
        rows=rows(0, 7) + rows(10, 17) + rows(20, 23),
    )


def test_an_embargo_widens_the_gap_before_validation_and_before_the_holdout():
    table = make_table([range(21)])  # holdout 17-20, embargo 16, blocks 0-7 and 8-15
    (one,) = split(table, scheme="walk_forward", n_folds=1, holdout=0.2, embargo=1, lookback=2, steps=[1, 2]).folds
    assert_fold(one, train=rows(2, 5), valid=rows(8, 14), rows=rows(0, 6))


def test_an_embargo_lies_on_both_sides_of_a_block():
    table = make_table([range(24)])  # holdout 19-23, embargo 18, blocks 0-5, 6-11, 12-17
    two = split(table, scheme="blocked", n_folds=3, holdout=0.2, embargo=1, lookback=2, steps=[1, 2]).folds[1]
    assert_fold(two, train=[2, 3, 15, 16], valid=rows(6, 10), rows=rows(0, 4) + rows(13, 17))


def test_in_a_panel_one_moment_cuts_all_series():
    table = make_table([range(20), range(10, 20)])  # A rows 0-19, B rows 20-29 = hours 10-19; blocks 0-7, 8-15
    (one,) = split(table, n_folds=1, holdout=0.2, lookback=2, steps=[1, 2]).folds
    assert_fold(one, train=rows(2, 6), valid=[*rows(8, 14), *rows(22, 24)], rows=rows(0, 7))


def test_no_window_spans_a_gap():
    table = make_table([[*range(8), *range(9, 21)]])  # hour 8 is missing: rows 0-7 and 8-19
    (one,) = split(table, n_folds=1, holdout=0.2, lookback=2, steps=[1, 2]).folds  # blocks: rows 0-7, 8-15
    assert_fold(one, train=rows(2, 6), valid=rows(10, 14), rows=rows(0, 7))


def test_windows_with_an_unknown_target_are_left_out_and_their_rows_stay():
    values = np.arange(20.0)[:, None]
    values[[3, 13]] = np.nan
    (one,) = split(make_table([range(20)], values), n_folds=1, holdout=0.2, lookback=2, steps=[1, 2]).folds
    assert_fold(one, train=[4, 5, 6], valid=[8, 9, 10, 11, 14], rows=rows(0, 7))


def test_auto_is_walk_forward_for_one_series_and_for_a_panel():
    for table in (make_table([range(20)]), make_table([range(20), range(20)])):
        found = split(table, scheme="auto", **EXAMPLE)
        assert found.scheme == "walk_forward"
        assert [f.train.tolist() for f in found.folds] == [
            f.train.tolist() for f in split(table, scheme="walk_forward", **EXAMPLE).folds
        ]


# --- refusals

SCHEMES = ("walk_forward", "sliding", "blocked")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "walkforward"}, r"'walkforward' \(did you mean 'walk_forward'\?\)"),
        ({"n_folds": 0}, "at least 1 folds, got 0"),
        ({"scheme": "blocked", "n_folds": 1}, "at least 2 folds, got 1"),
        ({"holdout": 0.0}, "between 0 and 1"),
        ({"holdout": 1.0}, "between 0 and 1"),
        ({"embargo": -1}, "0 or more"),
        ({"lookback": 0}, "at least 1 row"),
        ({"steps": []}, "steps ahead"),
        ({"scheme": "grouped"}, "at least 3 series with a window before the holdout, the table has 1"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        split(make_table([range(20)]), **{**EXAMPLE, **change})


def test_a_short_table_is_told_the_smallest_number_that_would_do():
    # three folds need four blocks of lookback 2 + horizon 2 in the first 16 of 20 hours
    with pytest.raises(InputError) as caught:
        split(make_table([range(15)]), **EXAMPLE)
    least = smallest(scheme="auto", n_folds=3, holdout=0.2, embargo=0, lookback=2, horizon=2)
    assert str(caught.value) == (
        "3 walk_forward folds with lookback 2, horizon 2, embargo 0 and a holdout of 0.2 need at least "
        f"{least} time steps, the table has 15; use fewer folds or a shorter lookback or horizon"
    )


def test_smallest_is_right_by_hand():
    # blocks of 10 need 40 - 3 steps (37 = 10 + 9 + 9 + 9 puts the remainder first), 36 leaves 9 to each; 0.2 for later
    # is 9 of 46 and 9 of 45, so 46 steps leave 37 and 45 leave 36
    assert smallest(scheme="walk_forward", n_folds=3, holdout=0.2, embargo=0, lookback=8, horizon=2) == 46


@given(
    scheme=st.sampled_from([*SCHEMES, "grouped"]),
    n_folds=st.integers(2, 6),
    holdout=st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5, 0.9]),
    embargo=st.integers(0, 9),
    lookback=st.integers(1, 20),
    horizon=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_smallest_works_and_one_step_less_fails(scheme, n_folds, holdout, embargo, lookback, horizon):
    ask = {"scheme": scheme, "n_folds": n_folds, "holdout": holdout, "embargo": embargo, "lookback": lookback}
    least = smallest(**ask, horizon=horizon)
    n_series = n_folds if scheme == "grouped" else 1
    for more in range(4):
        split(make_table([range(least + more)] * n_series), **ask, steps=[horizon])
    with pytest.raises(InputError, match=f"at least {least} time steps, the table has {least - 1}"):
        split(make_table([range(least - 1)] * n_series), **ask, steps=[horizon])


def test_a_fold_emptied_by_a_gap_is_named():
    hours = [*range(8), *range(20, 23), *range(30, 33), *range(40, 50)]  # rows 8-10 and 11-13 are too short for 2 + 2
    with pytest.raises(InputError, match=r"fold 1 has no validation window: gaps .* no 4 unbroken rows"):
        split(make_table([hours]), n_folds=2, holdout=0.2, lookback=2, steps=[1, 2])


def test_a_holdout_without_known_targets_is_named():
    values = np.arange(20.0)[:, None]
    values[16:] = np.nan
    with pytest.raises(InputError, match="the holdout has no validation window"):
        split(make_table([range(20)], values), **EXAMPLE)


# --- properties


@st.composite
def tables(draw: st.DrawFn, *, min_series: int, n_hours: int) -> Table:
    """Series with different starts, gaps of different lengths, and some unknown values."""
    ticks = []
    for i in range(draw(st.integers(min_series, 4))):
        first = 0 if i == 0 else draw(st.integers(0, n_hours // 2))
        hours = set(range(first, n_hours))
        for _ in range(draw(st.integers(0, 2))):
            start = draw(st.integers(first, n_hours - 1))
            hours -= set(range(start, start + draw(st.integers(1, 5))))
        assume(hours)
        ticks.append(sorted(hours))
    n_rows = sum(map(len, ticks))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(n_rows, 2))
    values[draw(st.lists(st.integers(0, n_rows - 1), max_size=3)), 0] = np.nan
    return make_table(ticks, values)


def check_by_brute_force(table: Table, found: Split, *, n_folds, holdout, embargo, lookback, steps):
    """Every claim again, from rows and hours alone, window by window, and by no formula of the code under test."""
    hours, series = (table.time // HOUR).tolist(), table.series.tolist()
    moments = sorted(set(hours))
    place = {hour: i for i, hour in enumerate(moments)}
    n_kept = round(len(moments) * holdout)
    horizon = max(steps)

    def window(o: int) -> list[int]:
        return list(range(o - lookback, o + horizon))

    def ahead(o: int) -> list[int]:
        return list(range(o, o + horizon))

    def places(some_rows) -> set[int]:
        return {place[hours[row]] for row in some_rows}

    assert len(found.folds) == n_folds
    validated: list[tuple[int, int]] = []
    for fold in (*found.folds, found.final):
        train, valid, counted = fold.train.tolist(), fold.valid.tolist(), fold.rows.tolist()
        assert train and valid and counted
        for o in train + valid:
            assert {series[row] for row in window(o)} == {series[o]}
            assert [hours[row] for row in window(o)] == list(range(hours[o] - lookback, hours[o] + horizon))
            assert all(np.isfinite(table.values[o + step - 1, 0]) for step in steps)
        trained = {row for o in train for row in window(o)}
        targets = {row for o in valid for row in ahead(o)}
        assert trained <= set(counted) and not targets & trained and not targets & set(counted)
        first_target = min(places(targets))
        if fold is found.final or found.scheme in ("walk_forward", "sliding"):
            assert first_target - max(places(trained)) > embargo and first_target - max(places(counted)) > embargo
        elif found.scheme == "blocked":
            reach = {j + d for j in places(targets) for d in range(-embargo, embargo + 1)}
            assert not reach & places(counted)
            for o in train:
                assert not reach & set(range(min(places(window(o))), max(places(window(o))) + 1))
        else:
            assert not {series[row] for row in targets} & {series[row] for row in counted}
        if fold is found.final:
            assert first_target >= len(moments) - n_kept
        else:
            assert max(places(trained | targets | set(counted))) < len(moments) - n_kept - embargo
            validated += [(o, row) for o in valid for row in ahead(o)]
    assert len(validated) == len(set(validated))
    blocks = [{row for o in fold.valid.tolist() for row in ahead(o)} for fold in found.folds]
    assert sum(map(len, blocks)) == len(set().union(*blocks))


@given(data=st.data(), scheme=st.sampled_from(["walk_forward", "sliding", "blocked", "grouped"]))
@settings(max_examples=400, deadline=None)
def test_nothing_validated_reaches_what_trains(data, scheme):
    lookback, embargo = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 3))
    steps = sorted(data.draw(st.sets(st.integers(1, 4), min_size=1)))
    n_folds = data.draw(st.integers(2 if scheme in ("blocked", "grouped") else 1, 2 if scheme == "grouped" else 4))
    holdout = data.draw(st.sampled_from([0.1, 0.2, 0.35]))
    ask = {"n_folds": n_folds, "holdout": holdout, "embargo": embargo, "lookback": lookback}
    least = smallest(scheme=scheme, **ask, horizon=steps[-1])
    n_hours = least + data.draw(st.integers(0, 30)) + 12
    table = data.draw(tables(min_series=3 if scheme == "grouped" else 1, n_hours=n_hours))
    try:
        found = split(table, scheme=scheme, **ask, steps=steps)
    except InputError:
        reject()  # too many gaps; hypothesis complains should that be the rule
    check_by_brute_force(table, found, **ask, steps=steps)
    audit(table, found, lookback=lookback, steps=steps)
