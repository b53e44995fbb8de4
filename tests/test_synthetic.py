"""The made-up panel: what it says of itself, and that its best answer is the best there is, of the month it names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from data.load import read_table
from data.samples import read_sample
from data.synthetic import HORIZONS, RiskPanel, main
from data.table import check_table


@pytest.fixture(scope="module")
def panel():
    return RiskPanel(businesses=1200, seed=3)


@pytest.fixture(scope="module")
def table(panel):
    return panel.frame()


@pytest.fixture(scope="module")
def best(panel):
    return panel.best()


def after(table, months):
    """The risk so many months later, on the row of each business and month that has one."""
    later = table[["business", "month", "risk"]].copy()
    later["month"] -= pd.DateOffset(months=months)
    return later


def test_businesses_have_24_to_36_months_in_8_industries(table):
    months = table.groupby("business")["month"]
    counts = months.count()
    assert counts.min() == 24 and counts.max() == 36 and len(counts) == 1200
    span = months.agg(lambda m: (m.max().year - m.min().year) * 12 + m.max().month - m.min().month)
    assert (span == counts - 1).all()  # a row a month, none missing
    assert table["industry"].nunique() == 8
    assert (table.groupby("business")["industry"].nunique() == 1).all()


def test_20_columns_say_something_about_a_risk_between_0_and_1(table):
    columns = table.columns.drop(["business", "month", "industry", "risk"])
    assert len(columns) == 20 and (table[columns].dtypes == np.float32).all()
    assert np.isfinite(table[columns].to_numpy()).all() and (table[columns].std() > 0).all()
    assert table["risk"].between(0, 1).all() and 0.2 < table["risk"].std() < 0.3
    checked = check_table(read_sample("risk-panel"), time="month", series="business", targets=["risk"])
    assert len(checked.names) == 22 and list(checked.categories) == ["industry"] and len(checked.series_names) == 2000


@pytest.mark.parametrize("horizon", HORIZONS)
def test_the_best_answer_is_right_on_average(table, best, horizon):
    mine = best[best["horizon"] == horizon].merge(after(table, horizon), on=["business", "month"])
    slope = np.polyfit(mine["best"], mine["risk"], 1)[0]  # 1 for a conditional mean
    assert 0.95 < slope < 1.05


@pytest.mark.parametrize("horizon", HORIZONS)
def test_the_best_answer_is_the_mean_over_what_may_come_so_many_months_ahead(horizon):
    """Worked out again by drawing 200,000 ways on from one month of one business, a month at a time."""
    from data.synthetic import _World

    world = _World.drawn(0)
    rng = np.random.default_rng(1)
    n, month, industry = 200_000, 20, 4
    level, volatility, state = 0.3, 0.25, -0.4
    found = world.best(
        horizon, np.array([industry]), np.array([month]), np.array([level]), np.array([volatility]), np.array([state])
    )[0]
    state_then, surprise = np.full(n, state), np.full(n, world.surprise[month])
    for _ in range(horizon):
        state_then = 0.9 * state_then + volatility * rng.normal(size=n)
        surprise = 0.9 * surprise + 0.04 * rng.normal(size=n)
    ahead = month + horizon
    economy = 0.4 * np.sin(2 * np.pi * ahead / 24) + surprise
    z = world.base[industry] + world.season[industry, ahead % 12] + world.sensitivity[industry] * economy
    drawn = 1 / (1 + np.exp(-(z + level + state_then)))
    assert found == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(n))


def test_no_naive_answer_comes_near_the_best(table, best):
    for horizon in HORIZONS:
        mine = best[best["horizon"] == horizon].merge(after(table, horizon), on=["business", "month"])
        mine = mine.merge(table[["business", "month", "risk"]], on=["business", "month"], suffixes=("", "_now"))
        error = (mine["risk"] - mine["best"]).abs().mean()
        assert error < 0.75 * (mine["risk"] - mine["risk_now"]).abs().mean()


def test_a_panel_is_a_function_of_its_seed_and_a_small_one_the_beginning_of_a_large_one(table):
    again = RiskPanel(businesses=1200, seed=3).frame()
    pd.testing.assert_frame_equal(table, again)
    small = RiskPanel(businesses=1001, seed=3).frame()
    pd.testing.assert_frame_equal(small, table[table["business"] <= "b001000"].reset_index(drop=True))
    assert not RiskPanel(businesses=1200, seed=4).frame()["risk"].equals(table["risk"])


def test_the_files_hold_the_same_and_the_table_no_best_answer(tmp_path, table, best, capsys):
    files = [tmp_path / "risk.parquet", tmp_path / "best.parquet"]
    main(["risk-panel", "--businesses", "1200", "--seed", "3", "--out", str(files[0]), "--best", str(files[1])])
    assert "1200 businesses" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read_table(str(files[0])), table, check_dtype=False)
    pd.testing.assert_frame_equal(read_table(str(files[1])), best, check_dtype=False)
    assert "best" not in table.columns


@pytest.mark.parametrize("flags", [["--businesses", "0"], ["--seed", "-1"], ["--out", "/no/such/folder/x.parquet"]])
def test_a_wrong_flag_is_refused_in_one_line(flags, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["risk-panel", "--out", str(tmp_path / "x.parquet"), *flags])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process's memory from /proc")
def test_ten_thousand_businesses_are_streamed_in_less_than_a_gigabyte(tmp_path):
    code = "from data.synthetic import main; main(['risk-panel', '--out', 'risk.parquet', '--best', 'best.parquet']); "
    code += "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said, peak = done.stdout.split("\n")[:2]
    assert "10000 businesses" in said
    assert int(peak.split()[1]) * 1024 < 1e9  # VmHWM: 512345 kB
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.parquet", "risk.parquet"]


def test_a_panel_that_cannot_be_written_whole_replaces_nothing(tmp_path, capsys):
    before = tmp_path / "risk.parquet"
    before.write_bytes(b"an older one")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "risk-panel",
                "--businesses",
                "24",
                "--out",
                str(before),
                "--best",
                str(tmp_path / "none" / "best.parquet"),
            ]
        )
    assert ended.value.code == 2 and "none" in capsys.readouterr().err
    assert before.read_bytes() == b"an older one" and list(tmp_path.iterdir()) == [before]
