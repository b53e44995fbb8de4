"""What a sweep does with its winner: exported, proven, scored from its file, or not shipped at all."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import validation
from models.export import export_onnx
from models.predictor import Predictor
from ray_jobs import ship
from ray_jobs.config import check
from tests.builders import make_model, make_problem, make_table

LOOKBACK, STEPS, TARGETS = 8, [1, 2, 4], ("load", "heat")


@pytest.fixture(scope="module")
def problem():
    return make_problem(make_table(n_targets=2), lookback=LOOKBACK, steps=STEPS)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch):
    monkeypatch.setattr(validation, "measure", lambda _: {"latency_p50_ms": 1.0, "latency_p95_ms": 2.0})


def ship_to(folder, model, problem, **params):
    config = check({"name": "small", "data": {"path": "load.csv", "targets": list(TARGETS)}})
    candidate = ship.Candidate(
        model=model,
        family="linear",
        lookback=LOOKBACK,
        cv={"mean": 0.5, "std": 0.1, "folds": [0.4, 0.6]},
        trial={"trial": 0, "params": params, "kind": "refit"},
    )
    return ship.ship(candidate, problem, config, folder)


def test_a_model_that_passes_is_shipped_with_the_score_of_its_file(problem, tmp_path):
    model = make_model("linear", problem, random_weights=True).eval()
    shipped = ship_to(tmp_path / "linear", model, problem)
    assert [each.name for each in tmp_path.iterdir()] == ["linear"]
    final = problem.split.final
    predictor = Predictor(tmp_path / "linear")
    past = np.stack([problem.table.values[o - LOOKBACK : o] for o in final.valid])
    predicted = predictor.predict(past)
    assert shipped.predicted["future"] == pytest.approx(predicted, rel=1e-6)
    truth = problem.table.values[final.valid[:, None] + np.array(STEPS) - 1, :2]
    std = problem.table.values[final.rows, :2].astype(np.float64).std(axis=0)
    by_hand = (np.abs(predicted - truth) / std).mean(dtype=np.float64)
    assert shipped.holdout["mae"] == pytest.approx(by_hand, rel=1e-5)
    assert predictor.card["metrics"]["holdout"]["mae"] == shipped.holdout["mae"]


def test_a_bundle_lists_the_inputs_that_were_chosen(problem, tmp_path):
    rankings = {"holdout": np.array([2])}  # of the third column, wind: all that is no target
    chosen = dataclasses.replace(problem, rankings=rankings)
    model = make_model("lstm", chosen, input__keep=1, model__hidden=8).eval()
    ship_to(tmp_path / "chosen", model, chosen, **{"input.keep": 1})
    ship_to(tmp_path / "all", make_model("linear", problem).eval(), problem)
    assert Predictor(tmp_path / "chosen").card["chosen"] == ["wind"]
    assert Predictor(tmp_path / "all").card["chosen"] is None


def test_a_model_whose_graph_differs_is_not_shipped(problem, tmp_path, monkeypatch):
    model = make_model("linear", problem, random_weights=True).eval()

    def export_another(given: nn.Module, path: Path, inputs: dict[str, torch.Tensor], **rest) -> None:
        other = copy.deepcopy(given)
        with torch.no_grad():
            other.network.bias[0, 0, 2] += 0.25  # the third output, of both targets
        export_onnx(other, path, inputs, **rest)

    monkeypatch.setattr(ship, "export_onnx", export_another)
    with pytest.raises(ship.ProofError) as caught:
        ship_to(tmp_path / "linear", model, problem)
    message = str(caught.value)
    assert message.startswith("the ONNX graph of linear differs from PyTorch in 40 of 40 checks; worst: ")
    assert ", output 3, target " in message and ": 0.25 standard deviations, allowed 1" in message
    assert list(tmp_path.iterdir()) == []
