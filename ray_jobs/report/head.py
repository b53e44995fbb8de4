"""The head of a report: what was run, the verdict in a sentence, the facts in numbers, and where the rest stands."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray_jobs.report.charts import metric_label
from ray_jobs.report.page import MISSING, escape, number, tiles
from ray_jobs.report.run import Run


def verdict(run: Run) -> tuple[str, bool]:
    """One sentence of HTML: who won, its score, how it stands against the best baseline; and whether that is well."""
    entry, metric = run.entry(run.family), escape(metric_label(run.metric))
    cv, held = run.value(entry, "cv"), run.value(entry, "holdout")
    n_folds = len(entry["folds"])
    said = (
        f"<b>{escape(run.family)}</b> wins with a cross-validated {metric} of <b>{number(cv)} ± "
        f"{number(entry['cv_std'], digits=2)}</b> over {n_folds} {'fold' if n_folds == 1 else 'folds'}"
    )
    where = "cv" if math.isnan(held) else "holdout"
    value, baseline = run.value(entry, where), run.best_baseline(where)
    if where == "holdout":
        said += f" and <b>{number(held)}</b> on the holdout"
    if baseline is None:
        return f"{said}.", True
    other, good = run.value(baseline, where), run.better(value, run.value(baseline, where))
    name = f"{escape(baseline['name'])} ({number(other)})"
    compared = _compared(run, value, other)
    if not good:
        return f"{said}: <b>{compared}</b> than the best baseline there, {name}. Do not use it as it is.", False
    beaten = run.best_baseline("cv")
    everywhere = beaten is None or run.better(cv, run.value(beaten, "cv"))
    return f"{said}: <b>{compared}</b> than the best baseline there, {name}.", everywhere


def _compared(run: Run, value: float, other: float) -> str:
    """ "12.3 % better": of the baseline's error where less is better, else the difference, for those lie in [0, 1]."""
    words = "better" if run.better(value, other) else "no better" if value == other else "worse"
    if value == other:
        return words
    if run.minimise and other > 0:
        return f"{number(100 * abs(other - value) / other, digits=3)} % {words}"
    return f"{number(abs(other - value), digits=3)} {words}"


def head(run: Run, sentence: str) -> str:
    """`sentence`, HTML, says what the models do."""
    said, good = verdict(run)
    return (
        f'<header><div class="kicker">Foldline · report of a run</div><h1>{escape(run.summary["name"])}</h1>'
        f'<p class="lead">{sentence}</p></header><p class="verdict{"" if good else " bad"}">{said}</p>'
        f"{tiles(_facts(run))}{_contents(run)}"
    )


def forecasts(run: Run) -> str:
    summary, data = run.summary, run.summary["data"]
    targets, steps = [str(target) for target in data["targets"]], run.steps
    listed = ", ".join(targets[:4]) + (f" and {len(targets) - 4} more" if len(targets) > 4 else "")
    ahead = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    if len(steps) > 1 and steps != list(range(steps[0], steps[-1] + 1)):
        ahead = ", ".join(map(str, steps[:-1])) + f" and {steps[-1]}"
    n_columns = len(data["columns"])
    return (
        f"Forecasts <b>{escape(listed)}</b>, {ahead} {'step' if steps == [1] else 'steps'} ahead, from the last "
        f"{escape(summary['lookback'])} rows of {n_columns} {'column' if n_columns == 1 else 'columns'} "
        f"(one row: {escape(data['calendar'])})."
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    summary, data = run.summary, run.summary["data"]
    counts = summary["trials"]
    states = [f"{counts[state]} {state}" for state in ("complete", "pruned", "failed") if counts.get(state)]
    series = data.get("series", 1)
    series = series if isinstance(series, int) else len(series)
    facts = [
        ("data", Path(str(data["source"])).name or str(data["source"])),
        ("rows" if series == 1 else f"rows in {series:,} series", f"{data['rows']:,}"),
        (f"trials: {', '.join(states)}", f"{len(run.trials):,}"),
        (f"search (whole run: {_duration(summary.get('wall_seconds'))})", _duration(summary.get("search_seconds"))),
    ]
    if summary.get("efficiency") is not None:
        facts.append((f"of {summary.get('cores')} cores spent training", f"{summary['efficiency']:.0%}"))
    if summary.get("finished"):
        facts.append(("finished (UTC)", _moment(summary["finished"])))
    return facts


def _contents(run: Run) -> str:
    own = {"forecasts": "Forecasts"}
    if run.answers_value:
        own["steps"] = "Error by step"
    if run.of_rows:
        own = {"answers": "Answers", "importance": "What matters"}
    places = {
        "leaderboard": "Leaderboard",
        **own,
        "folds": "Folds",
        "search": "Search",
        "winners": "Winning parameters",
        "trials": "All trials",
        "config": "Configuration",
    }
    links = (f'<a href="#{name}">{title}</a>' for name, title in places.items())
    return f"<nav>{''.join(links)}</nav>"


def _duration(seconds: Any) -> str:
    if seconds is None:
        return MISSING
    whole = round(float(seconds))
    if whole < 60:
        return f"{float(seconds):.1f} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def _moment(text: Any) -> str:
    """A time as ISO text, to the minute and in UTC; as it is where it is something else."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%d %H:%M")
