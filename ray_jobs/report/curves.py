"""The chart of learning curves: every trial of a family by epoch."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ray_jobs.report.charts import (
    GREEN,
    INK,
    STATES,
    Chart,
    axis_label,
    layout,
    limited,
    numbers,
    plain,
    readable_range,
    whole_ticks,
)
from ray_jobs.report.run import Run, mean_curves
from ray_jobs.report.search import hover_text

MOST_CURVES = 300

_VIEWS = {"best": "the best so far, by which trials are judged and stopped", "valid": "each epoch by itself"}
_NOTHING: list[None] = [None]  # keeps a trace, and with it its place in the legend


def curves(run: Run, family: str) -> Chart:
    """The metric by epoch of every trial of a family, best ones on top; a cross marks where a trial was stopped."""
    means = dict(list(mean_curves(run, family).groupby("trial")))
    own = run.trials[(run.trials["family"] == family) & run.trials["number"].isin(list(means))]
    own = own.sort_values("value", ascending=run.minimise, na_position="last", kind="stable").head(MOST_CURVES)[::-1]
    lines = {view: [_line(run, trial, means[trial["number"]], view) for _, trial in own.iterrows()] for view in _VIEWS}
    legend = list({line["name"]: _in_legend(line) for line in lines["best"]}.values())
    data = legend + lines["best"] + [{**line, "visible": False} for line in lines["valid"]]
    limits = readable_range([value for line in lines["best"] for value in line["y"]], run.minimise)
    last = max((int(curve["epoch"].max()) for curve in means.values()), default=1)
    choices = [
        {
            "label": label,
            "visible": [True] * len(legend) + [view == shown for shown in _VIEWS for _ in lines[shown]],
            "layout": {},
        }
        for view, label in _VIEWS.items()
    ]
    return {
        "data": data,
        "layout": layout(x="epoch", y=axis_label(run), xaxis=whole_ticks(last), yaxis=limited(limits)),
        "choices": choices if len(own) else [],
        "clipped": limits is not None,
    }


def _line(run: Run, trial: pd.Series[Any], curve: pd.DataFrame, view: str) -> dict[str, Any]:
    is_winner = trial["number"] == run.summary["winners"][trial["family"]].get("trial")
    colour = GREEN if is_winner else STATES.get(trial["state"], INK)
    stopped = trial["state"] in ("pruned", "failed")
    name = "winner" if is_winner else plain(trial["state"])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "showlegend": False,
        "x": curve["epoch"].astype(int).tolist(),
        "y": numbers(curve[view]),
        "line": {"color": colour, "width": 3 if is_winner else 1.3},
        "marker": {
            "color": colour,
            "symbol": "x" if stopped else "circle",
            "size": [0] * (len(curve) - 1) + [8 if stopped else 5],
        },
        "opacity": 1.0 if is_winner else 0.65,
        "hovertext": hover_text(run, trial),
        "hovertemplate": "epoch %{x}: %{y:.5g}<br>%{hovertext}<extra></extra>",
    }


def _in_legend(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "x": _NOTHING, "y": _NOTHING, "showlegend": True, "marker": {**line["marker"], "size": 8}}
