"""Search one family or several, and leave a leaderboard, a report and a proven ONNX file of each winner.

    python -m ray_jobs.search lstm linear --data sales.parquet --target sales --horizon 24
    ray job submit --working-dir . -- python ray_jobs/tune_lstm.py --trials 200

Exit codes: 0 done; 2 the configuration or the data is wrong; 3 a winner failed its proof; 4 interrupted; 1 no trial
succeeded, or a bug.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from data.errors import InputError, nearest
from models.bundle import no_nan
from models.crossval import Problem
from ray_jobs import cluster, config, display, prepare, run_folder, tables
from ray_jobs.config import Config
from ray_jobs.report.write import write_report
from ray_jobs.run_folder import RunFolder
from ray_jobs.ship import ProofError
from ray_jobs.study import StudyBook
from ray_jobs.sweep import Swept, sweep
from ray_jobs.winner import NoWinnerError, Winner, crown
from search_spaces import FAMILIES, load


def main(*families: str, arguments: Sequence[str] | None = None, description: str | None = None) -> None:
    """Run from the command line: parse, search, exit with the code that the module's docstring lists."""
    with exit_codes():
        given = list(sys.argv[1:] if arguments is None else arguments)
        names = families or _names(given)
        settings = config.parse(given, prog=Path(sys.argv[0]).name, description=description or __doc__ or "")
        search(settings, names)


@contextmanager
def exit_codes() -> Iterator[None]:
    """What went wrong as one line on stderr and an exit code, for what is not a bug."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NoWinnerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except ProofError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(4)


def search(settings: Config, families: Sequence[str]) -> Path:
    """Search each family in turn on one problem; return the run's folder."""
    started, clock = datetime.now(UTC), time.monotonic()
    settings = prepare.complete(settings)
    out = display.console()
    run_folder.check_free(Path(str(settings.runs)), settings.name)
    problem = prepare.problem(settings)
    origin = prepare.source(settings)
    cluster.connect()
    cluster.check(settings.resources)
    default = f"{'-'.join(families)}-{origin.short}"
    with run_folder.take(Path(str(settings.runs)), settings.name, default) as run:
        settings = settings.model_copy(update={"name": run.path.name})
        run.write_text("config.yaml", config.to_yaml(settings))
        _announce(out, problem, origin.full, run)
        books, swept, winners = [], [], []
        for family in families:
            book = _book(settings, problem, run, family)
            swept.append(_sweep(settings, problem, book, run, out))
            books.append(book)
            winners.append(_crown(settings, problem, book, swept[-1], run, out))
        summary = tables.summary(
            settings,
            problem,
            origin.full,
            books,
            swept,
            winners,
            started=started,
            wall_seconds=time.monotonic() - clock,
        )
        _write(run, problem, books, winners, summary)
        say(out, run, summary)
        return run.path


def _names(given: list[str]) -> tuple[str, ...]:
    """Take the families off the front of the arguments."""
    names = []
    while given and not given[0].startswith("-"):
        names.append(given.pop(0))
    for name in names:
        if name not in FAMILIES:
            raise InputError(f"no model family {name!r}{nearest(name, FAMILIES)}; known: {', '.join(FAMILIES)}")
    if not names and "-h" not in given and "--help" not in given:
        raise InputError(f"name at least one family to search: {', '.join(FAMILIES)}")
    return tuple(dict.fromkeys(names))


def _book(settings: Config, problem: Problem, run: RunFolder, family: str) -> StudyBook:
    return StudyBook(
        run.study_url,
        load(family),
        settings.window.lookbacks,
        algorithm=settings.search.algorithm,
        trials=settings.search.trials,
        seed=settings.search.seed,
        minimise=problem.minimise,
    )


def _sweep(settings: Config, problem: Problem, book: StudyBook, run: RunFolder, out: Console) -> Swept:
    progress = display.Progress(
        book.family,
        trials=settings.search.trials,
        max_epochs=settings.search.max_epochs,
        metric=problem.metric,
        unit=tables.metric_card(problem)["unit"],
        minimise=problem.minimise,
        console=out,
    )
    progress.start()
    try:
        return sweep(settings, problem, book, run.path, callbacks=[progress])
    finally:
        progress.stop()


def _crown(settings: Config, problem: Problem, book: StudyBook, swept: Swept, run: RunFolder, out: Console) -> Winner:
    doing = f"{book.family}: training the winner on everything before the holdout, exporting and proving it"
    if out.is_terminal:
        with out.status(doing):
            return crown(settings, problem, book, swept, run)
    out.print(doing, soft_wrap=True)
    return crown(settings, problem, book, swept, run)


def _write(
    run: RunFolder, problem: Problem, books: list[StudyBook], winners: list[Winner], summary: dict[str, Any]
) -> None:
    run.write_table("trials.parquet", tables.trials_table(books))
    run.write_table("curves.parquet", tables.curves_table(books))
    parts = [w.out_of_fold.assign(family=w.family) for w in winners]
    run.write_table("oof.parquet", pd.concat(parts, ignore_index=True))
    run.write_table("holdout.parquet", tables.holdout_table(problem, winners))
    run.write_json("summary.json", summary)
    for winner in winners:
        text = yaml.safe_dump(no_nan(winner.as_dict()), sort_keys=False)
        run.write_text(f"best-{winner.family}.yaml", text)
        if winner.family == summary["family"]:
            run.write_text("best.yaml", text)
    write_report(run.path)
    for leftover in run.path.glob("*-*"):
        if leftover.is_dir() and leftover.name.startswith(("tune-", "final-")):
            shutil.rmtree(leftover)
    run.write_text("DONE", "")


def _announce(out: Console, problem: Problem, source: str, run: RunFolder) -> None:
    table = problem.table
    series = f", {len(table.series_names)} series" if len(table.series_names) > 1 else ""
    out.print(f"data: {source}: {len(table.values):,} rows{series}, {table.calendar.name}", soft_wrap=True)
    out.print(f"targets: {', '.join(table.targets)}; inputs: {', '.join(table.names)}", soft_wrap=True)
    for notice in table.notices:
        out.print(f"note: {notice}", soft_wrap=True, markup=False)
    out.print(f"run: {run.path}", soft_wrap=True)


def say(out: Console, run: RunFolder, summary: dict[str, Any]) -> None:
    """The end of a run in the terminal: leaderboard, warnings, proof, efficiency, where everything lies."""
    metric = summary["metric"]
    display.show_leaderboard(out, summary["leaderboard"], metric=metric["name"], unit=metric["unit"])
    better = tables.beaten_by(summary["leaderboard"], summary["family"], metric)
    if better:
        naive = " and ".join(better)
        out.print(
            f"warning: on the holdout, {naive} did better than {summary['family']}: do not ship it as it is",
            soft_wrap=True,
        )
    for name in summary["on_bounds"]:
        out.print(f"note: the best {name} lies on its bound: widen the range and search again", soft_wrap=True)
    for family, error in summary["onnx_error"].items():
        costs = summary["costs"][family]
        out.print(
            f"{family}: ONNX equals PyTorch within {error:.1e} standard deviations of the target; one row takes "
            f"{costs['latency_p50_ms']:.2f} ms, the file {costs['size_bytes'] / 1024:.0f} KiB",
            soft_wrap=True,
        )
    out.print(
        f"search {summary['search_seconds']:.0f} s, efficiency {summary['efficiency']:.2f} "
        f"({summary['training_seconds']:.0f} training seconds on {summary['cores']} cores)",
        soft_wrap=True,
    )
    out.print(f"report: {run.path / 'report.html'}\nbundle: {run.bundle(summary['family'])}", soft_wrap=True)


if __name__ == "__main__":
    main()
