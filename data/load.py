"""One guarded way from a file to a pandas frame. Every table that a user gives comes through `read_table`.

Rows in messages are data rows: the first row after the header is 1, and blank lines are not counted.
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.fs

from data.arrow import to_series
from data.csv_file import csv_bytes, read_csv
from data.errors import InputError, first_line, nearest
from data.parquet import read_folder, read_parquet

__all__ = ["read_table"]

FAILURES = (pa.ArrowException, OSError, EOFError, UnicodeError, lzma.LZMAError)


def read_table(path: str) -> pd.DataFrame:
    """Read `path`, a local path or a URI that `pyarrow.fs` knows (s3://, gs://, file://), into a frame.

    The name says the format: .csv, .csv.gz, .csv.bz2, .csv.xz, .csv.zst, .parquet, or a folder of .parquet files with
    the same columns (joined in the order of their names, numbers in them counted as numbers).

    Columns come back as int64, float64 (NaN = missing), bool, datetime64 (times with a zone: converted to UTC, zone
    dropped) or object (text; None = missing, and an empty text is missing). Integers and booleans with missing values
    become float64. An index that pandas stored without a name is left out unless it holds times.

    Raises InputError, one line, for whatever cannot be read without loss: a missing file, another format, rows shorter
    or longer than the header, an unclosed quote, bytes that are not UTF-8, names that are empty or stand twice, no
    rows, numbers too large for a float64, nested or extension types.
    """
    shown = re.sub(r"://.*@", "://", path)  # a URI may carry a password, with any character in it
    try:
        filesystem, inner = _locate(path)
        info = filesystem.get_file_info(inner)
        if info.type == pa.fs.FileType.NotFound:
            raise InputError(f"no file {shown}{_neighbour(filesystem, inner)}")
        if info.type == pa.fs.FileType.Directory:
            table = read_folder(filesystem, inner, shown)
        elif inner.lower().endswith(".parquet"):
            table = read_parquet(filesystem, inner, shown)
        else:
            table = read_csv(csv_bytes(filesystem, inner, shown), shown)
        if table.num_rows == 0:
            raise InputError(f"{shown} has columns but no rows")
        return pd.DataFrame({name: to_series(table[name], name, shown) for name in table.column_names})
    except FAILURES as error:
        raise InputError(f"cannot read {shown}: {first_line(error).replace(path, shown)}") from None


def _locate(path: str) -> tuple[Any, str]:
    if "://" in path:
        filesystem, inner = pa.fs.FileSystem.from_uri(path)
        return filesystem, inner
    return pa.fs.LocalFileSystem(), Path(path).expanduser().absolute().as_posix()


def _neighbour(filesystem: Any, inner: str) -> str:
    parent, _, name = inner.rstrip("/").rpartition("/")
    try:
        found = filesystem.get_file_info(pa.fs.FileSelector(parent or "/"))
    except OSError:
        return ": its folder does not exist either"
    return nearest(name, [info.base_name for info in found])
