"""What a model tells besides its answer: it leaves in the graph, is proven as the answer is, and can be asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from models.export import Average, export_onnx
from models.extras import explain, extras
from models.predictor import Predictor
from models.scaling import Statistics
from models.validation import prove
from tests.builders import COLUMNS, make_bundle, make_model, make_problem, make_table, some_windows

LOOKBACK, STEPS = 8, [1, 2, 4]
TARGETS = COLUMNS[:2]


@pytest.fixture(scope="module")
def problem():
    return make_problem(make_table(n_targets=2), lookback=LOOKBACK, steps=STEPS)


@pytest.fixture(scope="module")
def past(problem):
    windows = some_windows(problem).gather(torch.arange(40))[0]["past"]
    return windows.numpy()


def proven(model, problem, past, folder):
    graph = folder / "model.onnx"
    export_onnx(model, graph, {"past": torch.zeros(2, LOOKBACK, 3)}, metadata={})
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    return graph, prove(
        model, graph, {"past": past}, targets=TARGETS, mean=statistics.mean, std=statistics.std, tolerance=1e-5
    )


@pytest.mark.parametrize("query", ["last", "mean"])
@pytest.mark.parametrize("family", ["attention_lstm", "tcn_attention"])
def test_a_bundle_tells_how_much_each_step_weighed(family, query, problem, past, tmp_path):
    model = make_model(family, problem, model__query=query, random_weights=True).eval()
    graph, proof = proven(model, problem, past, tmp_path)
    assert proof.passed, [check for check in proof.checks if not check.passed]
    assert {check.output for check in proof.checks} == {"future", "attention"}
    folder = tmp_path / "bundle"
    card = {
        "name": "weights",
        "family": family,
        "calendar": "h",
        "metrics": {"name": "mae", "unit": "unit", "mean": 0.5, "std": 0.1, "folds": [], "holdout": {"mae": 0.5},
                    "baselines": []},
    }  # fmt: skip
    make_bundle(
        folder,
        graph,
        model,
        proof,
        {"past": past},
        card,
        lookback=LOOKBACK,
        steps=STEPS,
        targets=TARGETS,
        extras=extras(model),
    )
    written = json.loads((folder / "bundle.json").read_text())["outputs"][1]
    assert (written["name"], written["shape"]) == ("attention", ["batch", LOOKBACK])
    assert len(json.loads((folder / "vectors.json").read_text())["outputs"]["attention"][0]) == LOOKBACK
    told = Predictor(folder).explain(past)["attention"]
    with torch.inference_mode():
        expected = explain(model, torch.from_numpy(past))[1]["attention"].numpy()
    assert told.shape == (40, LOOKBACK) and np.abs(told - expected).max() < 1e-5
    assert np.allclose(told.sum(axis=1), 1.0, atol=1e-5)


def test_everything_that_a_model_tells_is_proven(problem, past, tmp_path):
    _, proof = proven(make_model("tft", problem, random_weights=True).eval(), problem, past, tmp_path)
    assert proof.passed, [check for check in proof.checks if not check.passed]
    assert {check.output for check in proof.checks} == {"future", "variable_weights", "attention"}


def test_the_average_of_models_tells_the_average(problem, past):
    models = [make_model("attention_lstm", problem, seed=seed).eval() for seed in (0, 1)]
    average = Average(models).eval()
    x = torch.from_numpy(past)
    with torch.inference_mode():
        answer, told = explain(average, past=x)
        (one, first), (other, second) = (explain(model, x) for model in models)
    assert list(extras(average)) == ["attention"]
    assert torch.allclose(answer, (one + other) / 2)
    assert torch.allclose(told["attention"], (first["attention"] + second["attention"]) / 2)


def test_a_changed_weight_of_the_graph_is_found_by_the_proof(problem, past, tmp_path):
    model = make_model("attention_lstm", problem, random_weights=True).eval()
    graph, _ = proven(model, problem, past, tmp_path)
    with torch.no_grad():
        model.network.pooling.ask.weight[0, 0] += 1.0  # changes whom the query finds, and hardly what is answered
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    proof = prove(
        model, graph, {"past": past}, targets=TARGETS, mean=statistics.mean, std=statistics.std, tolerance=1e-5
    )
    failed = {check.output for check in proof.checks if not check.passed}
    assert "attention" in failed


def test_a_model_that_only_answers_tells_nothing(problem, past):
    model = make_model("lstm", problem).eval()
    assert extras(model) == {}
    assert explain(model, torch.from_numpy(past))[1] == {}
