"""A small made-up run folder with a real study database, and a reader of the page that is made of one."""

from __future__ import annotations

import html.parser
import json
import math

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

BASELINES = ("last value", "seasonal naive", "drift", "mean")
RANGES = {
    "model.hidden": IntDistribution(16, 256, log=True),
    "fit.lr": FloatDistribution(1e-4, 1e-2, log=True),
    "fit.loss": CategoricalDistribution(["mse", "mae"]),
}
N_FOLDS, HOUR, START = 3, 3600, 1_600_000_000


def make_run(path, *, n_trials=12, families=("lstm",), targets=("OT",), series=("",), steps=(1, 2, 3), **changes):
    """A run folder as a sweep leaves it; `changes` replace keys of the summary."""
    path.mkdir()
    generator = np.random.default_rng(0)
    trials, curves, winners = [], [], {}
    for family in families:
        study = optuna.create_study(storage=f"sqlite:///{path / 'study.db'}", study_name=family)
        for number in range(n_trials):
            params = {
                "model.hidden": int(generator.integers(16, 257)),
                "fit.lr": float(10 ** generator.uniform(-4, -2)),
                "fit.loss": ["mse", "mae"][number % 2],
            }
            state = "pruned" if number % 4 == 3 else "failed" if number == 6 else "complete"
            folds = 1.0 + abs(math.log10(params["fit.lr"]) + 3) + 0.1 * generator.random(N_FOLDS)
            epochs = 2 if state == "pruned" else 5
            for fold, value in enumerate(folds, start=1):
                for epoch in range(1, epochs + 1):
                    valid = value * (1 + (epochs - epoch) / epochs)
                    curves.append([family, number, fold, epoch, valid, valid, valid, 1e-3, 0.1])
            known = {"complete": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED}
            frozen = optuna.trial.create_trial(
                state=known.get(state, optuna.trial.TrialState.FAIL),
                value=float(folds.mean()) if state == "complete" else None,
                intermediate_values={1: 9.0, 2: float(folds.mean())} if state == "pruned" else None,
                params=params,
                distributions=RANGES,
            )
            study.add_trial(frozen)
            value = math.nan if state == "failed" else float(folds.mean())
            row = {"family": family, "number": number, "state": state, "value": value, "std": float(folds.std())}
            row |= {f"fold_{i}": value for i, value in enumerate(folds, start=1)}
            row |= {"epochs": epochs, "seconds": 1.5, "started": float(number), "ended": number + 1.5}
            trials.append(row | {f"params.{name}": value for name, value in params.items()})
            if number == 0:
                winners[family] = {"family": family, "trial": 0, "value": value, "std": 0.1, "folds": folds.tolist()}
                winners[family] |= {"epochs": 5, "params": params}
    pd.DataFrame(trials).to_parquet(path / "trials.parquet")
    columns = ["family", "trial", "fold", "epoch", "train_loss", "valid", "best", "learning_rate", "seconds"]
    pd.DataFrame(curves, columns=columns).to_parquet(path / "curves.parquet")
    predictions(path, families, targets, series, steps)
    summary = make_summary(path.name, families, targets, series, steps, winners) | changes
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "config.yaml").write_text(f"name: {path.name}\nsearch: {{trials: {n_trials}}}\n")
    return path


def predictions(path, families, targets, series, steps):
    rows = []
    for model in (*families, *BASELINES):
        for name in series:
            for origin in range(200):
                for step in steps:
                    for k, target in enumerate(targets):
                        row = origin + step - 1
                        truth = math.sin(row / 5) + 10 * k
                        time, made = START + (300 + row) * HOUR, START + (300 + origin) * HOUR
                        rows.append([model, name, made, time, step, target, truth, truth + 0.1 * step])
    frame = pd.DataFrame(
        rows, columns=["model", "series", "origin_time", "time", "step", "target", "truth", "predicted"]
    )
    for column in ("origin_time", "time"):
        frame[column] = pd.to_datetime(frame[column], unit="s", utc=True)
    frame = frame.astype({"truth": "float32", "predicted": "float32", "series": "category"})
    frame.to_parquet(path / "holdout.parquet")
    oof = frame[frame["model"] == families[0]].rename(columns={"model": "family"}).assign(fold=1)
    oof["time"] -= pd.Timedelta(hours=200)
    oof.to_parquet(path / "oof.parquet")


def make_summary(name, families, targets, series, steps, winners):
    scores = {
        n: {"mae": [0.1 * (i + 1) * s for s in steps], "rmse": None} for i, n in enumerate((*families, *BASELINES))
    }
    for by_step in scores.values():
        by_step["rmse"] = [1.2 * value for value in by_step["mae"]]
    leaderboard = [
        {
            "name": n,
            "kind": "model" if n in families else "baseline",
            "cv_mean": 1.0 + i,
            "cv_std": 0.25,
            "folds": [1.0 + i] * N_FOLDS,
            "holdout": {"mae": 2.0 * (i + 1), "mse": 8.0, "r2": 0.5, "mape": None},
        }
        for i, n in enumerate(scores)
    ]
    span = [[START + i * 100 * HOUR, START + (i + 1) * 100 * HOUR] for i in range(5)]
    folds = [{"name": str(i + 1), "train_spans": span[: i + 1], "valid_spans": [span[i + 1]]} for i in range(N_FOLDS)]
    return {
        "name": name,
        "format": 1,
        "family": families[0],
        "metric": {"name": "mae", "unit": f"unit of {targets[0]}", "direction": "min"},
        "seed": 0,
        "best": winners[families[0]],
        "winners": winners,
        "leaderboard": leaderboard,
        "holdout": {
            "windows": 200,
            "span": [START, START + HOUR],
            "by_step": scores,
            "targets": {n: {target: {"mae": 2.5} for target in targets} for n in scores},
        },
        "folds": [*folds, {"name": "holdout", "train_spans": span[:4], "valid_spans": [span[4]]}],
        "trials": {"complete": 8, "pruned": 3, "failed": 1},
        "search_seconds": 61.0,
        "training_seconds": 100.0,
        "wall_seconds": 75.0,
        "cores": 2,
        "efficiency": 0.82,
        "on_bounds": ["lstm: model.hidden"],
        "notices": ["3 gaps were found"],
        "versions": {"torch": "2.13.0"},
        "git_commit": None,
        "started": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:01:15+00:00",
        "data": {
            "source": "/data/ett.parquet",
            "rows": 700,
            "series": len(series),
            "columns": [*targets, "load"],
            "targets": list(targets),
            "calendar": "hour",
            "fingerprint": "abc",
        },
        "steps": list(steps),
        "lookback": 24,
    }


class Reader(html.parser.HTMLParser):
    """What a browser sees: tags with their attributes, visible text, and the charts' JSON."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.charts, self.scripts, self.inside = [], "", {}, [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = (tag, dict(attrs))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        tag, attributes = self.inside or ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.charts[attributes["id"].removesuffix("-data")] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.text += data
