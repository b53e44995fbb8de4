"""Sweeps on a real Ray, one for all tests: small table, small networks, every algorithm and scheduler."""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from torch import Tensor, nn

from models.export import export_onnx
from models.predictor import Predictor
from ray_jobs import cluster, compare, config, search, series, ship
from ray_jobs.kind import ProofError
from ray_jobs.proofs import Found, prove_all
from ray_jobs.study import ending, epochs
from search_spaces import load, unflatten
from tests.sweeps import run_sweep, settings

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(autouse=True)
def connected(ray_head: str) -> None:
    cluster.connect()


@pytest.mark.parametrize(
    ("algorithm", "scheduler"),
    [("tpe", "asha"), ("random", "none"), ("grid", "median"), ("hyperopt", "hyperband"), ("tpe", "pbt")],
)
def test_every_algorithm_and_scheduler_ends_the_trials_it_began(
    algorithm: str, scheduler: str, table: Path, tmp_path: Path
) -> None:
    flags = ["--trials", "8", "--max-epochs", "9", "--lookback", "12,24"]
    flags += ["--search.algorithm", algorithm, "--search.scheduler", scheduler]
    _, book, swept = run_sweep(settings(table, tmp_path, *flags), tmp_path)
    trials = book.finished()
    assert [t.number for t in trials] == list(range(8))
    assert all(t.state.is_finished() for t in book.study.trials)
    assert trials[0].params == {**load("linear").default, "window.lookback": 24}
    assert {t.params["window.lookback"] for t in trials} == {12, 24}
    best = book.best()
    assert best is not None
    kept = {path.name for path in (swept.folder / "checkpoints").iterdir()}
    assert kept == {f"trial-{best.number:05d}"}, "only the best trial's states are needed after the sweep"
    state = swept.states(best.number).newest()
    assert state is not None
    at = state.report["number"]  # epochs as short as these are not all worth a state
    assert state.report["value"] == {e["number"]: e["value"] for e in epochs(best)}[at]
    for trial in trials:
        curve = epochs(trial)
        assert [e["number"] for e in curve] == list(range(1, len(curve) + 1))
        assert ending(trial)["value"] == curve[-1]["value"] == pytest.approx(np.mean(curve[-1]["folds"]))
        assert len(curve[-1]["folds"]) == 5
    states = [ending(t)["state"] for t in trials]
    assert set(states) <= ({"complete"} if scheduler in ("none", "pbt") else {"complete", "pruned"})
    if scheduler == "asha":
        assert {len(epochs(t)) for t in trials if ending(t)["state"] == "pruned"} <= {1, 3}
    if scheduler == "pbt":
        assert any(ending(t)["params"] != {**t.params} for t in trials), "no trial took another's weights"


def test_time_that_is_spent_ends_a_sweep_with_what_it_has(table: Path, tmp_path: Path) -> None:
    flags = ["--trials", "1000", "--max-epochs", "500", "--time-budget", "15", "--search.scheduler", "none"]
    flags += ["--resources.concurrent", "1"]
    _, book, swept = run_sweep(settings(table, tmp_path, *flags), tmp_path)
    assert 15 <= swept.search_seconds < 45
    assert 1 <= len(book.finished()) < 1000
    assert book.best() is not None


def proofs_but(family: str) -> Any:
    def proven(*given: Any) -> dict[str, Found]:
        return {**prove_all(*given), family: ProofError(f"{family} differs")}

    return proven


def check_holdout(run: Path, table: Path, summary: dict[str, Any]) -> None:
    """What the summary says of the holdout is what the shipped file answers, on rows read afresh."""
    family = summary["family"]
    predictor = Predictor(run / "bundles" / family)
    held = pd.read_parquet(run / "holdout.parquet").query("model == @family")
    frame = pd.read_csv(table, parse_dates=["time"])
    first = held["origin_time"].iloc[0].tz_localize(None)
    answer = predictor.predict_table(frame[frame["time"] < first])
    assert answer[:, 0] == pytest.approx(held["predicted"].to_numpy()[:4], abs=1e-4)
    error = (held["truth"] - held["predicted"]).abs().mean()
    row = next(row for row in summary["leaderboard"] if row["name"] == family)
    assert row["holdout"]["mae"] == pytest.approx(error, rel=1e-5)
    assert (held["truth"].to_numpy()[:4] == frame.set_index("time")["load"].loc[first:].to_numpy(np.float32)[:4]).all()


def check_comparison(run: Path, summary: dict[str, Any], said: str, capsys: Any) -> None:
    """The comparison of the two families holds what the summary says, and compares with itself to the same."""
    compared = pd.read_parquet(run / "comparison.parquet").set_index("name")
    assert compared["kind"].value_counts().to_dict() == {"baseline": 4, "model": 2}
    for row in summary["leaderboard"]:
        assert compared.loc[row["name"], "mae"] == row["holdout"]["mae"]
    seconds = summary["training_seconds"] + summary["validation_seconds"]
    assert compared["training_seconds"].sum() == pytest.approx(seconds)
    before = (run / "comparison.html").read_bytes()
    assert compare.main([str(run)]) == 0
    assert (run / "comparison.html").read_bytes() == before
    assert next(line for line in said.splitlines() if line.startswith("best: ")) in capsys.readouterr().out


def test_a_run_leaves_everything_that_explains_it(
    table: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--trials", "3", "--max-epochs", "3", "--name", "whole", "--folds", "2", "--export.winner", "average"]
    with monkeypatch.context() as patch:  # a graph of one family that would not answer as PyTorch does
        patch.setattr(series, "prove_all", proofs_but("linear"))
        with pytest.raises(ProofError, match="linear differs"):
            search.search(settings(table, tmp_path, *flags), ["linear", "tcn"])
    run = tmp_path / "whole"
    assert [file.name for file in (run / "bundles").iterdir()] == ["tcn"]
    assert list(json.loads((run / "summary.json").read_text())["winners"]) == ["tcn"]
    assert "linear has no winner: linear differs" in (run / "report.html").read_text()
    assert not (run / "DONE").exists()
    assert list(run.glob("sweep-linear/checkpoints/*/*")), "what was trained is kept for the one who goes on"

    assert run == search.search(settings(table, tmp_path, *flags), ["linear", "tcn"], resume=True)
    names = {file.name for file in run.iterdir()}
    assert names == {
        "config.yaml", "study.db", "trials.parquet", "curves.parquet", "oof.parquet", "holdout.parquet",
        "summary.json", "report.html", "best.yaml", "best-linear.yaml", "best-tcn.yaml", "bundles", "DONE",
        "comparison.parquet", "comparison.html",
    }  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    assert [set(summary["winners"]), summary["trials"].get("failed", 0)] == [{"linear", "tcn"}, 0]
    assert {row["name"] for row in summary["leaderboard"]} == {
        "linear", "tcn", "last value", "seasonal naive", "drift", "mean",
    }  # fmt: skip
    first, *_ = (run / "config.yaml").read_text().splitlines()
    assert first == f"# the run again: python -m ray_jobs.search linear tcn --config {run}/config.yaml"
    again = config.parse(["--config", str(run / "config.yaml")], prog="test", description="")
    assert again.search.trials == 3
    assert again.data.targets == ["load"]
    check_holdout(run, table, summary)

    family = summary["family"]
    oof = pd.read_parquet(run / "oof.parquet").query("family == @family")
    by_fold = (oof["truth"] - oof["predicted"]).abs().groupby(oof["fold"]).mean()
    assert by_fold.to_numpy() == pytest.approx(summary["best"]["folds"], rel=1e-5)
    assert optuna.load_study(storage=f"sqlite:///{run}/study.db", study_name=family).best_value == pytest.approx(
        min(e["value"] for t in [summary["best"]] for e in [t]), rel=1e-9
    )
    said = capsys.readouterr().out
    assert "report:" in said
    check_comparison(run, summary, said, capsys)


def test_every_head_leaves_the_sweep_in_bundle_tables_and_report(table: Path, tmp_path: Path) -> None:
    flags = ["--trials", "2", "--max-epochs", "2", "--name", "heads", "--search.metric", "pinball"]
    flags += [
        "--heads.direction",
        "[0.5, 1.0]",
        "--heads.band",
        "2",
        "--heads.quantiles",
        "1",
        "--heads.steps",
        "[1,1,1,2]",
    ]
    before = signal.getsignal(signal.SIGINT)
    run = search.search(settings(table, tmp_path, *flags), ["lstm"])
    assert signal.getsignal(signal.SIGINT) is before, "Ray Train took the signal that is ours to answer"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["kind"] == "refit"
    best = summary["best"]["params"]
    assert best["fit.direction_weight"] in (0.5, 1.0) and best["fit.step_weights"] == "1 1 1 2"
    held = pd.read_parquet(run / "holdout.parquet")
    shares = held[["probability of down", "probability of flat", "probability of up"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(np.ones(len(held)), abs=1e-5)
    assert (held["quantile 0.1"] <= held["quantile 0.5"]).all() and (held["quantile 0.5"] <= held["quantile 0.9"]).all()
    rows = {row["name"]: row["holdout"] for row in summary["leaderboard"]}
    assert set(rows) == {"lstm", "last value", "seasonal naive", "drift", "mean"}
    own = held[held["model"] == "lstm"]
    inside = own["truth"].between(own["quantile 0.1"], own["quantile 0.9"]).mean()
    assert rows["lstm"]["coverage"] == pytest.approx(inside, abs=1e-6)
    directions = summary["holdout"]["directions"]
    assert [row["step"] for row in directions] == [1, 2, 3, 4]
    for row in directions:
        assert row["low"] <= row["accuracy"] - row["base_rate"] <= row["high"] and 1 / 3 <= row["base_rate"] < 1
    predictor = Predictor(run / "bundles" / "lstm")
    assert [each["name"] for each in predictor.card["outputs"]] == ["future", "direction", "quantiles"]
    page = (run / "report.html").read_text()
    assert "Directions" in page and "base rate" in page and "Intervals from dropout" in page
    again = config.parse(["--config", str(run / "config.yaml")], prog="test", description="")
    assert again.heads.direction == [0.5, 1.0] and again.heads.steps == [1, 1, 1, 2]


def test_workers_inside_a_trial_score_as_one_worker_does(table: Path, tmp_path: Path) -> None:
    """Two workers take the steps that one takes: dropout aside, which the linear family has not."""
    flags = ["--trials", "1", "--max-epochs", "2", "--resources.workers_per_trial", "2"]
    problem, book, swept = run_sweep(settings(table, tmp_path, *flags), tmp_path)
    assert swept.states(0).newest() is not None
    [trial] = book.finished()
    params = unflatten({**trial.params, **book.fixed, "fit.max_epochs": 2})
    alone = [epoch.value for epoch in problem.cross_validation("linear", params, trial=0).epochs()]
    assert [e["value"] for e in epochs(trial)] == pytest.approx(alone, rel=1e-4)


def test_fold_models_are_averaged_after_blocked_folds(table: Path, tmp_path: Path) -> None:
    flags = ["--trials", "1", "--max-epochs", "1", "--validation.scheme", "blocked", "--name", "blocked"]
    run = search.search(settings(table, tmp_path, *flags), ["linear"])
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["kind"] == "average"
    assert summary["onnx_error"]["linear"] <= 1e-5


def test_a_graph_that_differs_is_not_shipped(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def export_something_else(model: nn.Module, path: Path, inputs: dict[str, Tensor], **kwargs: Any) -> None:
        other = copy.deepcopy(model)
        next(other.parameters()).data.add_(0.01)
        export_onnx(other, path, inputs, **kwargs)

    monkeypatch.setattr(ship, "export_onnx", export_something_else)
    arguments = ["--data", str(table), "--target", "load", "--lookback", "24", "--horizon", "4", "--trials", "1"]
    arguments += ["--max-epochs", "1", "--export.winner", "average"]
    with pytest.raises(SystemExit) as ended:
        search.main("linear", arguments=[*arguments, "--runs", str(tmp_path), "--name", "other"])
    assert ended.value.code == 3
    assert "the ONNX graph of linear differs from PyTorch" in capsys.readouterr().err
    assert not list((tmp_path / "other").rglob("*.onnx"))
    assert not (tmp_path / "other" / "DONE").exists()
