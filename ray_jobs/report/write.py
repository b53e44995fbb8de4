"""Write report.html: what a run searched, found and is worth, in one file that needs no network.

    python -m ray_jobs.report runs/etth1-oil

Reads the run folder and nothing else, so it works on a copied folder and for runs of other machines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import InputError
from models.metrics import METRICS
from ray_jobs.report import curves as learning
from ray_jobs.report import folds, forecasts, tables
from ray_jobs.report import search as searches
from ray_jobs.report.charts import Chart, metric_label
from ray_jobs.report.head import forecasts as of_forecasts
from ray_jobs.report.head import head
from ray_jobs.report.page import chart, escape, listing, page, section
from ray_jobs.report.run import Run, mean_curves, of_this_form, read_run, read_search, warnings

FILE = "report.html"
_HIDDEN = "Baselines that are far worse are hidden: click their names to see them."


def write_report(run: Path) -> Path:
    """Write runs/<name>/report.html, whole or not at all, and return its path.

    Raises InputError where `run` is no run folder or a file in it cannot be read.
    """
    path = run / FILE
    part = run / f".{FILE}.part"
    with of_this_form(run):
        text = report(read_run(run))
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def report(run: Run) -> str:
    """The whole page, HTML."""
    if run.of_rows:
        from ray_jobs.report import rows  # scikit-learn comes along, and series do without it

        lead, ranked, answers = rows.sentence(run), rows.leaderboard(run), rows.sections(run)
    else:
        lead, ranked, answers = of_forecasts(run), tables.leaderboard(run), _answers(run)
    parts = [
        head(run, lead),
        _warnings(run),
        section("leaderboard", "Leaderboard", tables.leaderboard_caption(run), ranked),
        *answers,
        *_search(run),
        section("winners", "Winning parameters", "", tables.winners(run)),
        _rankings(run),
        _details("trials", "All trials", tables.trials(run)),
        _details("config", "Configuration", f"<pre>{escape(run.config)}</pre>"),
        _foot(run),
    ]
    return page(f"{run.summary['name']} · Foldline", "".join(parts))


def _warnings(run: Run) -> str:
    found, notices = warnings(run), [str(notice) for notice in run.summary.get("notices") or []]
    made = section("warnings", "Before you use it", "", listing(found), kind="warn") if found else ""
    return made + (section("notices", "Notices", "", listing(notices)) if notices else "")


def _answers(run: Run) -> list[str]:
    """The sections on what the winner answers: forecasts, error by step, directions, folds."""
    if run.answers_value:
        parts = [*_forecasts(run), *_by_step(run)]
    else:
        why = "No head answers the value: there is no forecast to draw."
        parts = [section("forecasts", "Forecasts on the holdout", why, tables.by_target(run))]
    return [*parts, *_directions(run), *_dropout(run), _folds(run)]


def _forecasts(run: Run) -> list[str]:
    if not len(run.holdout):
        return []
    shown, n_all = forecasts.views(run)
    left_out = f" The first {len(shown)} of {n_all} pairs of series and target." if n_all > len(shown) else ""
    several = len(run.steps) > 1
    at_steps = "its first and its last step ahead" if several else f"{run.steps[0]} ahead"
    caption = (
        f"Truth and the answers of {escape(run.family)} for {at_steps}, each drawn at the time it speaks of. "
        f"No trial was chosen by these rows.{left_out} Drag to zoom, double-click to see all; "
        "click a name in the legend to hide or show its line."
    )
    full = (
        "<h3>The last forecasts, in full</h3>"
        '<p class="caption">Each line is one forecast, made just before its first point.</p>',
        chart("in-full", forecasts.in_full(run), 360),
    )
    drawn = chart("forecast", forecasts.forecasts(run), 420)
    return [section("forecasts", "Forecasts on the holdout", caption, drawn, *(full if several else ()))]


def _by_step(run: Run) -> list[str]:
    if not (run.summary.get("holdout") or {}).get("by_step"):
        return []
    caption = f"Mean error on the holdout by how far ahead the answer lies: lower is better. {_HIDDEN}"
    if len(run.steps) > 1:
        drawn = chart("by-step", forecasts.by_step(run), 380)
    else:
        drawn = '<p class="quiet">There is only one step.</p>'
    return [section("steps", "Error by step ahead", caption, drawn, tables.by_target(run))]


def _directions(run: Run) -> list[str]:
    """Whether the directions beat the base rate; nothing for a run whose models answer none."""
    table = tables.directions(run)
    caption = (
        "How often the direction of the change from the last known value was right on the holdout. The base rate is "
        "the share of the direction that was most frequent there: no constant answer could have done better. The "
        "interval is that of the difference, by a block bootstrap over times, since windows that overlap and series "
        "that move together are no independent cases. Of many verdicts, one in twenty or a few more come by chance."
    )
    if not table:
        return []
    both = "<h3>By the direction head, and by the sign of the value</h3>" + tables.signs(run)
    return [section("directions", "Directions", caption, table, both)]


def _dropout(run: Run) -> list[str]:
    """What Monte Carlo dropout would be worth; nothing for a run whose winners have no dropout."""
    table = tables.dropout(run)
    caption = (
        "Answers drawn with the network's dropout on (Gal & Ghahramani 2016), and how much of the truth on the holdout "
        "lies within their middle share. They know nothing of the noise in the data: where they cover far less than "
        "they should, do not show them as intervals; train a quantiles head."
    )
    return [section("dropout", "Intervals from dropout", caption, table)] if table else []


def _folds(run: Run) -> str:
    parts = [chart("fold-scores", folds.fold_scores(run), 340)]
    if any(fold["train_spans"] for fold in run.summary["folds"]):
        caption = (
            "Which rows each fold trains and is judged on, under the series as far as the run keeps it (validation "
            "and holdout rows). The holdout row at the bottom is the final training and the rows scored once."
        )
        height = 330 + 30 * len(run.summary["folds"])
        parts += ["<h3>Boundaries</h3>", f'<p class="caption">{caption}</p>']
        parts.append(chart("fold-bounds", folds.boundaries(run), height))
    return section(
        "folds", "Folds", f"{escape(metric_label(run.metric))} on each fold's validation rows. {_HIDDEN}", *parts
    )


def _search(run: Run) -> list[str]:
    """The sections on the search: its history, then curves, importances and slices of each family."""
    better = "lower" if run.minimise else "higher"
    caption = f"Every trial's value, the mean over folds; {better} is better. Hover to see its parameters."
    history = searches.history(run)
    parts = [section("search", "Search", caption + _beyond(history), chart("history", history, 360))]
    searched = [name for name in run.families if run.summary["winners"][name]["trial"] is not None]  # no ensemble
    for i, family in enumerate(searched):
        search = read_search(run, family)
        n_curves = mean_curves(run, family)["trial"].nunique()
        shown = f" The best {learning.MOST_CURVES} of {n_curves}." if n_curves > learning.MOST_CURVES else ""
        curves = learning.curves(run, family)
        body = [
            "<h3>Learning curves</h3>",
            f'<p class="caption">Mean over folds after each epoch. A cross: the trial was stopped early.{shown}'
            f"{_beyond(curves)}</p>",
            chart(f"curves-{i}", curves, 400),
            "<h3>Importance of parameters</h3>",
        ]
        if search.importances:
            height = 80 + 30 * len(search.importances)
            body.append(
                '<p class="caption">Which parameters tell the best trials from the others (PED-ANOVA, Watanabe et al. '
                "2023); stopped trials count with their last value. With few trials, a hint and no more.</p>"
            )
            body.append(chart(f"importances-{i}", searches.importances(search), height))
        else:
            body.append(f'<p class="quiet">{escape(search.why_none)}</p>')
        sliced = searches.slices(run, family, search)
        if sliced["data"]:
            body += ["<h3>Value by parameter</h3>", chart(f"slices-{i}", sliced, 60 + 230 * sliced["rows"])]
        parts.append(section(f"family-{i}", f"Search of {family}", "", *body))
    return parts


def _rankings(run: Run) -> str:
    if not run.summary.get("rankings"):
        return ""
    caption = (
        "The inputs besides the targets, ranked by a random forest on the rows that each fold trains on, 1 the best. "
        "How many of them a network sees is searched; the last columns say which ones the winners see."
    )
    return section("inputs", "Choice of inputs", caption, tables.rankings(run))


def _beyond(figure: Chart) -> str:
    return " Some values are far worse and lie beyond the axis: double-click to see them." if figure["clipped"] else ""


def _details(identifier: str, title: str, body: str) -> str:
    return f'<section id="{identifier}"><details><summary>{escape(title)}</summary>{body}</details></section>\n'


def _foot(run: Run) -> str:
    summary = run.summary
    versions = ", ".join(f"{name} {version}" for name, version in (summary.get("versions") or {}).items())
    facts = [f"seed {summary.get('seed')}", f"source {summary['data']['source']}", versions]
    facts += [f"data {summary['data']['fingerprint']}", f"commit {summary.get('git_commit') or 'unknown'}"]
    defined = METRICS[run.metric].source if run.metric in METRICS and not run.of_rows else ""
    said = f"{metric_label(run.metric)}: {defined}. " if defined else ""
    return f"<footer>{escape(said)}{escape(' · '.join(fact for fact in facts if fact))}</footer>\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.report", description="Write a run's report.html.")
    parser.add_argument("run", type=Path, help="the folder of a run, runs/<name>")
    try:
        print(write_report(parser.parse_args(arguments).run))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
