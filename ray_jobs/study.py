"""The study database of a run, and the truth about it: every trial, every epoch, every ending, in an Optuna storage.

`optuna-dashboard sqlite:///runs/<name>/study.db` shows it. One study a family. A trial stands in it, whole, before it
starts; an epoch before the scheduler hears of it; an ending before the next trial is suggested. So whatever dies, a
`StudyBook` opened on the same database knows which trials have ended and where the others stand.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial

from data.errors import InputError
from ray_jobs.database import make_file, shown
from ray_jobs.suggest import suggest
from search_spaces import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)

_SECONDS_TO_WAIT = 60.0  # for a database that somebody else has locked


class StudyBook:
    """One family's study: suggests, records epochs and endings, ranks.

    Pickles and copies to a handle on the same database (Tune copies its searcher), never to a second study.
    """

    def __init__(
        self,
        url: str,
        space: Space,
        lookbacks: list[int],
        *,
        algorithm: str,
        trials: int,
        seed: int,
        minimise: bool,
        name: str | None = None,
        fixed: Mapping[str, Any] = MappingProxyType({}),
        settings: Collection[str] = (),
        searched: Mapping[str, list[Any]] = MappingProxyType({}),
    ) -> None:
        """Open the study `name` (the family where None) in the database at `url`, or make it.

        `fixed` are parameters that are not searched: of the space, or of the family's other `settings`; those of other
        families do not count. `searched` are choices beside the space's own; the first trials take the middle one.
        """
        self.url = url
        self.name = name or space.family
        self.family = space.family
        self.file = space.file
        self.algorithm = algorithm
        self.trials = trials
        self.seed = seed
        self.minimise = minimise
        # A window length is searched where the user gave several; one alone is no dimension of the space.
        self.fixed: dict[str, Any] = {"window.lookback": lookbacks[0]} if len(lookbacks) == 1 else {}
        own = {*settings, *space.ranges}
        self.fixed |= {name: value for name, value in fixed.items() if name in own}
        self.ranges: dict[str, BaseDistribution] = {n: d for n, d in space.ranges.items() if n not in fixed}
        # Flat params of the first trials, before the algorithm suggests; with some fixed, two may be the same.
        self.first: list[dict[str, Any]] = []
        for start in space.starts.values():
            left = {name: value for name, value in start.items() if name not in fixed}
            if left not in self.first:
                self.first.append(left)
        several = {"window.lookback": lookbacks} if len(lookbacks) > 1 else {}
        for name, choices in {**several, **searched}.items():
            if name in fixed:
                continue
            self.ranges[name] = CategoricalDistribution(choices)
            for start in self.first:
                start[name] = choices[len(choices) // 2]
        self.numbers: dict[str, int] = {}  # Tune's trial id -> our number; under PBT a config may be another trial's
        self._open()

    def _open(self) -> None:
        if self.url.startswith("sqlite:///"):
            make_file(Path(str(sqlalchemy.make_url(self.url).database)))
            connect_args = {"timeout": _SECONDS_TO_WAIT}
        else:
            connect_args = {}
        self.database = RDBStorage(self.url, engine_kwargs={"connect_args": connect_args, "pool_pre_ping": True})
        self.storage = get_storage(self.database)  # keeps finished trials in memory
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            direction="minimize" if self.minimise else "maximize",
            load_if_exists=True,
        )
        self.study_id = self.storage.get_study_id_from_name(self.name)
        self.unfinished: list[FrozenTrial] = []  # begun by an earlier process and not yet handed out by this one
        self.recorded = 0  # epochs in the study
        self.started = 0
        self.ended = 0
        for trial in self.study.get_trials(deepcopy=False):
            self.started += 1
            self.recorded += len(epochs(trial))
            if trial.state.is_finished():
                self.ended += 1
            elif "end" in trial.user_attrs:  # its process died between the two writes of an ending
                self._tell(trial.number, trial.user_attrs["end"])
            else:
                self.unfinished.append(trial)

    @property
    def shown_url(self) -> str:
        return shown(self.url)

    def copy_to(self, url: str) -> None:
        """Write the whole study to another database, which has none of the family's name."""
        optuna.copy_study(
            from_study_name=self.name, from_storage=self.database, to_storage=url, to_study_name=self.family
        )

    def close(self) -> None:
        self.database.remove_session()
        self.database.engine.dispose()

    def __deepcopy__(self, memo: dict[int, Any]) -> StudyBook:
        return self

    def __getstate__(self) -> dict[str, Any]:
        left = ("database", "storage", "study", "unfinished")
        return {key: value for key, value in self.__dict__.items() if key not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """(trial number, flat params), written to the database before anyone sees it; None when there are no more."""
        number = self.started
        if number >= self.trials:
            return None
        params = (
            self.first[number]
            if number < len(self.first)
            else suggest(
                optuna.load_study(study_name=self.name, storage=self.storage),  # a Study keeps the trials it has seen
                self.algorithm,
                self.ranges,
                seed=self.seed,
                number=number,
                index=number - len(self.first),
            )
        )
        if params is None:
            return None
        trial = create_trial(state=TrialState.RUNNING, params=dict(params), distributions=self.ranges)
        self.storage.create_new_trial(self.study_id, trial)  # one transaction
        self.started += 1
        return number, {**params, **self.fixed}

    def check_question(self, question: Mapping[str, Any]) -> None:
        """Note what this study asks (JSON values), or hold it against what was noted when it was begun.

        InputError names what has changed: scores of two questions cannot be ranked together.
        """
        own: dict[str, Any] = {
            **question,
            "ranges": {name: distribution_to_json(d) for name, d in self.ranges.items()},
            "starts": self.first,
        }
        own = json.loads(json.dumps(own))
        noted = self.study.user_attrs.get("question")
        if noted is None:
            self.study.set_user_attr("question", own)
            return
        for part in own:
            if part not in noted or own[part] == noted[part]:
                continue
            if part in ("ranges", "starts"):
                names = [name for name in own["ranges"] if own["ranges"][name] != noted["ranges"].get(name)]
                names += [name for name in noted["ranges"] if name not in own["ranges"]]
                raise InputError(
                    f"{self.file} has changed since study {self.name!r} was begun "
                    f"({', '.join(names) or 'its first trials'}); put it back, or start another run"
                )
            raise InputError(
                f"study {self.name!r} was begun with {part}={noted[part]!r}, not {own[part]!r}; put it back, or "
                f"start another run"
            )

    def end_search(self, seconds: float, budget: list[Any]) -> None:
        """Note that the search is over, after so many seconds, within this budget."""
        self.study.set_user_attr("searched", {"seconds": seconds, "budget": budget})

    def searched(self, budget: list[Any]) -> float | None:
        """Seconds of the search, where it is over and the same budget was spent; None where it is not."""
        noted = self.study.user_attrs.get("searched")
        return float(noted["seconds"]) if noted and noted["budget"] == budget else None

    def hand_again(self, number: int) -> None:
        """Hand out a trial once more that has been handed out and has not ended."""
        self.unfinished.append(self.storage.get_trial(self._id(number)))

    def record(self, number: int, epoch: Mapping[str, Any]) -> None:
        """Note one epoch: `epoch` holds number, value, and whatever else belongs to the curve (JSON values).

        An epoch that is there keeps its place and is written over: Tune repeats a function's last result, PBT goes
        back, and a trial that lost its last state trains an epoch again.
        """
        trial_id, key = self._id(number), _key(epoch["number"])
        before = self.storage.get_trial(trial_id).user_attrs.get(key)
        place = self.recorded if before is None else before["place"]
        self.storage.set_trial_user_attr(trial_id, key, {**epoch, "place": place})
        self.storage.set_trial_intermediate_value(trial_id, epoch["number"], epoch["value"])
        self.recorded += before is None

    def finish(self, number: int, state: str, *, reason: str, value: float | None, params: Mapping[str, Any]) -> None:
        """Note how a trial ended: complete, pruned or failed, why, its value and the params it ended with."""
        # Those it ended with: under PBT they differ from the first ones.
        end = {"state": state, "reason": reason, "value": value, "params": dict(params)}
        self.storage.set_trial_user_attr(self._id(number), "end", end)
        self._tell(number, end)

    def _tell(self, number: int, end: Mapping[str, Any]) -> None:
        match end["state"]:
            case "complete":
                self.study.tell(number, end["value"])
            case "pruned":
                self.study.tell(number, state=TrialState.PRUNED)
            case _:
                self.study.tell(number, state=TrialState.FAIL)
        self.ended += 1

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    @property
    def open_trials(self) -> int:
        """How many trials were suggested and have not ended."""
        return self.started - self.ended

    def all_trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.all_trials() if "end" in trial.user_attrs]

    def best(self) -> FrozenTrial | None:
        """The trial with the best value among all that were not failed; the earliest of equals."""
        ranked = [t for t in self.finished() if ending(t)["state"] != "failed" and ending(t)["value"] is not None]
        sign = 1.0 if self.minimise else -1.0
        return min(ranked, key=lambda t: (sign * ending(t)["value"], t.number), default=None)

    def seconds(self) -> float:
        """Seconds of search up to the last recorded epoch, over all processes that worked on it."""
        return max((e["ended"] for trial in self.all_trials() for e in epochs(trial)), default=0.0)


def _key(epoch: int) -> str:
    return f"epoch {epoch:05d}"


def ending(trial: FrozenTrial) -> dict[str, Any]:
    """How a finished trial ended: state, reason, value, params."""
    end: dict[str, Any] = trial.user_attrs["end"]
    return end


def epochs(trial: FrozenTrial) -> list[dict[str, Any]]:
    """The recorded epochs of a trial, first to last."""
    keys = sorted(key for key in trial.user_attrs if key.startswith("epoch "))
    return [trial.user_attrs[key] for key in keys]


def spread(folds: list[float]) -> float:
    """Standard deviation over folds (of the sample: divided by one less)."""
    return float(np.std(folds, ddof=1)) if len(folds) > 1 else 0.0
