"""Calibration: what is learnt of probabilities that say too much, and the same from the graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.tabular.calibration import LEAST, STEEPEST, Calibration, _isotonic, _temperature, calibrate, crossed
from models.tabular.graph import IR_VERSION, OPSET, Builder
from models.tabular.metrics import calibration_error


def drawn(sharpness: float, n: int = 4000, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose true probabilities are softmax(z), told as softmax(sharpness * z)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, classes))

    def softmax(powers: np.ndarray) -> np.ndarray:
        powers = np.exp(powers)
        return powers / powers.sum(axis=1, keepdims=True)

    true = softmax(z)
    came = (rng.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return came.astype(np.float32), softmax(sharpness * z)


def folds(truth: np.ndarray) -> list[int]:
    """Five of one size."""
    return [len(truth) // 5] * 5


@pytest.mark.parametrize("classes", [2, 3])
def test_what_says_too_much_is_cooled_by_as_much(classes: int) -> None:
    truth, scores = drawn(3.0, classes=classes)
    found = calibrate(truth, scores, None, folds(truth))
    assert found.kind == "temperature"
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    fresh, told = drawn(3.0, classes=classes, seed=1)
    assert calibration_error(fresh, found(told), None) < 0.03 < 0.1 < calibration_error(fresh, told, None)


def test_what_is_bent_is_straightened_by_steps() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(6000)
    truth = (rng.random(6000) < true).astype(np.float32)
    told = np.where(true < 0.5, 0.6 * true, 0.4 + 0.6 * true)  # no temperature makes it right
    found = calibrate(truth, np.stack([1 - told, told], axis=1), None, folds(truth))
    assert found.kind == "isotonic"
    assert np.abs(found(np.stack([1 - told, told], axis=1))[:, 1] - true).mean() < 0.03


def test_what_is_right_is_hardly_moved() -> None:
    truth, scores = drawn(1.0)
    assert np.abs(calibrate(truth, scores, None, folds(truth))(scores) - scores).mean() < 0.02


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["none", "temperature", "isotonic"])
def test_the_graph_calibrates_to_the_same(kind: str, classes: int) -> None:
    _, scores = drawn(2.0, n=500, classes=classes)
    knots = np.array([0.1, 0.4, 0.9]), np.array([LEAST, 0.5, 0.7])
    made = {
        "none": Calibration(kind="none"),
        "temperature": Calibration(kind="temperature", temperature=1.7),
        "isotonic": Calibration(kind="isotonic", knots=(knots,) * (1 if classes == 2 else 3)),
    }[kind]
    to = Builder("c")
    out = to.add("Identity", made.add(to, "scores"), name="out")
    kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", classes]) for name in ("scores", out)]
    graph = helper.make_graph(to.nodes, "g", kinds[:1], kinds[1:], to.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    edges = np.eye(classes, dtype=np.float32)
    sent = np.concatenate([scores.astype(np.float32), edges])
    found = session.run(None, {"scores": sent})[0]
    assert np.abs(found - made(sent.astype(np.float64))).max() < 1e-6
    assert found.sum(axis=1) == pytest.approx(np.ones(len(sent)), abs=1e-5)


def test_steps_worked_out_by_hand() -> None:
    """Told 0.2 and 0.8 for rows that are half and wholly positive: between the two the value rises evenly."""
    told = np.array([0.2, 0.2, 0.8, 0.8])
    made = Calibration(kind="isotonic", knots=((np.array([0.2, 0.8]), np.array([0.5, 1 - LEAST])),))
    assert made(np.stack([1 - told, told], axis=1))[:, 1] == pytest.approx([0.5, 0.5, 1, 1], abs=1e-5)
    assert made(np.array([[0.5, 0.5]]))[0, 1] == pytest.approx(0.75, abs=1e-5)
    assert made(np.array([[1.0, 0.0]]))[0, 1] == 0.5  # below the first step


def test_weights_count() -> None:
    truth, scores = drawn(1.0, n=2000)
    weight = np.where(truth == 1, 3.0, 1.0).astype(np.float32)
    assert calibrate(truth, scores, weight, folds(truth))(scores)[:, 1].mean() > scores[:, 1].mean() + 0.1


def test_no_calibration_is_so_steep_that_a_graph_s_rounding_shows() -> None:
    """Scores between 0.45 and 0.55 that tell all: the best rising function is a step."""
    rng = np.random.default_rng(0)
    up = rng.uniform(0.45, 0.55, 2000)
    truth = (up + rng.normal(0, 0.002, 2000) > 0.5).astype(np.float32)
    scores = np.stack([1 - up, up], axis=1)
    for learn in (_isotonic, _temperature):
        found = learn(truth, scores, None)
        moved = np.array([[0.5 - d, 0.5 + d] for d in np.linspace(-0.05, 0.05, 4001)])
        rise = np.diff(found(moved)[:, 1]) / np.diff(moved[:, 1])
        assert rise.min() >= 0 and rise.max() <= STEEPEST * 1.001


def test_rows_that_weigh_nothing_do_not_spoil_the_steps() -> None:
    up = np.linspace(0, 1, 11)
    scores, truth = np.stack([1 - up, up], axis=1), (up > 0.4).astype(np.float32)
    weight = np.where((up == 0) | (up == 1), 0, 1).astype(np.float32)
    assert np.isfinite(_isotonic(truth, scores, weight)(scores)).all()


def test_ends_that_are_all_of_one_class_are_no_certainty() -> None:
    """Of 8 rows below 0.5 none, and of 8 above all: what is said of the next is at least 1 / 18."""
    up = np.concatenate([np.linspace(0, 0.3, 8), np.linspace(0.8, 1, 8)])
    scores, truth = np.stack([1 - up, up], axis=1), (up > 0.5).astype(np.float32)
    found = _isotonic(truth, scores, None)(scores)[:, 1]
    assert found.min() == pytest.approx(1 / 18) and found.max() == pytest.approx(17 / 18)


def test_out_of_fold_rows_are_calibrated_by_the_other_folds() -> None:
    truth, scores = drawn(3.0, n=3000)
    found = crossed("temperature", truth, scores, None, [1000, 2000])
    for own, others in ((slice(0, 1000), slice(1000, 3000)), (slice(1000, 3000), slice(0, 1000))):
        learnt = _temperature(truth[others], scores[others], None)
        assert np.array_equal(found[own], learnt(scores[own]))
        assert learnt.temperature == pytest.approx(3.0, rel=0.2)
