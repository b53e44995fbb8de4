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
from ray_jobs.database import DATABASE_ERRORS, check_reachable, shown, why
from ray_jobs.interrupt import behind
from ray_jobs.kind import Kind
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.sweep import HaltedError

_DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
MAY_CHANGE = (
    "name",
    "runs",
    "data.path",  # the table itself is held against its fingerprint
    "search.trials",
    "search.time_budget",
    "search.epoch_timeout",
    "search.max_failed",
    "export.tolerance",
)


@contextmanager
def resumable(run: RunFolder, families: Sequence[str], module: str) -> Iterator[None]:
    """What stops the work on a run names the command, of this module, that goes on with it."""
    try:
        yield
    except BaseException as error:
        reason = _reason(error, run)
        if reason is None:
            raise
        words = ["python", "-m", module, *families, "--resume", "--name", run.path.name]
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


def resumed(settings: Config, families: Sequence[str], given: list[str], kind: Kind) -> Config:
    """The configuration that the run was begun with, and of the new one what may change on the way."""
    complete = kind.complete(settings)
    wanted = (complete.data.path, complete.data.sample)

    def same(path: Path) -> bool:
        file = path / "config.yaml"
        data = config.read_yaml(file, "--resume").get("data", {}) if file.exists() else {}
        return not data or (data.get("path"), data.get("sample")) == wanted

    path = run_folder.find_unfinished(
        Path(str(complete.runs)), settings.name, prepare.default_name(families, complete), same
    )
    file = path / "config.yaml"
    if not file.exists() and (path / "study.db").exists():
        raise InputError(f"run {path.name!r} has a study, but its config.yaml is gone; put that back: {file}")
    if not file.exists():
        raise InputError(f"run {path.name!r} ended before it had begun; remove {path} and start it without --resume")
    stored = config.read_yaml(file, "--resume")
    before = config.check(stored)
    now = config.parse(given, prog="", description="", base=stored, resumable=True)
    now = kind.complete(now.model_copy(update={"name": path.name, "runs": str(path.parent)}))
    _check_families(families, now, path, kind.MODULE)
    for key, value, old in config.differences(now, before):
        if not may_change(key):
            raise InputError(
                f"--resume: run {path.name!r} was begun with {key}={old!r}, not {value!r}; leave that flag out, or "
                f"start another run"
            )
    return now


def may_change(key: str) -> bool:
    """Whether a run may go on with another value of this setting."""
    return key in MAY_CHANGE or key.startswith("resources.")


def _check_families(families: Sequence[str], settings: Config, path: Path, module: str) -> None:
    """A run is gone on with for all its families, or it would end without the others."""
    storage, file = settings.search.storage, path / "study.db"
    if storage is None and not (file.exists() and file.stat().st_size):
        if any(path.glob("sweep-*/checkpoints/*")):
            raise InputError(f"run {path.name!r} has states of trials, but its study is gone; put that back: {file}")
        return
    if storage:
        check_reachable(storage)
    try:
        begun = optuna.get_all_study_names(storage or RunFolder(path).study_url)
    except DATABASE_ERRORS as error:
        raise InputError(
            f"--resume: the study {shown(storage) if storage else file} cannot be read: {why(error)}"
        ) from None
    if storage:
        begun = [name.removeprefix(f"{path.name}/") for name in begun if name.startswith(f"{path.name}/")]
    if not set(begun) <= set(families):  # fewer were begun where it ended early
        raise InputError(
            f"--resume: run {path.name!r} was begun for {' '.join(begun)}, not {' '.join(families)}; go on by "
            f"python -m {module} {' '.join(begun)} --resume --name {path.name} --runs "
            f"{shlex.quote(str(path.parent))}"
        )
