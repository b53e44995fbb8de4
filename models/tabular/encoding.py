"""Rows as the matrix that every tabular family learns from: numbers, what dates tell, and codes of words.

Shapes: N rows, D columns of the matrix.

    numbers   as they are; NaN = missing
    times     days since the first train row, and how far into the year, the week and, unless all train rows are
              midnights, the day it lies, in [0, 1); NaN = missing
    words     0 = missing; 1, 2, ... for those that at least `FEWEST` train rows hold, the most frequent first, at most
              `MOST`; the next number for all others, also for those that nobody has heard

What is learnt here, which words and when time begins, comes from the rows that a fold trains on. An infinite number
counts as missing. `models/tabular/graph.py` is the same as a graph, to the last bit: a tree asks on which side of a
threshold a number lies. That is why waves of time are left to the networks that want them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.calendar import DAY, YEAR
from data.rows import RowTable
from data.times import MISSING_TIME

FEWEST = 3  # train rows, below which a word is one of the others
MOST = 254
_PERIODS = {"year": YEAR, "week": 7 * DAY, "day": DAY}


@dataclass(frozen=True, kw_only=True)
class TimeCode:
    """A column of times: days since `start`, and how far into each of these periods, in seconds."""

    name: str
    start: int  # seconds since 1970
    periods: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        words = {seconds: word for word, seconds in _PERIODS.items()}
        return [f"{self.name} in days", *(f"{self.name} in the {words[period]}" for period in self.periods)]


@dataclass(frozen=True, kw_only=True)
class WordCode:
    """A column of words: those that have a code of their own, in the order of their codes."""

    name: str
    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many codes there are: missing, the words, all others."""
        return len(self.words) + 2


@dataclass(frozen=True, kw_only=True)
class Encoding:
    numbers: tuple[str, ...]
    times: tuple[TimeCode, ...]
    words: tuple[WordCode, ...]

    @classmethod
    def fit(cls, table: RowTable, rows: NDArray[np.int64]) -> Encoding:
        """Learn from these rows of the table."""
        times = tuple(_time_code(name, table.times[rows, i]) for i, name in enumerate(table.time_names))
        words = tuple(
            _word_code(name, vocabulary, table.values[rows, place])
            for place, (name, vocabulary) in enumerate(table.categories.items(), start=table.n_numbers)
        )
        return cls(numbers=table.names[: table.n_numbers], times=times, words=words)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the matrix's columns, (D,); the last ones are codes, one for each of `words`."""
        of_times = [name for time in self.times for name in time.names]
        return (*self.numbers, *of_times, *(word.name for word in self.words))

    @property
    def sources(self) -> dict[str, list[int]]:
        """The places in the matrix of what is made of each column of the table."""
        found = {name: [place] for place, name in enumerate(self.numbers)}
        place = len(self.numbers)
        for time in self.times:
            found[time.name] = list(range(place, place + len(time.names)))
            place += len(time.names)
        return found | {word.name: [place + i] for i, word in enumerate(self.words)}

    @property
    def n_amounts(self) -> int:
        """How many columns, the first ones, are amounts and no codes."""
        return len(self.names) - len(self.words)

    @property
    def phases(self) -> list[int]:
        """Places of the columns that come back to 0 where they reach 1."""
        found: list[int] = []
        place = len(self.numbers)
        for time in self.times:
            found += range(place + 1, place + 1 + len(time.periods))
            place += 1 + len(time.periods)
        return found

    def matrix(self, table: RowTable, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, D) float32 of these rows."""
        columns: list[NDArray[np.float32]] = []
        for place in range(len(self.numbers)):
            number = table.values[rows, place]
            columns.append(np.where(np.isinf(number), np.float32(np.nan), number))
        for place, time in enumerate(self.times):
            columns += _of_time(time, table.times[rows, place])
        for place, word in enumerate(self.words, start=len(self.numbers)):
            columns.append(_codes(word, table.categories[word.name])[table.values[rows, place].astype(np.int64)])
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), np.float32)


def _time_code(name: str, seconds: NDArray[np.int64]) -> TimeCode:
    known = seconds[seconds != MISSING_TIME]
    midnights = not (known % DAY).any()
    periods = tuple(_PERIODS[word] for word in ("year", "week") + (() if midnights else ("day",)))
    return TimeCode(name=name, start=int(known.min()) if len(known) else 0, periods=periods)


def _word_code(name: str, vocabulary: tuple[str, ...], codes: NDArray[np.float32]) -> WordCode:
    counts = np.bincount(codes.astype(np.int64), minlength=len(vocabulary) + 1)[1:]
    order = np.argsort(-counts, kind="stable")  # of equally frequent words the first of the alphabet
    kept = [i for i in order[:MOST] if counts[i] >= FEWEST]
    return WordCode(name=name, words=tuple(vocabulary[i] for i in kept))


def _codes(word: WordCode, vocabulary: tuple[str, ...]) -> NDArray[np.float32]:
    """The table's code of a word -> the matrix's."""
    own = {each: code for code, each in enumerate(word.words, start=1)}
    others = len(word.words) + 1
    return np.array([0, *(own.get(each, others) for each in vocabulary)], np.float32)


def _of_time(time: TimeCode, seconds: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    missing = seconds == MISSING_TIME
    known = np.where(missing, time.start, seconds)
    columns = [(known - time.start) / DAY]
    columns += [(known % period) / period for period in time.periods]
    return [np.where(missing, np.nan, column).astype(np.float32) for column in columns]
