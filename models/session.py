"""A graph opened by onnxruntime, without torch."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def open_session(graph: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU that says nothing but errors; with 0 threads onnxruntime takes every core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
