"""Built-in tables: real ones from the package `bokeh-sampledata`, whose code is not imported, and one that is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from data.errors import InputError, nearest
from data.load import read_table
from data.synthetic import RiskPanel

__all__ = ["SAMPLES", "Sample", "read_sample"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A built-in table, and the roles its columns have unless the user says otherwise.

    `columns` maps the names in the file to those of the table, in order; `time` and `series` are None where the table
    has no such column; `clean` mends what `check_table` would rightly refuse. A table without a file is made by `make`.
    """

    name: str
    description: str
    source: str
    time: str | None
    series: str | None
    targets: tuple[str, ...]
    file: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    clean: Callable[[pd.DataFrame], pd.DataFrame] = field(default=lambda frame: frame, repr=False)
    make: Callable[[], pd.DataFrame] | None = field(default=None, repr=False)


def read_sample(name: str) -> pd.DataFrame:
    """Return the built-in table `name`, its columns renamed; InputError when there is none of that name."""
    if name not in SAMPLES:
        raise InputError(f"no sample {name!r}{nearest(name, SAMPLES)}; known: {', '.join(SAMPLES)}")
    sample = SAMPLES[name]
    if sample.make is not None:
        return sample.make()
    package = find_spec("bokeh_sampledata")
    if package is None or not package.submodule_search_locations:
        raise InputError(f"sample {name!r} needs the package bokeh-sampledata: pip install bokeh-sampledata")
    path = Path(package.submodule_search_locations[0]) / "_data" / str(sample.file)
    frame = read_table(str(path))
    missing = [column for column in sample.columns if column not in frame.columns]
    if missing:
        raise InputError(f"sample {name!r}: {path.name} has no column {missing[0]!r}; install bokeh-sampledata>=2026.1")
    return sample.clean(frame[list(sample.columns)].rename(columns=dict(sample.columns)))


def _without_repeated_time(frame: pd.DataFrame) -> pd.DataFrame:
    """The source has two readings for 2017-03-21 16:30 (4.276 and 4.289); the first is kept."""
    return frame.drop_duplicates("time", ignore_index=True)


_STOCKS = MappingProxyType(
    {
        "Ticker": "ticker",
        "Date": "date",
        "Open": "open",
        "High": "high",
        "Low": "low",
        "Close": "close",
        "Volume": "volume",
        "Adj Close": "adj_close",
    }
)
_TREND_DAYS = 20  # trading days, four weeks


def _weeks(days: pd.DataFrame) -> pd.DataFrame:
    """Daily prices as a row a week, named by its Friday: what the days of that week and of those before it tell.

    trend       correlation of log price and time over the last 20 trading days, in [-1, 1]: a straight rise is 1
    log_price   of the week's last day, splits counted in; return: its change over the week
    volatility  standard deviation of the week's daily log returns; range: mean of (high - low) / close
    log_volume  of the mean volume a day
    """
    days = days.sort_values(["ticker", "date"], ignore_index=True)
    log_price = np.log(days["adj_close"])
    of_ticker = days["ticker"]
    days = days.assign(
        log_price=log_price,
        daily=log_price.groupby(of_ticker).diff(),
        spread=(days["high"] - days["low"]) / days["close"],
        trend=log_price.groupby(of_ticker).transform(
            lambda price: price.rolling(_TREND_DAYS).corr(pd.Series(np.arange(len(price), dtype=float), price.index))
        ),
    )
    grouped = days.groupby(["ticker", pd.Grouper(key="date", freq="W-FRI")])
    weeks = pd.DataFrame(
        {
            "trend": grouped["trend"].last().clip(-1.0, 1.0),
            "log_price": grouped["log_price"].last(),
            "volatility": grouped["daily"].std(),
            "range": grouped["spread"].mean(),
            "log_volume": np.log(grouped["volume"].mean()),
        }
    ).reset_index()
    weeks.insert(4, "return", weeks["log_price"].groupby(weeks["ticker"]).diff())
    return weeks.dropna(subset=["trend", "return"], ignore_index=True)


_ALL = (
    Sample(
        name="sea-temperature",
        description="sea surface temperature in degrees Celsius, every 30 minutes, February 2016 to March 2017",
        source="bokeh-sampledata: sea_surface_temperature.csv.gz",
        file="sea_surface_temperature.csv.gz",
        columns=MappingProxyType({"time (UTC)": "time", "temperature (celsius)": "temperature"}),
        time="time",
        series=None,
        targets=("temperature",),
        clean=_without_repeated_time,
    ),
    Sample(
        name="stocks",
        description="daily prices in US dollars and volumes of five stocks, 2000 to 2013; adj_close counts splits in",
        source="bokeh-sampledata: stocks.csv.gz",
        file="stocks.csv.gz",
        columns=_STOCKS,
        time="date",
        series="ticker",
        targets=("adj_close",),
    ),
    Sample(
        name="stock-weeks",
        description="the five stocks by week: trend score in [-1, 1], log price, return, volatility, range, volume",
        source="bokeh-sampledata: stocks.csv.gz, by week",
        file="stocks.csv.gz",
        columns=_STOCKS,
        time="date",
        series="ticker",
        targets=("trend", "log_price"),
        clean=_weeks,
    ),
    Sample(
        name="titanic",
        description="1,313 passengers of the Titanic: class, age (years, 557 unknown), sex, and whether they survived",
        source="bokeh-sampledata: titanic_all.csv",
        file="titanic_all.csv",
        columns=MappingProxyType(
            {"name": "name", "class": "class", "age": "age", "sex": "sex", "survived": "survived"}
        ),
        time=None,
        series=None,
        targets=("survived",),
    ),
    Sample(
        name="risk-panel",
        description="2,000 made-up businesses, 24 to 36 months each: a risk score and 20 columns that tell of it",
        source="made by data/synthetic.py",
        time="month",
        series="business",
        targets=("risk",),
        make=RiskPanel(businesses=2000).frame,
    ),
)
SAMPLES: Mapping[str, Sample] = MappingProxyType({sample.name: sample for sample in _ALL})
