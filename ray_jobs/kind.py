"""What a search asks of a kind of data, a module with these functions: `ray_jobs/series.py`, and for rows
`ray_jobs/tabular/kind.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from rich.console import Console

from models.in_step import Params
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.sweep import Swept


class NoWinnerError(Exception):
    """No trial of a family has a score: one line says why."""


class ProofError(Exception):
    """The graph does not answer as its model does: one line says which output, which row, by how much."""


@dataclass(frozen=True)
class Searched:
    """All families' sweeps, and what they took."""

    books: Sequence[StudyBook]
    swept: Sequence[Swept]
    started: datetime = field(kw_only=True)
    wall_seconds: float = field(kw_only=True)


class Kind(Protocol):
    """`problem`, finalists and winners are of the kind's own; nobody else looks into them."""

    @property
    def FAMILIES(self) -> Sequence[str]: ...
    @property
    def MODULE(self) -> str:
        """That searches it: python -m ..."""

    def complete(self, settings: Config, /) -> Config:
        """The configuration with what the data decides."""

    def check(self, settings: Config, families: Sequence[str], /) -> None:
        """InputError for what of the settings does not go together, before any data is read."""

    def problem(self, settings: Config, /) -> Any:
        """Read and check the data."""

    def open_book(self, settings: Config, problem: Any, family: str, url: str, /, *, name: str | None) -> StudyBook: ...
    def announce(self, out: Console, settings: Config, problem: Any, source: str, run: RunFolder, /) -> None: ...
    def unread(self, settings: Config, problem: Any, book: StudyBook, /) -> list[str]:
        """Sentences about what of the data the family does not read."""

    def needs(self, settings: Config, problem: Any, family: str, params: Params, /, *, on_device: bool) -> int:
        """Bytes that a trial takes besides its process."""

    def grace(self, settings: Config, /) -> int:
        """Epochs that a trial is given at least, where the scheduler ends trials."""

    def finalist(self, settings: Config, problem: Any, book: StudyBook, swept: Swept, /) -> Any:
        """The best trial; NoWinnerError where there is none."""

    def winners(
        self, settings: Config, problem: Any, finalists: Sequence[Any], run: RunFolder, out: Console, /
    ) -> tuple[list[Any], dict[str, str]]:
        """The finalists as bundles, and of those that failed, why."""

    def summary(
        self,
        settings: Config,
        problem: Any,
        source: str,
        searched: Searched,
        winners: Sequence[Any],
        without: Mapping[str, str],
        /,
    ) -> dict[str, Any]:
        """What summary.json holds."""

    def leave(
        self,
        run: RunFolder,
        problem: Any,
        books: Sequence[StudyBook],
        winners: Sequence[Any],
        summary: dict[str, Any],
        out: Console,
        /,
    ) -> None:
        """Tables, report and comparison."""

    def say(self, out: Console, run: RunFolder, summary: dict[str, Any], /) -> None: ...
