"""Winners exported and proven: one in this process, several side by side in Ray's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from torch import nn

from models.crossval import Problem
from models.restore import Arrays, describe, restore, weights
from ray_jobs.footprint import PROCESS_BYTES, largest_node
from ray_jobs.kind import ProofError
from ray_jobs.settings import Config
from ray_jobs.ship import Candidate, Proven, proof_bytes, prove_model
from ray_jobs.sweep import MAX_FAILURES, HaltedError
from ray_jobs.trial import prepare_process

Found = Proven | ProofError
Heard = Callable[[str, Found], None]


def prove_all(
    config: Config, problem: Problem, candidates: Sequence[Candidate], heard: Heard = lambda family, found: None
) -> dict[str, Found]:
    """By family, each candidate's proof or why it failed; `heard` is told of each as it comes.

    Several take a core of the cluster each, and as much memory as they may need. HaltedError where a process dies
    more often than is borne.
    """
    if len(candidates) == 1:
        [told] = candidates
        heard(told.family, found := _proven(told, problem, config))
        return {told.family: found}
    there = ray.put(problem)
    asked = {_asked(config, problem, told, there): told.family for told in candidates}
    proven = {}
    try:
        while waiting := [each for each, family in asked.items() if family not in proven]:
            [done], _ = ray.wait(waiting)
            proven[asked[done]] = _answer(done, asked[done])
            heard(asked[done], proven[asked[done]])
    finally:
        for each in asked:
            ray.cancel(each, force=True)  # nothing where it is done
    return proven


def _asked(config: Config, problem: Problem, told: Candidate, there: Any) -> Any:
    """The task that proves one; the model travels as a bundle holds it: some networks (weight norm) do not pickle."""
    needed = PROCESS_BYTES + proof_bytes(problem, told)
    memory = min(needed, largest_node(config.resources)["memory"])
    task = ray.remote(num_cpus=1, memory=memory, max_retries=MAX_FAILURES)(_prove)
    return task.remote(replace(told, model=nn.Identity()), describe(told.model), weights(told.model), there, config)


def _answer(done: Any, family: str) -> Found:
    try:
        found: Found = ray.get(done)
        return found
    except RayTaskError as error:
        cause = error.cause or error
        cause.add_note(str(error))  # the stack of the other process
        raise cause from None
    except RayError as error:
        raise HaltedError(f"the process that proved {family} died: {(str(error).splitlines() or ['?'])[0]}") from error


def _prove(bare: Candidate, described: list[dict[str, Any]], arrays: Arrays, problem: Problem, config: Config) -> Found:
    prepare_process(1)
    return _proven(replace(bare, model=restore(described, arrays)), problem, config)


def _proven(told: Candidate, problem: Problem, config: Config) -> Found:
    try:
        return prove_model(told, problem, config)
    except ProofError as error:
        return error
