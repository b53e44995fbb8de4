"""What Tune tells of the trials, written into their study: every epoch, every ending, and why a sweep must end."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.stopper import Stopper

from ray_jobs.checkpoints import CannotWriteError
from ray_jobs.database import DATABASE_ERRORS, why
from ray_jobs.study import StudyBook
from ray_jobs.trial import failure_file, hung, trial_states

_EPOCH_KEYS = ("number", "value", "folds", "best_epochs", "curve", "train_seconds", "valid_seconds", "finished")
_OUT_OF_MEMORY = ("OutOfMemoryError", "running low on memory")  # of Ray's monitor, which comes before the kernel


class Halt:
    """Why the sweep must end now, once somebody has found a reason.

    Tune wraps what a callback raises, or only logs it; so each of ours notes it here, and `Recorder` ends the sweep.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self, reason: str) -> None:
        self.reason = self.reason or reason

    def __deepcopy__(self, memo: dict[int, Any]) -> Halt:
        return self


class Endings(Callback):
    """Notes how each trial ended, and keeps the states of the best one alone."""

    def __init__(self, book: StudyBook, folder: Path, owner: dict[str, Any], halt: Halt, node: dict[str, int]) -> None:
        """`node`: CPUs, GPUs and memory of a node that a trial may have to itself."""
        self.book = book
        self.folder = folder  # of states and failures
        self.owner = owner  # of the states
        self.halt = halt
        best = book.best()
        self.best = best.number if best else None
        self.alone: set[str] = set()  # Tune's ids of the trials that ran out of memory once
        self.kernel_kills = kernel_kills()  # of which a trial's death has been told
        self.node = node
        self.handed_again: set[int] = set()  # trials that had not begun when their process was found dead

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.book.numbers.setdefault(trial.trial_id, trial.config["trial"]["number"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process died, and Tune starts it again: where memory ran out, with a node to itself and only once."""
        if trial.config["trial"]["workers"] > 1:
            return  # what Tune sees is the process that waits for them: all cores for it would leave them none
        # A kill is one trial's: two that died at once take two. Of other nodes' kernels nothing is known.
        killed = kernel_kills() > self.kernel_kills
        self.kernel_kills += killed
        if killed or any(words in _error(trial) for words in _OUT_OF_MEMORY):
            self.alone.add(trial.trial_id)
            trial.update_resources({name: has for name, has in self.node.items() if has})
            trial.max_failures = trial.run_metadata.num_failures

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        if self.halt.reason:
            return  # it goes on when the sweep does
        if "failed" in result:
            self._fail(trial, str(result["failed"]))
            return
        value = result.get("value")
        if value is not None and not math.isfinite(value):
            self._finish(trial, "failed", f"the metric became {value} in epoch {result.get('number')}", None)
            return
        if value is None:  # never began
            self._finish(trial, "pruned", "the time was up before its first epoch", None)
            return
        done = bool(result.get("finished"))
        self._finish(
            trial,
            "complete" if done else "pruned",
            "finished" if done else f"stopped after epoch {result['number']}",
            value,
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = self._number(trial)
        given_at_once = trial.config["trial"]["exploits"]  # PBT's trials: nobody asks for another
        if trial.should_recover() and number not in self.handed_again and not given_at_once:
            # Tune recovers trials that run. This one was about to, in a process that had died while it was idle.
            self.handed_again.add(number)
            self.book.hand_again(number)
            return
        self._fail(trial, _error(trial), died=True)

    def _fail(self, trial: Any, text: str, *, died: bool = False) -> None:
        """`text` is a traceback, or what Ray says of a process that died."""
        if CannotWriteError.__name__ in text:  # of a worker inside a trial
            self.halt(_last_line(text).removeprefix(f"{CannotWriteError.__module__}.{CannotWriteError.__name__}: "))
            return
        file = failure_file(self.folder, self._number(trial))
        try:
            stacks = hung(self.folder, self._number(trial))
            file.parent.mkdir(exist_ok=True, mode=0o700)
            file.write_text(f"{text}\n{stacks}", encoding="utf8")
        except OSError as error:
            self.halt(f"cannot write {file}: {error.strerror}")
            return
        reason = _last_line(text)
        if stacks and died:
            reason = "hung: an epoch took longer than search.epoch_timeout"
        elif trial.trial_id in self.alone:
            reason = "out of memory, and with a node to itself its process died again"
        self._finish(trial, "failed", reason, None)

    def _finish(self, trial: Any, state: str, reason: str, value: float | None) -> None:
        number = self._number(trial)
        try:
            params = (trial.last_result or {}).get("params") or trial.config["trial"]["params"]
            self.book.finish(number, state, reason=reason, value=value, params=params)
            best = self.book.best()
        except DATABASE_ERRORS as error:
            self.halt(f"cannot write {self.book.shown_url}: {why(error)}")
            return
        now = best.number if best else None
        for other in (number, self.best):
            if other is not None and other != now:
                trial_states(self.folder, self.owner, other).remove()
        self.best = now

    def _number(self, trial: Any) -> int:
        # A trial may fail before it has started.
        return int(self.book.numbers.get(trial.trial_id, trial.config["trial"]["number"]))


class Recorder(Stopper):
    """Writes every epoch to the study before the scheduler hears of it; ends a sweep whose time is spent, or halted."""

    def __init__(self, book: StudyBook, halt: Halt, before: float, time_budget: float | None) -> None:
        self.book = book
        self.halt = halt
        self.began = time.monotonic() - before  # `before`: seconds that earlier processes have searched
        self.time_budget = time_budget or math.inf

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "halt" in result:
            self.halt(str(result["halt"]))
        if self.halt.reason or "failed" in result:
            return True
        if math.isfinite(result["value"]):
            epoch = {key: result[key] for key in _EPOCH_KEYS}
            epoch["ended"] = self.seconds()
            epoch["began"] = epoch["ended"] - epoch["train_seconds"] - epoch["valid_seconds"]
            try:
                self.book.record(self.book.numbers[trial_id], epoch)
            except DATABASE_ERRORS as error:
                self.halt(f"cannot write {self.book.shown_url}: {why(error)}")
        return self.stop_all()

    def stop_all(self) -> bool:
        return self.halt.reason is not None or self.seconds() > self.time_budget

    def seconds(self) -> float:
        return time.monotonic() - self.began


def kernel_kills() -> int:
    """How many processes of this machine the kernel has ended for want of memory since it started (Linux)."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _error(trial: Any) -> str:
    """What Tune has noted of the last death or exception of a trial."""
    file = Path(trial.error_file) if trial.error_file else None
    return file.read_text(encoding="utf8") if file and file.exists() else "an exception"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["an exception"])[-1]
