"""What of a table's columns and times reaches a network, and as which channels.

C channels over the past:   numbers | features | flags of missing values | words | waves
A channels of a step ahead: numbers | flags of missing values | waves

Numbers, features and flags are `models.preprocess`'s; a categorical column's words are a few learnt channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.fourier import Waves

WIDEST = 8  # channels of a word


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Positions are those of the table's columns. Empty: all columns are numbers of the past."""

    future: tuple[int, ...] = ()  # columns that are known ahead of time
    static: tuple[int, ...] = ()  # columns that are constant in a series
    words: tuple[int, ...] = ()  # for each of the last columns, which hold codes: how many words there are
    waves: Waves = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each categorical column: the more words, the more, up to `WIDEST`."""
        return tuple(min(WIDEST, (n + 1) // 2 + 1) for n in self.words)

    def channels(self, visible: Sequence[int]) -> int:
        """How many channels C a network sees of the past; `visible`: of numbers, features and flags, by position."""
        return len(visible) + sum(self.widths) + 2 * len(self.waves)

    def channels_ahead(self, flagged: tuple[int, ...]) -> int:
        """How many channels A are known of a step ahead; `flagged` columns bring a flag."""
        return len(self.future) + len(set(self.future) & set(flagged)) + 2 * len(self.waves)

    def constant_channels(self, visible: Sequence[int], numbers: int) -> tuple[int, ...]:
        """Which of the C channels are constant in a window: those of static columns, but for missing values."""
        found = [i for i, place in enumerate(visible) if place < numbers and place in self.static]
        start = len(visible)
        for place, width in enumerate(self.widths, start=numbers):
            found += range(start, start + width) if place in self.static else ()
            start += width
        return tuple(found)


PLAIN = Layout()
