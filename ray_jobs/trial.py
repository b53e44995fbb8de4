"""A trial on Ray Tune: one configuration on all folds, an epoch a step, in an actor that stays warm between trials."""

from __future__ import annotations

import ctypes
import faulthandler
import math
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ray import tune

from models.in_step import AnyProblem, FoldsEpoch
from ray_jobs.checkpoints import CannotWriteError, Checkpoints
from search_spaces import unflatten

_STATE_FILE = "state.pt"  # in Tune's own checkpoints, which pause a trial or hand its state to another


class WarmTrial(tune.Trainable):
    """config: {"trial": {"number", "family", "params" (flat), "fixed" (params of all trials), "cpus", "gpus",
    "heard" (the last epoch that the study knows of), "folder" (of states and failures), "owner" (of the states),
    "epoch_timeout" (seconds), "exploits" (whether a trial may be given another's state)}}.

    A trial goes on from its newest state in `folder`, whoever wrote it: an earlier process, or an actor that died.
    """

    def setup(self, config: dict[str, Any], problem: AnyProblem) -> None:
        """`problem` is fetched once an actor; its arrays stay mapped from the object store for all its trials."""
        prepare_process(int(config["trial"]["cpus"]))
        self.problem = problem
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.own = new_config["trial"]
        self.run: TrialRun | None = None  # built in `step`, where what goes wrong ends this trial and not the actor
        return True

    def step(self) -> dict[str, Any]:
        with ending_badly() as failure:
            failure.result = self._begun().epoch()
        return failure.result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        torch.save(self._begun().cv.state_dict(), Path(checkpoint_dir) / _STATE_FILE)

    def load_checkpoint(self, checkpoint: str) -> None:
        state = torch.load(Path(checkpoint) / _STATE_FILE, weights_only=True)
        self._begun().go_on_from(state)

    def cleanup(self) -> None:
        self.run = None

    def _begun(self) -> TrialRun:
        if self.run is None:
            # Under PBT the config may be another trial's; the name is always this one's.
            number = int(str(self.trial_name).rpartition("-")[2])
            device = "cuda" if self.own["gpus"] and torch.cuda.is_available() else "cpu"
            self.run = TrialRun(self.own, self.problem, number=number, device=device)
        return self.run


class TrialRun:
    """One trial's cross-validation with its states on disk; what `WarmTrial` and each distributed worker hold."""

    def __init__(
        self, own: dict[str, Any], problem: AnyProblem, *, number: int, device: Any, writes: bool = True
    ) -> None:
        """`writes` is false for all workers of a trial but the first."""
        self.own = own
        self.writes = writes
        if not Path(own["folder"]).is_dir():  # a node that came later than the sweep's own look at all of them
            raise CannotWriteError(
                f"node {platform.node()} does not see {own['folder']}: mount it on every node, then go on with --resume"
            )
        self.states = trial_states(own["folder"], own["owner"], number)
        self.stack = stack_file(own["folder"], number)
        self.pending: dict[str, Any] | None = None
        # Under PBT the config may be another trial's, whose state Tune hands over next.
        found = self.states.newest() if own["number"] == number else None
        self.params: dict[str, Any] = own["params"]
        self.said = self.states.passed_over if own["number"] == number else []
        if found is not None and own["exploits"]:
            self.params = found.report["params"]  # those that it had taken over
        params = unflatten({**self.params, **own["fixed"]})
        self.cv = problem.cross_validation(own["family"], params, trial=number, device=device)
        self.iterator = self.cv.epochs()
        if found is not None:
            self.cv.load_state_dict(found.state)
            if found.report["number"] > own["heard"] or found.report["finished"]:
                self.pending = found.report  # it was trained, but perhaps nobody has heard of it

    def epoch(self) -> dict[str, Any]:
        """Train one more epoch of every fold; its report, once its state is safe."""
        if self.pending is not None:
            result, self.pending = self.pending, None
        else:
            with _time_limit(self.own["epoch_timeout"], self.stack):
                epoch = next(self.iterator)
            result = {**report(epoch), **({"params": self.params} if self.own["exploits"] else {})}
            # A winner that has its last state need not be trained again to it; and what several workers grew nobody can
            # grow again alone.
            way = self.states.due(epoch.train_seconds)
            if way is None and (epoch.last or self.own.get("workers", 1) > 1):
                way = "quick"
            if math.isfinite(epoch.value) and self.writes and way:
                self.states.save(self.cv.state_dict(), result, way)
        said, self.said = self.said, []
        return {**result, "said": said, "done": result["finished"] or not math.isfinite(result["value"])}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take a state that Tune hands over, unless the trial's own on disk is further."""
        given, own = (max(each) for each in ([f["done"] for f in state["folds"]], [t.done for t in self.cv.trainings]))
        if self.own["exploits"]:
            self.states.remove()  # what it did before counts no more
        if given >= own or self.own["exploits"]:
            self.cv.load_state_dict(state)
            self.pending = None  # Tune has heard of it


class Failure:
    result: dict[str, Any]


@contextmanager
def ending_badly() -> Iterator[Failure]:
    """What goes wrong inside becomes `result`: the end of the trial ("failed"), or of the whole sweep ("halt")."""
    failure = Failure()
    try:
        yield failure
    except CannotWriteError as error:  # a full or read-only disk: the next trial would fare no better
        failure.result = {"halt": str(error), "value": math.nan, "done": True}
    except Exception:
        failure.result = {"failed": traceback.format_exc(), "value": math.nan, "done": True}


@contextmanager
def _time_limit(seconds: float, file: Path) -> Iterator[None]:
    """End the process, its stack left in `file`, when what is inside takes longer; a thread that needs no GIL does.

    Tune starts the trial again from its last state, as after any other death of its process.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w", encoding="utf8") as log:
        faulthandler.dump_traceback_later(seconds, exit=True, file=log)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            file.unlink(missing_ok=True)


def trial_states(folder: str | Path, owner: dict[str, Any], number: int) -> Checkpoints:
    """The states of trial `number`; `owner` says of which study."""
    return Checkpoints(Path(folder) / "checkpoints" / f"trial-{number:05d}", {**owner, "trial": number})


def failure_file(folder: str | Path, number: int) -> Path:
    """Where the traceback of a failed trial is found."""
    return Path(folder) / "failures" / f"trial-{number:05d}.txt"


def stack_file(folder: str | Path, number: int) -> Path:
    """Where this process, one of trial `number`, writes where it stood when it hung; else it is empty or not there."""
    file = failure_file(folder, number)
    return file.with_name(f"{file.stem}.{os.getpid()}.stack")


def hung(folder: str | Path, number: int) -> str:
    """Where the processes of trial `number` stood that hung; empty where none did."""
    file = failure_file(folder, number)
    stacks = sorted(file.parent.glob(f"{file.stem}.*.stack"))  # empty after a death of another kind
    return "\n".join(each.read_text(encoding="utf8") for each in stacks).strip()


def report(epoch: FoldsEpoch) -> dict[str, Any]:
    """An epoch as Tune's result and as the study's record: JSON values; a fold that had finished has no curve point."""
    return {
        "number": epoch.number,
        "value": epoch.value,
        "folds": list(epoch.folds),
        "best_epochs": list(epoch.best_epochs),
        "curve": [
            None
            if e is None
            else {
                "train_loss": e.train_loss,
                "valid": e.valid,
                "best": e.best,
                "learning_rate": e.learning_rate,
                "seconds": e.train_seconds + e.valid_seconds,
            }
            for e in epoch.epochs
        ],
        "train_seconds": epoch.train_seconds,
        "valid_seconds": epoch.valid_seconds,
        "finished": epoch.last,
    }


def prepare_process(cpus: int) -> None:
    """Settings of a process that trains: its threads, and memory that is kept once it was touched.

    glibc hands every large block back to the kernel when it is freed and takes the page faults again a moment later;
    an LSTM's backward pass spends over a third of its time there (batch 128 of 96 steps, 64 units). Keeping freed
    memory costs no more than the largest batch.
    """
    torch.set_num_threads(cpus)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            m_trim_threshold, m_mmap_threshold = -1, -3
            mallopt(m_mmap_threshold, 1 << 30)
            mallopt(m_trim_threshold, (1 << 31) - 1)
