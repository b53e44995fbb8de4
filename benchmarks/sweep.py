"""The same configurations four ways: as Foldline, as Ray's guides show it, the same tuned, as a plain PyTorch loop.

    python benchmarks/sweep.py                              # 16 configurations, 5 folds, 9 epochs: about an hour
    python benchmarks/sweep.py --trials 3 --epochs 2        # a look
    python benchmarks/sweep.py --only foldline speed        # the other ways are taken from the last results

The configurations are drawn once from the LSTM's search space, the default first. Each way runs in a process of its
own, one after another. README.md, beside this file, says what is measured and what the ways have in common.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _figures
import _paths
import optuna
from _common import FAMILY, Job
from _figures import Figures, Result
from _process import ROOT, Usage, environment, python, run
from rich.console import Console

from search_spaces import load

ETTH1 = ROOT.parent / "shared" / "data" / "etth1.parquet"
WAYS = ("foldline", "guides", "guides_tuned", "plain", "speed")
SPEED_EPOCHS = 3
_GRACE_SECONDS = 120.0  # beyond --limit, before a process that does not end by itself is killed


class Failed(Exception):
    """A process of the benchmark did not hand back a result."""


def main() -> None:
    given = _parse()
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    data, time_column, target = find_data(given, console)
    configurations = draw_configurations(given.trials, given.seed)
    kept = ("lookback", "horizon", "folds", "epochs", "seed", "scheduler")
    settings = {
        **{name: getattr(given, name) for name in kept},
        "data": Path(data).name if data else "built-in sample sea-temperature",
        "target": target,
        "configurations": configurations,
    }
    with tempfile.TemporaryDirectory(prefix="foldline-bench-") as folder:
        job = Job(
            folder=folder,
            launched=0.0,
            data=data,
            time=time_column,
            target=target,
            lookback=given.lookback,
            horizon=given.horizon,
            folds=given.folds,
            epochs=given.epochs,
            scheduler=given.scheduler,
            seed=given.seed,
            limit=given.limit,
            configurations=configurations,
        )
        bench = Bench(job, console)
        whole = _begin(given.out, settings, console)
        done = measure(bench, given.only, whole, given.out)
    _figures.show(console, whole)
    console.print(f"written: {given.out}", soft_wrap=True)
    sys.exit(0 if done else 1)


def draw_configurations(n: int, seed: int) -> list[dict[str, Any]]:
    """The family's default and n - 1 random ones, flat; a function of the seed alone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = load(FAMILY)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [dict(space.default), *(study.ask(dict(space.ranges)).params for _ in range(n - 1))]


@dataclass(frozen=True)
class Bench:
    """Starts the processes, and says what they do and for how long it has been going on."""

    job: Job
    console: Console
    besides: Mapping[str, str] = field(default_factory=dict)  # of the processes' environment

    def start(self, name: str, script: str, job: Job) -> tuple[Result, Usage]:
        """One process to its end. Failed where it hands back no result, with the last lines that it said."""
        folder = Path(self.job.folder) / name
        folder.mkdir()
        began = time.time()
        job = replace(job, folder=str(folder), launched=began)
        job.write(folder / "job.json")
        heard = 0

        def hear() -> None:
            nonlocal heard
            progress = folder / "progress.txt"
            lines = progress.read_text(encoding="utf8").splitlines() if progress.exists() else []
            for line in lines[heard:]:
                self.console.print(f"[{time.time() - began:6.1f} s] {name}: {line}", markup=False, soft_wrap=True)
            heard = len(lines)

        self.console.print(f"{name}: {len(job.configurations)} configurations")
        status, usage = run(
            python(script, str(folder / "job.json")),
            log=folder / "log.txt",
            limit=job.limit + _GRACE_SECONDS,
            environment={**environment(), **self.besides},
            hear=hear,
        )
        result = folder / "result.json"
        if not result.exists():
            last = (folder / "log.txt").read_text(encoding="utf8", errors="replace").splitlines()[-25:]
            raise Failed("\n".join([f"{name} ended with status {status} and without a result; its last lines:", *last]))
        found: Result = json.loads(result.read_text(encoding="utf8"))
        return found, usage


def measure(bench: Bench, only: Sequence[str], whole: dict[str, Any], out: Path) -> bool:
    """Run the ways asked for, writing `whole` to `out` after each; whether all of them gave a result."""
    good = True
    for name in WAYS:
        if name not in only:
            continue
        try:
            if name == "speed":
                whole["speed"] = _speeds(bench)
            else:
                whole["ways"][name] = _way(bench, name, whole["ways"].get("foldline"))
        except Failed as failure:
            bench.console.print(str(failure), style="red", markup=False, soft_wrap=True)
            good = False
        ways = whole["ways"] = {name: whole["ways"][name] for name in WAYS if name in whole["ways"]}
        whole["ratios"] = _figures.ratios(ways, whole["speed"])
        if {"foldline", "plain"} <= ways.keys():
            whole["largest_difference_of_scores"] = _figures.agreement(ways["foldline"], ways["plain"])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf8")
    return good


def _way(bench: Bench, name: str, foldline: Figures | None) -> Figures:
    job = bench.job
    plan = None
    if name == "plain":
        plan = _plan(job, foldline)
        job = replace(job, plan=plan)
        if foldline is None:
            bench.console.print("plain: all folds train all epochs, as there is no sweep of Foldline to follow")
    if name.startswith("guides"):
        job = replace(job, scheduler="asha" if name == "guides_tuned" else "none")
    result, usage = bench.start(name, f"_{name.removesuffix('_tuned')}.py", job)
    return {**_figures.figures(result, usage, len(job.configurations), plan), "limit": job.limit}


def _plan(job: Job, foldline: Figures | None) -> list[list[int]]:
    """The epochs of each configuration and fold: those of Foldline's trials."""
    plan = [[job.epochs] * job.folds for _ in job.configurations]
    if foldline is not None:
        taken = {trial["number"]: trial["epochs"] for trial in foldline["by_trial"]}
        plan = [taken.get(number, [0] * job.folds) for number in range(len(plan))]
    return plan


def _speeds(bench: Bench) -> dict[str, dict[str, _figures.Speed]]:
    """Training speed of a trial and of the plain loop: one alone, and two at one time.

    Three configurations, the default, the smallest and the largest, all folds, a few epochs, nothing cut.
    """
    every = bench.job.configurations
    by_size = sorted(every[1:], key=lambda c: (c["model.layers"], c["model.hidden"]))
    chosen = [every[0], *by_size[:1], *by_size[1:][-1:]]
    plan = [[SPEED_EPOCHS] * bench.job.folds for _ in chosen]
    job = replace(bench.job, configurations=chosen, epochs=SPEED_EPOCHS, scheduler="none", plan=plan)
    found: dict[str, dict[str, _figures.Speed]] = {"alone": {}, "two at once": {}}
    alone, pair = found.values()
    for kind, n, by_way in (("foldline alone", 1, alone), ("foldline, two at once", 2, pair)):
        mine = replace(job, configurations=[each for each in chosen for _ in range(n)], concurrent=n)
        result, usage = bench.start(f"speed: {kind}", "_foldline.py", mine)
        by_way["foldline"] = {**_figures.speed([result], copies=n), "others_cores": usage.others_cores}
    for name, kept in (("plain", False), ("plain_kept", True)):
        mine = replace(job, keep_memory=kept)
        result, usage = bench.start(f"speed: {name} alone", "_plain.py", mine)
        alone[name] = {**_figures.speed([result]), "others_cores": usage.others_cores}
        with ThreadPoolExecutor(2) as two:
            started = [two.submit(bench.start, f"speed: {name}, {i} of two", "_plain.py", mine) for i in (1, 2)]
            (one, usage), (other, others) = (each.result() for each in started)
        cores = _figures.without_twin(usage, others, one["wall_seconds"])
        pair[name] = {**_figures.speed([one, other]), "others_cores": cores}
    return found


def _begin(out: Path, settings: dict[str, Any], console: Console) -> dict[str, Any]:
    """The results to be filled: those in `out`, where they are of the same settings and machine, else empty ones."""
    whole: dict[str, Any] = {
        "format": 1,
        "settings": settings,
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("ray", "torch", "optuna", "numpy")},
        },
        "ways": {},
        "speed": {},
        "ratios": {},
    }
    if out.exists():
        before = json.loads(out.read_text(encoding="utf8"))
        if all(before.get(key) == whole[key] for key in ("format", "settings", "machine")):
            whole = before
        else:
            kept = out.with_suffix(".before.json")
            shutil.copyfile(out, kept)
            console.print(f"{out} holds results of other settings; they are kept as {kept.name}", soft_wrap=True)
    return whole


def find_data(given: argparse.Namespace, console: Console) -> tuple[str | None, str | None, str | None]:
    """Path of the table, its time column, its target; no path stands for the built-in sample."""
    if given.data is not None:
        if not given.data.exists():
            raise SystemExit(f"error: --data {given.data}: there is no such file")
        if given.target is None:
            raise SystemExit("error: name the column to forecast: --target")
        return str(given.data.resolve()), given.time, given.target
    if ETTH1.exists():
        return str(ETTH1), "date", "OT"
    console.print("no ETTh1 in ../shared/data: the built-in sample sea-temperature stands in for it")
    return None, None, None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=_paths.file, help="one series, CSV or Parquet; default ETTh1, else a built-in sample"
    )
    parser.add_argument("--time", help="its time column, where it has several that could be")
    parser.add_argument("--target", help="the column to forecast")
    for name, default, what in (
        ("lookback", 96, "steps"),
        ("horizon", 24, "steps"),
        ("trials", 16, "configurations"),
        ("folds", 5, "of each configuration"),
        ("epochs", 9, "at most, of each fold"),
        ("seed", 0, "of the configurations, and of every draw in training"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what}; default {default}")
    parser.add_argument("--scheduler", choices=("asha", "none"), default="asha", help="Foldline's; none trains all")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds a way; default 3600")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS, help="run these; keep the others' results")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "sweep.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
