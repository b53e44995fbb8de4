"""What a person sees while a sweep runs: a live panel in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ray_jobs.study import StudyBook, ending, epochs

_LINE_SECONDS = 10.0
_FRAME_SECONDS = 0.5


class Progress(Callback):
    """Counts trials by state, keeps the best so far and estimates the time left; starts with the sweep."""

    def __init__(
        self, family: str, *, trials: int, max_epochs: int, metric: str, unit: str, minimise: bool, console: Console
    ) -> None:
        self.family = family
        self.trials = trials
        self.max_epochs = max_epochs
        self.metric = metric
        self.unit = unit
        self.sign = 1.0 if minimise else -1.0
        self.console = console
        self.began = time.monotonic()
        self.states: dict[str, str] = {}
        self.epochs = 0
        self.best: dict[str, Any] | None = None
        self.drawn = 0.0
        self.before = 0  # trials that ended in an earlier process
        self.live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of the terminal goes into Tune's snapshot."""
        return {"family": self.family}

    def remember(self, book: StudyBook) -> None:
        """Count what an earlier process has done."""
        for trial in book.finished():
            self.states[f"before {trial.number}"] = ending(trial)["state"]
        best = book.best()
        if best is not None:
            last = epochs(best)[-1]
            self.best = {"value": last["value"], "folds": last["folds"], "trial": best.number}
        self.before = len(self.states)
        if book.started:
            left = len(book.unfinished)
            words = f"{self.family}: going on: {self.before} trials had ended, {left} had begun"
            self.console.print(words, soft_wrap=True, highlight=False)

    def _notes(self, trial: Any, result: dict[str, Any]) -> None:
        for sentence in result.get("said", ()):
            self.console.print(f"{self.family}: {trial}: {sentence}", soft_wrap=True, highlight=False, markup=False)

    def start(self) -> None:
        if self.console.is_terminal:
            self.live = Live(self._panel(), console=self.console, auto_refresh=False)
            self.live.start()

    def stop(self) -> None:
        if self.live:
            self.live.update(self._panel(), refresh=True)
            self.live.stop()
            self.live = None
        else:
            self.console.print(self._line(), soft_wrap=True, highlight=False)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.states[trial.trial_id] = "running"

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._notes(trial, result)
        if "failed" in result or "halt" in result or not math.isfinite(result["value"]):
            return
        self.epochs += 1
        if self.best is None or self.sign * result["value"] < self.sign * self.best["value"]:
            self.best = {
                "value": result["value"],
                "folds": result["folds"],
                "trial": int(str(trial).rpartition("-")[2]),  # named at its start: "trial-00007"
            }

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        failed = "failed" in result or not math.isfinite(result.get("value", 0.0))
        self.states[trial.trial_id] = "failed" if failed else "complete" if result.get("finished") else "pruned"

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.states[trial.trial_id] = "failed"

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self.drawn < (_FRAME_SECONDS if self.live else _LINE_SECONDS):
            return
        self.drawn = now
        if self.live:
            self.live.update(self._panel(), refresh=True)
        else:
            self.console.print(self._line(), soft_wrap=True, highlight=False)

    def _left(self) -> float | None:
        """Seconds left: epochs to come at the rate so far; a trial is taken to need what ended ones needed."""
        counts = Counter(self.states.values())
        ended = len(self.states) - counts["running"] - self.before
        seconds = time.monotonic() - self.began
        if not ended or not self.epochs:
            return None
        return (
            seconds
            / max(ended + 0.5 * counts["running"], 1)
            * (self.trials - self.before - ended - 0.5 * counts["running"])
        )

    def _counts(self) -> str:
        counts = Counter(self.states.values())
        parts = [f"{counts[state]} {state}" for state in ("running", "complete", "pruned", "failed") if counts[state]]
        waiting = self.trials - len(self.states)
        return ", ".join([*parts, *([f"{waiting} to come"] if waiting > 0 else [])])

    def _best(self) -> str:
        if self.best is None:
            return "no epoch yet"
        folds = " ".join(f"{value:.4g}" for value in self.best["folds"])
        return f"{self.metric} {self.best['value']:.5g} (trial {self.best['trial']}; folds {folds})"

    def _rate(self) -> str:
        seconds = time.monotonic() - self.began
        left = self._left()
        ending = "" if left is None else f", about {_duration(left)} left"
        return f"{60 * self.epochs / max(seconds, 1e-9):.1f} epochs of all folds a minute, {_duration(seconds)}{ending}"

    def _line(self) -> str:
        return f"{self.family}: {self._counts()} | best {self._best()} | {self._rate()}"

    def _panel(self) -> Table:
        done = sum(state != "running" for state in self.states.values())
        bar = "━" * round(30 * done / self.trials)
        table = Table.grid(padding=(0, 2))
        table.add_row(
            Text(self.family, style="bold"),
            Text.assemble((bar, "green"), ("━" * (30 - len(bar)), "dim"), f" {done}/{self.trials}"),
        )
        table.add_row("trials", self._counts())
        table.add_row(Text(f"best ({self.unit})"), self._best())
        table.add_row("pace", self._rate())
        return table


def console() -> Console:
    """Nothing that is printed is markup: brackets in a column's name are the user's own."""
    return Console(file=sys.stdout, highlight=False, markup=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def show_leaderboard(to: Console, rows: list[dict[str, Any]], *, metric: str, unit: str) -> None:
    """Winners and baselines beside each other, best first."""
    table = Table(title=Text(metric if unit == "1" else f"{metric} ({unit})"), title_justify="left")
    table.add_column("model")
    table.add_column("cross-validated", justify="right")
    table.add_column("folds", justify="right")
    table.add_column("holdout", justify="right")
    for row in rows:
        folds = " ".join(f"{value:.4g}" for value in row["folds"])
        style = "bold" if row["kind"] == "model" else ""
        held = row["holdout"][metric]  # None where the metric has no value there: R2 of a target that never changes
        shown = "-" if held is None else f"{held:.5g}"
        table.add_row(row["name"], f"{row['cv_mean']:.5g} ± {row['cv_std']:.2g}", folds, shown, style=style)
    to.print(table)


@contextmanager
def busy(out: Console, doing: str) -> Iterator[None]:
    """Says what is done while it is done: as it turns, in a terminal."""
    if out.is_terminal:
        with out.status(doing):
            yield
    else:
        out.print(doing, soft_wrap=True)
        yield
