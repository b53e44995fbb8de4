"""The settings of a run: what they are called, what they may be, what they mean and what they are by default.

The text under a setting is its help. How files and flags are read into them: ray_jobs/config.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scheme = Literal["auto", "walk_forward", "sliding", "blocked", "grouped", "stratified", "random"]
Steps = Annotated[int, Field(ge=1, le=100_000)]
MetricName = Literal[
    "auto", "mse", "rmse", "mae", "mape", "smape", "mase", "r2", "pearson",
    "directional_accuracy", "sign_precision", "sign_recall", "sign_f1",
    "direction_accuracy", "direction_precision", "direction_recall", "direction_f1", "log_loss", "pinball",
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier", "calibration_error",
    "silhouette", "davies_bouldin", "calinski_harabasz",
]  # fmt: skip


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Data(Section):
    path: str | None = None
    """CSV (also .gz, .bz2, .xz, .zst), Parquet file or folder; a local path, or s3://, gs://, file://"""
    sample: str | None = None
    """a built-in table instead of a path: sea-temperature, stocks, stock-weeks, risk-panel; of rows: titanic"""
    time: str | None = None
    """the time column; found by itself where only one column holds times"""
    series: str | None = None
    """the column that names the series of a panel"""
    targets: list[str] = []
    """what is forecast"""
    past: Literal["auto"] | list[str] = "auto"
    """inputs known up to now, besides the targets; auto: every other numeric column; of rows: all inputs"""
    future: list[str] = []
    """inputs known ahead of time, such as holidays or planned prices; numeric"""
    static: list[str] = []
    """inputs that are constant in each series"""
    categorical: Literal["auto"] | list[str] = "auto"
    """inputs that are words; auto: with data.past auto, columns of text with at most 100 words that are no ids"""
    weight: str | None = None
    """how much each row counts: a numeric column, 0 or more; no input"""
    fill_gaps: Annotated[int, Field(ge=0, le=100_000)] = 0
    """gaps of at most so many steps are filled with missing values; longer ones cut the series"""
    task: Literal["auto", "classification", "regression", "clustering"] = "auto"
    """of rows: whether the target is a class or an amount, auto: by what it holds; clustering has no target"""
    drop: list[str] = []
    """of rows: columns of no use, such as ids"""
    labels: list[str] = []
    """of a clustering: known groups that it is held against; no inputs"""
    group: str | None = None
    """of rows: those with the same value here stay in one fold"""
    positive: str | None = None
    """of rows with two classes: the one that precision, recall, F1 and the threshold are about; the last by name"""
    class_weights: Literal["none", "balanced"] = "none"
    """of rows: balanced: in training, every class counts as much as every other"""


class Window(Section):
    lookback: Steps | list[Steps] = 96
    """steps a forecast looks back on; a list is searched"""
    horizon: Steps = 24
    """steps ahead, from the next one on"""
    horizons: list[Steps] = []
    """chosen steps ahead instead, e.g. 6,9,12"""

    @property
    def lookbacks(self) -> list[int]:
        return sorted(set(self.lookback)) if isinstance(self.lookback, list) else [self.lookback]

    @property
    def steps(self) -> list[int]:
        return sorted(set(self.horizons)) or list(range(1, self.horizon + 1))

    @model_validator(mode="after")
    def _some_lookback(self) -> Window:
        if not self.lookbacks:
            raise ValueError("window.lookback is an empty list; give at least one number of steps")
        return self


Span = Annotated[int, Field(ge=2, le=100_000)]


class Features(Section):
    """Worked out of the raw window inside the graph, each over so many steps: see models/features.py."""

    columns: Literal["auto"] | list[str] = "auto"
    """of which columns; auto: the targets"""
    lags: list[Steps] = []
    """earlier values"""
    averages: list[Span] = []
    """moving averages"""
    minima: list[Span] = []
    maxima: list[Span] = []
    differences: list[Steps] = []
    returns: list[Steps] = []
    """relative changes"""
    deviations: list[Span] = []
    """moving standard deviations"""
    volatilities: list[Span] = []
    """moving standard deviations of one-step returns"""
    fourier: dict[Literal["hour", "day", "week", "year"], Annotated[int, Field(ge=1, le=100)]] = {}
    """waves of time for the steps behind and ahead, so many harmonics for each period: {day: 2, week: 1, year: 2}"""
    select: Literal["none", "importance", "permutation"] = "none"
    """rank inputs and features by a random forest on each fold's train rows; how many are kept is searched"""


Weight = Annotated[float, Field(ge=0, le=1e6)]


class Heads(Section):
    """What is answered for each step and target, and how much each answer's loss weighs: see models/heads.py."""

    value: Weight | list[Weight] = 1.0
    """weight of the value's loss; 0: no such head, the median quantile is the value, or the last known value where
    there is none; a list is searched"""
    direction: Weight | list[Weight] = 0.0
    """weight of the direction's: up or down from the last known value; 0: no such head; a list is searched"""
    quantiles: Weight | list[Weight] = 0.0
    """weight of the quantiles'; 0: no such head; a list is searched"""
    levels: list[Annotated[float, Field(gt=0, lt=1)]] = [0.1, 0.5, 0.9]
    """of the quantiles"""
    band: Annotated[float, Field(ge=0, le=1e30)] = 0.0
    """a change up to this, in the target's unit, is neither up nor down; 0: there is no such class"""
    steps: list[Weight] | list[list[Weight]] = []
    """weight of each step ahead; a list of lists is searched; empty: all alike"""

    @model_validator(mode="after")
    def _some_head(self) -> Heads:
        for name in ("value", "direction", "quantiles"):
            weight = getattr(self, name)
            if isinstance(weight, list) and not (weight and all(weight)):
                raise ValueError(f"heads.{name} is searched among weights above 0")
        if self.quantiles and not self.levels:
            raise ValueError("heads.quantiles needs at least one of heads.levels")
        if self.band and not self.direction:
            raise ValueError("heads.band is the direction's; give heads.direction a weight")
        if not (self.value or self.direction or self.quantiles):
            raise ValueError("no head is left: give heads.value, heads.direction or heads.quantiles a weight above 0")
        return self


class Validation(Section):
    scheme: Scheme = "auto"
    """auto is walk_forward for series; for rows stratified by class, grouped with data.group, walk_forward with
    data.time, else random"""
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    holdout: Literal["auto"] | Annotated[float, Field(ge=0.001, lt=0.9)] = "auto"
    """the share that is scored once, for the winner: the end of time; of rows any, whole groups, or the last by
    data.time; auto: 0.2 of series, 0.1 of rows"""
    embargo: Annotated[int, Field(ge=0, le=100_000)] = 0
    """steps left out between training and validation, besides what the windows need"""


class Search(Section):
    algorithm: Literal["tpe", "random", "grid", "hyperopt"] = "tpe"
    scheduler: Literal["asha", "none", "median", "hyperband", "pbt"] = "asha"
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """for each family"""
    max_epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    grace: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = "auto"
    """epochs that asha and median give every trial (median 2 at least); auto: 1; of rows a ninth of max_epochs, 3 at
    least, since the first trees of small steps look worse than they are"""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """seconds of search for each family, after which no trial goes on"""
    metric: MetricName = "auto"
    """what ranks the trials; auto is mae; without a value head pinball, without quantiles log_loss; of rows roc_auc for
    two classes, log_loss for more, rmse for amounts"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    fixed: dict[str, bool | int | float | str] = {}
    """parameters that are not searched, with their values: {input.normalisation: none, model.layers: 1}"""
    storage: str | None = None
    """database of the study: postgresql+psycopg://... or mysql+pymysql://...; default study.db in the run folder"""
    epoch_timeout: Annotated[float, Field(gt=0, le=1e7)] = 3600
    """seconds; a trial whose epoch, of all folds, takes longer counts as hung, is started again twice, then failed"""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.2
    """the share of failed trials that is borne; with more, the run ends with exit code 1"""


class Resources(Section):
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """for each worker of a trial"""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    workers_per_trial: Annotated[int, Field(ge=1)] = 1
    concurrent: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """trials at one time; auto: as many as fit"""


class Export(Section):
    winner: Literal["auto", "refit", "average"] = "auto"
    """refit: one model on all rows before the holdout; average: the fold models in one graph; auto: refit after
    walk_forward and sliding, else average"""
    members: Annotated[int, Field(ge=1, le=100)] = 1
    """of a refit: so many models, each with random draws of its own, averaged in one graph"""
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    """the largest error of the graph against PyTorch, in standard deviations of the target"""
    threshold: Literal["auto", "accuracy", "balanced_accuracy", "f1"] | Annotated[float, Field(gt=0, lt=1)] = "auto"
    """of two classes of rows: the probability from which on the second is answered, or what it is chosen by on
    out-of-fold predictions; auto: by search.metric where that goes by labels, else by f1"""


class Config(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """the run folder's name: letters, digits, dot, dash, underscore; default <families>-<data>"""
    runs: str | None = None
    """where run folders are made; default runs, in a Ray job ~/foldline-runs"""
    data: Data = Data()
    window: Window = Window()
    features: Features = Features()
    heads: Heads = Heads()
    validation: Validation = Validation()
    search: Search = Search()
    resources: Resources = Resources()
    export: Export = Export()
    gates: dict[str, str] = {}
    """of rows: what a winner must reach on the holdout and as a graph, else exit code 3: {roc_auc: ">= 0.77", cv_std:
    "< 0.05", latency_p95_ms: "< 50", size_mb: "< 500"}"""

    @model_validator(mode="after")
    def _members(self) -> Config:
        if self.export.members > 1 and self.averages:
            raise ValueError(
                "export.members are trained on all folds' rows; give export.winner=refit, too, or leave it"
            )
        return self

    @property
    def averages(self) -> bool:
        """Whether the fold models are shipped; of walk-forward folds the early ones have seen too little."""
        if self.export.winner == "auto":
            return self.validation.scheme in ("blocked", "grouped")
        return self.export.winner == "average"
