"""Charts of the folds: the score on each, and where each lies in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ray_jobs.report.charts import (
    GREEN,
    INK,
    MOST_POINTS,
    ORANGE,
    SKY,
    Chart,
    axis_label,
    evenly,
    far_off,
    layout,
    line_styles,
    milliseconds,
    numbers,
    plain,
    with_breaks,
)
from ray_jobs.report.run import Run


def fold_scores(run: Run) -> Chart:
    """The selection metric of every winner and baseline on each fold."""
    styles, hidden = line_styles(run), far_off(run)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(entry["name"]),
            "x": [f"fold {i}" for i in range(1, len(entry["folds"]) + 1)],
            "y": numbers(entry["folds"]),
            "visible": "legendonly" if entry["name"] in hidden else True,
            "line": styles[entry["name"]],
            "marker": {"size": 9 if entry["kind"] == "model" else 6, "color": styles[entry["name"]]["color"]},
            "hovertemplate": "%{x}: %{y:.5g}",
        }
        for entry in run.leaderboard
    ]
    return {"data": data, "layout": layout(y=axis_label(run), xaxis={"type": "category"})}


def boundaries(run: Run) -> Chart:
    """The series, as far as the run folder holds it, over bars that say which rows each fold trains and judges on."""
    label, known = _longest_series(run)
    x, y = with_breaks(milliseconds(known["time"]), numbers(known["truth"]))
    line = {"color": INK, "width": 1}
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": label, "x": x, "y": y, "line": line, "showlegend": False}
    ]
    data += _bars(run)
    axes: dict[str, Any] = {
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {"domain": [0.5, 1.0], "title": {"text": label}},
        "yaxis2": {"domain": [0.0, 0.44], "type": "category", "autorange": "reversed", "showgrid": False},
    }
    return {"data": data, "layout": layout(**axes, barmode="overlay", bargap=0.3)}


def _longest_series(run: Run) -> tuple[str, pd.DataFrame]:
    """Label, and the truth (time, truth) of the first target of the series with the most rows in the run folder."""
    both = pd.concat([run.oof, run.holdout], ignore_index=True)[["series", "target", "time", "truth"]]
    target = str(run.summary["data"]["targets"][0])
    both = both[both["target"] == target]
    if not len(both):
        return plain(target), both
    series = both["series"].value_counts().index[0]
    known = both[both["series"] == series].drop_duplicates("time").sort_values("time")
    return plain(f"{series}: {target}" if series else target), known.iloc[evenly(len(known), MOST_POINTS)]


def _bars(run: Run) -> Iterator[dict[str, Any]]:
    all_folds = run.summary["folds"]
    ends = [end for fold in all_folds for key in ("train_spans", "valid_spans") for span in fold[key] for end in span]
    width = max(ends) - min(ends) if ends else 0
    spans = {
        (fold["name"], key): joined(fold[f"{key}_spans"], slack=width / 500)
        for fold in all_folds
        for key in ("train", "valid")
    }
    # Folds by series train and judge over the same times: then the bars lie beside each other, not on top.
    meet = any(_meet(spans[fold["name"], "train"], spans[fold["name"], "valid"]) for fold in all_folds)
    size = 0.35 if meet else 0.7
    kinds = (("train", SKY, "training rows"), ("valid", ORANGE, "validation rows"), ("holdout", GREEN, "holdout"))
    for kind, colour, words in kinds:
        own = [
            (fold["name"], span)
            for fold in all_folds
            if kind == "train" or (fold["name"] == "holdout") == (kind == "holdout")
            for span in spans[fold["name"], "train" if kind == "train" else "valid"]
        ]
        offset = (-size if kind == "train" else 0.0) if meet else -size / 2
        yield {
            "type": "bar",
            "orientation": "h",
            "name": words,
            "y": [_fold_label(name) for name, _ in own],
            "base": [int(1000 * start) for _, (start, _) in own],
            "x": [int(1000 * max(stop - start, width / 400)) for _, (start, stop) in own],
            "yaxis": "y2",
            "width": size,
            "offset": offset,
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}: {words}<br>%{{base|%Y-%m-%d %H:%M}} to %{{customdata}}<extra></extra>",
            "customdata": [str(np.datetime64(int(stop), "s")).replace("T", " ")[:16] for _, (_, stop) in own],
        }


def _fold_label(name: object) -> str:
    return f"fold {plain(name)}" if str(name).isdigit() else plain(name)


def joined(spans: Sequence[Sequence[float]], slack: float) -> list[tuple[float, float]]:
    """Spans in order, those that overlap or lie at most `slack` apart made one."""
    whole: list[tuple[float, float]] = []
    for start, stop in sorted((float(a), float(b)) for a, b in spans):
        if whole and start <= whole[-1][1] + slack:
            whole[-1] = (whole[-1][0], max(stop, whole[-1][1]))
        else:
            whole.append((start, stop))
    return whole


def _meet(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in other)
