"""k-means (Lloyd 1982, doi.org/10.1109/TIT.1982.1056489; k-means++, Arthur & Vassilvitskii 2007); scikit-learn's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from models.tabular._clusters import Clusterer, by_size

EPOCHS = 1
CLUSTERS = True
_STARTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    clusters: int = 3


class Learner(Clusterer):
    config: Config

    def _found(self, space: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        """The centres, the largest cluster's first."""
        n = min(self.config.clusters, len(np.unique(space, axis=0)))
        found = KMeans(n, n_init=_STARTS, random_state=self.seeds(1) % 2**31).fit(space)
        codes = by_size(found.labels_.astype(np.int64))
        centres = np.stack([space[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
        return centres.astype(np.float32), np.arange(len(centres)), math.inf
