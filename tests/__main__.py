"""All tests, in processes side by side: what starts Ray waits more than it works. With arguments: pytest, as it is.

The README's commands with the sweeps that are disturbed on purpose, the other tests that start Ray, those that export
graphs, and the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]
GRAPHS = [
    f"tests/test_{name}.py" for name in ("blend", "contract", "extras", "features", "heads", "inputs", "tabular", "tft")
]
WITH_RAY = [f"tests/test_{name}.py" for name in ("sweep", "tabular_search", "deaths", "postgres")]
APART = {
    "sweeps": WITH_RAY,
    "tests of graphs": ["-m", "not ray", *GRAPHS],
    "other tests without Ray": ["-m", "not ray", "--ignore=tests/faults", *(f"--ignore={file}" for file in GRAPHS)],
}
ENV = {**os.environ, "RAY_worker_niceness": "0"}  # Ray's own, 15, would leave its workers what the others do not want
SHOWN = ["-m", "ray", *(f"--ignore={path}" for path in WITH_RAY)]  # as it goes; the others when they have ended


def main(arguments: list[str]) -> int:
    if arguments:
        return subprocess.run([*PYTEST, *arguments], cwd=ROOT).returncode
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        beside = {}
        for name, words in APART.items():
            with (Path(folder) / name).open("wb") as output:
                cache = f"cache_dir=.pytest_cache/{name.replace(' ', '-')}"
                command = [*PYTEST, *words, "-o", cache]
                beside[name] = subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=output, stderr=subprocess.STDOUT)
        print(f"the README's commands, disturbed sweeps; {', '.join(APART)} run beside them", flush=True)
        codes.append(subprocess.run([*PYTEST, *SHOWN], cwd=ROOT, env=ENV).returncode)
        for name, process in beside.items():
            codes.append(process.wait())
            print(name, (Path(folder) / name).read_text("utf8", "replace"), sep="\n", flush=True)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
