"""Baselines, against numbers worked out by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest

from models.baselines import NAMES, find_season, forecast, last_known

NAN = np.nan


def answer(name, values, origin, steps=(1, 2, 3, 4, 5), *, start=0, season=2, mean=-1.0):
    """The forecast (H,) of one target from one origin."""
    result = forecast(
        name,
        np.asarray(values, dtype=np.float32)[:, None],
        np.array([origin]),
        np.array(steps),
        starts=np.array([start]),
        seasons=np.array([season]),
        means=np.array([mean]),
    )
    assert result.dtype == np.float32 and result.shape == (1, len(steps), 1)
    return result[0, :, 0].tolist()


def test_last_value_repeats_the_value_before_the_origin():
    assert answer("last value", [1, 2, 3, 99, 99], 3) == [3, 3, 3, 3, 3]


def test_last_value_is_the_latest_known_one():
    assert answer("last value", [1, 2, NAN, 99], 3, [1, 2]) == [2, 2]


def test_seasonal_naive_repeats_the_last_season():
    assert answer("seasonal naive", [1, 2, 3, 4, 5, 99], 5, season=3) == [3, 4, 5, 3, 4]
    assert answer("seasonal naive", [1, 2, 3, 4, 5, 99], 5, [6, 9, 7], season=3) == [5, 5, 3]


def test_seasonal_naive_with_a_season_of_one_is_the_last_value():
    assert answer("seasonal naive", [1, 2, 3, 99], 3, season=1) == [3, 3, 3, 3, 3]


def test_seasonal_naive_falls_back_to_the_last_value():
    assert answer("seasonal naive", [1, 2, 3, 99], 3, [1, 2, 3, 4], season=4) == [3, 1, 2, 3]  # row -1 does not exist
    assert answer("seasonal naive", [1, 2, 3, 99], 3, [1, 2, 3], start=1, season=3) == [
        3,
        2,
        3,
    ]  # row 0: another segment
    assert answer("seasonal naive", [1, NAN, 3, 4, 99], 4, [1, 2, 3], season=3) == [4, 3, 4]  # row 1 is missing


def test_drift_continues_the_line_through_first_and_last_value():
    assert answer("drift", [10, 99, -99, 16, 0], 4, [1, 2, 10]) == [18, 20, 36]  # (16 - 10) / 3 a row
    assert answer("drift", [10, 20, 21, 0], 3, [1, 2], start=1) == [22, 23]


def test_drift_over_missing_values_keeps_to_the_line_through_the_known_ones():
    assert answer("drift", [NAN, 10, 12, NAN, 99], 4, [1, 2]) == [
        16,
        18,
    ]  # rows 1 and 2, 2 a row, row 4 asked for first


def test_drift_from_a_single_value_is_flat():
    assert answer("drift", [7, 99], 1, [1, 2]) == [7, 7]


def test_mean_is_the_train_mean_at_every_step():
    assert answer("mean", [1, 2, 3], 2, mean=2.5) == [2.5] * 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("values", "origin", "start"), [([NAN, NAN, 5], 2, 0), ([5, 6, 7], 1, 1), ([5, 6, 7], 0, 0), ([5, NAN, 7], 2, 1)]
)
def test_a_segment_without_a_known_value_answers_with_the_mean(name, values, origin, start):
    assert answer(name, values, origin, start=start, mean=4.0) == [4.0] * 5


@pytest.mark.parametrize("name", NAMES)
def test_nothing_at_or_after_the_origin_is_read(name):
    values = np.random.default_rng(0).standard_normal((60, 2))
    origins, steps = np.array([20, 31, 45]), np.arange(1, 13)
    options = {"starts": np.array([3, 3, 40]), "seasons": np.array([4, 7]), "means": np.array([0.5, -0.5])}
    for i, origin in enumerate(origins):
        changed = values.copy()
        changed[origin:] = 1e6
        before, after = (forecast(name, v, origins, steps, **options)[i] for v in (values, changed))
        assert (before == after).all()


def test_targets_and_origins_do_not_mix():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    options = {"starts": np.array([0, 2]), "seasons": np.array([1, 2]), "means": np.array([0.0, 0.0])}
    result = forecast("seasonal naive", values, np.array([2, 4]), np.array([1, 2]), **options)
    assert result.tolist() == [[[2, 10], [2, 20]], [[4, 30], [4, 40]]]


def test_last_known_looks_back_to_the_start_and_no_farther():
    values = np.array([[1.0, 5.0], [NAN, NAN], [NAN, 7.0], [4.0, 8.0]])
    known = last_known(values, np.array([1, 3, 3]), np.array([0, 0, 1]), np.array([-1.0, -2.0]))
    assert known.tolist() == [[1, 5], [1, 7], [-1, 7]]


def test_an_unknown_baseline_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no baseline 'median'; known: last value, seasonal naive, drift, mean"):
        answer("median", [1, 2, 3], 2)


def wave(n_rows, season, *, noise, seed=0):
    return np.sin(np.arange(n_rows) * 2 * np.pi / season) + noise * np.random.default_rng(seed).standard_normal(n_rows)


@pytest.mark.parametrize(("n_rows", "season", "noise"), [(144, 12, 0.3), (2000, 24, 1.0), (300, 7, 0.5), (40, 4, 0.2)])
def test_season_of_a_noisy_wave_is_its_length(n_rows, season, noise):
    assert find_season(wave(n_rows, season, noise=noise), 100) == season


def test_season_is_found_through_trend_drift_outliers_and_missing_values():
    values = 3 * wave(3000, 24, noise=0.2) + 0.02 * np.arange(3000)
    values += 0.2 * np.random.default_rng(1).standard_normal(3000).cumsum()
    values[[100, 900, 2000]] = 500.0
    values[np.random.default_rng(2).choice(3000, 600, replace=False)] = NAN
    assert find_season(values, 400) == 24


def test_the_longer_of_two_seasons_wins_where_it_holds_the_shorter():
    hours = np.arange(24 * 7 * 20)
    weekend = np.where(hours // 24 % 7 >= 5, -3.0, 0.0)
    assert find_season(wave(len(hours), 24, noise=0.3) + weekend, 200) == 168


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_random_walks_have_no_season(seed):
    noise = np.random.default_rng(seed).standard_normal(1500)
    assert find_season(noise, 300) == 1
    assert find_season(noise.cumsum(), 300) == 1


@pytest.mark.parametrize(
    "values",
    [np.zeros(100), np.full(100, 0.1), np.arange(100.0), np.full(100, NAN), np.zeros(0), np.arange(5.0), [1.0, NAN]],
)
def test_series_that_say_nothing_have_no_season(values):
    assert find_season(np.asarray(values), 30) == 1


def test_season_is_at_most_the_largest_asked_for():
    assert find_season(wave(2000, 24, noise=0.1), 20) <= 20
    assert find_season(wave(2000, 24, noise=0.1), 1) == 1


def test_a_long_series_costs_no_more_than_a_second():
    values = wave(1_000_000, 48, noise=1.0)
    started = time.perf_counter()
    assert find_season(values, 200) == 48
    assert time.perf_counter() - started < 1.0
