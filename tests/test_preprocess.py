"""What the graph does to raw columns before the network and to its answer after it, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from models.layout import PLAIN
from models.preprocess import FARTHEST, LIMIT, NORMALISATIONS, Forecaster
from models.scaling import Statistics

NAN, INF = math.nan, math.inf


class Probe(nn.Module):
    """A network that keeps what it sees and answers a constant for two steps of one target."""

    def __init__(self, answer: float = 0.0) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x_BLC):
        self.seen = x_BLC
        return torch.full((len(x_BLC), 2, 1, 1), self.answer)


def forecaster(normalisation="none", *, mean=(10.0, 100.0), std=(2.0, 50.0), flagged=(), answer=0.0):
    statistics = Statistics(mean=np.array(mean), std=np.array(std), flagged=flagged)
    return Forecaster(Probe(answer), statistics, 1, normalisation)


def look(model, rows):
    """What the network saw of one window (C, L), and what was answered for it."""
    answer = model(torch.tensor([rows], dtype=torch.float32))
    assert answer.shape == (1, 2, 1) and answer.dtype == torch.float32
    return model.network.seen[0].T.tolist(), answer[0, :, 0].tolist()


# --- statistics

TABLE = np.array([[1, 10, 7, NAN], [3, NAN, 7, NAN], [5, 30, 7, NAN], [99, 99, 99, 99]], np.float32)


def test_statistics_are_those_of_the_given_rows():
    found = Statistics.fit(TABLE, np.array([0, 1, 2]))
    assert found.mean.tolist() == [3, 20, 7, 0]
    # (4 + 0 + 4) / 3; (100 + 100) / 2, the missing row left out; a constant; nothing known
    assert found.std.tolist() == pytest.approx([math.sqrt(8 / 3), 10, 1, 1], abs=1e-15)
    assert found.flagged == (1, 3)
    assert found.mean.dtype == found.std.dtype == np.float64


def test_other_rows_have_other_statistics():
    found = Statistics.fit(TABLE, np.array([0, 3]))
    assert found.mean.tolist() == [50, 54.5, 53, 99] and found.flagged == (3,)
    assert found.std.tolist() == [49, 44.5, 46, 1]


def test_infinities_count_as_missing():
    values = np.array([[1, INF], [3, 2], [5, -INF]], np.float32)
    found = Statistics.fit(values, np.arange(3))
    assert found.mean.tolist() == [3, 2] and found.std[1] == 1 and found.flagged == (1,)


def test_a_far_off_constant_is_constant_and_a_far_off_wave_is_not():
    values = np.full((1000, 2), 1e8, np.float32)
    values[::2, 1] += 64  # float32 steps by 8 here
    found = Statistics.fit(values, np.arange(1000))
    assert found.std.tolist() == [1, 32] and found.mean.tolist() == [1e8, 1e8 + 32]


def test_sums_do_not_lose_digits():
    values = np.full((200_000, 1), 16_777_217, np.float64).astype(np.float32) + np.float32(2)
    assert Statistics.fit(values, np.arange(len(values))).mean[0] == float(values[0, 0])


# --- what the network sees, and what comes back: mean 10 and std 2; mean 100 and std 50

WINDOW = [[12, 100], [14, 200], [18, 50]]  # scaled: 1 2 4 and 0 2 -1


def test_without_normalisation_columns_are_scaled_and_the_answer_unscaled():
    seen, answer = look(forecaster("none", answer=1.5), WINDOW)
    assert seen == [[1, 2, 4], [0, 2, -1]]
    assert answer == [13, 13]  # 1.5 * 2 + 10


def test_the_last_value_is_taken_off_and_given_back():
    seen, answer = look(forecaster("last", answer=0.5), WINDOW)
    assert seen == [[-3, -2, 0], [1, 3, 0]]
    assert answer == [19, 19]  # (0.5 + 4) * 2 + 10: the last value, 18, and half a deviation


def test_mean_and_deviation_are_taken_off_and_given_back():
    seen, answer = look(forecaster("mean_std", answer=1.0), WINDOW)
    mean, deviation = 7 / 3, math.sqrt(14 / 9 + 1e-5)  # 1 2 4: (16 + 1 + 25) / 9 / 3
    assert seen[0] == pytest.approx([(x - mean) / deviation for x in (1, 2, 4)], rel=1e-6)
    mean_2, deviation_2 = 1 / 3, math.sqrt(14 / 9 + 1e-5)  # 0 2 -1: (1 + 25 + 16) / 9 / 3
    assert seen[1] == pytest.approx([(x - mean_2) / deviation_2 for x in (0, 2, -1)], rel=1e-6)
    assert answer == pytest.approx([10 + 2 * (mean + deviation)] * 2, rel=1e-6)


def test_the_last_value_is_taken_off_and_the_deviation_divided_out():
    seen, answer = look(forecaster("last_std", answer=1.0), WINDOW)
    deviation = math.sqrt(14 / 9 + 1e-5)  # around the mean, as above
    assert seen[0] == pytest.approx([-3 / deviation, -2 / deviation, 0], rel=1e-6)
    assert seen[1] == pytest.approx([1 / deviation, 3 / deviation, 0], rel=1e-6)
    assert answer == pytest.approx([18 + 2 * deviation] * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("normalisation", "answer"), [("none", 10), ("last", 18), ("mean_std", 10 + 2 * 7 / 3), ("last_std", 18)]
)
def test_a_network_that_answers_zero_repeats_what_was_taken_off(normalisation, answer):
    assert look(forecaster(normalisation), WINDOW)[1] == pytest.approx([answer, answer], rel=1e-6)


# --- missing values


def test_a_missing_value_becomes_the_train_mean():
    seen, _ = look(forecaster("none"), [[NAN, 100], [14, INF], [18, -INF]])
    assert seen == [[0, 2, 4], [0, 0, 0]]


@pytest.mark.parametrize("normalisation", ["last", "last_std"])
def test_the_last_known_value_is_the_one_taken_off(normalisation):
    seen, answer = look(forecaster(normalisation), [[12, NAN], [NAN, 200], [NAN, NAN]])
    assert seen == [[0, 0, 0], [0, 0, 0]]  # 12 - 12, and missing steps stay 0
    assert answer == [12, 12]


def test_the_first_step_may_be_the_last_known_one():
    assert look(forecaster("last"), [[16, 0], [NAN, 0], [INF, 0]])[1] == [16, 16]


def test_mean_and_deviation_are_of_known_values():
    seen, answer = look(forecaster("mean_std", answer=1.0), [[12, 100], [NAN, 100], [16, 100]])  # 1 and 3
    deviation = math.sqrt(1 + 1e-5)
    assert seen[0] == pytest.approx([-1 / deviation, 0, 1 / deviation], rel=1e-6)
    assert seen[1] == [0, 0, 0]
    assert answer == pytest.approx([10 + 2 * (2 + deviation)] * 2, rel=1e-6)


def test_a_single_known_value_is_the_mean():
    seen, answer = look(forecaster("mean_std"), [[NAN, 100], [14, 100], [NAN, 100]])
    assert seen[0] == [0, 0, 0] and answer == [14, 14]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_window_of_nothing_is_answered_with_the_train_mean(normalisation):
    seen, answer = look(forecaster(normalisation), [[NAN, INF]] * 3)
    assert seen == [[0, 0, 0], [0, 0, 0]] and answer == [10, 10]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_columns_with_holes_in_training_bring_a_flag(normalisation):
    model = forecaster(normalisation, flagged=(1,))
    seen, _ = look(model, [[12, NAN], [NAN, 200], [18, INF]])
    assert len(seen) == 3  # load, heat, heat's flag
    assert seen[2] == [1, 0, 1]


def test_flags_are_channels():
    statistics = Statistics(mean=np.zeros(3), std=np.ones(3), flagged=(0, 2))
    assert PLAIN.channels(statistics.visible(None)) == 5


# --- limits


def test_scaled_inputs_are_held_within_the_limit():
    top = float(np.finfo(np.float32).max)
    seen, _ = look(forecaster("none"), [[1e9, 100], [-1e9, top], [10 + 2 * 29, -top]])
    assert seen == [[LIMIT, -LIMIT, 29], [0, LIMIT, -LIMIT]]


def test_a_window_far_from_the_train_mean_is_seen_whole_once_its_level_is_taken_off():
    seen, answer = look(forecaster("last"), [[2010, 100], [2012, 100], [2014, 100]])  # 1000, 1001, 1002 deviations
    assert seen == [[-2, -1, 0], [0, 0, 0]] and answer == [2014, 2014]


def test_a_jump_within_the_window_is_held_within_the_limit():
    seen, answer = look(forecaster("last"), [[10, 100], [2010, 100], [20, 100]])  # 0, 1000, 5 deviations
    assert seen == [[-5, LIMIT, 0], [0, 0, 0]] and answer == [20, 20]


def test_raw_inputs_are_held_within_the_farthest():
    _, answer = look(forecaster("last"), [[10, 100], [10, 100], [-1e9, 100]])
    assert answer == [10 - 2 * FARTHEST] * 2


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_largest_numbers_have_a_finite_answer(normalisation):
    top = float(np.finfo(np.float32).max)
    model = forecaster(normalisation, mean=(-top / 2, 0.0), answer=3.0)  # top - mean is beyond float32
    seen, answer = look(model, [[top, -top], [-top, top], [top, 0]])
    assert np.isfinite(seen).all() and np.isfinite(answer).all()


# --- units


def test_scaling_targets_and_unscaling_answers_undo_each_other():
    model = forecaster()
    future = torch.tensor([[[7.0], [10.0]], [[12.0], [30.0]]])
    scaled = model.scale_targets(future)
    assert scaled.flatten().tolist() == [-1.5, 0, 1, 10]
    assert model.in_units(scaled).tolist() == future.tolist()


def test_the_targets_are_the_first_columns():
    statistics = Statistics(mean=np.array([10.0, 100, 5]), std=np.array([2.0, 50, 1]), flagged=())
    model = Forecaster(nn.Identity(), statistics, 2, "none")
    assert model.in_units(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[12, 200]]]
    assert model.scale_targets(torch.tensor([[[12.0, 200.0]]])).tolist() == [[[1, 2]]]


def test_the_loss_sees_the_answer_in_train_deviations():
    model = forecaster("last", answer=0.5)
    past = torch.tensor([WINDOW], dtype=torch.float32)
    assert model.scaled(past)["future"].flatten().tolist() == [4.5, 4.5]
    assert torch.equal(model.in_units(model.scaled(past)["future"]), model(past))


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="normalisation must be one of none, last, mean_std, last_std, got 'first'"):
        forecaster("first")


def test_statistics_travel_with_the_weights():
    source = forecaster(mean=(1.0, 2.0), std=(3.0, 4.0), flagged=(1,))
    state = source.state_dict()
    assert state["mean"].tolist() == [1, 2] and state["std"].tolist() == [3, 4] and state["flagged"].tolist() == [1]
