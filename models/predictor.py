"""Answers from a bundle, without torch: onnxruntime and numpy are enough.

predictor = Predictor("runs/lstm-sales/bundles/lstm")
predictor.predict(past)           # (batch, lookback, columns) -> (batch, steps, targets); predictor.inputs has them all
predictor.predict_table(frame)    # the last rows of a pandas table, columns found by name
predictor.predict_table(frame, ahead)  # and what is known of the steps ahead, a row for each
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.calendar import Calendar
from data.words import as_words
from models.session import open_session

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2  # 2: a graph may take more than "past"


class BundleError(ValueError):
    """A bundle that is incomplete, changed since it was written, or of a format this code does not know."""


class Predictor:
    """A bundle, verified and opened. Safe to share between threads, as onnxruntime's sessions are."""

    def __init__(self, bundle: str | Path) -> None:
        self.bundle = Path(bundle)
        self.card = verify(self.bundle)
        self.session = open_session(self.bundle / "model.onnx", threads=0)
        if self.card.get("task", "forecast") != "forecast":
            raise BundleError(f"{self.bundle}: a bundle of rows; open it by models.tabular.predictor.RowPredictor")
        self.inputs: dict[str, dict[str, Any]] = {each["name"]: each for each in self.card["inputs"]}
        self.columns: list[str] = self.inputs["past"]["columns"]
        self.targets: list[str] = self.card["targets"]
        self.steps: list[int] = self.card["steps"]
        self.lookback: int = self.inputs["past"]["shape"][1]
        self._check_names()

    def _check_names(self) -> None:
        """The card is not summed itself: what it says of the columns is held against what the graph says."""
        own = self.session.get_modelmeta().custom_metadata_map
        steps = ",".join(str(step) for step in self.steps)
        graph = [each.name for each in self.session.get_inputs()]
        if graph != list(self.inputs):
            raise BundleError(
                f"{self.bundle}: bundle.json says inputs {', '.join(self.inputs)}, model.onnx {', '.join(graph)}"
            )
        for name, said in (("columns", ",".join(self.columns)), ("targets", ",".join(self.targets)), ("steps", steps)):
            if name in own and own[name] != said:
                raise BundleError(f"{self.bundle}: bundle.json says {name} {said}, model.onnx says {own[name]}")

    def predict(self, past: NDArray[np.floating[Any]], **others: NDArray[Any]) -> NDArray[np.float32]:
        """(batch, lookback, columns), raw values in `columns`' order, oldest first, NaN = missing -> (batch, H, K).

        `others` are the further inputs that the card lists, if any, by name: "ahead" (batch, H, G) as past is, "time"
        (batch, lookback) and "time_ahead" (batch, H) in whole seconds since 1970 UTC, texts (batch, lookback).
        Answers are float32 in the targets' units. ValueError where an input is missing, unknown or of another shape, or
        where no head answers the value: then `explain` has all there is.
        """
        check_answers_value(self.card)
        answers: NDArray[np.float32] = self._run(past, others, self.card["outputs"][:1])[0]
        return answers

    def explain(self, past: NDArray[np.floating[Any]], **others: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """What the model tells besides its answer, such as "attention" (batch, lookback); nothing for most families.

        The card's "outputs" say what each is.
        """
        told = self.card["outputs"][1:]
        return dict(zip([each["name"] for each in told], self._run(past, others, told), strict=True)) if told else {}

    def explain_table(self, frame: pd.DataFrame, ahead: pd.DataFrame | None = None) -> dict[str, NDArray[np.float32]]:
        """What `explain` tells of the same window, without the batch."""
        return {name: told[0] for name, told in self.explain(**self._window(frame, ahead)).items()}

    def predict_table(self, frame: pd.DataFrame, ahead: pd.DataFrame | None = None) -> NDArray[np.float32]:
        """(H, K), `steps` by `targets`: what follows the last row of `frame`, one series in time order, a step apart.

        `ahead` has a row for each of `steps`: what is known of them, and their times where these are not a step apart.
        ValueError where a column is missing, there are fewer rows than the lookback, the rows belong to several series
        (by the column that named them in training), or their times, where the table has that column, are not in order
        and a step apart: no window of the training crossed a gap.
        """
        first: NDArray[np.float32] = self.predict(**self._window(frame, ahead))[0]
        return first

    def _window(self, frame: pd.DataFrame, ahead: pd.DataFrame | None) -> dict[str, NDArray[Any]]:
        """The inputs of one window, a batch of one, read from tables."""
        series = self.card.get("config", {}).get("data", {}).get("series")
        if series in frame.columns and frame[series].nunique() > 1:
            raise ValueError(f"the rows belong to {frame[series].nunique()} series; give those of one {series!r}")
        if len(frame) < self.lookback:
            raise ValueError(f"{self.lookback} rows are needed to look back on, got {len(frame)}")
        if ahead is not None and len(ahead) != len(self.steps):
            raise ValueError(f"ahead must have a row for each of the {len(self.steps)} steps ahead, got {len(ahead)}")
        last = frame.iloc[-self.lookback :]
        self._check_steps(last)
        return {name: self._column(name, each, last, ahead)[None] for name, each in self.inputs.items()}

    def _check_steps(self, frame: pd.DataFrame) -> None:
        name = self.card.get("time_column")
        if name is None or name not in frame.columns:
            return
        time, calendar = _seconds(frame, name), Calendar(**self.card["step"])
        if (np.diff(time) <= 0).any():
            raise ValueError(f"the rows are not in the order of {name!r}, each time once; sort them")
        strides = calendar.strides(time)
        gaps = np.flatnonzero(calendar.is_gap(strides))
        if len(gaps):
            place, missing = int(gaps[0]), int(strides[gaps[0]]) - 1
            raise ValueError(
                f"steps missing in {name!r} ({calendar.name}) after {np.datetime64(int(time[place]), 's')}: {missing}; "
                f"put in rows without values, or give {self.lookback} rows without a gap"
            )

    def _column(self, name: str, said: dict[str, Any], frame: pd.DataFrame, ahead: pd.DataFrame | None) -> NDArray[Any]:
        """One input of one window, without the batch, read from tables."""
        columns = said["columns"]
        if name == "time_ahead" and (ahead is None or columns[0] not in ahead.columns):
            return self._later(_seconds(frame, columns[0]))
        if name in ("ahead", "time_ahead"):
            if ahead is None:
                raise ValueError(
                    f"give ahead, a table of {len(self.steps)} rows with what is known of the steps ahead: "
                    f"{', '.join(columns)}"
                )
            frame = ahead
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            table = "ahead" if frame is ahead else "the table"
            raise ValueError(f"{table} lacks column {missing[0]!r}; needed are {', '.join(columns)}")
        if said["dtype"] == "int64":
            return _seconds(frame, columns[0])
        return as_words(frame[columns[0]]) if said["dtype"] == "string" else frame[columns].to_numpy(np.float32)

    def _later(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """The times of the steps ahead (H,), by the calendar of the table that the model was trained on."""
        calendar = Calendar(**self.card["step"])
        if calendar.unit == "row":
            raise ValueError(
                f"times keep no regular step, so give ahead, a table of {len(self.steps)} rows, with the time of each: "
                f"column {self.inputs['time_ahead']['columns'][0]!r}"
            )
        return calendar.later(np.full(len(self.steps), time[-1]), np.array(self.steps, np.int64))

    def _run(self, past: NDArray[Any], others: dict[str, NDArray[Any]], outputs: list[dict[str, Any]]) -> Any:
        return self.session.run([each["name"] for each in outputs], feed(self.inputs, past, others))


def check_answers_value(card: dict[str, Any]) -> None:
    """ValueError where no head of the model answers the value."""
    if not card.get("answers_value", True):
        heads = ", ".join(each["name"] for each in card["outputs"][1:])
        raise ValueError(f"the model answers no value, but {heads}; ask Predictor.explain, or explain_table")


def feed(
    inputs: Mapping[str, dict[str, Any]], past: NDArray[Any], others: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """What was given, as the card's `inputs` by name take it; ValueError as `Predictor.predict` says."""
    given = {"past": past, **others}
    unknown = [name for name in given if name not in inputs]
    if unknown:
        raise ValueError(f"the model has no input {unknown[0]!r}; it takes {', '.join(inputs)}")
    typed = {}
    for name, said in inputs.items():
        wanted = _shown(said)
        if name not in given:
            raise ValueError(f"input {name!r} is missing: {wanted} {said['dtype']}, {', '.join(said['columns'])}")
        values = np.asarray(given[name])
        if values.ndim != len(said["shape"]) or list(values.shape[1:]) != said["shape"][1:]:
            raise ValueError(f"{name} must be {wanted}, got {values.shape}")
        if len(values) != len(past):
            raise ValueError(f"{name} must be a batch of {len(past)} as past is, got {len(values)}")
        typed[name] = _typed(name, values, said["dtype"])
    return typed


def _shown(said: dict[str, Any]) -> str:
    """An input's shape in words."""
    _, steps, *columns = said["shape"]
    return f"(batch, {steps} steps{f', {columns[0]} columns' if columns else ''})"


def _typed(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The values as the graph takes them; ValueError where that would change them."""
    if dtype == "int64":
        if values.dtype.kind not in "iu":
            raise ValueError(f"{name} must be whole seconds since 1970 (int64), got {values.dtype}")
        return values.astype(np.int64)
    if dtype == "string":
        wrong = [value for value in values.ravel().tolist() if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"{name} must be texts, an empty one where there is none, got {wrong[0]!r}")
        return values.astype(object)
    return values.astype(np.float32)


def _seconds(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    from data.times import read_times  # pandas and pyarrow, which a table needs anyway

    if column not in frame.columns:
        raise ValueError(f"the table lacks column {column!r}, the times of its rows")
    return read_times(frame[column].reset_index(drop=True), column)[0]


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
