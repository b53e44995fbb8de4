"""Parquet files and folders of them to Arrow tables, with nothing in them executed.

A Parquet file may hold extension types, and once a library has registered such a type, reading the file can run code
hidden in it: Ray's pickle their values, and some of its releases even their description, so that opening the schema is
enough. So the raw footer is searched first, then the schema is judged, and only then is a value read.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from data.arrow import check_names, check_size
from data.errors import InputError

EXTENSION = b"ARROW:extension"  # the start of the metadata keys that mark an extension type


def read_folder(filesystem: Any, inner: str, shown: str) -> pa.Table:
    """The Parquet files of a flat folder as one table, in the order of their names; all must have the same columns."""
    found = filesystem.get_file_info(pa.fs.FileSelector(inner))
    files = [info for info in found if not info.base_name.startswith((".", "_"))]
    for info in files:
        if info.type == pa.fs.FileType.Directory:
            raise InputError(f"{shown} holds a folder, {info.base_name!r}; give a flat folder of Parquet files")
    parts = [info for info in files if info.base_name.lower().endswith(".parquet")]
    if not parts:
        raise InputError(f"folder {shown} holds no .parquet file")
    parts.sort(key=lambda info: [(len(word), word) if word.isdigit() else (0, word) for word in _words(info.base_name)])
    tables = [read_parquet(filesystem, info.path, f"{shown}/{info.base_name}") for info in parts]
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


def read_parquet(filesystem: Any, inner: str, shown: str) -> pa.Table:
    """One file of plain columns; an unnamed index that pandas stored is left out unless it holds times."""
    with filesystem.open_input_file(inner) as source:
        _check_footer(source, shown)
        source.seek(0)
        file = pq.ParquetFile(source)
        _check_schema(file.schema_arrow, shown)
        check_size(8.0 * file.metadata.num_rows * file.metadata.num_columns, shown)  # a few bytes may repeat for ever
        table = file.read().replace_schema_metadata(None)
    check_names([name.strip() for name in table.column_names], shown)
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
