"""The page of a comparison: the table, score against latency, and every column as bars."""

from __future__ import annotations

import math
from typing import Any

from ray_jobs.report.charts import GREY, MARKERS, MODELS, Chart, layout, log_ticks, metric_label, numbers, plain
from ray_jobs.report.compared import Column, Comparison
from ray_jobs.report.page import bold_best, cells, chart, escape, listing, page, section, table

_CAPTION = (
    "Training: of all trials of a family's search, stopped ones among them, with the validation after each epoch, "
    "summed over trials and workers. Latency: of one window on one thread, where the run was made. Scores: of the "
    "exported files on the {windows:,} windows of the holdout; RMSE and MAE in {unit}. The best of each column is "
    "bold; baselines cost nothing."
)
_LATENCY = (
    "One point a winner; the line is the best baseline, which costs nothing. To the left is faster; lower is better, "
    "but of the direction higher."
)


def comparison_page(comparison: Comparison) -> str:
    """The whole page, HTML."""
    title, n_winners = ", ".join(comparison.runs), len(comparison.models)
    caption = escape(_CAPTION.format(windows=comparison.windows, unit=comparison.unit))
    body = [
        f'<header><div class="kicker">Foldline · comparison</div><h1>{escape(title)}</h1>'
        f'<p class="lead">Forecasts <b>{escape(", ".join(comparison.targets))}</b>: {n_winners} '
        f"{'winner' if n_winners == 1 else 'winners'}, and what needs no training.</p></header>",
        section("table", "Winners and baselines", caption, _table(comparison), listing([comparison.sentence()])),
        section("latency", "Score against latency", _LATENCY, chart("by-latency", by_latency(comparison), 440)),
        section("columns", "Column by column", "", chart("bars", bars(comparison), 110 + 28 * len(comparison.rows))),
    ]
    return page(f"{title} · Foldline", "".join(body))


def _table(comparison: Comparison) -> str:
    columns = [bold_best(comparison.values(column), column.minimise) for column in comparison.columns]
    head = [f"<tr>{cells(['', *(escape(_label(column)) for column in comparison.columns)], tag='th')}</tr>"]
    body = []
    for i, row in enumerate(comparison.rows):
        tag = "" if row.kind == "model" else '<span class="tag">baseline</span>'
        name = f"<b>{escape(row.label)}</b>" if row.kind == "model" else escape(row.label)
        body.append(f'<tr class="{row.kind}">{cells([name + tag, *(column[i] for column in columns)])}</tr>')
    return table(head, body)


def by_latency(comparison: Comparison) -> Chart:
    """Each winner's score against its latency, and the best baseline as a line; the reader chooses the score."""
    styles = _styles(comparison)
    latencies = [row.values["latency_p50_ms"] for row in comparison.models]
    known = [latency for latency in latencies if latency > 0] or [1.0]
    low, high = min(known) / 2, max(known) * 2
    traces: list[tuple[Column, Chart]] = []
    for column in comparison.scores:
        for row in comparison.models:
            trace: Chart = {"type": "scatter", "mode": "markers", "name": plain(row.label)}
            trace |= {"x": numbers([row.values["latency_p50_ms"]]), "y": numbers([row.values[column.name]])}
            trace |= {"marker": {"size": 13, **styles[row.label]}, "hovertemplate": "%{x:.4g} ms: %{y:.5g}"}
            traces.append((column, trace))
        sign = 1.0 if column.minimise else -1.0
        naive = [row for row in comparison.baselines if math.isfinite(row.values[column.name])]
        if naive:
            best = min(naive, key=lambda row: sign * row.values[column.name])
            line = {"color": GREY, "width": 1.6, "dash": "dash"}
            trace = {"type": "scatter", "mode": "lines", "name": plain(best.label), "line": line}
            trace |= {"x": numbers([low, high]), "y": numbers([best.values[column.name]] * 2)}
            traces.append((column, {**trace, "hovertemplate": "%{y:.5g}"}))
    drawn = layout(x="latency p50 (ms, logarithmic)", xaxis=log_ticks(low, high))
    return _with_choices(comparison, traces, drawn, "yaxis")


def bars(comparison: Comparison) -> Chart:
    """One column of the table at a time, a bar a row; the reader chooses the column."""
    styles = _styles(comparison)
    trace: Chart = {
        "type": "bar",
        "orientation": "h",
        "y": [plain(row.label) for row in comparison.rows],
        "marker": {"color": [styles[row.label]["color"] for row in comparison.rows]},
        "hovertemplate": "%{y}: %{x:.5g}<extra></extra>",
    }
    traces = [
        (column, {**trace, "name": plain(_label(column)), "x": numbers(comparison.values(column))})
        for column in (*comparison.scores, *comparison.costs)
    ]
    rows = {"type": "category", "autorange": "reversed", "ticksuffix": "  "}
    drawn = layout(x=" ", xaxis={"rangemode": "tozero"}, yaxis=rows, showlegend=False)
    return _with_choices(comparison, traces, drawn, "xaxis")


def _with_choices(
    comparison: Comparison, traces: list[tuple[Column, Chart]], drawn: dict[str, Any], axis: str
) -> Chart:
    """The traces of one column at a time, whose name stands at `axis`."""
    columns = list(dict.fromkeys(column for column, _ in traces))
    titles = [plain(_label(column, column.unit or comparison.unit)) for column in columns]
    return {
        "data": [{**trace, "visible": column == columns[0]} for column, trace in traces],
        "layout": {**drawn, axis: {**drawn[axis], "title": {"text": titles[0]}}},
        "choices": [
            {
                "label": plain(_label(column)),
                "visible": [each == column for each, _ in traces],
                "layout": {f"{axis}.title.text": title, f"{axis}.autorange": True},
            }
            for column, title in zip(columns, titles, strict=True)
        ],
    }


def _styles(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Colour and symbol of each row by its label: of 36 winners no two share both; baselines are grey."""
    return {row.label: {"color": GREY, "symbol": "circle"} for row in comparison.baselines} | {
        row.label: {
            "color": MODELS[i % len(MODELS)],
            "symbol": MARKERS[i // len(MODELS) % len(MARKERS)],
        }
        for i, row in enumerate(comparison.models)
    }


def _label(column: Column, unit: str | None = None) -> str:
    """A column's name with its unit, or with another."""
    said = column.unit if unit is None else unit
    return metric_label(column.words) + (f" ({said})" if said else "")
