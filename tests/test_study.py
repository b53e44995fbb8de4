"""The study database: what a process that died has left, and what the next one makes of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from ray_jobs import config, schedulers, series
from ray_jobs.database import check_reachable
from ray_jobs.run_folder import RunFolder
from ray_jobs.schedulers import Replayable
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook, ending, epochs
from ray_jobs.tabular import kind as rows
from search_spaces import load


def book(folder: Path, **changes: Any) -> StudyBook:
    settings = {"algorithm": "tpe", "trials": 12, "seed": 3, "minimise": True, **changes}
    return StudyBook(f"sqlite:///{folder}/study.db", load("linear"), [24], **settings)


def epoch(number: int, value: float, *, finished: bool = False) -> dict[str, Any]:
    return {"number": number, "value": value, "folds": [value] * 5, "ended": float(number), "finished": finished}


def begin(one: StudyBook) -> tuple[int, dict[str, Any]]:
    found = one.suggest()
    assert found is not None
    return found


def test_a_trial_is_in_the_database_before_anyone_knows_its_parameters(tmp_path: Path) -> None:
    one = book(tmp_path)
    number, params = begin(one)
    other = book(tmp_path)
    assert [t.number for t in other.unfinished] == [number]
    assert {**other.unfinished[0].params, **other.fixed} == params == {**one.first[0], "window.lookback": 24}


def test_what_was_acknowledged_is_found_by_the_next_process(tmp_path: Path) -> None:
    one = book(tmp_path)
    for _ in range(3):
        begin(one)
    one.record(0, epoch(1, 0.5))
    one.record(1, epoch(1, 0.4))
    one.record(0, epoch(2, 0.3, finished=True))
    one.finish(0, "complete", reason="finished", value=0.3, params={"a": 1})
    other = book(tmp_path)
    assert (other.started, other.ended, other.open_trials, other.recorded) == (3, 1, 2, 3)
    assert [t.number for t in other.unfinished] == [1, 2]
    assert ending(other.finished()[0]) == {"state": "complete", "reason": "finished", "value": 0.3, "params": {"a": 1}}
    assert [e["place"] for t in other.all_trials() for e in epochs(t)] == [0, 2, 1]
    assert other.seconds() == 2.0


def test_an_epoch_that_comes_twice_counts_once_and_keeps_its_place(tmp_path: Path) -> None:
    one = book(tmp_path)
    begin(one), begin(one)
    for number, at in ((0, 1), (1, 1), (0, 1), (0, 2)):
        one.record(number, epoch(at, 1.0 / at))
    assert one.recorded == 3
    assert [(e["number"], e["place"]) for e in epochs(one.all_trials()[0])] == [(1, 0), (2, 2)]


def test_an_ending_of_which_half_was_written_is_completed(tmp_path: Path) -> None:
    one = book(tmp_path)
    begin(one), begin(one)
    one.record(0, epoch(1, 0.5))
    end = {"state": "pruned", "reason": "stopped after epoch 1", "value": 0.5, "params": {}}
    one.storage.set_trial_user_attr(one._id(0), "end", end)  # and the process dies
    other = book(tmp_path)
    assert [t.number for t in other.unfinished] == [1]
    assert [t.state.name for t in other.all_trials()] == ["PRUNED", "RUNNING"]


@pytest.mark.parametrize("algorithm", ["tpe", "random", "grid", "hyperopt"])
def test_suggestions_do_not_depend_on_the_process_that_makes_them(tmp_path: Path, algorithm: str) -> None:
    """Twelve trials by one process, and by twelve that each die after one."""

    def play(one: StudyBook) -> None:
        number, params = begin(one)
        value = abs(params["fit.lr"] - 0.003)
        one.record(number, epoch(1, value, finished=True))
        one.finish(number, "complete", reason="finished", value=value, params=params)

    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    whole = book(tmp_path / "one", algorithm=algorithm)
    for _ in range(12):
        play(whole)
        play_on = book(tmp_path / "many", algorithm=algorithm)
        play(play_on)
        play_on.close()
    mine = [t.params for t in whole.all_trials()]
    assert mine == [t.params for t in book(tmp_path / "many", algorithm=algorithm).all_trials()]
    assert len({tuple(p.items()) for p in mine}) == 12
    assert whole.suggest() is None


def test_the_database_is_written_ahead(tmp_path: Path) -> None:
    one = book(tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
    one.close()
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"], "closed, it is one file again"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.url = "postgresql://ann:secret@db.example/foldline"
    assert one.shown_url == "postgresql://db.example/foldline"


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_replayed_rule_decides_as_the_one_that_lived_through_it(name: str) -> None:
    """16 trials of 9 epochs, interleaved; the second half is decided by a rule that was shown the first half again."""

    def rule() -> Replayable:
        made = schedulers.make(name, minimise=True, max_epochs=9, ranges={}, seed=0)
        assert isinstance(made, Replayable)
        return made

    def value(number: int, at: int) -> float:
        return ((number * 7) % 16 + 1) / at**0.5

    lived, shown = rule(), rule()
    events: list[tuple[int, dict[str, Any]]] = []
    alive = set(range(16))
    decisions: list[tuple[int, int]] = []
    for at in range(1, 10):
        for number in sorted(alive):
            events.append((number, epoch(at, value(number, at))))
            stopped = number in lived.replay([events[-1]]) if at == 1 else _tell(lived, *events[-1])
            if stopped:
                alive.discard(number)
                decisions.append((number, at))
        if at == 4:
            last = shown.replay(events)
            assert last == {number for number, _ in decisions}
        elif at > 4:
            for number, one in [each for each in events if each[1]["number"] == at]:
                assert bool(_tell(shown, number, one)) == ((number, at) in decisions)
    assert {at for _, at in decisions} >= {1, 3} if name == "asha" else decisions


@pytest.mark.parametrize("name", ["asha", "median"])
def test_no_trial_ends_within_its_grace(name: str) -> None:
    """Trials one after the other, each worse than all before."""
    made = schedulers.make(name, minimise=True, max_epochs=27, ranges={}, seed=0, grace=4)
    assert isinstance(made, Replayable)
    ended = {}
    for number in range(6):
        ats = range(1, 27)  # asha ends a trial at its last epoch
        ended[number] = next((at for at in ats if number in made.replay([(number, epoch(at, float(number)))])), None)
    assert ended[0] is None and ended[5] == 4


def test_rows_have_a_ninth_of_their_epochs_to_begin_with() -> None:
    def given(**values: int) -> Config:
        return config.check({"search": values})

    assert [rows.grace(given(max_epochs=n)) for n in (1, 2, 9, 27, 30, 81)] == [1, 2, 3, 3, 3, 9]
    assert series.grace(given(max_epochs=81)) == 1
    assert rows.grace(given(max_epochs=81, grace=5)) == series.grace(given(max_epochs=81, grace=5)) == 5


def _tell(rule: Replayable, number: int, one: dict[str, Any]) -> bool:
    class Trial:
        trial_id = "passing"
        config = {"trial": {"number": number}}  # noqa: RUF012

    class Nobody:
        def get_live_trials(self) -> set[Any]:
            return set()

    return rule.on_trial_result(Nobody(), Trial(), one) == "STOP"


def test_a_database_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    half = sqlite3.connect(tmp_path / ".study.db.part")
    half.execute("CREATE TABLE studies (study_id INTEGER NOT NULL PRIMARY KEY)")
    half.close()
    (tmp_path / ".study.db.part-wal").write_bytes(b"torn")
    number, _ = begin(book(tmp_path))
    assert [trial.number for trial in book(tmp_path).unfinished] == [number]
    assert not list(tmp_path.glob(".study*"))


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_replayed_rule_does_not_hear_what_a_living_one_is_not_shown(name: str) -> None:
    """Tune keeps the last epoch of a trial that ends by itself from its rule."""
    rule = schedulers.make(name, minimise=True, max_epochs=27, ranges={}, seed=0)
    assert isinstance(rule, Replayable)
    good = [(number, {**epoch(at, 0.1), "finished": at == 9}) for number in range(4) for at in range(1, 10)]
    bad = [(9, epoch(at, 0.1 + 0.01 * at)) for at in range(1, 11)]
    stopped = rule.replay([*good, *bad])  # the median rule raises where it is told of a trial that it has stopped
    assert 9 in stopped
    if name == "asha":
        assert not any("0" in recorded for milestone, recorded in rule.rule._brackets[0]._rungs if milestone == 9)


def test_what_is_fixed_is_not_searched(tmp_path: Path) -> None:
    url, fixed = f"sqlite:///{tmp_path}/study.db", {"model.query": "mean", "model.hidden": 64, "model.segment": 12}
    one = StudyBook(url, load("attention_lstm"), [24], algorithm="random", trials=6, seed=3, minimise=True, fixed=fixed)
    drawn = [begin(one)[1] for _ in range(6)]
    assert all((each["model.query"], each["model.hidden"]) == ("mean", 64) for each in drawn)
    assert not any("model.segment" in each for each in drawn)  # another family's
    assert len({each["fit.lr"] for each in drawn}) == 4  # three starts share theirs
    assert not {"model.query", "model.hidden"} & set(one.ranges)


def test_starts_that_are_the_same_but_for_what_is_fixed_are_one_trial(tmp_path: Path) -> None:
    url, fixed = f"sqlite:///{tmp_path}/study.db", {"model.hidden": 64, "model.layers": 1, "model.heads": 2}
    one = StudyBook(url, load("attention_lstm"), [24], algorithm="random", trials=6, seed=3, minimise=True, fixed=fixed)
    assert len(one.first) == 1


def test_a_study_refuses_another_question(tmp_path: Path) -> None:
    asked = {"search.metric": "mae", "families": ["linear"]}
    one = book(tmp_path)
    one.check_question(asked)
    book(tmp_path).check_question(asked)
    book(tmp_path).check_question({**asked, "of.a.later.version": 3})
    with pytest.raises(InputError, match=r"was begun with search.metric='mae', not 'r2'"):
        book(tmp_path).check_question({**asked, "search.metric": "r2"})
    other = book(tmp_path)
    other.ranges["fit.lr"] = other.ranges["fit.weight_decay"]
    with pytest.raises(InputError, match=r"search_spaces/linear.py has changed .*\(fit.lr\)"):
        other.check_question(asked)


def test_a_search_that_is_over_stays_so_for_the_same_budget(tmp_path: Path) -> None:
    one = book(tmp_path)
    assert one.searched([20, 60.0]) is None
    one.end_search(61.5, [20, 60.0])
    assert book(tmp_path).searched([20, 60.0]) == 61.5
    assert book(tmp_path).searched([20, 90.0]) is None and book(tmp_path).searched([30, 60.0]) is None


@pytest.mark.parametrize("folder", ["a%2Fb", "a b", "a?b", "é", "a#b@c:d"])
def test_a_study_lies_in_its_folder_whatever_its_name(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    url = RunFolder(tmp_path / folder).study_url
    StudyBook(url, load("linear"), [24], algorithm="random", trials=3, seed=3, minimise=True).close()
    assert (tmp_path / folder / "study.db").stat().st_size > 0
    assert [each.name for each in tmp_path.iterdir()] == [folder]


def test_an_empty_database_file_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    begin(book(tmp_path))
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="would live in memory and die with the process; name a file"):
        check_reachable(url)
