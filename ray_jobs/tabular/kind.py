"""Rows, as a search sees them: what `ray_jobs/kind.py` asks of a kind of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from models.in_step import Params
from models.tabular.crossval import RowProblem
from models.tabular.crossval import family as family_module
from models.tabular.memory import trial_bytes
from ray_jobs import display, output
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.tables import beaten_by
from ray_jobs.tabular import tables
from ray_jobs.tabular.prepare import check, complete, parameters, problem
from ray_jobs.tabular.tables import summary
from ray_jobs.tabular.winner import Winner, finalist, winners
from search_spaces import load
from search_spaces.tabular import FAMILIES, FOLDER

__all__ = [
    "FAMILIES",
    "MODULE",
    "announce",
    "check",
    "complete",
    "finalist",
    "grace",
    "leave",
    "needs",
    "open_book",
    "problem",
    "say",
    "summary",
    "unread",
    "winners",
]

MODULE = "ray_jobs.tune_tabular"


def open_book(settings: Config, problem: RowProblem, family: str, url: str, *, name: str | None = None) -> StudyBook:
    """The family's study, opened or made in the database at `url`."""
    return StudyBook(
        url,
        load(family, FOLDER),
        [],
        algorithm=settings.search.algorithm,
        trials=settings.search.trials,
        seed=settings.search.seed,
        minimise=problem.minimise,
        name=name,
        fixed=settings.search.fixed,
        settings=parameters(family),
    )


def announce(out: Console, settings: Config, problem: RowProblem, source: str, run: RunFolder) -> None:
    """What is searched on, before the first trial."""
    table = problem.table
    kinds = f", {len(table.classes)} classes" if table.classes else ""
    if len(table.classes) == 2:
        kinds = f", {table.classes[1]!r} against {table.classes[0]!r}"
    out.print(f"data: {source}: {table.n_rows:,} rows, {len(table.columns)} inputs", soft_wrap=True)
    what = f"target: {table.target_name} ({table.task}{kinds})" if table.target_name else "a clustering"
    out.print(f"{what}; folds: {problem.scheme}", soft_wrap=True)
    for notice in table.notices:
        out.print(f"note: {notice}", soft_wrap=True, markup=False)
    out.print(f"run: {run.path}", soft_wrap=True)


def unread(settings: Config, problem: RowProblem, book: StudyBook) -> list[str]:
    """Every family of rows reads every column; of clusterings, how the exported file differs from the family."""
    rule = getattr(family_module(book.family), "RULE", None)
    return [rule] if rule else []


def needs(settings: Config, problem: RowProblem, family: str, params: Params, *, on_device: bool) -> int:
    """Bytes that a trial with these nested params takes besides its process."""
    return trial_bytes(problem, family, params, epochs=settings.search.max_epochs)


def grace(settings: Config) -> int:
    """Epochs that a trial is given at least, where the scheduler ends trials: trees of small steps look worse in the
    first epoch than they are, and see pairs of columns from the second on."""
    search = settings.search
    return min(search.max_epochs, max(3, round(search.max_epochs / 9))) if search.grace == "auto" else search.grace


def leave(
    run: RunFolder,
    problem: RowProblem,
    books: Sequence[StudyBook],
    winners: Sequence[Winner],
    summary: dict[str, Any],
    out: Console,
) -> None:
    """Write all tables and the report; DONE last, where every family has its winner."""
    run.write_table("oof.parquet", tables.out_of_fold_table(problem, winners))
    run.write_table("holdout.parquet", tables.holdout_table(problem, winners))
    output.leave_search(run, books, summary)
    output.finish(run, summary)


def say(out: Console, run: RunFolder, summary: dict[str, Any]) -> None:
    """The end of a run in the terminal: leaderboard, warnings, gates, proof, where everything lies."""
    metric = summary["metric"]
    display.show_leaderboard(out, summary["leaderboard"], metric=metric["name"], unit=metric["unit"])
    if beaten_by(summary["leaderboard"], summary["family"], metric):
        out.print(f"warning: on the holdout, {summary['family']} is no better than a constant answer: do not ship it")
    for family, verdicts in summary["gates"].items():
        for verdict in verdicts:
            found = "no figure" if verdict["found"] is None else f"{verdict['found']:.6g}"
            passed = "passed" if verdict["passed"] else "FAILED"
            out.print(f"gate {passed}: {family} {verdict['name']} {verdict['rule']}: {found}", soft_wrap=True)
    unit = "probability" if summary["data"]["classes"] else "standard deviations of the target"
    unit = "share of rows" if summary["task"] == "clustering" else unit
    output.say_bounds(out, summary, FOLDER)
    output.say_costs(out, summary, f"ONNX equals its models within {{error:.1e}} ({unit})")
    output.say_places(out, run, summary)
