"""The second way: the pattern of Ray's guides, written as someone who knows PyTorch well would follow them.

Ray, "Hyperparameter Tuning with Ray Tune" (docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html):
a Tune function a trial, which builds a `TorchTrainer` with `TuneReportCallback`; a checkpoint with every report. Folds
are trained one after another inside the train loop, as any cross-validation loop does, with one report an epoch: the
mean over the folds so far of each fold's best score.

As that page shows it (`scheduler` "none"), the function has the core that Tune reserves by default and its worker has
another, so that a trial takes two, and every trial trains to its end. What someone who knows both libraries would make
of it ("asha"): the function reserves no core, ASHA counts the reports, from the first one on, and Ray Train asks for
them every 0.2 s instead of every 2 s.
Started by sweep.py: `python _guides.py job.json`.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from _common import EVAL_BATCH, REDUCTION, Job, Network, learning_rate_part, read_problem, scale
from _guides_notes import Notes, Watch, breakdown, read_notes
from ray import tune
from ray.train import Checkpoint, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.losses import LOSSES
from models.training import Config as FitConfig
from models.training import draw_seed

Config = dict[str, Any]


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of a scaled table (T, F): past (L, F) and the targets' future (H, K)."""

    def __init__(self, table_TF: Tensor, origins: list[int], *, lookback: int, horizon: int, n_targets: int) -> None:
        self.past_TF, self.targets_TK = table_TF, table_TF[:, :n_targets]
        self.origins, self.lookback, self.horizon = origins, lookback, horizon

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        origin = self.origins[i]
        return self.past_TF[origin - self.lookback : origin], self.targets_TK[origin : origin + self.horizon]


def train_fn_per_worker(config: Config) -> None:
    """All folds, one after another."""
    note = Notes(config["notes"])
    note(event="loop")
    torch.set_num_threads(1)
    groups, data = config["groups"], ray.get(config["data"])
    fit = FitConfig(**groups["fit"])
    scores: list[float] = []
    for i, fold in enumerate(data["folds"], start=1):
        torch.manual_seed(draw_seed(data["seed"], config["number"], i))
        table_TF, _, std = scale(data["values"], fold)
        shape = {"lookback": groups["window"]["lookback"], "horizon": config["horizon"], "n_targets": 1}
        train_set = WindowDataset(table_TF, fold.train.tolist(), **shape)
        valid_set = WindowDataset(table_TF, fold.valid.tolist(), **shape)
        loader = ray.train.torch.prepare_data_loader(DataLoader(train_set, fit.batch_size, shuffle=True))
        valid_loader = ray.train.torch.prepare_data_loader(DataLoader(valid_set, EVAL_BATCH))
        network = Network(groups, channels=table_TF.shape[1], horizon=config["horizon"], n_targets=1)
        network = ray.train.torch.prepare_model(network)
        optimizer = torch.optim.AdamW(network.parameters(), lr=fit.lr, weight_decay=fit.weight_decay, fused=True)
        part = functools.partial(_part, steps_an_epoch=len(loader), fit=fit)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, part)
        best, best_epoch, best_weights = math.inf, 0, None
        for epoch in range(1, fit.max_epochs + 1):
            started = time.perf_counter()
            train_epoch(network, loader, optimizer, schedule, fit)
            trained = time.perf_counter()
            valid = validate(network, valid_loader) * float(std[0])
            validated = time.perf_counter()
            if valid < best:
                best, best_epoch, best_weights = valid, epoch, copy.deepcopy(network.state_dict())
            note(
                event="epoch",
                fold=i,
                epoch=epoch,
                windows=len(train_set),
                train_seconds=trained - started,
                valid_seconds=validated - trained,
                valid=valid,
            )
            ends = epoch == fit.max_epochs or epoch - best_epoch >= fit.patience
            finished = ends and i == len(data["folds"])
            with tempfile.TemporaryDirectory() as folder:
                torch.save(best_weights, Path(folder) / f"fold-{i}.pt")
                ray.train.report(
                    {"mae": float(np.mean([*scores, best])), "fold": i, "epoch": epoch, "finished": finished},
                    checkpoint=Checkpoint.from_directory(folder),
                )
            note(event="reported", seconds=time.perf_counter() - validated)
            if ends:
                break
        scores.append(best)


def _part(done: int, *, steps_an_epoch: int, fit: FitConfig) -> float:
    return learning_rate_part(done + 1, steps_an_epoch, fit)


def train_epoch(
    network: nn.Module,
    loader: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    fit: FitConfig,
) -> None:
    network.train()
    loss_of = LOSSES[fit.loss]
    for past_BLF, future_BHK in loader:
        loss = loss_of(network(past_BLF), future_BHK)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), fit.clip_norm)
        optimizer.step()
        schedule.step()


def validate(network: nn.Module, loader: DataLoader[Any]) -> float:
    """Mean absolute error in train standard deviations."""
    network.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for past_BLF, future_BHK in loader:
            total += float((network(past_BLF) - future_BHK).abs().double().sum())
            count += future_BHK.numel()
    return total / count


def train_driver_fn(config: Config) -> None:
    """What Tune runs for a trial."""
    trainer = TorchTrainer(
        train_fn_per_worker,
        train_loop_config=config["train_loop_config"],
        scaling_config=ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={tune.get_context().get_trial_id()}",
            storage_path=config["storage_path"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def main(job: Job) -> None:
    imported = time.time()
    problem = read_problem(job)
    ready = time.time()
    if job.scheduler == "asha":
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # Ray's processes inherit it
    ray.init()
    connected = time.time()
    slots = int(ray.cluster_resources()["CPU"])
    data = ray.put({"values": problem.table.values, "folds": problem.split.folds, "seed": job.seed})
    watch = Watch(job)
    loops = [
        {
            "number": number,
            "groups": job.groups(number),
            "horizon": job.horizon,
            "data": data,
            "notes": str(Path(job.folder) / f"notes-{number}.jsonl"),
        }
        for number in range(len(job.configurations))
    ]
    # Tune cannot see the workers inside a trial, so the guide has their number worked out from the scarcest resource.
    if job.scheduler == "asha":
        trainable = tune.with_resources(train_driver_fn, {"cpu": 0, "memory": 2**20})
        scheduler = ASHAScheduler(max_t=job.folds * job.epochs, grace_period=1, reduction_factor=REDUCTION)
        concurrent = slots
    else:
        trainable, scheduler, concurrent = train_driver_fn, FIFOScheduler(), max(1, slots // 2)
    tuner = tune.Tuner(
        trainable,
        param_space={"train_loop_config": tune.grid_search(loops), "storage_path": job.folder},
        tune_config=tune.TuneConfig(
            metric="mae",
            mode="min",
            scheduler=scheduler,
            max_concurrent_trials=concurrent,
            time_budget_s=job.limit,
        ),
        run_config=tune.RunConfig(name="guides", storage_path=job.folder, callbacks=[watch], verbose=0),
    )
    began = time.time()
    tuner.fit()
    ended = time.time()
    notes = {number: read_notes(Path(loop["notes"])) for number, loop in enumerate(loops)}
    job.finish(
        {
            "records": [
                {"trial": number, **note} for number, mine in notes.items() for note in mine if note["event"] == "epoch"
            ],
            "trials": sorted(watch.ended.values(), key=lambda t: t["number"]),
            "search_seconds": ended - began,
            "slots": slots,
            "phases": {
                "import": imported - job.launched,
                "read the data": ready - imported,
                "start Ray": connected - ready,
            },
            "slot_seconds": breakdown(watch, notes, slots * (ended - began)),
        }
    )


if __name__ == "__main__":
    main(Job.read(Path(sys.argv[1])))
