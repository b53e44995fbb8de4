"""A trained model out of the door: exported, proven, scored on the holdout from its file, bundled."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.windows import future_values, past_view
from data.words import words_of
from models.bundle import VECTORS, write_bundle
from models.crossval import FoldScore, Problem, example
from models.export import OUTPUT, export_onnx
from models.extras import extras
from models.metrics import METRICS
from models.naive import naive_answers
from models.scaling import Statistics
from models.session import open_session
from models.signature import Signature
from models.training import Answers
from models.uncertainty import Coverage, coverage, has_dropout, sample
from models.validation import Proof, answers, measured, prove
from models.words import encode, input_names
from ray_jobs.cluster import versions
from ray_jobs.kind import ProofError
from ray_jobs.settings import Config
from search_spaces import KEEP

_BATCH = 1024
_SAMPLES, _DROPPED_WINDOWS = 50, 256  # of answers with dropout on
_PROVEN_BYTES = 256 << 20  # of holdout windows that the proof compares at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A trained model that is to be shipped, and what is said of it."""

    model: nn.Module
    family: str
    lookback: int
    cv: Mapping[str, Any]  # mean, std and folds of the selection metric
    trial: Mapping[str, Any]  # what bundle.json says of the winner


@dataclass(frozen=True, kw_only=True, eq=False)
class Proven:
    """A model's graph that answers as it does."""

    graph: bytes  # the ONNX file
    proof: Proof  # with costs once the bundle has been left
    predicted: Answers  # on the holdout, from the file, through onnxruntime
    holdout: dict[str, float]  # metric -> value
    dropout: Coverage | None  # of intervals from dropout on the holdout; None for a model that has none


def ship(candidate: Candidate, problem: Problem, config: Config, folder: Path) -> Proven:
    """Write the bundle to `folder`, or raise ProofError and write nothing."""
    return leave(candidate, prove_model(candidate, problem, config), problem, config, folder)


def prove_model(candidate: Candidate, problem: Problem, config: Config) -> Proven:
    """Export the model, hold the file against it, and score the file on the holdout; ProofError where they differ.

    What it costs to ask the graph is not measured here: others may be proven beside.
    """
    table, final, model = problem.table, problem.split.final, candidate.model
    statistics = Statistics.fit(table.numbers, final.rows)
    rows, origins = _sent(problem, candidate.lookback)
    takes = signature(problem, extras(model))
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        zeros = example(problem, candidate.lookback, 2)
        export_onnx(model, graph, zeros, metadata=_metadata(problem, candidate.family), words=takes.words)
        proof = prove(
            model,
            graph,
            _inputs(problem, takes, origins, rows),
            targets=table.targets,
            mean=statistics.mean,
            std=statistics.std,
            tolerance=config.export.tolerance,
            words=takes.words,
            main=problem.heads.main,
        )
        if not proof.passed:
            raise ProofError(first_failure(proof, candidate.family))
        session, exported = open_session(graph), graph.read_bytes()
    parts = np.array_split(final.valid, -(-len(final.valid) // len(origins)))  # no more at a time than were proven
    names = (OUTPUT, *problem.heads.extras)
    answered = [answers(session, _inputs(problem, takes, part, rows), _BATCH, names) for part in parts]
    predicted = {name: np.concatenate([each[name] for each in answered]) for name in names}
    return Proven(
        graph=exported,
        proof=proof,
        predicted=predicted,
        holdout=FoldScore(problem, final).every(predicted),
        dropout=_dropout_coverage(model, problem, takes, rows),
    )


def proof_bytes(problem: Problem, candidate: Candidate) -> int:
    """Memory that `prove_model` takes at most, besides its process: the windows three times (as they are, for the graph
    and for the model), and weights, graph and what the exporter makes of them."""
    rows, origins = _sent(problem, candidate.lookback)
    weights: int = sum(value.nbytes for value in candidate.model.state_dict().values())
    return 12 * len(origins) * rows * len(problem.table.names) + 8 * weights


def leave(candidate: Candidate, proven: Proven, problem: Problem, config: Config, folder: Path) -> Proven:
    """Measure what the proven graph costs, with nothing beside it, and write its bundle to `folder`; the same with its
    costs."""
    model, told = candidate.model, extras(candidate.model)
    rows, origins = _sent(problem, candidate.lookback)
    takes = signature(problem, told)
    few = origins[:: max(1, len(origins) // VECTORS)][:VECTORS]
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        graph.write_bytes(proven.graph)
        shipped = replace(proven, proof=measured(proven.proof, graph))
        write_bundle(
            folder,
            graph,
            model,
            card=_card(config, problem, candidate, shipped),
            signature=takes,
            targets=problem.table.targets,
            lookback=rows,
            steps=[int(step) for step in problem.steps],
            proof=shipped.proof,
            inputs=_inputs(problem, takes, few, rows),
            extras=told,
            weighed=problem.weighed,
        )
    return shipped


def _sent(problem: Problem, lookback: int) -> tuple[int, NDArray[np.int64]]:
    """How many rows a client sends, and the origins of the holdout that a proof compares."""
    rows = lookback + problem.features.reach
    return rows, _spread(problem.split.final.valid, rows * len(problem.table.names))


def _dropout_coverage(model: nn.Module, problem: Problem, takes: Signature, rows: int) -> Coverage | None:
    """What intervals from the model's dropout cover of the holdout, or of some windows evenly spread over it."""
    if not (has_dropout(model) and problem.heads.answers_value):
        return None
    valid = problem.split.final.valid
    origins = valid[np.linspace(0, len(valid) - 1, min(_DROPPED_WINDOWS, len(valid))).astype(np.int64)]
    given = encode(_inputs(problem, takes, origins, rows), takes.words)
    inputs = {name: torch.from_numpy(each) for name, each in given.items()}
    targets = problem.table.values[:, : problem.table.n_targets]
    std = Statistics.fit(targets, problem.split.final.rows).std
    drawn = sample(model, inputs, _SAMPLES, seed=problem.seed)
    return coverage(drawn, future_values(targets, origins, problem.steps), std)


def _metadata(problem: Problem, family: str) -> dict[str, str]:
    """What the graph itself says of where it comes from."""
    table = problem.table
    return {
        "producer": "foldline",
        "family": family,
        "columns": ",".join(table.names[: table.n_numbers]),
        "targets": ",".join(table.targets),
        "steps": ",".join(str(step) for step in problem.steps),
        "step": table.calendar.name,
        "data_fingerprint": table.fingerprint,
    }


def _card(config: Config, problem: Problem, candidate: Candidate, shipped: Proven) -> dict[str, Any]:
    """What bundle.json says besides the graph's inputs, outputs and proof; no place of ours is in it."""
    table = problem.table
    return {
        "name": config.name,
        "family": candidate.family,
        "task": "forecast",
        "calendar": table.calendar.name,
        "step": {"unit": table.calendar.unit, "step": table.calendar.step},
        "time_column": table.time_name,
        "answers_value": problem.heads.answers_value,  # else the last known value stands in its place
        "features": list(problem.features.names(table.names)),  # that the graph works out of its inputs
        # Of columns and features, besides the targets.
        "chosen": chosen(problem, candidate.trial["params"], candidate.trial["kind"]),
        "metrics": {
            "name": problem.metric,
            "unit": problem.unit,
            "direction": METRICS[problem.metric].direction,
            **candidate.cv,
            "holdout": dict(shipped.holdout),
            "baselines": [
                {"name": name, "holdout": FoldScore(problem, problem.split.final)(values)}
                for name, values in naive_answers(problem, problem.split.final).items()
            ],
        },
        "interval": None,
        "dropout": shipped.dropout and asdict(shipped.dropout),
        "winner": dict(candidate.trial),
        "config": config.model_dump(exclude={"runs": True, "data": {"path"}, "search": {"storage"}}),
        "seed": problem.seed,
        "versions": versions(),
        "data": {"fingerprint": table.fingerprint, "rows": len(table.values)},
        "git_commit": git_commit(),
    }


def chosen(problem: Problem, params: Mapping[str, Any], kind: str) -> list[str] | dict[str, list[str]] | None:
    """Names of the inputs that a model with these flat params was given, best first; of an average, those of each fold.

    None where nothing was to be chosen.
    """
    if KEEP not in params:
        return None
    folds = {name: [problem.inputs[i] for i in order[: params[KEEP]]] for name, order in problem.rankings.items()}
    final = folds.pop(problem.split.final.name)
    return final if kind == "refit" else folds


def git_commit() -> str | None:
    """The commit of this code, or None outside a checkout; "-dirty" where files differ from it."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def signature(problem: Problem, taken: Collection[str]) -> Signature:
    """What the graph of a model of this problem takes; `taken` are names of what it tells besides its answer."""
    table = problem.table
    names = input_names(list(table.categories), taken)
    return Signature(
        columns=table.names[: table.n_numbers],
        ahead=tuple(table.names[place] for place in table.future),
        time=table.time_name if problem.waves else None,
        words=dict(zip(names, table.categories.values(), strict=True)),
        word_columns=dict(zip(names, table.categories, strict=True)),
    )


def _inputs(problem: Problem, takes: Signature, origins: NDArray[np.int64], rows: int) -> dict[str, NDArray[Any]]:
    """What the graph takes of the windows at these origins, by name."""
    table, back = problem.table, origins - rows
    inputs: dict[str, NDArray[Any]] = {"past": past_view(table.numbers, rows)[back]}
    if table.future:
        inputs["ahead"] = future_values(table.values[:, list(table.future)], origins, problem.steps)
    if problem.waves:
        inputs["time"] = table.time[back[:, None] + np.arange(rows)]
        inputs["time_ahead"] = table.time[origins[:, None] + (problem.steps - 1)]
    for place, (name, words) in enumerate(takes.words.items(), start=table.n_numbers):
        inputs[name] = words_of(past_view(table.values[:, [place]], rows)[back][:, :, 0], words)
    return inputs


def _spread(origins: NDArray[np.int64], numbers: int) -> NDArray[np.int64]:
    """All origins, or as many as fit into memory, evenly spread; a window holds so many `numbers`."""
    most = max(2 * _BATCH, _PROVEN_BYTES // (4 * numbers))
    return origins if len(origins) <= most else origins[np.linspace(0, len(origins) - 1, most).astype(np.int64)]


def first_failure(proof: Proof, family: str, *, against: str = "PyTorch", unit: str = "standard deviations") -> str:
    """The worst of the checks that failed, in one line."""
    worst = max((c for c in proof.checks if not c.passed), key=lambda c: c.error / c.allowed)
    failed = sum(not c.passed for c in proof.checks)
    return (
        f"the ONNX graph of {family} differs from {against} in {failed} of {len(proof.checks)} checks; worst: "
        f"{worst.rows} rows, batch {worst.batch}, {worst.worst}: {worst.error:.3g} {unit}, "
        f"allowed {worst.allowed:.3g} (export.tolerance={proof.tolerance:g}); no bundle was written"
    )
