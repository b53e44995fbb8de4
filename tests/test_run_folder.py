"""A run's folder: one process at a time, whole files, and the right one to go on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from data.errors import InputError
from ray_jobs import config, interrupt, run_folder
from ray_jobs.interrupt import Interrupted
from tests.conftest import ROOT


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pathlib import Path
        from ray_jobs import run_folder
        with run_folder.take(Path({str(tmp_path)!r}), "a", "a"):
            print("taken", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    with (
        pytest.raises(InputError, match="another process is working on run 'a'"),
        run_folder.take(tmp_path, "a", "a", resume=True),
    ):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with run_folder.take(tmp_path, "a", "a", resume=True) as run:
        assert run.path == tmp_path / "a"
    assert list((tmp_path / "a").iterdir()) == [], "the lock's file goes with a run that ended well"


def test_a_refusal_leaves_no_new_folder_and_an_old_one_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError), run_folder.take(tmp_path, "new", "x"):
        raise InputError("too late")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "study.db").touch()
    with pytest.raises(InputError), run_folder.take(tmp_path, "old", "x", resume=True):
        raise InputError("too late")
    assert (tmp_path / "old" / "study.db").exists()


def test_without_a_name_the_newest_unfinished_run_is_gone_on_with(tmp_path: Path) -> None:
    for number, name in enumerate(["lstm-a", "lstm-a-2", "lstm-a-3"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (number, number))
    (tmp_path / "lstm-a-3" / "DONE").touch()
    os.utime(tmp_path / "lstm-a-3", (9, 9))
    assert run_folder.find_unfinished(tmp_path, None, "lstm-a") == tmp_path / "lstm-a-2"
    assert run_folder.find_unfinished(tmp_path, "lstm-a", "lstm-a") == tmp_path / "lstm-a"
    with pytest.raises(InputError, match=r"no run 'lstm-b' in .*did you mean 'lstm-a"):
        run_folder.find_unfinished(tmp_path, "lstm-b", "lstm-a")
    with pytest.raises(InputError, match="no unfinished run 'tcn-a'"):
        run_folder.find_unfinished(tmp_path, None, "tcn-a")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_exception_that_no_handler_of_failures_catches(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Interrupted, match=number.name), interrupt.raised():
            try:
                os.kill(os.getpid(), number)
            except Exception:
                pytest.fail("taken for a failure")
        signal.signal(number, signal.SIG_DFL)
        with interrupt.raised():
            pass
        assert signal.getsignal(number) == signal.SIG_DFL, "after a block without a signal, handlers are as they were"
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = """
        import os, signal, time
        from ray_jobs import interrupt
        with interrupt.raised():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                print("still here")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (4, "")


def test_what_a_resumed_run_may_change_is_told_from_what_it_may_not() -> None:
    one = config.check({"search": {"trials": 4}, "data": {"sample": "stocks"}})
    other = config.check({"search": {"trials": 9, "seed": 1}, "data": {"sample": "stocks"}})
    assert list(config.differences(one, other)) == [("search.trials", 4, 9), ("search.seed", 0, 1)]


def test_flags_lie_over_a_file_and_a_file_over_what_a_run_was_begun_with(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("search: {trials: 5, max_epochs: 7}\n")
    base = {"search": {"trials": 4, "max_epochs": 3, "seed": 2}, "window": {"lookback": 12}}
    found = config.parse(["--config", str(file), "--trials", "6"], prog="", description="", base=base)
    search = found.search
    assert (search.trials, search.max_epochs, search.seed, found.window.lookback) == (6, 7, 2, 12)
    assert base["search"]["trials"] == 4


def test_a_signal_that_compiled_code_wraps_is_still_a_signal() -> None:
    with pytest.raises(Interrupted, match="SIGINT"), interrupt.raised():
        try:
            raise Interrupted("SIGINT")
        except Interrupted as error:
            raise SystemError("wait returned a result with an exception set") from error
