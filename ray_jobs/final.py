"""The final training, through Ray Train: one configuration on everything before the holdout, 1..N workers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from models import parallel
from models.crossval import Problem, build, fit_statistics, refit
from models.preprocess import Forecaster
from ray_jobs import cluster
from ray_jobs.settings import Resources
from ray_jobs.sweep import MAX_FAILURES, HaltedError
from ray_jobs.trial import prepare_process
from search_spaces import unflatten

WEIGHTS_FILE = "weights.pt"


def train_final(
    problem: Problem,
    family: str,
    params: Mapping[str, Any],
    *,
    trial: int,
    max_epochs: int,
    epochs: int,
    resources: Resources,
    workers: int,
    folder: Path,
) -> Forecaster:
    """The model after `epochs` of the `max_epochs` that its schedule spans; `params` are flat. Files go to `folder`.

    N workers take the same steps as one (see models.parallel): gloo between CPUs, nccl between GPUs. A worker that dies
    is started again, from the first epoch, which gives the same model; HaltedError where that does not help.
    """
    cluster.hear_often()
    name = f"final-{family}"
    shutil.rmtree(folder / name, ignore_errors=True)  # Ray Train would go on from what a torn one says
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "problem": ray.put(problem),
            "family": family,
            "params": {**params, "fit.max_epochs": max_epochs},
            "trial": trial,
            "epochs": epochs,
            "cpus": resources.cpus_per_trial,
        },
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=resources.gpus_per_trial > 0,
            resources_per_worker=_per_worker(resources),
        ),
        run_config=RunConfig(
            name=name, storage_path=str(folder), failure_config=FailureConfig(max_failures=MAX_FAILURES)
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise HaltedError(f"the final training of {family} failed: {_cause(error)}") from error
    model = build(problem, family, unflatten(params), fit_statistics(problem, problem.split.final))
    with result.checkpoint.as_directory() as checkpoint:
        model.load_state_dict(torch.load(Path(checkpoint) / WEIGHTS_FILE, weights_only=True, map_location="cpu"))
    return model.eval()


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
    training = refit(problem, config["family"], unflatten(config["params"]), trial=config["trial"], device=device)
    for epoch in training.epochs():
        last = epoch.number == config["epochs"] or epoch.last
        metrics = {"epoch": epoch.number, "train_loss": epoch.train_loss, "seconds": epoch.train_seconds}
        if not last or parallel.rank() > 0:
            ray.train.report(metrics)
        else:
            with tempfile.TemporaryDirectory() as folder:
                torch.save(training.model.state_dict(), Path(folder) / WEIGHTS_FILE)
                ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))
        if last:
            return
