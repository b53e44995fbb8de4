"""A PyTorch module of the matrix as a graph, as `models/tabular/graph.py` joins them."""

from __future__ import annotations

import torch
from onnx import ModelProto
from torch import Tensor, nn

from models.export import export_module
from models.tabular.graph import MATRIX, SCORES


class _Of(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.module(inputs[MATRIX])
        return found


def to_onnx(module: nn.Module, width: int) -> ModelProto:
    """(batch, width) -> (batch, scores)."""
    return export_module(_Of(module), {MATRIX: torch.zeros(2, width)}, [SCORES])
