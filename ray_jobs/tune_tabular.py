"""Search for the best model of rows, cross-validated, and leave it as one proven ONNX file that takes raw columns.

    python ray_jobs/tune_tabular.py --sample titanic --target survived
    python ray_jobs/tune_tabular.py --data churn.parquet --target churned --families lightgbm mlp linear
    ray job submit --working-dir . -- python ray_jobs/tune_tabular.py --data churn.parquet --target churned

Without --families, lightgbm alone. Exit codes: as of ray_jobs/search.py; 3 also where a winner fails a gate.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ray_jobs.search import main
from ray_jobs.tabular import kind

_FAMILIES = f"which to search, one or more of {', '.join(kind.FAMILIES)}; default lightgbm"


def run(arguments: Sequence[str]) -> None:
    """Families are named by --families, or stand in front, as `ray_jobs.search` takes them."""
    given = [part for word in arguments for part in _parted(word)]
    families = ["lightgbm"] if not given or given[0].startswith("-") else []
    while "--families" in given:  # of several the last counts, as of any flag
        place = given.index("--families")
        del given[place]
        families = []
        while place < len(given) and not given[place].startswith("-"):
            families += [name for name in given.pop(place).split(",") if name]
    main(kind=kind, arguments=[*families, *given], description=__doc__, own={"--families": _FAMILIES})


def _parted(word: str) -> list[str]:
    """--families=a,b as two words."""
    return word.split("=", 1) if word.startswith("--families=") else [word]


if __name__ == "__main__":
    run(sys.argv[1:])
