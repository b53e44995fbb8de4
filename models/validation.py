"""Proof that a graph answers as PyTorch does, and what it costs to ask it.

An error is the difference between the two answers in standard deviations of the target. On real rows `tolerance` of
them is allowed, plus twice the spacing of float32 at the answer (it matters only where a target's mean is hundreds of
its deviations from zero). Edge rows reach thousands of deviations from the mean; what is taken off a window and given
back is rounded at that distance, so there `tolerance` of the distance is allowed. Shares and weights are
compared as they are; on edge rows 1 / `STILL` times `tolerance` is allowed, what a window that stands still makes of
rounding.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from models.export import OUTPUT
from models.extras import explain, extras
from models.preprocess import FARTHEST, STILL
from models.session import open_session
from models.words import NO_WORDS, Words, encode

BATCHES = (1, 2, 17, 1024)
_CHUNK = 1024
IN_UNITS = (OUTPUT, "quantiles")  # outputs in the targets' units

Inputs = Mapping[str, NDArray[Any]]  # of N windows, by name, as the graph takes them


@dataclass(frozen=True, kw_only=True)
class Check:
    """One set of rows at one batch size: the worst output, and where it is."""

    rows: str  # "holdout", or the edge's name
    output: str  # "future", or one of the model's extras
    batch: int
    compared: int  # windows
    error: float  # largest, in standard deviations of its target; of an extra, as it is
    allowed: float  # at that place, in the same unit
    worst: str  # "window 3, output 24, target OT: onnx 7.5, torch 7.4"
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Proof:
    tolerance: float
    checks: tuple[Check, ...]
    costs: dict[str, float] = field(default_factory=dict)  # see `measured`
    output: str = OUTPUT  # whose error is the graph's

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def error(self) -> float:
        """The largest error of the main output on real rows, in its unit: see `Check.error`."""
        return max(check.error for check in self.checks if check.rows == "holdout" and check.output == self.output)

    def as_dict(self) -> dict[str, Any]:
        verdict = "equal" if self.passed else "different"
        checks = [asdict(check) for check in self.checks]
        return {"verdict": verdict, "error": self.error, **asdict(self), "checks": checks}


def prove(
    model: nn.Module,
    graph: Path,
    inputs: Inputs,
    *,
    targets: tuple[str, ...],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    tolerance: float,
    words: Words = NO_WORDS,
    main: str = OUTPUT,
) -> Proof:
    """Compare `graph` with `model` (on the CPU, in evaluation mode) on real rows and on edge rows.

    `inputs` are the real windows, raw, by the graph's names: "past" (N, L, F), and what else it takes. The graph gets
    the texts of the inputs of `words`, the model the codes that `encode` makes of them.

    mean and std (F,) are the train rows', the targets first. `main` is the output whose error is the graph's. All
    windows are compared at batches of 1024, as many as 64 calls take at the smaller ones. The model answers each window
    once: at every batch the graph must agree with that.
    """
    session = open_session(graph)
    model = model.cpu().eval()
    checks: list[Check] = []
    for name, rows in {"holdout": inputs, **edge_rows(inputs, mean, std, words)}.items():
        expected = _torch_answers(model, rows, words)
        for batch in BATCHES:
            if name != "holdout":
                places: slice | NDArray[np.int64] = np.arange(max(batch, count(rows))) % count(rows)
            else:
                places = slice(None if batch == max(BATCHES) else 64 * batch)
            case = _Case(
                rows=name,
                batch=batch,
                inputs=part(rows, places),
                scale_K=std[: len(targets)],
                centre_K=mean[: len(targets)],
                targets=targets,
                tolerance=tolerance,
            )
            found = answers(session, case.inputs, batch, tuple(expected))
            checks += [
                case.check(output, onnx.astype(np.float64), expected[output][places]) for output, onnx in found.items()
            ]
    return Proof(tolerance=tolerance, checks=tuple(checks), output=main)


def answers(
    session: onnxruntime.InferenceSession, inputs: Inputs, batch: int, outputs: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """These outputs of a graph for all windows, so many at a time, by name."""
    starts = range(0, count(inputs), batch)
    parts = [session.run(list(outputs), part(inputs, slice(i, i + batch))) for i in starts]
    return {name: np.concatenate([each[i] for each in parts]) for i, name in enumerate(outputs)}


def count(inputs: Inputs) -> int:
    return len(inputs["past"])


def part(inputs: Inputs, which: slice | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some of the windows."""
    return {name: values[which] for name, values in inputs.items()}


def edge_rows(
    inputs: Inputs, mean: NDArray[np.float64], std: NDArray[np.float64], words: Words = NO_WORDS
) -> dict[str, dict[str, NDArray[Any]]]:
    """Windows that real data seldom has, by name: odd numbers in the past, then in every other input."""
    rng = np.random.default_rng(0)
    real = part(inputs, np.arange(0, count(inputs), max(1, count(inputs) // 8))[:8])
    some = real["past"]
    columns = some.shape[2]
    holes = np.where(rng.random(some.shape) < 0.3, np.nan, some)
    one_missing = np.repeat(some[:1], columns, axis=0)
    for i in range(columns):
        one_missing[i, :, i] = np.nan
    last_missing = some.copy()
    last_missing[:, -1] = np.nan
    outliers = mean + std * rng.choice([-1e3, 1e3], size=some.shape)
    largest = np.finfo(np.float32).max * rng.choice([-1.0, 1.0], size=some.shape)
    rows = {
        "all missing": np.full_like(some[:1], np.nan),
        "a column missing": one_missing,
        "holes": holes,
        "last step missing": last_missing,
        "infinite": np.where(rng.random(some.shape) < 0.1, np.inf, some),
        "constant": np.broadcast_to(mean, some[:1].shape),
        "zero": np.zeros_like(some[:1]),
        "1,000 deviations out": outliers,
        "largest float32": largest,
    }
    edges = {
        name: {**part(real, np.arange(len(values)) % len(some)), "past": values.astype(np.float32)}
        for name, values in rows.items()
    }
    if "ahead" in real:
        shape = real["ahead"].shape
        for name, values in (
            ("nothing known ahead", np.full(shape, np.nan)),
            ("infinite ahead", np.where(rng.random(shape) < 0.5, np.inf, real["ahead"])),
            ("largest float32 ahead", np.finfo(np.float32).max * rng.choice([-1.0, 1.0], size=shape)),
        ):
            edges[name] = {**real, "ahead": values.astype(np.float32)}
    if "time" in real:
        for name, moved in (("before 1970", -2_000_000_000), ("in the year 3000", 32_000_000_000)):
            edges[name] = {**real, "time": real["time"] + moved, "time_ahead": real["time_ahead"] + moved}
    if words:
        unheard = max((word for each in words.values() for word in each), key=len) + "?"  # in no vocabulary
        edges["empty texts"] = {**real, **{name: np.full_like(real[name], "") for name in words}}
        edges["unknown words"] = {**real, **{name: np.full_like(real[name], unheard) for name in words}}
        last = {name: np.full_like(real[name], vocabulary[-1]) for name, vocabulary in words.items()}
        edges["the last words"] = {**real, **last}
    return edges


def measured(proof: Proof, graph: Path) -> Proof:
    """The proof with what it costs to ask the graph; nothing else should run beside."""
    return replace(proof, costs=measure(graph))


def measure(graph: Path) -> dict[str, float]:
    """Costs of the graph in a process of its own without torch: see `models.measure`."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "models.measure", str(graph)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    costs: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return costs


@dataclass(frozen=True, kw_only=True, eq=False)
class _Case:
    """One set of rows at one batch size."""

    rows: str
    batch: int
    inputs: Inputs
    scale_K: NDArray[np.float64]  # of the targets, in the train rows
    centre_K: NDArray[np.float64]
    targets: tuple[str, ...]
    tolerance: float

    def check(self, output: str, onnx: NDArray[np.float64], expected: NDArray[np.float64]) -> Check:
        """Both answers (N, H, K, ...) of an output in the targets' unit, or of anything else as it is."""
        # What has no unit is not multiplied by what its window was divided by: rounding stays as large as that made it.
        apart = 1.0 if self.rows == "holdout" or output in IN_UNITS else 1 / STILL
        error, allowed = np.abs(onnx - expected), np.full(onnx.shape, self.tolerance * apart)
        if output in IN_UNITS:
            trailing = (..., *(None,) * (onnx.ndim - 3))
            scale, centre = self.scale_K[trailing], self.centre_K[trailing]
            away = np.maximum(np.maximum(1.0, np.abs(expected - centre) / scale), self._reach()[trailing])
            spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64) / scale
            error, allowed = error / scale, allowed * (away if self.rows != "holdout" else 1.0) + 2 * spacing
        error = np.where(np.isfinite(onnx) & np.isfinite(expected), error, np.inf)
        at = np.unravel_index(int((error / allowed).argmax()), error.shape)
        return Check(
            rows=self.rows,
            output=output,
            batch=self.batch,
            compared=count(self.inputs),
            error=float(error.max()),
            allowed=float(allowed[at]),
            worst=f"window {at[0]}, {self._place(output, at)}: onnx {onnx[at]:.9g}, torch {expected[at]:.9g}",
            passed=bool((error <= allowed).all()),
        )

    def _reach(self) -> NDArray[np.float64]:
        """(N, 1, K): how far each window's past lies from the mean, in standard deviations."""
        past = self.inputs["past"][:, :, : len(self.scale_K)]
        reach = np.abs(np.where(np.isfinite(past), past, self.centre_K) - self.centre_K) / self.scale_K
        farthest: NDArray[np.float64] = np.minimum(reach, FARTHEST).max(axis=1, keepdims=True)
        return farthest

    def _place(self, output: str, at: tuple[Any, ...]) -> str:
        if output == OUTPUT:
            return f"output {at[1] + 1}, target {self.targets[at[2]]}"
        return f"{output}[{', '.join(str(int(i)) for i in at[1:])}]"


def _torch_answers(model: nn.Module, inputs: Inputs, words: Words) -> dict[str, NDArray[np.float64]]:
    """By output, the model's answers to all windows: the value, and what it tells besides."""
    with torch.inference_mode():
        parts = [explain(model, **chunk) for chunk in _chunks(inputs, words)]
    told = {output: [each[output] for _, each in parts] for output in extras(model)}
    found = {OUTPUT: [answer for answer, _ in parts], **told}
    return {output: torch.cat(each).numpy().astype(np.float64) for output, each in found.items()}


def _chunks(inputs: Inputs, words: Words) -> Iterator[dict[str, torch.Tensor]]:
    for i in range(0, count(inputs), _CHUNK):
        some = encode(part(inputs, slice(i, i + _CHUNK)), words)
        yield {name: torch.from_numpy(values) for name, values in some.items()}
