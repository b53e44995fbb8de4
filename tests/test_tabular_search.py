"""Rows on Ray: what a run leaves, that it answers, and how it ends."""

from __future__ import annotations

import importlib
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.samples import read_sample
from models.tabular.predictor import RowPredictor
from ray_jobs import cluster, config, portfolio, search
from ray_jobs.interrupt import Interrupted
from ray_jobs.search import GateError
from ray_jobs.settings import Config
from ray_jobs.sweep import HaltedError
from ray_jobs.tabular import kind
from search_spaces import unflatten

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(autouse=True)
def connected(ray_head: str) -> None:
    cluster.connect()


def settings(runs: Path, *flags: str) -> Config:
    common = ["--sample", "titanic", "--runs", str(runs), "--name", "run", "--trials", "3", "--max-epochs", "4"]
    return config.parse([*common, *flags], prog="test", description="")


def test_several_families_leave_bundles_a_report_and_their_ensemble(tmp_path: Path) -> None:
    asked = settings(tmp_path, "--target", "survived", "--data.drop", "name")
    asked = asked.model_copy(update={"gates": {"roc_auc": ">= 0.7", "size_mb": "< 5"}})
    run = search.search(asked, ["lightgbm", "linear"], kind=kind)
    summary = json.loads((run / "summary.json").read_text())
    assert (run / "DONE").exists() and summary["task"] == "classification" and summary["scheme"] == "stratified"
    names = [row["name"] for row in summary["leaderboard"]]
    assert {"lightgbm", "linear", "constant"} <= set(names) and names[-1] == "constant"
    assert all(error < 1e-6 for error in summary["onnx_error"].values())
    assert all(verdict["passed"] for verdicts in summary["gates"].values() for verdict in verdicts)
    costs = {name: np.mean(each) for name, each in summary["importance"]["lightgbm"].items()}
    assert max(costs, key=lambda name: costs[name]) == "sex"
    held = pd.read_parquet(run / "holdout.parquet")
    frame = read_sample("titanic")
    for name in {"lightgbm", "linear", "ensemble"} & set(names):
        own = held[held["model"] == name]
        found = RowPredictor(run / "bundles" / name).predict(frame.iloc[own["row"]])
        assert found["probability of 1"].to_numpy() == pytest.approx(own["probability of 1"].to_numpy(), abs=1e-6)
        assert found["label"].tolist() == own["predicted"].tolist()
        assert (own["truth"] == own["predicted"]).mean() > 0.7
    curves = pd.read_parquet(run / "curves.parquet")
    assert curves[curves["family"] == "lightgbm"].groupby("trial")["epoch"].max().min() >= 2, "their grace"
    judged = pd.read_parquet(run / "oof.parquet").groupby("family")["row"]
    assert all(rows.is_unique and not set(rows) & set(held["row"]) for _, rows in judged)
    page = (run / "report.html").read_text()
    assert all(f'id="{part}"' in page for part in ("gates", "answers", "confusion", "importance", "calibration"))


def test_a_gate_that_fails_ends_so_after_everything_was_written(tmp_path: Path) -> None:
    """An amount, a group that stays together, one model on all rows."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "shop": rng.integers(0, 40, 300)})
    frame["sales"] = 100 + 10 * frame["x"] + rng.normal(size=300)
    frame.to_csv(tmp_path / "sales.csv", index=False)
    flags = ["--sample", "titanic", "--target", "sales", "--data.group", "shop", "--export.winner", "refit"]
    asked = settings(tmp_path, *flags)
    data = asked.data.model_copy(update={"sample": None, "path": str(tmp_path / "sales.csv")})
    asked = asked.model_copy(update={"data": data, "gates": {"r2": ">= 0.5", "rmse": "< 0.01"}})
    for resume in (False, True):  # it does not pass by being asked again
        with pytest.raises(GateError, match=r"random_forest fails gate rmse < 0.01: \d") as said:
            search.search(asked, ["random_forest"], kind=kind, resume=resume)
        assert "r2" not in str(said.value)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["scheme"] == "grouped" and summary["winners"]["random_forest"]["kind"] == "refit"
    card = json.loads((tmp_path / "run" / "bundles" / "random_forest" / "bundle.json").read_text())
    assert [gate["passed"] for gate in card["gates"]] == [True, False]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_two_workers_grow_the_trees_of_one_trial(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds half of the rows; bins come from other samples of them, so the trees are alike and not the same."""
    monkeypatch.setitem(importlib.import_module(f"search_spaces.tabular.{family}").DEFAULT["model"], "crossed", 4)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(900, 3)), columns=["x", "y", "z"])
    frame["up"] = np.where(frame["x"] > frame["y"] + rng.normal(size=900), "yes", "no")
    frame.to_csv(tmp_path / "up.csv", index=False)
    asked = settings(tmp_path, "--target", "up", "--trials", "1", "--resources.workers_per_trial", "2")
    data = asked.data.model_copy(update={"sample": None, "path": str(tmp_path / "up.csv")})
    asked = asked.model_copy(update={"data": data})
    summary = json.loads((search.search(asked, [family], kind=kind) / "summary.json").read_text())
    assert summary["onnx_error"][family] < 1e-6
    params = unflatten({**summary["best"]["params"], "fit.max_epochs": 4})
    alone = kind.problem(kind.complete(asked)).cross_validation(family, params, trial=0)
    *_, last = alone.epochs()
    assert all(len(fold.learner.crossing.pairs) == 3 for fold in alone.trainings), "pairs are seen"
    assert summary["best"]["value"] != last.value, "the rows were dealt to nobody"
    assert [summary["best"]["value"], last.value] == [pytest.approx(0.83, abs=0.03)] * 2


def test_a_use_case_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "kind: rows\nfamilies: [linear]\ndata: {sample: titanic, drop: [name]}\nsearch: {trials: 1}\n"
    (tmp_path / "bad.yaml").write_text(text.replace("drop: [name]", "drop: [nane]"))
    (tmp_path / "good.yaml").write_text(text)
    files = [str(tmp_path / name) for name in ("bad.yaml", "good.yaml")]
    given = [*files, "--runs", str(tmp_path / "runs"), "--name", "both", "--time-budget", "600"]
    for again in ([], ["--resume"]):
        with pytest.raises(SystemExit) as ended:
            portfolio.main([*given, *again])
        assert ended.value.code == 2
        assert "no dropped column 'nane' (did you mean 'name'?)" in capsys.readouterr().err
    folder = tmp_path / "runs" / "both"
    bad, good = json.loads((folder / "portfolio.json").read_text())
    assert (bad["code"], bad["family"], good["code"], good["family"]) == (2, None, 0, "linear")
    assert [each.name for each in (folder / "bundles").iterdir()] == ["good"]
    assert RowPredictor(folder / "bundles" / "good").card["target"] == "survived"
    assert good["cv_mean"] > 0.7
    (tmp_path / "good.yaml").write_text(text.replace("trials: 1", "seed: 1"))
    with pytest.raises(SystemExit):
        portfolio.main([*given, "--resume"])
    assert "use case 'good' was begun with search.seed=0, not 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: rows\nfamilies: [lightgmb]\n", "no family 'lightgmb' (did you mean 'lightgbm'?)"),
        ("kind: [rows]\nfamilies: [linear]\n", "kind must be series or rows, got ['rows']"),
        ("kind: rows\nfamilies: linear\n", "families must be a list"),
        ("kind: rows\nfamilies: [linear]\nserach: {}\n", "unknown key 'serach'"),
        ("kind: rows\nfamilies: [linear]\nwindow: {lookback: 3}\n", "window.lookback=3 is for series"),
    ],
)
def test_a_use_case_that_is_wrong_is_told_of_before_any_begins(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.yaml").write_text("kind: rows\nfamilies: [linear]\n")
    (tmp_path / "bad.yaml").write_text(text)
    files = [str(tmp_path / name) for name in ("good.yaml", "bad.yaml")]
    with pytest.raises(SystemExit) as ended:
        portfolio.main([*files, "--runs", str(tmp_path / "runs")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and says in said and "bad.yaml" in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_use_case_that_halts_does_not_stop_the_others_and_a_signal_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = []

    def halt(settings: Config, *rest: object, **more: object) -> None:
        begun.append(settings.name)
        if settings.name == "b":
            with suppress(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
        raise HaltedError("no room")

    monkeypatch.setattr(portfolio, "search", halt)
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text("kind: rows\nfamilies: [linear]\n")
    with pytest.raises(SystemExit) as ended:
        portfolio.main([*(str(tmp_path / f"{name}.yaml") for name in "abc"), "--runs", str(tmp_path / "runs")])
    assert ended.value.code == 4 and begun == ["a", "b"]
    assert "--resume" in capsys.readouterr().err


def test_clusterings_leave_a_picture_a_profile_and_a_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heap = rng.integers(0, 3, 240)
    frame = pd.DataFrame({"x": 8 * heap + rng.normal(size=240), "y": -8 * heap + rng.normal(size=240), "heap": heap})
    frame.to_csv(tmp_path / "heaps.csv", index=False)
    flags = ["--data", str(tmp_path / "heaps.csv"), "--data.task", "clustering", "--data.labels", "heap"]
    common = ["--runs", str(tmp_path), "--name", "run", "--trials", "2"]
    asked = config.parse([*flags, *common], prog="test", description="")
    run = search.search(asked, ["kmeans", "dbscan"], kind=kind)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["task"] == "clustering" and set(summary["clusters"]) == {"kmeans", "dbscan"}
    held = {row["name"]: row["holdout"] for row in summary["leaderboard"]}
    assert held["kmeans"]["adjusted_rand"] > 0.9 and held["kmeans"]["stability"] > 0.9
    page = (run / "report.html").read_text()
    assert all(f'id="{part}"' in page for part in ("clusters-0", "flat-1", "leaderboard"))
    found = RowPredictor(run / "bundles" / "kmeans").predict(frame)["cluster"]
    assert len(pd.crosstab(found, frame["heap"])) == 3
    card = json.loads((run / "bundles" / "dbscan" / "bundle.json").read_text())
    assert (
        "nearest core point" in card["rule"] and "nearest core point" in (run / "bundles/dbscan/README.md").read_text()
    )
