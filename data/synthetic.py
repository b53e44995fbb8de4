"""Made-up tables whose truth is known, so that a model can be held against the best answer there is.

    python -m data.synthetic risk-panel --out risk.parquet --best best.parquet      # 10,000 businesses, a few seconds

risk-panel: a risk score in [0, 1] of each business and month, and 20 columns that say something about it.

    risk = sigmoid(z)
    z[business, month] = industry + business level + season of the industry
                         + sensitivity of the industry * economy[month] + state of the business[month]

`economy` is a cycle of 24 months and what is left over, an autoregression that nobody knows ahead; the state of a
business is another one, whose shocks are as large as the business is volatile. Businesses have 24 to 36 months each,
somewhere in a calendar of 120. The 20 columns are these parts seen through noise, and their mixtures.

The best possible answer for a month ahead is the mean of sigmoid(z) over the shocks to come, for somebody who knows
everything up to now, noise aside: a normal distribution of z, integrated by Gauss-Hermite quadrature. It goes to a file
of its own, which no model sees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["HORIZONS", "RiskPanel"]

HORIZONS = (6, 9, 12)  # months ahead for which the best answer is written
INDUSTRIES = ("agriculture", "construction", "energy", "health", "hospitality", "retail", "software", "transport")
MONTHS = 120  # of the calendar
SHORTEST, LONGEST = 24, 36  # months of a business
FIRST_MONTH = "2014-01-01"
_CYCLE, _AMPLITUDE = 24, 0.4  # months, and size of the economic cycle
_ECONOMY_KEPT, _ECONOMY_SHOCK = 0.9, 0.04  # of the economy's autoregression, a month
_STATE_KEPT = 0.9  # of a business's, a month
_CHUNK = 1000  # businesses made at a time: memory does not grow with their number
_NODES = 32  # of the quadrature

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RiskPanel:
    """The panel of `businesses` businesses; a function of the seed, and the first n businesses are those of any n."""

    businesses: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.businesses < 1:
            raise ValueError(f"businesses must be at least 1, got {self.businesses}")
        if self.seed < 0:
            raise ValueError(f"the seed must be at least 0, got {self.seed}")

    def chunks(self) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Table and best answers, some businesses at a time, in order.

        Table: business, month, industry (text), 20 columns float32, risk float32. Best answers: business, month (the
        last one known), horizon (months ahead), best (the conditional mean of the risk then).
        """
        for start in range(0, self.businesses, _CHUNK):
            yield self._chunk(start, min(start + _CHUNK, self.businesses))

    def frame(self) -> pd.DataFrame:
        return pd.concat([table for table, _ in self.chunks()], ignore_index=True)

    def best(self) -> pd.DataFrame:
        return pd.concat([best for _, best in self.chunks()], ignore_index=True)

    def write(self, table: Path, best: Path | None) -> int:
        """Stream the panel to Parquet files, each whole or not at all; the number of rows of the table."""
        rows = 0
        writers: dict[Path, pq.ParquetWriter] = {}
        paths = [path for path in (table, best) if path is not None]
        try:
            for parts in self.chunks():
                rows += len(parts[0])
                for path, frame in zip((table, best), parts, strict=True):
                    if path is not None:
                        part = pa.Table.from_pandas(frame, preserve_index=False)
                        if path not in writers:
                            writers[path] = pq.ParquetWriter(_part(path), part.schema, compression="zstd")
                        writers[path].write_table(part)
            for writer in writers.values():
                writer.close()
            for path in paths:
                _part(path).replace(path)
        finally:
            for path in paths:
                _part(path).unlink(missing_ok=True)
        return rows

    def _chunk(self, start: int, stop: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        world = _World.drawn(self.seed)
        rng = np.random.default_rng([self.seed, 1, start])
        n = _CHUNK  # drawn whole, so that a business does not depend on how many there are
        industry = rng.integers(len(INDUSTRIES), size=n)
        level = rng.normal(0.0, 0.6, n)
        volatility = 0.25 * np.exp(rng.normal(0.0, 0.3, n))
        length = rng.integers(SHORTEST, LONGEST + 1, n)
        first = (rng.random(n) * (MONTHS - length + 1)).astype(np.int64)
        spread = volatility / np.sqrt(1 - _STATE_KEPT**2)
        state = np.empty((n, LONGEST))
        state[:, 0] = rng.normal(0.0, 1.0, n) * spread
        for i in range(1, LONGEST):
            state[:, i] = _STATE_KEPT * state[:, i - 1] + volatility * rng.normal(0.0, 1.0, n)
        who, t = np.nonzero(np.arange(LONGEST) < length[:, None])  # a row a month, business by business
        kept = np.searchsorted(who, stop - start)
        month: NDArray[np.int64] = first[who] + t
        z = world.expected(industry[who], month, world.economy[month]) + level[who] + state[who, t]
        months = pd.date_range(FIRST_MONTH, periods=MONTHS, freq="MS").to_numpy()
        names = np.array([f"b{start + i:06d}" for i in range(n)])
        table = pd.DataFrame(
            {
                "business": names[who],
                "month": months[month],
                "industry": np.array(INDUSTRIES)[industry[who]],
                **_columns(rng, world, industry[who], month, level[who], volatility[who], state[who, t], z),
                "risk": _sigmoid(z).astype(np.float32),
            }
        )
        best = pd.concat(
            [
                pd.DataFrame(
                    {
                        "business": names[who],
                        "month": months[month],
                        "horizon": np.int8(h),
                        "best": world.best(h, industry[who], month, level[who], volatility[who], state[who, t]).astype(
                            np.float32
                        ),
                    }
                )
                for h in HORIZONS
            ],
            ignore_index=True,
        )
        ours = names[: stop - start]
        return table.iloc[:kept], best[best["business"].isin(ours)].reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class _World:
    """What all businesses share."""

    base: Array  # (industries,)
    season: Array  # (industries, 12)
    sensitivity: Array  # (industries,)
    surprise: Array  # (MONTHS,): what the cycle leaves over of the economy

    @classmethod
    def drawn(cls, seed: int) -> _World:
        rng = np.random.default_rng([seed, 0])
        n = len(INDUSTRIES)
        phase, size = rng.random(n) * 12, rng.uniform(0.1, 0.4, n)
        surprise = np.zeros(MONTHS)
        for m in range(1, MONTHS):
            surprise[m] = _ECONOMY_KEPT * surprise[m - 1] + _ECONOMY_SHOCK * rng.normal()
        return cls(
            base=rng.normal(-0.3, 0.5, n),
            season=size[:, None] * np.sin(2 * np.pi * (np.arange(12) + phase[:, None]) / 12),
            sensitivity=rng.uniform(0.3, 1.2, n),
            surprise=surprise,
        )

    @property
    def economy(self) -> Array:
        return _cycle(np.arange(MONTHS)) + self.surprise

    def expected(self, industry: NDArray[np.int64], month: NDArray[np.int64], economy: Array) -> Array:
        """z without what is a business's own."""
        own = self.base[industry] + self.season[industry, month % 12]
        answer: Array = own + self.sensitivity[industry] * economy
        return answer

    def best(
        self,
        horizon: int,
        industry: NDArray[np.int64],
        month: NDArray[np.int64],
        level: Array,
        volatility: Array,
        state: Array,
    ) -> Array:
        """The mean of the risk `horizon` months after `month`, given all that is so at `month`."""
        ahead = month + horizon
        economy = _cycle(ahead) + _ECONOMY_KEPT**horizon * self.surprise[month]
        mean = self.expected(industry, ahead, economy) + level + _STATE_KEPT**horizon * state
        variance = volatility**2 * _gathered(_STATE_KEPT, horizon)
        variance += (self.sensitivity[industry] * _ECONOMY_SHOCK) ** 2 * _gathered(_ECONOMY_KEPT, horizon)
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        weights = weights / weights.sum()
        total = np.zeros(len(mean))
        for node, weight in zip(nodes, weights, strict=True):
            total += weight * _sigmoid(mean + np.sqrt(variance) * node)
        return total


def _columns(
    rng: np.random.Generator,
    world: _World,
    industry: NDArray[np.int64],
    month: NDArray[np.int64],
    level: Array,
    volatility: Array,
    state: Array,
    z: Array,
) -> dict[str, NDArray[np.float32]]:
    """The 20 columns, each a part of z or a mixture of parts, seen through noise."""
    n = len(z)

    def noisy(value: Array, noise: float) -> Array:
        return value + noise * rng.normal(size=n)

    ahead = 2 * np.pi * (month % 12) / 12
    season = world.season[industry, month % 12]
    economy = world.economy[month]
    columns = {
        "payment_delay_days": 20 + 12 * noisy(state, 0.15),
        "credit_utilisation": _sigmoid(noisy(0.8 * state + 0.4 * level, 0.2)),
        "overdraft_days": np.maximum(0.0, 5 + 6 * noisy(state + 0.3 * season, 0.3)),
        "complaints": np.maximum(0.0, np.round(3 + 2 * noisy(state, 0.5))),
        "leverage": np.exp(0.5 * noisy(level, 0.1)),
        "liquidity_ratio": np.exp(-0.4 * noisy(level + 0.5 * state, 0.15)),
        "profit_margin": 0.1 - 0.05 * noisy(level, 0.2) - 0.03 * state,
        "years_in_business": np.maximum(0.5, 12 - 5 * noisy(level, 0.4)),
        "log_employees": 3 - 0.7 * noisy(level, 0.5),
        "revenue_growth": 0.04 - 0.05 * noisy(state + 0.4 * world.sensitivity[industry] * economy, 0.3),
        "cash_flow": -noisy(z, 0.3),
        "bureau_score": 600 - 80 * noisy(z, 0.2),
        "inquiries": np.maximum(0.0, np.round(2 + noisy(z, 0.6))),
        "sector_index": 100 + 10 * noisy(world.base[industry] + season, 0.05),
        "sector_beta": noisy(world.sensitivity[industry], 0.02),
        "economy_index": 100 + 10 * noisy(economy, 0.02),
        "interest_rate": 0.03 + 0.01 * _cycle(month - 3) + 0.001 * rng.normal(size=n),
        "price_volatility": volatility * np.exp(0.1 * rng.normal(size=n)),
        "month_sine": np.sin(ahead),
        "month_cosine": np.cos(ahead),
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _part(path: Path) -> Path:
    """Where a file is written before it has its name."""
    return path.with_name(f".{path.name}.part")


def _cycle(month: NDArray[np.int64]) -> Array:
    wave: Array = _AMPLITUDE * np.sin(2 * np.pi * month / _CYCLE)
    return wave


def _gathered(kept: float, steps: int) -> float:
    """The variance that unit shocks of an autoregression have added up to after so many steps."""
    return (1 - kept ** (2 * steps)) / (1 - kept**2)


def _sigmoid(z: Array) -> Array:
    answer: Array = 1 / (1 + np.exp(-z))
    return answer


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.synthetic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=["risk-panel"])
    parser.add_argument("--out", type=Path, default=Path("risk-panel.parquet"), help="default %(default)s")
    parser.add_argument("--best", type=Path, help="a file for the best possible answers; default: none is written")
    parser.add_argument("--businesses", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    given = parser.parse_args(arguments)
    try:
        panel = RiskPanel(businesses=given.businesses, seed=given.seed)
        rows = panel.write(given.out, given.best)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{rows} rows of {given.businesses} businesses: {given.out}" + (f", {given.best}" if given.best else ""))


if __name__ == "__main__":
    main()
