"""The search space of each family of rows, as pure data: one file a family, named as in `models/tabular/`."""

from __future__ import annotations

from pathlib import Path

FOLDER = "search_spaces/tabular"

FAMILIES: tuple[str, ...] = tuple(
    sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
)
