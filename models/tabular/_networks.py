"""How networks of rows are trained, and become a graph: what `mlp` and `tabm` share.

A network maps the matrix (B, D) to (B, M, S): M predictions of S sums, trained each by itself and averaged as scores.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional

from models.tabular.learning import Rows, Seeds, Shape
from models.tabular.torch_graph import to_onnx

EVAL_BATCH = 1024


class Scored(nn.Module):
    """matrix (B, D) -> scores (B, C): probabilities, or (B, 1) the value in its unit."""

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, matrix_BD: Tensor) -> Tensor:
        sums_BMS = self.network(matrix_BD)
        if not self.shape.n_classes:
            factor, summand = self.shape.units
            value: Tensor = sums_BMS.mean(dim=1) * factor + summand
            return value
        if self.shape.link == "logistic":
            up_BM1 = sums_BMS.sigmoid()
            sums_BMS = torch.cat([1 - up_BM1, up_BM1], dim=2)
        else:
            sums_BMS = sums_BMS.softmax(dim=2)
        scores: Tensor = sums_BMS.mean(dim=1)
        return scores


class Trained(ABC):
    """A network on its way; its config has lr, weight_decay and batch_size."""

    def __init__(self, config: Any, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds = config, train, shape, seeds
        torch.manual_seed(seeds(0))
        self.network = self._network()
        self.scored = Scored(self.network, shape)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.marked = copy.deepcopy(self.network.state_dict())
        self.matrix = torch.from_numpy(train.matrix)
        self.target = torch.from_numpy(shape.scaled(train)).float()
        weight = np.ones(len(train.target), np.float32) if train.weight is None else train.weight
        self.weight = torch.from_numpy(weight / weight.mean())

    @abstractmethod
    def _network(self) -> nn.Module:
        """Fresh; torch's global generator decides its first weights."""

    def epoch(self, number: int) -> float:
        """All rows once more, the `number`-th time; the mean loss of the steps."""
        seed = self.seeds(number)
        torch.manual_seed(seed)  # dropout
        order = torch.randperm(len(self.target), generator=torch.Generator().manual_seed(seed))
        self.network.train()
        total = torch.zeros(())
        for batch in order.split(self.config.batch_size):
            loss = self._loss(self.network(self.matrix[batch]), self.target[batch], self.weight[batch])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            total += loss.detach() * len(batch)
        return float(total / len(order))

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) probabilities, or (N, 1) values."""
        self.scored.eval()
        with torch.inference_mode():
            parts = [self.scored(part) for part in torch.from_numpy(matrix).split(EVAL_BATCH)]
        found: NDArray[np.float64] = torch.cat(parts).double().numpy()
        return found

    def mark(self) -> None:
        self.marked = copy.deepcopy(self.network.state_dict())

    def back(self) -> None:
        self.network.load_state_dict(self.marked)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "marked": self.marked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.marked = state["marked"]

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        return to_onnx(self.scored, self.train.matrix.shape[1])

    def _loss(self, sums_BMS: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
        """The mean over rows and predictions."""
        n_predictions = sums_BMS.shape[1]
        target_BM = target_B[:, None].expand(-1, n_predictions)
        match self.shape.link:
            case "none":
                loss_BM = functional.mse_loss(sums_BMS[..., 0], target_BM, reduction="none")
            case "logistic":
                loss_BM = functional.binary_cross_entropy_with_logits(sums_BMS[..., 0], target_BM, reduction="none")
            case _:
                loss_BM = functional.cross_entropy(sums_BMS.transpose(1, 2), target_BM.long(), reduction="none")
        return (loss_BM * weight_B[:, None]).mean()
