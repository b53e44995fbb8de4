"""What a comparison holds: the winner of every family, of one run or several, and the naive baselines beside them.

training_seconds      of every trial of the family's search, stopped and failed ones among them: training and the
                      validation after each epoch, summed over trials and their workers. Trials ran side by side, so it
                      is machine time; the final training of the winner is not in it
latency_p50_ms, latency_p95_ms   of one window on one thread, as the bundle's validation.json has measured it
size_kib              of model.onnx
rmse, mae, mape, directional_accuracy, direction_accuracy   on the holdout, of the exported file's own answers; the
                      fourth judges the sign of the value's change, the last the direction head

A number that is not known, or not defined, is NaN. Baselines cost nothing, so they have scores alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from data.errors import InputError
from models.predictor import BundleError, verify
from ray_jobs.report.run import of_this_form, read_summary, run_table


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that each row has; `words` and `unit` are for people."""

    name: str
    words: str
    unit: str = ""
    minimise: bool = True


COSTS = (
    Column(name="training_seconds", words="training", unit="s"),
    Column(name="latency_p50_ms", words="latency p50", unit="ms"),
    Column(name="latency_p95_ms", words="latency p95", unit="ms"),
    Column(name="size_kib", words="file size", unit="KiB"),
)
SCORES = (  # directions as models/metrics.py has them, which would load torch
    Column(name="rmse", words="rmse"),  # in the target's unit, which the table's title says
    Column(name="mae", words="mae"),
    Column(name="mape", words="mape", unit="%"),
    Column(name="directional_accuracy", words="direction", unit="share right", minimise=False),
    Column(name="direction_accuracy", words="direction head", unit="share right", minimise=False),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A family's winner or a baseline; `label` names it in tables and charts."""

    run: str
    name: str
    kind: str  # "model" or "baseline"
    label: str
    values: dict[str, float]  # by column; NaN where there is none


@dataclass(frozen=True, kw_only=True)
class Comparison:
    runs: tuple[str, ...]
    targets: tuple[str, ...]
    windows: int  # of the holdout
    rows: tuple[Row, ...]  # winners, run after run, each as its leaderboard ranks them; then the baselines

    @property
    def unit(self) -> str:
        """Of rmse and mae."""
        return f"unit of {self.targets[0]}" if len(self.targets) == 1 else "standard deviations, mean over targets"

    @property
    def costs(self) -> list[Column]:
        return [column for column in COSTS if self.best(column)]

    @property
    def scores(self) -> list[Column]:
        """Those that a row has, such as the direction head's."""
        return [column for column in SCORES if self.best(column)]

    @property
    def columns(self) -> list[Column]:
        return self.costs + self.scores

    @property
    def models(self) -> list[Row]:
        return [row for row in self.rows if row.kind == "model"]

    @property
    def baselines(self) -> list[Row]:
        return [row for row in self.rows if row.kind == "baseline"]

    def values(self, column: Column) -> list[float]:
        return [row.values[column.name] for row in self.rows]

    def best(self, column: Column) -> list[Row]:
        """The rows, baselines among them, that no other is better than; none where no row has a value."""
        known = [value for value in self.values(column) if math.isfinite(value)]
        best = (min(known) if column.minimise else max(known)) if known else None
        return [row for row in self.rows if row.values[column.name] == best]

    def sentence(self) -> str:
        """ "best: rmse lstm, mae lstm and tcn, mape drift (a baseline)": of every column that has a best."""
        said = []
        for column in self.columns:
            labels = [row.label + (" (a baseline)" if row.kind == "baseline" else "") for row in self.best(column)]
            said += [f"{column.words} {' and '.join(labels)}"] if labels else []
        return f"best: {', '.join(said)}"

    def frame(self) -> pd.DataFrame:
        names = [column.name for column in self.columns]
        return pd.DataFrame(
            [
                {"run": row.run, "name": row.name, "kind": row.kind, **{name: row.values[name] for name in names}}
                for row in self.rows
            ]
        )


def read_comparison(paths: Sequence[Path], *, done: bool = True) -> Comparison:
    """Read run folders that can be compared; `done`: only finished ones.

    The baselines are those of the first run. Raises InputError for what is no run of a search, has a bundle that was
    changed, or was judged on other rows.
    """
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    summaries = [_summary(folder, done=done) for folder in folders]
    rows: list[Row] = []
    for folder, name, summary in zip(folders, names, summaries, strict=True):
        with of_this_form(folder):
            _check_same(folder, _question(summary), folders[0], _question(summaries[0]))
            rows += _rows(folder, name, summary, prefix=f"{name}/" if len(names) > 1 else "")
    winners = [row for row in rows if row.kind == "model"]
    baselines = [row for row in rows if row.kind == "baseline" and row.run == names[0]]
    return Comparison(
        runs=tuple(names),
        targets=tuple(map(str, summaries[0]["data"]["targets"])),
        windows=int(summaries[0]["holdout"]["windows"]),
        rows=(*winners, *baselines),
    )


def _summary(folder: Path, *, done: bool) -> dict[str, Any]:
    if done and not (folder / "DONE").is_file():
        raise InputError(f"no finished run in {folder}: it has no DONE; give the folder of a run, runs/<name>")
    summary = read_summary(folder)
    if not isinstance(summary, dict) or "winners" not in summary:
        raise InputError(f"{folder} is no run of a search: its summary.json names no winners; leave it out")
    if "task" in summary:
        raise InputError(f"{folder} is a run of rows, whose report compares its families; leave it out")
    return summary


def _question(summary: dict[str, Any]) -> dict[str, str]:
    """What runs must have in common, in words.

    Holdouts of one table, over the same times and for the same steps, are the same rows where they have as many
    windows: a longer lookback only leaves some out.
    """
    holdout, steps = summary["holdout"], list(summary["steps"])
    first, last = (f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}" for second in holdout["span"])
    whole = steps == list(range(1, len(steps) + 1))
    return {
        "targets": ", ".join(map(str, summary["data"]["targets"])),
        "steps ahead": f"1 to {len(steps)}" if whole else ", ".join(map(str, steps)),
        "data fingerprint": str(summary["data"]["fingerprint"]),
        "holdout": f"{holdout['windows']} windows, {first} to {last}",
    }


def _check_same(folder: Path, question: dict[str, str], first: Path, wanted: dict[str, str]) -> None:
    for what, found in question.items():
        if found != wanted[what]:
            raise InputError(
                f"{folder} cannot be compared with {first}: its {what}: {found}; there: {wanted[what]}; only answers "
                f"for the same rows of the same table can"
            )


def _rows(folder: Path, run: str, summary: dict[str, Any], *, prefix: str) -> Iterator[Row]:
    trials = run_table(folder / "trials.parquet", ["family", "seconds"])
    seconds = trials.groupby("family")["seconds"].sum(min_count=1)
    for entry in summary["leaderboard"]:
        name, is_model = str(entry["name"]), entry["kind"] == "model"
        if is_model:
            values = _of_bundle(folder / "bundles" / name, summary, float(seconds.get(name, math.nan)))
        else:
            values = dict.fromkeys((column.name for column in COSTS), math.nan) | _scores(entry["holdout"])
        label = f"{prefix}{name}" if is_model else name
        yield Row(run=run, name=name, kind="model" if is_model else "baseline", label=label, values=values)


def _of_bundle(bundle: Path, summary: dict[str, Any], seconds: float) -> dict[str, float]:
    """The numbers of a winner; `seconds` are those that one worker of each trial took."""
    try:
        card = verify(bundle)
    except BundleError as error:
        raise InputError(str(error)) from None
    if card["data"]["fingerprint"] != summary["data"]["fingerprint"]:
        raise InputError(f"{bundle} was trained on another table than the run that it lies in; put its own bundle back")
    costs = json.loads((bundle / "validation.json").read_text(encoding="utf8"))["costs"]
    return {
        "training_seconds": seconds * int(card["config"]["resources"]["workers_per_trial"]),
        "latency_p50_ms": float(costs["latency_p50_ms"]),
        "latency_p95_ms": float(costs["latency_p95_ms"]),
        "size_kib": (bundle / "model.onnx").stat().st_size / 1024,
        **_scores(card["metrics"]["holdout"]),
    }


def _scores(holdout: dict[str, float | None]) -> dict[str, float]:
    values = {column.name: holdout.get(column.name) for column in SCORES}
    return {name: math.nan if value is None else float(value) for name, value in values.items()}
