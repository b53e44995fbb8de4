"""Charts of the search: values by trial, importances, and the value against each parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ray_jobs.report.charts import (
    BLUE,
    INK,
    MARKERS,
    STATES,
    Chart,
    axis_label,
    layout,
    limited,
    log_ticks,
    numbers,
    plain,
    readable_range,
    whole_ticks,
)
from ray_jobs.report.run import Run, Search, best_so_far

MOST_SLICES = 12
_COLUMNS = 3
_RUG_AXIS = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}


def hover_text(run: Run, trial: pd.Series[Any]) -> str:
    """What a trial is: family, number, state, value and every parameter, a line each."""
    lines = [f"<b>{plain(trial['family'])} trial {int(trial['number'])}</b>: {plain(trial['state'])}"]
    if pd.notna(trial["value"]):
        lines.append(f"{axis_label(run)}: {float(trial['value']):.5g}")
    lines += [f"{plain(name)} = {plain(shown(trial[f'params.{name}']))}" for name in run.params(trial["family"])]
    return "<br>".join(lines)


def shown(value: Any) -> str:
    """A parameter's value: whole numbers without a point, others with four digits."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        known = float(value)
        return str(int(known)) if known.is_integer() and abs(known) < 1e6 else f"{known:.4g}"
    return str(value)


def history(run: Run) -> Chart:
    """The value of every trial in the order they began, family after family, and each family's best so far."""
    own_place = {family: i for i, family in enumerate(run.families)}
    by = [column for column in ("place", "started", "number") if column in ("place", *run.trials.columns)]
    trials = run.trials.assign(place=run.trials["family"].map(own_place)).sort_values(by, kind="stable")
    trials = trials.assign(order=range(1, len(trials) + 1))
    symbols = {family: MARKERS[i % len(MARKERS)] for i, family in enumerate(run.families)}
    data = [_best_line(run, rows, first=i == 0) for i, (_, rows) in enumerate(trials.groupby("place"))]
    for state, colour in STATES.items():
        own = trials[(trials["state"] == state) & trials["value"].notna()]
        for family in run.families:
            rows = own[own["family"] == family]
            if not len(rows):
                continue
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"{state}, {plain(family)}" if len(run.families) > 1 else state,
                    "x": rows["order"].tolist(),
                    "y": numbers(rows["value"]),
                    "marker": {"color": colour, "size": 9, "symbol": symbols[family], "line": {"width": 0}},
                    "opacity": 0.85,
                    "hovertext": [hover_text(run, row) for _, row in rows.iterrows()],
                    "hovertemplate": "%{hovertext}<extra></extra>",
                }
            )
    failed = trials[(trials["state"] == "failed") & trials["value"].isna()]
    if len(failed):
        data.append(_rug(run, failed))
    x_axis = whole_ticks(len(trials))
    limits = readable_range(trials["value"], run.minimise)
    return {
        "data": data,
        "layout": layout(
            x="trial, in the order they began",
            y=axis_label(run),
            xaxis=x_axis,
            yaxis=limited(limits),
            yaxis2=_RUG_AXIS,
        ),
        "clipped": limits is not None,
    }


def _best_line(run: Run, trials: pd.DataFrame, *, first: bool) -> dict[str, Any]:
    kept = trials["value"].where(trials["state"] != "failed").astype(float)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "legendgroup": "best",
        "showlegend": first,
        "x": trials["order"].tolist(),
        "y": numbers(best_so_far(kept.tolist(), run.minimise)),
        "line": {"color": INK, "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
    }


def _rug(run: Run, failed: pd.DataFrame) -> dict[str, Any]:
    """Crosses along the top for trials without a value."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "failed",
        "x": failed["order"].tolist(),
        "y": [0.97] * len(failed),
        "yaxis": "y2",
        "marker": {"color": STATES["failed"], "size": 9, "symbol": "x"},
        "hovertext": [hover_text(run, row) for _, row in failed.iterrows()],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def importances(search: Search) -> Chart:
    """Each parameter's share in what separates the best trials from the others."""
    names = list(search.importances)[::-1]
    values = [search.importances[name] for name in names]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": numbers(values),
                "y": [plain(name) for name in names],
                "text": [f"{value:.0%}" for value in values],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": BLUE},
                "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
            }
        ],
        "layout": layout(
            x="share of importance",
            xaxis={"tickformat": ".0%", "rangemode": "tozero"},
            yaxis={"type": "category", "ticksuffix": "  "},
            margin={"r": 60},
        ),
    }


def slices(run: Run, family: str, search: Search) -> Chart:
    """Small charts side by side: the value of every trial against each of its parameters, important ones first."""
    order = list(search.importances)
    names = sorted(run.params(family), key=lambda name: order.index(name) if name in order else len(order))
    names = [name for name in names if run.trials[f"params.{name}"].nunique() > 1][:MOST_SLICES]
    own = run.trials[(run.trials["family"] == family) & run.trials["value"].notna()]
    label = f'<span style="font-size:12px">{axis_label(run)}</span>'
    n_rows = max(1, -(-len(names) // _COLUMNS))
    limits = readable_range(own["value"], run.minimise)
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for i, name in enumerate(names):
        row, column = divmod(i, _COLUMNS)
        number = str(i + 1) if i else ""
        left, width = column / _COLUMNS, 1 / _COLUMNS
        top, height = 1 - row / n_rows, 1 / n_rows
        x_axis = {"domain": [left + 0.035, left + width - 0.015], "anchor": f"y{number}", **_scale(search, name, own)}
        x_axis["title"] = {"text": plain(name), "font": {"size": 12}, "standoff": 6}
        y_axis = {"domain": [top - height + 0.24 / n_rows, top - 0.02], "anchor": f"x{number}", **limited(limits)}
        axes |= {
            f"xaxis{number}": x_axis,
            f"yaxis{number}": {**y_axis, "title": {"text": "" if column else label}, "nticks": 5},
        }
        data += _slice(run, own, name, number, x_axis["type"])
    for trace in data[: len(set(own["state"]))]:
        trace["showlegend"] = True
    return {"data": data, "layout": layout(**axes, margin={"l": 44, "b": 20}), "rows": n_rows}


def _slice(run: Run, own: pd.DataFrame, name: str, number: str, kind: str) -> list[dict[str, Any]]:
    traces = []
    for state in [state for state in STATES if state in set(own["state"])]:
        rows = own[(own["state"] == state) & own[f"params.{name}"].notna()]
        x = rows[f"params.{name}"]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": state,
                "legendgroup": state,
                "showlegend": False,
                "x": [plain(shown(value)) for value in x] if kind == "category" else numbers(x),
                "y": numbers(rows["value"]),
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "marker": {"color": STATES[state], "size": 7},
                "opacity": 0.8,
                "hovertext": [hover_text(run, row) for _, row in rows.iterrows()],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    return traces


def _scale(search: Search, name: str, own: pd.DataFrame) -> dict[str, Any]:
    """The axis of one parameter: categories by name, numbers linear or logarithmic as they were searched."""
    match search.ranges.get(name):
        case CategoricalDistribution(choices=choices):
            known = [plain(shown(choice)) for choice in choices]
            return {"type": "category", "categoryorder": "array", "categoryarray": known}
        case FloatDistribution(low=low, high=high, log=log) | IntDistribution(low=low, high=high, log=log):
            return log_ticks(low, high) if log else {"type": "linear", "nticks": 5}
    number = pd.api.types.is_numeric_dtype(own[f"params.{name}"]) and own[f"params.{name}"].dtype != bool
    return {"type": "linear", "nticks": 5} if number else {"type": "category"}
