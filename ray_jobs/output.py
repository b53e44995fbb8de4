"""What a search tells and leaves: first lines, tables, report, comparison, leaderboard."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from data.errors import InputError
from models.crossval import Problem
from ray_jobs import display, tables
from ray_jobs.compare import compare_families
from ray_jobs.final import FOLDER
from ray_jobs.report.write import write_report
from ray_jobs.run_folder import RunFolder
from ray_jobs.study import StudyBook
from ray_jobs.winner import Winner


def announce(out: Console, problem: Problem, source: str, run: RunFolder) -> None:
    """What is searched on, before the first trial."""
    table = problem.table
    series = f", {len(table.series_names)} series" if len(table.series_names) > 1 else ""
    out.print(f"data: {source}: {len(table.values):,} rows{series}, {table.calendar.name}", soft_wrap=True)
    ahead = [f"{name} (known ahead)" if i in table.future else name for i, name in enumerate(table.names)]
    out.print(f"targets: {', '.join(table.targets)}; inputs: {', '.join(ahead)}", soft_wrap=True)
    for notice in table.notices:
        out.print(f"note: {notice}", soft_wrap=True, markup=False)
    out.print(f"run: {run.path}", soft_wrap=True)


def leave(
    run: RunFolder,
    problem: Problem,
    books: Sequence[StudyBook],
    winners: Sequence[Winner],
    summary: dict[str, Any],
    out: Console,
) -> None:
    """Write all tables, the report and the comparison; DONE last, where every family has its winner."""
    parts = [w.finalist.out_of_fold.assign(family=w.finalist.family) for w in winners]
    run.write_table("oof.parquet", pd.concat(parts, ignore_index=True))
    run.write_table("holdout.parquet", tables.holdout_table(problem, winners))
    leave_search(run, books, summary)
    compare_families(run, out)
    finish(run, summary)


def leave_search(run: RunFolder, books: Sequence[StudyBook], summary: dict[str, Any]) -> None:
    """Write what the search itself leaves, the summary and the report."""
    run.write_table("trials.parquet", tables.trials_table(books))
    run.write_table("curves.parquet", tables.curves_table(books))
    run.write_json("summary.json", summary)
    _keep_study(run, books)
    for family, winner in summary["winners"].items():
        text = yaml.safe_dump(winner, sort_keys=False)
        run.write_text(f"best-{family}.yaml", text)
        if family == summary["family"]:
            run.write_text("best.yaml", text)
    try:
        write_report(run.path)
    except InputError as error:  # such as a table too large to read again: the run itself is whole
        print(f"note: no report was written: {error}", file=sys.stderr)


def finish(run: RunFolder, summary: dict[str, Any]) -> None:
    """Keep the failures; DONE, and nothing of the work in between, where every family has its winner."""
    for sweep in run.path.glob("sweep-*"):
        _keep_failures(run, sweep)
    if summary["without_winner"]:  # what is left serves the one who goes on
        return
    run.write_text("DONE", "")
    for leftover in (*run.path.glob("sweep-*"), run.path / FOLDER):
        shutil.rmtree(leftover, ignore_errors=True)


def _keep_study(run: RunFolder, books: Sequence[StudyBook]) -> None:
    """A study that lies in a database elsewhere is copied into the folder, which then explains itself without it."""
    elsewhere = [book for book in books if book.url != run.study_url]
    if elsewhere:
        (run.path / "study.db").unlink(missing_ok=True)
    for book in elsewhere:
        book.copy_to(run.study_url)


def _keep_failures(run: RunFolder, folder: Path) -> None:
    """Move the tracebacks of failed trials to failures/<family>, where they stay."""
    files = list(folder.glob("failures/*.txt"))
    for file in files:
        target = run.path / "failures" / folder.name.partition("-")[2]
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.replace(target / file.name)


def say(out: Console, run: RunFolder, summary: dict[str, Any]) -> None:
    """The end of a run in the terminal: leaderboard, warnings, proof, efficiency, where everything lies."""
    metric = summary["metric"]
    display.show_leaderboard(out, summary["leaderboard"], metric=metric["name"], unit=metric["unit"])
    better = tables.beaten_by(summary["leaderboard"], summary["family"], metric)
    if better:
        naive = " and ".join(better)
        out.print(
            f"warning: on the holdout, {summary['family']} is no better than {naive}: do not ship it as it is",
            soft_wrap=True,
        )
    say_bounds(out, summary, "search_spaces")
    unit = "standard deviations of the target" if summary["answers_value"] else "in what its heads answer"
    say_costs(out, summary, f"ONNX equals PyTorch within {{error:.1e}} {unit}")
    say_places(out, run, summary)


def say_bounds(out: Console, summary: dict[str, Any], spaces: str) -> None:
    for name in summary["on_bounds"]:
        file = f"{spaces}/{name.partition(':')[0]}.py"
        out.print(
            f"note: the best {name} lies on its bound: widen its range in {file} and search again", soft_wrap=True
        )


def say_costs(out: Console, summary: dict[str, Any], equal: str) -> None:
    """What was proven of each winner, `equal` with its error, and what it costs to ask it."""
    for family, error in summary["onnx_error"].items():
        costs = summary["costs"][family]
        out.print(
            f"{family}: {equal.format(error=error)}; one row takes {costs['latency_p50_ms']:.2f} ms, the file "
            f"{costs['size_bytes'] / 1024:.0f} KiB",
            soft_wrap=True,
        )


def say_places(out: Console, run: RunFolder, summary: dict[str, Any]) -> None:
    """What the search took, and where everything lies."""
    out.print(
        f"search {summary['search_seconds']:.0f} s, efficiency {summary['efficiency']:.2f} "
        f"({summary['training_seconds']:.0f} training seconds on {summary['cores']} cores)",
        soft_wrap=True,
    )
    out.print(f"report: {run.path / 'report.html'}\nbundle: {run.bundle(summary['family'])}", soft_wrap=True)
