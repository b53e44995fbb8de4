"""Paths on a benchmark's command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def file(text: str) -> Path:
    """A file that is there; else argparse says so in one line and ends with 2."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def folder(text: str) -> Path:
    """Likewise a folder."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)
