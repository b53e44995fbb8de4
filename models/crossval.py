"""One configuration on all folds, in step: every epoch trains each fold's model once, then answers one score.

    cv = CrossValidation(problem, "lstm", params, trial=3)
    for epoch in cv.epochs():
        print(epoch.number, epoch.value, epoch.folds)

The score of a fold is the best its model has reached so far, since those are the weights that would be kept; the score
of a configuration is the mean over its folds. A configuration with a missing fold has no score.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.folds import Fold, Split
from data.table import Table
from data.windows import future_values
from models import training
from models.baselines import find_season, last_known
from models.batches import Inputs, Windows, as_tensor
from models.features import NO_FEATURES, Features
from models.fourier import Waves
from models.heads import VALUE_ALONE, Heads
from models.in_step import InStep, Params, Seeds
from models.layout import Layout
from models.metrics import METRICS, known_metrics, mase_scale, selection
from models.preprocess import Forecaster
from models.scaling import Statistics
from models.training import Answers, Training, draw_seed, predict


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What every configuration is judged on: the table, its split, the steps ahead and the metric."""

    table: Table
    split: Split
    steps: NDArray[np.int64]  # (H,) 1-based steps ahead
    metric: str  # a name of models.metrics.METRICS
    seed: int
    seasons: Mapping[str, NDArray[np.int64]]  # by fold: (K,), found in the rows that it trains on
    features: Features = NO_FEATURES
    waves: Waves = ()  # of time, in the graph
    heads: Heads = VALUE_ALONE
    # By fold: what is no target, best first, by its place in `inputs`; empty where nothing is chosen.
    rankings: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the numbers that a network may see: the table's columns of numbers, then the features."""
        return (*self.table.names[: self.table.n_numbers], *self.features.names(self.table.names))

    @property
    def weighed(self) -> dict[str, list[str]]:
        """What the weights that a network tells of its channels stand for, by output name."""
        table, layout = self.table, self.layout
        numbers = table.names[: table.n_numbers]
        own = layout.names(numbers, self.features.names(table.names), tuple(table.categories))
        return {"variable_weights": own, "static_weights": own, "ahead_weights": layout.names_ahead(numbers)}

    @property
    def layout(self) -> Layout:
        table = self.table
        words = tuple(len(each) for each in table.categories.values())
        return Layout(future=table.future, static=table.static, words=words, waves=self.waves)

    @property
    def minimise(self) -> bool:
        return METRICS[self.metric].direction == "min"

    @property
    def unit(self) -> str:
        """The metric's unit in words."""
        kind, targets = METRICS[self.metric].unit, self.table.targets
        if kind in ("%", "1"):
            return kind
        base = f"unit of {targets[0]}" if len(targets) == 1 else "standard deviations, mean over targets"
        return f"({base})^2" if kind == "target^2" else base

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    def cross_validation(
        self, family: str, params: Params, *, trial: int, device: torch.device | str = "cpu"
    ) -> CrossValidation:
        return CrossValidation(self, family, params, trial=trial, device=device)


def family(name: str) -> ModuleType:
    """The module of a family: `Config` and `Model`. The name must be one that `search_spaces.FAMILIES` lists."""
    return importlib.import_module(f"models.{name}")


FROM_THE_DATA = ("channels", "lookback", "n_steps", "n_targets", "n_outputs")  # of a network's Config
FOR_READERS_AHEAD = ("n_ahead", "static")  # of the Config of one that reads what is known ahead by itself


def parameters(name: str) -> list[str]:
    """What a configuration of family `name` may set: "model.hidden", "fit.lr", "input.normalisation", ..."""
    network = [each.name for each in fields(family(name).Config) if each.name not in FROM_THE_DATA + FOR_READERS_AHEAD]
    fit = [each.name for each in fields(training.Config)]
    return ["input.normalisation", *(f"model.{each}" for each in network), *(f"fit.{each}" for each in fit)]


def build(problem: Problem, name: str, params: Params, statistics: Statistics) -> Forecaster:
    """A fresh, untrained model of family `name`; torch's global generator decides its first weights."""
    module, keep, layout = family(name), params["input"].get("keep"), problem.layout
    visible = statistics.visible(keep)  # all of them, where nothing is chosen
    reads_ahead = getattr(module, "READS_AHEAD", False)
    more = {
        "n_ahead": layout.channels_ahead(statistics.flagged),
        "static": layout.constant_channels(visible, len(statistics.mean)),
    }
    config = module.Config(
        channels=layout.channels(visible),
        lookback=params["window"]["lookback"],
        n_steps=len(problem.steps),
        n_targets=problem.table.n_targets,
        n_outputs=problem.heads.n_outputs,
        **(more if reads_ahead else {}),
        **params["model"],
    )
    return Forecaster(
        module.Model(config),
        statistics,
        problem.table.n_targets,
        params["input"]["normalisation"],
        problem.features,
        layout,
        heads=problem.heads,
        visible=None if keep is None else visible,
        reads_ahead=reads_ahead,
    )


def reads_targets_alone(name: str) -> bool:
    """Whether the models of a family leave every input but the targets unread."""
    return bool(getattr(family(name), "READS_TARGETS_ALONE", False))


def n_ranked(problem: Problem, name: str) -> int:
    """How many inputs the models of a family choose from; 0 where none are ranked, or none but the targets are read."""
    return 0 if reads_targets_alone(name) else len(problem.rankings.get(problem.split.final.name, ()))


def fit_statistics(problem: Problem, fold: Fold) -> Statistics:
    """What preprocessing learns from the rows that a fold trains on."""
    table = problem.table
    fitted = Statistics.fit(table.values, fold.rows, problem.features, table.segments, problem.layout.words)
    return replace(fitted, ranking=tuple(int(i) for i in problem.rankings.get(fold.name, ())))


def lookback_windows(problem: Problem, table_TF: Tensor, origins: NDArray[np.int64], lookback: int) -> Windows:
    """Windows of the problem's table as a tensor on a device, which they share; features reach back before them."""
    return Windows(
        table_TF,
        origins,
        lookback=lookback + problem.features.reach,
        steps=problem.steps,
        n_targets=problem.table.n_targets,
        future=problem.table.future,
        time=problem.table.time if problem.waves else None,
        weight=problem.table.weight,
        device=table_TF.device,
    )


def example(problem: Problem, lookback: int, n: int) -> Inputs:
    """Zeros in the shapes and types that a model of this problem takes for n windows."""
    rows, n_steps = lookback + problem.features.reach, len(problem.steps)
    inputs = {"past": torch.zeros(n, rows, len(problem.table.names))}
    if problem.table.future:
        inputs["ahead"] = torch.zeros(n, n_steps, len(problem.table.future))
    if problem.waves:
        inputs["time"] = torch.zeros(n, rows, dtype=torch.int64)
        inputs["time_ahead"] = torch.zeros(n, n_steps, dtype=torch.int64)
    return inputs


class FoldScore:
    """The metric of one fold, ready for many predictions: truth, last known values and scales are taken once."""

    def __init__(self, problem: Problem, fold: Fold) -> None:
        table, k = problem.table, problem.table.n_targets
        targets = table.values[:, :k]
        statistics = Statistics.fit(targets, fold.rows)
        self.name = problem.metric
        self.heads = problem.heads
        self.truth = future_values(targets, fold.valid, problem.steps)
        starts = segment_starts(table, fold.valid)
        self.last = last_known(targets, fold.valid, starts=starts, means=statistics.mean)
        self.scales = statistics.std
        self.mase_scales = np.array(
            [mase_scale(targets[:, i], rows=fold.rows, segments=table.segments, season=int(season))
             for i, season in enumerate(problem.seasons[fold.name])]
        )  # fmt: skip

    def __call__(self, answers: Answers) -> float:
        return self.by(self.name, answers)

    def by(self, name: str, answers: Answers) -> float:
        """Metric `name` of these answers."""
        others = {head: answer for head, answer in answers.items() if head != "future"}
        return selection(
            name,
            self.truth,
            answers["future"],
            self.last,
            self.scales,
            self.mase_scales,
            self.heads,
            others,
        )

    def every(self, answers: Answers) -> dict[str, float]:
        """Each metric of the heads that answered, by name; over several targets as `selection` averages them."""
        valued = self.heads.answers_value
        names = [name for name in known_metrics(answers) if valued or METRICS[name].head != "value"]
        return {name: self.by(name, answers) for name in names}


def segment_starts(table: Table, origins: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first row (N,) of the unbroken segment that each origin lies in."""
    starts: NDArray[np.int64] = table.segments[np.searchsorted(table.segments[:, 0], origins, side="right") - 1, 0]
    return starts


def find_seasons(table: Table, split: Split) -> dict[str, NDArray[np.int64]]:
    """Fold -> the season (K,) of each target, in steps, found in the rows that the fold trains on; 1 = none."""
    return {fold.name: _seasons(table, fold.rows) for fold in (*split.folds, split.final)}


def _seasons(table: Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Found in the longest run of `rows` that no segment's end interrupts."""
    segment = np.searchsorted(table.segments[:, 0], rows, side="right")
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(segment) != 0)) + 1
    longest = max(np.split(rows, breaks), key=len)
    return np.array([find_season(table.values[longest, i]) for i in range(table.n_targets)], np.int64)


class CrossValidation(InStep[Training]):
    """A model and a `Training` for each fold, advanced together."""

    def __init__(self, problem: Problem, name: str, params: Params, *, trial: int, device: torch.device | str = "cpu"):
        self.problem = problem
        device = torch.device(device)
        config = training.Config(**params["fit"])
        lookback = params["window"]["lookback"]
        table_TF = as_tensor(problem.table.values).to(device)  # once for all folds
        trainings = []
        for i, fold in enumerate(problem.split.folds, start=1):
            statistics = fit_statistics(problem, fold)
            torch.manual_seed(draw_seed(problem.seed, trial, i, 0))
            trainings.append(
                Training(
                    build(problem, name, params, statistics).to(device),
                    lookback_windows(problem, table_TF, fold.train, lookback),
                    lookback_windows(problem, table_TF, fold.valid, lookback),
                    config,
                    seeds=Seeds(problem.seed, trial, i),
                    metric=FoldScore(problem, fold),
                    minimise=problem.minimise,
                )
            )
        super().__init__(trainings, minimise=problem.minimise)

    def predict_folds(self) -> list[Answers]:
        """Each fold's answers for its own validation windows, with its best weights."""
        for each in self.trainings:
            each.restore_best()
        return [predict(t.model, t.valid) for t in self.trainings if t.valid is not None]


def refit(
    problem: Problem, name: str, params: Params, *, trial: int, member: int = 0, device: torch.device | str = "cpu"
) -> Training:
    """A training on everything before the holdout, without validation: the caller takes as many epochs as it wants.

    Each `member` of an average has seeds of its own: as fold 0 would, then as the folds behind the last one.
    """
    device = torch.device(device)
    fold = problem.split.final
    number = len(problem.split.folds) + member if member else 0
    torch.manual_seed(draw_seed(problem.seed, trial, number, 0))
    return Training(
        build(problem, name, params, fit_statistics(problem, fold)).to(device),
        lookback_windows(problem, as_tensor(problem.table.values).to(device), fold.train, params["window"]["lookback"]),
        None,
        training.Config(**params["fit"]),
        seeds=Seeds(problem.seed, trial, number),
    )
