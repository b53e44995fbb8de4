"""Charts of the answers: forecasts against truth on the holdout, and the error by step ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ray_jobs.report.charts import (
    BLUE,
    GREY,
    INK,
    MOST_POINTS,
    ORANGE,
    Chart,
    evenly,
    far_off,
    layout,
    line_styles,
    metric_label,
    milliseconds,
    numbers,
    plain,
    whole_ticks,
    with_breaks,
)
from ray_jobs.report.run import Run

MOST_CHOICES = 12  # pairs of series and target
_ALL_POINTS = 24_000  # over all choices, a trace each
_IN_FULL = 8  # forecasts shown from the first step to the last


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One target of one series on the holdout."""

    label: str
    target: str
    model: pd.DataFrame  # the winner's rows, by origin and step
    baseline: pd.DataFrame  # the best baseline's
    baseline_name: str
    most: int  # points a trace


def views(run: Run) -> tuple[list[View], int]:
    """The first pairs of series and target on the holdout, and how many there are in all."""
    frame = run.holdout
    pairs = list(frame[["series", "target"]].drop_duplicates().itertuples(index=False, name=None))
    best = run.best_baseline("holdout")
    baseline_name = str(best["name"]) if best else ""
    several_series = frame["series"].nunique() > 1
    chosen = pairs[:MOST_CHOICES]
    made = []
    for series, target in chosen:
        own = frame[(frame["series"] == series) & (frame["target"] == target)].sort_values(["origin_time", "step"])
        made.append(
            View(
                label=plain(f"{series}: {target}" if several_series else target),
                target=plain(target),
                model=own[own["model"] == run.family],
                baseline=own[own["model"] == baseline_name],
                baseline_name=baseline_name,
                most=min(MOST_POINTS, max(300, _ALL_POINTS // len(chosen))),
            )
        )
    return [view for view in made if len(view.model)], len(pairs)


def forecasts(run: Run) -> Chart:
    """Truth over the whole holdout, with the answers of the first and last step ahead at their own target times."""
    traces = []
    for view in views(run)[0]:
        first, last = min(run.steps), max(run.steps)
        group = [_line(_truth(view.model, view.most), "truth", "truth", color=INK, width=1.6)]
        colours = {first: BLUE, last: ORANGE}
        for step in sorted(colours):
            answers = _at_step(view.model, step, view.most)
            group.append(
                _line(answers, "predicted", f"{plain(run.family)}, {_ahead(step)}", color=colours[step], width=1.3)
            )
        if len(view.baseline):
            answers = _at_step(view.baseline, last, view.most)
            name = f"{plain(view.baseline_name)}, {_ahead(last)}"
            group.append(
                {**_line(answers, "predicted", name, color=GREY, width=1.2, dash="dot"), "visible": "legendonly"}
            )
        traces.append((view, group))
    return _with_choices(traces)


def in_full(run: Run) -> Chart:
    """The last forecasts of the holdout that do not overlap, each from its first step to its last."""
    traces = []
    for view in views(run)[0]:
        origins = view.model["origin_time"].drop_duplicates()
        apart = max(run.steps)
        chosen = origins.iloc[::-1].iloc[::apart].iloc[:_IN_FULL].iloc[::-1]
        shown = view.model[view.model["origin_time"] >= chosen.iloc[0]]
        group = [_line(_truth(shown, MOST_POINTS), "truth", "truth", color=INK, width=1.8)]
        best = (view.baseline, plain(view.baseline_name), {"color": GREY, "width": 1.4, "dash": "dot"})
        for frame, name, style in (best, (view.model, plain(run.family), {"color": BLUE, "width": 2.4})):
            own = frame[frame["origin_time"].isin(chosen)]
            if len(own):
                group.append(_pieces([rows for _, rows in own.groupby("origin_time")], name, style))
        traces.append((view, group))
    return _with_choices(traces)


def _ahead(step: int) -> str:
    return f"{step} {'step' if step == 1 else 'steps'} ahead"


def _truth(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    known = frame.drop_duplicates("time").sort_values("time")
    return known.iloc[evenly(len(known), most)]


def _at_step(frame: pd.DataFrame, step: int, most: int) -> pd.DataFrame:
    own = frame[frame["step"] == step]
    return own.iloc[evenly(len(own), most)]


def _line(frame: pd.DataFrame, column: str, name: str, **line: Any) -> dict[str, Any]:
    x, y = with_breaks(milliseconds(frame["time"]), numbers(frame[column]))
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line}


def _pieces(frames: Sequence[pd.DataFrame], name: str, line: dict[str, Any]) -> dict[str, Any]:
    """Several short lines as one trace."""
    x: list[int | None] = []
    y: list[float | None] = []
    for frame in frames:
        x += [*milliseconds(frame["time"]), None]
        y += [*numbers(frame["predicted"]), None]
    marker = {"size": 5, "color": line["color"]}
    return {"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, "line": line, "marker": marker}


def _with_choices(traces: list[tuple[View, list[dict[str, Any]]]]) -> Chart:
    """All views' traces, those of the first shown; a choice of the reader shows another's."""
    data: list[dict[str, Any]] = []
    owners: list[int] = []
    for i, (_, group) in enumerate(traces):
        data += [{**trace, "visible": trace.get("visible", True) if i == 0 else False} for trace in group]
        owners += [i] * len(group)
    usual = [trace.get("visible", True) for _, group in traces for trace in group]
    choices = [
        {
            "label": view.label,
            "visible": [usual[place] if owner == i else False for place, owner in enumerate(owners)],
            "layout": {"yaxis.title.text": view.target, "xaxis.autorange": True, "yaxis.autorange": True},
        }
        for i, (view, _) in enumerate(traces)
    ]
    title = traces[0][0].target if traces else ""
    return {"data": data, "layout": layout(y=title, xaxis={"type": "date"}), "choices": choices}


def by_step(run: Run) -> Chart:
    """The error of every winner and baseline at each step ahead; the reader chooses MAE or RMSE."""
    scores, styles, hidden = run.summary["holdout"]["by_step"], line_styles(run), far_off(run)
    names = [entry["name"] for entry in run.leaderboard if entry["name"] in scores]
    usual: dict[str, bool | str] = {name: "legendonly" if name in hidden else True for name in names}
    metrics = [metric for metric in ("mae", "rmse") if all(metric in scores[name] for name in names)]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(run.steps) <= 48 else "lines",
            "name": plain(name),
            "x": run.steps,
            "y": numbers(scores[name][metric]),
            "line": styles[name],
            "marker": {"size": 5, "color": styles[name]["color"]},
            "visible": usual[name] if metric == metrics[0] else False,
            "hovertemplate": "%{x} ahead: %{y:.5g}",
        }
        for metric in metrics
        for name in names
    ]
    unit = _target_unit(run)
    titles = [f"{metric_label(metric)} ({unit})" for metric in metrics]
    choices = [
        {
            "label": metric_label(metric),
            "visible": [usual[name] if metric == shown else False for shown in metrics for name in names],
            "layout": {"yaxis.title.text": title},
        }
        for metric, title in zip(metrics, titles, strict=True)
    ]
    x_axis = whole_ticks(max(run.steps)) if len(run.steps) > 12 else {"tickvals": run.steps}
    y_axis = {"rangemode": "tozero"}
    return {
        "data": data,
        "layout": layout(x="steps ahead", y=titles[0], xaxis=x_axis, yaxis=y_axis),
        "choices": choices,
    }


def _target_unit(run: Run) -> str:
    targets = run.summary["data"]["targets"]
    return f"unit of {plain(targets[0])}" if len(targets) == 1 else "standard deviations"
