"""A trial with several workers: one of Ray Train's trainers inside a Tune function, all folds in step on every worker.

Every worker holds each fold's model and takes its share of each batch; predictions are gathered before they are
scored, so all workers know the same values and rank 0's report, the one that Tune hears, is everybody's. Of boosted
trees every worker holds its share of the rows and all trees. Rank 0 writes the states, too; all of them go on from the
newest.
"""

from __future__ import annotations

from typing import Any

import ray
import ray.train
import ray.train.torch
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from models.in_step import AnyProblem
from ray_jobs import cluster
from ray_jobs.trial import TrialRun, prepare_process


def distributed_trial(config: dict[str, Any], problem: AnyProblem) -> None:
    """Tune's function: config as `WarmTrial` takes it, "workers", and "storage", the folder of Ray Train's files."""
    config = config["trial"]
    cluster.prepare_train()
    gpus = {"GPU": config["gpus"]} if config["gpus"] else {}
    trainer = _trainer(config["family"])(
        _work,
        train_loop_config={**config, "problem": ray.put(problem)},
        scaling_config=ScalingConfig(
            num_workers=config["workers"],
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": config["cpus"], "memory": config["memory"], **gpus},
        ),
        run_config=RunConfig(
            name=f"workers-{config['number']:05d}-{tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def _work(config: dict[str, Any]) -> None:
    prepare_process(config["cpus"])
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    _join(config["family"], context.get_world_rank(), context.get_world_size())
    run = TrialRun(
        config,
        ray.get(config["problem"]),
        number=config["number"],
        device=ray.train.torch.get_device(),
        writes=first,
    )
    done = False
    while not done:  # an exception on any worker ends them all, and Tune hears of it
        result = run.epoch()
        done = result["done"]
        ray.train.report(result if first else {})


def _trainer(family: str) -> Any:
    """Of Ray Train's, the one that lets this family's workers find each other. LightGBM and XGBoost take a while to
    import, and series need neither."""
    if family == "lightgbm":
        from ray.train.lightgbm import LightGBMTrainer

        return LightGBMTrainer
    if family == "xgboost":
        from ray.train.xgboost import XGBoostTrainer

        return XGBoostTrainer
    return TorchTrainer


def _join(family: str, rank: int, size: int) -> None:
    """Tell boosted trees which share of the rows is this worker's."""
    if family not in ("lightgbm", "xgboost"):
        return
    from ray.train.lightgbm import get_network_params

    from models.tabular import workers

    workers.join(rank, size, get_network_params() if family == "lightgbm" else None)
