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

    def names(self, numbers: Sequence[str], features: Sequence[str], words: Sequence[str]) -> list[str]:
        """All that a network may see of the past, in the order of channels, whatever a fold has flagged or chosen."""
        named = [*numbers, *features, *(f"{name} missing" for name in numbers)]
        named += [f"{name} {i}" for name, width in zip(words, self.widths, strict=True) for i in range(1, width + 1)]
        return named + self._wave_names()

    def names_ahead(self, numbers: Sequence[str]) -> list[str]:
        """The same of a step ahead."""
        known = [numbers[place] for place in self.future]
        return [*known, *(f"{name} missing" for name in known), *self._wave_names()]

    def _wave_names(self) -> list[str]:
        return [f"{function} of {period} s, {n}" for period, n in self.waves for function in ("sine", "cosine")]

    def places(self, visible: Sequence[int], flagged: Sequence[int], numbers: int, features: int) -> list[int]:
        """Where each of the C channels stands in `names`."""
        values = numbers + features
        found = [place if place < values else values + flagged[place - values] for place in visible]
        return found + list(range(values + numbers, values + numbers + sum(self.widths) + 2 * len(self.waves)))

    def places_ahead(self, flagged: Sequence[int]) -> list[int]:
        """Where each of the A channels stands in `names_ahead`."""
        known = len(self.future)
        flags = [known + i for i, place in enumerate(self.future) if place in flagged]
        return [*range(known), *flags, *range(2 * known, 2 * known + 2 * len(self.waves))]

    def totals(self, numbers: int, features: int) -> tuple[int, int]:
        """How many `names` and `names_ahead` there are."""
        waves = 2 * len(self.waves)
        return 2 * numbers + features + sum(self.widths) + waves, 2 * len(self.future) + waves

    def constant_channels(self, visible: Sequence[int], numbers: int) -> tuple[int, ...]:
        """Which of the C channels are constant in a window: those of static columns, but for missing values."""
        found = [i for i, place in enumerate(visible) if place < numbers and place in self.static]
        start = len(visible)
        for place, width in enumerate(self.widths, start=numbers):
            found += range(start, start + width) if place in self.static else ()
            start += width
        return tuple(found)


PLAIN = Layout()
