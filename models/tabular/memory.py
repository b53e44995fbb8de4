"""How much memory a trial of rows takes: its folds' matrices, and what a family keeps of them."""

from __future__ import annotations

from models.in_step import Params
from models.tabular._clusters import MOST_ROWS
from models.tabular.crossval import RowProblem
from models.tabular.encoding import Encoding

_COPIES = 2.5  # of a fold's matrix: itself, the family's own form of it, batches or bins on their way
_OF_FORESTS = 3.0  # of the matrix again for each core that grows trees


def trial_bytes(problem: RowProblem, name: str, params: Params) -> int:
    """Bytes that a trial of family `name` needs besides its process; an upper bound of what was measured."""
    width = len(Encoding.fit(problem.table, problem.final.train).names)
    rows = sum(len(fold.train) + len(fold.valid) for fold in problem.folds)
    scores = 8 * rows * problem.n_scores * 6
    if problem.table.target is None:  # all distances between the rows that are looked at
        scores += 3 * 8 * MOST_ROWS**2
    copies = _COPIES + (_OF_FORESTS if name == "random_forest" else 0.0)
    return int(4 * rows * width * copies) + scores
