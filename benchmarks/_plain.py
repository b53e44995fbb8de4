"""The third way, the limit: a plain PyTorch loop in one process and one thread, without Ray and without reports.

The table is scaled once a fold, a batch is one gather, and every draw comes from the seeds that Foldline takes, so
that the scores of the two can be compared. Started by sweep.py: `python _plain.py job.json`.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import EVAL_BATCH, Job, Network, learning_rate_part, read_problem, scale
from torch import Tensor, nn

from data.folds import Fold
from models.crossval import Problem
from models.losses import LOSSES
from models.training import Config as FitConfig
from models.training import draw_seed

Record = dict[str, Any]


def main(job: Job) -> None:
    torch.set_num_threads(1)
    if job.keep_memory:
        keep_freed_memory()
    problem = read_problem(job)
    deadline = job.launched + job.limit
    began = time.time()
    records: list[Record] = []
    trials = []
    for number in (number for number, epochs in enumerate(job.plan) if sum(epochs)):
        best = []
        for i, fold in enumerate(problem.split.folds, start=1):
            mine = []
            for record in train(job, problem, number, i, fold):
                mine.append(record)
                if time.time() > deadline:
                    break
            records += mine
            best.append(min(record["valid"] for record in mine))
            if time.time() > deadline:
                break
        whole = len(best) == job.folds
        trials.append({"number": number, "state": "complete" if whole else "unfinished", "value": float(np.mean(best))})
        job.say(f"{len(trials)} of {len(job.configurations)} configurations")
        if time.time() > deadline:
            break
    job.finish({"records": records, "trials": trials, "search_seconds": time.time() - began})


def train(job: Job, problem: Problem, number: int, i: int, fold: Fold) -> Iterator[Record]:
    """One model on fold `i` (from 1), as many epochs as the plan says: a record after each."""
    groups = job.groups(number)
    fit = FitConfig(**groups["fit"])
    table_TF, mean, std = scale(problem.table.values, fold)
    k = problem.table.n_targets
    past = table_TF.unfold(0, job.lookback, 1).transpose(1, 2)  # (N, L, F): a view of every window, nothing copied
    ahead = torch.arange(job.horizon)
    train_origins, valid_origins = torch.from_numpy(fold.train), torch.from_numpy(fold.valid)
    truth_NHK = torch.tensor(problem.table.values)[:, :k][valid_origins[:, None] + ahead].double()
    torch.manual_seed(draw_seed(job.seed, number, i, 0))
    network = Network(groups, channels=table_TF.shape[1], horizon=job.horizon, n_targets=k)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=fit.lr, weight_decay=fit.weight_decay, fused=True)
    loss_of = LOSSES[fit.loss]
    best, best_weights = math.inf, None
    step = 0
    for epoch in range(1, job.plan[number][i - 1] + 1):
        started = time.perf_counter()
        seed = draw_seed(job.seed, number, i, epoch)
        torch.manual_seed(draw_seed(seed, 0))
        order = torch.randperm(len(train_origins), generator=torch.Generator().manual_seed(seed))
        batches = order.split(fit.batch_size)
        for batch in batches:
            step += 1
            optimizer.param_groups[0]["lr"] = fit.lr * learning_rate_part(step, len(batches), fit)
            origins = train_origins[batch]
            loss = loss_of(network(past[origins - job.lookback]), table_TF[origins[:, None] + ahead][..., :k])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, fit.clip_norm)
            optimizer.step()
        trained = time.perf_counter()
        predicted = validate(network, past, valid_origins - job.lookback) * std[:k] + mean[:k]
        valid = float((predicted.double() - truth_NHK).abs().mean())
        if valid < best:
            best, best_weights = valid, copy.deepcopy(network.state_dict())
        yield {
            "trial": number,
            "fold": i,
            "epoch": epoch,
            "windows": len(train_origins),
            "train_seconds": trained - started,
            "valid_seconds": time.perf_counter() - trained,
            "valid": valid,
        }
    if best_weights is not None:
        network.load_state_dict(best_weights)


def validate(network: Network, past: Tensor, rows: Tensor) -> Tensor:
    network.eval()
    with torch.inference_mode():
        parts = [network(past[batch]) for batch in rows.split(EVAL_BATCH)]
    network.train()
    return torch.cat(parts)


def keep_freed_memory() -> None:
    """The settings of `ray_jobs.trial.prepare_process`, without importing Ray for them."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform == "linux" and mallopt:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


if __name__ == "__main__":
    main(Job.read(Path(sys.argv[1])))
