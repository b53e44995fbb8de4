"""Proof that a graph of rows answers as its models do: on the holdout, and on rows that real data seldom has.

Probabilities may differ by 1e-6, values by `tolerance` standard deviations of the target; where a value lies farther
from the mean than one of them, as it may on edge rows, by as much of that distance. A label may differ only where the
probabilities leave it open: within 1e-6 of the threshold, or of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from data.rows import RowTable
from data.times import MISSING_TIME
from models.session import open_session
from models.tabular.blend import Blend
from models.tabular.graph import sent
from models.tabular.metrics import Scores
from models.tabular.outputs import CLUSTER, LABEL, PROBABILITIES, VALUE
from models.validation import Check, Proof, measured

BATCHES = (1, 2, 17, 1024, 10_000)
PROBABILITY = 1e-6
_ROUNDING = 1e-4  # of a distance in the space of clusters
_CALLS = 64  # at the smaller batches
_EDGES = 16  # real rows that edge rows are made of
_LARGEST = float(np.finfo(np.float32).max)
_YEAR_3000, _YEAR_1900 = 32_503_680_000, -2_208_988_800


def prove(
    blend: Blend,
    graph: Path,
    table: RowTable,
    rows: NDArray[np.int64],
    names: Mapping[str, str],
    *,
    mean: float,
    std: float,
    tolerance: float,
) -> Proof:
    """Compare `graph` with `blend` on these rows of the table and on edge rows; `names` of the inputs, by column.

    mean and std are the target's, of a regression's train rows.
    """
    session = open_session(graph)
    checks: list[Check] = []
    for kind, some in {"holdout": table.take(rows), **edge_tables(table.take(rows[:_EDGES]))}.items():
        expected = blend.scores(some, np.arange(some.n_rows))
        feed = sent(some, np.arange(some.n_rows), names)
        for batch in BATCHES:
            if kind == "holdout":
                which = np.arange(min(some.n_rows, _CALLS * batch))
            else:
                which = np.arange(max(batch, some.n_rows)) % some.n_rows
            found = _answers(session, {name: each[which] for name, each in feed.items()}, batch)
            if blend.clusters:
                open_ = _open(blend, some)[which]
                checks.append(_same(kind, batch, CLUSTER, found[CLUSTER], expected[which, 0].astype(np.int64), ~open_))
            else:
                checks += _compare(kind, batch, found, expected[which], blend, mean, std, tolerance)
    main = blend.answers.names[0]
    return measured(Proof(tolerance=tolerance, checks=tuple(checks), output=main), graph)


def answered(graph: Path, table: RowTable, rows: NDArray[np.int64], names: Mapping[str, str]) -> Scores:
    """What the file answers for these rows: (N, C) probabilities, or (N, 1) values."""
    found = _answers(open_session(graph), sent(table, rows, names), 1024)
    if PROBABILITIES in found:
        return np.asarray(found[PROBABILITIES], np.float64)
    return np.asarray(found[CLUSTER] if CLUSTER in found else found[VALUE], np.float64)[:, None]


def edge_tables(table: RowTable) -> dict[str, RowTable]:
    """Rows that real data seldom has, by what is odd about them, made of a few real ones."""
    n = table.n_numbers
    made: dict[str, RowTable] = {}

    def numbers(values: NDArray[Any] | float) -> RowTable:
        changed = table.values.copy()
        changed[:, :n] = values
        return replace(table, values=changed)

    rng = np.random.default_rng(0)
    shape = (table.n_rows, n)
    nothing = replace(numbers(np.nan), times=np.full_like(table.times, MISSING_TIME))
    nothing.values[:, n:] = 0
    made["all missing"] = nothing
    for column in table.columns:
        made[f"{column} missing"] = _without(table, column)
    if n:
        made["zero"] = numbers(0.0)
        made["infinite"] = numbers(np.where(rng.random(shape) < 0.5, np.inf, -np.inf))
        made["largest float32"] = numbers(_LARGEST * rng.choice([-1.0, 1.0], size=shape))
    if table.categories:
        unheard = max((word for words in table.categories.values() for word in words), key=len, default="") + "?"
        changed = table.values.copy()
        changed[:, n:] = [len(words) + 1 for words in table.categories.values()]
        known = {name: (*words, unheard) for name, words in table.categories.items()}
        made["unknown words"] = replace(table, values=changed, categories=known)
    if table.time_names:
        made["in the year 3000"] = replace(table, times=np.full_like(table.times, _YEAR_3000))
        made["in the year 1900"] = replace(table, times=np.full_like(table.times, _YEAR_1900))
    return made


def _without(table: RowTable, column: str) -> RowTable:
    if column in table.time_names:
        times = table.times.copy()
        times[:, table.time_names.index(column)] = MISSING_TIME
        return replace(table, times=times)
    values, place = table.values.copy(), table.names.index(column)
    values[:, place] = np.nan if place < table.n_numbers else 0
    return replace(table, values=values)


def _answers(
    session: onnxruntime.InferenceSession, feed: Mapping[str, NDArray[Any]], batch: int
) -> dict[str, NDArray[Any]]:
    """Every output for all rows, so many at a time."""
    names = [each.name for each in session.get_outputs()]
    count = len(next(iter(feed.values())))
    parts = [
        session.run(names, {name: each[i : i + batch] for name, each in feed.items()}) for i in range(0, count, batch)
    ]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _compare(
    kind: str,
    batch: int,
    found: Mapping[str, NDArray[Any]],
    expected: Scores,
    blend: Blend,
    mean: float,
    std: float,
    tolerance: float,
) -> list[Check]:
    main = PROBABILITIES if blend.classes else VALUE
    answer = found[main].astype(np.float64).reshape(len(expected), -1)
    if blend.classes:
        error, allowed = np.abs(answer - expected), np.full(answer.shape, PROBABILITY)
    else:
        away = np.maximum(1.0, np.abs(expected - mean) / std)
        spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64) / std
        error, allowed = np.abs(answer - expected) / std, tolerance * away + 2 * spacing
    error = np.where(np.isfinite(answer) & np.isfinite(expected), error, np.inf)
    at = np.unravel_index(int((error / allowed).argmax()), error.shape)
    check = Check(
        rows=kind,
        output=main,
        batch=batch,
        compared=len(answer),
        error=float(error.max()),
        allowed=float(allowed[at]),
        worst=f"row {at[0]}, {main} {at[1]}: onnx {answer[at]:.9g}, model {expected[at]:.9g}",
        passed=bool((error <= allowed).all()),
    )
    return [check, _labels(kind, batch, found[LABEL], expected, blend)] if blend.classes else [check]


def _labels(kind: str, batch: int, found: NDArray[Any], expected: Scores, blend: Blend) -> Check:
    """Labels, but where the probabilities leave them open."""
    if len(blend.classes) == 2:
        place = (expected[:, 1] >= blend.threshold).astype(np.int64)
        sure = np.abs(expected[:, 1] - blend.threshold) > PROBABILITY
    else:
        place, ranked = expected.argmax(axis=1), np.sort(expected, axis=1)
        sure = ranked[:, -1] - ranked[:, -2] > 2 * PROBABILITY
    return _same(kind, batch, LABEL, found, np.array(blend.classes, object)[place], sure)


def _open(blend: Blend, table: RowTable) -> NDArray[np.bool_]:
    """(N,) rows that lie between two clusters, or at the edge of one, to rounding."""
    (member,) = blend.members
    matrix = member.encoding.matrix(table, np.arange(table.n_rows))
    near: NDArray[np.bool_] = member.learner.margin(matrix) < _ROUNDING
    return near


def _same(
    kind: str, batch: int, output: str, found: NDArray[Any], expected: NDArray[Any], sure: NDArray[np.bool_]
) -> Check:
    """The share of rows that are answered otherwise though nothing leaves it open."""
    wrong = (found != expected) & sure
    at = int(wrong.argmax())
    return Check(
        rows=kind,
        output=output,
        batch=batch,
        compared=len(found),
        error=float(wrong.mean()),
        allowed=0.5 / len(found),
        worst=f"row {at}: onnx {found[at]!r}, model {expected[at]!r}",
        passed=not wrong.any(),
    )
