"""A run's folder: made once, locked while it is worked on, every file whole or absent, `DONE` last."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError, nearest
from ray_jobs.database import sqlite_url

if TYPE_CHECKING:
    from models.crossval import Problem
    from models.training import Answers

_LOCK = ".lock"


class RunFolder:
    """runs/<name>/ and what is written into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = False  # True from the first trial on: the folder is kept, whatever comes

    @property
    def study_url(self) -> str:
        return sqlite_url(self.path / "study.db")

    def bundle(self, family: str) -> Path:
        return self.path / "bundles" / family

    def write_text(self, name: str, text: str) -> None:
        self._whole(name, lambda file: file.write_text(text, encoding="utf8"))

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        self._whole(name, lambda file: frame.to_parquet(file, compression="zstd", index=False))

    def _whole(self, name: str, write: Callable[[Path], Any]) -> None:
        part = self.path / f".{name}.part"
        write(part)
        part.replace(self.path / name)


@contextmanager
def take(runs: Path, name: str | None, default: str, *, resume: bool = False) -> Iterator[RunFolder]:
    """Lock the run's folder, made now unless `resume`; without a name, `default` with the first free number.

    InputError where the name is taken, another process works there, or the folder cannot be written. The kernel holds
    the lock, so it dies with this process; its file stays until the run is done.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / str(name) if resume else _make(runs, name, default)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise InputError(f"cannot write the run folder {runs / (name or default)}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is working on run {path.name!r} in {runs}; wait for its end") from None
        except OSError as error:  # some network file systems have no locks
            raise InputError(f"the file system of {runs} cannot lock: {error.strerror}; give other --runs") from None
        run = RunFolder(path)
        try:
            yield run
        except BaseException as error:
            if not resume and not run.begun and (isinstance(error, InputError) or not (path / "config.yaml").exists()):
                shutil.rmtree(path, ignore_errors=True)  # there is nothing in it to go on with
            if isinstance(error, OSError) and not (path / "config.yaml").exists():
                raise InputError(f"cannot write the run folder {path}: {error.strerror}") from None
            raise
        (path / _LOCK).unlink(missing_ok=True)  # only of a run that ended well: an interrupted one keeps it


def find_unfinished(
    runs: Path, name: str | None, default: str, same: Callable[[Path], bool] = lambda path: True
) -> Path:
    """The run to go on with: that of the name, else the newest `default` that is not done; InputError where none is.

    `same` says of a `default` folder whether its run is on the data that is meant.
    """
    if name is not None:
        if not (runs / name).is_dir():
            there = [path.name for path in runs.glob("*") if path.is_dir()]
            raise InputError(f"no run {name!r} in {runs}{nearest(name, there)}; leave out --resume to start it")
        return runs / name
    mine = re.compile(rf"{re.escape(default)}(-\d+)?")
    found = [path for path in runs.glob("*") if path.is_dir() and mine.fullmatch(path.name)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if not (path / "DONE").exists() and same(path):
            return path
    raise InputError(f"no unfinished run {default!r} in {runs}; name one by --name, or leave out --resume to start it")


def check_free(runs: Path, name: str | None) -> None:
    """InputError where a run of this name exists."""
    if name is not None and (runs / name).exists():
        raise InputError(f"run {name!r} exists in {runs}; choose another --name or remove that folder")


def _make(runs: Path, name: str | None, default: str) -> Path:
    if name is not None:
        check_free(runs, name)
        (runs / name).mkdir(mode=0o700)
        return runs / name
    number = 1
    while True:
        path = runs / (default if number == 1 else f"{default}-{number}")
        try:
            path.mkdir(mode=0o700)
            return path
        except FileExistsError:
            number += 1


def predictions(problem: Problem, origins: NDArray[np.int64], answers: Answers) -> pd.DataFrame:
    """Answers at `origins` as one row a window, step and target: series, times, step, target, truth, predicted.

    Heads besides the value add columns: "probability of up" and so on, "quantile 0.1" and so on.
    """
    predicted = answers["future"]
    table = problem.table
    n, h, k = predicted.shape
    rows = origins[:, None] + problem.steps - 1  # (N, H) the target rows
    names = np.array(table.series_names, dtype=object)

    def each(values: NDArray[Any], axis: int) -> NDArray[Any]:
        """Values along one axis of (N, H, K), repeated over the others, flat."""
        shape = [1, 1, 1]
        shape[axis] = -1
        return np.broadcast_to(values.reshape(shape), (n, h, k)).reshape(-1)

    def times(seconds: NDArray[np.int64]) -> Any:
        return pd.to_datetime(seconds, unit="s", utc=True).as_unit("s")

    target_rows = np.broadcast_to(rows[:, :, None], (n, h, k)).reshape(-1)
    others = {
        f"probability of {name}": answers["direction"][..., i].reshape(-1)
        for i, name in enumerate(problem.heads.classes)
    }
    for i, level in enumerate(problem.heads.levels):
        others[f"quantile {level:g}"] = answers["quantiles"][..., i].reshape(-1)
    return pd.DataFrame(
        {
            "series": pd.Categorical(names[each(table.series[origins], 0)], categories=list(table.series_names)),
            "origin_time": times(table.time[each(origins, 0)]),
            "time": times(table.time[target_rows]),
            "step": each(problem.steps.astype(np.int32), 1),
            "target": pd.Categorical(
                np.array(table.targets, dtype=object)[each(np.arange(k), 2)], categories=list(table.targets)
            ),
            "truth": table.values[target_rows, each(np.arange(k), 2)],
            "predicted": predicted.reshape(-1),
            **others,
        }
    )
