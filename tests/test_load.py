"""The guarded loader: what it reads, and above all what it refuses, always in one line."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import InputError, nearest
from data.load import read_table

CSV = b"time,x,word\n2024-01-31,1,a\n2024-02-01,,b\n"
HUGE = 2**53 + 1


def put(folder: Path, content: bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def put_parquet(folder: Path, columns: dict[str, Any], name: str = "t.parquet") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("t.csv", bytes),
        ("T.CSV", bytes),
        ("t.csv.gz", gzip.compress),
        ("t.csv.bz2", bz2.compress),
        ("t.csv.xz", lzma.compress),
        ("t.csv.zst", lambda raw: pa.Codec("zstd").compress(raw, asbytes=True)),
    ],
)
def test_csv_reads_the_same_however_it_is_compressed(tmp_path, name, pack):
    frame = read_table(put(tmp_path, pack(CSV), name))
    assert frame["time"].tolist() == [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01")]
    assert frame["x"].iloc[0] == 1.0 and np.isnan(frame["x"].iloc[1])
    assert frame["word"].tolist() == ["a", "b"]
    assert [str(kind)[:10] for kind in frame.dtypes] == ["datetime64", "float64", "object"]


def test_a_uri_reads_like_a_path(tmp_path):
    path = put(tmp_path, CSV)
    pd.testing.assert_frame_equal(read_table(f"file://{path}"), read_table(path))


def test_times_with_a_zone_become_utc_without_one(tmp_path):
    frame = read_table(put(tmp_path, b"t\n2024-01-01T00:30:00+01:00\n2024-01-01T00:00:00Z\n"))
    assert frame["t"].tolist() == [pd.Timestamp("2023-12-31 23:30"), pd.Timestamp("2024-01-01")]


def test_blank_line_in_a_single_column_is_a_missing_value_except_at_the_end(tmp_path):
    values = read_table(put(tmp_path, b"x\n1\n\n2\n\n\n"))["x"].tolist()
    assert values[0] == 1 and np.isnan(values[1]) and values[2:] == [2]


def test_text_may_say_na_but_an_empty_text_is_missing(tmp_path):
    assert read_table(put(tmp_path, b"a,b\n1,NA\n2,\n3,x\n"))["b"].tolist() == ["NA", None, "x"]


def test_a_name_is_read_without_the_blanks_and_the_mark_around_it(tmp_path):
    assert list(read_table(put(tmp_path, b"\xef\xbb\xbfa, b\n1,2\n"))) == ["a", "b"]


def test_a_quoted_text_may_hold_a_comma_and_a_line_break(tmp_path):
    assert read_table(put(tmp_path, b'a,b\n1,"x,\ny"\n2,z\n'))["b"].tolist() == ["x,\ny", "z"]


def test_an_infinity_that_was_meant_is_left_to_the_user_of_the_column(tmp_path):
    assert read_table(put(tmp_path, b"a,b\n1,inf\n"))["b"].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is empty"]),
        (b"\n \n", ["is empty"]),
        (b"a,b\n", ["no rows"]),
        (b"a,b\n1,2,3\n4,5,6\n", ["data row 1 has 3 values", "2 names"]),
        (b"a,b\n1,2\n3\n", ["data row 2 has 1 values"]),
        (b"a,b\n" + b"1,2\n" * 2_000_000 + b"3,4,5\n", ["data row 2000001 has 3 values"]),
        (b"a,b,a\n1,2,3\n", ["two columns named 'a': 1 and 3"]),
        (b"a, a\n1,2\n", ["two columns named 'a'"]),
        (b",b\n1,2\n", ["column 1", "no name", "index=False"]),
        (b"a,b\n1,\xe9\n", ["not UTF-8", "0xe9 in line 2"]),
        (b"a,\xe9\n1,2\n", ["not UTF-8", "0xe9 in line 1"]),
        ("a,b\n1,2\n".encode("utf-16"), ["not UTF-8"]),
        (b"a;b\n1;2\n", ["semicolons", "commas"]),
        (b"a\tb\n1\t2\n", ["tabs"]),
        (b'a,b\n1,"x\n2,y\n', ["quote opened in column 'b', data row 1"]),
        (b"a,b\n1,2\n1,1e400\n", ["1e400 in column 'b', data row 2", "too large"]),
        (f"a,b\n1,2\n,3\n{HUGE},4\n".encode(), [f"{HUGE} in column 'a', data row 3", "2^53"]),
        (f"a,b\n1.5,2\n{HUGE},4\n".encode(), [f"{HUGE} in column 'a', data row 2"]),
        (b"a,b\n1" + b"2" * 30 + b",2\n", ["column 'a', data row 1"]),
    ],
)
def test_a_broken_csv_is_refused_in_one_line_that_says_where(tmp_path, content, parts):
    message = refusal(put(tmp_path, content))
    assert "t.csv" in message
    for part in parts:
        assert part in message


def test_integers_beyond_2_to_53_stay_exact_while_no_value_is_missing(tmp_path):
    assert read_table(put(tmp_path, f"a,b\n{HUGE},1\n2,1\n".encode()))["a"].tolist() == [HUGE, 2]


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path):
    put(tmp_path, CSV, "weather.csv")
    assert "did you mean 'weather.csv'?" in refusal(str(tmp_path / "wether.csv"))
    assert "did you mean" not in refusal(str(tmp_path / "q.parquet"))
    assert "folder does not exist" in refusal(str(tmp_path / "none" / "a.csv"))


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.tsv", "t.json.gz"])
def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path, name):
    assert ".csv.gz" in refusal(put(tmp_path, CSV, name))


@pytest.mark.parametrize("content", [b"junk", gzip.compress(CSV * 100)[:-9]])
def test_a_damaged_archive_is_refused(tmp_path, content):
    assert "cannot read" in refusal(put(tmp_path, content, "t.csv.gz"))


def test_an_unknown_scheme_is_refused_and_a_password_never_shown():
    message = refusal("nowhere://user:secret@host/t.csv")
    assert "nowhere://" in message and "secret" not in message


# ---- Parquet


def test_parquet_columns_come_back_in_plain_types(tmp_path):
    columns = {
        "small": pa.array([1, 2], pa.int8()),
        "holes": pa.array([1, None], pa.int32()),
        "flag": pa.array([True, False]),
        "maybe": pa.array([True, None]),
        "half": pa.array(np.array([1.5, 2.5], np.float16)),
        "money": pa.array([Decimal("1.25"), None], pa.decimal128(9, 2)),
        "day": pa.array([date(2024, 1, 1), None]),
        "zoned": pa.array(
            [datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))] * 2, pa.timestamp("us", "+01:00")
        ),
        "word": pa.array(["a", ""]),
        "kind": pa.array(["b", None]).dictionary_encode(),
        "none": pa.nulls(2),
    }
    frame = read_table(put_parquet(tmp_path, columns))
    kinds = {"small": "i", "flag": "b", "day": "M", "zoned": "M", "word": "O", "kind": "O"}
    assert {name: kind.kind for name, kind in frame.dtypes.items()} == {name: kinds.get(name, "f") for name in columns}
    assert frame["small"].dtype == np.int64 and frame["money"].iloc[0] == 1.25 and frame["maybe"].iloc[0] == 1.0
    assert frame["zoned"].iloc[0] == pd.Timestamp("2023-12-31 23:00") and frame["day"].isna().tolist() == [False, True]
    assert frame["word"].tolist() == ["a", None] and frame["kind"].tolist() == ["b", None]


def test_the_index_pandas_stored_is_kept_when_it_has_a_name_or_holds_times(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=[7, 3])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename_axis("id").to_parquet(tmp_path / "b.parquet")
    frame.set_index(pd.to_datetime(["2024-01-01", "2024-01-02"])).to_parquet(tmp_path / "c.parquet")
    read = [list(read_table(str(tmp_path / f"{name}.parquet"))) for name in "abc"]
    assert read == [["x"], ["x", "id"], ["x", "__index_level_0__"]]


def test_a_folder_is_its_files_in_the_order_of_their_numbers(tmp_path):
    for part in (10, 2, 1):
        put_parquet(tmp_path / "parts", {"x": [part], "y": [part / 2 if part > 1 else 0]}, f"part-{part}.parquet")
    (tmp_path / "parts" / "_SUCCESS").touch()
    frame = read_table(str(tmp_path / "parts"))
    assert frame["x"].tolist() == [1, 2, 10] and frame["y"].tolist() == [0, 1, 5]


def test_a_folder_with_other_columns_or_without_parquet_is_refused(tmp_path):
    put_parquet(tmp_path / "parts", {"x": [1]}, "a.parquet")
    put_parquet(tmp_path / "parts", {"x": [1], "y": [2]}, "b.parquet")
    assert "a.parquet and b.parquet has 'y'" in refusal(str(tmp_path / "parts"))
    (tmp_path / "empty").mkdir()
    assert "no .parquet file" in refusal(str(tmp_path / "empty"))
    put_parquet(tmp_path / "deep", {"x": [1]})
    (tmp_path / "deep" / "year=2024").mkdir()
    assert "'year=2024'" in refusal(str(tmp_path / "deep"))


def test_a_folder_with_two_kinds_of_one_column_is_refused(tmp_path):
    put_parquet(tmp_path / "parts", {"x": [1]}, "a.parquet")
    put_parquet(tmp_path / "parts", {"x": ["one"]}, "b.parquet")
    assert "cannot read" in refusal(str(tmp_path / "parts"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1, 2], [3]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"1", b"2"]),
        pa.array([timedelta(1), timedelta(2)]),
    ],
)
def test_a_column_that_is_no_plain_value_is_refused_by_name(tmp_path, column):
    assert "'odd'" in refusal(put_parquet(tmp_path, {"x": [1, 2], "odd": column}))


def test_a_file_that_is_not_parquet_or_was_cut_short_is_refused(tmp_path):
    whole = Path(put_parquet(tmp_path, {"x": [1]})).read_bytes()
    assert "PAR1" in refusal(put(tmp_path, whole[:-5], "cut.parquet"))
    assert "PAR1" in refusal(put(tmp_path, b"", "empty.parquet"))
    assert "cannot read" in refusal(put(tmp_path, b"PAR1" + b"\xff" * 40 + b"\x10\0\0\0PAR1", "junk.parquet"))


def test_integers_with_holes_beyond_2_to_53_are_refused_only_when_a_digit_is_lost(tmp_path):
    assert read_table(put_parquet(tmp_path, {"x": [2**60, None]}))["x"].iloc[0] == 2.0**60
    assert "'x', data row 2" in refusal(put_parquet(tmp_path, {"x": [None, HUGE]}))
    assert "'x', data row 1" in refusal(put_parquet(tmp_path, {"x": pa.array([2**64 - 1], pa.uint64())}))


class Trap(pa.ExtensionType):
    """An extension type whose description, once registered, runs code as soon as a schema holding it is opened."""

    sprung: list[bytes] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.trap")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"bait"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Trap:
        cls.sprung.append(serialized)
        return cls()


@pytest.fixture
def trap() -> Iterator[Trap]:
    kind = Trap()
    pa.register_extension_type(kind)
    yield kind
    pa.unregister_extension_type("tests.trap")


@pytest.mark.parametrize("filler", range(6))
def test_an_extension_type_is_refused_by_name_before_its_code_runs(tmp_path, trap, filler):
    column = pa.ExtensionArray.from_storage(trap, pa.array([1, 2]))
    path = put_parquet(tmp_path, {"x" * (1 + filler): [1, 2], "bait": column})
    Trap.sprung.clear()
    assert "column 'bait'" in refusal(path)
    assert not Trap.sprung
    pq.read_schema(path)
    assert Trap.sprung, "the trap must work, or the test proves nothing"


def test_an_extension_type_inside_a_list_or_in_one_file_of_a_folder_is_refused(tmp_path, trap):
    column = pa.ExtensionArray.from_storage(trap, pa.array([1, 2]))
    put_parquet(tmp_path / "parts", {"x": [1]}, "a.parquet")
    put_parquet(tmp_path / "parts", {"x": pa.ListArray.from_arrays([0, 2], column)}, "b.parquet")
    Trap.sprung.clear()
    assert "extension type" in refusal(str(tmp_path / "parts"))
    assert not Trap.sprung


def test_the_nearest_name_ignores_case_and_keeps_quiet_when_nothing_is_near():
    assert nearest("ot", ["HUFL", "OT"]) == " (did you mean 'OT'?)"
    assert nearest("temperature", ["HUFL", "OT"]) == ""


def test_an_input_error_is_one_line_whatever_it_quotes():
    assert str(InputError("column 'a\nb\x1b'  is odd")) == "column 'a b ' is odd"


def test_a_table_that_would_fill_the_memory_is_refused_by_its_footer_or_its_stream(tmp_path, monkeypatch):
    """1,000 rows of 3 columns are 24,000 bytes: a machine with 40,000 has no room for them."""
    parquet = put_parquet(tmp_path, {name: [1.0] * 1000 for name in "abc"})
    packed = put(tmp_path, gzip.compress(b"a,b,c\n" + b"1,2,3\n" * 5000), "t.csv.gz")
    monkeypatch.setattr("data.arrow.os.sysconf", lambda name: {"SC_PAGE_SIZE": 4000, "SC_PHYS_PAGES": 10}[name])
    for path in (parquet, packed):
        assert "more than half of the 0.0 GiB here" in refusal(path)
