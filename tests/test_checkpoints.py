"""States on disk: whole or absent, one's own, verified before use."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ray_jobs import checkpoints
from ray_jobs.checkpoints import GRACE, KEPT, SHARE, CannotWriteError, Checkpoints
from ray_jobs.trial import TrialRun
from search_spaces import load
from tests.builders import make_problem, make_table


def states(folder: Path, trial: int = 7) -> Checkpoints:
    return Checkpoints(folder / f"trial-{trial:05d}", {"family": "lstm", "trial": trial})


def state(epoch: int) -> dict[str, Any]:
    return {"folds": [{"weights": torch.full((3, 4), float(epoch)), "done": epoch, "best": 1.5}]}


def save(to: Checkpoints, *epochs: int) -> None:
    for epoch in epochs:
        to.save(state(epoch), {"number": epoch, "value": 1.0 / epoch})


def test_the_newest_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save(states(tmp_path), 1, 2, 3)
    one = states(tmp_path)
    found = one.newest()
    assert found is not None
    assert torch.equal(found.state["folds"][0]["weights"], torch.full((3, 4), 3.0))
    assert (found.state["folds"][0]["done"], found.report) == (3, {"number": 3, "value": 1 / 3})
    assert one.passed_over == []


def test_two_are_kept_and_nothing_temporary(tmp_path: Path) -> None:
    assert KEPT == 2
    save(states(tmp_path), *range(1, 12))
    assert sorted(path.name for path in (tmp_path / "trial-00007").iterdir()) == ["epoch-00010", "epoch-00011"]


def test_none_is_found_where_none_was_written(tmp_path: Path) -> None:
    assert states(tmp_path).newest() is None


@pytest.mark.parametrize("name", ["state.pt", "report.json", "manifest.json"])
def test_every_truncation_falls_back_to_the_state_before_and_says_so(tmp_path: Path, name: str) -> None:
    save(states(tmp_path), 1, 2)
    file = tmp_path / "trial-00007" / "epoch-00002" / name
    whole = file.read_bytes()
    for length in sorted({0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}):
        file.write_bytes(whole[:length])
        one = states(tmp_path)
        found = one.newest()
        assert found is not None
        assert found.report["number"] == 1
        assert len(one.passed_over) == 1
        assert one.passed_over[0].startswith("trial-00007/epoch-00002 cannot be used: ")
    file.unlink()
    one = states(tmp_path)
    found = one.newest()
    assert found is not None
    assert found.report["number"] == 1


def test_the_only_state_that_cannot_be_used_is_told_of_too(tmp_path: Path) -> None:
    save(states(tmp_path), 1)
    (tmp_path / "trial-00007" / "epoch-00001" / "state.pt").write_bytes(b"")
    one = states(tmp_path)
    assert one.newest() is None
    assert [said.partition(":")[0] for said in one.passed_over] == ["trial-00007/epoch-00001 cannot be used"]
    shutil.rmtree(one.folder)
    assert one.newest() is None and one.passed_over == []


def test_no_flipped_bit_is_accepted(tmp_path: Path) -> None:
    """200 places drawn over the three files; a bit of the manifest may say the same thing in other words only."""
    save(states(tmp_path), 1, 2)
    folder = tmp_path / "trial-00007" / "epoch-00002"
    rng = random.Random(0)
    for _ in range(200):
        file = folder / rng.choice(["state.pt", "report.json", "manifest.json"])
        whole = file.read_bytes()
        place = rng.randrange(len(whole))
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        one = states(tmp_path)
        found = one.newest()
        assert found is not None
        if found.report["number"] == 2:
            assert file.name == "manifest.json"
            assert json.loads(changed) == json.loads(whole)
        file.write_bytes(whole)
    one = states(tmp_path)
    found = one.newest()
    assert found is not None
    assert found.report["number"] == 2


def test_another_trials_state_and_a_renamed_one_are_refused(tmp_path: Path) -> None:
    save(states(tmp_path, 7), 1, 2)
    save(states(tmp_path, 8), 2)
    mine = tmp_path / "trial-00007"
    shutil.rmtree(mine / "epoch-00002")
    shutil.copytree(tmp_path / "trial-00008" / "epoch-00002", mine / "epoch-00002")
    shutil.copytree(mine / "epoch-00001", mine / "epoch-00009")
    one = states(tmp_path, 7)
    found = one.newest()
    assert found is not None
    assert found.report["number"] == 1
    assert one.passed_over == [
        "trial-00007/epoch-00009 cannot be used: it is the state of epoch 1",
        "trial-00007/epoch-00002 cannot be used: it belongs to another trial",
    ]


def test_objects_are_not_loaded_even_with_a_right_manifest(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    one = states(tmp_path)
    save(one, 1)
    one.save({"folds": Hostile()}, {"number": 2})  # signed like any other state
    one = states(tmp_path)
    found = one.newest()
    assert not marker.exists()
    assert found is not None
    assert found.report["number"] == 1


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    one = states(tmp_path)
    one.save({"folds": [torch.eye(3).to_sparse()]}, {"number": 1})
    assert states(tmp_path).newest() is None


@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_a_full_disk_is_named_and_leaves_the_states_there_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each n-th call of one kind fails, until a save gets through."""
    original = getattr(os, call)
    for n in range(1, 20):
        shutil.rmtree(tmp_path / "trial-00007", ignore_errors=True)
        one = states(tmp_path)
        save(one, 1)
        calls = 0

        def fail(*args: Any, _n: int = n, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == _n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                save(one, 2)
            except CannotWriteError as error:
                assert str(error) == f"cannot write {one.folder}: No space left on device"
            else:  # the folder is there: that it cannot be made again is no fault
                one = states(tmp_path)
                found = one.newest()
                assert found is not None
                assert found.report["number"] == 2
                if calls < n:
                    break
        one = states(tmp_path)
        found = one.newest()
        assert found is not None
        assert found.report["number"] in (1, 2)  # 2: the rename was done, making it durable failed
        assert one.passed_over == []
        assert not list(one.folder.glob(".*"))
    else:
        pytest.fail("no save got through")


def test_states_are_written_as_often_as_they_stay_cheap(tmp_path: Path) -> None:
    one = states(tmp_path)
    assert one.due(0.001) == "durable", "the first always is"
    one.spent, one.cheapest = 0.3, 0.1
    needed = (0.3 + 0.1 - GRACE) / SHARE  # 15 s of training in all
    one.without = 0
    assert one.due(needed - 1) is None
    assert one.due(1) == "durable"
    save(one, 1)
    assert 0 < one.cheapest < 0.1 and one.spent > 0.3


def test_no_two_epochs_in_a_row_go_without_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, waited = states(tmp_path), []
    fsync = os.fsync
    monkeypatch.setattr(checkpoints.os, "fsync", lambda file: (waited.append(file), fsync(file))[1])
    save(one, 1)
    one.spent, one.cheapest = 10.0, 1.0  # what is dear now stays so
    durable = len(waited)
    assert durable == 5  # three files, two folders
    ways = []
    for number in range(2, 8):
        ways.append(one.due(0.01))
        if ways[-1]:
            one.save(state(number), {"number": number}, ways[-1])
    assert ways == [None, "quick"] * 3
    assert len(waited) == durable and one.spent == 10.0
    kept = [path.name for path in sorted(one.folder.iterdir())]
    assert kept[0] == "epoch-00001" and len(kept) == 3, "the durable one stays beside the two newest"


def test_of_a_long_training_so_much_goes_into_states_and_no_more(tmp_path: Path) -> None:
    one, written = states(tmp_path), 0
    for _ in range(1000):  # epochs of a second, and writes of 50 ms: every one would be 5%
        if one.due(1.0) == "durable":
            one.spent, one.cheapest, written = one.spent + 0.05, 0.05, written + 1
    assert 1000 * SHARE / 0.05 - 1 <= written <= (1000 * SHARE + GRACE) / 0.05


def test_one_slow_write_keeps_no_epoch_from_its_state(tmp_path: Path) -> None:
    one = states(tmp_path)
    assert one.due(1.0) == "durable"
    one.spent, one.cheapest = 0.01, 0.01
    assert one.due(1.0) == "durable"
    one.spent += 0.09  # a disk that was busy
    assert one.due(1.0) == "durable"


def test_a_node_that_does_not_see_the_run_stops_the_sweep(tmp_path: Path) -> None:
    """It would write states to a disk of its own, where nobody finds them."""
    problem = make_problem(make_table(), lookback=8)
    own = {"folder": str(tmp_path / "elsewhere"), "owner": {}, "number": 0}
    with pytest.raises(CannotWriteError, match=r"does not see .*elsewhere: mount it on every node"):
        TrialRun(own, problem, number=0, device="cpu")
    assert not (tmp_path / "elsewhere").exists()


def test_the_last_epoch_has_a_state_though_none_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        **{"folder": str(tmp_path), "owner": {}, "number": 0, "heard": 0, "epoch_timeout": 60, "exploits": False},
        **{"family": "linear", "params": {**load("linear").default, "window.lookback": 8}},
        "fixed": {"fit.max_epochs": 3},
    }
    run = TrialRun(own, make_problem(make_table(), lookback=8), number=0, device="cpu")
    monkeypatch.setattr(run.states, "due", lambda seconds: None)
    assert [run.epoch()["finished"] for _ in range(3)] == [False, False, True]
    found = run.states.newest()
    assert found is not None and found.report["number"] == 3
    assert [each.name for each in run.states.folder.iterdir()] == ["epoch-00003"]
