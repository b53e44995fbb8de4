"""A model out of a bundle and back in PyTorch: the same answers, with dropout if asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.crossval import lookback_windows
from models.export import Average, export_onnx
from models.heads import Heads
from models.predictor import BundleError
from models.restore import describe, restore, weights
from models.torch_predictor import TorchPredictor
from search_spaces import FAMILIES
from tests.builders import make_bundle, make_model, make_problem, make_rich_table, make_table, some_windows

LOOKBACK, STEPS = 8, [1, 2, 4]
CARD = {
    "name": "small",
    "family": "lstm",
    "calendar": "h",
    "metrics": {"name": "mae", "unit": "unit", "mean": 0.5, "std": 0.1, "folds": [], "holdout": {"mae": 0.5},
                "baselines": []},
}  # fmt: skip


@pytest.fixture(scope="module")
def problem():
    """Two targets, every head, and a choice of inputs."""
    made = make_problem(make_table(n_targets=2), lookback=LOOKBACK, steps=STEPS)
    rankings = {fold.name: np.array([2]) for fold in (*made.split.folds, made.split.final)}
    return replace(made, heads=Heads(direction=True, band=3.0, levels=(0.1, 0.5, 0.9)), rankings=rankings)


def again(model):
    """The model as a bundle would keep it: through JSON, and arrays."""
    return restore(json.loads(json.dumps(describe(model))), weights(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_with_the_same_answers(family, problem):
    model = make_model(family, problem, input__keep=1, random_weights=True).eval()
    inputs = some_windows(problem).gather(torch.arange(10))[0]
    with torch.inference_mode():
        expected, told = model.explain(**inputs)
        found, told_again = again(model).explain(**inputs)
    assert list(told) == list(told_again)
    for one, other in zip((expected, *told.values()), (found, *told_again.values()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)  # where the weights lie decides how sums are taken


@pytest.mark.parametrize("family", ["lstm", "tft", "linear"])
def test_what_is_known_ahead_words_and_waves_come_back(family):
    waves = ((86400, 1), (86400, 2))
    rich = make_problem(make_rich_table(), lookback=LOOKBACK, steps=STEPS, waves=waves)
    model = make_model(family, rich, random_weights=True).eval()
    windows = lookback_windows(rich, torch.from_numpy(rich.table.values.copy()), rich.split.final.train, 8)
    inputs = windows.gather(torch.arange(10))[0]
    with torch.inference_mode():
        torch.testing.assert_close(again(model)(**inputs), model(**inputs), rtol=1e-5, atol=1e-5)


def test_an_average_comes_back_whole(problem):
    models = [make_model("linear", problem, seed=seed, random_weights=True).eval() for seed in (0, 1, 2)]
    average = Average(models).eval()
    inputs = some_windows(problem).gather(torch.arange(10))[0]
    with torch.inference_mode():
        assert torch.equal(again(average)(**inputs), average(**inputs))
    assert len(describe(average)) == 3


@pytest.fixture(scope="module")
def bundle(problem, tmp_path_factory):
    """Of an LSTM with dropout, and what it answers of 40 windows."""
    from models.scaling import Statistics
    from models.validation import prove

    model = make_model("lstm", problem, input__keep=1, model__dropout=0.4, random_weights=True).eval()
    folder = tmp_path_factory.mktemp("restored")
    inputs = some_windows(problem).gather(torch.arange(40))[0]
    graph = folder / "model.onnx"
    export_onnx(model, graph, inputs, metadata={})
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    given = {name: each.numpy() for name, each in inputs.items()}
    names = problem.table.targets
    proof = prove(model, graph, given, targets=names, mean=statistics.mean, std=statistics.std, tolerance=1e-5)
    more = {"lookback": LOOKBACK, "steps": STEPS, "targets": names, "extras": model.extras}
    make_bundle(folder / "lstm", graph, model, proof, given, CARD, **more)
    return folder / "lstm", given["past"], model(**inputs).detach().numpy()


def test_a_bundle_answers_in_pytorch_as_its_model_did(bundle):
    folder, past, expected = bundle
    assert (TorchPredictor(folder).predict(past) == expected).all()


def test_it_refuses_what_the_other_predictor_refuses(bundle):
    folder, past, _ = bundle
    predictor = TorchPredictor(folder)
    with pytest.raises(ValueError, match=r"past must be \(batch, 8 steps, 3 columns\), got \(40, 7, 3\)"):
        predictor.predict(past[:, 1:])
    with pytest.raises(ValueError, match="the model has no input 'ahead'"):
        predictor.sample(past, 2, ahead=past)
    predictor.card["answers_value"] = False
    for asked in (predictor.predict, predictor.sample):
        with pytest.raises(ValueError, match="the model answers no value"):
            asked(past)


def test_its_dropout_gives_intervals(bundle):
    folder, past, expected = bundle
    predictor = TorchPredictor(folder)
    drawn = predictor.sample(past, 20, seed=3)
    assert drawn.shape == (20, *expected.shape) and (drawn.std(axis=0) > 0).all()
    low, high = predictor.interval(past, 0.8, 20, seed=3)
    assert (low == np.quantile(drawn, 0.1, axis=0).astype(np.float32)).all() and (low < high).all()
    assert (predictor.predict(past) == expected).all()  # dropout is off again


def test_a_bundle_without_dropout_says_so(problem, bundle, monkeypatch):
    predictor = TorchPredictor(bundle[0])
    monkeypatch.setattr(predictor, "model", make_model("linear", problem))
    with pytest.raises(ValueError, match="trained without dropout"):
        predictor.sample(bundle[1])


@pytest.mark.parametrize("change", ["weights", "card"])
def test_a_changed_bundle_is_refused(bundle, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(bundle[0], copy)
    if change == "weights":
        data = bytearray((copy / "weights.npz").read_bytes())
        data[len(data) // 2] ^= 1
        (copy / "weights.npz").write_bytes(bytes(data))
        rule = "weights.npz was changed"
    else:
        card = json.loads((copy / "bundle.json").read_text())
        card["model"][0]["config"]["hidden"] = 7
        (copy / "bundle.json").write_text(json.dumps(card))
        rule = "its weights do not fit its card"
    with pytest.raises(BundleError, match=rule):
        TorchPredictor(copy)
