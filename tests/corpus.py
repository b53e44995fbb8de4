"""Malformed and hostile tables, each with what becomes of it: a refusal that says so, or a repair that is documented.

Every file is a table with the columns `time` and `load`, 60 hourly rows, in which one thing is wrong.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 60
TIMES = [str(t) for t in pd.date_range("2024-01-01", periods=ROWS, freq="h")]
VALUES = [str(round(10 + 3 * np.sin(i / 4), 3)) for i in range(ROWS)]


@dataclass(frozen=True)
class Case:
    name: str
    file: str  # its name
    content: bytes
    refused: str | None  # what the one line must hold; None: it is read
    note: str = ""  # of what is read: what the table's notices, names or values must hold


def lines(changes: dict[int, str] | None = None, header: str = "time,load") -> list[str]:
    """The table as CSV lines; `changes` replaces data rows, counted from 1, and 0 is the header."""
    rows = [header, *(f"{t},{v}" for t, v in zip(TIMES, VALUES, strict=True))]
    for row, text in (changes or {}).items():
        rows[row] = text
    return rows


def csv(changes: dict[int, str] | None = None, header: str = "time,load") -> bytes:
    return ("\n".join(lines(changes, header)) + "\n").encode()


def value(text: str, row: int = 7) -> bytes:
    """The table with one value replaced."""
    return csv({row: f"{TIMES[row - 1]},{text}"})


def moment(text: str, row: int = 7) -> bytes:
    """The table with one time replaced."""
    return csv({row: f"{text},{VALUES[row - 1]}"})


def parquet(change: Callable[[pa.Table], pa.Table] = lambda table: table, **options: Any) -> bytes:
    times = pa.array(pd.to_datetime(TIMES).to_numpy(), pa.timestamp("us"))
    table = pa.table({"time": times, "load": pa.array([float(v) for v in VALUES])})
    buffer = io.BytesIO()
    pq.write_table(change(table), buffer, **options)
    return buffer.getvalue()


def with_column(column: Any, name: str = "extra") -> bytes:
    return parquet(lambda table: table.append_column(name, column))


def times(column: Any) -> bytes:
    return parquet(lambda table: table.set_column(0, "time", column))


def cases() -> Iterator[Case]:
    yield from _shape()
    yield from _bytes()
    yield from _numbers()
    yield from _times()
    yield from _archives()
    yield from _parquet()
    yield from _names()


def _shape() -> Iterator[Case]:
    yield Case("first row one longer than the header", "t.csv", csv({1: f"{TIMES[0]},1,2"}), "data row 1 has 3 values")
    yield Case(
        "every row one longer", "t.csv", "\n".join(["time,load", *(f"{x},9" for x in lines()[1:])]).encode(), "3"
    )
    yield Case("a row one longer", "t.csv", csv({9: f"{TIMES[8]},1,2"}), "data row 9 has 3 values")
    yield Case("a row one shorter", "t.csv", csv({9: TIMES[8]}), "data row 9 has 1 values")
    yield Case("last row cut off", "t.csv", csv()[:-12], "data row 60 has 1 values")
    yield Case("empty file", "t.csv", b"", "is empty")
    yield Case("blanks only", "t.csv", b" \n\n  \n", "is empty")
    yield Case("header only", "t.csv", b"time,load\n", "no rows")
    yield Case("one row", "t.csv", csv()[: len("\n".join(lines()[:2])) + 1], "constant")
    yield Case("blank lines between rows", "t.csv", csv().replace(b"\n", b"\n\n"), None, "60 rows")
    yield Case("no line end at the end", "t.csv", csv()[:-1], None, "60 rows")
    yield Case("CRLF", "t.csv", csv().replace(b"\n", b"\r\n"), None, "60 rows")
    yield Case("CR alone", "t.csv", csv().replace(b"\n", b"\r"), None, "60 rows")
    yield Case("semicolons", "t.csv", csv().replace(b",", b";"), "semicolons")
    yield Case("tabs", "t.csv", csv().replace(b",", b"\t"), "tabs")
    yield Case("bars", "t.csv", csv().replace(b",", b"|"), "bars")
    yield Case("decimal commas", "t.csv", csv().replace(b",", b";").replace(b".", b","), "decimals with points")
    yield Case("header twice", "t.csv", csv({30: "time,load"}), "'time'")
    yield Case("total row at the end", "t.csv", csv({60: "total,612.5"}), "'total'")
    yield Case("comment line first", "t.csv", b"# exported by x\n" + csv(), "data row 1 has 2 values")
    yield Case("no header", "t.csv", csv()[10:], "no time column 'time'")
    yield Case("open quote", "t.csv", csv({9: f'"{TIMES[8]},1'}), "data row 9 has 1 values")
    yield Case("open quote in the last row", "t.csv", csv({60: f'{TIMES[59]},"1'}), "never closed")
    yield Case("quoted numbers", "t.csv", csv({9: f'{TIMES[8]},"1.5"'}), None, "60 rows")
    yield Case("a page of HTML", "t.csv", b"<html><body>404 not found</body></html>", "cannot read")
    yield Case("JSON", "t.csv", b'[{"time": "2024-01-01", "load": 1}]\n', "no rows")
    yield Case("an archive named .csv", "t.csv", gzip.compress(csv(), mtime=0), "not UTF-8")
    yield Case("Parquet named .csv", "t.csv", parquet(), "not UTF-8")


def _bytes() -> Iterator[Case]:
    yield Case("byte order mark", "t.csv", b"\xef\xbb\xbf" + csv(), None, "60 rows")
    yield Case("UTF-16", "t.csv", csv().decode().encode("utf-16"), "not UTF-8")
    yield Case("UTF-16 without a mark", "t.csv", csv().decode().encode("utf-16-le"), "data row 61 has 1 values")
    yield Case("UTF-32", "t.csv", csv().decode().encode("utf-32"), "not UTF-8")
    yield Case("Latin-1 in a value", "t.csv", value("1\xe9").decode().encode("latin-1"), "not UTF-8")
    yield Case(
        "Latin-1 in the header",
        "t.csv",
        csv(header="time,load,\xe9").decode().encode("latin-1"),
        "not UTF-8: byte 0xe9 in line 1",
    )
    yield Case("an overlong sequence", "t.csv", csv().replace(b"10.0", b"\xc0\xb1"), "not UTF-8")
    yield Case("half a sequence at the end", "t.csv", csv()[:-1] + b"\xe2\x82", "not UTF-8")
    yield Case("NUL in a value", "t.csv", value("1\x002"), "row 7")
    yield Case("NUL bytes alone", "t.csv", bytes(400), "cannot infer number of columns")
    yield Case("NUL in the header", "t.csv", csv(header="time,lo\x00ad"), "no target column 'load'")
    yield Case("control character in a number", "t.csv", value("1\x1b[31m2"), "row 7")
    yield Case("a number in other digits", "t.csv", value("١٢"), "row 7")
    yield Case("a minus sign that is none", "t.csv", value("\u22125"), "row 7")
    yield Case("an invisible mark before a number", "t.csv", value("\u202e12"), "row 7")


def _numbers() -> Iterator[Case]:
    for text in (
        "abc",
        "12abc",
        "1,5".replace(",", "_"),
        "--5",
        "1.2.3",
        "0x1F",
        "1e",
        "$5",
        "5%",
        "=1+1",
        "#REF!",
        "?",
    ):
        yield Case(f"value {text}", "t.csv", value(text), "row 7")
    for text in ("1e400", "-1e400", "9" * 400):
        yield Case(f"value {text[:6]} beyond a float64", "t.csv", value(text), "row 7")
    yield Case("beyond float32", "t.csv", value("1e39"), "too large for a float32")
    yield Case("2^53 + 1 beside a blank", "t.csv", csv({7: f"{TIMES[6]},9007199254740993", 8: f"{TIMES[7]},"}), "2^53")
    for text in ("inf", "-inf", "Infinity"):
        yield Case(f"value {text}", "t.csv", value(text), "infinite")
    for text in ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "n/a"):
        yield Case(f"value {text!r} is missing", "t.csv", value(text), None, "Missing values: 'load' 1")
    yield Case("a number between blanks", "t.csv", value("  5.5 "), None, "60 rows")
    yield Case("a number with a sign", "t.csv", value("+5.5"), None, "60 rows")
    yield Case("a number with an exponent", "t.csv", value("5.5E0"), None, "60 rows")
    yield Case("all the same", "t.csv", csv({i: f"{TIMES[i - 1]},4" for i in range(1, 61)}), "constant")
    yield Case("all missing", "t.csv", csv({i: f"{TIMES[i - 1]}," for i in range(1, 61)}), "no value")
    yield Case("all text", "t.csv", csv({i: f"{TIMES[i - 1]},x" for i in range(1, 61)}), "row 1")
    far = {i: f"{TIMES[i - 1]},{2**30 + i}" for i in range(1, 61)}
    yield Case("too far from zero for float32", "t.csv", csv(far), "float32")
    yield Case("booleans", "t.csv", csv({i: f"{TIMES[i - 1]},{i % 2 == 0}" for i in range(1, 61)}), None, "60 rows")


def _times() -> Iterator[Case]:
    for text in ("", "yesterday", "2024-13-01 00:00:00", "2024-02-30 00:00:00", "2024-01-01 25:00:00", "00:30", "24/7"):
        yield Case(f"time {text!r}", "t.csv", moment(text), "row 7")
    yield Case("a time out of order", "t.csv", moment("2023-06-01 00:00:00"), "not in order")
    yield Case("a time twice", "t.csv", moment(TIMES[5]), "rows 6 and 7")
    yield Case("rows backwards", "t.csv", "\n".join(["time,load", *lines()[:0:-1]]).encode(), "not in order")
    yield Case("a far year", "t.csv", csv({60: "9999-12-31 00:00:00,1"}), None, "gap")
    seconds = {i: f"{1_704_067_200 + 3600 * i},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("epoch seconds", "t.csv", csv(seconds), None, "seconds since 1970")
    millis = {i: f"{(1_704_067_200 + 3600 * i) * 1000},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("epoch milliseconds", "t.csv", csv(millis), None, "milliseconds since 1970")
    small = {i: f"{i},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("row numbers for times", "t.csv", csv(small), "'time'")
    years = {i: f"{1960 + i},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("years for times", "t.csv", csv(years), "'time'")
    mixed = {i: f"{TIMES[i - 1]}{'Z' if i % 2 else '+01:00'},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("zones mixed", "t.csv", csv(mixed), "rows 1 and 2 are both 2024-01-01")
    some = {i: f"{TIMES[i - 1]}{'Z' if i > 30 else ''},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("a zone from the middle on", "t.csv", csv(some), "with and without a time zone")
    local = pd.date_range("2024-10-26 12:00", periods=ROWS, freq="h", tz="Europe/Berlin").tz_localize(None)
    doubled = {i: f"{t},{VALUES[i - 1]}" for i, t in enumerate(local, start=1)}
    yield Case("the hour that comes twice in autumn", "t.csv", csv(doubled), "rows 15 and 16")
    day_first = {i: f"{pd.Timestamp(TIMES[i - 1]):%d/%m/%Y %H:%M},{VALUES[i - 1]}" for i in range(1, 61)}
    yield Case("day before month", "t.csv", csv(day_first), "'time'")
    gap = [line for i, line in enumerate(lines()) if not 20 <= i < 25]
    yield Case("five rows missing", "t.csv", "\n".join(gap).encode(), None, "1 gaps, 5 steps missing")
    yield Case("a second off", "t.csv", moment("2024-01-01 06:00:01"), None, "60 rows")


def _archives() -> Iterator[Case]:
    for suffix, pack in (
        ("gz", functools.partial(gzip.compress, mtime=0)),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
    ):
        whole = pack(csv())
        yield Case(f"{suffix} cut short", f"t.csv.{suffix}", whole[:-20], "cannot read")
        yield Case(
            f"{suffix} with a changed byte", f"t.csv.{suffix}", whole[:40] + b"\xff\x00\xff" + whole[43:], "cannot read"
        )
        yield Case(f"{suffix} that is none", f"t.csv.{suffix}", csv(), "cannot read")
        yield Case(f"{suffix} of nothing", f"t.csv.{suffix}", pack(b""), "is empty")
    yield Case("a bomb, gz", "t.csv.gz", gzip.compress(b"time,load\n" + b"0" * (3 << 30 >> 4), 9), "unpacks to more")
    yield Case("a bomb, xz", "t.csv.xz", lzma.compress(b"time,load\n" + b"0" * (3 << 30 >> 4)), "unpacks to more")
    yield Case("a format by another name", "t.txt", csv(), "cannot tell the format")
    yield Case("an Excel file", "t.xlsx", b"PK\x03\x04" + bytes(50), "cannot tell the format")
    yield Case("a pickle", "t.pkl", b"cos\nsystem\n(S'touch marker'\ntR.", "cannot tell the format")


class _Shell:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, ("marker",)


def _parquet() -> Iterator[Case]:
    import pickle

    plain = parquet()
    yield Case("Parquet", "t.parquet", plain, None, "60 rows")
    yield Case("Parquet cut short", "t.parquet", plain[:-30], "PAR1")
    yield Case("Parquet without its head", "t.parquet", plain[100:], "cannot read")
    yield Case("Parquet with a changed footer", "t.parquet", plain[:-60] + bytes(20) + plain[-40:], "cannot read")
    yield Case("Parquet with a huge footer", "t.parquet", plain[:-8] + b"\xff\xff\xff\x7fPAR1", "cannot read")
    yield Case("CSV named .parquet", "t.parquet", csv(), "PAR1")
    yield Case("an empty Parquet", "t.parquet", parquet(lambda table: table.slice(0, 0)), "no rows")
    yield Case("lists", "t.parquet", with_column(pa.array([[1, 2]] * ROWS)), "type list")
    yield Case("structs", "t.parquet", with_column(pa.array([{"a": 1}] * ROWS)), "type struct")
    yield Case("binary", "t.parquet", with_column(pa.array([b"x"] * ROWS)), "type binary")
    yield Case("maps", "t.parquet", with_column(pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64()))), "map")
    yield Case("durations", "t.parquet", with_column(pa.array([1] * ROWS, pa.duration("s"))), "type duration")
    hidden = pa.array([pickle.dumps(_Shell())] * ROWS, pa.binary())
    names = ("ray.data.arrow_pickled_object", "ray.data.arrow_tensor", "arrow.py_extension_type", "made.up")
    for name in names:
        mark = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": pickle.dumps(_Shell())}
        field = pa.field("extra", pa.binary(), metadata=mark)
        content = parquet(lambda table, f=field: table.append_column(f, hidden))
        yield Case(f"extension type {name}", "t.parquet", content, "extension type")
    yield Case("dates", "t.parquet", with_column(pa.array([0] * ROWS, pa.date32())), None, "Columns left out: 'extra'")
    yield Case("a zone", "t.parquet", times(pa.array(pd.to_datetime(TIMES).tz_localize("Asia/Tokyo"))), None, "60 rows")
    yield Case("years beyond nanoseconds", "t.parquet", times(_far_times()), None, "3024")
    yield Case(
        "unsigned beyond int64",
        "t.parquet",
        with_column(pa.array([2**64 - 1 - i for i in range(ROWS)], pa.uint64())),
        "2^5",
    )
    yield Case(
        "decimals", "t.parquet", with_column(pa.array([1] * ROWS).cast(pa.decimal128(30, 3))), None, "constant 1"
    )
    words = pa.array(["a", "b"] * 30).dictionary_encode()
    yield Case("dictionary", "t.parquet", with_column(words), None, "Categorical columns: 'extra' (2 words)")
    yield Case("half precision", "t.parquet", with_column(pa.array(np.arange(60, dtype=np.float16))), None, "60 rows")


def _far_times() -> pa.Array:
    start = int(np.datetime64("3024-01-01", "us").astype(np.int64))
    return pa.array([start + i * 3_600_000_000 for i in range(ROWS)], pa.int64()).cast(pa.timestamp("us"))


def _names() -> Iterator[Case]:
    yield Case(
        "a name twice", "t.csv", csv(header="time,load,load").replace(b"\n2024", b"\n2024"), "the header has 3 names"
    )
    yield Case("two names alike but for blanks", "t.csv", _third(" load"), "two columns named 'load'")
    yield Case("an empty name", "t.csv", _third(""), "column 3")
    yield Case("a blank name", "t.csv", _third("  "), "column 3")
    odd = {
        "markup": "</script><script>alert(1)</script>",
        "a path": "../../etc/passwd",
        "a formula": "=cmd|' /C calc'!A0",
        "300 characters": "x" * 300,
        "emoji": "🌡️🔥",
        "right to left": "\u202egnp.exe",
        "a quote": "it''s",
        "braces": "{0.__class__}",
        "percent": "%(x)s%n",
        "rich markup": "[bold red]load[/]",
        "a newline": '"two\nlines"',
        "an SQL end": "x'); DROP TABLE trials;--",
    }
    for what, name in odd.items():
        yield Case(f"a name of {what}", "t.csv", _third(name), None, "60 rows")


def _third(name: str) -> bytes:
    """The table with a third column of that name."""
    body = [f"{line},{i % 5}" for i, line in enumerate(lines()[1:])]
    return "\n".join([f"time,load,{name}", *body, ""]).encode()
