"""Batches of windows, against windows written down by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.batches import Windows

# Row t holds [t, 10 t]; eight rows. For lookback 3 and steps 1 and 3:
#
#   row         0 1 2 3 4 5 6 7
#   origin 3    p p p f   f
#   origin 5        p p p f   f
VALUES = np.stack([np.arange(8), 10 * np.arange(8)], axis=1).astype(np.float32)


def make(values=VALUES, origins=(3, 5), *, lookback=3, steps=(1, 3), n_targets=1):
    return Windows(
        values, np.array(origins, np.int64), lookback=lookback, steps=np.array(steps), n_targets=n_targets, device="cpu"
    )


def gathered(windows, index):
    inputs, future = windows.gather(index)
    assert list(inputs) == ["past"]
    return inputs["past"], future


def test_a_batch_is_the_windows_at_its_index_in_its_order():
    past, future = gathered(make(), torch.tensor([1, 0]))
    assert past.tolist() == [[[2, 20], [3, 30], [4, 40]], [[0, 0], [1, 10], [2, 20]]]
    assert future.tolist() == [[[5], [7]], [[3], [5]]]
    assert past.dtype == future.dtype == torch.float32


def test_only_the_first_columns_are_targets():
    _, future = make(n_targets=2).gather(torch.tensor([0]))
    assert future.tolist() == [[[3, 30], [5, 50]]]


def test_chosen_steps_ahead_are_taken_and_no_others():
    _, future = make(origins=[2], lookback=2, steps=[2, 5, 6]).gather(torch.tensor([0]))
    assert future[0, :, 0].tolist() == [3, 6, 7]  # step 1 would be row 2


def test_the_truth_is_every_window_s_targets_in_order():
    truth = make().truth()
    assert truth.tolist() == [[[3], [5]], [[5], [7]]] and truth.dtype == np.float32
    assert len(make()) == 2


def test_what_is_known_ahead_is_gathered_at_the_target_rows():
    windows = Windows(
        VALUES, np.array([3, 5]), lookback=3, steps=np.array([1, 3]), n_targets=1, future=(1,), time=np.arange(8) * 60
    )
    inputs, _ = windows.gather(torch.tensor([1, 0]))
    assert list(inputs) == ["past", "ahead", "time", "time_ahead"]
    assert inputs["ahead"].tolist() == [[[50], [70]], [[30], [50]]]
    assert inputs["time"].tolist() == [[120, 180, 240], [0, 60, 120]]
    assert inputs["time_ahead"].tolist() == [[300, 420], [180, 300]]
    assert (inputs["ahead"].dtype, inputs["time"].dtype) == (torch.float32, torch.int64)


def test_a_window_may_be_asked_for_twice_or_not_at_all():
    windows = make()
    assert windows.gather(torch.tensor([0, 0]))[1].tolist() == [[[3], [5]], [[3], [5]]]
    past, future = gathered(windows, torch.tensor([], dtype=torch.int64))
    assert past.shape == (0, 3, 2) and future.shape == (0, 2, 1)


def test_a_batch_is_a_copy_and_the_table_is_not():
    values = VALUES.copy()
    windows = make(values)
    assert windows.past.data_ptr() == values.ctypes.data  # no window is stored
    past = windows.gather(torch.tensor([0]))[0]["past"]
    past += 1000
    assert (values == VALUES).all()


def test_a_read_only_table_is_taken_as_it_is():
    values = VALUES.copy()
    values.flags.writeable = False
    windows = make(values)  # a warning would be an error here
    assert windows.past.data_ptr() == values.ctypes.data
    assert windows.gather(torch.tensor([1]))[1].tolist() == [[[5], [7]]]


@pytest.mark.parametrize(
    "values",
    [np.asfortranarray(VALUES), torch.from_numpy(VALUES.T.copy()).T, np.repeat(VALUES, 2, axis=0)[::2]],
    ids=["columns first", "tensor, columns first", "every second row"],
)
def test_the_layout_of_the_table_in_memory_makes_no_difference(values):
    past, future = gathered(make(values), torch.tensor([1]))
    assert past.tolist() == [[[2, 20], [3, 30], [4, 40]]] and future.tolist() == [[[5], [7]]]


def test_the_first_and_the_last_window_that_fit_are_taken():
    windows = make(origins=[3, 5])
    past, future = gathered(windows, torch.tensor([0, 1]))
    assert past[0, 0].tolist() == [0, 0] and future[1, -1].tolist() == [7]


@pytest.mark.parametrize("origins", [[2], [6], [3, 6], [2, 5], [-1]])
def test_a_window_that_leaves_the_table_is_refused(origins):
    with pytest.raises(ValueError, match=r"windows of 3 \+ 3 rows at origins .* leave a table of 8 rows"):
        make(origins=origins)


def test_no_windows_are_no_fault():
    windows = make(origins=[])
    assert len(windows) == 0 and windows.truth().shape == (0, 2, 1)
