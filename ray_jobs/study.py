"""The study database of a run: every trial, every epoch, every ending, in an Optuna storage that any tool can open.

`optuna-dashboard sqlite:///runs/<name>/study.db` shows it. One study a family, named like the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ray_jobs import suggest
from search_spaces import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudyBook:
    """One family's study: suggests, records epochs and endings, ranks.

    Pickles and copies to a handle on the same database (Tune copies its searcher), never to a second study.
    """

    def __init__(
        self, url: str, space: Space, lookbacks: list[int], *, algorithm: str, trials: int, seed: int, minimise: bool
    ) -> None:
        self.url = url
        self.family = space.family
        self.algorithm = algorithm
        self.trials = trials
        self.seed = seed
        self.minimise = minimise
        # A window length is searched where the user gave several; one alone is no dimension of the space.
        self.fixed: dict[str, Any] = {"window.lookback": lookbacks[0]} if len(lookbacks) == 1 else {}
        self.ranges = dict(space.ranges)
        self.default = dict(space.default)
        if len(lookbacks) > 1:
            self.ranges["window.lookback"] = CategoricalDistribution(lookbacks)
            self.default["window.lookback"] = lookbacks[len(lookbacks) // 2]
        self.study = optuna.create_study(
            storage=url, study_name=space.family, direction="minimize" if minimise else "maximize", load_if_exists=True
        )
        self.numbers: dict[str, int] = {}  # Tune's trial id -> our number; under PBT a config may be another trial's
        self._live: dict[int, optuna.Trial] = {}
        self._reported: set[tuple[int, int]] = set()
        self._ended = 0
        if not self.study.trials:
            self.study.enqueue_trial(self.default)

    def __deepcopy__(self, memo: dict[int, Any]) -> StudyBook:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("study", "_live", "_reported")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._live, self._reported, self._ended = {}, set(), 0
        self.study = optuna.load_study(storage=self.url, study_name=self.family)

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """(trial number, flat params), written to the database before anyone sees it; None when there are no more."""
        number = len(self._live)
        if number >= self.trials:
            return None
        trial = suggest.ask(self.study, self.algorithm, self.ranges, seed=self.seed, number=number)
        if trial is None:
            return None
        self._live[trial.number] = trial
        return trial.number, {**trial.params, **self.fixed}

    def record(self, number: int, epoch: Mapping[str, Any]) -> None:
        """Note one epoch: `epoch` holds number, value, and whatever else belongs to the curve (JSON values)."""
        trial = self._live[number]
        trial.set_user_attr(f"epoch {epoch['number']:05d}", dict(epoch))
        if (number, epoch["number"]) not in self._reported:  # Tune repeats a function's last result; PBT goes back
            self._reported.add((number, epoch["number"]))
            trial.report(epoch["value"], epoch["number"])

    def finish(self, number: int, state: str, *, reason: str, value: float | None, params: Mapping[str, Any]) -> None:
        """Note how a trial ended: complete, pruned or failed, why, its value and the params it ended with."""
        trial = self._live[number]
        for key, note in (("state", state), ("reason", reason), ("value", value), ("params", dict(params))):
            trial.set_user_attr(key, note)  # params: those it ended with; they differ from the first ones under PBT
        self._ended += 1
        match state:
            case "complete":
                self.study.tell(trial, value)
            case "pruned":
                self.study.tell(trial, state=TrialState.PRUNED)
            case _:
                self.study.tell(trial, state=TrialState.FAIL)

    @property
    def open_trials(self) -> int:
        """How many trials were suggested and have not ended."""
        return len(self._live) - self._ended

    def finished(self) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(deepcopy=False) if "state" in t.user_attrs]

    def best(self) -> FrozenTrial | None:
        """The trial with the best value among all that were not failed; the earliest of equals."""
        ranked = [t for t in self.finished() if t.user_attrs["state"] != "failed" and t.user_attrs["value"] is not None]
        sign = 1.0 if self.minimise else -1.0
        return min(ranked, key=lambda t: (sign * t.user_attrs["value"], t.number), default=None)


def epochs(trial: FrozenTrial) -> list[dict[str, Any]]:
    """The recorded epochs of a trial, first to last."""
    keys = sorted(key for key in trial.user_attrs if key.startswith("epoch "))
    return [trial.user_attrs[key] for key in keys]


def spread(folds: list[float]) -> float:
    """Standard deviation over folds (of the sample: divided by one less)."""
    return float(np.std(folds, ddof=1)) if len(folds) > 1 else 0.0
