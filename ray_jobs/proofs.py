"""Winners exported and proven: one in this process, several side by side in Ray's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from torch import nn

from models.crossval import Problem
from models.restore import Arrays, describe, restore, weights
from ray_jobs.kind import ProofError
from ray_jobs.settings import Config
from ray_jobs.ship import Candidate, Shipped, prove_model
from ray_jobs.sweep import MAX_FAILURES
from ray_jobs.trial import prepare_process

GRAPHS = "graphs"  # in a run's folder: those that are proven, and not shipped yet


def prove_all(
    config: Config, problem: Problem, candidates: Sequence[Candidate], folder: Path
) -> Iterator[tuple[str, Shipped | ProofError]]:
    """Each candidate's family and its proof, or why it failed, as they come. The graphs lie where `graph_of` says.

    Several take a core of the cluster each. What their graphs cost is not measured, see `ship.leave`.
    """
    shutil.rmtree(folder / GRAPHS, ignore_errors=True)  # of an earlier process
    (folder / GRAPHS).mkdir(mode=0o700)
    if len(candidates) == 1:
        [told] = candidates
        yield told.family, _proven(told, problem, config, graph_of(folder, told.family))
        return
    prove, there = ray.remote(num_cpus=1, max_retries=MAX_FAILURES)(_prove), ray.put(problem)
    asked = {}
    for told in candidates:
        # As a bundle holds it: some networks (weight norm) do not pickle.
        described, arrays = describe(told.model), weights(told.model)
        bare, graph = replace(told, model=nn.Identity()), graph_of(folder, told.family)
        asked[prove.remote(bare, described, arrays, there, config, graph)] = told.family
    while asked:
        [done], _ = ray.wait(list(asked))
        family = asked.pop(done)
        try:
            yield family, ray.get(done)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            yield family, ProofError(f"the process that proved {family} died: {str(error).splitlines()[0]}")


def graph_of(folder: Path, family: str) -> Path:
    """The family's graph in the run's `folder`, between its proof and its bundle."""
    return folder / GRAPHS / f"{family}.onnx"


def _prove(
    bare: Candidate, described: list[dict[str, Any]], arrays: Arrays, problem: Problem, config: Config, graph: Path
) -> Shipped | ProofError:
    prepare_process(1)
    return _proven(replace(bare, model=restore(described, arrays)), problem, config, graph)


def _proven(told: Candidate, problem: Problem, config: Config, graph: Path) -> Shipped | ProofError:
    try:
        return prove_model(told, problem, config, graph)
    except ProofError as error:
        return error
