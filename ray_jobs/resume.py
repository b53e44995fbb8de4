"""Going on with a run: which one it is, what may have changed meanwhile, and the command that does it."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna

from data.errors import InputError
from ray_jobs import config, prepare, run_folder
from ray_jobs.config import Config
from ray_jobs.interrupt import behind
from ray_jobs.run_folder import RunFolder
from ray_jobs.study import DATABASE_ERRORS, check_reachable, why
from ray_jobs.sweep import HaltedError

_DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
_MAY_CHANGE = ("name", "runs", "search.trials", "search.time_budget", "search.epoch_timeout", "search.max_failed")


@contextmanager
def resumable(run: RunFolder, families: Sequence[str]) -> Iterator[None]:
    """What stops the work on a run names the command that goes on with it."""
    try:
        yield
    except BaseException as error:
        reason = _reason(error, run)
        if reason is None:
            raise
        words = ["python", "-m", "ray_jobs.search", *families, "--resume", "--name", run.path.name]
        words += ["--runs", str(run.path.parent)]
        raise HaltedError(f"{reason}; nothing recorded is lost, go on by: {shlex.join(words)}") from None


def _reason(error: BaseException, run: RunFolder) -> str | None:
    """Why the work stops, where it can be gone on with."""
    if (interrupted := behind(error)) is not None:
        return str(interrupted)
    if isinstance(error, HaltedError):
        return str(error)
    if isinstance(error, DATABASE_ERRORS) and not isinstance(error, OSError):
        return f"the study database failed: {why(error)}"
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"cannot write {error.filename or run.path}: {error.strerror}"
    return None


def is_done(settings: Config) -> bool:
    return (Path(str(settings.runs)) / str(settings.name) / "DONE").exists()


def resumed(settings: Config, families: Sequence[str], given: list[str]) -> Config:
    """The configuration that the run was begun with, and of the new one what may change on the way."""
    complete = prepare.complete(settings)
    path = run_folder.find_unfinished(Path(str(complete.runs)), settings.name, prepare.default_name(families, complete))
    file = path / "config.yaml"
    if not file.exists():
        raise InputError(f"run {path.name!r} ended before it had begun; remove {path} and start it without --resume")
    stored = config.read_yaml(file, "--resume")
    before = config.check(stored)
    now = config.parse(given, prog="", description="", base=stored, resumable=True)
    now = prepare.complete(now.model_copy(update={"name": path.name, "runs": str(path.parent)}))
    _check_families(families, now, path)
    for key, value, old in config.differences(now, before):
        if key not in _MAY_CHANGE and not key.startswith("resources."):
            raise InputError(
                f"--resume: run {path.name!r} was begun with {key}={old!r}, not {value!r}; leave that flag out, or "
                f"start another run"
            )
    return now


def _check_families(families: Sequence[str], settings: Config, path: Path) -> None:
    """A run is gone on with for all its families, or it would end without the others."""
    storage = settings.search.storage
    if storage is None and not (path / "study.db").exists():
        return
    if storage:
        check_reachable(storage)
    begun = optuna.get_all_study_names(storage or RunFolder(path).study_url)
    if storage:
        begun = [name.removeprefix(f"{path.name}/") for name in begun if name.startswith(f"{path.name}/")]
    if not set(begun) <= set(families):  # fewer were begun where it ended early
        raise InputError(
            f"--resume: run {path.name!r} was begun for {' '.join(begun)}, not {' '.join(families)}; go on by "
            f"python -m ray_jobs.search {' '.join(begun)} --resume --name {path.name}"
        )
