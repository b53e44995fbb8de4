"""The checked table of rows: roles, kinds of columns, tasks, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError
from data.rows import check_rows, with_positive
from data.times import MISSING_TIME


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["a1", "a2", "a3", "a4", "a5", "a6"],
            "age": [30.0, np.nan, 41.0, 50.0, 22.0, 35.0],
            "married": [True, False, True, True, False, False],
            "plan": ["basic", "pro", None, "pro", "basic", "team"],
            "since": ["2020-01-01", "2021-06-30", None, "2019-02-28", "2024-02-29", "2023-12-31"],
            "same": [1, 1, 1, 1, 1, 1],
            "shop": [7, 7, 8, 8, 9, 9],
            "churned": ["yes", "no", "no", "yes", "no", "yes"],
        }
    )


def test_each_column_becomes_what_it_holds(frame: pd.DataFrame) -> None:
    table = check_rows(frame, target="churned", group="shop")
    assert table.names == ("age", "married", "plan")
    assert table.n_numbers == 2
    assert table.categories == {"plan": ("basic", "pro", "team")}
    assert np.isnan(table.values[1, 0])
    assert table.values[:, 1].tolist() == [1, 0, 1, 1, 0, 0]
    assert table.values[:, 2].tolist() == [1, 2, 0, 2, 1, 3]
    assert table.time_names == ("since",)
    assert table.times[[0, 2], 0].tolist() == [1_577_836_800, MISSING_TIME]  # 2020-01-01
    assert (table.task, table.classes, table.target_name) == ("classification", ("no", "yes"), "churned")
    assert table.target is not None
    assert table.target.tolist() == [1, 0, 0, 1, 0, 1]
    assert table.group is not None
    assert table.group.tolist() == [0, 0, 1, 1, 2, 2]
    said = " ".join(table.notices)
    assert "'id' (text, no two alike)" in said
    assert "'same' (constant 1)" in said


def test_the_positive_class_can_be_named(frame: pd.DataFrame) -> None:
    table = check_rows(frame, target="churned")
    turned = with_positive(table, "no")
    assert turned.classes == ("yes", "no")
    assert [turned.classes[int(code)] for code in turned.target] == [table.classes[int(code)] for code in table.target]
    assert turned.fingerprint != table.fingerprint
    assert with_positive(table, "yes") is table


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([0, 1, 1, 0, 1, 0], "classification", ("0", "1")),
        ([3, 10, 2, 3, 10, 2], "classification", ("2", "3", "10")),
        ([0.5, 1.5, 0.5, 0.5, 1.5, 1.5], "classification", ("0.5", "1.5")),
        ([0.5, 1.5, 2.5, 0.5, 1.5, 1.5], "regression", ()),
        ([True, False, True, True, False, True], "classification", ("False", "True")),
        (["b", "a", "b", "a", "a", "b"], "classification", ("a", "b")),
    ],
)
def test_the_target_says_the_task(frame: pd.DataFrame, values: list[object], task: str, classes: tuple[str]) -> None:
    table = check_rows(frame.assign(churned=values), target="churned")
    assert (table.task, table.classes) == (task, classes)


def test_what_was_guessed_of_numbers_is_said_and_can_be_changed(frame: pd.DataFrame) -> None:
    frame = frame.assign(churned=[1, 2, 3, 1, 2, 3])
    assert "'churned' has 3 different numbers" in " ".join(check_rows(frame, target="churned").notices)
    amounts = check_rows(frame, target="churned", task="regression")
    assert amounts.classes == ()
    assert amounts.target is not None
    assert amounts.target.tolist() == [1, 2, 3, 1, 2, 3]


def test_rows_without_a_target_are_left_out_and_counted(frame: pd.DataFrame) -> None:
    frame.loc[[1, 4], "churned"] = None
    table = check_rows(frame, target="churned")
    assert table.n_rows == 4 and table.places.tolist() == [0, 2, 3, 5]
    assert "2 rows without a value of 'churned' were left out." in table.notices


@pytest.mark.parametrize(
    ("values", "classes", "target"),
    [
        (["yes", "no", "", "yes", "NA", "no"], ("no", "yes"), [1, 0, 1, 0]),
        (["1", "1.0", "1", "0", "0.0", "0"], ("0", "1"), [1, 1, 1, 0, 0, 0]),
        ([1, 1.0, True, 0, 0, False], ("0", "1"), [1, 1, 1, 0, 0, 0]),
        (np.array([0.1, 0.2] * 3, np.float32), ("0.1", "0.2"), [0, 1, 0, 1, 0, 1]),
        (["1", "nan", "2", "1", "3", "2"], ("1", "2", "3"), [0, 1, 0, 2, 1]),
    ],
)
def test_one_class_has_one_name_and_a_blank_is_none(
    frame: pd.DataFrame, values: object, classes: tuple[str, ...], target: list[int]
) -> None:
    table = check_rows(
        frame.assign(churned=pd.Series(values, dtype=getattr(values, "dtype", object))), target="churned"
    )
    assert table.classes == classes
    assert table.target is not None
    assert table.target.tolist() == target


def test_a_column_of_numbers_may_be_declared_a_category(frame: pd.DataFrame) -> None:
    table = check_rows(frame, target="churned", inputs=["age", "shop"], categorical=["shop"])
    assert table.categories == {"shop": ("7", "8", "9")}
    assert table.names == ("age", "shop")


def test_texts_of_any_number_of_words_are_kept() -> None:
    words = [f"w{i % 2000}" for i in range(4000)]
    table = check_rows(pd.DataFrame({"word": words, "y": np.arange(4000.0)}), target="y")
    assert len(table.categories["word"]) == 2000


def test_without_a_target_it_is_a_clustering_held_against_labels(frame: pd.DataFrame) -> None:
    table = check_rows(frame, target=None, labels=["churned"])
    assert (table.task, table.target) == ("clustering", None)
    assert "churned" not in table.columns
    assert table.labels["churned"].tolist() == ["yes", "no", "no", "yes", "no", "yes"]


def test_the_fingerprint_tells_values_and_roles_apart(frame: pd.DataFrame) -> None:
    first = check_rows(frame, target="churned").fingerprint
    assert first == check_rows(frame.copy(), target="churned").fingerprint
    assert first != check_rows(frame.assign(age=frame["age"] + 1), target="churned").fingerprint
    assert first != check_rows(frame, target="churned", categorical=["married"]).fingerprint
    assert first != check_rows(frame, target="churned", drop=["married"]).fingerprint


@pytest.mark.parametrize(
    ("changed", "options", "words"),
    [
        ({}, {"target": "churn"}, ["no target column 'churn'", "'churned'"]),
        ({}, {"target": "churned", "drop": ["plam"]}, ["no dropped column 'plam'", "'plan'"]),
        ({}, {"target": "churned", "group": "churned"}, ["'churned' is both target and group"]),
        ({}, {"target": "churned", "inputs": ["age"], "drop": ["age"]}, ["'age' is both dropped and input"]),
        ({}, {"target": None, "task": "regression"}, ["no target given for a regression"]),
        ({}, {"target": "churned", "task": "clustering"}, ["a clustering has no target"]),
        ({"churned": "yes"}, {"target": "churned"}, ["'churned' is constant", "'yes'"]),
        ({"churned": None}, {"target": "churned"}, ["'churned' has no value at all"]),
        ({"age": np.inf}, {"target": "churned"}, ["'age'", "inf in data row 1", "leave it empty"]),
        ({"shop": [1, None, 2, 2, 3, 3]}, {"target": "churned", "group": "shop"}, ["'shop': data row 2 has none"]),
        ({"age": -1.0}, {"target": "churned", "weight": "age"}, ["'age'", "data row 1", "below 0"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    frame: pd.DataFrame, changed: dict[str, object], options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        check_rows(frame.assign(**changed), **options)
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in words), said


def test_a_table_of_nothing_but_ids_has_nothing_to_learn_from() -> None:
    frame = pd.DataFrame({"id": ["a", "b", "c"], "y": [1.5, 2.5, 3.5]})
    with pytest.raises(InputError, match="no column is left to predict 'y' from"):
        check_rows(frame, target="y")


def test_messages_count_the_rows_of_the_file_also_behind_rows_that_are_left_out(frame: pd.DataFrame) -> None:
    frame.loc[[0, 1], "churned"] = None
    for name, value, said in (("age", np.inf, "inf in data row 5"), ("since", "2020-02-30", "data row 5")):
        with pytest.raises(InputError, match=said):
            check_rows(frame.assign(**{name: frame[name].where(frame.index != 4, value)}), target="churned")
    with pytest.raises(InputError, match="'shop': data row 4 has none"):
        check_rows(frame.assign(shop=[None, 7, 8, None, 9, 9]), target="churned", group="shop")
    assert check_rows(frame.assign(shop=[None, 7, 8, 8, 9, 9]), target="churned", group="shop").n_rows == 4


def test_what_looks_like_an_id_is_an_input_and_a_notice_says_so() -> None:
    n = 40
    frame = pd.DataFrame(
        {
            "number": np.arange(n) * 7,
            "nearly": [f"w{min(i, 38)}" for i in range(n)],  # 39 words, 97.5 %
            "half": [f"w{i // 2}" for i in range(n)],
            "amount": np.arange(n) + 0.5,
            "since": ["2020-01-01"] * (n - 2) + [None] * 2,
            "kind": ["a", "b"] * (n // 2),
        }
    )
    table = check_rows(frame, target="kind")
    assert {"number", "nearly", "half", "amount"} == set(table.names)
    said = [notice for notice in table.notices if "as an id has" in notice]
    assert len(said) == 1 and said[0].startswith("'number', 'nearly' has a value of its own")
    assert "Dates and times: 'since' (2 missing)." in table.notices
    assert not [notice for notice in check_rows(frame[:20], target="kind").notices if "as an id has" in notice]
