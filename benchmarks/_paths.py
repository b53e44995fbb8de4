"""Paths on a benchmark's command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def existing(text: str) -> Path:
    """A file or folder that is there; else argparse says so in one line and ends with 2."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path
