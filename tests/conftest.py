"""Fixtures that several test files use."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Several processes at work, each with as many threads as there are cores, would wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

# Ray reads these when it is imported: the tests' own Ray wants a token, and so does everybody who asks it.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(16)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables beside the repository; a test that wants it is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real tables in {folder}")
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 hours of a daily wave with noise, and a column that follows it."""
    rng = np.random.default_rng(0)
    t = np.arange(500)
    wave = np.sin(2 * np.pi * t / 24)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=500, freq="h"),
            "load": 50 + 10 * wave + rng.normal(0, 1, 500),
            "heat": 20 + 5 * np.roll(wave, 3) + rng.normal(0, 1, 500),
        }
    )
    file = tmp_path_factory.mktemp("data") / "load.csv"
    frame.to_csv(file, index=False)
    return file


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray may not be started, which is what a refused command promises."""

    def refuse() -> None:
        raise AssertionError("Ray was started for a command that is refused")

    monkeypatch.setattr("ray_jobs.cluster.connect", refuse)


@pytest.fixture(scope="session")
def ray_head() -> Iterator[str]:
    """One Ray for all tests, of their own: its ports, its folder, its token; yields the dashboard's address.

    It ends with the process that `ray start --block` is: no other Ray on this machine is touched.
    """
    folder = tempfile.mkdtemp(prefix="fl-", dir="/tmp")  # sockets below it: the path must stay short
    port, dashboard, agent, client = (_free_port() for _ in range(4))
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "HOME": folder,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
        command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard}"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]  # any that are free: another Ray of the tests runs
        command += [f"--dashboard-agent-listen-port={agent}"]  # jobs go through it; the usual one is another Ray's
        command += [f"--ray-client-server-port={client}", f"--temp-dir={folder}/ray", "--include-dashboard=true"]
        command += [f"--object-store-memory={512 * 2**20}", "--disable-usage-stats"]
        started = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        # Ray Train's own cleaner asks this address; it gives up, and leaves cores reserved, where it finds two Rays.
        started["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        started["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # at its end nobody needs to be warned
        log = Path(folder) / "head.log"
        with log.open("w") as output:
            head = subprocess.Popen(command, env=started, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{dashboard}", head, log)
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            ray = sys.modules.get("ray")
            if ray is not None and ray.is_initialized():
                ray.shutdown()
            head.send_signal(signal.SIGTERM)
            try:
                head.wait(timeout=30)
            except subprocess.TimeoutExpired:
                head.kill()  # Ray's reaper ends the rest
                head.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(address: str, head: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if head.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2)
            return
        except urllib.error.HTTPError:
            return  # it answers, and wants its token
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"Ray did not start:\n{log.read_text()[-3000:]}")
