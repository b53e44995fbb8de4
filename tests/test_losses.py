"""Training losses, against numbers worked out by hand."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch

from models.losses import LOSSES
from models.training import Config

TRUTH = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])  # (2, 2, 1)
PREDICTED = torch.tensor([[[1.0], [2.5]], [[1.0], [5.0]]])  # errors 0, 0.5, -2, 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mse", 5.25 / 4),  # 0 + 0.25 + 4 + 1
        ("mae", 3.5 / 4),  # 0 + 0.5 + 2 + 1
        ("huber", 2.125 / 4),  # 0 + 0.125 + 1.5 + 0.5
    ],
)
def test_the_loss_is_the_mean_over_windows_steps_and_targets(name, value):
    loss = LOSSES[name](PREDICTED, TRUTH)
    assert loss.shape == () and loss.item() == value


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("mse", [0, 1 / 4, -1, 1 / 2]),  # 2 e / 4
        ("mae", [0, 1 / 4, -1 / 4, 1 / 4]),  # sign(e) / 4
        ("huber", [0, 1 / 8, -1 / 4, 1 / 4]),  # e / 4, at most 1 / 4
    ],
)
def test_the_gradient_points_up_the_error(name, slopes):
    predicted = PREDICTED.clone().requires_grad_()
    LOSSES[name](predicted, TRUTH).backward()
    assert predicted.grad is not None and predicted.grad.flatten().tolist() == slopes


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_forecast_costs_nothing(name):
    assert LOSSES[name](TRUTH, TRUTH).item() == 0.0


def test_a_configuration_can_name_each_loss_and_no_other():
    assert set(LOSSES) == set(get_args(get_type_hints(Config)["loss"]))
