"""The tables of a report, HTML: leaderboard, errors by target, winning parameters, all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from models.metrics import METRICS
from ray_jobs.report.charts import axis_label, metric_label
from ray_jobs.report.page import MISSING, bold_best, cells, escape, number, table
from ray_jobs.report.run import Run
from ray_jobs.report.search import shown
from search_spaces import KEEP

MOST_TRIALS = 500
_APART = ("pearson", *(f"{kind}_{each}" for kind in ("sign", "direction") for each in ("precision", "recall", "f1")))
_NO_BEST = ("coverage", "width")  # each is good only beside the other
_VERDICTS = {
    "better": "better than the base rate",
    "worse": "worse than the base rate",
    "not told apart": "cannot be told from the base rate",
}


def leaderboard_caption(run: Run) -> str:
    held_out = run.summary.get("holdout") or {}
    n_windows, of = held_out.get("windows") or held_out.get("rows"), "windows" if "windows" in held_out else "rows"
    averaged = ", averaged over targets," if len(run.summary["data"]["targets"]) > 1 else ""
    held = f" The holdout has {n_windows:,} {of} and was scored once." if n_windows else ""
    return (
        f"Ranked by {axis_label(run)}{averaged} over folds: mean ± standard deviation of the folds, then each fold. "
        f"{'Lower' if run.minimise else 'Higher'} is better.{held} The best of each column is bold."
    )


def leaderboard(run: Run, known: Mapping[str, Any] = METRICS) -> str:
    """Winners and baselines, best first, as the summary ranks them; `known` are the metrics of the kind of data."""
    rows = run.leaderboard
    n_folds = max((len(row["folds"]) for row in rows), default=0)
    answered = {name for row in rows for name in row.get("holdout") or {}}
    metrics = [name for name in known if name in answered and (name not in _APART or name == run.metric)]
    folds = [[_at(row["folds"], i) for row in rows] for i in range(n_folds)]
    held = [[(row.get("holdout") or {}).get(name) for row in rows] for name in metrics]
    columns = [bold_best(column, run.minimise) for column in folds]
    columns += [
        [number(value) for value in column] if name in _NO_BEST else bold_best(column, known[name].minimise)
        for name, column in zip(metrics, held, strict=True)
    ]
    means = bold_best([row["cv_mean"] for row in rows], run.minimise)
    label = escape(metric_label(run.metric))
    labels = ["", "mean ± std", *map(str, range(1, n_folds + 1)), *(_metric_head(name, known) for name in metrics)]
    head = [
        f'<tr><th></th><th class="group" colspan="{1 + n_folds}">{label} in cross-validation</th>'
        + (f'<th class="group" colspan="{len(metrics)}">holdout</th></tr>' if metrics else "</tr>"),
        f"<tr>{cells(labels, tag='th')}</tr>",
    ]
    body = []
    for i, row in enumerate(rows):
        tag = "" if row["kind"] == "model" else '<span class="tag">baseline</span>'
        name = f"<b>{escape(row['name'])}</b>" if row["kind"] == "model" else escape(row["name"])
        mean = f"{means[i]} ± {number(row['cv_std'], digits=2)}"
        kind = "first" if row["name"] == run.family else escape(row["kind"])
        body.append(f'<tr class="{kind}">{cells([name + tag, mean, *(column[i] for column in columns)])}</tr>')
    return table(head, body)


def by_target(run: Run) -> str:
    """Error of each winner and baseline on the holdout for each target, where there are several."""
    scores = (run.summary.get("holdout") or {}).get("targets") or {}
    names = [row["name"] for row in run.leaderboard if row["name"] in scores]
    targets = run.summary["data"]["targets"]
    if len(targets) < 2 or not names:
        return ""
    metric = METRICS[run.metric]
    rows = []
    for target in targets:
        values = [scores[name].get(target, {}).get(run.metric) for name in names]
        rows.append(f"<tr>{cells([escape(target), *bold_best(values, metric.minimise)])}</tr>")
    unit = " in each target's own unit" if metric.unit.startswith("target") else ""
    head = [f"<tr>{cells(['target', *map(escape, names)], tag='th')}</tr>"]
    return f"<h3>{escape(metric_label(run.metric))} on the holdout by target{unit}</h3>{table(head, rows, kind='tall')}"


def directions(run: Run) -> str:
    """How often each winner's direction was right, by target and step, beside the base rate; "" without such a head."""
    found = (run.summary.get("holdout") or {}).get("directions") or []
    head = ["family", "target", "steps ahead", "right", "base rate", "difference, 95% confidence", "windows", "verdict"]
    rows = []
    for row in found:
        told = [escape(row["family"]), escape(row["target"]), str(int(row["step"])), number(row["accuracy"], digits=3)]
        told += [number(row["base_rate"], digits=3), _between(row["low"], row["high"])]
        told += [f"{int(row['windows']):,}", _VERDICTS[row["verdict"]]]
        rows.append(f"<tr>{cells(told, text=2)}</tr>")
    return table([f"<tr>{cells(head, tag='th', text=2)}</tr>"], rows, kind="tall") if rows else ""


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "too few windows"
    return f"{number(low, digits=3)} to {number(high, digits=3)}"


def dropout(run: Run) -> str:
    """What intervals from each winner's dropout cover of the holdout; "" where none has any."""
    rows = []
    for family, found in (run.summary.get("dropout") or {}).items():
        told = [f"{found['level']:.0%}", f"{found['covered']:.1%}", number(found["width"], digits=3)]
        told += [str(int(found["samples"])), f"{int(found['windows']):,}"]
        rows.append(f"<tr>{cells([escape(family), *told])}</tr>")
    head = ["", "should cover", "covers", "mean width, standard deviations", "samples", "windows"]
    return table([f"<tr>{cells(head, tag='th')}</tr>"], rows) if rows else ""


def signs(run: Run) -> str:
    """Precision, recall and F1 of each winner's direction head and of the sign of its value; "" without such a head."""
    figures = [f"{kind}_{each}" for kind in ("direction", "sign") for each in ("precision", "recall", "f1")]
    rows = [row for row in run.leaderboard if row["kind"] == "model" and figures[0] in (row.get("holdout") or {})]
    columns = [bold_best([row["holdout"].get(name) for row in rows], minimise=False) for name in figures]
    body = [f"<tr>{cells([escape(r['name']), *(column[i] for column in columns)])}</tr>" for i, r in enumerate(rows)]
    return table([f"<tr>{cells(['', *map(metric_label, figures)], tag='th')}</tr>"], body) if rows else ""


def winners(run: Run) -> str:
    """The parameters of each family's winner, side by side."""
    found: dict[str, dict[str, Any]] = run.summary["winners"]
    names = sorted({name for winner in found.values() for name in winner["params"]})
    head = [f"<tr>{cells(['parameter', *map(escape, found)], tag='th')}</tr>"]
    facts = [("trial", "trial"), ("epochs", "epochs")]
    rows = []
    for key, word in facts:
        said = [escape(MISSING if winner.get(key) is None else winner[key]) for winner in found.values()]
        rows.append(f"<tr>{cells([word, *said])}</tr>")
    on_bounds = run.summary.get("on_bounds") or []
    mark = ' <span class="tag">on its bound</span>'
    for name in names:
        values = [
            escape(shown(winner["params"][name])) + (mark if f"{family}: {name}" in on_bounds else "")
            if name in winner["params"]
            else ""
            for family, winner in found.items()
        ]
        rows.append(f"<tr>{cells([escape(name), *values])}</tr>")
    return table(head, rows)


def rankings(run: Run) -> str:
    """The rank of every input on each fold, best of the final training first, and which ones the winners see."""
    ranked: dict[str, list[str]] = run.summary["rankings"]
    keep = {name: winner for name, winner in run.summary["winners"].items() if KEEP in winner["params"]}
    places = {fold: {name: place for place, name in enumerate(order, start=1)} for fold, order in ranked.items()}
    final, *folds = ranked
    rows = [
        "<tr>"
        + cells(
            [
                escape(name),
                *(str(places[fold][name]) for fold in (*folds, final)),
                *(_seen(places, name, winner, folds, final) for winner in keep.values()),
            ]
        )
        + "</tr>"
        for name in ranked[final]
    ]
    labels = ["input", *(f"fold {escape(fold)}" for fold in folds), "before the holdout", *map(escape, keep)]
    return table([f"<tr>{cells(labels, tag='th')}</tr>"], rows, kind="tall")


def _seen(places: dict[str, dict[str, int]], name: str, winner: dict[str, Any], folds: list[str], final: str) -> str:
    """Whether the exported model sees an input: "chosen", or by how many of its folds where these are averaged."""
    models = [final] if winner["kind"] == "refit" else folds
    n_seeing = sum(places[fold][name] <= winner["params"][KEEP] for fold in models)
    if not n_seeing:
        return ""
    return "<b>chosen</b>" if n_seeing == len(models) else f"in {n_seeing} of {len(models)} folds"


def trials(run: Run) -> str:
    """Every trial, best first; those without a value last."""
    ordered = run.trials.sort_values("value", ascending=run.minimise, na_position="last", kind="stable")
    folds = sorted((c for c in ordered.columns if str(c).startswith("fold_")), key=lambda c: int(str(c)[5:]))
    params = {family: run.params(family) for family in run.families}
    heads = ["family", "state", "trial", "value", "± std", *(f"fold {str(c)[5:]}" for c in folds), "epochs", "seconds"]
    head = [f'<tr>{cells(heads, tag="th", text=2)}<th class="text">parameters</th></tr>']
    rows = []
    for _, trial in ordered.head(MOST_TRIALS).iterrows():
        values = [trial["value"], trial.get("std"), *(trial[c] for c in folds)]
        plain = [escape(trial["family"]), escape(trial["state"]), str(int(trial["number"]))]
        plain += [_missing(value) for value in values]
        plain += [_missing(trial.get("epochs"), whole=True), _missing(trial.get("seconds"), digits=3)]
        own = [name for name in params.get(trial["family"], []) if pd.notna(trial[f"params.{name}"])]
        said = " · ".join(f"{name} {shown(trial[f'params.{name}'])}" for name in own)
        if trial["state"] == "failed" and pd.notna(trial.get("reason")):
            said += f" ({trial['reason']})"
        rows.append(f'<tr>{cells(plain, text=2)}<td class="text wrap">{escape(said)}</td></tr>')
    left_out = len(ordered) - MOST_TRIALS
    note = f'<p class="quiet">{left_out} more are in trials.parquet.</p>' if left_out > 0 else ""
    return table(head, rows, kind="tall") + note


def _missing(value: Any, *, whole: bool = False, digits: int = 4) -> str:
    if value is None or pd.isna(value):
        return MISSING
    return str(int(value)) if whole else number(float(value), digits=digits)


def _at(values: Sequence[float | None], i: int) -> float | None:
    return values[i] if i < len(values) else None


def _metric_head(name: str, known: Mapping[str, Any]) -> str:
    unit = " %" if known[name].unit == "%" else ""
    return f"{escape(metric_label(name)).replace('directional accuracy', 'direction<br>right')}{unit}"
