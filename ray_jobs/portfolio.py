"""Search many use cases as one job, under one budget, and leave each winner's bundle under its use case's name.

    python -m ray_jobs.portfolio examples/portfolio/*.yaml --time-budget 1800
    python -m ray_jobs.portfolio examples/portfolio/*.yaml --name nightly --resume    # those that are done stay
    ray job submit --working-dir . -- python -m ray_jobs.portfolio examples/portfolio/*.yaml

A use case is a configuration with two keys besides: `kind` (series or rows) and `families`, a list; the file's name is
its own. Each is a run in runs/<name>/<use case>, bundles lie in runs/<name>/bundles/<use case>. The budget, seconds of
search, is shared out evenly: what a use case leaves over goes to those after it; time_budget of its own bounds it, too.
One that fails does not stop the others.

Exit codes: 0 all are done; else that of the first that failed, as of ray_jobs/search.py; 4 interrupted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.errors import InputError, nearest
from ray_jobs import config, display, interrupt, prepare, series
from ray_jobs.kind import Kind
from ray_jobs.resume import resumed
from ray_jobs.run_folder import RunFolder
from ray_jobs.search import exit_codes, search
from ray_jobs.settings import Config
from ray_jobs.tabular import kind as rows

KINDS: Mapping[str, Kind] = {"series": series, "rows": rows}
FILE = "portfolio.json"


@dataclass(frozen=True, kw_only=True)
class UseCase:
    name: str
    kind: Kind
    families: tuple[str, ...]
    settings: Config


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a use case ended; figures of one that has no winner are None."""

    name: str
    code: int  # 0, or why it failed, as an exit code
    why: str
    family: str | None = None
    metric: str | None = None
    cv_mean: float | None = None
    cv_std: float | None = None
    holdout: float | None = None
    seconds: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ray_jobs.portfolio", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a YAML file for each use case")
    parser.add_argument("--name", default="portfolio", help="of the folder; default portfolio")
    parser.add_argument("--runs", help="where that folder is made; default runs, in a Ray job ~/foldline-runs")
    parser.add_argument("--time-budget", type=float, help="seconds of search for all use cases together")
    parser.add_argument("--resume", action="store_true", help="go on: what is done stays, the others go on or begin")
    given = parser.parse_args(arguments)
    with exit_codes(), interrupt.raised():
        sys.exit(portfolio(given.files, given.name, given.runs, given.time_budget, resume=given.resume))


def portfolio(files: Sequence[Path], name: str, runs: str | None, budget: float | None, *, resume: bool) -> int:
    """Search every use case; the exit code. InputError where the portfolio itself cannot be begun."""
    if budget is not None and not budget > 0:
        raise InputError(f"--time-budget must be above 0 seconds, got {budget:g}")
    folder = _folder(name, runs, resume=resume)
    twice = [file.stem for i, file in enumerate(files) if file.stem in {each.stem for each in files[:i]}]
    if twice:
        raise InputError(f"two files are named {twice[0]!r}; a use case is known by its file's name: rename one")
    out, left, outcomes = display.console(), budget, []
    for place, file in enumerate(files):
        share = None if left is None else left / (len(files) - place)
        out.print(f"use case {file.stem} ({place + 1} of {len(files)})", soft_wrap=True)
        began = time.monotonic()
        outcome = _ended(file, folder, share, resume=resume)
        if left is not None:
            left = max(1.0, left - min(time.monotonic() - began, outcome.seconds or 0.0))
        outcomes.append(outcome)
        RunFolder(folder).write_json(FILE, [asdict(each) for each in outcomes])
    _show(out, outcomes)
    out.print(f"bundles: {folder / 'bundles'}", soft_wrap=True)
    return next((each.code for each in outcomes if each.code), 0)


def _folder(name: str, runs: str | None, *, resume: bool) -> Path:
    settings = prepare.placed(config.check({"runs": runs, "name": name}))
    folder = Path(str(settings.runs)) / name
    if folder.exists() and not resume:
        raise InputError(f"{folder} exists; choose another --name, go on with it by --resume, or remove it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _ended(file: Path, folder: Path, share: float | None, *, resume: bool) -> Outcome:
    """Search one use case. What ends it ends it alone, unless it would end the others as well."""
    name = file.stem
    try:
        with exit_codes():
            case = read_use_case(file, folder, share)
            _searched(case, folder, resume=resume)
    except SystemExit as ended:
        code = int(ended.code or 0)
        if code == interrupt.EXIT_CODE:  # a signal, or a disk or database that the next one would need, too
            raise
        return _outcome(folder, name, code)
    except Exception as error:  # a bug in one of them, too
        print(f"error: {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return Outcome(name=name, code=1, why=f"{type(error).__name__}: {error}")
    return _outcome(folder, name, 0)


def read_use_case(file: Path, folder: Path, share: float | None) -> UseCase:
    """A use case of its file, to be searched for `share` seconds at most; InputError for what is wrong with it."""
    tree = config.read_yaml(file, "use case")
    said, families = tree.pop("kind", None), tree.pop("families", None)
    if said not in KINDS:
        raise InputError(f"use case {file}: kind must be series or rows, got {said!r}")
    kind = KINDS[said]
    if not isinstance(families, list) or not families:
        raise InputError(f"use case {file}: families must be a list of {', '.join(kind.FAMILIES)}, got {families!r}")
    for family in families:
        if family not in kind.FAMILIES:
            known = ", ".join(kind.FAMILIES)
            raise InputError(f"use case {file}: no family {family!r}{nearest(str(family), kind.FAMILIES)}; {known}")
    settings = config.check({**tree, "name": file.stem, "runs": str(folder)})
    if share is not None:
        each = share / len(families)
        own = settings.search.time_budget
        search = settings.search.model_copy(update={"time_budget": each if own is None else min(own, each)})
        settings = settings.model_copy(update={"search": search})
    return UseCase(name=file.stem, kind=kind, families=tuple(dict.fromkeys(families)), settings=settings)


def _searched(case: UseCase, folder: Path, *, resume: bool) -> None:
    run = folder / case.name
    if resume and (run / "DONE").exists():
        return
    if resume and (run / "config.yaml").exists():
        budget = case.settings.search.time_budget
        given = ["--resume", "--name", case.name, "--runs", str(folder)]
        given += ["--time-budget", str(budget)] if budget is not None else []
        search(resumed(case.settings, case.families, given, case.kind), case.families, kind=case.kind, resume=True)
        return
    search(case.settings, case.families, kind=case.kind)


def _outcome(folder: Path, name: str, code: int) -> Outcome:
    """What the run's summary says, and its best bundle put under the use case's name."""
    file = folder / name / "summary.json"
    if not file.is_file():
        return Outcome(name=name, code=code or 1, why=_WHY.get(code, "failed"))
    summary = json.loads(file.read_text(encoding="utf8"))
    family = summary["family"]
    best = next(row for row in summary["leaderboard"] if row["name"] == family)
    shutil.rmtree(folder / "bundles" / name, ignore_errors=True)
    shutil.copytree(folder / name / "bundles" / family, folder / "bundles" / name)
    metric = summary["metric"]["name"]
    return Outcome(
        name=name,
        code=code,
        why=_WHY.get(code, "failed"),
        family=family,
        metric=metric,
        cv_mean=best["cv_mean"],
        cv_std=best["cv_std"],
        holdout=best["holdout"].get(metric),
        seconds=summary["search_seconds"],
    )


_WHY = {0: "done", 1: "no winner, or too many failed", 2: "refused", 3: "failed its proof or a gate", 4: "stopped"}


def _show(out: Console, outcomes: Sequence[Outcome]) -> None:
    table = Table()
    for head in ("use case", "", "model"):
        table.add_column(head)
    for head in ("metric", "cross-validated", "holdout", "search s"):
        table.add_column(head, justify="right")
    for each in outcomes:
        table.add_row(each.name, each.why, each.family or "-", each.metric or "-", *_figures(each))
    out.print(table)


def _figures(each: Outcome) -> list[str]:
    def shown(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    scored = "-" if each.cv_mean is None else f"{each.cv_mean:.5g} ± {shown(each.cv_std, '.2g')}"
    return [scored, shown(each.holdout, ".5g"), shown(each.seconds, ".0f")]


if __name__ == "__main__":
    main()
