"""How good a clustering is, without a truth to hold it against: in the space that its family measures distances in.

    silhouette         mean over rows of (b - a) / max(a, b): a the mean distance to the own cluster, b that to the
                       nearest other one (Rousseeuw 1987, doi.org/10.1016/0377-0427(87)90125-7); -1 .. 1
    davies_bouldin     mean over clusters of the worst (spread + spread) / distance of their centres (Davies & Bouldin
                       1979, doi.org/10.1109/TPAMI.1979.4766909); 0 is best
    calinski_harabasz  spread between clusters by spread within them (1974, doi.org/10.1080/03610927408827101)

A row of no cluster (code -1) counts as a silhouette of 0, and is left out of the other two. Fewer than two clusters
have the worst value: -1, `WORST_SPREAD` and 0.

Shapes: N rows, E channels of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as measured

NOISE = -1
WORST_SPREAD = 1e3
_MOST = 3000  # rows whose distances to each other are measured

Space = NDArray[np.float32]  # (N, E)
Codes = NDArray[np.int64]  # (N,)


def score(space: Space, codes: Codes, names: Sequence[str]) -> dict[str, float]:
    """These metrics of the rows' clusters; of many rows an even choice of them."""
    if len(codes) > _MOST:
        some = np.linspace(0, len(codes) - 1, _MOST).astype(np.int64)
        space, codes = space[some], codes[some]
    return {name: METRICS[name].compute(space.astype(np.float64), codes) for name in names}


def stability(codes: Sequence[Codes]) -> float:
    """The mean adjusted Rand index (Hubert & Arabie 1985, doi.org/10.1007/BF01908075) of all pairs of clusterings of
    the same rows: 1 where all agree, about 0 where they agree by chance."""
    pairs = [(one, other) for i, one in enumerate(codes) for other in codes[:i]]
    return float(np.mean([measured.adjusted_rand_score(one, other) for one, other in pairs])) if pairs else 1.0


def against(codes: Codes, known: NDArray[np.object_]) -> dict[str, float]:
    """How a clustering agrees with known groups: adjusted Rand index and normalised mutual information."""
    return {
        "adjusted_rand": float(measured.adjusted_rand_score(known, codes)),
        "mutual_information": float(measured.normalized_mutual_info_score(known, codes)),
    }


def _silhouette(space: NDArray[np.float64], codes: Codes) -> float:
    own = codes != NOISE
    n_clusters = len(np.unique(codes[own]))
    if not 2 <= n_clusters < own.sum():
        return -1.0
    return float(measured.silhouette_samples(space[own], codes[own]).sum() / len(codes))


def _of_clusters(compute: Callable[..., float], worst: float) -> Callable[[NDArray[np.float64], Codes], float]:
    def of(space: NDArray[np.float64], codes: Codes) -> float:
        own = codes != NOISE
        n_clusters = len(np.unique(codes[own]))
        return float(compute(space[own], codes[own])) if 2 <= n_clusters < own.sum() else worst

    return of


@dataclass(frozen=True, kw_only=True)
class ClusterMetric:
    minimise: bool
    compute: Callable[[NDArray[np.float64], Codes], float]
    unit: str = "1"


@dataclass(frozen=True)
class Figure:
    """What is told of a clustering besides, and is no metric of a fold."""

    minimise: bool = False
    unit: str = "1"


METRICS: Mapping[str, ClusterMetric] = {
    "silhouette": ClusterMetric(minimise=False, compute=_silhouette),
    "davies_bouldin": ClusterMetric(minimise=True, compute=_of_clusters(measured.davies_bouldin_score, WORST_SPREAD)),
    "calinski_harabasz": ClusterMetric(minimise=False, compute=_of_clusters(measured.calinski_harabasz_score, 0.0)),
}
KNOWN = ("adjusted_rand", "mutual_information")  # hold clusters against known groups
FIGURES = {name: Figure() for name in ("stability", *KNOWN)}
