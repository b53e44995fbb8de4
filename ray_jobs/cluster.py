"""Ray, started here or found; and what it must have for the trials asked for."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.errors import InputError
from ray_jobs import interrupt
from ray_jobs.settings import Resources

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
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial's failure is the study's to tell
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            address = os.environ.get("RAY_ADDRESS", "the cluster of this machine")
            raise InputError(f"no Ray answers at {address}: {str(error).splitlines()[0]}; unset RAY_ADDRESS?") from None
        interrupt.renew()


def prepare_train() -> None:
    """Before a `TorchTrainer`, whose controller takes these from the environment.

    It takes one report of a worker each time it asks, every 2 s by default: a training of nine short epochs would wait
    18 s for its own reports. An answer to "how are you" costs about 1 ms.

    It starts a process, for 2 s of a core, that would tell the training function of a node about to be reclaimed. Ours
    need no telling: a worker that dies is started again.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


def fitting(resources: Resources, memory: int = 0) -> int:
    """How many trials fit on the cluster at one time, each worker with so many bytes of `memory`; at least 1."""
    needs = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial, "memory": memory}
    workers = sum(
        min(int(node["Resources"].get(name, 0) // needed) for name, needed in needs.items() if needed)
        for node in ray.nodes()
        if node["Alive"]
    )
    return max(1, workers // resources.workers_per_trial)


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ray", "torch", "onnx", "onnxruntime", "optuna", "numpy", "pandas")}


def check(resources: Resources) -> None:
    """InputError where one trial needs more than the whole cluster has, or a worker of it more than any node."""
    has: dict[str, Any] = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, each in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        needed, there = each * resources.workers_per_trial, has.get(name, 0)
        most = max((node.get(name, 0) for node in nodes), default=0)
        if each > most and needed <= there:
            key = f"resources.{name.lower()}s_per_trial={each:g}"
            raise InputError(f"{key} is more than any node has: {most:g} {name}s at most; ask for less")
        if needed > there:
            key = f"resources.{name.lower()}s_per_trial={each:g}"
            workers = f" x workers_per_trial={resources.workers_per_trial}" if resources.workers_per_trial > 1 else ""
            raise InputError(f"{key}{workers} needs {needed:g} {name}s, the cluster has {there:g}; ask for less")


def check_shared(folder: Path) -> None:
    """InputError where a node of the cluster does not see the run's folder: states written there would be lost."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if [node["NodeID"] for node in nodes] == [ray.get_runtime_context().get_node_id()]:
        return
    sees = ray.remote(num_cpus=0, max_retries=0)(os.path.isdir)
    asked = [
        sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(str(folder))
        for node in nodes
    ]
    blind = [node["NodeManagerHostname"] for node, seen in zip(nodes, ray.get(asked), strict=True) if not seen]
    if blind:
        raise InputError(
            f"{len(blind)} of {len(nodes)} nodes do not see the run folder {folder}, {blind[0]} for one; give --runs "
            f"a folder that all of them mount"
        )


def cores() -> int:
    return int(ray.cluster_resources().get("CPU", 1))
