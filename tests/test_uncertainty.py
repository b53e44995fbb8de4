"""Monte Carlo dropout: samples, intervals and what they cover, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.export import Average
from models.uncertainty import coverage, has_dropout, interval, sample
from tests.builders import make_model, make_problem, some_windows


class Dropped(nn.Module):
    """Answers 1 with half of its numbers dropped: 0 or 2, as likely."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(1)  # of another mind while it trains

    def forward(self, past):
        return self.dropout(torch.ones(len(past), 1, 1)) + 0 * self.norm(past[:, :1, 0])[..., None]


def test_samples_are_drawn_with_dropout_and_without_training():
    model = Dropped().eval()
    before = model.norm.running_mean.clone()
    drawn = sample(model, {"past": torch.zeros(3000, 2, 1)}, 4, seed=1)
    assert drawn.shape == (4, 3000, 1, 1) and set(np.unique(drawn)) == {0.0, 2.0}
    assert drawn.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(model.norm.running_mean, before) and not any(m.training for m in model.modules())


def test_an_average_scatters_as_its_models_do():
    """Four independent masks averaged would halve the deviation, which is 1 for answers of 0 or 2."""
    average = Average([Dropped() for _ in range(4)]).eval()
    drawn = sample(average, {"past": torch.zeros(3000, 2, 1)}, 8, seed=1)
    assert set(np.unique(drawn)) == {0.0, 2.0}
    assert drawn.std() == pytest.approx(1.0, abs=0.02)


def test_the_same_seed_draws_the_same_and_moves_no_other_randomness():
    model, inputs = Dropped().train(), {"past": torch.zeros(50, 2, 1)}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, other, third = (sample(model, inputs, 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected) and model.training and model.norm.training
    assert (one == other).all() and (one != third).any()


def test_an_interval_holds_the_middle_share():
    drawn = np.arange(11, dtype=np.float32).reshape(11, 1, 1, 1)  # 0 .. 10
    low, high = interval(drawn, level=0.8)
    assert (low.item(), high.item()) == (1.0, 9.0)


def test_coverage_by_hand():
    drawn = np.stack([np.zeros((4, 1, 2)), np.full((4, 1, 2), 2.0)]).astype(np.float32)  # from 0 to 2, all of it
    truth = np.array([[1, 3], [2, 0], [-1, 1], [0, 5]], np.float32)[:, None]
    found = coverage(drawn, truth, np.array([1.0, 4.0]), level=1.0)
    assert (found.covered, found.width) == (5 / 8, (2 + 0.5) / 2)
    assert (found.level, found.samples, found.windows) == (1.0, 2, 4)


@pytest.mark.parametrize("family", ["lstm", "attention_lstm", "tcn", "tft", "modern_tcn"])
def test_families_with_dropout_scatter(family):
    problem = make_problem()
    model = make_model(family, problem, model__dropout=0.3, random_weights=True).eval()
    inputs = some_windows(problem, origins=slice(8)).gather(torch.arange(8))[0]
    drawn = sample(model, inputs, 5)
    assert has_dropout(model) and (drawn.std(axis=0) > 0).all()


def test_a_model_without_dropout_does_not():
    problem = make_problem()
    model = make_model("linear", problem, random_weights=True).eval()
    inputs = some_windows(problem, origins=slice(8)).gather(torch.arange(8))[0]
    assert not has_dropout(model) and np.ptp(sample(model, inputs, 3), axis=0).max() == 0
    assert not has_dropout(make_model("lstm", problem, model__dropout=0.0, model__layers=2))
