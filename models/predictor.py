"""Answers from a bundle, without torch: onnxruntime and numpy are enough.

predictor = Predictor("runs/lstm-sales/bundles/lstm")
predictor.predict(past)           # (batch, lookback, columns) -> (batch, steps, targets)
predictor.predict_table(frame)    # the last rows of a pandas table, columns found by name
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


class BundleError(ValueError):
    """A bundle that is incomplete, changed since it was written, or of a format this code does not know."""


class Predictor:
    """A bundle, verified and opened. Safe to share between threads, as onnxruntime's sessions are."""

    def __init__(self, bundle: str | Path) -> None:
        self.bundle = Path(bundle)
        self.card = verify(self.bundle)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(self.bundle / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        (self.input,) = self.card["inputs"]
        self.columns: list[str] = self.input["columns"]
        self.targets: list[str] = self.card["targets"]
        self.steps: list[int] = self.card["steps"]
        self.lookback: int = self.input["shape"][1]
        self._check_names()

    def _check_names(self) -> None:
        """The card is not summed itself: what it says of the columns is held against what the graph says."""
        own = self.session.get_modelmeta().custom_metadata_map
        steps = ",".join(str(step) for step in self.steps)
        for name, said in (("columns", ",".join(self.columns)), ("targets", ",".join(self.targets)), ("steps", steps)):
            if name in own and own[name] != said:
                raise BundleError(f"{self.bundle}: bundle.json says {name} {said}, model.onnx says {own[name]}")

    def predict(self, past: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(batch, lookback, columns), raw values in `columns`' order, oldest first, NaN = missing -> (batch, H, K).

        Answers are float32 in the targets' units. ValueError where the shape is another.
        """
        answers: NDArray[np.float32] = self._run(past, self.card["outputs"][:1])[0]
        return answers

    def explain(self, past: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.float32]]:
        """What the model tells besides its answer, such as "attention" (batch, lookback); nothing for most families.

        The card's "outputs" say what each is.
        """
        told = self.card["outputs"][1:]
        return dict(zip([each["name"] for each in told], self._run(past, told), strict=True)) if told else {}

    def predict_table(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """(H, K), `steps` by `targets`: what follows the last row of `frame`, one series in time order, a step apart.

        ValueError where a column is missing, there are fewer rows than the lookback, or the rows belong to several
        series (by the column that named them in training).
        """
        series = self.card.get("config", {}).get("data", {}).get("series")
        if series in frame.columns and frame[series].nunique() > 1:
            raise ValueError(f"the rows belong to {frame[series].nunique()} series; give those of one {series!r}")
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise ValueError(f"the table lacks column {missing[0]!r}; needed are {', '.join(self.columns)}")
        if len(frame) < self.lookback:
            raise ValueError(f"{self.lookback} rows are needed to look back on, got {len(frame)}")
        past = frame[self.columns].iloc[-self.lookback :].to_numpy(np.float32)
        first: NDArray[np.float32] = self.predict(past[None])[0]
        return first

    def _run(self, past: NDArray[np.floating[Any]], outputs: list[dict[str, Any]]) -> Any:
        wanted = (self.lookback, len(self.columns))
        if past.ndim != 3 or past.shape[1:] != wanted:
            raise ValueError(f"past must be (batch, {wanted[0]} steps, {wanted[1]} columns), got {past.shape}")
        names = [each["name"] for each in outputs]
        return self.session.run(names, {self.input["name"]: past.astype(np.float32)})


def verify(bundle: Path) -> dict[str, Any]:
    """The bundle's card, after every file was held against its sha256. BundleError names what differs."""
    try:
        card: dict[str, Any] = json.loads((bundle / "bundle.json").read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle}: no readable bundle.json ({error})") from None
    if not isinstance(card, dict):
        raise BundleError(f"{bundle}: no readable bundle.json (it holds no object)")
    if card.get("format") != FORMAT:
        raise BundleError(f"{bundle}: bundle format {card.get('format')!r}, this code reads {FORMAT}")
    sums = card.get("sha256")
    if not isinstance(sums, dict) or "model.onnx" not in sums:
        raise BundleError(f"{bundle}: bundle.json holds no sha256 of model.onnx")
    for name, sum_ in sums.items():
        file = bundle / Path(name).name
        if not file.is_file():
            raise BundleError(f"{bundle}: {name} is missing")
        if hashlib.sha256(file.read_bytes()).hexdigest() != sum_:
            raise BundleError(f"{bundle}: {name} was changed since the bundle was written (sha256 differs)")
    return card
