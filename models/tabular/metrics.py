"""How good scores of rows are: the metrics of each task, weighted where rows have weights.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as measured

from data.rows import RowTable

Scores = NDArray[np.float64]  # (N, C) probabilities, or (N, 1) values


@dataclass(frozen=True, kw_only=True)
class RowMetric:
    """`compute(truth, scores, weight)`: truth (N,) values or classes, weight (N,) or None."""

    name: str
    direction: Literal["min", "max"]
    tasks: tuple[str, ...]
    compute: Callable[[NDArray[np.float32], Scores, NDArray[np.float32] | None], float]
    unit: str = "1"  # "1", "%", "target", "target^2"
    by_labels: bool = False  # it asks which class is answered, not how likely

    @property
    def minimise(self) -> bool:
        return self.direction == "min"


def score(
    table: RowTable,
    rows: NDArray[np.int64],
    scores: Scores,
    names: Sequence[str] | None = None,
    *,
    threshold: float = 0.5,
) -> dict[str, float]:
    """Each metric of the task, or those named, of scores (N, C) for these rows; NaN where one is not finite.

    Of two classes, metrics that go by labels take the second from `threshold` on.
    """
    assert table.target is not None
    truth, weight = table.target[rows], None if table.weight is None else table.weight[rows]
    wanted = [name for name, metric in METRICS.items() if fits(metric, table)] if names is None else names
    if not np.isfinite(scores).all():
        return dict.fromkeys(wanted, float("nan"))
    by_label = np.eye(scores.shape[1])[labels(scores, threshold)] if scores.shape[1] > 1 else scores
    given = {name: by_label if METRICS[name].by_labels else scores for name in wanted}
    return {name: float(METRICS[name].compute(truth, given[name], weight)) for name in wanted}


def labels(scores: Scores, threshold: float = 0.5) -> NDArray[np.int64]:
    """(N, C) -> (N,): the likeliest class; of two the second from `threshold` on."""
    return (scores[:, 1] >= threshold).astype(np.int64) if scores.shape[1] == 2 else scores.argmax(axis=1)


def fits(metric: RowMetric, table: RowTable) -> bool:
    kind = table.task if table.task != "classification" else ("binary" if len(table.classes) == 2 else "classes")
    return kind in metric.tasks


def fits_by_name(name: str, table: RowTable) -> bool:
    return name in METRICS and fits(METRICS[name], table)


def calibration_error(
    truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None, bins: int = 15
) -> float:
    """Mean distance of the confidence in the predicted class from how often it is right, over bins of confidence with
    as many rows each (Naeini et al. 2015, doi.org/10.1609/aaai.v29i1.9602)."""
    confidence, right = scores.max(axis=1), (scores.argmax(axis=1) == truth).astype(np.float64)
    weight = np.ones(len(truth), np.float32) if weight is None else weight
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, confidence)  # equal confidences share a bin
    off = np.bincount(place, weights=weight * (confidence - right))
    return float(np.abs(off).sum() / weight.sum())


def _accuracy(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    return float(measured.accuracy_score(truth, scores.argmax(axis=1), sample_weight=weight))


def _averaged(name: str) -> Callable[..., float]:
    """Of the positive class where there are two, else the mean over the classes that came."""
    compute = getattr(measured, name)

    def of(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
        two = scores.shape[1] == 2
        settings = {"average": "binary"} if two else {"average": "macro", "labels": np.unique(truth)}
        return float(compute(truth, scores.argmax(axis=1), sample_weight=weight, zero_division=0.0, **settings))

    return of


def _balanced_accuracy(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    """The mean over the classes that came of how many of each were found."""
    settings = {"average": "macro", "labels": np.unique(truth), "zero_division": 0.0}
    return float(measured.recall_score(truth, scores.argmax(axis=1), sample_weight=weight, **settings))


def _roc_auc(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    """Of two classes; of more, the mean over the classes of each against the rest, of those that rows have."""
    return _one_against_rest(measured.roc_auc_score, truth, scores, weight)


def _pr_auc(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    return _one_against_rest(measured.average_precision_score, truth, scores, weight)


def _one_against_rest(
    compute: Callable[..., float], truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None
) -> float:
    which = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    found = [
        compute(truth == c, scores[:, c], sample_weight=weight) for c in which if 0 < (truth == c).sum() < len(truth)
    ]
    return float(np.mean(found)) if found else float("nan")


def _log_loss(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    given = np.clip(scores[np.arange(len(truth)), truth.astype(np.int64)], 1e-15, None)
    return float(np.average(-np.log(given), weights=weight))


def _brier(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    """Of two classes the squared error of the positive one's probability; of more, the sum over classes, halved."""
    came = truth[:, None] == np.arange(scores.shape[1])
    return float(np.average(np.square(scores - came).sum(axis=1) / 2, weights=weight))


def _of_values(name: str) -> Callable[..., float]:
    compute = getattr(measured, name)
    return lambda truth, scores, weight: compute(truth, scores[:, 0], sample_weight=weight)


def _mape(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    """Leaves out rows whose truth is 0, where a percentage means nothing."""
    some = truth != 0
    if not some.any():
        return float("nan")
    error = np.abs((scores[some, 0] - truth[some]) / truth[some])
    return 100 * float(np.average(error, weights=None if weight is None else weight[some]))


_BOTH = ("binary", "classes")
METRICS: Mapping[str, RowMetric] = {
    metric.name: metric
    for metric in (
        RowMetric(name="accuracy", direction="max", tasks=_BOTH, compute=_accuracy, by_labels=True),
        RowMetric(name="balanced_accuracy", direction="max", tasks=_BOTH, compute=_balanced_accuracy, by_labels=True),
        RowMetric(name="precision", direction="max", tasks=_BOTH, compute=_averaged("precision_score"), by_labels=True),
        RowMetric(name="recall", direction="max", tasks=_BOTH, compute=_averaged("recall_score"), by_labels=True),
        RowMetric(name="f1", direction="max", tasks=_BOTH, compute=_averaged("f1_score"), by_labels=True),
        RowMetric(name="roc_auc", direction="max", tasks=_BOTH, compute=_roc_auc),
        RowMetric(name="pr_auc", direction="max", tasks=_BOTH, compute=_pr_auc),
        RowMetric(name="log_loss", direction="min", tasks=_BOTH, compute=_log_loss),
        RowMetric(name="brier", direction="min", tasks=_BOTH, compute=_brier),
        RowMetric(name="calibration_error", direction="min", tasks=_BOTH, compute=calibration_error),
        RowMetric(
            name="rmse",
            direction="min",
            tasks=("regression",),
            compute=_of_values("root_mean_squared_error"),
            unit="target",
        ),
        RowMetric(
            name="mae", direction="min", tasks=("regression",), compute=_of_values("mean_absolute_error"), unit="target"
        ),
        RowMetric(name="r2", direction="max", tasks=("regression",), compute=_of_values("r2_score")),
        RowMetric(name="mape", direction="min", tasks=("regression",), compute=_mape, unit="%"),
    )
}
