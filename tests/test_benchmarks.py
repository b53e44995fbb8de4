"""What the benchmarks compute from what they are given, by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from ray_jobs import config
from search_spaces import FAMILIES

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A benchmark's module by its name, found as the script itself finds its neighbours."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return load


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_risk_is_compared_with_the_best_answer_of_the_same_month(script):
    first_unknown = pd.to_datetime(["2020-07-01", "2020-08-01"], utc=True)
    holdout = pd.DataFrame(
        {
            "model": ["lstm"] * 2,
            "series": ["b1"] * 2,
            "origin_time": first_unknown,
            "step": [6, 6],
            "truth": [0.5, 0.8],
            "predicted": [0.7, 0.8],
        }
    )
    best = pd.DataFrame(
        {
            "business": ["b1"] * 3,
            "month": pd.to_datetime(["2020-06-01", "2020-07-01", "2020-08-01"]),  # the last known one
            "horizon": [6] * 3,
            "best": [0.6, 0.7, 0.0],
        }
    )
    (row,) = script("risk").compare(holdout, best)
    assert (row["family"], row["months"], row["windows"]) == ("lstm", 6, 2)
    assert row["one_minus_mae"] == pytest.approx(0.9) and row["best"] == pytest.approx(0.9)
    assert row["ratio"] == pytest.approx(1.0)


def test_z_scores_are_of_the_rows_to_fit_on_alone(script):
    published = script("published")
    n = published.FIT + published.VALID + published.TEST
    frame = pd.DataFrame({"date": pd.date_range("2016-07-01", periods=n + 9, freq="h"), "OT": range(n + 9)})
    frame.loc[published.FIT :, "OT"] = 1e6
    scaled = published.z_scores(frame, "date")
    assert len(scaled) == 14_400
    assert scaled["OT"][: published.FIT].mean() == pytest.approx(0, abs=1e-9)
    assert scaled["OT"][: published.FIT].std(ddof=0) == pytest.approx(1)
    assert scaled["OT"].iloc[-1] > 100


def test_the_published_protocol_trains_on_the_first_part_and_scores_every_window_of_the_test_part(script):
    """Of 2,880 test rows, 2,880 - 96 + 1 = 2,785 windows of 96 targets; what is fitted ends with row 8,639."""
    fold = script("published").protocol(lookback=720, horizon=96)
    assert (fold.train[0], fold.train[-1] + 96) == (720, 8640)
    assert (fold.valid[0], fold.valid[-1] + 96, len(fold.valid)) == (11520, 14400, 2785)
    assert (fold.rows[0], fold.rows[-1]) == (0, 8639)


def test_the_published_tables_are_met_by_searches_whose_settings_exist(script):
    published = script("published")
    words = [word for flag in published.SEARCH.items() for word in flag]
    settings = config.parse(words, prog="search", description="")
    assert (settings.search.metric, settings.validation.folds) == ("mse", 3)
    assert settings.search.time_budget + 60 * published.MEMBERS["segment_lstm"] < 1800  # a member takes about a minute
    assert set(published.LOOKBACKS) <= set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "given", "what"),
    [
        ("risk", ["nowhere"], "folder nowhere"),
        ("published", ["nowhere.csv", "linear"], "file nowhere.csv"),
        ("tabular", ["untuned", "nowhere"], "folder nowhere"),
    ],
)
def test_a_path_that_is_not_there_is_refused_in_one_line(script, monkeypatch, capsys, name, given, what):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
    with pytest.raises(SystemExit) as ended:
        script(name).main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f": there is no {what}")
