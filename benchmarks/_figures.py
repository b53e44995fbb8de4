"""From what the processes noted to the figures that are printed and written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from _process import Usage
from rich.console import Console
from rich.table import Table

Result = dict[str, Any]  # what a process handed back (see Job.finish)
Figures = dict[str, Any]
Speed = dict[str, float | None]  # "training", "training and validation" (windows a second), "others_cores"

_QUIET = 0.05  # cores that may be busy with other things before the tables say so
TITLES = {"foldline": "Foldline", "guides": "Ray's guides", "guides_tuned": "the same, tuned", "plain": "plain PyTorch"}
SPEEDS = {
    "foldline": "Foldline's trial",
    "plain": "plain loop, as a user has it",
    "plain_kept": "plain loop, freed memory kept",
}


def figures(result: Result, usage: Usage, n_trials: int, plan: list[list[int]] | None = None) -> Figures:
    """One way's figures. Where the time limit ended it, `whole_wall_seconds` is an estimate and `estimated` says how.

    `plan`, epochs by trial and fold, is what was to be trained; None where a scheduler decided that.
    """
    records, trials = result["records"], result["trials"]
    windows = sum(record["windows"] for record in records)
    training = sum(record["train_seconds"] for record in records)
    states = Counter(trial["state"] for trial in trials)
    states["unfinished"] = n_trials - sum(states[state] for state in ("complete", "cut", "failed"))
    wall = result["wall_seconds"]
    found: Figures = {
        "wall_seconds": wall,
        "whole_wall_seconds": wall,
        "estimated": None,
        "search_seconds": result["search_seconds"],
        "training_seconds": training,
        "validation_seconds": sum(record["valid_seconds"] for record in records),
        "windows": windows,
        "epochs_of_folds": sum(sum(record.get("folds", [True])) for record in records),
        "trials": {"all": n_trials, **states},
        "windows_per_second": windows / wall,
        "windows_per_training_second": _part(windows, training),
        "seconds_per_1000_windows": _part(1000 * wall, windows),
        **asdict(usage),
        "phases": result.get("phases", {}),
        "slot_seconds": result.get("slot_seconds", {}),
        "by_trial": _by_trial(records, trials),
    }
    if states["unfinished"] > 0:
        found |= _estimate(found, result, plan)
    return found


def _estimate(found: Figures, result: Result, plan: list[list[int]] | None) -> Figures:
    states, wall = found["trials"], found["wall_seconds"]
    if plan is not None:
        by_fold = {record["fold"]: record["windows"] for record in result["records"]}
        share = found["epochs_of_folds"] / sum(map(sum, plan))
        if len(by_fold) == len(plan[0]):
            planned = sum(n * by_fold[i] for epochs in plan for i, n in enumerate(epochs, start=1))
            share = found["windows"] / planned
        how = "seconds so far by the share of the windows trained so far"
    else:
        begun = len(found["by_trial"]) - (states["all"] - states["unfinished"])
        share = (states["all"] - states["unfinished"] + 0.5 * max(0, begun)) / states["all"]
        how = "seconds so far by the share of the trials ended so far; one under way counts half"
    return {"whole_wall_seconds": _part(wall, share), "estimated": f"the time limit ended it: {how}"}


def _by_trial(records: Iterable[Result], trials: Iterable[Result]) -> list[Figures]:
    """For each trial that trained: how it ended, its score, windows, seconds, and the epochs of each fold."""
    ended = {trial["number"]: trial for trial in trials}
    mine: dict[int, list[Result]] = defaultdict(list)
    for record in records:
        mine[record["trial"]].append(record)
    return [
        {
            **ended.get(number, {"number": number, "state": "unfinished", "value": None}),
            "epochs": fold_epochs(own),
            "windows": sum(record["windows"] for record in own),
            "training_seconds": sum(record["train_seconds"] for record in own),
        }
        for number, own in sorted(mine.items())
    ]


def fold_epochs(records: Iterable[Result]) -> list[int]:
    """How many epochs each fold was trained, first fold first."""
    counts: Counter[int] = Counter()
    for record in records:
        trained = record.get("folds")
        counts.update([record["fold"]] if trained is None else [i for i, yes in enumerate(trained, start=1) if yes])
    return [counts[i] for i in range(1, max(counts, default=0) + 1)]


def agreement(foldline: Figures, plain: Figures) -> float | None:
    """The largest relative difference of two trials' scores: the two should have done the same work."""
    values = {trial["number"]: trial["value"] for trial in foldline["by_trial"]}
    both = [(values.get(trial["number"]), trial["value"]) for trial in plain["by_trial"]]
    return max((abs(a - b) / abs(a) for a, b in both if a and b), default=None)


def speed(results: list[Result], copies: int = 1) -> dict[str, float]:
    """Windows a second of training, and of training with validation, over an epoch of all folds of each configuration.

    Each configuration counts with the median of its epochs in all of `results`; `copies` of each configuration stand
    side by side where one process ran several at one time.
    """
    seconds: dict[int, list[tuple[float, float]]] = defaultdict(list)
    windows: dict[int, int] = {}
    for result in results:
        epochs: dict[tuple[int, int], list[Result]] = defaultdict(list)
        for record in result["records"]:
            epochs[record["trial"], record["epoch"]].append(record)
        for (trial, _), own in epochs.items():
            training = sum(record["train_seconds"] for record in own)
            seconds[trial // copies].append((training, training + sum(record["valid_seconds"] for record in own)))
            windows[trial // copies] = sum(record["windows"] for record in own)
    total = sum(windows.values())
    training, both = (sum(median(pair[i] for pair in pairs) for pairs in seconds.values()) for i in (0, 1))
    return {"training": total / training, "training and validation": total / both}


def without_twin(one: Usage, twin: Usage, seconds: float) -> float | None:
    """Cores that neither of two processes side by side kept busy, but something else did."""
    if one.others_cores is None or twin.processor_seconds is None:
        return None
    return max(0.0, one.others_cores - twin.processor_seconds / seconds)


def ratios(ways: Mapping[str, Figures], speeds: Mapping[str, Mapping[str, Speed]]) -> Figures:
    """Each way by Foldline (above 1: Foldline is faster, or smaller), and a trial's speed by the plain loop's."""
    found: Figures = {}
    if "foldline" in ways:
        ours = ways["foldline"]
        for name in ways.keys() - {"foldline"}:
            keys = ("whole_wall_seconds", "seconds_per_1000_windows", "peak_resident_bytes", "peak_share_bytes")
            theirs = ways[name]
            found[name] = {key: _part(theirs[key], ours[key]) for key in keys}
    for at_once, by_way in speeds.items():
        found[f"trial_speed_{at_once}"] = {
            name: _part(by_way["foldline"]["training"], by_way[name]["training"])
            for name in by_way
            if name != "foldline"
        }
    return found


def _part(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def show(to: Console, whole: Mapping[str, Any]) -> None:
    """The tables."""
    ways, compared = whole["ways"], whole["ratios"]
    if ways:
        to.print(_ways_table(ways, compared))
    for name, each in ways.items():
        if each["estimated"]:
            to.print(f"* {TITLES[name]}: {each['wall_seconds']:.0f} s measured; {each['estimated']}")
        if (each["others_cores"] or 0.0) > _QUIET:
            to.print(f"{TITLES[name]}: other processes kept {each['others_cores']:.2f} cores busy meanwhile")
    for name, each in ways.items():
        if each["slot_seconds"]:
            phases = ", ".join(f"{what} {seconds:.2f}" for what, seconds in each["phases"].items())
            spent = ", ".join(f"{what} {seconds:.1f}" for what, seconds in each["slot_seconds"].items())
            to.print(f"\n{TITLES[name]}, seconds: {phases}", soft_wrap=True)
            to.print(f"{TITLES[name]}, seconds of all slots in the search: {spent}", soft_wrap=True)
    if whole["speed"]:
        to.print()
        to.print(_speed_table(whole["speed"], compared))
        for at_once, by_way in whole["speed"].items():
            for name, each in by_way.items():
                if (each["others_cores"] or 0.0) > _QUIET:
                    busy = f"other processes kept {each['others_cores']:.2f} cores busy meanwhile"
                    to.print(f"{SPEEDS[name]}, {at_once}: {busy}", soft_wrap=True)


def _ways_table(ways: Mapping[str, Figures], compared: Mapping[str, Any]) -> Table:
    table = Table(title="the same configurations, four ways", title_justify="left")
    columns = (
        "wall s",
        "training s",
        "windows",
        "windows/s",
        "of training",
        "s/1,000 windows",
        "complete/cut",
        "peak MB",
    )
    table.add_column("way")
    for column in (*columns, "wall ratio", "ratio by windows"):
        table.add_column(column, justify="right")
    for name, each in ways.items():
        states = each["trials"]
        own = compared.get(name, {"whole_wall_seconds": 1.0, "seconds_per_1000_windows": 1.0})
        star = "*" if each["estimated"] else ""
        table.add_row(
            TITLES[name],
            _number(each["whole_wall_seconds"], ".1f", star),
            f"{each['training_seconds']:.1f}",
            f"{each['windows']:,}",
            f"{each['windows_per_second']:,.0f}",
            _number(each["windows_per_training_second"], ",.0f"),
            _number(each["seconds_per_1000_windows"], ".4f"),
            f"{states.get('complete', 0)}/{states.get('cut', 0)}",
            _megabytes(each["peak_share_bytes"]),
            _number(own["whole_wall_seconds"], ".2f", star),
            _number(own["seconds_per_1000_windows"], ".2f"),
        )
    return table


def _speed_table(speeds: Mapping[str, Any], compared: Mapping[str, Any]) -> Table:
    table = Table(title="windows a second of one trial", title_justify="left")
    table.add_column("")
    for at_once in speeds:
        for column in (f"training, {at_once}", "with validation", "Foldline's ratio"):
            table.add_column(column, justify="right")
    for name, title in SPEEDS.items():
        cells = []
        for at_once, by_way in speeds.items():
            ratio = compared[f"trial_speed_{at_once}"].get(name)
            cells += [f"{by_way[name][what]:,.0f}" for what in ("training", "training and validation")]
            cells.append("" if ratio is None else f"{ratio:.3f}")
        table.add_row(title, *cells)
    return table


def _number(value: float | None, form: str, mark: str = "") -> str:
    return "unknown" if value is None else f"{value:{form}}{mark}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f}"
