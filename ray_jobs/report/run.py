"""What a report needs of a run folder, read once: summary, tables, importances, and what follows from them."""

from __future__ import annotations

import json
import math
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from data.errors import InputError
from data.load import read_table

FEWEST_TRIALS = 8  # with a value, below which importances say more about chance than about parameters
_BEST_TRIALS = 5  # that PED-ANOVA wants among the best (Optuna's advice)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run folder in memory. Tables have the columns that the folder's description names; missing text is ""."""

    path: Path
    summary: dict[str, Any]
    config: str
    trials: pd.DataFrame
    curves: pd.DataFrame
    oof: pd.DataFrame
    holdout: pd.DataFrame

    @property
    def metric(self) -> str:
        return str(self.summary["metric"]["name"])

    @property
    def of_rows(self) -> bool:
        return "task" in self.summary

    @property
    def answers_value(self) -> bool:
        """Whether a head answers the value; else what stands for its forecasts is the last known value."""
        return bool(self.summary.get("answers_value", True))

    @property
    def minimise(self) -> bool:
        return bool(self.summary["metric"]["direction"] == "min")

    @property
    def family(self) -> str:
        return str(self.summary["family"])

    @property
    def families(self) -> list[str]:
        return [str(name) for name in self.summary["winners"]]

    @property
    def steps(self) -> list[int]:
        return [int(step) for step in self.summary["steps"]]

    @property
    def leaderboard(self) -> list[dict[str, Any]]:
        return list(self.summary["leaderboard"])

    def entry(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.leaderboard if entry["name"] == name)

    def best_baseline(self, where: str) -> dict[str, Any] | None:
        """The baseline with the best value where = "cv" or "holdout"; None where no baseline has one."""
        baselines = [e for e in self.leaderboard if e["kind"] == "baseline" and math.isfinite(self.value(e, where))]
        sign = 1.0 if self.minimise else -1.0
        return min(baselines, key=lambda entry: sign * self.value(entry, where), default=None)

    def value(self, entry: dict[str, Any], where: str) -> float:
        """The selection metric of a leaderboard entry, mean over folds ("cv") or on the "holdout"; NaN if missing."""
        found = entry.get("cv_mean") if where == "cv" else (entry.get("holdout") or {}).get(self.metric)
        return math.nan if found is None else float(found)

    def better(self, one: float, other: float) -> bool:
        return one < other if self.minimise else one > other

    def params(self, family: str) -> list[str]:
        """The tuned parameters of a family, "group.name", that any of its trials has."""
        own = self.trials[self.trials["family"] == family]
        names = [str(column) for column in own.columns if str(column).startswith("params.")]
        return [name.removeprefix("params.") for name in names if own[name].notna().any()]


def read_run(path: Path) -> Run:
    """Read runs/<name>. Raises InputError where it is no run folder or one of its files cannot be read."""
    summary = read_summary(path)
    config = path / "config.yaml"
    own, first = (["row"], []) if "task" in summary else (["series", "time", "step", "target"], ["origin_time"])
    return Run(
        path=path,
        summary=summary,
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        trials=run_table(path / "trials.parquet", ["family", "number", "state", "value"]),
        curves=run_table(path / "curves.parquet", ["family", "trial", "fold", "epoch", "valid", "best"]),
        oof=run_table(path / "oof.parquet", [*own, "truth", "predicted"]),
        holdout=run_table(path / "holdout.parquet", ["model", *first, *own, "truth", "predicted"]),
    )


def read_summary(path: Path) -> dict[str, Any]:
    """The summary.json of runs/<name>. Raises InputError where there is none or it cannot be read."""
    if not (path / "summary.json").is_file():
        raise InputError(f"no finished run in {path}: it has no summary.json; give the folder of a run, runs/<name>")
    try:
        summary: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path / 'summary.json'} is not JSON: {error}") from None
    return summary


@contextmanager
def of_this_form(path: Path) -> Iterator[None]:
    """InputError for whatever a summary or card of another form makes its reader raise."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no run folder that this version wrote: {type(error).__name__} {error}") from error


def run_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table of the run folder, through the guarded loader; empty where the file is not there."""
    frame = read_table(str(path)) if path.is_file() else pd.DataFrame(columns=list(columns))
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}")
    for name in _yes_or_no(path):  # the loader makes them 0.0 and 1.0 where a value is missing
        frame[name] = frame[name].map(lambda value: None if pd.isna(value) else bool(value)).astype(object)
    texts = [name for name in ("family", "model", "series", "target", "state") if name in frame.columns]
    return frame.assign(**{name: frame[name].fillna("").astype(str) for name in texts})


def _yes_or_no(path: Path) -> list[str]:
    """The boolean columns of a table that the guarded loader has already let through."""
    return [field.name for field in pq.read_schema(path) if pa.types.is_boolean(field.type)] if path.is_file() else []


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What the study database tells of one family."""

    ranges: dict[str, BaseDistribution]
    importances: dict[str, float]  # most important first, sum 1; empty where there are none
    why_none: str  # a sentence where there are none


def read_search(run: Run, family: str) -> Search:
    """Ranges and parameter importances of a family's study. The database is opened for reading only."""
    database = run.path / "study.db"
    if not database.is_file():
        return Search(ranges={}, importances={}, why_none="The study database is not in the run folder.")
    try:
        url = f"sqlite:///file:{urllib.parse.quote(str(database.absolute()))}?mode=ro&uri=true"
        storage = optuna.storages.RDBStorage(url)
        try:
            return _search(optuna.load_study(study_name=family, storage=storage))
        finally:
            storage.engine.dispose()
    except Exception as error:  # whatever a database driver raises, the rest of the report stands
        first_line = (str(error).splitlines() or [""])[0]
        return Search(ranges={}, importances={}, why_none=f"The study database cannot be read: {first_line}")


def _search(study: optuna.Study) -> Search:
    trials = study.get_trials(deepcopy=False)
    ranges = {name: range_ for trial in trials for name, range_ in trial.distributions.items()}
    # PED-ANOVA compares the best trials with all: a stopped trial, whatever it might have become, is one of the rest.
    judged = [
        optuna.trial.create_trial(value=value, params=trial.params, distributions=trial.distributions)
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and math.isfinite(value := _last_value(trial))
    ]
    if len(judged) < FEWEST_TRIALS:
        lacking = f"Importances need at least {FEWEST_TRIALS} trials with a value; this family has {len(judged)}."
        return Search(ranges=ranges, importances={}, why_none=lacking)
    # It brings all of scikit-learn along: a second that nobody should wait for before the first trial.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    ranked = optuna.create_study(direction=study.direction)
    ranked.add_trials(judged)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, _BEST_TRIALS / len(judged))))
    try:
        found = get_param_importances(ranked, evaluator=evaluator)
    except (ValueError, RuntimeError) as error:
        return Search(ranges=ranges, importances={}, why_none=f"Importances could not be worked out: {error}")
    importances = {name: value for name, value in found.items() if math.isfinite(value)}
    why_none = "" if importances else "No parameter was tuned in all trials."
    return Search(ranges=ranges, importances=importances, why_none=why_none)


def _last_value(trial: FrozenTrial) -> float:
    """The value a trial ended with, or the last it reported; NaN where it has none."""
    known = trial.value if trial.value is not None else trial.user_attrs.get("end", {}).get("value")
    if known is None and trial.intermediate_values:
        known = trial.intermediate_values[max(trial.intermediate_values)]
    return math.nan if known is None else float(known)


def mean_curves(run: Run, family: str) -> pd.DataFrame:
    """Learning curves (trial, epoch, best, valid), means over folds: best so far, and each epoch by itself.

    A fold that stopped early counts with its best.
    """
    own = run.curves[run.curves["family"] == family]
    valid, best = (own.pivot_table(index=["trial", "epoch"], columns="fold", values=v) for v in ("valid", "best"))
    best = best.groupby(level="trial").ffill()
    means = {"best": best.mean(axis=1), "valid": valid.fillna(best).mean(axis=1)}
    return pd.DataFrame(means).reset_index()


def best_so_far(values: Sequence[float], minimise: bool) -> list[float]:
    """The best value up to each place; NaN before the first."""
    known = np.asarray(values, dtype=float)
    worst = math.inf if minimise else -math.inf
    filled = np.where(np.isfinite(known), known, worst)
    best = np.minimum.accumulate(filled) if minimise else np.maximum.accumulate(filled)
    return [float(value) if math.isfinite(value) else math.nan for value in best]


def warnings(run: Run) -> list[str]:
    """What a reader should know before using a winner, plain sentences."""
    found = [f"A gate failed: {gate}." for gate in run.summary.get("failed_gates") or []]
    for name in run.families:
        for where, words in (("cv", "in cross-validation"), ("holdout", "on the holdout")):
            baseline, value = run.best_baseline(where), run.value(run.entry(name), where)
            if baseline and not run.better(value, run.value(baseline, where)) and not math.isnan(value):
                found.append(
                    f"{name} is no better {words} than the baseline {baseline['name']}, which needs no training."
                )
    found += [
        f"The best {name} lies on the bound of its range: widen the range and search again."
        for name in run.summary.get("on_bounds") or []
    ]
    failed = int((run.summary.get("trials") or {}).get("failed") or 0)
    if failed:
        found.append(f"{failed} {'trial' if failed == 1 else 'trials'} failed; the table of trials names them.")
    return found
