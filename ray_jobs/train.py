"""Train one configuration on everything before the holdout, through Ray Train, and ship it with its proof.

    python ray_jobs/train.py --params runs/lstm-sales/best.yaml --config runs/lstm-sales/config.yaml --workers 2

`--params` names a YAML file with family, params and epochs, as every run leaves it (best.yaml); all other flags are
those of a search. Of series alone: the models of rows are their search's own. N workers take the same steps as one:
gloo between CPUs, nccl between GPUs.

Exit codes: 0 done; 2 the configuration or the data is wrong; 3 the model failed its proof; 4 interrupted; 1 a bug.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import InputError, nearest
from models.bundle import no_nan
from models.crossval import n_ranked
from ray_jobs import cluster, config, display, interrupt, prepare, run_folder, ship
from ray_jobs.final import FOLDER, Final, train_final
from ray_jobs.params import check_keep, check_values, with_head_weights
from ray_jobs.search import exit_codes
from ray_jobs.settings import Config
from search_spaces import FAMILIES, KEEP, unflatten

OWN_FLAGS = {
    "--params": "a YAML file with family, params and epochs, as every run leaves it: best.yaml",
    "--workers": "processes that train together; default resources.workers_per_trial",
}
_KEYS = ("family", "params", "epochs")


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run from the command line; returns the run's folder."""
    with exit_codes(), interrupt.raised():
        given = sys.argv[1:] if arguments is None else arguments
        settings = config.parse(given, prog="train.py", description=__doc__ or "", own=OWN_FLAGS)
        mine = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # after ours, which refuses better
        for flag in OWN_FLAGS:
            mine.add_argument(flag)
        chosen, _ = mine.parse_known_args(arguments)
        if chosen.params is None:
            raise InputError("name the configuration to train: --params best.yaml, as a search leaves it in its folder")
        workers = chosen.workers or str(settings.resources.workers_per_trial)
        if not re.fullmatch("[1-9][0-9]{0,4}", workers):
            raise InputError(f"--workers must be a whole number of at least 1, got {workers[:20]!r}")
        return train(settings, _read(Path(chosen.params)), workers=int(workers))


def train(settings: Config, chosen: dict[str, Any], *, workers: int) -> Path:
    """Train `chosen` ("family", "params" flat, "epochs", maybe "trial"), write its bundle, return the run's folder."""
    family, lookback = chosen["family"], chosen["params"]["window.lookback"]
    window = settings.window.model_copy(update={"lookback": lookback})
    resources = settings.resources.model_copy(update={"workers_per_trial": workers})
    settings = prepare.complete(settings.model_copy(update={"window": window, "resources": resources}))
    run_folder.check_free(Path(str(settings.runs)), settings.name)
    params = with_head_weights(settings, chosen["params"])
    problem = prepare.problem(settings)
    if n_ranked(problem, family):
        check_keep(params.get(KEEP), n_ranked(problem, family), "--params")
    elif KEEP in params:
        raise InputError(
            f"--params: {KEEP}={params[KEEP]!r} counts inputs that features.select ranks, which is "
            f"{settings.features.select!r} here; give the run's own config.yaml as --config"
        )
    cluster.connect()
    cluster.check(resources)
    out = display.console()
    default = f"train-{family}-{prepare.source(settings).short}"
    with run_folder.take(Path(str(settings.runs)), settings.name, default) as run:
        settings = settings.model_copy(update={"name": run.path.name})
        run.write_text("config.yaml", config.to_yaml(settings))
        out.print(f"run: {run.path}", soft_wrap=True)
        out.print(f"{family}: {chosen['epochs']} epochs on {workers} worker(s)")
        final = Final(
            family=family,
            params=params,
            trial=chosen.get("trial", 0),
            epochs=chosen["epochs"],
            max_epochs=max(settings.search.max_epochs, chosen["epochs"]),
            members=settings.export.members,
        )
        [model] = train_final(problem, [final], resources=resources, workers=workers, folder=run.path)
        candidate = ship.Candidate(
            model=model,
            family=family,
            lookback=lookback,
            cv={"mean": chosen.get("value"), "std": chosen.get("std"), "folds": chosen.get("folds", [])},
            trial={**{key: chosen[key] for key in _KEYS}, "kind": "refit"},
        )
        shipped = ship.ship(candidate, problem, settings, run.bundle(family))
        run.write_json(
            "summary.json",
            no_nan({"family": family, "holdout": shipped.holdout, "onnx_error": shipped.proof.error}),
        )
        shutil.rmtree(run.path / FOLDER, ignore_errors=True)
        run.write_text("DONE", "")
        metric = problem.metric
        out.print(f"holdout {metric} {shipped.holdout[metric]:.6g} {problem.unit}; bundle: {run.bundle(family)}")
        return run.path


def _read(file: Path) -> dict[str, Any]:
    """The file's configuration, held against its family's; InputError in one line."""
    chosen = config.read_yaml(file, "--params")
    for key in _KEYS:
        if key not in chosen:
            raise InputError(f"--params {file}: key {key!r} is missing; needed are {', '.join(_KEYS)}")
    if isinstance(chosen["params"], dict) and "window.lookback" not in chosen["params"]:
        raise InputError(
            f"--params {file}: params have no window.lookback; only a winner of series is trained again, the models of "
            f"a run of rows are its search's own"
        )
    if chosen["family"] not in FAMILIES:
        hint = nearest(str(chosen["family"]), FAMILIES)
        raise InputError(f"--params {file}: no model family {chosen['family']!r}{hint}; known: {', '.join(FAMILIES)}")
    for key, low, high in (("epochs", 1, 100_000), ("trial", 0, 2**31)):
        if key in chosen and not (type(chosen[key]) is int and low <= chosen[key] <= high):
            raise InputError(f"--params {file}: {key} must be a whole number from {low} to {high}, got {chosen[key]!r}")
    folds = chosen.get("folds", [])
    known = [*folds, chosen.get("value"), chosen.get("std")] if isinstance(folds, list) and folds else []
    if not isinstance(folds, list) or not all(isinstance(each, int | float) for each in known):
        raise InputError(
            f"--params {file}: value, std and each of folds must be numbers; leave out folds, or correct them"
        )
    try:
        groups = unflatten(chosen["params"])
        lookback = groups["window"]["lookback"]
        if type(lookback) is not int or not 1 <= lookback <= 100_000:
            raise ValueError(f"window.lookback must be a whole number from 1 to 100000, got {lookback!r}")
        check_values(chosen["family"], groups, lookback=lookback)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--params {file}: params do not fit family {chosen['family']!r}: {error}") from None
    return chosen


if __name__ == "__main__":
    main()
