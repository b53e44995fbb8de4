"""A run of examples/risk.yaml beside the best possible answer, which the generator of its table knows.

    python benchmarks/risk.py runs/risk
    python benchmarks/risk.py runs/mine --best best.parquet

Prints, for each family and month ahead, 1 - MAE on the holdout and the ratio of the MAE to the best possible one's, and
writes both to benchmarks/results/risk.json. The run's predictions are those of its bundles, through onnxruntime.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import _paths
import pandas as pd

from data.synthetic import RiskPanel

ROOT = Path(__file__).resolve().parents[1]
NEEDED = {6: 0.88, 9: 0.86, 12: 0.85}  # 1 - MAE
LARGEST_RATIO = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=_paths.folder, help="the run's folder")
    parser.add_argument("--best", type=_paths.file, help="of a panel of one's own: what data.synthetic wrote as --best")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "risk.json")
    given = parser.parse_args()
    if not (given.run / "holdout.parquet").exists():
        parser.error(f"{given.run} is no finished run of series: it has no holdout.parquet")
    best = pd.read_parquet(given.best) if given.best else RiskPanel(businesses=2000).best()
    rows = compare(pd.read_parquet(given.run / "holdout.parquet"), best)
    print(f"{'family':<16} {'months':>6} {'windows':>8} {'1 - MAE':>8} {'best':>8} {'MAE ratio':>10}")
    for row in rows:
        met = row["one_minus_mae"] >= NEEDED[row["months"]] and row["ratio"] <= LARGEST_RATIO
        print(
            f"{row['family']:<16} {row['months']:>6} {row['windows']:>8} {row['one_minus_mae']:>8.4f} "
            f"{row['best']:>8.4f} {row['ratio']:>10.3f} {'met' if met else 'not met'}"
        )
    print("held out: the last months of all businesses, whose earlier months the models were trained on")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf8")


def compare(holdout: pd.DataFrame, best: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each model and month ahead; `holdout` as a run writes it, `best` as the generator knows it."""
    known = holdout.assign(
        business=holdout["series"].astype(str),
        # A window's origin is the first month it does not know.
        month=holdout["origin_time"].dt.tz_localize(None) - pd.DateOffset(months=1),
        horizon=holdout["step"],
    )
    both = known.merge(best, on=["business", "month", "horizon"], validate="many_to_one")
    if len(both) < len(holdout):
        raise SystemExit(f"{len(holdout) - len(both)} predictions have no best answer: is it a run of risk-panel?")
    rows = []
    for (family, months), part in both.groupby(["model", "horizon"], sort=False, observed=True):
        mae = float((part["predicted"] - part["truth"]).abs().mean())
        least = float((part["best"] - part["truth"]).abs().mean())
        rows.append(
            {
                "family": str(family),
                "months": int(months),
                "windows": len(part),
                "one_minus_mae": 1 - mae,
                "best": 1 - least,
                "ratio": mae / least,
            }
        )
    return rows


if __name__ == "__main__":
    main()
