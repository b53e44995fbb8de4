"""Folds of rows: what is held out is in no fold, classes are spread, groups and times stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.row_folds import RowFold, grouped_rows, in_order, kfold, split_rows, stratified


def make(scheme: str, n: int, n_folds: int, holdout: float, seed: int) -> tuple[tuple[RowFold, ...], RowFold]:
    rng = np.random.default_rng(seed)
    return split_rows(
        n,
        scheme=scheme,
        n_folds=n_folds,
        holdout=holdout,
        seed=seed,
        labels=rng.permutation(np.arange(n) % 3),
        groups=rng.integers(0, max(12, n // 4), n),
        clock=rng.integers(0, 10 * n, n),
    )


@pytest.mark.parametrize("scheme", ["random", "stratified", "grouped", "walk_forward"])
@given(
    n=st.integers(120, 400), n_folds=st.integers(2, 6), holdout=st.sampled_from([0.1, 0.2, 0.4]), seed=st.integers(0, 9)
)
def test_no_row_is_judged_by_what_it_taught(scheme: str, n: int, n_folds: int, holdout: float, seed: int) -> None:
    folds, final = make(scheme, n, n_folds, holdout, seed)
    assert len(folds) == n_folds and final.name == "holdout"
    assert sorted([*final.train, *final.valid]) == list(range(n))
    assert len(final.valid) == pytest.approx(holdout * n, abs=0.12 * n if scheme == "grouped" else 3)
    for fold in folds:
        assert len(fold.train) and len(fold.valid)
        assert not set(fold.train) & set(fold.valid)
        assert not {*fold.train, *fold.valid} & set(final.valid)
    judged = np.concatenate([fold.valid for fold in folds])
    assert len(set(judged)) == len(judged)  # each row once
    if scheme != "walk_forward":
        assert set(judged) == set(final.train)


@given(seed=st.integers(0, 50))
def test_groups_stay_together_in_the_holdout_and_in_every_fold(seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, 30, 200)
    folds, final = split_rows(200, scheme="grouped", n_folds=3, holdout=0.2, seed=seed, groups=groups)
    for fold in (*folds, final):
        assert not set(groups[fold.train]) & set(groups[fold.valid])


@given(seed=st.integers(0, 50), kinds=st.integers(8, 300))
def test_what_validates_lies_after_all_that_trains_and_equal_times_stay_together(seed: int, kinds: int) -> None:
    clock = np.random.default_rng(seed).integers(0, kinds, 300)
    folds, final = split_rows(300, scheme="walk_forward", n_folds=3, holdout=0.1, seed=0, clock=clock)
    for fold in (*folds, final):
        assert clock[fold.train].max() < clock[fold.valid].min()


def test_blocks_of_time_hold_as_many_rows_each() -> None:
    one, two = in_order([5, 1, 2, 3, 4, 6], 2)  # blocks: times 1 2, 3 4, 5 6
    assert (one.train.tolist(), one.valid.tolist()) == ([1, 2], [3, 4])
    assert (two.train.tolist(), two.valid.tolist()) == ([1, 2, 3, 4], [0, 5])
    with pytest.raises(InputError, match="3 folds in the order of time need more than 3 times, got 3"):
        in_order([1, 1, 2, 3], 3)


def test_each_class_gives_its_share_to_the_holdout() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    folds, final = split_rows(100, scheme="stratified", n_folds=3, holdout=0.2, seed=0, labels=labels)
    assert np.bincount(labels[final.valid]).tolist() == [18, 2]
    assert [np.bincount(labels[fold.valid])[1] for fold in folds] in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_kfold_validates_on_each_row_once():
    folds = kfold(10, 3, seed=0)
    assert sorted(len(fold.valid) for fold in folds) == [3, 3, 4]
    assert sorted(row for fold in folds for row in fold.valid.tolist()) == list(range(10))
    assert all(sorted([*fold.train.tolist(), *fold.valid.tolist()]) == list(range(10)) for fold in folds)


def test_kfold_depends_on_its_seed_alone():
    def parts(seed: int) -> list[list[int]]:
        return [fold.valid.tolist() for fold in kfold(50, 5, seed=seed)]

    assert parts(3) == parts(3) and parts(3) != parts(4)


def test_stratified_spreads_each_class_over_the_folds():
    labels = np.array(["no"] * 11 + ["yes"] * 4)
    for fold in stratified(labels, 2, seed=1):
        assert (labels[fold.valid] == "yes").sum() == 2
        assert (labels[fold.valid] == "no").sum() in (5, 6)
        assert len(set(fold.train.tolist()) & set(fold.valid.tolist())) == 0


def test_stratified_keeps_small_classes_from_piling_up_in_the_first_fold():
    sizes = [len(fold.valid) for fold in stratified(np.repeat(np.arange(6), 3), 2, seed=0)]
    assert sizes == [9, 9]  # six classes of three rows: dealing starts where the class before stopped


def test_grouped_rows_puts_the_largest_groups_into_different_folds():
    one, two = grouped_rows(["a"] * 3 + ["b"] * 5 + ["c"] * 2 + ["d"], 2)  # b 5 | a 3 + c 2, then d to the first
    assert one.valid.tolist() == [3, 4, 5, 6, 7, 10] and two.valid.tolist() == [0, 1, 2, 8, 9]
    assert one.train.tolist() == two.valid.tolist()


@pytest.mark.parametrize(
    ("deal", "message"),
    [
        (lambda: kfold(3, 4, seed=0), "4 folds need at least 4 rows, got 3"),
        (lambda: kfold(9, 1, seed=0), "at least 2 folds"),
        (lambda: stratified(["a", "a", "a", "b"], 2, seed=0), "class 'b' has 1 rows, 2 stratified folds need"),
        (lambda: stratified(np.array(["a", None, "b"], dtype=object), 2, seed=0), "row 1 has no label"),
        (lambda: grouped_rows([7, 7, 8, 8], 3), "3 folds need at least 3 groups, got 2"),
        (lambda: grouped_rows([1.0, float("nan")], 2), "row 1 has no group"),
    ],
)
def test_row_folds_that_cannot_be_made_are_refused(deal, message):
    with pytest.raises(InputError, match=message):
        deal()
