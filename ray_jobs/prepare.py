"""From a configuration to the problem that every trial is judged on: read, check, split, audit."""

from __future__ import annotations

import math
import os
import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.audit import audit, check_statistics
from data.errors import InputError, nearest
from data.folds import split
from data.load import read_table
from data.samples import SAMPLES, read_sample
from data.table import Table, check_table
from models import fourier
from models.crossval import FoldScore, Problem, find_seasons
from models.features import Features
from models.heads import Heads
from models.metrics import METRICS
from models.naive import naive_answers
from models.scaling import Statistics
from models.selection import Way, rank
from ray_jobs.params import check_keep
from ray_jobs.schedulers import ENDS_TRIALS, NEEDS_CHECKPOINTS
from ray_jobs.settings import Config
from search_spaces import KEEP

DEFAULT_SAMPLE = "sea-temperature"
HOLDOUT = 0.2  # the share of time
_SILENT_SECONDS = 5.0  # of ranking, before the time that is left is said


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the table came from, for people and for the run's default name."""

    short: str
    full: str


def complete(config: Config) -> Config:
    """The configuration with what the data decides: absolute path, a sample's columns, the default sample.

    Raises InputError where no target is given for a table of the user's own.
    """
    data = config.data
    if data.path is None:
        name = data.sample or DEFAULT_SAMPLE
        if name not in SAMPLES:
            raise InputError(f"no sample {name!r}{nearest(name, SAMPLES)}; known: {', '.join(SAMPLES)}")
        sample = SAMPLES[name]
        if sample.time is None and data.time is None:
            raise InputError(
                f"data.sample={sample.name!r} is a table of rows, not of times; sequence models need times"
            )
        data = data.model_copy(
            update={
                "sample": sample.name,
                "time": data.time or sample.time,
                "series": data.series or sample.series,
                "targets": data.targets or list(sample.targets),
            }
        )
    elif not data.targets:
        raise InputError("no target given; name the column to forecast, e.g. --target sales")
    return placed(config.model_copy(update={"data": data}))


def placed(config: Config) -> Config:
    """The configuration with every path absolute; InputError for a place that will not do."""
    data = config.data
    if data.path is not None and "://" not in data.path:
        data = data.model_copy(update={"path": str(_resolved("data.path", data.path))})
    _check_places(config)
    search = config.search
    if search.storage and re.match(r"sqlite:///[^/]", search.storage):  # one file, wherever --resume is called from
        file = Path(search.storage.removeprefix("sqlite:///")).resolve()
        search = search.model_copy(update={"storage": f"sqlite:///{file}"})
    runs = _resolved("runs", config.runs or str(_default_runs()))
    return config.model_copy(update={"data": data, "search": search, "runs": str(runs)})


def _resolved(key: str, path: str) -> Path:
    """An absolute path, `~` expanded; InputError for one that no file system takes."""
    try:
        resolved = Path(path).expanduser().resolve()
        resolved.exists()  # raises for a part that is too long
        str(resolved).encode()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{key}={path!r} is no path: {error}") from None
    return resolved


def check_scheduler(config: Config) -> None:
    """InputError where the scheduler cannot work with the epochs or the resources asked for."""
    search, name, resources = config.search, config.search.scheduler, config.resources
    if search.grace != "auto" and name not in ENDS_TRIALS:
        raise InputError(
            f"search.grace={search.grace} is for search.scheduler {' and '.join(ENDS_TRIALS)}, got {name!r}; leave "
            f"it out"
        )
    if search.grace != "auto" and search.grace > search.max_epochs:
        raise InputError(
            f"search.grace={search.grace} is more than search.max_epochs={search.max_epochs}, so none would end "
            f"early; give fewer, or search.scheduler none"
        )
    if name not in NEEDS_CHECKPOINTS:
        return
    if resources.workers_per_trial > 1:
        raise InputError(
            f"search.scheduler={name!r} moves trials between workers, which "
            f"resources.workers_per_trial={resources.workers_per_trial} does not allow; use asha, median or none"
        )
    if resources.concurrent != "auto":
        raise InputError(
            f"search.scheduler={name!r} compares trials that wait, and resources.concurrent={resources.concurrent} "
            f"counts those that wait, too; leave it at auto, or use asha, median or none"
        )


def _check_places(config: Config) -> None:
    """Run folders are local or mounted; no address holds a password, since a run writes down its configuration."""
    if config.runs and "://" in config.runs:
        raise InputError(
            f"runs={_without_secret(config.runs)!r} is an address; give a folder, on a cluster one that all nodes mount"
        )
    for key, value in (("data.path", config.data.path), ("search.storage", config.search.storage)):
        if value and re.search(r"://[^@]*:.*@|[?&][^=&]*(pass|pwd|secret|token)[^=&]*=", value, re.IGNORECASE):
            raise InputError(
                f"{key}={_without_secret(value)!r} holds a password, and a run writes its configuration down; leave it "
                f"out and give it by the environment (AWS_..., PGPASSWORD) or a file of the database's own"
            )


def _without_secret(address: str) -> str:
    return re.sub(r"://.*@", "://", address).partition("?")[0]


def source(config: Config) -> Source:
    if config.data.path is None:
        name = str(config.data.sample)
        return Source(short=name, full=f"built-in sample {name}")
    name = Path(config.data.path).name.split(".")[0] or "table"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    short = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain)[:60].strip("-_") or "table"
    return Source(short=short, full=config.data.path)


def default_name(families: Sequence[str], config: Config) -> str:
    """The run folder's name where the user gave none."""
    names = "-".join(families) if len(families) <= 3 else f"{len(families)}-families"
    return f"{names}-{source(config).short}"


def problem(config: Config) -> Problem:
    """Read and check everything; raises InputError (one line) for whatever is wrong with the data."""
    data, validation = config.data, config.validation
    frame = read_table(data.path) if data.path else read_sample(str(data.sample))
    table: Table = check_table(
        frame,
        time=data.time,
        series=data.series,
        targets=data.targets,
        past=data.past,
        future=data.future,
        static=data.static,
        categorical=data.categorical,
        weight=data.weight,
        fill_gaps=data.fill_gaps,
    )
    steps = np.array(config.window.steps, np.int64)
    heads = _heads(config)
    features = _features(config, table)
    waves = fourier.waves(config.features.fourier, table.calendar)
    lookback = max(config.window.lookbacks) + features.reach
    parts = split(
        table,
        scheme=validation.scheme,
        n_folds=validation.folds,
        holdout=HOLDOUT if validation.holdout == "auto" else validation.holdout,
        embargo=validation.embargo,
        lookback=lookback,
        steps=steps,
    )
    audit(table, parts, lookback=lookback, steps=steps)
    for fold in (*parts.folds, parts.final):
        fitted = Statistics.fit(table.numbers, fold.rows)
        check_statistics(fitted.mean, fitted.std, table.numbers, fold.rows, fold=fold.name)
    made = Problem(
        table=table,
        split=parts,
        steps=steps,
        metric=_metric(config, heads),
        seed=config.search.seed,
        seasons=find_seasons(table, parts),
        features=features,
        waves=waves,
        heads=heads,
    )
    _check_metric(made)
    _check_weights(made)
    select = config.features.select
    return made if select == "none" else _ranked(made, select, config.search.fixed.get(KEEP, 1))


def _features(config: Config, table: Table) -> Features:
    """The features asked for, by positions of columns; InputError for a column that is no input of numbers."""
    asked = config.features.model_dump(exclude={"fourier", "select"})
    names, known = asked.pop("columns"), table.names[: table.n_numbers]
    for name in [] if names == "auto" else names:
        if name in table.categories:
            raise InputError(f"features.columns: {name!r} holds words, not numbers; numbers: {', '.join(known)}")
        if name not in known:
            raise InputError(f"features.columns: no input {name!r}{nearest(name, known)}; inputs: {', '.join(known)}")
    columns = range(table.n_targets) if names == "auto" else sorted({table.names.index(name) for name in names})
    wanted = {kind: tuple(sorted(set(steps))) for kind, steps in asked.items()}
    return Features(columns=tuple(columns) if any(wanted.values()) else (), **wanted)


def _heads(config: Config) -> Heads:
    asked = config.heads
    if asked.band and len(config.data.targets) > 1:
        raise InputError(
            f"heads.band={asked.band:g} is in the target's unit, and {len(config.data.targets)} targets have units of "
            f"their own; leave it out, or forecast one"
        )
    try:
        return Heads(
            value=bool(asked.value),
            direction=bool(asked.direction),
            band=asked.band,
            levels=tuple(sorted(set(asked.levels))) if asked.quantiles else (),
        )
    except ValueError as error:
        raise InputError(f"heads: {error}") from None


def _metric(config: Config, heads: Heads) -> str:
    """What ranks the trials; InputError where no head answers what it judges."""
    name = config.search.metric
    if name == "auto":
        return "mae" if heads.value else "pinball" if heads.levels else "log_loss"
    head = METRICS[name].head
    if head == "value" and not heads.answers_value:
        raise InputError(
            f"search.metric={name!r} judges the value, and no head answers it; give heads.value a weight, or rank by "
            f"{'pinball' if heads.levels else 'log_loss'}"
        )
    if head != "value" and head not in heads.extras:
        raise InputError(f"search.metric={name!r} judges a head that there is not; give heads.{head} a weight")
    return name


def _ranked(problem: Problem, way: Way, keep: object) -> Problem:
    """The problem with each fold's ranking of its inputs; it tells of its progress where it takes long."""
    candidates = problem.inputs[problem.table.n_targets :]
    if len(candidates) < 2:
        raise InputError(
            f"features.select={way!r} chooses among the inputs besides the targets, and there are {len(candidates)} "
            f"({', '.join(candidates) or 'none'}); add features or columns, or leave it out"
        )
    check_keep(keep, len(candidates), "search.fixed")
    folds, started, rankings = (problem.split.final, *problem.split.folds), time.monotonic(), {}
    print(f"ranking {len(candidates)} inputs by {way} on {len(folds)} folds", flush=True)
    for number, fold in enumerate(folds):
        rankings[fold.name] = rank(problem, number, way)
        spent, left = time.monotonic() - started, len(folds) - number - 1
        if left and spent > _SILENT_SECONDS:
            print(f"{number + 1} of {len(folds)} folds, at most {spent / (number + 1) * left:.0f} s left", flush=True)
    return replace(problem, rankings=rankings)


def _check_metric(problem: Problem) -> None:
    """InputError where the metric has no value on a fold, whatever is answered: R2 of a target that never changes."""
    for fold in problem.split.folds:
        score = FoldScore(problem, fold)
        if not any(math.isfinite(score(answers)) for answers in naive_answers(problem, fold).values()):
            raise InputError(
                f"search.metric={problem.metric!r} has no value on fold {fold.name}, where it would divide by zero; "
                f"choose another metric or fewer folds"
            )


def _check_weights(problem: Problem) -> None:
    """InputError where all windows that a fold trains on weigh nothing."""
    weight = problem.table.weight
    if weight is None:
        return
    for fold in (*problem.split.folds, problem.split.final):
        if not weight[fold.train - 1].any():
            name = "the holdout" if fold.name == "holdout" else f"fold {fold.name}"
            raise InputError(
                f"data.weight: every training window of {name} weighs 0, by the last row of its past; give some rows "
                f"there a weight, or use fewer folds"
            )


def _default_runs() -> Path:
    # A job's working directory is a copy that goes away with the job.
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    return Path.home() / "foldline-runs" if in_job else Path("runs")
