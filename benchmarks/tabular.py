"""A sweep of rows beside what one would otherwise do, on the same rows, folds and holdout.

    python benchmarks/tabular.py untuned runs/credit        # the winner beside an untuned LightGBM fold ensemble
    python benchmarks/tabular.py search --data credit.parquet --target y --drop ID      # beside RandomizedSearchCV
    python benchmarks/tabular.py asha --data credit.parquet --target y --drop ID        # with ASHA and without

`untuned` reads a run's configuration and scores, on the run's own holdout, LightGBM with `UNTUNED` settings, early
stopping on each of the run's folds, the folds' models averaged. `search` runs Foldline's LightGBM sweep and
scikit-learn's RandomizedSearchCV over the same space, as many trials, rounds at most and cores, and the same folds;
neither may end a fold early but Foldline's patience and ASHA. Pairs of columns are a step of scikit-learn's pipeline,
chosen as Foldline does by a first twenty rounds, which come on top of its rounds (4 in 100). Foldline's first trials
are the starts of its space, as always. `asha` runs the same trials with ASHA and without, and
counts boosting rounds. Writes benchmarks/results/tabular-<what>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _paths
import lightgbm
import numpy as np
import pandas as pd
from _process import ROOT, environment
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline

from models.scaling import Statistics
from models.tabular._boosting import ROUNDS
from models.tabular.crossing import Crossing, strongest
from models.tabular.crossval import RowProblem
from models.tabular.metrics import METRICS, score
from ray_jobs import config
from ray_jobs.tabular import prepare
from search_spaces import load
from search_spaces.tabular import FOLDER

UNTUNED: dict[str, dict[str, Any]] = {
    "classification": {},  # LightGBM's own settings
    "regression": {"num_leaves": 63, "learning_rate": 0.03, "feature_fraction": 0.6},
}
MOST_ROUNDS, PATIENCE = 5000, 100
# Our names of settings -> those of steps of scikit-learn's pipeline.
NAMES = {
    "leaves": "trees__num_leaves",
    "crossed": "pairs__crossed",
    "lr": "trees__learning_rate",
    "min_leaf": "trees__min_child_samples",
    "columns": "trees__colsample_bytree",
    "rows": "trees__subsample",
    "l1": "trees__reg_alpha",
    "l2": "trees__reg_lambda",
}
SCORERS = {"roc_auc": "roc_auc", "log_loss": "neg_log_loss", "rmse": "neg_root_mean_squared_error"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whats = parser.add_subparsers(dest="what", required=True)
    one = whats.add_parser("untuned")
    one.add_argument("run", type=_paths.folder, help="the folder of a run of rows")
    for name in ("search", "asha"):
        other = whats.add_parser(name)
        other.add_argument("--data", type=_paths.file, required=True)
        other.add_argument("--target", required=True)
        other.add_argument("--drop", default="")
        other.add_argument("--trials", type=int, default=30)
        other.add_argument("--max-epochs", type=int, default=27, help=f"of {ROUNDS} boosting rounds")
    for each in whats.choices.values():
        each.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "untuned" and not (given.run / "summary.json").exists():
        parser.error(f"{given.run} is no finished run: it has no summary.json")
    result = {"untuned": untuned, "search": search, "asha": asha}[given.what](given)
    out = given.out or ROOT / "benchmarks" / "results" / f"tabular-{given.what}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")
    for name, value in result.items():
        print(f"{name:<28} {value:.6g}" if isinstance(value, float) else f"{name:<28} {value}")


def untuned(given: argparse.Namespace) -> dict[str, Any]:
    """The winner's holdout score, and that of an untuned fold ensemble of LightGBM."""
    summary = json.loads((given.run / "summary.json").read_text(encoding="utf8"))
    problem = prepare.problem(config.check(config.read_yaml(given.run / "config.yaml", "run")))
    if problem.fingerprint != summary["data"]["fingerprint"]:
        raise SystemExit("the table is not the run's any more")
    ours = next(row for row in summary["leaderboard"] if row["name"] == summary["family"])["holdout"][problem.metric]
    plain = score(problem.table, problem.final.valid, _untuned(problem), [problem.metric])[problem.metric]
    return {
        "metric": problem.metric,
        "winner": summary["family"],
        "winner_holdout": ours,
        "untuned_holdout": plain,
        "ratio": ours / plain,
        "wall_seconds": summary["wall_seconds"],
    }


def _untuned(problem: RowProblem) -> NDArray[np.float64]:
    """The mean over folds of what LightGBM answers for the holdout, stopped early on each fold's validation rows."""
    table, scores = problem.table, []
    if len(table.classes) > 2 or table.weight is not None:
        raise SystemExit("two classes or an amount, and no weights: nothing else is compared")
    assert table.target is not None
    two = len(table.classes) == 2
    objective = {"objective": "binary", "metric": "auc"} if two else {"objective": "regression", "metric": "rmse"}
    for fold in problem.folds:
        frames = {rows: _frame(problem, part) for rows, part in (("train", fold.train), ("valid", fold.valid))}
        train = lightgbm.Dataset(frames["train"], table.target[fold.train])
        booster = lightgbm.train(
            {**objective, **UNTUNED[table.task], "verbose": -1, "seed": 0},
            train,
            MOST_ROUNDS,
            valid_sets=[lightgbm.Dataset(frames["valid"], table.target[fold.valid], reference=train)],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        up = np.asarray(booster.predict(_frame(problem, problem.final.valid)))
        scores.append(np.stack([1 - up, up], axis=1) if two else up[:, None])
    mean: NDArray[np.float64] = np.mean(scores, axis=0)
    return mean


def _frame(problem: RowProblem, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Rows as LightGBM takes them by itself: words as its categories, times as seconds."""
    table = problem.table
    frame = pd.DataFrame(table.values[rows], columns=list(table.names))
    for name, words in table.categories.items():
        frame[name] = pd.Categorical(frame[name].astype(int), categories=range(len(words) + 1))
    for place, name in enumerate(table.time_names):
        frame[name] = table.times[rows, place].astype(np.float64)
    return frame


def search(given: argparse.Namespace) -> dict[str, Any]:
    """Foldline's sweep and RandomizedSearchCV, in one run, one after the other."""
    ours = _sweep(given, "asha")
    problem = ours.pop("problem")
    table, rest = problem.table, problem.final.train
    place = np.full(table.n_rows, -1)
    place[rest] = np.arange(len(rest))
    kind = lightgbm.LGBMClassifier if table.classes else lightgbm.LGBMRegressor
    estimator = kind(n_estimators=given.max_epochs * ROUNDS, subsample_freq=1, n_jobs=1, verbose=-1, random_state=0)
    ranges = {NAMES[name.removeprefix("model.")]: _drawn(d) for name, d in load("lightgbm", FOLDER).ranges.items()}
    folds = [(place[fold.train], place[fold.valid]) for fold in problem.folds]
    theirs = RandomizedSearchCV(
        Pipeline([("pairs", Pairs(kind)), ("trees", estimator)]),
        ranges,
        n_iter=given.trials,
        scoring=SCORERS[problem.metric],
        cv=folds,
        n_jobs=os.cpu_count(),
        refit=False,
        random_state=0,
    )
    began = time.perf_counter()
    theirs.fit(_frame(problem, rest), table.target[rest])
    seconds = time.perf_counter() - began
    sign = 1.0 if METRICS[problem.metric].direction == "max" else -1.0
    return {
        **{f"foldline_{name}": value for name, value in ours.items()},
        "sklearn_seconds": seconds,
        "sklearn_fits": given.trials * len(folds),
        "sklearn_rounds": given.trials * len(folds) * given.max_epochs * ROUNDS,
        "sklearn_best": sign * float(theirs.best_score_),
        "seconds_ratio": ours["wall_seconds"] / seconds,
    }


class Pairs(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Foldline's `crossed` as a step before an estimator: what a first estimator of `kind` gains most by is paired."""

    def __init__(self, kind: type[Any], crossed: int = 0) -> None:
        self.kind, self.crossed = kind, crossed

    def fit(self, frame: pd.DataFrame, target: NDArray[Any]) -> Pairs:
        self.crossing_ = None
        if self.crossed:
            first = self.kind(n_estimators=ROUNDS, n_jobs=1, verbose=-1, importance_type="gain").fit(frame, target)
            amounts = frame.select_dtypes("number")
            gains = first.feature_importances_[frame.columns.get_indexer(amounts.columns)]
            spread = Statistics.fit(amounts.to_numpy(np.float32), np.arange(len(amounts))).std
            self.crossing_ = Crossing.of(strongest(gains, self.crossed), spread)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.crossing_ is None:
            return frame
        amounts = frame.select_dtypes("number").to_numpy(np.float32)
        told = self.crossing_(amounts)[:, amounts.shape[1] :]
        names = [f"pair_{place}" for place in range(told.shape[1])]
        return pd.concat([frame, pd.DataFrame(told, frame.index, names)], axis=1)


def asha(given: argparse.Namespace) -> dict[str, Any]:
    """Boosting rounds and the best score, with ASHA and without."""
    found = {scheduler: _sweep(given, scheduler) for scheduler in ("asha", "none")}
    return {
        **{f"{s}_{name}": value for s, each in found.items() for name, value in each.items() if name != "problem"},
        "rounds_ratio": found["asha"]["rounds"] / found["none"]["rounds"],
        "difference": found["asha"]["best"] - found["none"]["best"],
    }


def _sweep(given: argparse.Namespace, scheduler: str) -> dict[str, Any]:
    """Foldline's own command in a process of its own, its whole wall time with Ray's start, report and bundle."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "ray_jobs/tune_tabular.py", "--data", str(Path(given.data).resolve())]
        command += ["--target", given.target, "--families", "lightgbm", "--trials", str(given.trials)]
        command += ["--max-epochs", str(given.max_epochs), "--search.scheduler", scheduler]
        # Random draws, as RandomizedSearchCV's: what is compared is what trials cost, and with and without ASHA the
        # same ones are tried.
        command += ["--search.algorithm", "random", "--runs", folder, "--name", "run"]
        command += ["--data.drop", given.drop] if given.drop else []
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment(), check=True)
        seconds = time.perf_counter() - began
        run = Path(folder) / "run"
        summary = json.loads((run / "summary.json").read_text(encoding="utf8"))
        curves = pd.read_parquet(run / "curves.parquet")
        problem = prepare.problem(config.check(config.read_yaml(run / "config.yaml", "run")))
        return {
            "wall_seconds": seconds,
            "search_seconds": summary["search_seconds"],
            "fits": len(curves.groupby(["trial", "fold"])),
            "rounds": len(curves) * ROUNDS,
            "best": summary["best"]["value"],
            "efficiency": summary["efficiency"],
            "problem": problem,
        }


def _drawn(d: BaseDistribution) -> Any:
    match d:
        case FloatDistribution(log=True):
            return stats.loguniform(d.low, d.high)
        case FloatDistribution():
            return stats.uniform(d.low, d.high - d.low)
        case IntDistribution(log=True):
            whole = np.unique(np.geomspace(d.low, d.high, 200).round().astype(int))
            return whole.tolist()
        case IntDistribution():
            return list(range(d.low, d.high + 1, d.step))
        case CategoricalDistribution():
            return list(d.choices)
    raise TypeError(f"no draw of {d!r}")


if __name__ == "__main__":
    main()
