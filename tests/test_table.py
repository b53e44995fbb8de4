"""The checked table: roles, order, values, gaps, and one line for everything that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError
from data.load import read_table
from data.table import Table, check_table

DAYS = [f"2024-01-{day:02}" for day in range(1, 8)]
HOLES = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05", "2024-01-06", "2024-01-10"])


def frame(n: int = 5, **columns: Any) -> pd.DataFrame:
    """`n` days with a column x = 0, 1, 4, 9, ...; a keyword adds or replaces a column."""
    made = {"day": pd.to_datetime(DAYS[:n]), "x": np.arange(n) ** 2.0} | columns
    return pd.DataFrame(made)


def check(data: pd.DataFrame, **options: Any) -> Table:
    return check_table(data, **({"time": "day", "series": None, "targets": ["x"]} | options))


def test_a_plain_frame_becomes_float32_rows_with_the_targets_first():
    table = check(frame(3, a=[1, 2, 3], b=[True, False, True], c=[0.5, None, 0.25]), targets=["c", "x"])
    assert table.names == ("c", "x", "a", "b") and table.targets == ("c", "x") and table.n_rows == 3
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.values, [[0.5, 0, 1, 1], [np.nan, 1, 2, 0], [0.25, 4, 3, 1]])
    assert table.time.tolist() == [1_704_067_200 + 86_400 * day for day in range(3)]
    assert table.clock.tolist() == [0, 1, 2] and table.series.tolist() == [0, 0, 0] and table.series_names == ("",)
    assert table.segments.tolist() == [[0, 3]]
    assert table.notices == ("3 rows, 2024-01-01 to 2024-01-03 UTC; step: day.", "Missing values: 'c' 1.")


def test_the_only_column_of_times_need_not_be_named():
    assert check(frame(), time=None).time.tolist() == check(frame()).time.tolist()


def test_named_past_columns_are_the_inputs_beside_the_targets():
    data = frame(3, a=[1, 2, 3], b=[3, 1, 2])
    assert check(data, past=["b"]).names == ("x", "b")
    assert check(data, past=["b", "x", "b"]).names == ("x", "b")
    assert check(data, past=[]).names == ("x",)


def test_auto_leaves_out_text_times_constants_and_empty_columns_and_says_so():
    data = frame(3, word=["a", "b", "1"], also=pd.to_datetime(DAYS[:3]), same=[2, 2, 2], none=[None] * 3, up=[1, 2, 4])
    table = check(data)
    assert table.names == ("x", "up")
    assert (
        "Columns left out: 'word' (text, no two alike), 'also' (times), 'same' (constant 2), 'none' (no value)."
        in table.notices
    )


def test_a_constant_column_stays_when_it_is_named():
    assert check(frame(3, same=[2, 2, 2]), past=["same"]).names == ("x", "same")


def test_numbers_kept_as_text_are_read_as_numbers_and_said():
    table = check(frame(3, a=["1", " 2.5", "NA"]))
    np.testing.assert_array_equal(table.values[:, 1], [1, 2.5, np.nan])
    assert "Text read as numbers: 'a'." in table.notices


# ---- what is known ahead, constant, a word or a weight

WORDS = {"kind": ["b", "a", None, "b", ""], "id": ["u", "v", "w", "x", "y"]}


def test_columns_of_text_become_codes_of_their_sorted_words_behind_all_numbers():
    table = check(frame(**WORDS, up=[5, 4, 3, 1, 2]))
    assert table.names == ("x", "up", "kind") and table.categories == {"kind": ("a", "b")}
    assert table.values[:, 2].tolist() == [2, 1, 0, 2, 0]  # missing, and an empty text, are 0
    assert table.n_numbers == 2 and table.numbers.shape == (5, 2)
    assert table.notices[1:] == (
        "Columns left out: 'id' (text, no two alike).",
        "Missing values: 'kind' 2.",
        "Categorical columns: 'kind' (2 words).",
    )


def test_a_word_that_others_read_as_a_missing_value_is_named():
    """NA stands for Namibia, and stays a word: but whoever sends it from pandas.read_csv sends nothing."""
    table = check(frame(5, country=["NA", "DE", "DE", "NA", "null"]))
    assert table.categories == {"country": ("DE", "NA", "null")}
    assert table.notices[-1] == (
        "Words, though pandas.read_csv reads a missing value unless keep_default_na=False: "
        "'country' 'NA', 'country' 'null'."
    )


def test_a_text_column_of_many_words_is_left_out_unless_it_is_named():
    many = [f"w{i // 2:03}" for i in range(202)]  # 101 words
    data = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=202), "x": np.arange(202) ** 2.0, "many": many})
    assert "Columns left out: 'many' (text, 101 words)." in check(data).notices
    assert len(check(data, categorical=["many"]).categories["many"]) == 101
    assert check(data.iloc[:200]).names == ("x", "many")  # 100 words


def test_more_than_a_thousand_words_are_refused_by_name():
    times = pd.date_range("2024-01-01", periods=1001)
    data = pd.DataFrame({"day": times, "x": np.arange(1001) ** 2.0, "id": [f"w{i}" for i in range(1001)]})
    with pytest.raises(InputError, match=r"categorical column 'id' has 1001 words, at most 1000 are taken; write one"):
        check(data, categorical=["id"])
    assert len(check(data.iloc[1:], categorical=["id"]).categories["id"]) == 1000


def test_a_named_categorical_column_is_words_whatever_it_holds():
    data = frame(4, code=[10, 9, None, 10], flag=[True, False, True, True], x=[1, 2, 4, 8])
    table = check(data, categorical=["code", "flag"])
    assert table.names == ("x", "code", "flag")
    assert table.categories == {"code": ("10", "9"), "flag": ("False", "True")}  # words are sorted as text
    assert table.values[:, 1].tolist() == [1, 2, 0, 1]
    assert check(data, categorical=["code"]).names == ("x", "flag", "code")  # a flag alone is a number


def test_no_text_is_taken_for_words_where_the_inputs_are_named():
    assert check(frame(**WORDS), past=[]).names == ("x",)
    assert check(frame(**WORDS), categorical=[]).names == ("x",)
    assert check(frame(**WORDS), past=[], categorical=["kind"]).names == ("x", "kind")


def test_columns_known_ahead_and_constant_ones_are_inputs_with_known_places():
    data = frame(3, a=[1, 2, 3], plan=[3, 1, 2], size=[7, 7, 7], place=["n", "n", "n"])
    table = check(data, future=["plan"], static=["size", "place"])
    assert table.names == ("x", "a", "plan", "size", "place")
    assert (table.future, table.static) == ((2,), (3, 4)) and table.categories == {"place": ("n",)}
    assert check(data, past=["a"], future=["plan"]).names == ("x", "a", "plan")


def test_the_weight_is_no_input():
    table = check(frame(3, w=[0, 1, 2.5]), weight="w")
    assert table.names == ("x",) and table.weight.tolist() == [0, 1, 2.5] and table.weight.dtype == np.float32
    assert check(frame(3)).weight is None


def test_roles_follow_the_rows_of_a_panel():
    data = frame(
        4, day=pd.to_datetime([DAYS[0]] * 2 + [DAYS[1]] * 2), who=[*"baba"], w=[1, 2, 3, 4], size=[5, 6, 5, None]
    )
    table = check(data, series="who", weight="w", static=["size"])
    assert table.weight.tolist() == [2, 4, 1, 3]
    np.testing.assert_array_equal(table.values[:, 1], [6, np.nan, 5, 5])  # missing is no change


def test_a_filled_gap_keeps_what_is_constant_and_weighs_nothing():
    data = frame(6, day=HOLES, size=[3] * 6, kind=["a", "b"] * 3, place=["n"] * 6, plan=range(6), w=[1, 1, 1, 1, 1, 2])
    table = check(data, fill_gaps=1, static=["size", "place"], future=["plan"], weight="w")
    assert table.names == ("x", "size", "plan", "kind", "place")
    np.testing.assert_array_equal(table.values[2], [np.nan, 3, np.nan, 0, 1])
    assert table.weight.tolist() == [1, 1, 0, 1, 1, 1, 2]


# ---- panels


def test_interleaved_series_are_regrouped_in_the_order_of_their_names():
    data = pd.DataFrame(
        {
            "day": pd.to_datetime([DAYS[0], DAYS[1], DAYS[1], DAYS[2], DAYS[0]]),
            "who": ["b", "b", "a", "a", "c"],
            "x": [1, 2, 3, 4, 5],
        }
    )
    table = check(data, series="who")
    assert table.series_names == ("a", "b", "c") and table.names == ("x",)
    assert table.values[:, 0].tolist() == [3, 4, 1, 2, 5]
    assert table.series.tolist() == [0, 0, 1, 1, 2]
    assert table.clock.tolist() == [1, 2, 0, 1, 0]
    assert table.segments.tolist() == [[0, 2], [2, 4], [4, 5]]


def test_integer_series_ids_are_sorted_as_numbers():
    data = frame(3, day=pd.to_datetime(DAYS[:1] * 3), who=[10, 9, 100])
    assert check(data, series="who").series_names == ("9", "10", "100")


# ---- gaps


def test_a_gap_ends_a_segment_and_is_described():
    table = check(frame(6, day=HOLES))
    assert table.segments.tolist() == [[0, 2], [2, 5], [5, 6]]
    where = "the first after 2024-01-02 (1 missing), the longest after 2024-01-06 (3 missing)"
    assert table.notices[1].startswith(f"2 gaps, 4 steps missing in all; {where}.")


def test_short_gaps_are_filled_with_rows_of_nan_at_the_missing_times():
    table = check(frame(6, day=HOLES), fill_gaps=1)
    assert table.segments.tolist() == [[0, 6], [6, 7]]
    assert table.time[2] == pd.Timestamp("2024-01-03").timestamp() and np.isnan(table.values[2]).all()
    assert table.values[3:, 0].tolist() == [4, 9, 16, 25]
    assert "1 rows without values fill 1 of the gaps." in table.notices


def test_every_gap_is_filled_when_all_are_short_enough():
    table = check(frame(6, day=HOLES), fill_gaps=3)
    assert table.segments.tolist() == [[0, 10]] and (np.diff(table.time) == 86_400).all()
    assert np.flatnonzero(np.isnan(table.values[:, 0])).tolist() == [2, 6, 7, 8]
    assert len(np.unique(table.clock)) == 10


def test_a_gap_is_filled_in_its_own_series():
    data = pd.DataFrame({"day": [*HOLES[:4], *HOLES[:2]], "who": [*"bbbb", *"aa"], "x": range(6)})
    table = check(data, series="who", fill_gaps=2)
    assert table.series.tolist() == [0, 0, 1, 1, 1, 1, 1] and table.segments.tolist() == [[0, 2], [2, 7]]


def test_an_irregular_table_is_one_segment_with_a_notice():
    table = check(frame(5, day=pd.to_datetime(["2024-01-01", "2024-01-03", "2024-02-09", "2024-02-10", "2024-04-20"])))
    assert table.calendar.name == "irregular" and table.segments.tolist() == [[0, 5]]
    assert "each row counts as one step" in table.notices[1]


# ---- fingerprint


def test_the_fingerprint_depends_on_names_values_times_and_series_only():
    first = check(frame(3)).fingerprint
    assert len(first) == 64 and first == check(frame(3, word=[*"abc"])).fingerprint
    plain = frame(3, y=[3, 1, 2], kind=["a", "b", "a"])
    others = [
        *(check(plain, **more) for more in ({}, {"future": ["y"]}, {"categorical": ["y"]}, {"categorical": []})),
        check(frame(3, y=[3, 1, 2], kind=["a", "c", "a"])),  # the same codes of other words
        check(frame(3, s=[4] * 3), past=["s"]),
        check(frame(3, s=[4] * 3), static=["s"]),
        check(frame(3, w=[1, 1, 1]), weight="w"),
        check(frame(3, w=[1, 1, 2]), weight="w"),
        check(frame(3).rename(columns={"x": "y"}), targets=["y"]),
        check(frame(3, x=[0, 1, 5])),
        check(frame(3, day=pd.to_datetime(DAYS[1:4]))),
        check(frame(3, who=["a"] * 3), series="who"),
    ]
    assert len({first, *(table.fingerprint for table in others)}) == 14


# ---- refusals


WRONG: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "unknown target": (frame(), {"targets": ["X"]}, "no target column 'X' (did you mean 'x'?); columns: day, x"),
    "unknown time": (frame(), {"time": "dya"}, "no time column 'dya' (did you mean 'day'?)"),
    "unknown series": (frame(), {"series": "who"}, "no series column 'who'; columns"),
    "unknown past": (frame(), {"past": ["y"]}, "no past column 'y'"),
    "no target": (frame(), {"targets": []}, "at least one target"),
    "no rows": (frame().iloc[:0], {}, "no rows"),
    "unknown future": (frame(), {"future": ["y"]}, "no future column 'y'"),
    "unknown static": (frame(), {"static": ["y"]}, "no static column 'y'"),
    "unknown weight": (frame(), {"weight": "y"}, "no weight column 'y'"),
    "target known ahead": (frame(), {"future": ["x"]}, "'x' is a target and cannot be future: what is forecast is not"),
    "static target": (frame(), {"static": ["x"]}, "'x' is a target and cannot be static"),
    "target of words": (frame(), {"categorical": ["x"]}, "'x' is a target and cannot be categorical: a target is a"),
    "weight is target": (frame(), {"weight": "x"}, "column 'x' is both weight and target"),
    "weight is input": (
        frame(w=[1] * 5),
        {"weight": "w", "past": ["w"]},
        "'w' is the weight column and cannot be a pa",
    ),
    "static is time": (frame(), {"static": ["day"]}, "'day' is the time column and cannot be a static input too"),
    "constant ahead": (frame(a=[1] * 5), {"future": ["a"], "static": ["a"]}, "'a' is both future and static"),
    "words ahead": (frame(a=[*"abcab"]), {"future": ["a"], "categorical": ["a"]}, "'a' is both future and categorical"),
    "text ahead": (frame(a=[*"abcab"]), {"future": ["a"]}, "'a' must hold numbers: 'a' in data row 1"),
    "times as words": (frame(a=pd.to_datetime(DAYS[:5])), {"categorical": ["a"]}, "'a' holds times"),
    "no word at all": (frame(a=[None] * 5), {"categorical": ["a"]}, "categorical column 'a' has no value at all"),
    "static changes": (
        frame(3, s=[4, None, 5]),
        {"static": ["s"]},
        "static column 's' must be constant in a series: 5 in data row 3, 4 before; take it out of data.static",
    ),
    "static word changes": (
        frame(4, day=pd.to_datetime([DAYS[0], DAYS[0], DAYS[1], DAYS[1]]), who=[*"abab"], s=[*"uvuw"]),
        {"static": ["s"], "series": "who"},
        "'s' must be constant in a series: 'w' in data row 4 of series 'b', 'v' before",
    ),
    "weight below zero": (frame(3, w=[1, -2, 1]), {"weight": "w"}, "'w': -2 in data row 2 is below 0"),
    "weight missing": (frame(3, w=[1, None, 1]), {"weight": "w"}, "'w': nan in data row 2 is missing; fill it"),
    "no weight at all": (frame(3, w=[0, 0, 0]), {"weight": "w"}, "'w': every weight is 0"),
    "target is time": (frame(), {"targets": ["day"]}, "column 'day' is both time and target"),
    "target is series": (frame(who=[*"abcde"]), {"series": "who", "targets": ["who"]}, "both series and target"),
    "target twice": (frame(), {"targets": ["x", "x"]}, "column 'x' is named twice as target"),
    "past is time": (frame(), {"past": ["day"]}, "is the time column and cannot be a past input"),
    "no time at all": (frame().drop(columns="day"), {"time": None}, "no column holds dates or times; columns: x"),
    "two times": (frame(also=pd.to_datetime(DAYS[:5])), {"time": None}, "day, also all hold dates"),
    "column twice": (frame().set_axis(["day", "day"], axis=1), {}, "two columns are named 'day'"),
    "fill below zero": (frame(), {"fill_gaps": -1}, "got -1"),
    "text in a number": (frame(3, x=["1", "2", "two"]), {}, "'x' must hold numbers: 'two' in data row 3"),
    "text in an input": (frame(3, a=["1", "NA", "two"]), {"past": ["a"]}, "'two' in data row 3"),
    "text among numbers": (frame(a=["1", "2", "3", "?", "x"]), {}, "'a' must hold numbers: '?' in data row 4"),
    "times as target": (frame(also=pd.to_datetime(DAYS[:5])), {"targets": ["also"]}, "'also' holds times"),
    "infinite": (frame(3, x=[1, 2, -np.inf]), {}, "'x': -inf in data row 3 is infinite"),
    "too large": (frame(3, x=[1, 1e39, 2]), {}, "'x': 1e+39 in data row 2 is too large for a float32"),
    "lost digits": (frame(3, x=[1, 2, 2**53 + 1]), {}, "9007199254740993 in data row 3 would lose digits"),
    "constant": (frame(3, x=[2, None, 2]), {}, "target column 'x' is constant: every value is 2"),
    "no value": (frame(3, x=[np.nan] * 3), {}, "target column 'x' has no value"),
    "no value in past": (frame(3, a=[None] * 3), {"past": ["a"]}, "past column 'a' has no value"),
    "coarse": (frame(3, x=[2e8, 2e8 + 1, 2e8 + 2]), {}, "'x': float32 would round its values, near 2e+08, by up to 2"),
    "unsorted": (
        frame(3, day=pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-03"])),
        {},
        "data row 2 (2024-01-01) comes after data row 1 (2024-01-02); sort",
    ),
    "twice": (frame(3, day=pd.to_datetime([DAYS[0], DAYS[1], DAYS[1]])), {}, "data rows 2 and 3 are both 2024-01-02"),
    "no time": (frame(3, day=[DAYS[0], None, DAYS[2]]), {}, "data row 2 has no time"),
    "no series id": (frame(3, who=["a", None, "b"]), {"series": "who"}, "'who': data row 2 has no series id"),
    "fractional id": (frame(3, who=[1.5, 2, 3]), {"series": "who"}, "must hold texts or integers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_one_line_with_the_place(case):
    data, options, part = WRONG[case]
    with pytest.raises(InputError) as caught:
        check(data, **options)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_rows_out_of_order_are_named_as_they_stand_in_the_file():
    data = frame(5, day=pd.to_datetime([DAYS[0], DAYS[0], DAYS[3], DAYS[2], DAYS[1]]), who=[*"babab"])
    with pytest.raises(InputError, match=r"data row 5 \(2024-01-02\) comes after data row 3 \(2024-01-04\)"):
        check(data, series="who")


def test_a_panel_without_its_series_column_is_told_to_name_it():
    data = frame(4, day=pd.to_datetime(DAYS[:2] * 2), who=[*"aabb"])
    with pytest.raises(InputError, match=r"data row 3 .*if the rows belong to several series, name the series column"):
        check(data)


# ---- real tables


def test_stocks_are_business_days_of_five_series_and_no_holiday_is_a_gap(shared_data):
    table = check_table(
        read_table(str(shared_data / "stocks_daily.parquet")), time="date", series="ticker", targets=["adj_close"]
    )
    assert table.calendar.name == "business day" and table.series_names == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    assert np.diff(table.segments).ravel().tolist() == [3270, 196, 2148, 3270, 3270]
    assert table.clock.max() == 3269


def test_etth1_is_one_segment_of_seven_hourly_columns(shared_data):
    table = check_table(read_table(str(shared_data / "etth1.parquet")), time="date", series=None, targets=["OT"])
    assert table.names == ("OT", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")
    assert table.segments.tolist() == [[0, 17_420]] and len(table.notices) == 1


def test_the_eight_gaps_of_the_request_counts_are_closed_by_filling_one_step(shared_data):
    counts = read_table(str(shared_data / "nab_elb_request_count.parquet"))
    options: dict[str, Any] = {"time": "timestamp", "series": None, "targets": ["value"]}
    assert len(check_table(counts, **options).segments) == 9
    assert check_table(counts, **options, fill_gaps=1).segments.tolist() == [[0, 4_040]]
