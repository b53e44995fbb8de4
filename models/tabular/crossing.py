"""Pairs of columns as columns of their own, for trees, which split on one column at a time.

Of two amounts a and b, each divided by its spread in the train rows: a + b and a - b, along which a slanted border is
one split (oblique trees, Murthy et al. 1994, doi.org/10.1613/jair.63; the corners of a map), and a / b, a share (rooms
of a household). What is missing, or beyond float32, is missing.

Shapes: N rows, D columns of the matrix, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.tabular.graph import Builder

PER_PAIR = 3  # columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossing:
    pairs: NDArray[np.int64]  # (P, 2) places in the matrix
    factors: NDArray[np.float32]  # (P, 2) one over the spread

    @classmethod
    def of(cls, places: NDArray[np.int64], spread: NDArray[np.float64]) -> Crossing:
        """All pairs of these columns; `spread` (D,) of each column of the matrix."""
        pairs = np.array(list(combinations(places.tolist(), 2)), np.int64).reshape(-1, 2)
        with np.errstate(over="ignore"):  # what is spread by less than float32 can hold has no sums
            return cls(pairs=pairs, factors=(1 / spread[pairs]).astype(np.float32))

    @property
    def sources(self) -> NDArray[np.int64]:
        """(3P, 2) of which columns of the matrix each new one is made."""
        return np.tile(self.pairs, (PER_PAIR, 1))

    def __call__(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) -> (N, D + 3P): sums, then differences, then shares, behind the matrix."""
        a_NP, b_NP = matrix[:, self.pairs[:, 0]], matrix[:, self.pairs[:, 1]]
        with np.errstate(all="ignore"):
            of_a, of_b = a_NP * self.factors[:, 0], b_NP * self.factors[:, 1]
            told = np.concatenate([of_a + of_b, of_a - of_b, a_NP / b_NP], axis=1)
        told[np.isinf(told)] = np.nan
        return np.concatenate([matrix, told], axis=1)

    def add(self, to: Builder, matrix: str) -> str:
        """The same in a graph, to the last bit; the wider matrix's name."""
        a, b = (to.add("Gather", matrix, to.constant(self.pairs[:, side]), axis=1) for side in (0, 1))
        of_a, of_b = (to.add("Mul", x, to.constant(self.factors[:, side])) for side, x in enumerate((a, b)))
        told = to.add("Concat", to.add("Add", of_a, of_b), to.add("Sub", of_a, of_b), to.add("Div", a, b), axis=1)
        told = to.add("Where", to.add("IsInf", told), to.constant(np.array(np.nan, np.float32)), told)
        return to.add("Concat", matrix, told, axis=1)


def strongest(gains: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """The places, in order, of at most so many columns with the largest gains; none that gained nothing."""
    order = np.argsort(-gains, kind="stable")[:most]
    return np.sort(order[gains[order] > 0])


def n_crossed(n_amounts: int, most: int) -> int:
    """How many columns the pairs of `most` amounts add, at most."""
    n = min(n_amounts, most)
    return PER_PAIR * n * (n - 1) // 2
