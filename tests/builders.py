"""Small things that tests of models are made of: a table, a problem, a configuration, an untrained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch

from data.folds import split
from data.table import Table, check_table
from models import training
from models.batches import Windows, as_tensor
from models.bundle import write_bundle
from models.crossval import Problem, build, find_seasons, fit_statistics, lookback_windows
from models.fourier import Waves
from models.preprocess import Forecaster
from models.signature import Signature
from models.validation import Inputs, Proof
from search_spaces import load, unflatten

# A second thread only waits for the first at these sizes, a hundred times longer if cores are busy.
torch.set_num_threads(1)

COLUMNS = ("load", "heat", "wind")
PAST_ALONE = Signature(columns=COLUMNS)


def make_table(n_rows: int = 200, *, n_targets: int = 1, holes: float = 0.1, seed: int = 0) -> Table:
    """Hourly: "load" around 50, a wave of 12 hours; "heat", that wave earlier; "wind", noise with missing values."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * np.arange(n_rows) / 12)
    wind = rng.normal(3, 2, n_rows)
    wind[rng.random(n_rows) < holes] = np.nan
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=n_rows, freq="h"),
            "load": 50 + 10 * wave + rng.normal(0, 1, n_rows),
            "heat": 20 + 5 * np.roll(wave, 3) + rng.normal(0, 1, n_rows),
            "wind": wind,
        }
    )
    return check_table(frame, time="time", series=None, targets=list(COLUMNS[:n_targets]))


def make_rich_table(n_rows: int = 200, *, n_targets: int = 1) -> Table:
    """The same with a column known ahead ("plan", with missing values), a constant one in each of two series ("size",
    missing in the second), and two of words ("kind" and, constant in each series, "place")."""
    plain = make_table(n_rows, n_targets=n_targets)
    rng = np.random.default_rng(1)
    series = np.arange(n_rows) >= n_rows // 2
    frame = pd.DataFrame(plain.values, columns=list(plain.names)).assign(
        time=pd.to_datetime(plain.time, unit="s"),
        who=np.where(series, "b", "a"),
        plan=np.where(rng.random(n_rows) < 0.1, np.nan, rng.normal(7, 2, n_rows)),
        size=np.where(series, np.nan, 3.0),
        kind=np.array(["low", "mid", "high", None], object)[rng.integers(0, 4, n_rows)],
        place=np.where(series, "north", "south"),
    )
    return check_table(
        frame, time="time", series="who", targets=list(plain.targets), future=["plan"], static=["size", "place"]
    )


def make_sales(rows: int = 400) -> pd.DataFrame:
    """Hours of "sales" and "price", both waves without noise; "shop" is a in the first half and b in the second."""
    t = np.arange(rows)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "sales": 10 + np.sin(t / 5) + 0.01 * (t % 7),
            "price": 2 + np.cos(t / 9),
            "shop": ["a"] * (rows // 2) + ["b"] * (rows - rows // 2),
        }
    )


def make_problem(
    table: Table | None = None,
    *,
    n_folds: int = 2,
    lookback: int = 8,
    steps: Sequence[int] = (1, 2, 3),
    seed: int = 0,
    waves: Waves = (),
) -> Problem:
    """Walk-forward folds of a small table, judged by the mean absolute error; 20% of the time held out."""
    table = make_table() if table is None else table
    parts = split(table, n_folds=n_folds, holdout=0.2, lookback=lookback, steps=steps)
    return Problem(
        table=table,
        split=parts,
        steps=np.array(steps, np.int64),
        metric="mae",
        seed=seed,
        seasons=find_seasons(table, parts),
        waves=waves,
    )


def make_params(family: str, *, lookback: int = 8, **values: Any) -> dict[str, dict[str, Any]]:
    """A family's default configuration, with `values` such as fit__lr=0.1 in place of its own."""
    flat = dict(load(family).default) | {"window.lookback": lookback, "fit.batch_size": 32, "fit.max_epochs": 2}
    return unflatten(flat | {key.replace("__", "."): value for key, value in values.items()})


def make_model(
    family: str, problem: Problem | None = None, *, seed: int = 0, random_weights: bool = False, **values: Any
) -> Forecaster:
    """An untrained model with the statistics of the rows before the holdout.

    `random_weights` draws every weight, so that no first weight is zero or the same for all outputs.
    """
    problem = make_problem() if problem is None else problem
    torch.manual_seed(seed)
    statistics = fit_statistics(problem, problem.split.final)
    model = build(problem, family, make_params(family, **values), statistics)
    if random_weights:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def some_windows(problem: Problem, *, origins: slice = slice(None), lookback: int = 8) -> Windows:
    """The windows before the holdout, or some of them."""
    return lookback_windows(problem, as_tensor(problem.table.values), problem.split.final.train[origins], lookback)


def make_training(
    model: Forecaster,
    train: Windows,
    valid: Windows | None = None,
    *,
    metric: training.Metric | None = None,
    seed: int = 0,
    minimise: bool = True,
    **config: Any,
) -> training.Training:
    return training.Training(
        model,
        train,
        valid,
        training.Config(**{"max_epochs": 2, "batch_size": 32, **config}),
        seeds=lambda epoch: training.draw_seed(seed, epoch),
        metric=metric,
        minimise=minimise,
    )


COSTS = {"latency_p50_ms": 1.0, "latency_p95_ms": 2.0}


def make_bundle(
    folder: Path,
    graph: Path,
    model: torch.nn.Module,
    proof: Proof,
    inputs: Inputs,
    card: dict[str, Any],
    *,
    lookback: int,
    steps: list[int],
    targets: tuple[str, ...],
    extras: Mapping[str, str] = MappingProxyType({}),
    signature: Signature = PAST_ALONE,
) -> None:
    """Write a bundle of a model of the table that `make_table` makes, unless `signature` says of which. A proof without
    costs gets some that nobody measured."""
    write_bundle(
        folder,
        graph,
        model,
        card=card,
        signature=signature,
        targets=targets,
        lookback=lookback,
        steps=steps,
        proof=proof if proof.costs else replace(proof, costs=COSTS),
        inputs=inputs,
        extras=extras,
    )


def scripted(values: Sequence[float]) -> Callable[[Any], float]:
    """A metric that answers `values`, one a call, whatever was predicted."""
    left = iter(values)
    return lambda _: next(left)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    """Whether two states (tensors, numbers, text in dicts and lists) are the same to the bit; NaN equals NaN."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other or (one != one and other != other))


def loop_of(
    problem: Problem,
    windows: Windows,
    valid: Windows | None = None,
    values: Sequence[float] | None = None,
    *,
    family: str = "linear",
    model_seed: int = 0,
    **config: Any,
) -> training.Training:
    """A training of a small model; `values` script what the metric answers."""
    names = {"hidden": 8, "layers": 2, "dropout": 0.3} if family == "lstm" else {}
    model = make_model(family, problem, seed=model_seed, **{f"model__{k}": v for k, v in names.items()})
    metric = None if values is None else scripted(values)
    return make_training(model, windows, valid, metric=metric, **config)


def watch(loop: training.Training) -> list[float]:
    """The learning rate of every step to come, in a list that fills as the loop runs."""
    rates: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    return rates
