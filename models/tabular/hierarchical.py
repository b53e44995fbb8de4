"""Agglomerative clustering: the two nearest clusters are joined until so many are left; scikit-learn's.

It cannot tell where a new row belongs: what is exported is the nearest cluster's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from models.tabular._clusters import Clusterer, by_size

EPOCHS = 1
CLUSTERS = True
RULE = "Hierarchical clustering cannot place new rows: one belongs to the cluster with the nearest mean."


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    clusters: int = 3
    linkage: str = "ward"  # what near means of two clusters: ward, average or complete


class Learner(Clusterer):
    config: Config

    def _found(self, space: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        """The clusters' means, the largest cluster's first."""
        n = min(self.config.clusters, len(space))
        codes = by_size(AgglomerativeClustering(n, linkage=self.config.linkage).fit_predict(space).astype(np.int64))
        centres = np.stack([space[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
        return centres.astype(np.float32), np.arange(len(centres)), math.inf
