"""The memory of a trial, so that no more of them run at one time than fit.

Ray is told what the largest configuration of a study needs, and places trials by it as it does by cores. It is an
estimate: a trial that the kernel ends all the same is started again with a node to itself, by `bookkeeping.Endings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from models.in_step import Params
from ray_jobs.settings import Resources
from ray_jobs.study import StudyBook
from search_spaces import unflatten

PROCESS_BYTES = 700 << 20  # torch, Ray and pandas imported: 450 MB; the rest is what the heap loses over many trials
WAITING_BYTES = 256 << 20  # of a process that waits for a trial's workers


def trial_memory(needs: Callable[[Params], int], book: StudyBook, resources: Resources) -> int:
    """Bytes that one worker of a trial needs at most; `needs` says how many one with these nested params does.

    Never more than lets all workers of one trial lie on one node, so that one trial always fits.
    """
    params: dict[str, Any] = {**book.fixed}
    choices = []
    for name, d in book.ranges.items():
        match d:
            case IntDistribution() | FloatDistribution():
                params[name] = d.high
            case CategoricalDistribution():
                params[name] = d.choices[0]
                choices.append((name, d.choices))

    def needed(changed: dict[str, Any]) -> int:
        return needs(unflatten({**params, **changed}))

    for name, values in choices:
        params[name] = max(values, key=lambda value: needed({name: value}))
    workers = resources.workers_per_trial
    room = largest_node(resources)["memory"] - (WAITING_BYTES if workers > 1 else 0)
    return max(0, min(PROCESS_BYTES + needed({}), room // workers))


def largest_node(resources: Resources) -> dict[str, int]:
    """CPUs, GPUs and bytes of memory of the node with most memory among those that can run a worker of a trial."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    able = [
        node
        for node in nodes
        if node.get("CPU", 0) >= resources.cpus_per_trial and node.get("GPU", 0) >= resources.gpus_per_trial
    ]
    node = max(able or nodes, key=lambda each: (each.get("memory", 0), each.get("CPU", 0)))
    return {"cpu": int(node.get("CPU", 1)), "gpu": int(node.get("GPU", 0)), "memory": int(node.get("memory", 0))}
