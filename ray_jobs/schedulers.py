"""Tune's schedulers by name. All of them compare `value`, the mean over folds, epoch by epoch.

ASHA and the median rule decide by what all trials have reported, so a sweep that goes on shows them all of it again
(`Replayable`). HyperBand and PBT hold trials back and swap them: after an interruption they begin anew with the trials
that had not ended.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from ray_jobs.spaces import to_tune

REDUCTION = 3
ENDS_TRIALS = ("asha", "median")
NEEDS_CHECKPOINTS = ("hyperband", "pbt")


def make(
    name: str, *, minimise: bool, max_epochs: int, ranges: Mapping[str, BaseDistribution], seed: int, grace: int = 1
) -> TrialScheduler:
    """A scheduler that ends no trial before `grace` epochs, where it is one that ends trials."""
    common: dict[str, Any] = {
        "time_attr": "number",  # the epoch; Tune's own count starts again with every process
        "metric": "value",
        "mode": "min" if minimise else "max",
    }
    match name:
        case "asha":
            rungs = {"max_t": max_epochs, "grace_period": grace, "reduction_factor": REDUCTION}
            return Replayable(ASHAScheduler(**common, **rungs))
        case "median":
            grace = max(grace, min(2, max_epochs))
            return Replayable(MedianStoppingRule(**common, grace_period=grace, min_samples_required=3))
        case "hyperband":
            return HyperBandScheduler(**common, max_t=max_epochs, reduction_factor=REDUCTION)
        case "pbt":
            random.seed(seed)  # Tune draws its mutations from the process's generators
            np.random.seed(seed)
            return PopulationBasedTraining(
                **common,
                # Each time, every trial makes way for another, which takes about a second.
                perturbation_interval=max(2, max_epochs // 5),
                hyperparam_mutations={"trial": {"params": mutations(ranges)}},
            )
    return FIFOScheduler()


@dataclass(frozen=True)
class _Known:
    """A trial as a rule knows it: under the same id whatever process runs it."""

    trial_id: str


class _NobodyElse:
    def get_live_trials(self) -> set[Any]:
        return set()


class Replayable(FIFOScheduler):
    """A rule that stops trials by comparing results, and knows them by our numbers instead of Tune's passing ids."""

    def __init__(self, rule: ASHAScheduler | MedianStoppingRule) -> None:
        super().__init__()
        self.rule = rule
        self.heard: dict[str, int] = {}  # trial -> the last epoch that the rule knows
        self.stopped: set[str] = set()

    @property
    def metric(self) -> Any:
        return self.rule.metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return bool(self.rule.set_search_properties(metric, mode, **spec))

    def replay(self, epochs: Iterable[tuple[int, dict[str, Any]]]) -> set[int]:
        """Show the rule (trial number, epoch) in the order in which they came; the trials that it stopped.

        The last epoch of a trial that ended by itself is left out: Tune does not show a rule such results either.
        """
        for number, epoch in epochs:
            trial = _Known(str(number))
            if trial.trial_id not in self.heard:
                self.rule.on_trial_add(None, trial)
                self.heard[trial.trial_id] = 0
            if not epoch["finished"]:
                self._decide(_NobodyElse(), trial, epoch)
        return {int(each) for each in self.stopped}

    def _decide(self, tune_controller: Any, trial: _Known, result: dict[str, Any]) -> str:
        """The rule's decision, once for each epoch: one that a process which died had reported is reported again."""
        if trial.trial_id in self.stopped:
            return str(TrialScheduler.STOP)
        if result["number"] <= self.heard.get(trial.trial_id, 0):
            return str(TrialScheduler.CONTINUE)
        self.heard[trial.trial_id] = result["number"]
        decision = str(self.rule.on_trial_result(tune_controller, trial, result))
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return decision

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.rule.on_trial_add(tune_controller, _known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = self._decide(tune_controller, _known(trial), result)
        # The median rule pauses a trial while others wait and it has little to compare: an epoch each, by turns, would
        # cost an actor's reset and tell no more.
        return TrialScheduler.CONTINUE if decision == TrialScheduler.PAUSE else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing. The rules would count a last result that they have heard, or one that is a failure's."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: what a trial reached stays a yardstick for the others."""

    def debug_string(self) -> str:
        return str(self.rule.debug_string())


def _known(trial: Any) -> _Known:
    return _Known(str(trial.config["trial"]["number"]))


def mutations(ranges: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What PBT may change while a trial runs: the numbers of `fit`, since a model cannot change its shape."""
    return {
        name: to_tune(d) for name, d in ranges.items() if name.startswith("fit.") and isinstance(d, FloatDistribution)
    }
