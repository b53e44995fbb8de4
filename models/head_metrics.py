"""How good directions and quantiles are: the metrics of the heads beside the value.

Shapes: N windows, H steps ahead, C classes, Q quantiles. Without a band, a change of nothing has no direction and does
not count; precision, recall and F1 are then of "up", with a band the mean over those of down, flat
and up that have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.metric import Axis, Float64s, Given, Metric, mean_of

Figure = Literal["precision", "recall", "f1"]


def precision_recall_f1(
    answered: NDArray[np.bool_], came: NDArray[np.bool_], counts: NDArray[np.bool_], axis: Axis
) -> dict[str, Float64s]:
    """Of one class, (N, H) each: whether it was answered, whether it came, whether that counts.

    precision = right / answered, recall = right / came, F1 = 2 right / (answered + came). A class that came and was
    never answered has precision 0; one that did not come has no recall, and none at all where it was not answered.
    """
    right = (answered & came & counts).sum(axis=axis, dtype=np.float64)
    n_answered = (answered & counts).sum(axis=axis, dtype=np.float64)
    n_came = (came & counts).sum(axis=axis, dtype=np.float64)
    return {
        "precision": np.where((n_answered == 0) & (n_came > 0), 0.0, _ratio(right, n_answered)),
        "recall": _ratio(right, n_came),
        "f1": _ratio(2 * right, n_answered + n_came),
    }


def _ratio(part: Float64s, whole: Float64s) -> Float64s:
    ratio: Float64s = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return ratio


def _came(given: Given) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return given.heads.came(given.truth - given.last)


def _probabilities(given: Given) -> Float64s:
    if given.direction is None:
        raise ValueError("no direction was answered")
    return given.direction


def _quantiles(given: Given) -> Float64s:
    if given.quantiles is None:
        raise ValueError("no quantiles were answered")
    return given.quantiles


def _accuracy(given: Given, axis: Axis) -> Float64s:
    came, counts = _came(given)
    return mean_of((_probabilities(given).argmax(axis=2) == came).astype(np.float64), axis, where=counts)


def _of_classes(figure: Figure) -> Callable[[Given, Axis], Float64s]:
    def compute(given: Given, axis: Axis) -> Float64s:
        answered, (came, counts) = _probabilities(given).argmax(axis=2), _came(given)
        n = len(given.heads.classes)
        each = [
            precision_recall_f1(answered == c, came == c, counts, axis)[figure] for c in ([1] if n == 2 else range(n))
        ]
        known = np.isfinite(each)
        return _ratio(np.where(known, each, 0.0).sum(axis=0), known.sum(axis=0))

    return compute


def _log_loss(given: Given, axis: Axis) -> Float64s:
    came, counts = _came(given)
    of_it = np.take_along_axis(_probabilities(given), came[..., None], axis=2)[..., 0]
    return mean_of(-np.log(np.maximum(of_it, np.finfo(np.float32).tiny)), axis, where=counts)


def _pinball(given: Given, axis: Axis) -> Float64s:
    error, levels = given.truth[..., None] - _quantiles(given), np.array(given.heads.levels)
    return mean_of(np.maximum(levels * error, (levels - 1) * error).mean(axis=2), axis)


def _coverage(given: Given, axis: Axis) -> Float64s:
    quantiles = _quantiles(given)
    inside = (quantiles[..., 0] <= given.truth) & (given.truth <= quantiles[..., -1])
    return mean_of(inside.astype(np.float64), axis)


def _width(given: Given, axis: Axis) -> Float64s:
    quantiles = _quantiles(given)
    return mean_of(quantiles[..., -1] - quantiles[..., 0], axis)


_GNEITING = "Gneiting & Raftery 2007, doi.org/10.1198/016214506000001437"
_BY_CLASS = "of the class answered with the highest probability; van Rijsbergen 1979, Information Retrieval, chapter 7"


def _direction(name: str, compute: Callable[[Given, Axis], Float64s], source: str, better: Any = "max") -> Metric:
    return Metric(name=name, unit="1", direction=better, source=source, compute=compute, head="direction")


HEAD_METRICS = (
    _direction("direction_accuracy", _accuracy, "share of the directions that were given the highest probability"),
    _direction("direction_precision", _of_classes("precision"), _BY_CLASS),
    _direction("direction_recall", _of_classes("recall"), _BY_CLASS),
    _direction("direction_f1", _of_classes("f1"), _BY_CLASS),
    _direction("log_loss", _log_loss, f"mean -log probability of the direction that came; {_GNEITING}", "min"),
    Metric(
        name="pinball",
        unit="target",
        direction="min",
        source=f"mean over levels t of max(t (y - q), (t - 1)(y - q)); {_GNEITING}",
        compute=_pinball,
        head="quantiles",
    ),
    Metric(
        name="coverage",
        unit="1",
        direction="max",
        source="share of truths from the lowest to the highest quantile; it should be what lies between their levels",
        compute=_coverage,
        head="quantiles",
    ),
    Metric(
        name="width",
        unit="target",
        direction="min",
        source="mean distance from the lowest to the highest quantile",
        compute=_width,
        head="quantiles",
    ),
)
