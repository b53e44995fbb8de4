"""Search many use cases as one job, under one budget, and leave each winner's bundle under its use case's name.

    python -m ray_jobs.portfolio examples/portfolio/*.yaml --time-budget 600
    python -m ray_jobs.portfolio examples/portfolio/*.yaml --name nightly --resume    # those that are done stay
    ray job submit --working-dir . -- python -m ray_jobs.portfolio examples/portfolio/*.yaml

A use case is a configuration with two keys besides: `kind` (series or rows) and `families`, a list; the file's name is
its own. Each is a run in runs/<name>/<use case>; bundles that passed lie in runs/<name>/bundles/<use case>. The budget,
seconds of search, is shared out evenly: what a use case leaves over goes to those after it; a time_budget of its own
bounds it, too. All files are checked before the first begins; one that fails later, by its data, a gate or in its final
training, does not stop the others.

Exit codes: 0 all are done; else that of the first that failed, as of ray_jobs/search.py; 4 where one can be gone on
with: a signal, which ends all of them, or what a use case met alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.errors import InputError, nearest
from ray_jobs import config, display, interrupt, prepare, series
from ray_jobs.kind import Kind
from ray_jobs.resume import may_change
from ray_jobs.run_folder import RunFolder
from ray_jobs.search import exit_codes, search
from ray_jobs.settings import Config
from ray_jobs.tabular import kind as rows

KINDS: Mapping[str, Kind] = {"series": series, "rows": rows}
FILE, BUNDLES = "portfolio.json", "bundles"


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
    """Search every use case; the exit code. InputError, and nothing is begun, where a file or a setting is wrong."""
    if budget is not None and not budget > 0:
        raise InputError(f"--time-budget must be above 0 seconds, got {budget:g}")
    folder = _folder(name, runs, resume=resume)
    cases = [read_use_case(file, folder) for file in files]
    twice = [case.name for i, case in enumerate(cases) if case.name in {each.name for each in cases[:i]}]
    if twice:
        raise InputError(f"two files are named {twice[0]!r}; a use case is known by its file's name: rename one")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    out, left, outcomes = display.console(), budget, []
    for place, case in enumerate(cases):
        out.print(f"use case {case.name} ({place + 1} of {len(cases)})", soft_wrap=True)
        began = time.monotonic()
        outcome, interrupted = _ended(_bounded(case, left, len(cases) - place), folder, resume=resume)
        if left is not None:  # what was spent by an earlier process counts, too
            left = max(1.0, left - (time.monotonic() - began if outcome.seconds is None else outcome.seconds))
        outcomes.append(outcome)
        RunFolder(folder).write_json(FILE, [asdict(each) for each in outcomes])
        if interrupted:
            break
    if any(each.code == interrupt.EXIT_CODE for each in outcomes):
        words = ["python", "-m", "ray_jobs.portfolio", *map(str, files), "--name", name, "--runs", str(folder.parent)]
        print(f"stopped: go on with all of them by: {shlex.join([*words, '--resume'])}", file=sys.stderr)
    _show(out, outcomes)
    out.print(f"bundles: {folder / BUNDLES}", soft_wrap=True)
    codes = [each.code for each in outcomes if each.code]
    return interrupt.EXIT_CODE if interrupt.EXIT_CODE in codes else next(iter(codes), 0)


def _folder(name: str, runs: str | None, *, resume: bool) -> Path:
    settings = prepare.placed(config.check({"runs": runs, "name": name}))
    folder = Path(str(settings.runs)) / name
    if folder.exists() and not resume:
        raise InputError(f"{folder} exists; choose another --name, go on with it by --resume, or remove it")
    return folder


def read_use_case(file: Path, folder: Path) -> UseCase:
    """A use case of its file, checked as far as that goes without its data; InputError for what is wrong with it."""
    tree = config.read_yaml(file, "use case")
    said, families = tree.pop("kind", None), tree.pop("families", None)
    if not isinstance(said, str) or said not in KINDS:
        raise InputError(f"use case {file}: kind must be series or rows, got {said!r}")
    kind = KINDS[said]
    if not isinstance(families, list) or not families:
        raise InputError(f"use case {file}: families must be a list of {', '.join(kind.FAMILIES)}, got {families!r}")
    for family in families:
        if family not in kind.FAMILIES:
            known = ", ".join(kind.FAMILIES)
            raise InputError(f"use case {file}: no family {family!r}{nearest(str(family), kind.FAMILIES)}; {known}")
    if file.stem == BUNDLES:
        raise InputError(f"use case {file}: {BUNDLES} is the folder of all winners; rename the file")
    try:
        settings = kind.complete(config.check({**tree, "name": file.stem, "runs": str(folder)}))
        kind.check(settings, families)
    except InputError as error:
        raise InputError(f"use case {file}: {error}") from None
    return UseCase(name=file.stem, kind=kind, families=tuple(dict.fromkeys(families)), settings=settings)


def _bounded(case: UseCase, left: float | None, cases_left: int) -> UseCase:
    """The use case with its share of the seconds that are left, family by family."""
    if left is None:
        return case
    each, own = left / cases_left / len(case.families), case.settings.search.time_budget
    search = case.settings.search.model_copy(update={"time_budget": each if own is None else min(own, each)})
    return replace(case, settings=case.settings.model_copy(update={"search": search}))


def _ended(case: UseCase, folder: Path, *, resume: bool) -> tuple[Outcome, bool]:
    """Search one use case, and whether a signal ended it: whatever else ends it ends it alone."""
    code = 0
    try:
        with exit_codes():
            _searched(case, folder / case.name, resume=resume)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except Exception as error:  # a bug in one of them, too
        print(f"error: {case.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        code = 1
    try:
        return _outcome(folder, case.name, code), interrupt.heard()
    except OSError as error:
        print(f"error: {case.name}: cannot copy its bundle: {error}", file=sys.stderr, flush=True)
        return Outcome(name=case.name, code=interrupt.EXIT_CODE, why=_WHY[interrupt.EXIT_CODE]), interrupt.heard()


def _searched(case: UseCase, run: Path, *, resume: bool) -> None:
    begun = resume and (run / "config.yaml").exists()
    if begun:
        before = config.check(config.read_yaml(run / "config.yaml", "--resume"))
        for key, value, old in config.differences(case.settings, before):
            if not may_change(key):
                raise InputError(
                    f"--resume: use case {case.name!r} was begun with {key}={old!r}, not {value!r}; put it back, or "
                    f"remove {run}"
                )
    search(case.settings, case.families, kind=case.kind, resume=begun)


def _outcome(folder: Path, name: str, code: int) -> Outcome:
    """What the run's summary says, and its best bundle put under the use case's name."""
    file, bundle = folder / name / "summary.json", folder / BUNDLES / name
    if not file.is_file():
        return Outcome(name=name, code=code or 1, why=_WHY.get(code, "failed"))
    summary = json.loads(file.read_text(encoding="utf8"))
    family = summary["family"]
    best = next(row for row in summary["leaderboard"] if row["name"] == family)
    if code in (0, 1):  # another family may have no winner; what failed a gate is not for use, and stays in its run
        part = bundle.with_name(f".{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder / name / "bundles" / family, part)
        shutil.rmtree(bundle, ignore_errors=True)
        part.replace(bundle)
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
