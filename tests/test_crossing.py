"""Pairs of columns: what is told of them, that a graph tells the same, and that trees gain by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.tabular import lightgbm, xgboost
from models.tabular.crossing import Crossing, n_crossed, strongest
from models.tabular.encoding import Encoding
from models.tabular.graph import IR_VERSION, MATRIX, OPSET, Builder
from models.tabular.learning import Rows, Shape


def test_a_pair_is_told_as_sum_difference_and_share() -> None:
    crossing = Crossing.of(np.array([0, 2]), np.array([2.0, 9.0, 4.0]))
    found = crossing(np.array([[6.0, 1.0, 8.0], [1.0, 1.0, 0.0], [np.nan, 1.0, 8.0]], np.float32))
    assert found[0].tolist() == [6.0, 1.0, 8.0, 3.0 + 2.0, 3.0 - 2.0, 6.0 / 8.0]
    assert found[1, :5].tolist() == [1.0, 1.0, 0.0, 0.5, 0.5] and np.isnan(found[1, 5]), "nothing is shared by 0"
    assert np.isnan(found[2, 3:]).all(), "missing in one, missing in all"
    assert crossing.sources.tolist() == [[0, 2]] * 3


def test_the_strongest_columns_are_crossed() -> None:
    gains = np.array([0.0, 5.0, 1.0, 7.0, 5.0, 0.0])
    assert strongest(gains, 2).tolist() == [1, 3], "of equal ones the first"
    assert strongest(gains, 3).tolist() == [1, 3, 4]
    assert strongest(gains, 9).tolist() == [1, 2, 3, 4], "what gained nothing is not crossed"
    assert strongest(gains, 0).tolist() == []
    places = np.array([1, 2, 3, 4])
    assert Crossing.of(places, np.ones(6)).pairs.tolist() == [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]]
    assert [n_crossed(6, most) for most in (0, 1, 2, 4, 8)] == [0, 0, 3, 18, 45]


def test_a_graph_tells_the_same_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(500, 5)) * 10.0 ** rng.integers(-44, 39, (500, 5))).clip(-3e38, 3e38)
    odd = np.array([np.nan, 0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38, 1e-45])
    matrix = np.concatenate([matrix, rng.choice(odd, (500, 5))]).astype(np.float32)
    crossing = Crossing.of(np.array([0, 1, 3, 4]), np.array([1.7, 1e-3, 1.0, 3e5, 1e-30]))
    to = Builder("crossed")
    told = crossing.add(to, MATRIX)
    put, got = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in (MATRIX, told))
    model = helper.make_model(
        helper.make_graph(to.nodes, "crossed", [put], [got], to.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = crossing(matrix)
    assert expected.shape == (1000, 5 + 18)
    assert np.isnan(expected).any() and not np.isinf(expected).any()
    for part in (matrix, matrix[:1], matrix[500:517]):
        found, told_here = session.run(None, {MATRIX: part})[0], crossing(part)
        assert np.array_equal(found, told_here, equal_nan=True)
        known = ~np.isnan(found)
        assert np.array_equal(np.signbit(found)[known], np.signbit(told_here)[known]), "-0 is not 0"


@pytest.mark.parametrize("family", [lightgbm, xgboost])
def test_trees_learn_a_slanted_border_sooner_and_tell_whose_it_is(family: Any) -> None:
    """Two classes on two sides of a diagonal, beside a column of noise."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(900, 3)).astype(np.float32)
    target = (matrix[:, 0] * 10 > matrix[:, 2] * 10 + rng.normal(size=900)).astype(np.float32)
    encoding = Encoding(numbers=("a", "noise", "b"), times=(), words=())
    train = Rows(matrix=matrix[:300], target=target[:300])
    wrong = {}
    for crossed in (0, 2):
        config = family.Config(crossed=crossed, lr=0.1)
        learner = family.Learner(config, train, Shape(encoding=encoding, n_classes=2), lambda epoch: epoch)
        first, *_ = [learner.epoch(number) for number in (1, 2, 3)]
        wrong[crossed] = ((learner.predict(matrix[300:])[:, 1] > 0.5) != target[300:]).mean()
        shares = learner.importance() / learner.importance().sum()
        assert shares.shape == (3,) and shares[1] < 0.1 < min(shares[0], shares[2])
    assert learner.crossing is not None and learner.crossing.pairs.tolist() == [[0, 2]]
    assert wrong[2] < 0.6 * wrong[0]
    kept = learner.predict(matrix)
    learner.mark()
    learner.epoch(4)
    learner.back()
    assert np.array_equal(learner.predict(matrix), kept)
    del learner.boosters[1:]
    assert "Div" not in [node.op_type for node in learner.graph().graph.node], "what no tree reads is not made"
    learner.marked = 0
    learner.back()
    assert learner.crossing is None and learner.epoch(1) == pytest.approx(first, abs=1e-12)
