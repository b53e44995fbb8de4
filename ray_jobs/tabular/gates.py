"""Gates: what a winner must reach before it is used, held against the holdout, the folds and the exported file."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import InputError, nearest
from models.tabular import clustering
from models.tabular.metrics import METRICS

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
COSTS = ("latency_p50_ms", "latency_p95_ms", "rows_per_second", "size_mb", "memory_mb")
JUDGED = (*METRICS, *clustering.METRICS, *clustering.FIGURES)
NAMES = (*JUDGED, "cv_mean", "cv_std", *COSTS)


@dataclass(frozen=True, kw_only=True)
class Gate:
    name: str
    sign: str
    bound: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A gate and what was found; a figure that there is none of passes no gate."""

    name: str
    rule: str  # ">= 0.85"
    found: float | None
    passed: bool


def parse(asked: Mapping[str, str]) -> list[Gate]:
    """InputError for a figure that there is none of, or a rule that is none."""
    found = []
    for name, rule in asked.items():
        if name not in NAMES:
            raise InputError(f"gates: no figure {name!r}{nearest(name, NAMES)}; known: {', '.join(NAMES)}")
        written = re.fullmatch(r"\s*(>=|<=|>|<)\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*", rule)
        if written is None:
            raise InputError(f'gates.{name}={rule!r} is no rule; write a sign and a number, such as ">= 0.85"')
        found.append(Gate(name=name, sign=written[1], bound=float(written[2])))
    return found


def judge(gates: list[Gate], figures: Mapping[str, float]) -> list[Verdict]:
    verdicts = []
    for gate in gates:
        found = figures.get(gate.name, math.nan)
        known = math.isfinite(found)
        passed = known and bool(_COMPARE[gate.sign](found, gate.bound))
        rule = f"{gate.sign} {gate.bound:g}"
        verdicts.append(Verdict(name=gate.name, rule=rule, found=found if known else None, passed=passed))
    return verdicts


def figures(holdout: Mapping[str, float], mean: float, std: float, costs: Mapping[str, float]) -> dict[str, float]:
    """Every figure that a gate may ask for."""
    mega = {"size_mb": costs["size_bytes"] / 1e6, "memory_mb": costs["memory_bytes"] / 1e6}
    return {**holdout, "cv_mean": mean, "cv_std": std, **mega, **{name: costs[name] for name in COSTS if name in costs}}
