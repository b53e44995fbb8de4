"""The tables and figures that a run leaves: trials, curves, holdout, leaderboard, summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from models.bundle import no_nan
from models.crossval import FoldScore, Problem
from models.in_step import AnyProblem
from models.metrics import METRICS, score, score_by_step
from models.naive import naive_answers
from ray_jobs import cluster, ship
from ray_jobs.directions import direction_rows
from ray_jobs.kind import Searched
from ray_jobs.run_folder import predictions
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook, ending, epochs, spread
from ray_jobs.winner import Winner


def trials_table(books: Sequence[StudyBook]) -> pd.DataFrame:
    """A row a trial, over all families."""
    rows = []
    for book in books:
        for trial in book.finished():
            notes, curve = ending(trial), epochs(trial)
            last = curve[-1] if curve else {}
            folds = [float(value) for value in last.get("folds", [])]
            rows.append(
                {
                    "family": book.family,
                    "number": trial.number,
                    "state": notes["state"],
                    "reason": notes["reason"],
                    "value": notes["value"],
                    "std": spread(folds) if folds else None,
                    **{f"fold_{i}": value for i, value in enumerate(folds, start=1)},
                    "epochs": len(curve),
                    "seconds": sum(e["train_seconds"] + e["valid_seconds"] for e in curve),
                    "started": curve[0]["began"] if curve else None,
                    "ended": curve[-1]["ended"] if curve else None,
                    **{f"params.{name}": value for name, value in (notes["params"] or trial.params).items()},
                }
            )
    return pd.DataFrame(rows)


def curves_table(books: Sequence[StudyBook]) -> pd.DataFrame:
    """A row an epoch of a fold, over all trials and families."""
    rows = [
        {"family": book.family, "trial": trial.number, "fold": fold, "epoch": epoch["number"], **point}
        for book in books
        for trial in book.finished()
        for epoch in epochs(trial)
        for fold, point in enumerate(epoch["curve"], start=1)
        if point is not None
    ]
    return pd.DataFrame(rows)


def holdout_table(problem: Problem, winners: Sequence[Winner]) -> pd.DataFrame:
    """Every winner's and baseline's predictions on the holdout."""
    parts = []
    named = {w.finalist.family: w.shipped.predicted for w in winners} | naive_answers(problem, problem.split.final)
    for name, predicted in named.items():
        frame = predictions(problem, problem.split.final.valid, predicted)
        frame.insert(0, "model", name)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def leaderboard(problem: Problem, winners: Sequence[Winner]) -> list[dict[str, Any]]:
    """Winners and baselines by cross-validated score, best first."""
    rows = [model_row(winner) for winner in winners]
    scores = [FoldScore(problem, fold) for fold in problem.split.folds]
    by_fold = [naive_answers(problem, fold) for fold in problem.split.folds]
    held = FoldScore(problem, problem.split.final)
    for name, predicted in naive_answers(problem, problem.split.final).items():
        folds = [score_fold(each[name]) for score_fold, each in zip(scores, by_fold, strict=True)]
        rows.append(
            {
                "name": name,
                "kind": "baseline",
                "cv_mean": float(np.mean(folds)),
                "cv_std": spread(folds),
                "folds": folds,
                "holdout": held.every(predicted),
            }
        )
    sign = 1.0 if problem.minimise else -1.0
    return sorted(rows, key=lambda row: (math.isnan(row["cv_mean"]), sign * row["cv_mean"]))


def model_row(winner: Any) -> dict[str, Any]:
    """A winner's row of the leaderboard, of series or of rows."""
    found = winner.finalist
    return {
        "name": found.family,
        "kind": "model",
        "cv_mean": found.value,
        "cv_std": found.std,
        "folds": found.folds,
        "holdout": winner.shipped.holdout,
    }


def holdout_summary(problem: Problem, winners: Sequence[Winner]) -> dict[str, Any]:
    """Errors by step and by target on the holdout, for the report."""
    fold = problem.split.final
    each = FoldScore(problem, fold)
    by_step: dict[str, Any] = {}
    by_target: dict[str, Any] = {}
    naive = naive_answers(problem, fold)
    for name, answers in ({w.finalist.family: w.shipped.predicted for w in winners} | naive).items():
        # Over several targets, errors by step are in standard deviations, so that their mean means something.
        scales = each.scales if problem.table.n_targets > 1 else np.ones(1)
        steps = [
            score_by_step(
                each.truth[:, :, k] / scale,
                answers["future"][:, :, k] / scale,
                each.last[:, k] / scale,
                each.mase_scales[k],
            )
            for k, scale in enumerate(scales)
        ]
        by_step[name] = {m: np.mean([s[m] for s in steps], axis=0).tolist() for m in ("mae", "rmse")}
        by_target[name] = {
            target: score(
                each.truth[:, :, k],
                answers["future"][:, :, k],
                each.last[:, k],
                each.mase_scales[k],
                problem.heads,
                {head: answer[:, :, k] for head, answer in answers.items() if head != "future"},
            )
            for k, target in enumerate(problem.table.targets)
        }
    whole = {
        "windows": len(fold.valid),
        "span": [int(fold.valid_spans[0][0]), int(fold.valid_spans[-1][1])],
        "by_step": by_step,
        "targets": by_target,
    }
    if problem.heads.direction:
        whole["directions"] = [
            row
            for winner in winners
            for row in direction_rows(problem, winner.finalist.family, winner.shipped.predicted, each)
        ]
    return whole


def metric_card(problem: Problem) -> dict[str, str]:
    return {"name": problem.metric, "unit": problem.unit, "direction": METRICS[problem.metric].direction}


def common_summary(
    config: Config, problem: AnyProblem, searched: Searched, winners: Sequence[Any], without: Mapping[str, str]
) -> dict[str, Any]:
    """What summary.json holds of series and rows alike. Efficiency is training seconds, summed over actors, by cores x
    search seconds.

    Training seconds are those of optimiser steps; validation is counted by itself. `without` tells why a family has no
    winner.
    """
    sign = 1.0 if problem.minimise else -1.0
    best = min(winners, key=lambda w: sign * w.finalist.value)
    books = searched.books
    curves = [epoch for book in books for trial in book.finished() for epoch in epochs(trial)]
    workers = config.resources.workers_per_trial  # they train side by side; an epoch tells rank 0's seconds
    training = workers * sum(epoch["train_seconds"] for epoch in curves)
    validating = workers * sum(epoch["valid_seconds"] for epoch in curves)
    searching = sum(each.search_seconds for each in searched.swept)
    return {
        "format": 1,
        "name": config.name,
        "family": best.finalist.family,
        "seed": problem.seed,
        "best": best.finalist.as_dict(),
        "winners": {w.finalist.family: w.finalist.as_dict() for w in winners},
        "onnx_error": {w.finalist.family: w.shipped.proof.error for w in winners},
        "costs": {w.finalist.family: w.shipped.proof.costs for w in winners},
        "trials": Counter(ending(trial)["state"] for book in books for trial in book.finished()),
        "search_seconds": searching,
        "training_seconds": training,
        "validation_seconds": validating,
        "wall_seconds": searched.wall_seconds,
        "cores": cluster.cores(),
        "efficiency": training / (cluster.cores() * searching),
        "on_bounds": [f"{w.finalist.family}: {name}" for w in winners for name in w.finalist.on_bounds],
        "without_winner": dict(without),
        "versions": cluster.versions(),
        "git_commit": ship.git_commit(),
        "started": searched.started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def summary(
    config: Config,
    problem: Problem,
    source: str,
    searched: Searched,
    winners: Sequence[Winner],
    without: Mapping[str, str],
) -> dict[str, Any]:
    """What summary.json holds."""
    table, common = problem.table, common_summary(config, problem, searched, winners, without)
    whole: dict[str, Any] = no_nan(
        {
            **common,
            "metric": metric_card(problem),
            "answers_value": problem.heads.answers_value,
            "leaderboard": leaderboard(problem, winners),
            "holdout": holdout_summary(problem, winners),
            "dropout": {w.finalist.family: asdict(w.shipped.dropout) for w in winners if w.shipped.dropout},
            "folds": [
                {"name": fold.name, "train_spans": fold.train_spans, "valid_spans": fold.valid_spans}
                for fold in (*problem.split.folds, problem.split.final)
            ],
            "notices": [*table.notices, *(f"{family} has no winner: {why}" for family, why in without.items())],
            "data": {
                "source": source,
                "rows": len(table.values),
                "series": len(table.series_names),
                "columns": list(table.names),
                "targets": list(table.targets),
                "calendar": table.calendar.name,
                "fingerprint": table.fingerprint,
            },
            "rankings": {  # of the inputs besides the targets, best first; empty where nothing is chosen
                name: [problem.inputs[i] for i in order] for name, order in problem.rankings.items()
            },
            "steps": problem.steps.tolist(),
            "lookback": common["best"]["params"]["window.lookback"],
        }
    )
    return whole


def beaten_by(rows: list[dict[str, Any]], family: str, metric: Mapping[str, str]) -> list[str]:
    """The naive baselines that did as well as `family` on the holdout, or better; none where the metric has no value
    there."""
    sign = 1.0 if metric["direction"] == "min" else -1.0
    held = {row["name"]: row["holdout"][metric["name"]] for row in rows}
    naive = [row["name"] for row in rows if row["kind"] == "baseline" and held[row["name"]] is not None]
    return [] if held[family] is None else [name for name in naive if sign * held[name] <= sign * held[family]]
