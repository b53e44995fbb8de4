"""Ray, started here or found; and what it must have for the trials asked for."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray

from data.errors import InputError
from ray_jobs import interrupt
from ray_jobs.config import Resources

# Tune's own snapshot is a cache here, and its loggers write what the study database holds already.
_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours raises; see ray_jobs.interrupt
}


def connect() -> None:
    """The cluster that RAY_ADDRESS or this machine names, else a new one on this machine alone."""
    for name, value in _TUNE.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        interrupt.renew()


def hear_often() -> None:
    """Before a `TorchTrainer`: its controller takes one report of a worker each time it asks, every 2 s by default.

    A training of nine short epochs would wait 18 s for its own reports. An answer to "how are you" costs about 1 ms.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def fitting(resources: Resources) -> int:
    """How many trials fit on the cluster at one time; at least 1."""
    has, workers = ray.cluster_resources(), resources.workers_per_trial
    fit = [has.get("CPU", 1) // (resources.cpus_per_trial * workers)]
    if resources.gpus_per_trial:
        fit.append(has.get("GPU", 0) // (resources.gpus_per_trial * workers))
    return max(1, int(min(fit)))


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ray", "torch", "onnx", "onnxruntime", "optuna", "numpy", "pandas")}


def check(resources: Resources) -> None:
    """InputError where one trial needs more than the whole cluster has."""
    has: dict[str, Any] = ray.cluster_resources()
    for name, each in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        needed, there = each * resources.workers_per_trial, has.get(name, 0)
        if needed > there:
            key = f"resources.{name.lower()}s_per_trial={each:g}"
            workers = f" x workers_per_trial={resources.workers_per_trial}" if resources.workers_per_trial > 1 else ""
            raise InputError(f"{key}{workers} needs {needed:g} {name}s, the cluster has {there:g}; ask for less")


def cores() -> int:
    return int(ray.cluster_resources().get("CPU", 1))
