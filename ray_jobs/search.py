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
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from data.errors import InputError, nearest
from models.in_step import AnyProblem
from ray_jobs import cluster, config, display, interrupt, prepare, run_folder, series
from ray_jobs.database import check_reachable
from ray_jobs.footprint import trial_memory
from ray_jobs.interrupt import Interrupted
from ray_jobs.kind import Kind, NoWinnerError, ProofError, Searched
from ray_jobs.resume import is_done, may_change, resumable, resumed
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.sweep import HaltedError, Swept, sweep
from search_spaces import FAMILIES as OF_SERIES
from search_spaces.tabular import FAMILIES as OF_ROWS

_OTHERS = {"rows: python ray_jobs/tune_tabular.py --families": OF_ROWS, "series: python ray_jobs/search.py": OF_SERIES}


def main(
    *families: str,
    kind: Kind = series,
    arguments: Sequence[str] | None = None,
    description: str | None = None,
    own: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run from the command line: parse, search, exit with the code that the module's docstring lists. `own` are flags
    of the script, which has read them already, and their help."""
    with exit_codes(), interrupt.raised():
        given = list(sys.argv[1:] if arguments is None else arguments)
        names = families or _names(given, kind.FAMILIES)
        text = description or __doc__ or ""
        settings = config.parse(given, prog=Path(sys.argv[0]).name, description=text, resumable=True, own=own)
        if "--resume" in given:
            search(resumed(settings, names, given, kind), names, kind=kind, resume=True)
        else:
            search(settings, names, kind=kind)


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
    except (ProofError, GateError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    except (Interrupted, HaltedError) as error:
        print(f"stopped: {error}", file=sys.stderr, flush=True)
        sys.exit(interrupt.EXIT_CODE)


class GateError(Exception):
    """The winner does not reach what the configuration asks of it; everything was written all the same."""


class TooManyFailedError(Exception):
    """More trials failed than search.max_failed bears; everything was written all the same."""


def search(settings: Config, families: Sequence[str], *, kind: Kind = series, resume: bool = False) -> Path:
    """Search each family in turn on one problem; return the run's folder.

    With `resume`, the run named by `settings` goes on from what its study database holds.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    settings = kind.complete(settings)
    out = display.console()
    if resume and is_done(settings):
        out.print(f"run {settings.name} is done: there is nothing to resume", soft_wrap=True)
        path = Path(str(settings.runs)) / str(settings.name)
        check_outcome(settings, path)
        return path
    if resume:
        with resumable(RunFolder(Path(str(settings.runs)) / str(settings.name)), families, kind.MODULE):
            return _search(settings, families, kind, out, started, clock, resume=True)
    return _search(settings, families, kind, out, started, clock, resume=False)


def _search(
    settings: Config,
    families: Sequence[str],
    kind: Kind,
    out: Console,
    started: datetime,
    clock: float,
    *,
    resume: bool,
) -> Path:
    if not resume:
        run_folder.check_free(Path(str(settings.runs)), settings.name)
    kind.check(settings, families)
    problem = kind.problem(settings)
    if settings.search.storage:
        check_reachable(settings.search.storage)
    cluster.connect()
    cluster.check(settings.resources)
    default = prepare.default_name(families, settings)
    with run_folder.take(Path(str(settings.runs)), settings.name, default, resume=resume) as run:
        settings = settings.model_copy(update={"name": run.path.name})
        if is_done(settings):  # by a process that held the lock until now
            check_outcome(settings, run.path)
            return run.path
        # Without the name, so that it runs again as it is. Before all else: --resume goes by it.
        file = shlex.quote(str(run.path / "config.yaml"))
        again = f"# the run again: python -m {kind.MODULE} {' '.join(families)} --config {file}\n"
        run.write_text("config.yaml", again + config.to_yaml(settings.model_copy(update={"name": None})))
        with contextlib.ExitStack() as opened:
            if not resume:  # else what stops it names the command already
                opened.enter_context(resumable(run, families, kind.MODULE))
            cluster.check_shared(run.path)
            books = []
            for family in families:
                books.append(_book(settings, problem, kind, run, family, families, resume=resume))
                opened.callback(books[-1].close)
            run.begun = True
            source = prepare.source(settings).full
            kind.announce(out, settings, problem, source, run)
            swept, finalists, without = _finalists(settings, problem, kind, books, run, out)
            winners, unproven = kind.winners(settings, problem, finalists, run, out)
            lacking = without | unproven
            searched = Searched(books, swept, started=started, wall_seconds=time.monotonic() - clock)
            summary = kind.summary(settings, problem, source, searched, winners, lacking)
            kind.leave(run, problem, books, winners, summary, out)
        kind.say(out, run, summary)
        if unproven:
            raise ProofError("; ".join(unproven.values()))
        if without:
            raise NoWinnerError("; ".join(without.values()))
        check_outcome(settings, run.path)
        return run.path


def check_outcome(settings: Config, path: Path) -> None:
    """GateError or TooManyFailedError where a run that is done ended so; now, and whenever it is asked for again."""
    summary = json.loads((path / "summary.json").read_text(encoding="utf8"))
    if summary.get("failed_gates"):
        raise GateError("; ".join(summary["failed_gates"]))
    counts = summary["trials"]
    failed, whole = counts.get("failed", 0), sum(counts.values())
    if failed > settings.search.max_failed * whole:
        raise TooManyFailedError(
            f"{failed} of {whole} trials failed, more than search.max_failed={settings.search.max_failed:g} bears; "
            f"their tracebacks lie in {path / 'failures'}"
        )


def _names(given: list[str], known: Sequence[str]) -> tuple[str, ...]:
    """Take the families off the front of the arguments."""
    names = []
    while given and not given[0].startswith("-"):
        names.append(given.pop(0))
    for name in names:
        if name not in known:
            other = next((f" here (it is of {what} {name})" for what, own in _OTHERS.items() if name in own), "")
            raise InputError(f"no model family {name!r}{other or nearest(name, known)}; known: {', '.join(known)}")
    if not names and "-h" not in given and "--help" not in given:
        raise InputError(f"name at least one family to search: {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def _book(
    settings: Config,
    problem: AnyProblem,
    kind: Kind,
    run: RunFolder,
    family: str,
    families: Sequence[str],
    *,
    resume: bool,
) -> StudyBook:
    """The family's study, begun or gone on with; InputError where it is another run's, or of another table."""
    storage = settings.search.storage
    name = f"{run.path.name}/{family}" if storage else family
    book = kind.open_book(settings, problem, family, storage or run.study_url, name=name)
    if book.started and not resume:
        raise InputError(f"{book.shown_url} has a study {book.name!r} already; choose another --name")
    known = book.study.user_attrs.get("data")
    if known is None:
        book.study.set_user_attr("data", problem.fingerprint)
    elif known != problem.fingerprint:
        raise InputError(
            f"the table is not the one that run {run.path.name!r} was begun with: rows, columns or values have "
            f"changed; start another run"
        )
    fixed = {key: value for key, value in config.settings(settings) if not may_change(key)}
    book.check_question({"families": sorted(families), **fixed})
    return book


def _sweep(settings: Config, problem: AnyProblem, kind: Kind, book: StudyBook, run: RunFolder, out: Console) -> Swept:
    for sentence in kind.unread(settings, problem, book):
        out.print(f"note: {sentence}", soft_wrap=True, markup=False)
    on_device = settings.resources.gpus_per_trial > 0
    memory = trial_memory(
        lambda params: kind.needs(settings, problem, book.family, params, on_device=on_device),
        book,
        settings.resources,
    )
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
        unit=problem.unit,
        minimise=problem.minimise,
        console=out,
    )
    progress.remember(book)
    progress.start()
    try:
        return sweep(settings, problem, book, run.path, memory=memory, grace=kind.grace(settings), callbacks=[progress])
    finally:
        progress.stop()


def _finalists(
    settings: Config, problem: AnyProblem, kind: Kind, books: Sequence[StudyBook], run: RunFolder, out: Console
) -> tuple[list[Swept], list[Any], dict[str, str]]:
    """Each family's sweep and its best trial; of a family without one, why."""
    swept, finalists, without = [], [], {}
    for book in books:
        swept.append(_sweep(settings, problem, kind, book, run, out))
        try:
            finalists.append(kind.finalist(settings, problem, book, swept[-1]))
        except NoWinnerError as error:
            without[book.family] = str(error)
    if not finalists:
        raise NoWinnerError("; ".join(without.values()))
    return swept, finalists, without


if __name__ == "__main__":
    main()
