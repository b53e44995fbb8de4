"""What a graph costs, measured where nothing else runs: `python -m models.measure model.onnx` prints one JSON line.

size_bytes       of the file
load_seconds     to open a session
latency_p50_ms, latency_p95_ms   of one window, over 300 calls after 20 that do not count; one thread
rows_per_second  at batches of 1024; all cores
memory_bytes     resident memory that loading the graph and answering one window added
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.session import open_session

CALLS, UNCOUNTED, BATCH = 300, 20, 1024


def main(graph: Path) -> dict[str, float]:
    before = _resident()
    began = time.perf_counter()
    session = open_session(graph, threads=1)
    load_seconds = time.perf_counter() - began
    many = {put.name: _some(put.type, (BATCH, *put.shape[1:])) for put in session.get_inputs()}
    one = {name: values[:1] for name, values in many.items()}
    session.run(None, one)
    memory = _resident() - before
    times = []
    for _ in range(CALLS + UNCOUNTED):
        began = time.perf_counter()
        session.run(None, one)
        times.append(time.perf_counter() - began)
    p50, p95 = np.percentile(times[UNCOUNTED:], [50, 95])
    session = open_session(graph, threads=0)
    session.run(None, many)
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < 0.5:
        session.run(None, many)
        runs += 1
    return {
        "size_bytes": graph.stat().st_size,
        "load_seconds": load_seconds,
        "latency_p50_ms": 1e3 * float(p50),
        "latency_p95_ms": 1e3 * float(p95),
        "rows_per_second": runs * BATCH / (time.perf_counter() - began),
        "memory_bytes": memory,
    }


def _some(kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Any values of an input's type: what they are does not change what they cost."""
    if kind == "tensor(string)":
        return np.full(shape, "", object)
    drawn = np.random.default_rng(0).standard_normal(shape)
    return drawn.astype({"tensor(float)": np.float32, "tensor(int64)": np.int64}[kind])


def _resident() -> int:
    """Resident bytes now (Linux), else the peak so far."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
