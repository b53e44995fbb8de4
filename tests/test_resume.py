"""Which run is gone on with, and what of it must be as it was: each refusal is one line, and touches nothing."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import pytest

from data.errors import InputError
from models.crossval import Problem
from ray_jobs import config, search, series
from ray_jobs.interrupt import Interrupted
from ray_jobs.resume import resumable, resumed
from ray_jobs.run_folder import RunFolder, find_unfinished, take
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.sweep import HaltedError
from search_spaces import load

FLAGS = ["--resume", "--name", "x"]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of `linear` that was begun and has a state of its first trial."""
    run = RunFolder(tmp_path / "x")
    run.path.mkdir()
    settings = series.complete(parsed(tmp_path, "--sample", "sea-temperature", "--trials", "4"))
    run.write_text("config.yaml", config.to_yaml(settings.model_copy(update={"name": None})))
    book = StudyBook(run.study_url, load("linear"), [96], algorithm="tpe", trials=4, seed=0, minimise=True)
    book.suggest()
    book.close()
    (run.path / "sweep-linear" / "checkpoints" / "trial-00000").mkdir(parents=True)
    return run.path


def parsed(runs: Path, *flags: str) -> Config:
    return config.parse(["--runs", str(runs), *flags], prog="", description="", resumable=True)


def go_on(begun: Path, *flags: str, families: tuple[str, ...] = ("linear",)) -> Config:
    given = ["--runs", str(begun.parent), *FLAGS, *flags]
    return resumed(config.parse(given, prog="", description="", resumable=True), families, given, series)


def test_a_run_goes_on_with_what_it_was_begun_with(begun: Path) -> None:
    settings = go_on(begun, "--trials", "9", "--export.tolerance", "1e-4")
    assert (settings.name, settings.data.sample, settings.search.trials) == ("x", "sea-temperature", 9)
    assert settings.export.tolerance == 1e-4
    with pytest.raises(InputError, match=r"was begun with search.seed=0, not 7; leave that flag out"):
        go_on(begun, "--seed", "7")
    with pytest.raises(
        InputError, match=r"was begun with features.select='none', not 'importance'; leave that flag out"
    ):
        go_on(begun, "--features.select", "importance")
    with pytest.raises(InputError, match=r"was begun with search.storage=None, not 'sqlite"):
        go_on(begun, "--search.storage", f"sqlite:///{begun}/other.db")
    with pytest.raises(
        InputError, match=r"was begun for linear, not lstm; go on by .* linear --resume --name \S+ --runs "
    ):
        go_on(begun, families=("lstm",))


def test_a_study_that_is_torn_or_gone_is_told_of_and_not_begun_anew(begun: Path) -> None:
    file = begun / "study.db"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"the study .*study.db cannot be read"):
        go_on(begun)
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(InputError, match=r"the study .*study.db cannot be read"):
        go_on(begun)
    for emptied in (True, False):
        file.write_bytes(b"")
        if not emptied:
            file.unlink()
        with pytest.raises(InputError, match=r"has states of trials, but its study is gone; put that back: .*study.db"):
            go_on(begun)
    file.write_bytes(whole)
    assert go_on(begun).name == "x"


def test_a_configuration_that_is_gone_is_to_be_put_back(begun: Path) -> None:
    (begun / "config.yaml").unlink()
    with pytest.raises(InputError, match=r"has a study, but its config.yaml is gone; put that back"):
        go_on(begun)
    (begun / "study.db").unlink()
    with pytest.raises(InputError, match=r"ended before it had begun; remove .* and start it without --resume"):
        go_on(begun)


def test_without_a_name_a_run_on_other_data_is_passed_over(tmp_path: Path) -> None:
    for name, path in (("lstm-sales", "/t/sales.csv"), ("lstm-sales-2", "/t/sales-2.csv")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"data: {{path: {path}}}\n")

    def on_sales(path: Path) -> bool:
        return "sales.csv" in (path / "config.yaml").read_text()

    assert find_unfinished(tmp_path, None, "lstm-sales", on_sales) == tmp_path / "lstm-sales"


def test_a_run_that_ended_badly_ends_so_again(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (begun / "DONE").touch()
    (begun / "summary.json").write_text(json.dumps({"trials": {"failed": 3, "complete": 1}}))
    with pytest.raises(search.TooManyFailedError, match="3 of 4 trials failed"):
        search.search(go_on(begun), ["linear"], resume=True)
    assert "is done: there is nothing to resume" in capsys.readouterr().out


@pytest.mark.parametrize("error", [Interrupted("SIGTERM"), OSError(errno.ENOSPC, "No space left on device")])
def test_what_ends_a_run_before_it_can_be_gone_on_with_leaves_none(tmp_path: Path, error: BaseException) -> None:
    kind = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind), take(tmp_path, "early", "early"):
        raise error
    assert not (tmp_path / "early").exists()


def test_what_stops_a_run_on_its_way_back_names_the_command(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: Config) -> Problem:
        raise Interrupted("SIGTERM")

    settings = go_on(begun)
    monkeypatch.setattr(series, "problem", interrupted)
    with pytest.raises(HaltedError, match=r"SIGTERM; .* python -m ray_jobs.search linear --resume --name x") as said:
        search.search(settings, ["linear"], resume=True)
    assert str(said.value).count("--resume") == 1


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    with pytest.raises(InputError, match="cannot lock: No locks available"), take(tmp_path, "a", "a"):
        pytest.fail("worked without a lock")


def test_a_disk_that_is_full_while_a_database_is_made_is_one_line(tmp_path: Path) -> None:
    import sqlite3

    run = RunFolder(tmp_path / "x")
    with (
        pytest.raises(HaltedError, match="the study database failed: disk I/O error"),
        resumable(run, ["linear"], series.MODULE),
    ):
        raise sqlite3.OperationalError("disk I/O error")
