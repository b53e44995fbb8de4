"""Winners proven side by side in Ray's processes: what comes back, and what a death of one of them does."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from models.crossval import Problem
from ray_jobs import cluster, proofs
from ray_jobs.config import check
from ray_jobs.kind import ProofError
from ray_jobs.settings import Config
from ray_jobs.ship import Candidate, Proven
from ray_jobs.sweep import HaltedError
from tests.builders import make_model, make_problem, make_table

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LOOKBACK = 8


@pytest.fixture(autouse=True)
def connected(ray_head: str) -> None:
    cluster.connect()


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(make_table(), lookback=LOOKBACK)


@pytest.fixture
def config() -> Config:
    return check({"name": "small", "data": {"path": "load.csv", "targets": ["load"]}})


def candidates(problem: Problem, *families: str) -> list[Candidate]:
    return [
        Candidate(
            model=make_model(family, problem, random_weights=True).eval(),
            family=family,
            lookback=LOOKBACK,
            cv={"mean": 0.5, "std": 0.1, "folds": [0.4, 0.6]},
            trial={"trial": 0, "params": {}, "kind": "refit"},
        )
        for family in families
    ]


def test_each_family_is_proven_and_one_that_differs_takes_no_other_with_it(
    problem: Problem, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove = proofs._prove

    def all_but_linear(bare: Candidate, *rest: Any) -> Any:
        return ProofError("linear differs") if bare.family == "linear" else prove(bare, *rest)

    monkeypatch.setattr(proofs, "_prove", all_but_linear)
    heard: dict[str, Any] = {}
    found = proofs.prove_all(config, problem, candidates(problem, "linear", "tcn"), heard.__setitem__)
    assert str(found["linear"]) == "linear differs" and set(heard) == {"linear", "tcn"}
    tcn = found["tcn"]  # its network has weight norm, which does not pickle
    assert isinstance(tcn, Proven) and tcn.proof.passed and tcn.proof.costs == {}
    assert len(tcn.predicted["future"]) == len(problem.split.final.valid) and len(tcn.graph) > 10_000


def test_a_process_that_dies_each_time_stops_the_run(
    problem: Problem, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*given: Any) -> None:
        os._exit(1)

    monkeypatch.setattr(proofs, "_prove", dies)
    with pytest.raises(HaltedError, match=r"the process that proved (linear|tcn) died: "):
        proofs.prove_all(config, problem, candidates(problem, "linear", "tcn"))


def test_a_full_disk_is_told_as_it_is_in_one_process(
    problem: Problem, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/model.onnx")

    monkeypatch.setattr(proofs, "_prove", fails)
    with pytest.raises(OSError, match="No space left on device") as caught:
        proofs.prove_all(config, problem, candidates(problem, "linear", "tcn"))
    assert caught.value.errno == errno.ENOSPC and "in fails" in caught.value.__notes__[0]
