"""What is shipped of rows: weights, threshold, proof, gates, what matters, and a bundle that answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from data.errors import InputError
from data.row_folds import RowFold, kfold
from data.rows import RowTable, check_rows
from models.predictor import BundleError, Predictor
from models.tabular import clustering, ensemble, importance, threshold
from models.tabular.blend import Blend, Member
from models.tabular.bundle import write_bundle
from models.tabular.calibration import Calibration
from models.tabular.crossval import CrossValidation, RowProblem, refit
from models.tabular.graph import column_names
from models.tabular.metrics import labels, score
from models.tabular.outputs import OUTPUTS
from models.tabular.predictor import RowPredictor
from models.tabular.validation import answered, edge_tables, prove
from models.validation import Proof
from ray_jobs.tabular import gates
from tests.test_row_crossval import make_problem
from tests.test_tabular import make_rows

PARAMS = {"model": {}, "fit": {"max_epochs": 3}}


def make_blend(task: str) -> tuple[RowTable, Blend, np.ndarray]:
    problem = make_problem(task, "rmse" if task == "regression" else "log_loss")
    cv = CrossValidation(problem, "lightgbm", PARAMS, trial=0)
    list(cv.epochs())
    members = tuple(Member(encoding=t.shape.encoding, learner=t.learner, weight=1 / 3) for t in cv.trainings)
    calibration = Calibration(kind="temperature" if problem.table.classes else "none", temperature=1.5)
    blend = Blend(members=members, classes=problem.table.classes, calibration=calibration, threshold=0.3)
    return problem.table, blend, problem.final.valid


def proven(table: RowTable, blend: Blend, rows: np.ndarray, folder: Path) -> tuple[Proof, Path, dict[str, str]]:
    names, graph = column_names(table.columns, OUTPUTS), folder / "model.onnx"
    onnx.save(blend.graph(names), graph)
    assert table.target is not None
    mean, std = float(table.target.mean()), float(table.target.std())
    return prove(blend, graph, table, rows, names, mean=mean, std=std, tolerance=1e-5), graph, names


@pytest.mark.parametrize("task", ["regression", "binary", "classes"])
def test_a_bundle_answers_as_its_models_and_says_who_it_is(task: str, tmp_path: Path) -> None:
    table, blend, rows = make_blend(task)
    proof, graph, names = proven(table, blend, rows, tmp_path)
    assert proof.passed and proof.error < 1e-6
    assert {check.rows for check in proof.checks} >= {"holdout", "all missing", "unknown words", "kind missing"}
    expected = blend.scores(table, rows)
    assert answered(graph, table, rows, names) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    metrics = {"name": "m", "mean": 1.0, "std": 0.1, "folds": [1.0], "holdout": {"m": 1.0}}
    card = {"name": "n", "family": "lightgbm", "task": table.task, "target": "target", "metrics": metrics}
    write_bundle(tmp_path / "b", graph, blend, table.take(rows), names, card=card, proof=proof)
    frame = pd.DataFrame(
        {
            "since": pd.to_datetime(table.times[rows, 0].astype("datetime64[s]")),
            "kind": [("", *table.categories["kind"])[int(code)] for code in table.values[rows, 2]],
            "size": table.values[rows, 0],
            "another": 7,
            "the holes": table.values[rows, 1],
        },
        index=rows,
    )
    frame["since"] = frame["since"].mask(table.times[rows, 0] < 0)
    found = RowPredictor(tmp_path / "b").predict(frame)
    assert found.index.tolist() == rows.tolist()
    if task == "regression":
        assert found["value"].to_numpy() == pytest.approx(expected[:, 0], rel=1e-5, abs=1e-6)
    else:
        assert found["label"].tolist() == [table.classes[i] for i in labels(expected, 0.3)]
        assert found[f"probability of {table.classes[1]}"].to_numpy() == pytest.approx(expected[:, 1], abs=1e-6)
    said = json.loads((tmp_path / "b" / "vectors.json").read_text())
    assert set(said["inputs"]) == set(names.values())
    texts = frame["the holes"].astype(object).where(frame["the holes"].notna(), "n/a")  # as in a file of text
    assert RowPredictor(tmp_path / "b").predict(frame.assign(**{"the holes": texts})).equals(found)
    with pytest.raises(ValueError, match="lacks column 'size'"):
        RowPredictor(tmp_path / "b").predict(frame.drop(columns="size"))
    with pytest.raises(ValueError, match="column 'size' holds numbers in training"):
        RowPredictor(tmp_path / "b").predict(frame.assign(size="much"))
    for odd in (pd.Timestamp("2020"), pd.Timedelta("1h"), 3 + 1j):
        with pytest.raises(ValueError, match="column 'size' holds numbers in training: got"):
            RowPredictor(tmp_path / "b").predict(frame.assign(size=odd))
    with pytest.raises(ValueError, match="has 2 columns 'size'; leave one"):
        RowPredictor(tmp_path / "b").predict(pd.concat([frame, frame[["size"]]], axis=1))
    beyond, missing = (RowPredictor(tmp_path / "b").predict(frame.assign(size=odd)) for odd in (1e300, None))
    assert beyond.equals(missing)
    with pytest.raises(TypeError, match=r"got list; give pd.DataFrame\(records\)"):
        RowPredictor(tmp_path / "b").predict(frame.to_dict("records"))
    with pytest.raises(BundleError, match="RowPredictor"):
        Predictor(tmp_path / "b")


@pytest.mark.parametrize("task", ["regression", "classes"])
def test_a_graph_that_differs_is_found(task: str, tmp_path: Path) -> None:
    table, blend, rows = make_blend(task)
    _, graph, names = proven(table, blend, rows, tmp_path)
    other = replace(
        blend, members=tuple(replace(m, weight=w) for m, w in zip(blend.members, (0.2, 0.4, 0.4), strict=True))
    )
    found = prove(other, graph, table, rows, names, mean=0.0, std=1.0, tolerance=1e-5)
    assert not found.passed


def test_a_label_may_differ_only_where_it_is_open(tmp_path: Path) -> None:
    table, blend, rows = make_blend("binary")
    _, graph, names = proven(table, blend, rows, tmp_path)
    found = prove(replace(blend, threshold=0.6), graph, table, rows, names, mean=0.0, std=1.0, tolerance=1e-5)
    assert {check.output for check in found.checks if not check.passed} == {"label"}


def test_edge_rows_leave_the_real_ones_as_they_are() -> None:
    table = make_rows("binary")
    before = table.values.copy(), table.times.copy()
    assert len(edge_tables(table.take(np.arange(5)))) == 1 + 4 + 3 + 1 + 2
    assert np.array_equal(table.values, before[0], equal_nan=True) and np.array_equal(table.times, before[1])


def test_a_threshold_is_where_the_metric_is_best() -> None:
    table = check_rows(pd.DataFrame({"x": np.arange(10.0), "y": ["no"] * 7 + ["yes"] * 3}), target="y")
    up = np.array([0.05, 0.1, 0.1, 0.15, 0.2, 0.2, 0.25, 0.3, 0.35, 0.4])
    scores, rows = np.stack([1 - up, up], axis=1), np.arange(10)
    found = threshold.choose(table, rows, scores, "f1")
    assert 0.25 < found <= 0.3
    assert score(table, rows, scores, ["f1", "accuracy"], threshold=found) == {"f1": 1.0, "accuracy": 1.0}
    assert score(table, rows, scores, ["f1", "roc_auc"]) == {"f1": 0.0, "roc_auc": 1.0}  # at a half nobody is "yes"


def test_an_ensemble_weighs_what_helps_and_leaves_alone_what_does_not() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400).astype(np.float32)
    table = check_rows(pd.DataFrame({"x": np.arange(400.0), "y": truth}), target="y")
    noise = rng.normal(size=(3, 400))
    folds = np.split(np.arange(400), 4)
    one, other, bad = truth + noise[0], truth + noise[1], truth + 20 * noise[2]
    shares = ensemble.weights(table, folds, [each[:, None] for each in (one, other, bad)], "rmse")
    # Of two errors that are independent and as large, the mean's is least: 1 / sqrt 2.
    assert shares[0] == pytest.approx(0.5, abs=0.1) and shares[2] < 0.02 and sum(shares) == pytest.approx(1)
    assert ensemble.weights(table, folds, [truth[:, None], bad[:, None]], "rmse") == [1.0, 0.0]


def test_an_ensemble_is_judged_by_rows_that_did_not_weigh_it() -> None:
    """Each member is right in one fold alone: whoever the other fold chooses is wrong."""
    truth = np.arange(8, dtype=np.float32)
    table = check_rows(pd.DataFrame({"x": np.arange(8.0), "y": truth + 0.5}), target="y")
    folds, half = [np.arange(4), np.arange(4, 8)], np.array([0, 0, 0, 0, 1, 1, 1, 1])
    one, other = (truth + 0.5 + 9 * half)[:, None], (truth + 0.5 + 9 * (1 - half))[:, None]
    assert ensemble.judged(table, folds, [one, other], "rmse") == [9.0, 9.0]


def test_what_decides_matters_most() -> None:
    problem = make_problem("regression", "rmse")  # 2 size + 3 (kind == "high") + years + noise; holes tell nothing
    cv = CrossValidation(problem, "lightgbm", {"model": {}, "fit": {"max_epochs": 5}}, trial=0)
    list(cv.epochs())
    cv.predict_folds()
    costs = importance.permutation(problem, cv.trainings, seed=0)
    means = {name: float(np.mean(each)) for name, each in costs.items()}
    assert set(means) == {"size", "the holes", "kind", "since"} and all(len(each) == 3 for each in costs.values())
    assert means["size"] > means["kind"] > means["since"] > 10 * abs(means["the holes"])
    gains = importance.own(cv.trainings)
    assert gains is not None and sum(np.mean(each) for each in gains.values()) == pytest.approx(1)
    assert np.mean(gains["size"]) > 0.4
    assert importance.own(CrossValidation(problem, "linear", PARAMS, trial=0).trainings) is None


def test_gates_are_held_against_what_was_found() -> None:
    asked = gates.parse({"roc_auc": ">= 0.90", "cv_std": "<0.05", "latency_p95_ms": "< 50", "f1": "> 0.5"})
    found = gates.judge(asked, {"roc_auc": 0.9, "cv_std": 0.06, "latency_p95_ms": 1.0})
    assert [(each.name, each.passed) for each in found] == [
        ("roc_auc", True),
        ("cv_std", False),
        ("latency_p95_ms", True),
        ("f1", False),  # there is no such figure
    ]
    with pytest.raises(InputError, match=r"no figure 'roc_aux'.*'roc_auc'"):
        gates.parse({"roc_aux": ">= 0.9"})
    with pytest.raises(InputError, match=r"gates.f1='0.9' is no rule"):
        gates.parse({"f1": "0.9"})


# --- clusters


def blobs(n: int = 300, seed: int = 0) -> RowTable:
    """Three heaps of one, two and three parts of the rows, told by two numbers and a word; the second is skewed."""
    rng = np.random.default_rng(seed)
    heap = rng.choice(3, n, p=[1 / 6, 2 / 6, 3 / 6])
    frame = pd.DataFrame(
        {
            "x": 10 * heap + rng.normal(size=n),
            "y": np.exp(3 * (heap == 1) + 0.1 * rng.normal(size=n)),
            "word": np.array(["a", "b", "b"])[heap],
            "heap": np.array(["one", "two", "three"])[heap],
        }
    )
    frame.loc[3, "x"] = np.nan
    return check_rows(frame, target=None, labels=["heap"])


@pytest.mark.parametrize("family", ["kmeans", "dbscan", "hierarchical"])
def test_clusters_are_found_told_apart_and_shipped(family: str, tmp_path: Path) -> None:
    table, rows = blobs(), np.arange(300)
    inner, held = kfold(250, 3, seed=0), RowFold(name="holdout", train=rows[:250], valid=rows[250:])
    problem = RowProblem(table=table, folds=inner, final=held, scheme="random", metric="silhouette", seed=0)
    cv = CrossValidation(problem, family, PARAMS, trial=0)
    (last,) = cv.epochs()
    assert last.last and last.value > 0.6
    again = CrossValidation(problem, family, PARAMS, trial=0)
    again.load_state_dict(cv.state_dict())
    assert all(np.array_equal(*pair) for pair in zip(cv.predict_folds(), again.predict_folds(), strict=True))
    learner = refit(problem, family, PARAMS, trial=0, epochs=1)
    member = Member(encoding=learner.shape.encoding, learner=learner.learner, weight=1.0)
    blend = Blend(members=(member,), clusters=True)
    proof, graph, names = proven(replace(table, target=np.zeros(300, np.float32)), blend, held.valid, tmp_path)
    assert proof.passed and proof.output == "cluster"
    codes = answered(graph, table, rows, names)[:, 0].astype(np.int64)
    assert clustering.against(codes[codes >= 0], table.labels["heap"][codes >= 0])["adjusted_rand"] > 0.95
    sizes = np.bincount(codes[codes >= 0])
    assert sizes.tolist() == sorted(sizes, reverse=True) and (codes == -1).mean() < 0.2


def test_figures_of_clusters_are_those_by_hand() -> None:
    space = np.array([[0], [1], [10], [11], [100]], np.float32)
    codes = np.array([0, 0, 1, 1, -1])
    found = clustering.score(space, codes, list(clustering.METRICS))
    # a = 1; b = 10.5, 9.5, 9.5, 10.5; and the last row belongs to none.
    assert found["silhouette"] == pytest.approx((2 * (1 - 1 / 10.5) + 2 * (1 - 1 / 9.5)) / 5)
    assert found["davies_bouldin"] == pytest.approx((0.5 + 0.5) / 10)
    assert found["calinski_harabasz"] == pytest.approx((100 / 1) / (1 / 2))  # 4 * 5^2 between, 4 * 0.5^2 within
    alone = clustering.score(space, np.array([0, 0, 0, 0, -1]), list(clustering.METRICS))
    assert alone == {"silhouette": -1.0, "davies_bouldin": clustering.WORST_SPREAD, "calinski_harabasz": 0.0}
    assert clustering.stability([codes, 1 - codes]) == 1.0
    assert clustering.stability([np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])]) == pytest.approx(-0.5)
