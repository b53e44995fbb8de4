"""The database that a study lies in: its address, its file, and what goes wrong with it in one line."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from data.errors import InputError

DATABASE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError)


def why(error: BaseException) -> str:
    """The first line of what lies at the bottom: Optuna and SQLAlchemy each put a sentence of their own around it."""
    while (cause := getattr(error, "orig", None) or error.__cause__) is not None:
        error = cause
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def make_file(file: Path) -> None:
    """An empty database, whole or absent: one whose making was cut short has tables without their indexes for ever."""
    if file.exists() and file.stat().st_size:
        return
    part = file.with_name(f".{file.name}.part")
    for left in part.parent.glob(f"{part.name}*"):  # by a process that died, the write-ahead log's files among it
        left.unlink()
    # Write-ahead: a commit is one append and one fsync, and readers do not wait. The file remembers it.
    with sqlite3.connect(part) as database:
        database.execute("PRAGMA journal_mode=WAL")
    database.close()
    storage = RDBStorage(sqlite_url(part))
    storage.remove_session()
    storage.engine.dispose()
    part.replace(file)


def sqlite_url(file: Path) -> str:
    """The address of a database in a file, whatever characters its path has."""
    return sqlalchemy.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def shown(url: str) -> str:
    return re.sub(r"://.*@", "://", url)  # without a password, which may hold any character


def check_reachable(url: str) -> None:
    """InputError where no database can be opened at `url` (SQLAlchemy's form)."""
    if re.fullmatch(r"sqlite(\+\w+)?:/*(:memory:.*)?", url):
        raise InputError(f"search.storage={shown(url)!r} would live in memory and die with the process; name a file")
    try:
        engine = sqlalchemy.create_engine(url)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except (ValueError, sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError):  # a port that is no number
        raise InputError(
            f"search.storage={shown(url)!r} is no address of a database; give one such as "
            f"sqlite:////shared/study.db or postgresql+psycopg://user@host/foldline"
        ) from None
    except ModuleNotFoundError as error:
        raise InputError(
            f"search.storage={shown(url)!r} needs the package {error.name}; install foldline[postgres], "
            f"foldline[mysql] or that package, or name a driver that is there"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise InputError(f"search.storage={shown(url)!r} cannot be opened: {why(error)}") from None
