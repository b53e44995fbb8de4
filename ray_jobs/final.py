"""The final training, through Ray Train: configurations on everything before the holdout, on 1..N workers."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from torch import nn

from models import parallel
from models.crossval import Problem, build, fit_statistics, refit
from models.export import Average
from ray_jobs import cluster
from ray_jobs.settings import Resources
from ray_jobs.sweep import MAX_FAILURES, HaltedError
from ray_jobs.trial import prepare_process
from search_spaces import unflatten

FOLDER = "final"


@dataclass(frozen=True, kw_only=True)
class Final:
    """A family's configuration, trained for `epochs` of the `max_epochs` that its schedule spans."""

    family: str
    params: Mapping[str, Any]  # flat
    trial: int  # whose random draws it takes
    epochs: int
    max_epochs: int
    members: int = 1  # trained with random draws of their own, and averaged


def train_final(
    problem: Problem, finals: Sequence[Final], *, resources: Resources, workers: int, folder: Path
) -> list[nn.Module]:
    """The trained models, one after the other on the same workers, whose start takes longer than many a training.

    N workers take the same steps as one (see models.parallel): gloo between CPUs, nccl between GPUs. A worker that dies
    is started again, from the first epoch, which gives the same models; HaltedError where that does not help. Files go
    to `folder`/final.
    """
    cluster.prepare_train()
    shutil.rmtree(folder / FOLDER, ignore_errors=True)  # Ray Train would go on from what a torn one says
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "problem": ray.put(problem),
            "finals": [asdict(final) for final in finals],
            "cpus": resources.cpus_per_trial,
        },
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=resources.gpus_per_trial > 0,
            resources_per_worker=_per_worker(resources),
        ),
        run_config=RunConfig(
            name=FOLDER, storage_path=str(folder), failure_config=FailureConfig(max_failures=MAX_FAILURES)
        ),
    )
    try:
        result = _fitted(trainer)
    except TrainingFailedError as error:
        families = ", ".join(final.family for final in finals)
        raise HaltedError(f"the final training of {families} failed: {_cause(error)}") from error
    with result.checkpoint.as_directory() as checkpoint:
        return [_trained(problem, final, place, Path(checkpoint)) for place, final in enumerate(finals)]


def _fitted(trainer: TorchTrainer) -> Result:
    """What `fit` returns or raises. In the main thread it would take SIGINT for itself, and for good: the process would
    end with 0 or 1 at a signal that is ours to answer."""
    found: Future[Result] = Future()

    def fit() -> None:
        try:
            found.set_result(trainer.fit())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=fit, daemon=True).start()
    return found.result()


def _trained(problem: Problem, final: Final, place: int, folder: Path) -> nn.Module:
    statistics, members = fit_statistics(problem, problem.split.final), []
    for member in range(final.members):
        model = build(problem, final.family, unflatten(final.params), statistics)
        state = torch.load(folder / _weights(place, member), weights_only=True, map_location="cpu")
        model.load_state_dict(state)
        members.append(model.eval())
    return members[0] if len(members) == 1 else Average(members).eval()


def _weights(place: int, member: int) -> str:
    return f"weights-{place}-{member}.pt"


def _cause(error: BaseException) -> str:
    """The last line of what went wrong in the first worker, else of what Ray says."""
    workers = getattr(error, "worker_failures", None) or {}
    first = next(iter(workers.values()), error)
    return (str(first).strip().splitlines() or [type(first).__name__])[-1]


def _per_worker(resources: Resources) -> dict[str, float]:
    needs: dict[str, float] = {"CPU": resources.cpus_per_trial}
    if resources.gpus_per_trial > 0:
        needs["GPU"] = resources.gpus_per_trial
    return needs


def _work(config: dict[str, Any]) -> None:
    prepare_process(config["cpus"])
    problem: Problem = ray.get(config["problem"])
    device = ray.train.torch.get_device()
    trainings = [(place, final, m) for place, final in enumerate(config["finals"]) for m in range(final["members"])]
    with tempfile.TemporaryDirectory() as folder:
        for number, (place, final, member) in enumerate(trainings, start=1):
            params = unflatten({**final["params"], "fit.max_epochs": final["max_epochs"]})
            training = refit(problem, final["family"], params, trial=final["trial"], member=member, device=device)
            for epoch in training.epochs():
                last = epoch.number == final["epochs"] or epoch.last
                if last:
                    torch.save(training.model.state_dict(), Path(folder) / _weights(place, member))
                whole = last and number == len(trainings) and parallel.rank() == 0
                ray.train.report(
                    {
                        "family": final["family"],
                        "member": member,
                        "epoch": epoch.number,
                        "train_loss": epoch.train_loss,
                        "seconds": epoch.train_seconds,
                    },
                    checkpoint=Checkpoint.from_directory(folder) if whole else None,
                )
                if last:
                    break
