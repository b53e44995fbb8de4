"""What is shipped of rows: models with weights, their mean calibrated, and the probability from which a label changes.

Shapes: N rows, C classes, or 1 where a value is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from data.rows import RowTable
from models.tabular.calibration import NONE, Calibration
from models.tabular.encoding import Encoding
from models.tabular.graph import Answers, assemble
from models.tabular.metrics import Scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A learner as it is at its best, and how much it counts."""

    encoding: Encoding
    learner: Any
    weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Blend:
    members: tuple[Member, ...]  # their weights' sum is 1
    classes: tuple[str, ...] = ()
    calibration: Calibration = NONE
    threshold: float = 0.5
    clusters: bool = False

    def scores(self, table: RowTable, rows: NDArray[np.int64]) -> Scores:
        """(N, C) calibrated probabilities, or (N, 1) values or codes of clusters."""
        parts = [each.weight * each.learner.predict(each.encoding.matrix(table, rows)) for each in self.members]
        return self.calibration(np.sum(parts, axis=0))

    @property
    def answers(self) -> Answers:
        return Answers(
            classes=self.classes, calibrated=self.calibration.add, threshold=self.threshold, clusters=self.clusters
        )

    def graph(self, names: Mapping[str, str]) -> ModelProto:
        """The same as a graph; `names` of its inputs, by column."""
        return assemble(
            [(each.encoding, each.learner.graph(), each.weight) for each in self.members], names, self.answers
        )
