"""A trained model out of the door: exported, proven, scored on the holdout from its file, bundled."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from data.windows import future_values, past_view
from data.words import words_of
from models import baselines
from models.bundle import write_bundle
from models.crossval import FoldScore, Problem, example, segment_starts
from models.export import export_onnx
from models.extras import extras
from models.metrics import METRICS, selection
from models.preprocess import Statistics
from models.signature import Signature
from models.validation import Proof, answers, open_session, prove
from models.words import input_names
from ray_jobs.cluster import versions
from ray_jobs.config import Config

_BATCH = 1024
_PROVEN_BYTES = 256 << 20  # of holdout windows that the proof compares at most


class ProofError(Exception):
    """The graph does not answer as PyTorch does: one line says which output, which window, by how much."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    proof: Proof
    predicted: NDArray[np.float32]  # (N, H, K) on the holdout, from the file, through onnxruntime
    holdout: dict[str, float]  # metric -> value


def ship(
    model: nn.Module,
    problem: Problem,
    config: Config,
    *,
    family: str,
    lookback: int,
    folder: Path,
    cv: Mapping[str, Any],
    trial: Mapping[str, Any],
) -> Shipped:
    """Write the bundle to `folder`, or raise ProofError and write nothing.

    `cv` holds mean, std and folds of the selection metric; `trial` what bundle.json says of the winner.
    """
    table, final = problem.table, problem.split.final
    rows = lookback + problem.features.reach  # that a client sends
    statistics = Statistics.fit(table.numbers, final.rows)
    proven = _spread(final.valid, rows * len(table.names))
    takes = signature(problem, extras(model))
    inputs = _inputs(problem, takes, proven, rows)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        zeros = example(problem, lookback, 2)
        export_onnx(model, graph, zeros, metadata=_metadata(problem, family), words=takes.words)
        proof = prove(
            model,
            graph,
            inputs,
            targets=table.targets,
            mean=statistics.mean,
            std=statistics.std,
            tolerance=config.export.tolerance,
            words=takes.words,
        )
        if not proof.passed:
            raise ProofError(_first_failure(proof, family))
        session = open_session(graph)
        parts = np.array_split(final.valid, -(-len(final.valid) // len(proven)))  # no more at a time than were proven
        predicted = np.concatenate([answers(session, _inputs(problem, takes, part, rows), _BATCH) for part in parts])
        scores = holdout_scores(problem, predicted)
        write_bundle(
            folder,
            graph,
            card=_card(config, problem, family, cv, scores, trial),
            signature=takes,
            targets=table.targets,
            lookback=rows,
            steps=[int(step) for step in problem.steps],
            proof=proof,
            inputs=inputs,
            extras=extras(model),
        )
    return Shipped(proof=proof, predicted=predicted, holdout=scores)


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


def _card(
    config: Config,
    problem: Problem,
    family: str,
    cv: Mapping[str, Any],
    holdout: Mapping[str, float],
    trial: Mapping[str, Any],
) -> dict[str, Any]:
    """What bundle.json says besides the graph's inputs, outputs and proof; no place of ours is in it."""
    table = problem.table
    return {
        "name": config.name,
        "family": family,
        "task": "forecast",
        "calendar": table.calendar.name,
        "step": {"unit": table.calendar.unit, "step": table.calendar.step},
        "features": list(problem.features.names(table.names)),  # that the graph works out of its inputs
        "metrics": {
            "name": problem.metric,
            "unit": unit(problem),
            "direction": METRICS[problem.metric].direction,
            **cv,
            "holdout": dict(holdout),
            "baselines": [
                {"name": name, "holdout": holdout_scores(problem, values)[problem.metric]}
                for name, values in baseline_predictions(problem).items()
            ],
        },
        "interval": None,
        "winner": dict(trial),
        "config": config.model_dump(exclude={"runs": True, "data": {"path"}, "search": {"storage"}}),
        "seed": problem.seed,
        "versions": versions(),
        "data": {"fingerprint": table.fingerprint, "rows": len(table.values)},
        "git_commit": git_commit(),
    }


def holdout_scores(problem: Problem, predicted: NDArray[np.float32]) -> dict[str, float]:
    """Every metric on the holdout; over several targets as `models.metrics.selection` averages them."""
    score = FoldScore(problem, problem.split.final)
    return {
        name: selection(name, score.truth, predicted, score.last, score.scales, score.mase_scales) for name in METRICS
    }


def baseline_predictions(problem: Problem, fold: int | None = None) -> dict[str, NDArray[np.float32]]:
    """Each naive baseline's answers (N, H, K) for the holdout, or for the validation windows of a fold (from 0)."""
    part = problem.split.final if fold is None else problem.split.folds[fold]
    table = problem.table
    values = table.values[:, : table.n_targets]
    return {
        name: baselines.forecast(
            name,
            values,
            part.valid,
            problem.steps,
            starts=segment_starts(table, part.valid),
            seasons=problem.seasons[part.name],
            means=Statistics.fit(values, part.rows).mean,
        )
        for name in baselines.NAMES
    }


def unit(problem: Problem) -> str:
    """The selection metric's unit in words."""
    kind = METRICS[problem.metric].unit
    targets = problem.table.targets
    if kind in ("%", "1"):
        return kind
    base = f"unit of {targets[0]}" if len(targets) == 1 else "standard deviations, mean over targets"
    return f"({base})^2" if kind == "target^2" else base


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


def _first_failure(proof: Proof, family: str) -> str:
    worst = max((c for c in proof.checks if not c.passed), key=lambda c: c.error / c.allowed)
    failed = sum(not c.passed for c in proof.checks)
    return (
        f"the ONNX graph of {family} differs from PyTorch in {failed} of {len(proof.checks)} checks; worst: "
        f"{worst.rows} rows, batch {worst.batch}, {worst.worst}: {worst.error:.3g} standard deviations, "
        f"allowed {worst.allowed:.3g} (export.tolerance={proof.tolerance:g}); no bundle was written"
    )
