"""The study in a real PostgreSQL, started here: what was acknowledged outlives the server's death, too."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from data.errors import InputError
from ray_jobs import cluster
from ray_jobs.database import DATABASE_ERRORS, check_reachable, why
from ray_jobs.study import StudyBook, epochs
from ray_jobs.sweep import HaltedError
from search_spaces import load
from tests.sweeps import run_sweep, settings

pytestmark = pytest.mark.slow


def _binary(name: str) -> str | None:
    """Where a distribution may have put it: Debian keeps initdb off the PATH."""
    places = [str(path.parent) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *places]))


class Server:
    """A PostgreSQL with a folder, a port and a password of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # It refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def make(self) -> None:
        (self.folder / "password").write_text("of the test")
        shutil.chown(self.folder, self.user) if os.geteuid() == 0 else None
        self._run("initdb", "-D", "db", "-U", "foldline", "-A", "scram-sha-256", "--pwfile=password", "--no-sync")

    def start(self) -> None:
        """Until it answers. After a kill it refuses to start while a child of the dead one still leaves."""
        until = time.monotonic() + 30
        while True:
            if self.process is None or self.process.poll() is not None:
                options = ["-D", "db", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder)]
                self.process = subprocess.Popen(self._command("postgres", *options), **self._options())
            try:
                return check_reachable(self.url)
            except InputError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of the postmaster: no shutdown, no checkpoint; its children leave when they notice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://foldline@127.0.0.1:{self.port}/postgres"

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [str(_binary(name)), *arguments]

    def _run(self, name: str, *arguments: str) -> None:
        options = self._options()
        done = subprocess.run(self._command(name, *arguments), **{**options, "stdout": subprocess.PIPE}, text=True)
        assert done.returncode == 0, done.stdout

    def _options(self) -> dict[str, Any]:
        as_user = {"user": self.user, "extra_groups": []} if os.geteuid() == 0 else {}
        return {
            "cwd": self.folder,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
            **as_user,
        }


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if _binary("initdb") is None or _binary("postgres") is None:
        pytest.skip("needs PostgreSQL's initdb and postgres (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="fl-pg-", dir="/tmp"))  # a socket lies in it: the path must stay short
    one = Server(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", "of the test")
        try:
            one.make()
            one.start()
            yield one
        finally:
            one.kill()
            shutil.rmtree(folder, ignore_errors=True)


def book(server: Server, name: str) -> StudyBook:
    return StudyBook(
        server.url, load("linear"), [24], algorithm="tpe", trials=6, seed=3, minimise=True, name=f"{name}/linear"
    )


def test_what_was_acknowledged_outlives_the_server(server: Server) -> None:
    one = book(server, "outlives")
    drawn = [one.suggest() for _ in range(2)]
    one.record(0, {"number": 1, "value": 0.5, "ended": 1.0, "finished": False})
    one.finish(0, "pruned", reason="stopped after epoch 1", value=0.5, params={})
    server.kill()
    with pytest.raises(DATABASE_ERRORS) as died:
        one.record(1, {"number": 1, "value": 0.4, "ended": 2.0, "finished": False})
    assert re.search("refused|closed|terminat", why(died.value))
    one.close()
    server.start()
    other = book(server, "outlives")
    assert (other.started, other.ended, other.recorded) == (2, 1, 1)
    assert [{**trial.params, **other.fixed} for trial in other.all_trials()] == [each[1] for each in drawn if each]
    assert [trial.number for trial in other.unfinished] == [1]
    other.close()


def test_two_runs_in_one_database_do_not_mix(server: Server, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with closing(book(server, "one")) as one, closing(book(server, "other")):
        one.suggest()
        one.copy_to(url)
        for name, started in (("one", 1), ("other", 0)):
            with closing(book(server, name)) as again:
                assert again.started == started
    assert [trial.params for trial in optuna.load_study(storage=url, study_name="linear").trials] == one.first


@pytest.mark.ray
def test_a_sweep_stops_in_one_line_when_its_database_dies_and_goes_on_with_it(
    server: Server,
    table: Path,
    tmp_path: Path,
    ray_head: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.connect()
    flags = ["--trials", "4", "--max-epochs", "3", "--resources.concurrent", "1"]
    for name in ("calm", "torn"):
        (tmp_path / name).mkdir()
    calm = run_sweep(settings(table, tmp_path, *flags), tmp_path / "calm")[1]

    torn = settings(table, tmp_path, *flags, "--search.storage", server.url)
    record = StudyBook.record

    def record_and_kill(self: StudyBook, number: int, epoch: dict[str, Any]) -> None:
        record(self, number, epoch)
        if self.recorded == 4:
            server.kill()

    monkeypatch.setattr(StudyBook, "record", record_and_kill)
    with pytest.raises(HaltedError, match="cannot write postgresql") as halted:
        run_sweep(torn, tmp_path / "torn")
    assert "\n" not in str(halted.value)
    monkeypatch.undo()
    monkeypatch.setenv("PGPASSWORD", "of the test")
    server.start()
    _, whole, _ = run_sweep(torn, tmp_path / "torn")
    assert [curve(trial) for trial in whole.all_trials()] == [curve(trial) for trial in calm.all_trials()]
    whole.close()


def curve(trial: optuna.trial.FrozenTrial) -> list[Any]:
    return [trial.user_attrs["end"], *[(e["number"], e["value"], e["folds"]) for e in epochs(trial)]]
