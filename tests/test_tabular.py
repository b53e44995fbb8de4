"""What every family of rows keeps: it learns, its graph takes raw columns and answers as it does, and it can go on."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from data.row_folds import split_rows
from data.rows import RowTable, check_rows
from data.times import MISSING_TIME
from models.tabular import random_forest, trees
from models.tabular.crossval import RowProblem
from models.tabular.encoding import Encoding, WordCode
from models.tabular.graph import (
    IR_VERSION,
    OPSET,
    OPSET_ML,
    Answers,
    Builder,
    assemble,
    column_names,
    encode,
    inputs,
    sent,
)
from models.tabular.learning import Rows, Shape
from models.tabular.memory import trial_bytes

FAMILIES = sorted(
    file.stem
    for file in (Path(__file__).parents[1] / "models" / "tabular").glob("[a-z]*.py")
    if "\nclass Learner" in file.read_text() and "\nCLUSTERS" not in file.read_text()  # those: test_blend.py
)
TASKS = ("regression", "binary", "classes")
ROWS = 600


@pytest.fixture(scope="module", params=TASKS)
def table(request: pytest.FixtureRequest) -> RowTable:
    return make_rows(request.param)


@pytest.fixture(params=[*FAMILIES, "lightgbm crossed", "xgboost crossed"])
def family(request: pytest.FixtureRequest) -> Any:
    name, *crossed = request.param.split()
    module = importlib.import_module(f"models.tabular.{name}")
    settings = {"crossed": 4} if crossed else {}
    return SimpleNamespace(Config=module.Config, Learner=module.Learner, settings=settings)


def make_rows(task: str, n: int = ROWS, seed: int = 0) -> RowTable:
    """Numbers with holes, words with a rare one, times; the target depends on one of each."""
    rng = np.random.default_rng(seed)
    size, noise = rng.normal(size=n), rng.normal(size=n)
    kind = np.array(["low", "mid", "high", None, "rare"], object)[rng.choice(5, n, p=[0.3, 0.3, 0.3, 0.09, 0.01])]
    day = rng.integers(0, 4 * 365, n)
    signal = 2 * size + 3 * (kind == "high") + day / 365 + 0.1 * noise
    target: NDArray[Any] = signal
    if task == "binary":
        target = np.where(signal > np.median(signal), "yes", "no")
    elif task == "classes":
        target = np.array(["a", "b", "c"])[np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3]))]
    frame = pd.DataFrame(
        {
            "size": size,
            "the holes": np.where(rng.random(n) < 0.2, np.nan, noise),
            "kind": kind,
            "since": pd.to_datetime(1_577_836_800 + day * 86_400 + 3600 * (day % 24), unit="s"),
            "target": target,
        }
    )
    frame.loc[5, "since"] = pd.NaT
    return check_rows(frame, target="target")


def small(family: Any) -> Any:
    """The family's defaults, or what `family` sets, with batches for a small table."""
    names = {field.name for field in dataclasses.fields(family.Config)}
    return family.Config(**({"batch_size": 32} if "batch_size" in names else {}), **getattr(family, "settings", {}))


def make_learner(family: Any, table: RowTable, rows: NDArray[np.int64], epochs: int = 3) -> Any:
    encoding = Encoding.fit(table, rows)
    assert table.target is not None
    target = table.target[rows]
    spread = {} if table.classes else {"mean": float(target.mean()), "std": float(target.std())}
    shape = Shape(encoding=encoding, n_classes=len(table.classes), **spread)
    train = Rows(matrix=encoding.matrix(table, rows), target=target)
    learner = family.Learner(small(family), train, shape, lambda epoch: 100 + epoch)
    for number in range(1, epochs + 1):
        learner.epoch(number)
    return learner


def raw(table: RowTable, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns as a client sends them, by their names in the graph."""
    return sent(table, rows, column_names(table.columns))


def opened(model: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


# --- rows as a matrix


def test_the_matrix_holds_numbers_what_dates_tell_and_codes() -> None:
    frame = pd.DataFrame(
        {
            "x": [1.0, np.nan, 3.0, 4.0, 5.0, 6.0, 7.0],
            "word": ["b", "b", "b", "a", "a", "a", "once"],
            "when": ["2024-01-01T12:00", "2024-01-01", None, "2024-01-03", "2024-01-03", "2024-01-03", "2024-01-03"],
            "y": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5],
        }
    )
    table = check_rows(frame, target="y")
    encoding = Encoding.fit(table, np.arange(7))
    expected = ("x", "when in days", "when in the year", "when in the week", "when in the day", "word")
    assert encoding.names == expected
    assert (encoding.n_amounts, encoding.phases) == (5, [2, 3, 4])
    assert encoding.words == (WordCode(name="word", words=("a", "b")),)  # as frequent: by the alphabet; once: too rare
    found = encoding.matrix(table, np.arange(7))
    assert found[:, 5].tolist() == [2, 2, 2, 1, 1, 1, 3]
    assert found[0, [0, 1, 4]].tolist() == [1, 0.5, 0.5]  # half a day after the first of all, noon
    assert found[1, 1] == 0 and np.isnan(found[1, 0]) and np.isnan(found[2, 1:5]).all()
    # 1970-01-01 was a Thursday: a Monday is four days into the week that began then.
    assert found[1, 3] == np.float32(4 / 7)


def test_what_is_learnt_comes_from_the_train_rows_alone() -> None:
    table = make_rows("regression")
    rows = np.flatnonzero(table.values[:, 2] != 2)  # none that is "low": words are coded in sorted order
    assert table.categories["kind"] == ("high", "low", "mid", "rare")
    encoding = Encoding.fit(table, rows)
    assert "low" not in encoding.words[0].words
    codes = encoding.matrix(table, np.flatnonzero(table.values[:, 2] == 2))[:, -1]
    assert (codes == encoding.words[0].size - 1).all()


def test_the_graph_makes_the_same_matrix_to_the_last_bit() -> None:
    table = make_rows("regression")
    encoding = Encoding.fit(table, np.arange(400))
    rows = np.arange(ROWS)
    expected = encoding.matrix(table, rows)
    names, to = column_names(table.columns), Builder("model")
    to.add("Identity", encode(encoding, names, to), name="matrix")
    out = helper.make_tensor_value_info("matrix", TensorProto.FLOAT, ["batch", expected.shape[1]])
    graph = helper.make_graph(to.nodes, "front", inputs(encoding, names), [out], to.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    session = opened(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION))
    given = raw(table, rows)
    given["size"] = np.where(rows == 7, np.inf, given["size"]).astype(np.float32)
    expected[7, 0] = np.nan
    given["kind"][8], given["since"][9] = "never heard", MISSING_TIME
    expected[8, -1] = encoding.words[0].size - 1
    expected[9, 2:-1] = np.nan
    assert np.array_equal(session.run(None, given)[0], expected, equal_nan=True)


def test_columns_that_onnx_cannot_name_get_names_of_their_own() -> None:
    assert column_names(["size", "the holes", "2nd", "column_2"]) == {
        "size": "size",
        "the holes": "column_2_",
        "2nd": "column_3",
        "column_2": "column_2",
    }
    assert column_names(["score", "x"], taken=["score"]) == {"score": "column_1", "x": "x"}


def test_trees_too_many_for_a_file_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner(random_forest, make_rows("regression"), np.arange(400), epochs=1)
    nodes = sum(tree.tree_.node_count for tree in learner.forests[0].estimators_)
    monkeypatch.setattr(trees, "MOST_NODES", nodes)
    learner.graph()
    monkeypatch.setattr(trees, "MOST_NODES", nodes - 1)
    with pytest.raises(trees.TooManyNodesError, match=f"have {nodes:,} nodes"):
        learner.graph()


def test_memory_grows_with_words_and_with_trees() -> None:
    table = make_rows("regression")
    folds, final = split_rows(ROWS, scheme="random", n_folds=5, holdout=0.1, seed=0)
    problem = RowProblem(table=table, folds=folds, final=final, scheme="random", metric="rmse", seed=0)
    words = {name: tuple(f"w{i}" for i in range(20)) for name in table.categories}
    codes = table.values.copy()
    codes[:, table.n_numbers :] = 1 + np.arange(ROWS)[:, None] % 20
    wordy = dataclasses.replace(problem, table=dataclasses.replace(table, categories=words, values=codes))
    plain, more = (trial_bytes(each, "linear", {"model": {}}, epochs=1) for each in (problem, wordy))
    assert more > plain + 20 * 0.7 * ROWS * 15, "each word becomes a channel"
    forest = {"model": {"depth": 16, "min_leaf": 2}}
    few, many = (trial_bytes(problem, "random_forest", forest, epochs=n) for n in (1, 11))
    leaves = max(len(fold.train) for fold in folds) // 2
    assert many - few == 10 * 5 * 20 * 2 * leaves * 72
    one, crossed = ({"model": {"leaves": 31, "crossed": n}} for n in (0, 3))
    more = trial_bytes(problem, "lightgbm", crossed, epochs=1) - trial_bytes(problem, "lightgbm", one, epochs=1)
    assert more == 4 * 5 * 540 * 9 * 2.5, "three pairs, three columns each"
    coarse, fine = ({"model": {"bins": bins, "channels": 8, "hidden": 64, "layers": 1}} for bins in (8, 108))
    more = trial_bytes(problem, "mlp", fine, epochs=1) - trial_bytes(problem, "mlp", coarse, epochs=1)
    amounts = 2 + 4  # two numbers, and days, year, week and day of a time
    assert more == 4 * (1024 * 3 * amounts * 100 + 5 * amounts * 8 * 100 * 5)


# --- every family


def test_it_learns_what_there_is_to_learn(family: Any, table: RowTable) -> None:
    train, rest = np.arange(400), np.arange(400, ROWS)
    learner = make_learner(family, table, train, epochs=6)
    found = learner.predict(learner.shape.encoding.matrix(table, rest))
    assert table.target is not None
    truth = table.target[rest]
    if table.classes:
        assert found.shape == (200, len(table.classes))
        assert found.sum(axis=1) == pytest.approx(np.ones(200))
        assert (found.argmax(axis=1) == truth).mean() > 0.8
    else:
        assert found.shape == (200, 1)
        assert np.square(found[:, 0] - truth).mean() < 0.3 * truth.var()


def test_it_draws_the_same_for_the_same_seeds_and_goes_on_as_if_undisturbed(family: Any, table: RowTable) -> None:
    rows = np.arange(ROWS)
    whole, first = make_learner(family, table, rows), make_learner(family, table, rows, epochs=2)
    matrix = whole.train.matrix
    second = first.predict(matrix)
    first.mark()
    state = first.state_dict()
    again = make_learner(family, table, rows, epochs=0)
    again.load_state_dict(state)
    again.epoch(3)
    assert np.array_equal(again.predict(matrix), whole.predict(matrix))
    again.back()
    assert np.array_equal(again.predict(matrix), second)


def test_the_graph_takes_raw_columns_and_answers_as_the_model_does(family: Any, table: RowTable) -> None:
    learner = make_learner(family, table, np.arange(200, ROWS))
    encoding, answers = learner.shape.encoding, Answers(classes=table.classes, threshold=0.4)
    session = opened(assemble([(encoding, learner.graph(), 1.0)], column_names(table.columns), answers))
    assert tuple(each.name for each in session.get_outputs()) == answers.names
    rows = np.arange(ROWS)
    given = raw(table, rows)
    expected = learner.predict(encoding.matrix(table, rows))
    if not table.classes:
        expected = expected[:, 0]
    scale = learner.shape.std
    for batch in (1, 17, ROWS):
        found, *label = session.run(None, {name: each[:batch] for name, each in given.items()})
        assert found.shape == expected[:batch].shape
        assert np.abs(found - expected[:batch]).max() / scale < 1e-6
        if table.classes:
            place = found[:, 1] >= 0.4 if len(table.classes) == 2 else found.argmax(axis=1)
            assert label[0].tolist() == [table.classes[int(each)] for each in place]
    odd = {name: each[:4].copy() for name, each in given.items()}
    odd["size"][:] = [np.nan, 1e30, -1e30, np.inf]
    odd["kind"][:] = ["", "never heard", "high", "rare"]
    odd["since"][0] = MISSING_TIME
    answer = session.run(None, odd)[0]
    assert np.isfinite(answer).all()
    assert [len(session.run(None, {name: np.repeat(each[:1], 10_000) for name, each in given.items()})[0])] == [10_000]


def test_a_class_that_no_train_row_has_is_never_likely(family: Any) -> None:
    """As a fold of whole groups may lack one."""
    table = make_rows("classes")
    assert table.target is not None
    learner = make_learner(family, table, np.flatnonzero(table.target != 1), epochs=4)
    found = learner.predict(learner.shape.encoding.matrix(table, np.arange(ROWS)))
    assert found.shape == (ROWS, 3) and found.sum(axis=1) == pytest.approx(np.ones(ROWS))
    assert found[:, 1].mean() < 0.15
    assert (found.argmax(axis=1) == table.target)[table.target != 1].mean() > 0.9


def test_the_order_of_the_columns_changes_nothing_that_is_sent_by_name(family: Any) -> None:
    table = make_rows("binary")
    learner = make_learner(family, table, np.arange(ROWS))
    members = [(learner.shape.encoding, learner.graph(), 1.0)]
    model = assemble(members, column_names(table.columns), Answers(classes=table.classes))
    given = raw(table, np.arange(20))
    one, other = (opened(model).run(None, dict(each))[0] for each in (given.items(), reversed(list(given.items()))))
    assert np.array_equal(one, other)


def test_weights_count(family: Any) -> None:
    """What weighs little is answered less often."""
    table = make_rows("binary")
    assert table.target is not None
    rows, up = np.arange(ROWS), table.target == 1
    encoding = Encoding.fit(table, rows)
    shape = Shape(encoding=encoding, n_classes=2)
    matrix = encoding.matrix(table, rows)
    shares = []
    for weight in (np.ones(ROWS), np.where(up, 1.0, 0.05)):
        train = Rows(matrix=matrix, target=table.target, weight=weight.astype(np.float32))
        learner = family.Learner(small(family), train, shape, lambda epoch: epoch)
        for number in (1, 2, 3):
            learner.epoch(number)
        shares.append(learner.predict(matrix)[:, 1].mean())
    assert shares[0] == pytest.approx(0.5, abs=0.1)
    assert shares[1] > shares[0] + 0.05
