"""Small sweeps inside a test's own process, on the session's Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ray.tune import Callback

from models.crossval import Problem
from models.in_step import Params
from ray_jobs import config, series
from ray_jobs.footprint import trial_memory
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.sweep import Swept, sweep


def settings(table: Path, runs: Path, *flags: str) -> Config:
    common = ["--data", str(table), "--target", "load", "--lookback", "24", "--horizon", "4", "--runs", str(runs)]
    return config.parse([*common, *flags], prog="test", description="")


def run_sweep(
    config: Config, folder: Path, family: str = "linear", callbacks: Sequence[Callback] = ()
) -> tuple[Problem, StudyBook, Swept]:
    """The search alone, without the winner's training; in a folder that has a study already, it goes on."""
    config = series.complete(config)
    problem = series.problem(config)
    url = config.search.storage or f"sqlite:///{folder}/study.db"
    book = series.open_book(config, problem, family, url)

    def needs(params: Params) -> int:
        return series.needs(config, problem, family, params, on_device=False)

    memory = trial_memory(needs, book, config.resources)
    try:
        return (
            problem,
            book,
            sweep(config, problem, book, folder, memory=memory, grace=series.grace(config), callbacks=list(callbacks)),
        )
    except BaseException:
        book.close()
        raise
