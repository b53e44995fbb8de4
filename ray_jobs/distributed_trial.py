"""A trial with several workers: a `TorchTrainer` inside a Tune function, all folds in step on every worker.

Every worker holds each fold's model and takes its share of each batch; predictions are gathered before they are
scored, so all workers know the same values and rank 0's report, the one that Tune hears, is everybody's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from models import parallel
from models.crossval import CrossValidation, Problem
from ray_jobs.trial import STATE_FILE, prepare_process, report
from search_spaces import unflatten


def distributed_trial(config: dict[str, Any], problem: Problem) -> None:
    """Tune's function: config as `WarmTrial` takes it, and "workers" and "storage" (the folder of its files)."""
    config = config["trial"]
    gpus = {"GPU": config["gpus"]} if config["gpus"] else {}
    trainer = TorchTrainer(
        _work,
        train_loop_config={**config, "problem": ray.put(problem)},
        scaling_config=ScalingConfig(
            num_workers=config["workers"],
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": config["cpus"], **gpus},
        ),
        run_config=RunConfig(
            name=f"workers-{config['number']:05d}", storage_path=config["storage"], callbacks=[TuneReportCallback()]
        ),
    )
    trainer.fit()


def _work(config: dict[str, Any]) -> None:
    prepare_process(config["cpus"])
    cv = CrossValidation(
        ray.get(config["problem"]),
        config["family"],
        unflatten({**config["params"], **config["fixed"]}),
        trial=config["number"],
        device=ray.train.torch.get_device(),
    )
    for epoch in cv.epochs():
        if parallel.rank() > 0:
            ray.train.report({})
            continue
        with tempfile.TemporaryDirectory() as folder:
            torch.save(cv.state_dict(), Path(folder) / STATE_FILE)
            ray.train.report(report(epoch), checkpoint=Checkpoint.from_directory(folder))
