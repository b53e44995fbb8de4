"""What clusterings share: the space they measure distances in, and one rule that every one of them exports: a row
belongs to the cluster of the nearest of some points, and to none where that lies too far.

k-means' points are its centres. Hierarchical clustering and DBSCAN cannot tell where a new row belongs; what is shipped
is the nearest centre, or the nearest core point within reach.

Shapes: B batch, D columns of the matrix, A amounts, E channels of the space, P points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from models.tabular._inputs import Amounts, OneHot
from models.tabular.clustering import NOISE
from models.tabular.learning import Rows, Seeds, Shape
from models.tabular.torch_graph import to_onnx

MOST_ROWS = 5000  # that a clustering is learnt of: distances between all of them are kept by some
SKEWED = 2.0  # skewness from which on an amount is taken by its logarithm
_BATCH = 4096
_SLACK = 1e-6  # of a squared reach, which is a distance between two rows and must reach from one to the other


class Space(nn.Module):
    """(B, D) -> (B, E): amounts in standard deviations, those that are skewed by their signed logarithm, and words as
    channels of 1 / sqrt 2, so that two rows of different words lie one deviation apart."""

    def __init__(self, train: Rows, shape: Shape) -> None:
        super().__init__()
        self.n_amounts = shape.encoding.n_amounts
        amounts = train.matrix[:, : self.n_amounts].astype(np.float64)
        self.skewed: Tensor
        self.unit: Tensor
        unit = np.array([_unit(column) for column in amounts.T]).reshape(-1)
        self.register_buffer("skewed", torch.from_numpy(np.array([_skewness(c) > SKEWED for c in amounts.T], bool)))
        self.register_buffer("unit", torch.from_numpy(unit).float())
        matrix = self._tamed(torch.from_numpy(train.matrix)).numpy()
        self.amounts, self.words = Amounts(shape.encoding, matrix), OneHot(shape.encoding)

    def _tamed(self, matrix_BD: Tensor) -> Tensor:
        x_BA = matrix_BD[:, : self.n_amounts]
        log_BA = torch.sign(x_BA) * torch.log1p(x_BA.abs() / self.unit)
        return torch.cat([torch.where(self.skewed, log_BA, x_BA), matrix_BD[:, self.n_amounts :]], dim=1)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        tamed_BD = self._tamed(matrix_BD)
        return torch.cat([self.amounts(tamed_BD), self.words(tamed_BD) * 0.5**0.5], dim=1)


def _skewness(column: NDArray[np.float64]) -> float:
    known = column[np.isfinite(column)]
    spread = float(known.std()) if len(known) else 0.0
    return float(np.abs(np.mean(((known - known.mean()) / spread) ** 3))) if spread > 0 else 0.0


def _unit(column: NDArray[np.float64]) -> float:
    """The median size of the train rows, so that the logarithm bends where most of them lie."""
    known = np.abs(column[np.isfinite(column) & (column != 0)])
    return float(np.median(known)) if len(known) else 1.0


class Nearest(nn.Module):
    """matrix (B, D) -> (B, 1): the code of the nearest point's cluster, or -1 beyond `reach`."""

    def __init__(self, space: Space, points: NDArray[np.float32], codes: NDArray[np.int64], reach: float) -> None:
        super().__init__()
        self.space, self.reach = space, reach
        self.points: Tensor
        self.codes: Tensor
        self.register_buffer("points", torch.from_numpy(np.ascontiguousarray(points)))
        self.register_buffer("codes", torch.from_numpy(codes).float())

    def forward(self, matrix_BD: Tensor) -> Tensor:
        x_BE, points_PE = self.space(matrix_BD).double(), self.points.double()
        # No differences one by one, B x P x E of them: in float64 this loses nothing that float32 coordinates tell.
        square_BP = x_BE.square().sum(1, keepdim=True) - 2 * x_BE @ points_PE.T + points_PE.square().sum(1)
        least_B, place_B = square_BP.min(dim=1)
        within_B = least_B <= self.reach**2 * (1 + _SLACK)
        code_B = torch.where(within_B, self.codes[place_B], float(NOISE))
        return code_B[:, None]


class Clusterer(ABC):
    """A clustering, found whole in its one epoch."""

    def __init__(self, config: Any, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds = config, train, shape, seeds
        self.space = Space(train, shape).eval()
        self.nearest: Nearest | None = None

    @abstractmethod
    def _found(self, space: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        """Points (P, E), the cluster of each, and how far a row may lie from the nearest."""

    def epoch(self, number: int) -> float:
        """Find the clusters; answers the mean squared distance of the train rows from the nearest point."""
        matrix = self.train.matrix
        if len(matrix) > MOST_ROWS:
            matrix = matrix[np.sort(np.random.default_rng(self.seeds(1)).permutation(len(matrix))[:MOST_ROWS])]
        points, codes, reach = self._found(self.told(matrix))
        self.nearest = Nearest(self.space, points, codes, reach).eval()
        with torch.inference_mode():
            x = torch.from_numpy(self.told(matrix))
            return float(torch.cdist(x, self.nearest.points).min(dim=1).values.square().mean())

    def told(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, E): the rows in the space."""
        with torch.inference_mode():
            found: NDArray[np.float32] = torch.cat(
                [self.space(p) for p in torch.from_numpy(matrix).split(_BATCH)]
            ).numpy()
        return found

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 1) the code of each row's cluster, -1 for none."""
        assert self.nearest is not None
        size = max(1, 8_000_000 // len(self.nearest.points))
        with torch.inference_mode():
            parts = [self.nearest(part) for part in torch.from_numpy(matrix).split(size)]
        found: NDArray[np.float64] = torch.cat(parts).double().numpy()
        return found

    def margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) how much farther a row would have to lie from its cluster, at least, to belong to another or to none."""
        assert self.nearest is not None
        own, found = self.predict(matrix)[:, 0], []
        points, codes, reach = self.nearest.points.double(), self.nearest.codes.double(), self.nearest.reach
        for place in range(0, len(matrix), 256):
            part = slice(place, place + 256)
            apart = torch.cdist(torch.from_numpy(self.told(matrix[part])).double(), points)
            least = apart.min(dim=1).values
            others = torch.where(codes == torch.from_numpy(own[part])[:, None], torch.inf, apart).min(dim=1).values
            gap = torch.minimum(others - least, (reach - least).abs())
            found.append(torch.where(least > reach, least - reach, gap).numpy())
        return np.concatenate(found)

    def mark(self) -> None:  # noqa: B027 (there is one solution)
        """Nothing: there is one solution."""

    def back(self) -> None:  # noqa: B027
        """Nothing: there is one solution."""

    def state_dict(self) -> dict[str, Any]:
        if self.nearest is None:
            return {}
        return {"points": self.nearest.points, "codes": self.nearest.codes, "reach": self.nearest.reach}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            codes = state["codes"].numpy().astype(np.int64)
            self.nearest = Nearest(self.space, state["points"].numpy(), codes, state["reach"]).eval()

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        assert self.nearest is not None
        return to_onnx(self.nearest, self.train.matrix.shape[1])


def by_size(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters, numbered from the largest; none stays none."""
    kinds, counts = np.unique(codes[codes != NOISE], return_counts=True)
    rank = {int(kind): place for place, kind in enumerate(kinds[np.argsort(-counts, kind="stable")])}
    return np.array([rank.get(int(code), NOISE) for code in codes], np.int64)
