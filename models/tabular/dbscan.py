"""DBSCAN (Ester et al. 1996, aaai.org/papers/kdd96-037): clusters are where rows lie densely, all else is noise;
scikit-learn's.

It cannot tell where a new row belongs: what is exported is the cluster of the nearest core point, where one lies within
reach, else none, which for the rows it was learnt of is what DBSCAN itself says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from models.tabular._clusters import Clusterer, by_size

EPOCHS = 1
CLUSTERS = True
RULE = "DBSCAN itself cannot place new rows: one belongs to the cluster of the nearest core point within reach."


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    neighbours: int = 8  # within reach, the row itself among them, make it a core point
    quantile: float = 0.8  # of the rows' distances to that neighbour: the reach


class Learner(Clusterer):
    config: Config

    def _found(self, space: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        """The core points of all clusters; where nothing is dense, the mean of all, which nobody is near enough to."""
        n = min(self.config.neighbours, len(space))
        distances, _ = NearestNeighbors(n_neighbors=n).fit(space).kneighbors(space)
        reach = float(np.float32(np.quantile(distances[:, -1], self.config.quantile)))
        if reach <= 0:
            reach = float(np.finfo(np.float32).tiny)
        found = DBSCAN(eps=reach, min_samples=n).fit(space)
        codes, core = by_size(found.labels_.astype(np.int64)), found.core_sample_indices_
        if not len(core):
            return space.mean(axis=0, keepdims=True), np.array([-1], np.int64), 0.0
        return space[core], codes[core], reach
