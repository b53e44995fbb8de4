"""The tables and figures that a run of rows leaves: out-of-fold and holdout answers, leaderboard, summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from data.row_folds import RowFold
from models.bundle import no_nan
from models.tabular.calibration import crossed
from models.tabular.crossval import RowProblem
from models.tabular.metrics import Scores, labels, score
from ray_jobs.kind import Searched
from ray_jobs.settings import Config
from ray_jobs.study import spread
from ray_jobs.tables import common_summary, model_row
from ray_jobs.tabular.winner import Winner, judged_rows

_MOST_DOTS = 2000  # of a picture of clusters
CONSTANT = "constant"  # the baseline: the best answer that is the same for all rows


def answers_table(problem: RowProblem, rows: NDArray[np.int64], scores: Scores, threshold: float) -> pd.DataFrame:
    """A row each: its place in the file, from 0, the truth, the answer, and of classes the probability of each."""
    table = problem.table
    if table.target is None:
        known = {f"known {name}": words[rows] for name, words in table.labels.items()}
        codes = scores[:, 0].astype(np.int64).astype(str)
        return pd.DataFrame({"row": table.places[rows], "truth": "", "predicted": codes, **known})
    truth = table.target[rows]
    if not table.classes:
        return pd.DataFrame({"row": table.places[rows], "truth": truth, "predicted": scores[:, 0].astype(np.float32)})
    names = np.array(table.classes, object)
    likely = {f"probability of {name}": scores[:, i].astype(np.float32) for i, name in enumerate(table.classes)}
    answer = names[labels(scores, threshold)]
    return pd.DataFrame(
        {"row": table.places[rows], "truth": names[truth.astype(np.int64)], "predicted": answer, **likely}
    )


def out_of_fold_table(problem: RowProblem, winners: Sequence[Winner]) -> pd.DataFrame:
    """Every winner's answers for the rows of all folds, calibrated by what the other folds tell."""
    table, rows = problem.table, judged_rows(problem)
    sizes = [len(fold.valid) for fold in problem.folds]
    weight = None if table.weight is None else table.weight[rows]
    numbers = np.concatenate([np.full(len(fold.valid), int(fold.name)) for fold in problem.folds])
    parts = []
    for winner in winners:
        blend = winner.shipped.blend
        scores = winner.finalist.out_of_fold
        if table.target is not None and table.classes:
            scores = crossed(blend.calibration.kind, table.target[rows], scores, weight, sizes)
        frame = answers_table(problem, rows, scores, blend.threshold)
        parts.append(frame.assign(family=winner.finalist.family, fold=numbers))
    return pd.concat(parts, ignore_index=True)


def holdout_table(problem: RowProblem, winners: Sequence[Winner]) -> pd.DataFrame:
    """Every winner's answers for the holdout."""
    parts = [
        answers_table(problem, problem.final.valid, w.shipped.scores, w.shipped.blend.threshold).assign(
            model=w.finalist.family
        )
        for w in winners
    ]
    return pd.concat(parts, ignore_index=True)


def leaderboard(problem: RowProblem, winners: Sequence[Winner]) -> list[dict[str, Any]]:
    """Winners and the constant answer by cross-validated score, best first."""
    rows = [model_row(winner) for winner in winners]
    sign = 1.0 if problem.minimise else -1.0
    if problem.table.target is None:
        return sorted(rows, key=lambda row: (math.isnan(row["cv_mean"]), sign * row["cv_mean"]))
    folds = [
        score(problem.table, fold.valid, _constant(problem, fold), [problem.metric])[problem.metric]
        for fold in problem.folds
    ]
    rows.append(
        {
            "name": CONSTANT,
            "kind": "baseline",
            "cv_mean": float(np.mean(folds)),
            "cv_std": spread(folds),
            "folds": folds,
            "holdout": score(problem.table, problem.final.valid, _constant(problem, problem.final)),
        }
    )
    return sorted(rows, key=lambda row: (math.isnan(row["cv_mean"]), sign * row["cv_mean"]))


def _constant(problem: RowProblem, fold: RowFold) -> Scores:
    """Shares of the classes, or the mean of the train rows' values; their median where errors count as they are."""
    shape, train = replace(problem, balanced=False).rows(fold)
    if problem.metric in ("mae", "mape"):
        return np.full((len(fold.valid), 1), np.median(train.target), np.float64)
    return np.tile(shape.scores(shape.base(train)[None]), (len(fold.valid), 1))


def clusters(problem: RowProblem, winner: Winner) -> dict[str, Any]:
    """For the report: the rows before the holdout, or an even choice of them, in two dimensions (the first principal
    components of the space), and each cluster's size and means."""
    table, (member,) = problem.table, winner.finalist.members
    rows = problem.final.train
    codes = member.learner.predict(member.encoding.matrix(table, rows))[:, 0].astype(np.int64)
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_DOTS)).astype(np.int64))]
    space = member.learner.told(member.encoding.matrix(table, some)).astype(np.float64)
    wide = np.c_[space, np.zeros(len(space))]  # a column alone has a second dimension, too
    flat = PCA(n_components=2, svd_solver="full").fit_transform(wide)
    numbers = table.names[: table.n_numbers]
    profile = [
        {
            "cluster": int(code),
            "rows": int((codes == code).sum()),
            "means": {name: float(np.nanmean(table.values[rows[codes == code], i])) for i, name in enumerate(numbers)},
        }
        for code in np.unique(codes)
    ]
    place = np.searchsorted(rows, some)
    return {
        "x": flat[:, 0].tolist(),
        "y": flat[:, 1].tolist(),
        "code": codes[place].tolist(),
        "profile": profile,
        "means": {name: float(np.nanmean(table.values[rows, i])) for i, name in enumerate(numbers)},
    }


def summary(
    settings: Config,
    problem: RowProblem,
    source: str,
    searched: Searched,
    winners: Sequence[Winner],
    without: Mapping[str, str],
) -> dict[str, Any]:
    """What summary.json holds."""
    table = problem.table
    common = common_summary(settings, problem, searched, winners, without)
    failed = [  # by the one that would be used; of the others the table of gates tells
        f"{w.finalist.family} fails gate {v.name} {v.rule}: {'no figure' if v.found is None else f'{v.found:.6g}'}"
        for w in winners
        for v in w.shipped.verdicts
        if not v.passed and w.finalist.family == common["family"]
    ]
    whole: dict[str, Any] = no_nan(
        {
            **common,
            "task": table.task,
            "metric": {"name": problem.metric, "unit": problem.unit, "direction": "min" if problem.minimise else "max"},
            "leaderboard": leaderboard(problem, winners),
            "holdout": {"rows": len(problem.final.valid)},
            "calibration": {w.finalist.family: w.shipped.blend.calibration.kind for w in winners},
            "threshold": {w.finalist.family: w.shipped.blend.threshold for w in winners},
            "clusters": {w.finalist.family: clusters(problem, w) for w in winners if table.target is None},
            "gates": {w.finalist.family: [asdict(v) for v in w.shipped.verdicts] for w in winners},
            "failed_gates": failed,
            "importance": {w.finalist.family: w.finalist.costs for w in winners if w.finalist.costs},
            "gains": {w.finalist.family: w.finalist.gains for w in winners if w.finalist.gains},
            "folds": [
                {"name": fold.name, "train": len(fold.train), "valid": len(fold.valid)}
                for fold in (*problem.folds, problem.final)
            ],
            "scheme": problem.scheme,
            "notices": [*table.notices, *(f"{family} has no winner: {why}" for family, why in without.items())],
            "data": {
                "source": source,
                "rows": table.n_rows,
                "columns": list(table.columns),
                "targets": [] if table.target_name is None else [table.target_name],
                "classes": list(table.classes),
                "fingerprint": table.fingerprint,
            },
        }
    )
    return whole
