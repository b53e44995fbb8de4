"""All tests, in as many processes as there are cores. With arguments: pytest, as it is.

More at one time would wait for each other: tests that start Ray have processes of their own at work, and those that
wait for something to happen in time would wait too long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]


def _files(*names: str) -> list[str]:
    return [f"tests/test_{name}.py" for name in names]


SWEEPS = _files("sweep", "tabular_search", "deaths")
GRAPHS = _files("blend", "contract", "extras", "features", "heads", "inputs", "tabular", "tft")
PARTS = {  # the longest first
    "sweeps": ["-m", "ray", *SWEEPS],
    "the README's commands, disturbed sweeps": ["-m", "ray", *(f"--ignore={file}" for file in SWEEPS)],
    "graphs": ["-m", "not ray", *GRAPHS],
    "the rest": ["-m", "not ray", *(f"--ignore={path}" for path in ("tests/faults", *GRAPHS))],
}
ENV = {**os.environ, "RAY_worker_niceness": "0"}  # Ray's own, 15, would leave its workers what the others do not want


def main(arguments: list[str]) -> int:
    if arguments:
        return subprocess.run([*PYTEST, *arguments], cwd=ROOT).returncode
    print(f"{'; '.join(PARTS)}: each is shown when it has ended", flush=True)
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as lanes:
        codes = list(lanes.map(_run, PARTS, PARTS.values()))
    return max(codes, key=abs)


def _run(name: str, words: Sequence[str]) -> int:
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        command = [*PYTEST, *words, "-o", f"cache_dir=.pytest_cache/{name.replace(' ', '-')}"]
        code = subprocess.run(command, cwd=ROOT, env=ENV, stdout=output, stderr=subprocess.STDOUT).returncode
        output.seek(0)
        said = output.read().decode("utf8", "replace")
    print(f"{name}: {time.monotonic() - began:.0f} s\n{said}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
