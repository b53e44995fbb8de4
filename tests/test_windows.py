"""Windows: which rows may start one, and that pasts and futures are the rows they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.windows import check_steps, future_values, origins, past_view, with_known_targets

VALUES = np.arange(10, dtype=np.float32).reshape(5, 2)  # rows (0, 1), (2, 3), (4, 5), (6, 7), (8, 9)


def test_origins_leave_lookback_before_and_horizon_after_in_each_segment():
    segments = np.array([[0, 6], [6, 10], [10, 15]])
    assert origins(segments, lookback=3, horizon=2).tolist() == [3, 4, 13]


def test_a_segment_of_exactly_lookback_and_horizon_has_one_origin():
    assert origins(np.array([[7, 12]]), lookback=3, horizon=2).tolist() == [10]


def test_no_segment_or_only_short_ones_give_no_origins():
    assert origins(np.zeros((0, 2), dtype=np.int64), lookback=1, horizon=1).tolist() == []
    short = origins(np.array([[0, 4], [4, 8]]), lookback=3, horizon=2)
    assert short.tolist() == [] and short.dtype == np.int64


@given(
    lengths=st.lists(st.integers(0, 12), max_size=6),
    lookback=st.integers(1, 5),
    horizon=st.integers(1, 5),
)
def test_origins_are_those_found_by_trying_every_row(lengths, lookback, horizon):
    stops = np.cumsum(lengths, dtype=np.int64)
    segments = np.stack([stops - lengths, stops], axis=1).astype(np.int64) if lengths else np.zeros((0, 2), np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    expected = [
        o
        for o in range(lookback, len(owner) - horizon + 1)
        if len(set(owner[o - lookback : o + horizon].tolist())) == 1
    ]
    assert origins(segments, lookback=lookback, horizon=horizon).tolist() == expected


@pytest.mark.parametrize(("lookback", "horizon"), [(0, 1), (1, 0), (-3, 2)])
def test_windows_without_past_or_future_are_refused(lookback, horizon):
    with pytest.raises(InputError, match="at least 1 row"):
        origins(np.array([[0, 9]]), lookback=lookback, horizon=horizon)


def test_past_of_an_origin_ends_on_the_row_before_it():
    past = past_view(VALUES, 3)
    assert past.shape == (3, 3, 2)
    assert past[4 - 3].tolist() == [[2, 3], [4, 5], [6, 7]]  # origin 4: rows 1, 2, 3


def test_past_is_a_view_that_cannot_be_written():
    past = past_view(VALUES, 2)
    assert np.shares_memory(past, VALUES)
    with pytest.raises(ValueError, match="read-only"):
        past[0, 0, 0] = 1


@pytest.mark.parametrize("lookback", [0, 6])
def test_a_past_longer_than_the_table_is_refused(lookback):
    with pytest.raises(InputError, match=f"between 1 and the table's 5 rows, got {lookback}"):
        past_view(VALUES, lookback)


def test_step_one_is_the_origin_itself():
    future = future_values(VALUES[:, :1], np.array([1, 2]), np.array([1, 3]))
    assert future[..., 0].tolist() == [[2, 6], [4, 8]]  # rows 1 and 3, rows 2 and 4


def test_last_window_ends_on_the_last_row():
    last = origins(np.array([[0, 5]]), lookback=2, horizon=2)[-1:]
    assert past_view(VALUES, 2)[last - 2][0, :, 0].tolist() == [2, 4]
    assert future_values(VALUES[:, :1], last, np.array([1, 2]))[0, :, 0].tolist() == [6, 8]


def test_an_unknown_target_removes_only_the_windows_that_ask_for_it():
    values = np.zeros((8, 1), dtype=np.float32)
    values[5] = np.nan
    every = np.array([2, 3, 4, 5])
    assert with_known_targets(values, every, np.array([1, 2, 3])).tolist() == [2]  # 3, 4, 5 reach row 5
    assert with_known_targets(values, every, np.array([1, 3])).tolist() == [2, 4]  # 4 asks for rows 4 and 6


def test_a_window_needs_every_target_column():
    values = np.array([[0, 0], [0, np.inf], [0, 0]], dtype=np.float32)
    assert with_known_targets(values, np.array([0, 1, 2]), np.array([1])).tolist() == [0, 2]


@pytest.mark.parametrize("steps", [[], [0, 1], [2, 1], [1, 1], [1.5], [[1, 2]]])
def test_steps_that_are_not_increasing_whole_numbers_from_one_are_refused(steps):
    with pytest.raises(InputError, match="steps ahead"):
        check_steps(steps)


def test_steps_may_leave_some_out():
    assert check_steps([6, 9, 12]).tolist() == [6, 9, 12]
    assert check_steps(range(1, 4)).dtype == np.int64
