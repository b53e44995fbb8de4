"""Heads: quantiles that cannot cross, directions, and the same answers from the graph."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from models.crossval import CrossValidation, FoldScore, build, fit_statistics
from models.export import Average, export_onnx
from models.extras import explain
from models.heads import Heads
from models.naive import naive_answers
from models.predictor import Predictor
from models.preprocess import NORMALISATIONS
from models.scaling import Statistics
from models.training import predict
from models.validation import prove
from search_spaces import FAMILIES
from tests.builders import COLUMNS, make_bundle, make_model, make_params, make_problem, make_table, some_windows

LOOKBACK, STEPS, TARGETS = 8, [1, 2, 4], 2
ALL = Heads(direction=True, band=3.0, levels=(0.1, 0.5, 0.9))


@pytest.fixture(scope="module")
def problem():
    return replace(make_problem(make_table(n_targets=TARGETS), lookback=LOOKBACK, steps=STEPS), heads=ALL)


def past_of(problem, n=20):
    return some_windows(problem, origins=slice(n)).gather(torch.arange(n))[0]["past"]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_every_head(family, problem, normalisation):
    model = make_model(family, problem, input__normalisation=normalisation, random_weights=True).eval()
    past = past_of(problem)
    past[-1] = torch.nan
    with torch.inference_mode():
        answer, told = model.explain(past)
        assert torch.equal(answer, model(past)) and answer.shape == (20, 3, TARGETS)
        assert told["direction"].shape == told["quantiles"].shape == (20, 3, TARGETS, 3)
        torch.testing.assert_close(told["direction"].sum(dim=3), torch.ones(20, 3, TARGETS))
        assert (told["quantiles"].diff(dim=3) >= 0).all()
        assert told["quantiles"].isfinite().all()


def test_quantiles_are_the_lowest_and_steps_up():
    heads = Heads(value=False, levels=(0.25, 0.5, 0.75))
    numbers = torch.tensor([1.0, 0.0, -100.0]).view(1, 1, 1, 3)
    found = heads.split(numbers)
    # softplus(0) = log 2, softplus(-100) = 0
    assert found["quantiles"].flatten().tolist() == pytest.approx([1, 1 + np.log(2), 1 + np.log(2)])
    assert found["future"].item() == pytest.approx(1 + np.log(2))  # the median, where there is no value head


@pytest.mark.parametrize("heads", [Heads(value=False, direction=True), Heads(value=False, levels=(0.1, 0.9))])
@pytest.mark.parametrize("normalisation", ["none", "last_std"])  # the least and the most that is undone to answers
def test_without_a_head_for_the_value_the_last_known_one_stands_there(heads, normalisation, problem, tmp_path):
    model = make_model("linear", replace(problem, heads=heads), input__normalisation=normalisation, random_weights=True)
    past = past_of(problem)
    past[0, -3:, 0] = torch.nan
    known = past[:, -1, :TARGETS].clone()
    known[0, 0] = past[0, -4, 0]
    with torch.inference_mode():
        answer, told = model.eval().explain(past)
    assert set(told) == set(heads.extras)
    torch.testing.assert_close(answer, known[:, None].expand(-1, len(STEPS), -1))
    export_onnx(model, tmp_path / "model.onnx", {"past": past}, metadata={})
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"past": past[:1].numpy()})
    assert found[0] == pytest.approx(answer[:1].numpy(), rel=1e-5)
    assert found[1] == pytest.approx(next(iter(told.values()))[:1].numpy(), rel=1e-4)


def test_a_network_learns_directions_alone(problem):
    """What always rises by more than the noise is said to rise."""
    table = make_table(n_targets=1)
    rising = replace(table, values=table.values + 50 * np.arange(len(table.values), dtype=np.float32)[:, None])
    alone = replace(make_problem(rising, lookback=LOOKBACK), heads=Heads(value=False, direction=True))
    alone = replace(alone, metric="log_loss")
    *_, last = CrossValidation(alone, "lstm", make_params("lstm", fit__lr=0.01, fit__max_epochs=5), trial=0).epochs()
    assert last.value < 0.1  # a coin has 0.69


@pytest.mark.parametrize("values", [[-2, 0, 2], [-2.5, 0, 2.5]])
def test_a_change_of_the_band_itself_is_flat(values):
    heads, change = Heads(direction=True, band=2.0), np.array(values)
    classes, counts = heads.came(change)
    assert classes.tolist() == ([1, 1, 1] if values[0] == -2 else [0, 1, 2]) and counts.all()
    same, _ = heads.classify(torch.tensor(change))
    assert same.tolist() == classes.tolist()


def test_without_a_band_no_change_has_no_direction():
    classes, counts = Heads(direction=True).came(np.array([-1.0, 0.0, 1.0]))
    assert (classes[[0, 2]].tolist(), counts.tolist()) == ([0, 1], [True, False, True])


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"value": False}, "there must be a head"),
        ({"levels": (0.9, 0.1)}, "levels must ascend"),
        ({"levels": (0.0, 0.5)}, "levels must ascend between 0 and 1"),
        ({"direction": True, "band": -1.0}, "band must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, rule):
    with pytest.raises(ValueError, match=rule):
        Heads(**settings)


def test_heads_learn_what_there_is_to_learn(problem):
    """A wave: directions and quantiles of the held-out windows beat what the naive baselines know."""
    params = make_params("lstm", fit__max_epochs=15, fit__lr=0.01, fit__batch_size=16, model__hidden=16)
    cv = CrossValidation(problem, "lstm", params, trial=0)
    list(cv.epochs())
    fold, answers = problem.split.folds[1], cv.predict_folds()[1]
    score, naive = FoldScore(problem, fold), naive_answers(problem, fold)["mean"]
    assert score.by("log_loss", answers) < 0.7 * score.by("log_loss", naive)
    assert score.by("pinball", answers) < 0.7 * score.by("pinball", naive)
    assert 0.5 < score.by("coverage", answers) <= 1


def test_a_bundle_answers_every_head(problem, tmp_path):
    model = make_model("lstm", problem, random_weights=True).eval()
    past = past_of(problem, 40)
    graph = tmp_path / "model.onnx"
    export_onnx(model, graph, {"past": past}, metadata={})
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    inputs = {"past": past.numpy()}
    names = problem.table.targets
    proof = prove(model, graph, inputs, targets=names, mean=statistics.mean, std=statistics.std, tolerance=1e-5)
    assert proof.passed, [check for check in proof.checks if not check.passed]
    assert {check.output for check in proof.checks} == {"future", "direction", "quantiles"}
    card = {
        "name": "heads",
        "family": "lstm",
        "calendar": "h",
        "metrics": {"name": "mae", "unit": "unit", "mean": 0.5, "std": 0.1, "folds": [], "holdout": {"mae": 0.5},
                    "baselines": []},
    }  # fmt: skip
    folder = tmp_path / "bundle"
    make_bundle(
        folder, graph, model, proof, inputs, card, lookback=LOOKBACK, steps=STEPS, targets=names, extras=model.extras
    )
    written = json.loads((folder / "bundle.json").read_text())["outputs"]
    assert [each["name"] for each in written] == ["future", "direction", "quantiles"]
    assert "down, flat, up" in written[1]["meaning"] and "0.1, 0.5, 0.9" in written[2]["meaning"]
    told = Predictor(folder).explain(inputs["past"])
    assert set(told) == {"direction", "quantiles"} and told["quantiles"].shape == (40, 3, TARGETS, 3)


def test_a_changed_quantile_is_found_by_the_proof(problem, tmp_path):
    model = make_model("linear", problem, random_weights=True).eval()
    past = past_of(problem, 20)
    graph = tmp_path / "model.onnx"
    export_onnx(model, graph, {"past": past}, metadata={})
    with torch.no_grad():
        model.network.bias[0, 0, 4] += 0.01  # the lowest quantile of the first step
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    given = {"targets": problem.table.targets, "mean": statistics.mean, "std": statistics.std, "tolerance": 1e-5}
    proof = prove(model, graph, {"past": past.numpy()}, **given)
    assert {check.output for check in proof.checks if not check.passed} == {"quantiles"}


def test_directions_alone_are_judged_by_their_own_error(problem, tmp_path):
    alone = replace(problem, heads=Heads(value=False, direction=True))
    model = make_model("lstm", alone, random_weights=True).eval()
    past = past_of(alone, 40)
    graph = tmp_path / "model.onnx"
    export_onnx(model, graph, {"past": past}, metadata={})
    statistics = Statistics.fit(alone.table.values, alone.split.final.rows)
    given = {"targets": alone.table.targets, "mean": statistics.mean, "std": statistics.std, "tolerance": 1e-5}
    proof = prove(model, graph, {"past": past.numpy()}, **given, main=alone.heads.main)
    errors = {output: max(c.error for c in proof.checks if c.rows == "holdout" and c.output == output)
              for output in ("future", "direction")}  # fmt: skip
    assert errors["future"] == 0 < errors["direction"] == proof.error  # the value is the last known one


def test_the_average_of_models_averages_every_head(problem):
    models = [make_model("linear", problem, seed=seed, random_weights=True).eval() for seed in (0, 1)]
    past = past_of(problem)
    with torch.inference_mode():
        _, told = explain(Average(models).eval(), past=past)
        each = [explain(model, past=past)[1] for model in models]
    for name in ("direction", "quantiles"):
        torch.testing.assert_close(told[name], (each[0][name] + each[1][name]) / 2)


def test_base_rates_are_those_of_the_train_windows(problem):
    """Worked out again, window by window."""
    fold = problem.split.folds[0]
    found = naive_answers(problem, fold)["last value"]["direction"]
    values = problem.table.values
    changes = values[fold.train + 3, 0] - values[fold.train - 1, 0]  # of "load", which has no missing value, step 4
    shares = [np.mean(changes < -3), np.mean(np.abs(changes) <= 3), np.mean(changes > 3)]
    assert found.shape == (len(fold.valid), 3, TARGETS, 3)
    assert found[0, 2, 0] == pytest.approx(shares, rel=1e-6) and (found == found[0]).all()


def test_a_baseline_s_quantiles_are_its_value_and_its_errors(problem):
    fold = problem.split.folds[0]
    naive = naive_answers(problem, fold)["last value"]
    values = problem.table.values
    errors = values[fold.train, 0] - values[fold.train - 1, 0]  # step 1 of "load"
    away = (naive["quantiles"] - naive["future"][..., None])[:, 0, 0]
    assert away == pytest.approx(
        np.tile(np.quantile(errors, [0.1, 0.5, 0.9]), (len(fold.valid), 1)), rel=1e-3, abs=1e-4
    )


def test_predictions_come_by_head(problem):
    model = make_model("lstm", problem)
    answers = predict(model, some_windows(problem, origins=slice(5)))
    assert {name: each.shape for name, each in answers.items()} == {
        "future": (5, 3, 2),
        "direction": (5, 3, 2, 3),
        "quantiles": (5, 3, 2, 3),
    }
    nothing = predict(model, some_windows(problem, origins=slice(0, 0)))
    assert {name: each.shape for name, each in nothing.items()} == {
        "future": (0, 3, 2),
        "direction": (0, 3, 2, 3),
        "quantiles": (0, 3, 2, 3),
    }
    assert COLUMNS[:2] == problem.table.targets


def test_an_average_tells_the_weights_of_inputs_by_their_names():
    """Folds that flag and see other channels: what each weighs stands at one place for all of them."""
    table = make_table(holes=0.0)
    values = table.values.copy()
    values[100:110, 2] = np.nan  # "wind" is flagged where these rows train
    made = make_problem(replace(table, values=values), lookback=LOOKBACK, steps=STEPS)
    models = [build(made, "tft", make_params("tft"), fit_statistics(made, fold)).eval() for fold in made.split.folds]
    assert [len(each.flagged) for each in models] == [0, 1]
    past = past_of(made)
    with torch.inference_mode():
        _, told = Average(models).explain(past=past)
        each = [model.explain(past)[1]["variable_weights"] for model in models]
    names = made.weighed["variable_weights"]
    assert names == ["load", "heat", "wind", "load missing", "heat missing", "wind missing"]
    assert told["variable_weights"].shape == (20, 6)
    torch.testing.assert_close(told["variable_weights"], (each[0] + each[1]) / 2)
    torch.testing.assert_close(told["variable_weights"].sum(dim=1), torch.ones(20))
    assert (each[0][:, 3:] == 0).all() and (each[1][:, 3:5] == 0).all() and (each[1][:, 5] > 0).all()


def test_an_average_tells_what_only_some_of_its_models_tell():
    """A fold that chose no constant input has no weights of them."""

    class Teller(torch.nn.Module):
        def __init__(self, **told):
            super().__init__()
            self.told, self.extras = told, {name: f"the {name}" for name in told}

        def explain(self, past):
            return past, {name: torch.full((len(past), 1), value) for name, value in self.told.items()}

    average = Average([Teller(attention=1.0), Teller(static=2.0, attention=4.0)])
    assert average.extras == {"attention": "the attention", "static": "the static"}
    _, told = average.explain(past=torch.zeros(3, 2))
    assert {name: each.tolist() for name, each in told.items()} == {"attention": [[2.5]] * 3, "static": [[2.0]] * 3}


def test_a_model_of_directions_alone_has_no_metrics_and_no_answer_of_the_value(problem):
    alone = replace(problem, heads=Heads(value=False, direction=True), metric="log_loss")
    fold = alone.split.final
    scores = FoldScore(alone, fold).every(naive_answers(alone, fold)["mean"])
    assert "log_loss" in scores and "direction_accuracy" in scores
    assert not {"mae", "rmse", "directional_accuracy"} & set(scores)
