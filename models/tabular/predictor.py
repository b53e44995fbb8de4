"""Answers from a bundle of rows, without torch, LightGBM and the like: onnxruntime, numpy and pandas are enough.

predictor = RowPredictor("runs/credit/bundles/lightgbm")
predictor.predict(frame)    # a pandas table with the training table's columns, in any order; a row of answers for each
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.times import read_known_times
from data.words import BLANKS, as_words
from models.predictor import BundleError, verify
from models.session import open_session
from models.tabular.outputs import LABEL, OUTPUTS, PROBABILITIES


class RowPredictor:
    """A bundle, verified and opened. Safe to share between threads, as onnxruntime's sessions are."""

    def __init__(self, bundle: str | Path) -> None:
        self.bundle = Path(bundle)
        self.card = verify(self.bundle)
        self.session = open_session(self.bundle / "model.onnx", threads=0)
        self.outputs: list[dict[str, Any]] = self.card["outputs"]
        if not {each["name"] for each in self.outputs} <= set(OUTPUTS):
            raise BundleError(f"{self.bundle}: no bundle of rows, but of {self.card.get('task')}; use models.predictor")
        said, graph = [each["name"] for each in self.card["inputs"]], [each.name for each in self.session.get_inputs()]
        if said != graph:
            raise BundleError(
                f"{self.bundle}: bundle.json says inputs {', '.join(said)}, model.onnx {', '.join(graph)}"
            )

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A row for each of `frame`, with its index: "label", and a column "probability of ..." for each class; or
        "value". ValueError where a column is missing, or holds text where numbers were; TypeError for what is no
        table."""
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"rows come as a pandas table, got {type(frame).__name__}; give pd.DataFrame(records)")
        feed = {each["name"]: _column(frame, each) for each in self.card["inputs"]}
        names = [each["name"] for each in self.outputs]
        found = dict(zip(names, self.session.run(names, feed), strict=True))
        if LABEL not in found:
            return pd.DataFrame(found, index=frame.index)
        classes = self.outputs[names.index(PROBABILITIES)]["columns"]
        likely = {f"probability of {name}": found[PROBABILITIES][:, i] for i, name in enumerate(classes)}
        return pd.DataFrame({LABEL: found[LABEL], **likely}, index=frame.index)


def _column(frame: pd.DataFrame, said: dict[str, Any]) -> NDArray[Any]:
    (name,) = said["columns"]
    if name not in frame.columns:
        raise ValueError(f"the table lacks column {name!r}")
    column = frame[name].reset_index(drop=True)
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the table has {column.shape[1]} columns {name!r}; leave one")
    match said["dtype"]:
        case "string":
            return as_words(column)
        case "int64":
            return read_known_times(column, name)
        case _:
            if not pd.api.types.is_numeric_dtype(column.dtype):
                column = column.where(~column.isin(BLANKS))
            try:
                if column.dtype.kind in "mMc":  # times and complex numbers would become some number
                    raise TypeError(f"got {column.dtype}")
                with np.errstate(over="ignore"):  # beyond float32: infinite, and that is missing
                    return np.asarray(pd.to_numeric(column), np.float32)
            except (TypeError, ValueError) as error:
                raise ValueError(f"column {name!r} holds numbers in training: {error}") from None
