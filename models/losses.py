"""Training losses, on targets in train standard deviations. Shapes: both (B, H, K); each answers a scalar, the mean.

| name  | formula, e = predicted - truth                          | range  | source                               |
|-------|---------------------------------------------------------|--------|--------------------------------------|
| mse   | e^2                                                     | [0, ∞) | estimates the conditional mean       |
| mae   | abs(e)                                                  | [0, ∞) | estimates the conditional median     |
| huber | e^2/2 if abs(e) <= 1, else abs(e) - 1/2                 | [0, ∞) | Huber 1964, doi 10.1214/aoms/1177703732 |
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}
