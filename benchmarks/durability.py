"""What it costs that nothing is lost: the LSTM sweep with states and the durable study, and without both.

    python benchmarks/durability.py                  # ETTh1 from ../shared/data, else the built-in sample
    python benchmarks/durability.py --rounds 3

The same configurations, all epochs of all folds, nothing cut, in pairs whose order alternates (with, without, without,
with), so that a machine that grows slower weighs on both. Prints the search seconds of each and the median of the
pairs' ratios, and writes benchmarks/results/durability.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import _paths
from _common import Job
from _process import ROOT
from rich.console import Console
from sweep import Bench, draw_configurations, find_data

_WITHOUT = {"PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks" / "not_durable"), str(ROOT)])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=_paths.file, help="one series, CSV or Parquet; default ETTh1, else a built-in sample"
    )
    parser.add_argument("--time", help="its time column, where it has several that could be")
    parser.add_argument("--target", help="the column to forecast")
    parser.add_argument("--trials", type=int, default=6, help="default %(default)s")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial, default %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="pairs of sweeps, default %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "durability.json")
    given = parser.parse_args()
    console = Console()
    data, time_column, target = find_data(given, console)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            folder=folder,
            launched=0.0,
            data=data,
            time=time_column,
            target=target,
            lookback=96,
            horizon=24,
            folds=5,
            epochs=given.epochs,
            scheduler="none",
            seed=0,
            limit=3600.0,
            configurations=draw_configurations(given.trials, 0),
        )
        for i in range(given.rounds):
            kinds = ["with", "without"] if i % 2 == 0 else ["without", "with"]
            pairs.append({kind: _search(Bench(job, console, _WITHOUT if kind == "without" else {}), kind, i)
                          for kind in kinds})  # fmt: skip
            ratio = pairs[-1]["with"]["search_seconds"] / pairs[-1]["without"]["search_seconds"]
            console.print(f"pair {i + 1}: {ratio - 1:+.1%}")
    ratios = [pair["with"]["search_seconds"] / pair["without"]["search_seconds"] for pair in pairs]
    cost = statistics.median(ratios) - 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"cost": cost, "pairs": pairs}, indent=1) + "\n", encoding="utf8")
    console.print(f"states and the durable study cost {cost:+.1%} of the search (median of {len(pairs)} pairs)")


def _search(bench: Bench, kind: str, number: int) -> dict[str, Any]:
    result, _ = bench.start(f"{kind}-{number}", "_foldline.py", bench.job)
    records = result["records"]
    between = result["slot_seconds"]["between two epochs"]
    found = {
        "search_seconds": result["search_seconds"],
        "epochs": len(records),
        "training_seconds": sum(record["train_seconds"] for record in records),
        "between_epochs_seconds": between,
        "last_scores": [record["valid"] for record in records][-3:],
    }
    bench.console.print(
        f"{kind}: search {found['search_seconds']:.1f} s, {found['epochs']} epochs, {between:.1f} s between them"
    )
    return found


if __name__ == "__main__":
    main()
