"""The worked examples: each is a configuration that is accepted, on its table, and trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.samples import read_sample
from models.batches import as_tensor
from models.crossval import CrossValidation, lookback_windows
from ray_jobs import config, prepare
from ray_jobs.params import check_fixed
from ray_jobs.settings import Config
from search_spaces import load, unflatten

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def read(name: str, *flags: str) -> Config:
    arguments = ["--config", str(EXAMPLES / f"{name}.yaml"), *flags]
    return prepare.complete(config.parse(arguments, prog="", description=""))


def first_epoch(settings: Config, family: str) -> float:
    """The score of the family's first trial after one epoch of all folds."""
    problem = prepare.problem(settings)
    check_fixed(settings, [family])
    fixed = {**settings.search.fixed, "window.lookback": settings.window.lookbacks[-1], "fit.max_epochs": 1}
    cv = CrossValidation(problem, family, unflatten({**load(family).default, **fixed}), trial=0)
    return next(cv.epochs()).value


def test_every_example_is_tested_here() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == {"risk", "traffic", "trend", "market"}


def test_risk_knows_twelve_months_of_22_columns_and_answers_6_9_and_12_ahead() -> None:
    problem = prepare.problem(read("risk"))
    assert problem.steps.tolist() == [6, 9, 12] and problem.table.targets == ("risk",)
    assert len(problem.table.names) == 22 and len(problem.table.series_names) == 2000
    assert len(problem.table.categories["industry"]) == 8
    assert problem.split.scheme == "grouped"
    for fold in problem.split.folds:
        assert not set(problem.table.series[fold.train]) & set(problem.table.series[fold.valid])


def test_risk_answers_what_its_businesses_risk_is_6_9_and_12_months_after_the_last_month_known() -> None:
    problem = prepare.problem(read("risk"))
    frame = read_sample("risk-panel").set_index(["business", "month"])["risk"]
    some = problem.split.final.valid[:: len(problem.split.final.valid) // 50]
    windows = lookback_windows(problem, as_tensor(problem.table.values), some, 12)
    inputs, future = windows.gather(torch.arange(len(some)))
    for i, origin in enumerate(some):
        business = problem.table.series_names[problem.table.series[origin]]
        last = pd.Timestamp(int(problem.table.time[origin - 1]), unit="s")
        known = [frame[business, last - pd.DateOffset(months=back)] for back in range(11, -1, -1)]
        assert inputs["past"][i, :, 0].tolist() == pytest.approx(known)
        ahead = [frame[business, last + pd.DateOffset(months=months)] for months in (6, 9, 12)]
        assert future[i, :, 0].tolist() == pytest.approx(ahead)


@pytest.mark.parametrize("family", ["lstm", "tcn"])
def test_risk_beats_the_mean_after_one_epoch(family: str) -> None:
    assert first_epoch(read("risk"), family) < 0.17  # the mean of all: 0.18


def test_traffic_works_on_counts_with_gaps(shared_data: Path) -> None:
    settings = read("traffic", "--data", str(shared_data / "nab_elb_request_count.parquet"))
    problem = prepare.problem(settings)
    assert problem.steps.tolist() == [1, 12] and settings.window.lookbacks == [12, 48, 144]
    assert problem.table.calendar.name == "5 minutes"
    assert np.isnan(problem.table.values).any()  # gaps that were filled
    assert np.isfinite(first_epoch(settings, "lstm"))


def test_trend_answers_two_heads_one_and_four_weeks_ahead() -> None:
    settings = read("trend")
    problem = prepare.problem(settings)
    assert problem.steps.tolist() == [1, 4] and problem.table.targets == ("trend", "log_price")
    assert problem.table.calendar.name == "week" and len(problem.table.series_names) == 5
    assert problem.heads.value and problem.heads.classes == ("down", "up")
    assert settings.validation.embargo == 4
    assert np.isfinite(first_epoch(settings, "lstm"))


@pytest.mark.parametrize("family", ["linear", "tcn"])
def test_market_works_out_lags_returns_averages_and_volatility(family: str) -> None:
    settings = read("market")
    problem = prepare.problem(settings)
    assert problem.steps.tolist() == [1] and settings.window.lookbacks == [60]
    assert {kind for kind, _ in problem.features.each} == {"lag", "return", "average", "volatility"}
    assert problem.table.names[0] == "adj_close" and set(problem.table.names) >= {"open", "high", "low", "volume"}
    assert np.isfinite(first_epoch(settings, family))
