"""What all charts of a report share: colours, layout, and the way from arrays to the JSON that plotly.js draws.

A chart is a plain dict with plotly's "data" and "layout", and, where the reader may choose between several views,
"choices": a list of {"label", "visible": one value a trace, "layout": changes to the layout}.
Names that come from data pass through `plain`, because plotly reads tags in every text.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ray_jobs.report.run import Run

Chart = dict[str, Any]

# Okabe & Ito 2008: told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#1b2430", "#7a8594", "#e4e8ee"
MODELS = (BLUE, GREEN, PURPLE, RED, SKY, ORANGE)
STATES = {"complete": BLUE, "pruned": ORANGE, "failed": RED, "running": GREY}
MARKERS = ("circle", "diamond", "square", "triangle-up", "star", "pentagon")
DASHES = ("dot", "dash", "dashdot", "longdash")
GREYS = ("#3d4856", "#5d6876", "#7a8594", "#98a2af")

MOST_POINTS = 3000  # a line
_FAR = 3.0  # times the winner's error

METRIC_LABELS = {"smape": "sMAPE", "r2": "R²", "directional_accuracy": "directional accuracy"}


def metric_label(name: str) -> str:
    return METRIC_LABELS.get(name, name.upper() if len(name) <= 5 and name != "width" else name.replace("_", " "))


def axis_label(run: Run) -> str:
    """The selection metric with its unit, for an axis: what follows a comma in the unit does not fit there."""
    unit = str(run.summary["metric"].get("unit") or "")
    if len(run.summary["data"]["targets"]) > 1:
        unit = unit.partition(",")[0]
    return plain(metric_label(run.metric) + (f" ({unit})" if unit not in ("", "1") else ""))


def plain(text: object) -> str:
    """Text that plotly shows as it is, whatever tags it holds."""
    return html.escape(str(text), quote=False)


def line_styles(run: Run) -> dict[str, dict[str, Any]]:
    """A plotly line for each name on the leaderboard: coloured for models, grey and broken for baselines."""
    styles: dict[str, dict[str, Any]] = {
        family: {"color": MODELS[i % len(MODELS)], "width": 2.5} for i, family in enumerate(run.families)
    }
    baselines = [entry["name"] for entry in run.leaderboard if entry["kind"] == "baseline"]
    for i, name in enumerate(sorted(baselines)):
        styles[name] = {"color": GREYS[i % len(GREYS)], "width": 1.6, "dash": DASHES[i % len(DASHES)]}
    return styles


def far_off(run: Run) -> set[str]:
    """Baselines so much worse than the winner that, drawn with it, they would leave no room for the rest."""
    best = run.value(run.entry(run.family), "cv")
    if not run.minimise or not best > 0:
        return set()
    return {e["name"] for e in run.leaderboard if e["kind"] == "baseline" and run.value(e, "cv") > _FAR * best}


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Floats of six significant digits, None for what is not finite: what JSON can hold."""
    floats = (math.nan if value is None else float(value) for value in values)
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in floats]


def milliseconds(times: Any) -> list[int]:
    """Times (a pandas column of datetimes) as milliseconds since 1970, which a date axis understands."""
    return [int(value) for value in np.asarray(times).astype("datetime64[ms]").astype(np.int64)]


def layout(*, x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """The layout of a chart with one pair of axes; `more` wins, and adds to the axes where it names them."""
    axis = {"gridcolor": PALE, "zeroline": False, "linecolor": "#c3cad3", "automargin": True, "ticks": ""}
    whole: dict[str, Any] = {
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 60, "r": 18, "t": 30, "b": 48 if x else 30},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": INK}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#c3cad3", "activecolor": INK},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
    }
    for key, value in more.items():
        inherited = whole.get(key, axis if key[1:].startswith("axis") else {})
        whole[key] = {**inherited, **value} if isinstance(value, Mapping) else value
    return whole


def whole_ticks(last: int) -> dict[str, Any]:
    """An axis of whole numbers from 1 to `last`, with a dozen labels at most."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**6) if last / step <= 12)
    return {"tick0": 0 if step > 1 else 1, "dtick": step, "tickformat": "d"}


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis with few labels: powers of ten, or 1, 2, 5 times them where these are fewer than three."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    for leads in ((1,), (1, 3), (1, 2, 5)):
        ticks = [float(f"{lead}e{power}") for power in powers for lead in leads]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= 3:
            break
    return {"type": "log", "tickvals": inside, "ticktext": [f"{tick:g}" for tick in inside]}


def readable_range(values: Iterable[Any], minimise: bool) -> list[float] | None:
    """An axis range that holds every good value and leaves out bad ones far from the rest; None where all fit."""
    known = np.array([value for value in numbers(values) if value is not None])
    if len(known) < 4:
        return None
    sign = 1.0 if minimise else -1.0
    losses = sign * known
    low, high = losses.min(), losses.max()
    lower, upper = np.quantile(losses, [0.25, 0.75])
    limit = upper + 3.0 * (upper - lower)
    if high <= limit or limit <= low:
        return None
    last = losses[losses <= limit].max()
    margin = 0.06 * (last - low)
    return sorted([float(sign * (low - margin)), float(sign * (last + margin))])


def limited(limits: list[float] | None) -> dict[str, Any]:
    """An axis with that range, or with its own."""
    return {"range": limits} if limits else {}


def evenly(n: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `most` places out of n, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if n else np.zeros(0, np.int64)


def with_breaks(x: Sequence[int], *columns: Sequence[Any]) -> tuple[list[Any], ...]:
    """The columns with an empty place wherever x jumps by more than six usual steps (a long weekend is no gap)."""
    gaps = np.diff(np.asarray(x, dtype=np.float64))
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    places = (np.flatnonzero(gaps > 6 * usual) + 1).tolist()[::-1]
    broken = tuple(list(column) for column in (x, *columns))
    for place in places:
        for column in broken:
            column.insert(place, None)
    return broken
