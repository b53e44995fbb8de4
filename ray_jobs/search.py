"""Search one family or several, and leave a leaderboard, a report and a proven ONNX file of each winner.

    python -m ray_jobs.search lstm linear --data sales.parquet --target sales --horizon 24 --name sales
    python -m ray_jobs.search lstm linear --resume --name sales         # after whatever ended it: nothing is lost
    ray job submit --working-dir . -- python ray_jobs/tune_lstm.py --trials 200

Exit codes: 0 done; 2 the configuration or the data is wrong; 3 a winner failed its proof; 4 interrupted, and the
command that goes on is printed; 1 no trial succeeded, too many failed, or a bug.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import nn

from data.errors import InputError, nearest
from models.crossval import Problem, n_ranked, reads_targets_alone
from models.crossval import family as family_module
from ray_jobs import cluster, config, display, interrupt, output, prepare, run_folder, tables
from ray_jobs.database import check_reachable
from ray_jobs.footprint import trial_memory
from ray_jobs.interrupt import Interrupted
from ray_jobs.params import check_fixed, check_select, head_weights, judged_by_another
from ray_jobs.resume import is_done, may_change, resumable, resumed
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.ship import ProofError
from ray_jobs.study import StudyBook, open_book
from ray_jobs.suggest import points
from ray_jobs.sweep import HaltedError, Swept, sweep
from ray_jobs.winner import Finalist, NoWinnerError, Winner, crown, finalist, models
from search_spaces import FAMILIES, unflatten


def main(*families: str, arguments: Sequence[str] | None = None, description: str | None = None) -> None:
    """Run from the command line: parse, search, exit with the code that the module's docstring lists."""
    with exit_codes(), interrupt.raised():
        given = list(sys.argv[1:] if arguments is None else arguments)
        names = families or _names(given)
        text = description or __doc__ or ""
        settings = config.parse(given, prog=Path(sys.argv[0]).name, description=text, resumable=True)
        if "--resume" in given:
            search(resumed(settings, names, given), names, resume=True)
        else:
            search(settings, names)


@contextmanager
def exit_codes() -> Iterator[None]:
    """What went wrong as one line on stderr and an exit code, for what is not a bug."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (NoWinnerError, TooManyFailedError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except ProofError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    except (Interrupted, HaltedError) as error:
        print(f"stopped: {error}", file=sys.stderr, flush=True)
        sys.exit(interrupt.EXIT_CODE)


class TooManyFailedError(Exception):
    """More trials failed than search.max_failed bears; everything was written all the same."""


def search(settings: Config, families: Sequence[str], *, resume: bool = False) -> Path:
    """Search each family in turn on one problem; return the run's folder.

    With `resume`, the run named by `settings` goes on from what its study database holds.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    settings = prepare.complete(settings)
    out = display.console()
    if resume and is_done(settings):
        out.print(f"run {settings.name} is done: there is nothing to resume", soft_wrap=True)
        path = Path(str(settings.runs)) / str(settings.name)
        _check_failed(settings, RunFolder(path), json.loads((path / "summary.json").read_text(encoding="utf8")))
        return path
    if resume:
        with resumable(RunFolder(Path(str(settings.runs)) / str(settings.name)), families):
            return _search(settings, families, out, started, clock, resume=True)
    return _search(settings, families, out, started, clock, resume=False)


def _search(
    settings: Config, families: Sequence[str], out: Console, started: datetime, clock: float, *, resume: bool
) -> Path:
    if not resume:
        run_folder.check_free(Path(str(settings.runs)), settings.name)
    prepare.check_scheduler(settings)
    check_fixed(settings, families)
    check_select(settings, families)
    head_weights(settings)
    problem = prepare.problem(settings)
    if settings.search.storage:
        check_reachable(settings.search.storage)
    cluster.connect()
    cluster.check(settings.resources)
    default = prepare.default_name(families, settings)
    with run_folder.take(Path(str(settings.runs)), settings.name, default, resume=resume) as run:
        settings = settings.model_copy(update={"name": run.path.name})
        if is_done(settings):  # by a process that held the lock until now
            return run.path
        # Without the name, so that it runs again as it is. Before all else: --resume goes by it.
        run.write_text("config.yaml", config.to_yaml(settings.model_copy(update={"name": None})))
        with contextlib.ExitStack() as opened:
            if not resume:  # else what stops it names the command already
                opened.enter_context(resumable(run, families))
            cluster.check_shared(run.path)
            books = []
            for family in families:
                books.append(_book(settings, problem, run, family, families, resume=resume))
                opened.callback(books[-1].close)
            run.begun = True
            output.announce(out, problem, prepare.source(settings).full, run)
            for sentence in judged_by_another(settings, problem.metric):
                out.print(f"note: {sentence}", soft_wrap=True, markup=False)
            swept, finalists, without = _finalists(settings, problem, books, run, out)
            winners, unproven = _winners(settings, problem, finalists, run, out)
            summary = tables.summary(
                settings,
                problem,
                prepare.source(settings).full,
                books,
                swept,
                winners,
                without | unproven,
                started=started,
                wall_seconds=time.monotonic() - clock,
            )
            output.leave(run, problem, books, winners, summary, out)
        output.say(out, run, summary)
        if unproven:
            raise ProofError("; ".join(unproven.values()))
        if without:
            raise NoWinnerError("; ".join(without.values()))
        _check_failed(settings, run, summary)
        return run.path


def _check_failed(settings: Config, run: RunFolder, summary: dict[str, Any]) -> None:
    counts = summary["trials"]
    failed, whole = counts.get("failed", 0), sum(counts.values())
    if failed > settings.search.max_failed * whole:
        raise TooManyFailedError(
            f"{failed} of {whole} trials failed, more than search.max_failed={settings.search.max_failed:g} bears; "
            f"their tracebacks lie in {run.path / 'failures'}"
        )


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


def _book(
    settings: Config, problem: Problem, run: RunFolder, family: str, families: Sequence[str], *, resume: bool
) -> StudyBook:
    """The family's study, begun or gone on with; InputError where it is another run's, or of another table."""
    storage = settings.search.storage
    name = f"{run.path.name}/{family}" if storage else family
    book = open_book(
        settings,
        family,
        storage or run.study_url,
        minimise=problem.minimise,
        name=name,
        n_ranked=n_ranked(problem, family),
    )
    if book.started and not resume:
        raise InputError(f"{book.shown_url} has a study {book.name!r} already; choose another --name")
    known = book.study.user_attrs.get("data")
    if known is None:
        book.study.set_user_attr("data", problem.table.fingerprint)
    elif known != problem.table.fingerprint:
        raise InputError(
            f"the table is not the one that run {run.path.name!r} was begun with: rows, columns or values have "
            f"changed; start another run"
        )
    fixed = {key: value for key, value in config.settings(settings) if not may_change(key)}
    book.check_question({"families": sorted(families), **fixed})
    return book


def unread(book: StudyBook, problem: Problem, lookback: int) -> list[str]:
    """Sentences about what of the data the family's networks, or some of them, do not read."""
    module, said = family_module(book.family), []
    others = problem.table.names[problem.table.n_targets :]
    holes = bool(np.isnan(problem.table.values[:, : problem.table.n_targets]).any())
    if reads_targets_alone(book.family) and holes:
        said.append(f"{book.family} takes a missing value for the level of its window, and is not told that it is one")
    if reads_targets_alone(book.family) and (others or problem.features.each):
        ahead = problem.table.future or problem.waves
        alone = "and what is known ahead; the past of other columns" if ahead else "alone: other columns"
        so = ", and none are chosen" if problem.rankings else ""
        said.append(f"{book.family} answers each target from its own past {alone} and features go unread{so}")
    if hasattr(module, "receptive_field"):
        lowest = {**book.fixed, **{name: points(d)[0] for name, d in book.ranges.items()}}
        sizes = {"channels": 1, "lookback": lookback, "n_steps": 1, "n_targets": 1}
        seen: int = module.receptive_field(module.Config(**sizes, **unflatten(lowest)["model"]))
        if seen < lookback:
            said.append(
                f"the smallest networks of search_spaces/{book.family}.py see only the last {seen} of the window's "
                f"{lookback} steps; those with more layers or longer kernels see more"
            )
    return said


def _sweep(settings: Config, problem: Problem, book: StudyBook, run: RunFolder, out: Console) -> Swept:
    for sentence in unread(book, problem, settings.window.lookbacks[-1]):
        out.print(f"note: {sentence}", soft_wrap=True, markup=False)
    memory = trial_memory(problem, book, settings.resources)
    fit, by_cores = cluster.fitting(settings.resources, memory), cluster.fitting(settings.resources)
    if fit < by_cores:
        out.print(
            f"note: {fit} trial(s) at one time instead of {by_cores}: the largest {book.family} may take "
            f"{memory / 2**30:.1f} GiB",
            soft_wrap=True,
        )
    progress = display.Progress(
        book.family,
        trials=settings.search.trials,
        max_epochs=settings.search.max_epochs,
        metric=problem.metric,
        unit=tables.metric_card(problem)["unit"],
        minimise=problem.minimise,
        console=out,
    )
    progress.remember(book)
    progress.start()
    try:
        return sweep(settings, problem, book, run.path, memory=memory, callbacks=[progress])
    finally:
        progress.stop()


def _finalists(
    settings: Config, problem: Problem, books: Sequence[StudyBook], run: RunFolder, out: Console
) -> tuple[list[Swept], list[Finalist], dict[str, str]]:
    """Each family's sweep and its best trial; of a family without one, why."""
    swept, finalists, without = [], [], {}
    for book in books:
        swept.append(_sweep(settings, problem, book, run, out))
        try:
            finalists.append(finalist(settings, problem, book, swept[-1]))
        except NoWinnerError as error:
            without[book.family] = str(error)
    if not finalists:
        raise NoWinnerError("; ".join(without.values()))
    return swept, finalists, without


def _winners(
    settings: Config, problem: Problem, finalists: Sequence[Finalist], run: RunFolder, out: Console
) -> tuple[list[Winner], dict[str, str]]:
    """Each finalist trained, proven and written; of one that could not be trained or failed its proof, why."""
    winners = []
    names = ", ".join(best.family for best in finalists)
    with _busy(out, f"{names}: training the best configuration on everything before the holdout"):
        trained, without = _trained(settings, problem, finalists, run)
    for best, model in trained:
        with _busy(out, f"{best.family}: exporting and proving it"):
            try:
                winners.append(crown(settings, problem, best, model, run))
            except ProofError as error:
                without[best.family] = str(error)
    if not winners:
        raise ProofError("; ".join(without.values()))
    return winners, without


def _trained(
    settings: Config, problem: Problem, finalists: Sequence[Finalist], run: RunFolder
) -> tuple[list[tuple[Finalist, nn.Module]], dict[str, str]]:
    """The models: all in one training, and each in its own where that fails, so that one takes no other with it."""
    try:
        return list(zip(finalists, models(settings, problem, finalists, run.path), strict=True)), {}
    except HaltedError:
        if len(finalists) == 1:
            raise
    trained, without = [], {}
    for best in finalists:
        try:
            trained.append((best, models(settings, problem, [best], run.path)[0]))
        except HaltedError as error:
            without[best.family] = str(error)
    if not trained:
        raise HaltedError("; ".join(without.values()))
    return trained, without


@contextmanager
def _busy(out: Console, doing: str) -> Iterator[None]:
    if out.is_terminal:
        with out.status(doing):
            yield
    else:
        out.print(doing, soft_wrap=True)
        yield


if __name__ == "__main__":
    main()
