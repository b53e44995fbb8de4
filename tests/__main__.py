"""All tests, in two processes at once: those that start Ray, and the others. With arguments: pytest, as it is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]


def main(arguments: list[str]) -> int:
    if arguments:
        return subprocess.run([*PYTEST, *arguments], cwd=ROOT).returncode
    with tempfile.TemporaryFile("w+", encoding="utf8") as output:
        other = [*PYTEST, "-m", "not ray", "-o", "cache_dir=.pytest_cache/other"]
        with subprocess.Popen(other, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True) as beside:
            print("tests that start Ray; the others run beside them", flush=True)
            code = subprocess.run([*PYTEST, "-m", "ray"], cwd=ROOT).returncode
            beside.wait()
        output.seek(0)
        print("the other tests", output.read(), sep="\n", flush=True)
    return code or beside.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
