"""CSV files, plain or compressed, to Arrow tables: nothing shifted, swallowed or rounded without a word."""

from __future__ import annotations

import io
import lzma
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data.arrow import EXACT, check_digits, check_names, check_size
from data.errors import InputError, first_line

BOMB_BYTES, BOMB_RATIO = 100 << 20, 200  # what unpacks to more than both is taken for a bomb
_PART = 16 << 20
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
KINDS = "CSV (.csv, .csv.gz, .csv.bz2, .csv.xz, .csv.zst), Parquet (.parquet), or a folder of Parquet files"


def csv_bytes(filesystem: Any, inner: str, shown: str) -> bytes:
    """The whole file, unpacked; InputError where its name says no known format."""
    name = PurePosixPath(inner.lower())
    codec = CODECS.get(name.suffix)
    if (name.with_suffix("") if codec else name).suffix != ".csv":
        raise InputError(f"cannot tell the format of {shown} by its name; known: {KINDS}")
    with filesystem.open_input_stream(inner, compression=None) as stream:
        raw: bytes = stream.read()
    if codec == "xz":  # the one compression that pyarrow lacks
        return _unpacked(lzma.LZMAFile(io.BytesIO(raw)), len(raw), shown)
    return _unpacked(pa.CompressedInputStream(pa.BufferReader(raw), codec), len(raw), shown) if codec else raw


def _unpacked(stream: Any, packed: int, shown: str) -> bytes:
    """All of a stream, unless it grows as no table does: a few bytes can stand for terabytes."""
    parts, size = [], 0
    while part := stream.read(_PART):
        parts.append(part)
        size += len(part)
        if size > BOMB_BYTES and size > BOMB_RATIO * packed:
            raise InputError(
                f"{shown} unpacks to more than {BOMB_RATIO} times its size ({packed} bytes): no table does; unpack it "
                f"yourself if it is one"
            )
        check_size(size, shown)
    return b"".join(parts)


def read_csv(raw: bytes, shown: str) -> pa.Table:
    """Parse a file's bytes; `shown` names it in messages. InputError for what cannot be read as it was meant."""
    if not raw or raw.isspace():
        raise InputError(f"{shown} is empty")
    end = raw.find(b"\n")
    header = raw[:end] if end >= 0 else raw
    single = b"," not in header
    if single:
        _check_utf8(header, shown)
        _check_separator(header, shown)
        raw = raw.rstrip()  # in a single column a blank line is a missing value, except at the end
    options = pa.csv.ParseOptions(newlines_in_values=b'"' in raw, ignore_empty_lines=not single)
    try:
        table = _parse(raw, options)
        names = [name.strip() for name in table.column_names]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        _check_utf8(raw, shown)
        raise InputError(f"cannot read {shown}: {_ragged(raw, options) or first_line(error)}") from None
    if any(pa.types.is_binary(column.type) for column in table.columns):
        _check_utf8(raw, shown)
    check_names(names, shown)
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
                check_digits(int(number), name, row, shown)
