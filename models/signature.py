"""What a graph takes, as people are told: each input's name, type, shape, columns, unit and order.

| input          | dtype   | shape                     | there when                          |
|----------------|---------|---------------------------|-------------------------------------|
| past           | float32 | (batch, lookback, F)      | always: the columns of numbers      |
| ahead          | float32 | (batch, steps, G)         | columns are known ahead of time     |
| time           | int64   | (batch, lookback)         | the model reads Fourier terms       |
| time_ahead     | int64   | (batch, steps)            | likewise                            |
| a column's own | string  | (batch, lookback)         | one for each categorical column     |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.words import Words


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs of one graph. Empty: "past" alone."""

    columns: tuple[str, ...]  # of "past"
    ahead: tuple[str, ...] = ()  # columns of "ahead"
    time: str | None = None  # the column of times, where the model reads them
    words: Words = field(default_factory=dict)  # input name -> vocabulary
    word_columns: Mapping[str, str] = field(default_factory=dict)  # input name -> column

    def inputs(self, rows: int, steps: int) -> list[dict[str, Any]]:
        """Each input as bundle.json lists it, in the graph's order; `rows` are sent, `steps` are answered."""
        back, forth = "oldest step first", "steps ahead as in `steps`"
        own = "each column's own"
        past = _input("past", "float32", [rows, len(self.columns)], self.columns, own, f"{back}; NaN = missing")
        listed = [{**past, "meaning": "what is known up to now"}]
        if self.ahead:
            shape = [steps, len(self.ahead)]
            ahead = _input("ahead", "float32", shape, self.ahead, own, f"{forth}; NaN = missing")
            listed.append({**ahead, "meaning": "what is known ahead of time"})
        if self.time is not None:
            for name, n, order, what in (("time", rows, back, "past"), ("time_ahead", steps, forth, "the answer")):
                when = _input(name, "int64", [n], [self.time], "seconds since 1970 UTC", order)
                listed.append({**when, "meaning": f"the times of {what}"})
        for name, words in self.words.items():
            order = f"{back}; an empty text = missing"
            one = _input(name, "string", [rows], [self.word_columns[name]], "words", order)
            listed.append({**one, "meaning": "a category; other words count as missing", "words": list(words)})
        return listed


def _input(name: str, dtype: str, shape: list[int], columns: Sequence[str], unit: str, order: str) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": dtype,
        "shape": ["batch", *shape],
        "columns": list(columns),
        "unit": unit,
        "order": order,
    }
