"""One guarded way from a file to a pandas frame. Every table that a user gives comes through `read_table`.

A Parquet file may hold extension types, and once a library has registered such a type, reading the file can run code
hidden in it: Ray's pickle their values, and some of its releases even their description, so that opening the schema is
enough. So the raw footer is searched first, then the schema is judged, and only then is a value read.

Rows in messages are data rows: the first row after the header is 1, and blank lines are not counted.
"""

from __future__ import annotations

import base64
import lzma
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.errors import InputError, nearest

__all__ = ["read_table"]

EXACT = 2**53  # above it, a float64 no longer holds every integer
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
KINDS = "CSV (.csv, .csv.gz, .csv.bz2, .csv.xz, .csv.zst), Parquet (.parquet), or a folder of Parquet files"
EXTENSION = b"ARROW:extension"  # the start of the metadata keys that mark an extension type
FAILURES = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, lzma.LZMAError)


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
    shown = re.sub(r"//[^/@]*@", "//", path)  # a URI may carry a password
    try:
        filesystem, inner = _locate(path)
        info = filesystem.get_file_info(inner)
        if info.type == pa.fs.FileType.NotFound:
            raise InputError(f"no file {shown}{_neighbour(filesystem, inner)}")
        if info.type == pa.fs.FileType.Directory:
            table = _read_folder(filesystem, inner, shown)
        elif inner.lower().endswith(".parquet"):
            table = _read_parquet(filesystem, inner, shown)
        else:
            table = _read_csv(_csv_bytes(filesystem, inner, shown), shown)
        if table.num_rows == 0:
            raise InputError(f"{shown} has columns but no rows")
        return pd.DataFrame({name: _series(table[name], name, shown) for name in table.column_names})
    except FAILURES as error:
        raise InputError(f"cannot read {shown}: {_reason(error, path, shown)}") from None


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


def _reason(error: BaseException, path: str, shown: str) -> str:
    lines = str(error).replace(path, shown).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# ---- CSV


def _csv_bytes(filesystem: Any, inner: str, shown: str) -> bytes:
    name = PurePosixPath(inner.lower())
    codec = CODECS.get(name.suffix)
    if (name.with_suffix("") if codec else name).suffix != ".csv":
        raise InputError(f"cannot tell the format of {shown} by its name; known: {KINDS}")
    with filesystem.open_input_stream(inner, compression=None) as stream:
        raw: bytes = stream.read()
    if codec == "xz":  # the one compression that pyarrow lacks
        raw = lzma.decompress(raw)
    elif codec:
        raw = pa.CompressedInputStream(pa.BufferReader(raw), codec).read()
    return raw


def _read_csv(raw: bytes, shown: str) -> pa.Table:
    if not raw or raw.isspace():
        raise InputError(f"{shown} is empty")
    end = raw.find(b"\n")
    header = raw[:end] if end >= 0 else raw
    single = b"," not in header
    if single:
        _check_separator(header, shown)
        raw = raw.rstrip()  # in a single column a blank line is a missing value, except at the end
    options = pa.csv.ParseOptions(newlines_in_values=b'"' in raw, ignore_empty_lines=not single)
    try:
        table = _parse(raw, options)
        names = [name.strip() for name in table.column_names]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        _check_utf8(raw, shown)
        raise InputError(f"cannot read {shown}: {_ragged(raw, options) or _reason(error, '', '')}") from None
    if any(pa.types.is_binary(column.type) for column in table.columns):
        _check_utf8(raw, shown)
    _check_names(names, shown)
    _check_quotes(table, raw, shown)
    _check_numbers(table, raw, options, shown)
    return table.rename_columns(names)


def _parse(raw: bytes, options: Any, *, threads: bool = True, text: list[str] | None = None) -> pa.Table:
    convert = pa.csv.ConvertOptions()
    if text is not None:
        convert = pa.csv.ConvertOptions(include_columns=text, column_types=dict.fromkeys(text, pa.large_string()))
    read = pa.csv.ReadOptions(use_threads=threads, block_size=4 << 20)
    return pa.csv.read_csv(pa.BufferReader(raw), read_options=read, parse_options=options, convert_options=convert)


def _ragged(raw: bytes, options: Any) -> str:
    """Say which row has too few or too many values. Only a reader with one thread counts rows, so it reads again."""
    try:
        _parse(raw, options, threads=False)
    except pa.ArrowInvalid as error:
        found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        if found:
            row, expected, got = (int(part) for part in found.groups())
            return f"data row {row - 1} has {got} values, the header has {expected} names"
    return ""


def _check_separator(header: bytes, shown: str) -> None:
    for mark, word in ((b";", "semicolons"), (b"\t", "tabs"), (b"|", "bars")):
        if mark in header:
            raise InputError(
                f"{shown} seems to separate its columns by {word}; write it with commas, decimals with points"
            )


def _check_utf8(raw: bytes, shown: str) -> None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{shown} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line}; save the file as UTF-8"
        ) from None


def _check_names(names: list[str], shown: str) -> None:
    for position, name in enumerate(names, 1):
        if not name:
            raise InputError(
                f"column {position} of {shown} has no name; name it in the header, or drop it "
                f"(pandas writes such a column for its index: to_csv(..., index=False))"
            )
        if names.index(name) < position - 1:
            raise InputError(
                f"{shown} has two columns named {name!r}: {names.index(name) + 1} and {position}; rename one"
            )


def _check_quotes(table: pa.Table, raw: bytes, shown: str) -> None:
    """An opening quote without its end swallows the rest of the file into one text, without an error."""
    if not table.num_rows or raw.count(b'"') % 2 == 0:
        return
    for name, value in table.slice(table.num_rows - 1).to_pylist()[0].items():
        if isinstance(value, str) and "\n" in value:
            raise InputError(f"{shown}: a quote opened in column {name!r}, data row {table.num_rows}, is never closed")


def _check_numbers(table: pa.Table, raw: bytes, options: Any, shown: str) -> None:
    """Refuse numbers that a float64 does not hold as written: 1e400 became infinite, a long integer lost digits."""
    suspects = [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if pa.types.is_floating(column.type) and (pc.max(pc.abs(column)).as_py() or 0.0) >= EXACT
    ]
    texts = _parse(raw, options, text=suspects) if suspects else None
    for name in suspects:
        assert texts is not None
        large = np.flatnonzero(np.abs(table[name].to_numpy()) >= EXACT)
        for row, text in zip(large.tolist(), texts[name].take(large).to_pylist(), strict=True):
            number = text.strip()
            if np.isinf(float(number)):
                if "inf" in number.lower():
                    continue  # it was meant; whoever uses the column decides
                raise InputError(
                    f"{shown}: {number} in column {name!r}, data row {row + 1}, is too large for a float64"
                )
            if re.fullmatch(r"[+-]?\d+", number):
                _check_digits(int(number), name, row, shown)


def _check_digits(number: int, name: str, row: int, shown: str) -> None:
    if int(float(number)) != number:
        raise InputError(
            f"{shown}: integer {number} in column {name!r}, data row {row + 1}, would lose digits as a float64 (it is "
            f"beyond 2^53); fill the column's gaps and keep it below 2^63, or subtract a constant"
        )


# ---- Parquet


def _read_folder(filesystem: Any, inner: str, shown: str) -> pa.Table:
    found = filesystem.get_file_info(pa.fs.FileSelector(inner))
    files = [info for info in found if not info.base_name.startswith((".", "_"))]
    for info in files:
        if info.type == pa.fs.FileType.Directory:
            raise InputError(f"{shown} holds a folder, {info.base_name!r}; give a flat folder of Parquet files")
    parts = [info for info in files if info.base_name.lower().endswith(".parquet")]
    if not parts:
        raise InputError(f"folder {shown} holds no .parquet file")
    parts.sort(key=lambda info: [(len(word), word) if word.isdigit() else (0, word) for word in _words(info.base_name)])
    tables = [_read_parquet(filesystem, info.path, f"{shown}/{info.base_name}") for info in parts]
    for info, table in zip(parts, tables, strict=True):
        odd = sorted(set(table.column_names) ^ set(tables[0].column_names))
        if odd:
            raise InputError(
                f"the files in {shown} must have the same columns: only one of {parts[0].base_name} and "
                f"{info.base_name} has {odd[0]!r}"
            )
    return pa.concat_tables([table.select(tables[0].column_names) for table in tables], promote_options="permissive")


def _words(name: str) -> list[str]:
    return re.split(r"(\d+)", name)  # text and digits alternate, so that words compare like with like


def _read_parquet(filesystem: Any, inner: str, shown: str) -> pa.Table:
    with filesystem.open_input_file(inner) as source:
        _check_footer(source, shown)
        source.seek(0)
        file = pq.ParquetFile(source)
        _check_schema(file.schema_arrow, shown)
        table = file.read().replace_schema_metadata(None)
    _check_names([name.strip() for name in table.column_names], shown)
    index = [
        field.name
        for field in table.schema
        if re.fullmatch(r"__index_level_\d+__", field.name) and not pa.types.is_timestamp(field.type)
    ]
    return table.drop_columns(index)


def _check_footer(source: Any, shown: str) -> None:
    """Refuse extension types by the raw bytes of the footer, before anything interprets them.

    The Arrow schema lies in the footer in base64, where a word has one of three spellings, by its place in the text.
    """
    size = source.size()
    source.seek(max(0, size - 8))
    tail = source.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise InputError(f"{shown} is not a whole Parquet file: it does not end with PAR1")
    length = int.from_bytes(tail[:4], "little")
    source.seek(max(0, size - 8 - length))
    footer = source.read(min(length, size - 8))
    spellings = [EXTENSION]
    for place in range(3):
        text = base64.b64encode(b"\0" * place + EXTENSION)
        first, stop = (place * 8 + 5) // 6, (place + len(EXTENSION)) * 8 // 6  # 6 bits a letter: those that it owns
        spellings.append(text[first:stop])
    if any(spelling in footer for spelling in spellings):
        _refuse_extensions(_extension_columns(footer), shown)


def _extension_columns(footer: bytes) -> list[str]:
    """Read the names of extension columns from a copy of the schema in which their mark is misspelt, hence inert."""
    for text in re.findall(rb"/////[A-Za-z0-9+/]+=*", footer):
        message = base64.b64decode(text + b"=" * (-len(text) % 4))
        inert = message.replace(EXTENSION, EXTENSION.lower())
        if EXTENSION not in inert and inert != message:
            schema = pa.ipc.read_schema(pa.py_buffer(inert))
            return [field.name for field in schema if EXTENSION.lower() in str(field.metadata).encode()]
    return []


def _refuse_extensions(names: list[str], shown: str) -> None:
    which = f"column {names[0]!r} of {shown} has" if names else f"{shown} holds"
    raise InputError(f"{which} an extension type, which can run code when it is read; write plain columns only")


def _check_schema(schema: pa.Schema, shown: str) -> None:
    for field in schema:
        if isinstance(field.type, pa.BaseExtensionType) or EXTENSION in b" ".join(field.metadata or {}):
            _refuse_extensions([field.name], shown)
        if not _readable(field.type):
            raise InputError(
                f"column {field.name!r} of {shown} has type {field.type}; only numbers, booleans, texts and times can "
                f"be read, so convert the column or leave it out of the file"
            )


PLAIN = (pa.bool_(), pa.string(), pa.large_string(), pa.string_view(), pa.null())
READABLE = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_time,
)


def _readable(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _readable(kind.value_type)
    return kind in PLAIN or any(test(kind) for test in READABLE)


# ---- columns


def _series(column: pa.ChunkedArray, name: str, shown: str) -> pd.Series[Any]:
    values = _values(column, name, shown)
    return pd.Series(values, dtype=values.dtype)  # the dtype is said, or pandas 3 would turn text into its own


def _values(column: pa.ChunkedArray, name: str, shown: str) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type), name, shown)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_integer(kind):
        return _integers(column, name, shown)
    if pa.types.is_timestamp(kind):  # through int64, so that a zone is dropped and the instant in UTC kept
        column = column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8()).cast(pa.float64()) if column.null_count else column
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    else:
        return _texts(column)
    return np.asarray(column.to_numpy())


def _integers(column: pa.ChunkedArray, name: str, shown: str) -> NDArray[Any]:
    if column.null_count == 0 and pc.max(column).as_py() < 2**63:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    numbers = np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
    large = np.flatnonzero(np.abs(numbers) >= EXACT)
    for row, number in zip(large.tolist(), column.take(large).to_pylist(), strict=True):
        _check_digits(number, name, row, shown)
    return numbers


def _texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """Each distinct text becomes one Python object, shared by its rows."""
    encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    words = [word or None for word in encoded.dictionary.to_pylist()]
    objects = np.array([*words, None], dtype=object)  # -1, a missing text, points to the last
    return np.asarray(objects[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], dtype=object)
