"""What is wrong with a table of rows or a setting is said in one line, with exit code 2, before Ray starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ray_jobs.tune_tabular import run

pytestmark = pytest.mark.usefixtures("nothing_starts")

Change = Callable[[pd.DataFrame], pd.DataFrame]
TARGET = ["--target", "churned"]
LINEAR = [*TARGET, "--families", "linear"]
AMOUNT = ["--target", "spent"]

# name, change of the table, flags besides --data, what the line must say
CASES: list[tuple[str, Change | None, list[str], list[str]]] = [
    ("no target", None, [], ["of rows one target is predicted", "--target churned"]),
    ("two targets", None, ["--target", "churned,spent"], ["of rows one target", "churned, spent"]),
    ("target misspelt", None, ["--target", "churn"], ["'churn'", "did you mean 'churned'?"]),
    ("constant target", lambda f: f.assign(churned="no"), TARGET, ["'churned'", "constant"]),
    ("infinite target", lambda f: f.replace({"spent": {f["spent"][7]: np.inf}}), AMOUNT, ["'spent'", "infinite"]),
    ("dropped misspelt", None, [*TARGET, "--data.drop", "idd"], ["'idd'", "did you mean 'id'?"]),
    ("dropped target", None, [*TARGET, "--data.drop", "churned"], ["'churned'", "both target and dropped"]),
    ("a rare class", lambda f: f.assign(churned=["a"] * 197 + ["b"] * 3), TARGET, ["class", "5 stratified folds"]),
    ("metric of amounts", None, [*TARGET, "--search.metric", "rmse"], ["'rmse'", "classification", "roc_auc"]),
    ("metric of classes", None, [*AMOUNT, "--search.metric", "roc_auc"], ["'roc_auc'", "regression", "rmse"]),
    ("metric of series", None, [*AMOUNT, "--search.metric", "smape"], ["'smape' does not judge these", "rmse"]),
    ("lookback", None, [*TARGET, "--lookback", "12"], ["window.lookback=12 is for series"]),
    ("heads", None, [*TARGET, "--heads.direction", "1"], ["heads.direction=1", "is for series"]),
    ("series", None, [*TARGET, "--series", "id"], ["data.series='id' is for series"]),
    ("blocked", None, [*TARGET, "--validation.scheme", "blocked"], ["'blocked' is for series", "stratified"]),
    ("stratified amounts", None, [*AMOUNT, "--validation.scheme", "stratified"], ["stratified needs classes"]),
    ("grouped by nothing", None, [*TARGET, "--validation.scheme", "grouped"], ["'grouped' needs data.group"]),
    ("in no order", None, [*TARGET, "--validation.scheme", "walk_forward"], ["'walk_forward' needs data.time"]),
    ("few groups", None, [*TARGET, "--data.group", "plan"], ["5 folds and a holdout need at least 6 groups, got 2"]),
    ("balanced amounts", None, [*AMOUNT, "--data.class_weights", "balanced"], ["class_weights", "needs classes"]),
    ("positive misspelt", None, [*TARGET, "--data.positive", "y"], ["'y' is no class of 'churned': no, yes"]),
    ("positive amounts", None, [*AMOUNT, "--data.positive", "1"], ["data.positive='1' chooses between two classes"]),
    ("workers", None, [*LINEAR, "--resources.workers_per_trial", "2"], ["a trial of linear has one worker"]),
    ("gate misspelt", None, [*TARGET, "--gates", "{roc_auk: '> 0.5'}"], ["'roc_auk'", "did you mean 'roc_auc'?"]),
    ("gate without a sign", None, [*TARGET, "--gates", "{f1: '0.5'}"], ["gates.f1='0.5' is no rule"]),
    ("gate of a number", None, [*TARGET, "--gates", "{f1: 0.5}"], ["0.5, which is no text; put it in quotes"]),
    ("threshold of 2", None, [*TARGET, "--export.threshold", "2"], ["'f1', or less than 1, got 2"]),
    ("family of series", None, [*TARGET, "--families", "lstm"], ["of series: python ray_jobs/search.py lstm"]),
    ("gates of a number", None, [*TARGET, "--gates", "3"], ["gates", "got 3"]),
    ("threshold of amounts", None, [*AMOUNT, "--export.threshold", "0.4"], ["export.threshold=0.4", "amounts"]),
    ("threshold of three", lambda f: f.assign(churned=list("abcde") * 40), [*TARGET, "--export.threshold", "f1"],
     ["export.threshold='f1' chooses between two classes", "has 5"]),
    ("amounts as classes", None, [*AMOUNT, "--data.task", "classification"], ["classes in 200 rows", "regression"]),
    ("metric in short", None, [*TARGET, "--search.metric", "roc_au"], ["did you mean 'roc_auc'?"]),
    ("flag misspelt", None, [*TARGET, "--familes", "linear"], ["unknown flag --familes (did you mean '--families'?)"]),
    ("threshold", None, [*TARGET, "--export.threshold", "1.5"], ["export.threshold"]),
    ("family", None, [*TARGET, "--families", "lightgmb"], ["'lightgmb'", "did you mean 'lightgbm'?"]),
    ("families twice", None, [*LINEAR, "--families=lightgmb"], ["'lightgmb'", "did you mean 'lightgbm'?"]),
    ("clusters of a target", None, [*TARGET, "--families", "kmeans"], ["kmeans finds clusters", "task clustering"]),
    ("a target of clusters", None, [*TARGET, "--data.task", "clustering"], ["a clustering has no target", "churned"]),
    ("trees of clusters", None, ["--data.task", "clustering"], ["lightgbm predicts a target", "kmeans"]),
    ("labels of a target", None, [*TARGET, "--data.labels", "plan"], ["data.labels are what a clustering"]),
    ("metric of clusters", None, [*TARGET, "--search.metric", "silhouette"], ["'silhouette'", "roc_auc"]),
    ("gate of clusters", None, [*TARGET, "--gates", "{silhouette: '> 0.5'}"], ["silhouette does not judge"]),
    ("gate of known groups", None, ["--data.task", "clustering", "--families", "kmeans", "--gates",
     "{adjusted_rand: '> 0.5'}"], ["adjusted_rand needs one column of known groups", "data.labels"]),
    ("gate of stability", None, [*TARGET, "--gates", "{stability: '> 0.5'}"], ["stability does not judge"]),
    ("averaged clusters", None, ["--data.task", "clustering", "--families", "kmeans", "--export.winner", "average"],
     ["export.winner=average", "no numbers"]),
    ("a copy", lambda f: f.assign(left=f["churned"].map({"yes": 7, "no": 3})), TARGET, ["'left'", "a copy of it"]),
    ("a copied amount", lambda f: f.assign(cents=100 * f["spent"] + 1), AMOUNT, ["'cents'", "a copy of it"]),
    ("no families", None, [*TARGET, "--families"], ["name at least one family", "lightgbm"]),
    ("fixed misspelt", None, [*TARGET, "--search.fixed", "{model.leafs: 3}"], ["'model.leafs'", "'model.leaves'"]),
    ("fixed too high", None, [*TARGET, "--search.fixed", "{model.leaves: 1000}"], ["between 7 and 127", "got 1000"]),
    ("fixed to nothing", None, [*TARGET, "--search.fixed", "{model.max_bin: 0}"], ["must be 1 or more, got 0"]),
    ("families in one word", None, [*TARGET, "--families=linear,lightgmb"], ["no model family 'lightgmb'"]),
    ("fixed text", None, [*TARGET, "--search.fixed", "{model.max_bin: many}"], ["must be int", "'many'"]),
    ("negative weight", None, [*TARGET, "--data.weight", "owed"], ["'owed'"]),
    ("a fold of one class", lambda f: f.assign(churned=["a"] * 100 + ["b"] * 100),
     [*TARGET, "--data.time", "day"], ["roc_auc", "no value on"]),
]  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"spent": rng.normal(size=200), "owed": rng.normal(size=200)})
    frame["plan"] = np.where(frame["spent"] > 0, "gold", "tin")
    frame["churned"] = np.where(frame["owed"] + rng.normal(size=200) > 0, "yes", "no")
    frame["id"] = [f"c{i}" for i in range(200)]
    frame["day"] = pd.date_range("2024-01-01", periods=200)
    return frame


@pytest.mark.parametrize(("change", "flags", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_ends_in_one_line_before_ray_starts(
    change: Change | None,
    flags: list[str],
    says: list[str],
    table: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (change(table) if change else table).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(SystemExit) as ended:
        run(["--data", str(tmp_path / "rows.parquet"), "--runs", str(tmp_path / "runs"), *flags])
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1
    assert all(part in said for part in says), said
    assert not (tmp_path / "runs").exists()
