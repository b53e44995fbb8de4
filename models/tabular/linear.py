"""Linear and logistic models with an elastic net (Zou & Hastie 2005), solved whole in one epoch; scikit-learn's.

Amounts enter in standard deviations, words as a channel for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from torch import Tensor, nn

from models.tabular._inputs import Amounts, OneHot
from models.tabular._networks import Scored
from models.tabular.learning import Rows, Seeds, Shape
from models.tabular.torch_graph import to_onnx

EPOCHS = 1
_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    penalty: float = 1e-3  # for each row
    l1_share: float = 0.0  # of the penalty: 0 ridge, 1 lasso


class Network(nn.Module):
    """matrix (B, D) -> sums (B, 1, S)."""

    def __init__(self, train: Rows, shape: Shape) -> None:
        super().__init__()
        self.amounts, self.words = Amounts(shape.encoding, train.matrix), OneHot(shape.encoding)
        n_sums = shape.n_classes if shape.link == "softmax" else 1
        self.head = nn.Linear(self.amounts.width + self.words.width, n_sums)

    def inputs(self, matrix_BD: Tensor) -> Tensor:
        return torch.cat([self.amounts(matrix_BD), self.words(matrix_BD)], dim=1)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        sums: Tensor = self.head(self.inputs(matrix_BD))[:, None]
        return sums


class Learner:
    def __init__(self, config: Config, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds = config, train, shape, seeds
        self.network = Network(train, shape)
        self.scored = Scored(self.network, shape)

    def epoch(self, number: int) -> float:
        """The whole solution, in the first epoch; none of the others changes it. Answers the loss on the train rows."""
        if number == 1:
            self._solve()
        return self.shape.loss(self.predict(self.train.matrix), self.train)

    def _solve(self) -> None:
        with torch.inference_mode():
            inputs = self.network.inputs(torch.from_numpy(self.train.matrix)).double().numpy()
        target = self.shape.scaled(self.train)
        n_sums = self.network.head.out_features
        weight, bias = np.zeros((n_sums, inputs.shape[1])), self.shape.base(self.train)
        known = np.unique(target).astype(np.int64) if self.shape.n_classes else np.zeros(1, np.int64)
        if not self.shape.n_classes or len(known) > 1:  # else the share of the only class is all there is to learn
            solved = self._solver(len(inputs)).fit(inputs, target, sample_weight=self.train.weight)
            two = n_sums > 1 and len(known) == 2  # told apart by one sum
            coefficients = np.atleast_2d(solved.coef_)
            rows = known if n_sums > 1 else np.zeros(1, np.int64)
            weight[rows] = np.concatenate([-coefficients / 2, coefficients / 2]) if two else coefficients
            intercept = np.broadcast_to(solved.intercept_, len(coefficients))
            bias[rows] = np.concatenate([-intercept / 2, intercept / 2]) if two else intercept
        with torch.no_grad():
            self.network.head.weight.copy_(torch.from_numpy(weight))
            self.network.head.bias.copy_(torch.from_numpy(bias))

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) probabilities, or (N, 1) values."""
        with torch.inference_mode():
            found: NDArray[np.float64] = self.scored(torch.from_numpy(matrix)).double().numpy()
        return found

    def mark(self) -> None:
        """Nothing: there is one solution."""

    def back(self) -> None:
        """Nothing: there is one solution."""

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        return to_onnx(self.scored, self.train.matrix.shape[1])

    def _solver(self, n_rows: int) -> Any:
        config = self.config
        if not self.shape.n_classes:
            if config.l1_share == 0:
                return Ridge(alpha=config.penalty * n_rows)
            return ElasticNet(alpha=config.penalty, l1_ratio=config.l1_share, max_iter=_ITERATIONS)
        return LogisticRegression(
            C=1 / (config.penalty * n_rows),
            l1_ratio=config.l1_share,
            solver="saga" if config.l1_share else "lbfgs",
            max_iter=_ITERATIONS,
            random_state=self.seeds(1) % 2**31,
        )
