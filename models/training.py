"""The training loop: a generator of epochs that knows nothing of who listens.

    training = Training(model, train, valid, config, seeds=lambda epoch: draw_seed(seed, fold, epoch), metric=mae)
    for epoch in training.epochs():
        print(epoch.number, epoch.valid)          # report, stop, checkpoint: the caller's business
    training.restore_best()

Every random number of an epoch (order of windows, dropout) comes from that epoch's own seed, so an epoch is the same
whether the run was resumed before it, shares its process with other runs, or moved to another machine.

Under `torch.distributed` each rank takes its share of every batch, so that N workers take the same steps as one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import parallel
from models.batches import Windows
from models.losses import LOSSES, WEIGHTINGS, Objective
from models.preprocess import Forecaster

Answers = dict[str, NDArray[np.float32]]  # "future" (N, H, K), and what other heads answer
Metric = Callable[[Answers], float]  # of the answers for the validation windows

_MIN_PART = 0.01  # a cosine ends at this part of the learning rate
_PLATEAU_FACTOR, _PLATEAU_PATIENCE = 0.5, 2
EVAL_BATCH = 1024
_HEAD_WEIGHTS = ("value_weight", "direction_weight", "quantiles_weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How one model is fitted. Epochs are passes over all training windows."""

    max_epochs: int = 30
    batch_size: int = 128  # windows a step, over all workers
    lr: float = 2e-3
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = 1e-4  # decoupled for adamw, L2 for adam
    loss: Literal["mse", "mae", "huber", "smooth_l1", "quantile"] = "mae"  # of the value: see models.losses
    level: float = 0.5  # of the quantile loss
    weighting: Literal["none", "linear", "step", "volatility"] = "none"  # of the windows, steps and targets: see there
    emphasis: float = 1.0
    threshold: float = 0.5  # between the smallest (0) and the largest (1) target
    value_weight: float = 1.0  # of the heads' losses, where there are such heads
    direction_weight: float = 1.0
    quantiles_weight: float = 1.0
    step_weights: str = ""  # of the steps ahead, "1 1 2"; empty: all alike
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup_epochs: float = 0.5  # the learning rate grows linearly from 0 over this long
    clip_norm: float = 1.0  # largest norm of all gradients together
    patience: int = 5  # epochs without an improvement of more than min_delta that are borne
    min_delta: float = 0.0  # in the metric's unit
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where a GPU has it

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {name}={getattr(self, name)}")
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {name}={getattr(self, name)}")
        for name in ("weight_decay", "warmup_epochs", "min_delta", "emphasis", *_HEAD_WEIGHTS):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {name}={getattr(self, name)}")
        for name, known in (
            ("optimizer", ("adamw", "adam")),
            ("loss", tuple(LOSSES)),
            ("weighting", WEIGHTINGS),
            ("schedule", ("cosine", "plateau", "constant")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {name}={getattr(self, name)!r}")
        for name in ("level", "threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {name}={getattr(self, name)}")
        self.weights_of_steps(None)

    def weights_of_steps(self, n_steps: int | None) -> list[float]:
        """One for each step ahead; ValueError where `step_weights` says something else. None: as many as it names."""
        try:
            weights = [float(word) for word in self.step_weights.split()]
        except (AttributeError, ValueError):
            weights = [-1.0]
        if any(not 0 <= weight < math.inf for weight in weights) or (weights and not any(weights)):
            raise ValueError(f'step_weights must be weights like "1 1 2", got step_weights={self.step_weights!r}')
        if n_steps is not None and len(weights) not in (0, n_steps):
            raise ValueError(
                f"step_weights must name one weight for each of {n_steps} steps, got {self.step_weights!r}"
            )
        return weights or [1.0] * (n_steps or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    number: int  # from 1
    train_loss: float  # mean over the epoch's steps, in train standard deviations
    valid: float  # the metric after this epoch; NaN without validation windows
    best: float  # the best `valid` so far
    best_number: int  # its epoch
    learning_rate: float  # of the last step
    train_seconds: float
    valid_seconds: float
    last: bool  # no epoch follows: max_epochs reached, or patience spent


def draw_seed(*key: int) -> int:
    """A 63-bit seed that is a function of the key alone, e.g. (seed, trial, fold, epoch)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Training:
    """One model on its way: weights, optimiser, schedule, best weights, epochs done. Serialisable between epochs."""

    def __init__(
        self,
        model: Forecaster,
        train: Windows,
        valid: Windows | None,
        config: Config,
        *,
        seeds: Callable[[int], int],
        metric: Metric | None = None,
        minimise: bool = True,
    ) -> None:
        self.model = model
        self.train = train
        self.valid = valid
        self.config = config
        self.seeds = seeds
        self.metric = metric
        self.sign = 1.0 if minimise else -1.0
        self.done = 0
        self.best = math.inf
        self.best_number = 0
        self.best_weights: dict[str, Tensor] = {}
        self.objective = _objective(model, train, config)
        self.step_module = parallel.wrap(_Scaled(model))
        optimizer = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            factor=_PLATEAU_FACTOR,
            patience=_PLATEAU_PATIENCE,
            threshold=config.min_delta,  # what counts as an improvement is one thing for both; relative thresholds
            threshold_mode="abs",  # take equal values for better ones where a metric is maximised
        )
        self.plateau_part = 1.0

    @property
    def finished(self) -> bool:
        """True when no epoch is left: all done, or `patience` epochs have passed without an improvement."""
        waited = self.done - self.best_number if self.valid is not None else 0
        return self.done >= self.config.max_epochs or waited >= self.config.patience

    def epochs(self) -> Iterator[Epoch]:
        """Train until `finished`, one epoch at a time; continues where `load_state_dict` left off."""
        while not self.finished:
            yield self._epoch(self.done + 1)

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch (those it has, where nothing was validated)."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the coming epochs depend on: tensors, numbers and text only (`weights_only` reads it)."""
        return {
            "model": self.model.state_dict(),
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "plateau": {"best": float(self.plateau.best), "bad_epochs": self.plateau.num_bad_epochs},
            "plateau_part": self.plateau_part,
            "done": self.done,
            "best": self.best,
            "best_number": self.best_number,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`. The optimiser's learning rate and decay stay those of this run's config."""
        self.model.load_state_dict(state["model"])
        self.best_weights = state["best_weights"]
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, setting in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(setting)
        self.plateau.best = state["plateau"]["best"]
        self.plateau.num_bad_epochs = state["plateau"]["bad_epochs"]
        self.plateau_part = state["plateau_part"]
        self.done, self.best, self.best_number = state["done"], state["best"], state["best_number"]

    def _epoch(self, number: int) -> Epoch:
        started = time.perf_counter()
        seed = self.seeds(number)
        torch.manual_seed(draw_seed(seed, parallel.rank()))  # dropout
        train_loss = self._train(number, torch.Generator().manual_seed(seed))
        trained = time.perf_counter()
        learning_rate = float(self.optimizer.param_groups[0]["lr"])
        value = self._validate()
        self.done = number
        if self.sign * value < self.best - (self.config.min_delta if self.best_number else 0.0):
            self.best, self.best_number = self.sign * value, number
            self.best_weights = copy.deepcopy(self.model.state_dict())
        if self.config.schedule == "plateau" and self.valid is not None:
            self.plateau.step(self.sign * value)
            self.plateau_part *= self.optimizer.param_groups[0]["lr"] / learning_rate
        return Epoch(
            number=number,
            train_loss=train_loss,
            valid=value,
            best=self.sign * self.best,
            best_number=self.best_number,
            learning_rate=learning_rate,
            train_seconds=trained - started,
            valid_seconds=time.perf_counter() - trained,
            last=self.finished,
        )

    def _train(self, number: int, generator: torch.Generator) -> float:
        self.model.train()
        order = torch.randperm(len(self.train), generator=generator)
        batches = order.split(self.config.batch_size)
        total = torch.zeros((), device=self.train.device)
        for i, batch in enumerate(batches):
            self._set_learning_rate((number - 1) * len(batches) + i + 1, len(batches))
            share, weight = parallel.share(batch)
            inputs, future_BHK = self.train.gather(share)
            with self._autocast():
                answers = self.step_module(**inputs)
            loss = self.objective(answers, future_BHK, inputs["past"], self.train.weights(share)) * weight
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            total += loss.detach()
        return float(parallel.mean(total / len(batches)))

    def _validate(self) -> float:
        if self.valid is None or self.metric is None:
            return math.nan
        return self.metric(predict(self.model, self.valid, precision=self.config.precision))

    def _set_learning_rate(self, step: int, steps_an_epoch: int) -> None:
        """Step counts from 1 over the whole run. Warm-up is linear; the cosine spans what follows it."""
        warmup = self.config.warmup_epochs * steps_an_epoch
        part = min(1.0, step / warmup) if warmup else 1.0
        if self.config.schedule == "cosine" and step > warmup:
            way = (step - warmup) / max(1.0, self.config.max_epochs * steps_an_epoch - warmup)
            part = _MIN_PART + (1 - _MIN_PART) * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * part * self.plateau_part

    def _autocast(self) -> torch.autocast:
        return _autocast(self.train.device, self.config.precision)


def _objective(model: Forecaster, train: Windows, config: Config) -> Objective:
    heads = {"value": model.heads.value, "direction": model.heads.direction, "quantiles": bool(model.heads.levels)}
    return Objective(
        model,
        train,
        loss=config.loss,
        level=config.level,
        heads={name: getattr(config, f"{name}_weight") for name, there in heads.items() if there},
        steps=torch.tensor(config.weights_of_steps(len(train.steps))),
        weighting=config.weighting,
        emphasis=config.emphasis,
        threshold=config.threshold,
    )


def predict(model: Forecaster, windows: Windows, *, precision: str = "float32") -> Answers:
    """What `Forecaster.answers` gives for every window, in order, on every rank: float32 by head, windows first."""
    was_training = model.training
    model.eval()
    mine = parallel.my_slice(len(windows))
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode(), _autocast(windows.device, precision):
        for batch in torch.arange(len(windows))[mine].split(EVAL_BATCH):
            inputs, _ = windows.gather(batch)
            parts.append(model.answers(**inputs))
    model.train(was_training)
    answers = {}
    for name, shape in model.answer_shapes(len(windows.steps)).items():
        mine_of_it = (
            torch.cat([part[name] for part in parts]) if parts else torch.zeros(0, *shape, device=windows.device)
        )
        answers[name] = parallel.gather(mine_of_it, len(windows)).float().cpu().numpy()
    return answers


class _Scaled(nn.Module):
    """The model in train standard deviations: what a distributed wrapper may call."""

    def __init__(self, model: Forecaster) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return self.model.scaled(**inputs)


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = precision == "bfloat16" or (precision == "auto" and has)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
