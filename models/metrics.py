"""How far a forecast lies from the truth: the metrics of the value, and all metrics by name.

Shapes: N windows, H steps ahead, K targets, C classes, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.head_metrics import HEAD_METRICS, precision_recall_f1
from models.heads import VALUE_ALONE, Heads
from models.metric import Axis, Float64s, Floats, Given, Metric, mean_of

Others = Mapping[str, Floats]  # what heads besides the value answered: "direction" (N, H, [K,] C), "quantiles"
NO_OTHERS: Others = MappingProxyType({})


def score(
    truth: Floats,
    predicted: Floats,
    last: Floats,
    mase_scale: float,
    heads: Heads = VALUE_ALONE,
    others: Others = NO_OTHERS,
) -> dict[str, float]:
    """Every metric of the heads that answered, over all windows and steps together, by name.

    truth (N, H), finite, and predicted (N, H): the target's values in its unit. last (N,): the last value known when
    each window's forecast is made, for directional accuracy. mase_scale: see the function of that name.
    A forecast with a value that is not finite scores NaN or infinity wherever that value counts.
    """
    given = _given(truth, predicted, last, mase_scale, heads, others)
    with np.errstate(all="ignore"):
        return {name: float(METRICS[name].compute(given, None)) for name in known_metrics(others)}


def score_by_step(
    truth: Floats,
    predicted: Floats,
    last: Floats,
    mase_scale: float,
    heads: Heads = VALUE_ALONE,
    others: Others = NO_OTHERS,
) -> dict[str, Float64s]:
    """The same for each step ahead, (H,) float64 by name."""
    given = _given(truth, predicted, last, mase_scale, heads, others)
    with np.errstate(all="ignore"):
        return {name: METRICS[name].compute(given, 0) for name in known_metrics(others)}


def known_metrics(others: Iterable[str]) -> list[str]:
    """The metrics that can be computed where these heads answered besides the value."""
    return [name for name, metric in METRICS.items() if metric.head in ("value", *others)]


def selection(
    name: str,
    truth: Floats,
    predicted: Floats,
    last: Floats,
    scales: Floats,
    mase_scales: Floats,
    heads: Heads = VALUE_ALONE,
    others: Others = NO_OTHERS,
) -> float:
    """The one number that ranks trials: metric `name` of truth and predicted (N, H, K), last (N, K).

    One target: the metric in that target's unit. Several: each target is first divided by its scale (K,), the standard
    deviation of its train rows, so that all weigh the same, and the mean over targets is returned. Targets whose truth
    leaves the metric undefined are left out of that mean. NaN where a prediction is not finite, or where the head that
    the metric judges did not answer.
    """
    metric, n_targets = METRICS[name], truth.shape[2]
    judged = predicted if metric.head == "value" else others.get(metric.head)
    if judged is None or not np.isfinite(judged).all():
        return float("nan")
    values = np.empty(n_targets)
    for k in range(n_targets):
        # A direction has no scale, and dividing would move changes that equal the band.
        scale = float(scales[k]) if n_targets > 1 and metric.head != "direction" else 1.0
        true, guess, known = (np.asarray(part[..., k], np.float64) / scale for part in (truth, predicted, last))
        own = {} if metric.head == "value" else {str(metric.head): judged[:, :, k] / scale}
        with np.errstate(all="ignore"):
            given = _given(true, guess, known, float(mase_scales[k]) / scale, heads, own)
            values[k] = metric.compute(given, None)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def mase_scale(values: Floats, rows: NDArray[np.int64], segments: NDArray[np.int64], season: int) -> float:
    """Mean absolute error of the seasonal naive forecast within the train rows, in the target's unit: MASE's divisor.

    values (T,), NaN for missing; rows (R,) the train rows; segments (S, 2) rows [start, stop) without a gap, in order;
    season in rows, 1 for the last-value forecast. Only pairs of rows one season apart count that are both train rows,
    both known, and in one segment; NaN where there is no such pair. Hyndman & Koehler 2006, equation for scaled errors.
    """
    segment_of = np.full(len(values), -1)
    for i, (start, stop) in enumerate(segments):
        segment_of[start:stop] = i
    may_count = np.zeros(len(values), dtype=bool)
    may_count[rows] = True
    may_count &= np.isfinite(values)
    may_count &= segment_of >= 0
    pairs = may_count[season:] & may_count[:-season] & (segment_of[season:] == segment_of[:-season])
    known = np.where(may_count, values, 0.0).astype(np.float64)
    return float(mean_of(np.abs(known[season:] - known[:-season]), None, where=pairs))


def _given(
    truth: Floats, predicted: Floats, last: Floats, scale: float, heads: Heads = VALUE_ALONE, others: Others = NO_OTHERS
) -> Given:
    if truth.shape != predicted.shape or truth.ndim != 2 or last.shape != truth.shape[:1]:
        raise ValueError(
            "truth and predicted must be (windows, steps) alike, and last (windows,), got "
            f"truth={truth.shape}, predicted={predicted.shape}, last={last.shape}"
        )
    return Given(
        truth=np.asarray(truth, np.float64),
        predicted=np.asarray(predicted, np.float64),
        last=np.asarray(last, np.float64)[:, None],
        mase_scale=float(scale),
        heads=heads,
        **{head: np.asarray(answer, np.float64) for head, answer in others.items()},
    )


def _mse(given: Given, axis: Axis) -> Float64s:
    return mean_of(np.square(given.error), axis)


def _rmse(given: Given, axis: Axis) -> Float64s:
    return np.sqrt(_mse(given, axis))


def _mae(given: Given, axis: Axis) -> Float64s:
    return mean_of(np.abs(given.error), axis)


def _mape(given: Given, axis: Axis) -> Float64s:
    """Leaves out window-steps whose truth is 0, where a percentage means nothing; NaN if nothing is left."""
    some = given.truth != 0
    return 100 * mean_of(np.abs(given.error / np.where(some, given.truth, 1.0)), axis, where=some)


def _smape(given: Given, axis: Axis) -> Float64s:
    """Truth and forecast both 0 count as no error."""
    size = np.abs(given.truth) + np.abs(given.predicted)
    return 200 * mean_of(np.abs(given.error) / np.where(size == 0, 1.0, size), axis)


def _mase(given: Given, axis: Axis) -> Float64s:
    return _mae(given, axis) / (given.mase_scale if given.mase_scale > 0 else np.nan)


def _r2(given: Given, axis: Axis) -> Float64s:
    """NaN where the truth is constant."""
    if not given.truth.size:
        return mean_of(given.truth, axis)
    varies = given.truth.max(axis=axis) > given.truth.min(axis=axis)
    spread = np.square(given.truth - given.truth.mean(axis=axis)).sum(axis=axis)
    part = np.divide(np.square(given.error).sum(axis=axis), spread, out=np.full(np.shape(spread), np.nan), where=varies)
    return np.asarray(1 - part)


def _directional_accuracy(given: Given, axis: Axis) -> Float64s:
    """Truth without a change does not count; a forecast without one is wrong."""
    change = np.sign(given.truth - given.last)
    right = change == np.sign(given.predicted - given.last)
    return mean_of(right.astype(np.float64), axis, where=change != 0)


def _pearson(given: Given, axis: Axis) -> Float64s:
    """NaN where truth or forecast is constant."""
    if not given.truth.size:
        return mean_of(given.truth, axis)
    true, guess = (each - each.mean(axis=axis) for each in (given.truth, given.predicted))
    spread = np.sqrt(np.square(true).sum(axis=axis) * np.square(guess).sum(axis=axis))
    size = np.sqrt(np.square(given.truth).sum(axis=axis) * np.square(given.predicted).sum(axis=axis))
    varies = spread > 1e-12 * size  # else nothing but rounding
    shared = (true * guess).sum(axis=axis)
    return np.asarray(np.divide(shared, spread, out=np.full(np.shape(spread), np.nan), where=varies))


def _sign(figure: Literal["precision", "recall", "f1"]) -> Callable[[Given, Axis], Float64s]:
    """Of "up" by the value: p > last; a truth without a change does not count."""

    def compute(given: Given, axis: Axis) -> Float64s:
        change = given.truth - given.last
        return precision_recall_f1(given.predicted > given.last, change > 0, change != 0, axis)[figure]

    return compute


_SIGN = "up by the value: p > last, of those where y ≠ last; van Rijsbergen 1979, Information Retrieval, chapter 7"
_HYNDMAN = "Hyndman & Koehler 2006, doi.org/10.1016/j.ijforecast.2006.03.001"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="mse", unit="target^2", direction="min", source="mean (p - y)²", compute=_mse),
        Metric(name="rmse", unit="target", direction="min", source="√ mean (p - y)²", compute=_rmse),
        Metric(name="mae", unit="target", direction="min", source="mean |p - y|", compute=_mae),
        Metric(
            name="mape",
            unit="%",
            direction="min",
            source=f"100 mean |p - y| / |y| where y ≠ 0; {_HYNDMAN}",
            compute=_mape,
        ),
        Metric(
            name="smape",
            unit="%",
            direction="min",
            source="200 mean |p - y| / (|y| + |p|), 0 to 200; Makridakis & Hibon 2000 (M3), "
            "doi.org/10.1016/S0169-2070(00)00057-1",
            compute=_smape,
        ),
        Metric(
            name="mase",
            unit="1",
            direction="min",
            source=f"mean |p - y| / that of the seasonal naive forecast in the train rows; {_HYNDMAN}",
            compute=_mase,
        ),
        Metric(
            name="r2",
            unit="1",
            direction="max",
            source="1 - Σ (p - y)² / Σ (y - mean y)², the coefficient of determination",
            compute=_r2,
        ),
        Metric(
            name="directional_accuracy",
            unit="1",
            direction="max",
            source="share of sign(p - last) = sign(y - last) where y ≠ last; Pesaran & Timmermann 1992, "
            "doi.org/10.1080/07350015.1992.10509922",
            compute=_directional_accuracy,
        ),
        Metric(
            name="pearson",
            unit="1",
            direction="max",
            source="correlation of p and y; Pearson 1895, doi.org/10.1098/rspl.1895.0041",
            compute=_pearson,
        ),
        Metric(name="sign_precision", unit="1", direction="max", source=_SIGN, compute=_sign("precision")),
        Metric(name="sign_recall", unit="1", direction="max", source=_SIGN, compute=_sign("recall")),
        Metric(name="sign_f1", unit="1", direction="max", source=_SIGN, compute=_sign("f1")),
        *HEAD_METRICS,
    )
}
