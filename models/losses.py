"""Training losses, on targets in train standard deviations: what each head costs, and how much each window weighs.

Of the value, e = predicted - truth, y the truth's place between the smallest (0) and largest (1) train value:

| loss      | formula                                             | estimates    | source                       |
|-----------|-----------------------------------------------------|--------------|------------------------------|
| mse       | e^2                                                 | the mean     | Gauss 1809, least squares    |
| mae       | abs(e)                                              | the median   | Laplace 1774                 |
| huber     | e^2/2 if abs(e) <= 1, else abs(e) - 1/2             | between them | doi.org/10.1214/aoms/1177703732 |
| smooth_l1 | e^2/(2b) if abs(e) <= b, else abs(e) - b/2; b = 0.1 | between them | arxiv.org/abs/1504.08083     |
| quantile  | max(-t e, (1 - t) e), t = `level`                   | the quantile | doi.org/10.2307/1913643      |

All lie in [0, ∞), and so does what the direction costs: the cross-entropy, -log of the probability given to what came
(Good 1952, doi.org/10.1111/j.2517-6161.1952.tb00104.x). Changes that have no class cost nothing. The quantiles cost the
mean of `quantile` over their levels.

| weighting  | weight of a window's step and target                                                     | lies in    |
|------------|------------------------------------------------------------------------------------------|------------|
| none       | 1                                                                                        | 1          |
| linear     | 1 + a y, a = `emphasis` >= 0: errors on high targets weigh more                          | [1, 1 + a] |
| step       | 1 + a where y > `threshold`, else 1: the same in two levels                              | 1, 1 + a   |
| volatility | 1 / (v + 0.1), v the deviation of the window's one-step changes, in train deviations     | (0, 10]    |

`linear` and `step` (of our own) are for targets whose high values cost most; a y beyond the train range goes beyond
these bounds. Where a window knows fewer than two changes, v is 1, the deviation of the series itself. `volatility` is
weighted least squares (Aitken 1936, doi.org/10.1017/S0370164600014346) for noise as large as v. A weight column
multiplies them, by its value at the last row of the past, 0 or more. It and `volatility` are divided by their mean over
all train windows, so that they have the mean 1 and change no learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from models.batches import Windows
from models.preprocess import Forecaster

_SMOOTH = 0.1  # train standard deviations
_CALM = 0.1  # added to the volatility, so that a window that stands still does not outweigh all others


def quantile_loss(predicted: Tensor, truth: Tensor, level: float) -> Tensor:
    return torch.maximum(level * (truth - predicted), (1 - level) * (predicted - truth))


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {  # (predicted, truth, level) -> the same shape
    "mse": lambda predicted, truth, _: functional.mse_loss(predicted, truth, reduction="none"),
    "mae": lambda predicted, truth, _: functional.l1_loss(predicted, truth, reduction="none"),
    "huber": lambda predicted, truth, _: functional.huber_loss(predicted, truth, reduction="none"),
    "smooth_l1": lambda predicted, truth, _: functional.smooth_l1_loss(
        predicted, truth, reduction="none", beta=_SMOOTH
    ),
    "quantile": quantile_loss,
}
WEIGHTINGS = ("none", "linear", "step", "volatility")


class Objective:
    """What a training minimises: the heads' losses, each by its weight, over windows, steps and targets by theirs.

    `model` scales, `train` tells the range of the targets and the mean of the weights; `heads` maps head name ->
    weight, for each head that `model` has. `steps` (H,) weigh the steps ahead, and are divided by their mean.
    """

    def __init__(
        self,
        model: Forecaster,
        train: Windows,
        *,
        loss: str,
        level: float,
        heads: Mapping[str, float],
        steps: Tensor,
        weighting: str,
        emphasis: float,
        threshold: float,
    ) -> None:
        self.model = model
        self.value_loss, self.level = LOSSES[loss], level
        self.heads = heads
        self.steps_H1 = (steps / steps.mean()).to(train.device)[:, None]
        self.weighting, self.emphasis, self.threshold = weighting, emphasis, threshold
        if weighting in ("linear", "step"):
            low, high = train.target_range()
            self.low_K, self.range_K = low, torch.where(high > low, high - low, 1.0)
        self.mean_weight = 1.0
        if weighting == "volatility" or train.has_weights:
            self.mean_weight = _mean_weight(self, train)

    def __call__(
        self, answers: Mapping[str, Tensor], future_BHK: Tensor, past: Tensor, weight_B: Tensor | None
    ) -> Tensor:
        """The mean over the batch. `answers` as `Forecaster.scaled` gives them; `future` and `past` raw."""
        weight_BHK = self.weights(future_BHK, past, weight_B)
        total = torch.zeros((), device=future_BHK.device)
        for name, share in self.heads.items():
            total = total + share * (weight_BHK * self._loss(name, answers, future_BHK, past)).mean()
        return total

    def weights(self, future_BHK: Tensor, past: Tensor, weight_B: Tensor | None) -> Tensor:
        """(B, H, K), or what broadcasts to it."""
        weight = self.steps_H1
        if self.weighting in ("linear", "step"):
            y_BHK = (future_BHK - self.low_K) / self.range_K
            high_BHK = y_BHK if self.weighting == "linear" else (y_BHK > self.threshold).to(y_BHK.dtype)
            weight = weight * (1 + self.emphasis * high_BHK)
        return weight * self._of_window(past, weight_B) / self.mean_weight

    def _of_window(self, past: Tensor, weight_B: Tensor | None) -> Tensor:
        """(B, 1, K), or what broadcasts to it: the window's own part, before its mean is divided out."""
        weight = torch.ones((), device=past.device) if weight_B is None else weight_B[:, None, None]
        return weight / (self.model.volatility(past)[:, None] + _CALM) if self.weighting == "volatility" else weight

    def _loss(self, head: str, answers: Mapping[str, Tensor], future_BHK: Tensor, past: Tensor) -> Tensor:
        """(B, H, K)"""
        truth_BHK = self.model.scale_targets(future_BHK)
        if head == "value":
            return self.value_loss(answers["future"], truth_BHK, self.level)
        heads = self.model.heads
        if head == "quantiles":
            each = [quantile_loss(answers["quantiles"][..., i], truth_BHK, q) for i, q in enumerate(heads.levels)]
            return torch.stack(each).mean(dim=0)
        # In the targets' units and float64, as the metrics do: a change of just the band must not fall by rounding.
        which_BHK, counts_BHK = heads.classify(future_BHK.double() - self.model.last_known(past)[:, None].double())
        logits_BCHK = answers["direction"].permute(0, 3, 1, 2)
        return functional.cross_entropy(logits_BCHK, which_BHK, reduction="none") * counts_BHK


def _mean_weight(objective: Objective, train: Windows) -> float:
    """Of all train windows, in float64, so that every worker divides by the same number."""
    column = train.weights(torch.arange(len(train)))
    if objective.weighting != "volatility" and column is not None:
        return float(column.double().mean()) or 1.0
    total = 0.0
    for index in torch.arange(len(train)).split(1024):
        inputs, _ = train.gather(index)
        weight = objective._of_window(inputs["past"], train.weights(index)).expand(
            len(index), 1, objective.model.n_targets
        )
        total += float(weight.double().mean(dim=(1, 2)).sum())
    return total / max(1, len(train)) or 1.0
