"""From a configuration to the problem of rows that every trial is judged on: read, check, split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.audit import audit_rows
from data.errors import InputError, nearest
from data.load import read_table
from data.row_folds import split_rows
from data.rows import RowTable, check_rows, with_positive
from data.samples import SAMPLES, read_sample
from models.tabular import clustering, crossval
from models.tabular.crossval import RowProblem
from models.tabular.metrics import METRICS, fits, fits_by_name
from ray_jobs import config, prepare
from ray_jobs.settings import Config
from ray_jobs.tabular import gates
from search_spaces import Space, load
from search_spaces.tabular import FOLDER

DEFAULT_SAMPLE = "titanic"
HOLDOUT = 0.1  # the share of rows
TOGETHER = ("lightgbm", "xgboost")  # families that several workers can grow
SCHEMES = ("auto", "stratified", "random", "grouped", "walk_forward")
_OF_SERIES = (
    *("window.", "features.", "heads.", "data.series", "data.future", "data.static", "data.fill_gaps"),
    *("validation.embargo", "export.members"),
)


def complete(settings: Config) -> Config:
    """The configuration with what the data decides: absolute path, a sample's target, the default sample."""
    data = settings.data
    if data.path is None:
        name = data.sample or DEFAULT_SAMPLE
        if name not in SAMPLES:
            raise InputError(f"no sample {name!r}{nearest(name, SAMPLES)}; known: {', '.join(SAMPLES)}")
        targets = data.targets or list(SAMPLES[name].targets)[:1]
        if data.task == "clustering":
            targets = data.targets
        data = data.model_copy(update={"sample": name, "targets": targets})
    if data.task == "clustering" and data.targets:
        raise InputError(
            f"a clustering has no target, got {', '.join(data.targets)}; leave it out, or name it in data.labels"
        )
    if data.task != "clustering" and len(data.targets) != 1:
        raise InputError(
            f"of rows one target is predicted, got {', '.join(data.targets) or 'none'}; name the column, e.g. --target "
            f"churned, or give --data.task clustering"
        )
    return prepare.placed(settings.model_copy(update={"data": data}))


def check(settings: Config, families: Sequence[str]) -> None:
    """InputError for what of the settings does not go together, before any data is read."""
    config.check_kind(settings, _OF_SERIES, "series", "rows")
    prepare.check_scheduler(settings)
    if settings.search.scheduler == "pbt":
        raise InputError("search.scheduler=pbt changes fit.* as trials go, and rows have model.* alone; use asha")
    if settings.resources.gpus_per_trial > 0:
        raise InputError("resources.gpus_per_trial: rows are learnt on processors; leave it at 0")
    alone = [family for family in families if family not in TOGETHER]
    if settings.resources.workers_per_trial > 1 and alone:
        raise InputError(
            f"resources.workers_per_trial={settings.resources.workers_per_trial}: a trial of {', '.join(alone)} has "
            f"one worker, only {' and '.join(TOGETHER)} have more; give it cores by resources.cpus_per_trial"
        )
    scheme, data = settings.validation.scheme, settings.data
    _check_task(settings, families)
    if scheme not in SCHEMES:
        raise InputError(f"validation.scheme={scheme!r} is for series; of rows: {', '.join(SCHEMES)}")
    for wanted, key, column in (("grouped", "data.group", data.group), ("walk_forward", "data.time", data.time)):
        if scheme == wanted and column is None:
            raise InputError(f"validation.scheme={scheme!r} needs {key}, the column to go by")
    for key, column, wanted in (("data.group", data.group, "grouped"), ("data.time", data.time, "walk_forward")):
        if column and scheme not in ("auto", wanted):
            raise InputError(f"{key}={column!r} asks for {wanted} folds, not validation.scheme={scheme}; choose one")
    if data.group and data.time:
        raise InputError("data.group and data.time ask for folds of different kinds; name one of them")
    known = clustering.METRICS if data.task == "clustering" else METRICS
    if settings.search.metric != "auto" and settings.search.metric not in known:
        raise InputError(f"search.metric={settings.search.metric!r} does not judge these; choose: {', '.join(known)}")
    gates.parse(settings.gates)
    _check_fixed(settings, families)


def problem(settings: Config) -> RowProblem:
    """Read and check everything; raises InputError (one line) for whatever is wrong with the data."""
    data, validation = settings.data, settings.validation
    frame = read_table(data.path) if data.path else read_sample(str(data.sample))
    table = check_rows(
        frame,
        target=data.targets[0] if data.targets else None,
        task=data.task,
        inputs=data.past,
        drop=data.drop,
        categorical=data.categorical,
        weight=data.weight,
        group=data.group,
        time=data.time,
        labels=data.labels,
    )
    if data.positive is not None:
        table = with_positive(table, data.positive)
    scheme = _scheme(settings, table)
    folds, final = split_rows(
        table.n_rows,
        scheme=scheme,
        n_folds=validation.folds,
        holdout=HOLDOUT if validation.holdout == "auto" else validation.holdout,
        seed=settings.search.seed,
        labels=None if table.target is None or not table.classes else _names(table),
        groups=table.group,
        clock=table.clock,
    )
    made = RowProblem(
        table=table,
        folds=folds,
        final=final,
        scheme=scheme,
        metric=_metric(settings, table),
        seed=settings.search.seed,
        balanced=data.class_weights == "balanced",
    )
    if made.balanced and not table.classes:
        raise InputError("data.class_weights=balanced needs classes, and the target is an amount; leave it out")
    if settings.export.threshold != "auto" and len(table.classes) != 2:
        raise InputError(
            f"export.threshold={settings.export.threshold!r} chooses between two classes, and target "
            f"{table.target_name!r} has {len(table.classes) or 'amounts, no classes'}; leave it out"
        )
    for gate in gates.parse(settings.gates):
        if table.target is None:
            own = gate.name in (*clustering.METRICS, *clustering.FIGURES)
        else:
            own = fits_by_name(gate.name, table)
        if gate.name in gates.JUDGED and not own:
            raise InputError(f"gates: {gate.name} does not judge a {table.task}; leave it out")
        if gate.name in clustering.KNOWN and len(table.labels) != 1:
            raise InputError(f"gates: {gate.name} needs one column of known groups; name it in data.labels")
    crossval.check(made)
    audit_rows(table)
    return made


def _names(table: RowTable) -> NDArray[Any]:
    """The class of each row by its name."""
    assert table.target is not None
    return np.array(table.classes, object)[table.target.astype(np.int64)]


def parameters(family: str) -> list[str]:
    """What a configuration of a family may set."""
    return [f"model.{each.name}" for each in fields(crossval.family(family).Config)]


def _scheme(settings: Config, table: RowTable) -> str:
    scheme = settings.validation.scheme
    if scheme == "stratified" and not table.classes:
        raise InputError("validation.scheme=stratified needs classes, and the target is an amount; use random")
    if scheme != "auto":
        return scheme
    if table.group is not None:
        return "grouped"
    if table.clock is not None:
        return "walk_forward"
    return "stratified" if table.classes else "random"


def _check_task(settings: Config, families: Sequence[str]) -> None:
    """A clustering is found by families of clusterings, and by no other."""
    clusters = settings.data.task == "clustering"
    for family in families:
        if getattr(crossval.family(family), "CLUSTERS", False) != clusters:
            if clusters:
                raise InputError(f"{family} predicts a target, and a clustering has none; choose kmeans or the like")
            raise InputError(f"{family} finds clusters, which have no target; give --data.task clustering")
    if clusters and settings.export.winner == "average":
        raise InputError("export.winner=average: the clusters of two folds are no numbers to average; leave it at auto")
    if settings.data.labels and not clusters:
        raise InputError("data.labels are what a clustering is held against; give data.task=clustering, or drop them")
    if clusters and (settings.validation.scheme not in ("auto", "random") or settings.data.weight):
        raise InputError("rows of a clustering are dealt to folds at random and weigh the same; leave out the rest")


def _metric(settings: Config, table: RowTable) -> str:
    name = settings.search.metric
    if table.target is None:
        return "silhouette" if name == "auto" else str(name)
    if name == "auto":
        return ("roc_auc" if len(table.classes) == 2 else "log_loss") if table.classes else "rmse"
    if not fits(METRICS[name], table):
        known = ", ".join(metric.name for metric in METRICS.values() if fits(metric, table))
        raise InputError(f"search.metric={name!r} does not judge a {table.task}; choose one of {known}")
    return str(name)


def _check_fixed(settings: Config, families: Sequence[str]) -> None:
    """InputError for a fixed parameter that no family has, or whose value a family does not take."""
    known = sorted({name for family in families for name in parameters(family)})
    for name, value in settings.search.fixed.items():
        if name not in known:
            raise InputError(
                f"search.fixed: no parameter {name!r}{nearest(name, known)} of {', '.join(families)}; known: "
                f"{', '.join(known)}"
            )
        for family in families:
            if name in parameters(family):
                _check_value(load(family, FOLDER), name, value)


def _check_value(space: Space, name: str, value: Any) -> None:
    match space.ranges.get(name):
        case IntDistribution() | FloatDistribution() as d:
            whole = isinstance(d, FloatDistribution) or type(value) is int
            if not (type(value) in (int, float) and whole and d.low <= value <= d.high):
                raise InputError(
                    f"search.fixed: {name} of {space.family} lies between {d.low} and {d.high}, got {value!r}; to go "
                    f"beyond, edit {space.file}"
                )
        case CategoricalDistribution() as d:
            if value not in d.choices:
                raise InputError(f"search.fixed: {name} of {space.family} is one of {list(d.choices)}, got {value!r}")
        case _:
            kind = get_type_hints(crossval.family(space.family).Config)[name.removeprefix("model.")]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise InputError(f"search.fixed: {name} of {space.family} must be {kind.__name__}, got {value!r}")
            least = 1 if kind is int else 0
            if kind is not str and not least <= value < math.inf:
                raise InputError(f"search.fixed: {name} of {space.family} must be {least} or more, got {value!r}")
