"""The comparison of winners, over small run folders written by hand: numbers, best ones, refusals, the page."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from models.metrics import METRICS
from models.predictor import FORMAT
from ray_jobs import compare
from ray_jobs.compare import compare_families
from ray_jobs.report.compared import SCORES, read_comparison
from ray_jobs.run_folder import RunFolder
from tests.conftest import ROOT
from tests.pages import Reader

EVIL = "<img src=x onerror=alert(1)>&'\""
BASELINES = {"last value": (5.0, 4.0, 9.0, 0.0), "mean": (6.0, 5.0, None, 0.5)}
FAMILIES = {"lstm": (2.0, 1.5, 3.0, 0.75), "tcn": (2.5, 1.25, None, 0.75)}


def make_run(
    path: Path, families: dict[str, tuple[float | None, ...]] = FAMILIES, *, workers: int = 1, **summary: Any
) -> Path:
    """A finished run. The i-th family has trials of 1 s, 2 s and 4 s times i + 1, and answers in i + 1 ms."""
    path.mkdir(parents=True)
    rows = [{"family": family, "seconds": s * (i + 1)} for i, family in enumerate(families) for s in (1.0, 2.0, 4.0)]
    pd.DataFrame(rows).to_parquet(path / "trials.parquet")
    for i, (family, scores) in enumerate(families.items()):
        make_bundle(path / "bundles" / family, scores, latency=i + 1.0, workers=workers)
    leaderboard = [{"name": name, "kind": "model", "holdout": held(scores)} for name, scores in families.items()]
    leaderboard[1:1] = [{"name": n, "kind": "baseline", "holdout": held(scores)} for n, scores in BASELINES.items()]
    whole = {
        "winners": {family: {} for family in families},
        "leaderboard": leaderboard,
        "data": {"fingerprint": "abc", "targets": ["load"]},
        "steps": [1, 2, 3],
        "holdout": {"windows": 1200, "span": [1_704_067_200, 1_704_153_600]},
    }
    (path / "summary.json").write_text(json.dumps(whole | summary))
    (path / "DONE").touch()
    return path


def make_bundle(folder: Path, scores: tuple[float | None, ...], *, latency: float, workers: int) -> None:
    """A bundle whose sums are right; its graph is 1536 bytes that nobody opens."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(1536))
    (folder / "validation.json").write_text(
        json.dumps({"costs": {"latency_p50_ms": latency, "latency_p95_ms": 10 * latency}})
    )
    card = {
        "format": FORMAT,
        "config": {"resources": {"workers_per_trial": workers}},
        "data": {"fingerprint": "abc"},
        "metrics": {"holdout": held(scores)},
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()},
    }
    (folder / "bundle.json").write_text(json.dumps(card))


def held(scores: tuple[float | None, ...]) -> dict[str, float | None]:
    return {column.name: score for column, score in zip(SCORES[: len(scores)], scores, strict=True)}


def printed(path: Path, *, terminal: bool = False) -> str:
    out = Console(file=io.StringIO(), width=100, force_terminal=terminal, markup=False, highlight=False)
    compare.show(out, read_comparison([path]))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


# --- the numbers


def test_every_number_is_that_of_the_run_folder(tmp_path: Path) -> None:
    frame = read_comparison([make_run(tmp_path / "a", workers=2)]).frame()
    expected = pd.DataFrame(
        {
            "run": ["a", "a", "a", "a"],
            "name": ["lstm", "tcn", "last value", "mean"],
            "kind": ["model", "model", "baseline", "baseline"],
            "training_seconds": [14.0, 28.0, math.nan, math.nan],  # 2 workers x 7 s, and x 14 s
            "latency_p50_ms": [1.0, 2.0, math.nan, math.nan],
            "latency_p95_ms": [10.0, 20.0, math.nan, math.nan],
            "size_kib": [1.5, 1.5, math.nan, math.nan],
            "rmse": [2.0, 2.5, 5.0, 6.0],
            "mae": [1.5, 1.25, 4.0, 5.0],
            "mape": [3.0, math.nan, 9.0, math.nan],
            "directional_accuracy": [0.75, 0.75, 0.0, 0.5],
        }
    )
    pd.testing.assert_frame_equal(frame, expected)


def test_scores_are_the_bundles_own_and_not_the_summarys(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    summary = json.loads((run / "summary.json").read_text())
    summary["leaderboard"][0]["holdout"]["rmse"] = 0.001
    (run / "summary.json").write_text(json.dumps(summary))
    assert read_comparison([run]).rows[0].values["rmse"] == 2.0


def test_the_best_of_each_column_is_named_with_its_ties_lowest_or_highest(tmp_path: Path) -> None:
    assert read_comparison([make_run(tmp_path / "a")]).sentence() == (
        "best: training lstm, latency p50 lstm, latency p95 lstm, file size lstm and tcn, rmse lstm, mae tcn, "
        "mape lstm, direction lstm and tcn"
    )


def test_a_baseline_that_is_better_is_named_as_one(tmp_path: Path) -> None:
    said = read_comparison([make_run(tmp_path / "a", {"lstm": (5.5, 4.0, None, 0.4)})]).sentence()
    assert said.endswith(
        "rmse last value (a baseline), mae lstm and last value (a baseline), mape last value (a baseline), "
        "direction mean (a baseline)"
    )


def test_the_direction_head_is_a_column_beside_the_sign_of_the_value(tmp_path: Path) -> None:
    winners = {"lstm": (2.0, 1.0, 3.0, 0.75, 0.5), "tcn": (2.5, 2.0, 4.0, 0.25, 0.625)}
    compared = read_comparison([make_run(tmp_path / "a", winners)])
    assert compared.frame()["direction_accuracy"].tolist()[:2] == [0.5, 0.625]
    assert compared.sentence().endswith("direction lstm, direction head tcn")


def test_a_column_without_a_value_has_no_best(tmp_path: Path) -> None:
    alone = [{"name": "lstm", "kind": "model"}]
    run = make_run(tmp_path / "a", {"lstm": (2.0, 1.0, math.nan, None)}, leaderboard=alone)
    assert read_comparison([run]).sentence().endswith("rmse lstm, mae lstm")


def test_a_score_is_better_lower_or_higher_as_its_metric_says() -> None:
    assert {column.name: column.minimise for column in SCORES} == {c.name: METRICS[c.name].minimise for c in SCORES}


def test_several_runs_are_named_and_share_the_first_ones_baselines(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", {"lstm": (1.0, 1.0, 1.0, 0.5)})
    labels = [row.label for row in read_comparison([two, one, two]).rows]
    assert labels == ["two/lstm", "one/lstm", "one/tcn", "last value", "mean"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "x" / "a"), make_run(tmp_path / "y" / "a")
    assert read_comparison([one, two]).runs == (str(one), str(two))


# --- how it is shown


def test_elsewhere_than_in_a_terminal_the_table_is_plain_lines(tmp_path: Path) -> None:
    lines = printed(make_run(tmp_path / "a")).splitlines()
    assert lines[0] == "answers of the exported files for 1,200 windows held out; rmse and mae in unit of load"
    rows = [line.split() for line in lines[4:8]]
    assert rows == [
        ["lstm", "7.000", "1.000", "10.00", "1.500", "2.000", "1.500", "3.000", "0.7500"],
        ["tcn", "14.00", "2.000", "20.00", "1.500", "2.500", "1.250", "-", "0.7500"],
        ["last", "value", "-", "-", "-", "-", "5.000", "4.000", "9.000", "0.000"],
        ["mean", "-", "-", "-", "-", "6.000", "5.000", "-", "0.5000"],
    ]


def test_in_a_terminal_the_best_is_bold(tmp_path: Path) -> None:
    said = printed(make_run(tmp_path / "a"), terminal=True)
    assert "\x1b[1;32m1.250" in said.replace("\x1b[1;32m ", "\x1b[1;32m") and "\x1b[1;32m2.500" not in said


def test_the_files_go_to_the_first_run_or_where_output_says(tmp_path: Path, capsys: Any) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    before = set(two.rglob("*"))
    assert compare.main([str(one), str(two)]) == 0
    assert pd.read_parquet(one / "comparison.parquet")["run"].tolist() == ["one", "one", "two", "two", "one", "one"]
    assert f"comparison: {one / 'comparison.html'}\n" in capsys.readouterr().out
    assert compare.main([str(two), "--output", str(tmp_path / "new" / "folder")]) == 0
    assert {file.name for file in (tmp_path / "new" / "folder").iterdir()} == {"comparison.parquet", "comparison.html"}
    assert set(two.rglob("*")) == before


def test_the_page_holds_the_table_and_both_charts_and_loads_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    compare.leave(read_comparison([run]), run, Console(file=io.StringIO()))
    page = (run / "comparison.html").read_text(encoding="utf8")
    read = Reader(page)
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert not [tag for tag, a in read.tags if tag in ("link", "img", "iframe") or "src" in a]
    assert "<td><b>1.250</b></td><td>\N{EN DASH}</td><td><b>0.7500</b></td>" in page
    points, bars = read.charts["by-latency"], read.charts["bars"]
    shown = [(trace["name"], trace["x"], trace["y"]) for trace in points["data"] if trace["visible"]]
    assert shown[:2] == [("lstm", [1.0], [2.0]), ("tcn", [2.0], [2.5])]
    assert shown[2][0] == "last value" and shown[2][2] == [5.0, 5.0]  # the best baseline, as a line
    right = points["choices"][3]  # the direction, where more is better
    assert [t["name"] for t, seen in zip(points["data"], right["visible"], strict=True) if seen] == [
        *("lstm", "tcn", "mean")
    ]
    assert [choice["label"] for choice in bars["choices"]] == [
        *("RMSE", "MAE", "MAPE (%)", "direction (share right)"),
        *("training (s)", "latency p50 (ms)", "latency p95 (ms)", "file size (KiB)"),
    ]
    assert bars["data"][2]["x"] == [3.0, None, 9.0, None]


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    data = {"fingerprint": "abc", "targets": [f"</script>{EVIL}"]}
    run = make_run(tmp_path / EVIL, {EVIL: (2.0, 1.5, 3.0, 0.75)}, data=data)
    other = make_run(tmp_path / "b", data=data)
    compare.leave(read_comparison([run, other]), run, Console(file=io.StringIO()))
    page = (run / "comparison.html").read_text(encoding="utf8")
    read = Reader(page)
    assert not [tag for tag, _ in read.tags if tag == "img"]
    drawn = json.dumps(read.charts)
    assert "<img" not in drawn and "&lt;img" in drawn  # plotly reads tags in its texts
    assert f"{EVIL}/{EVIL}" in read.text and f"</script>{EVIL}" in read.text


# --- at the end of a search


def test_a_search_over_several_families_ends_with_the_comparison(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (run / "DONE").unlink()  # it comes after the comparison
    out = Console(file=io.StringIO())
    compare_families(RunFolder(run), out)
    assert (run / "comparison.html").exists() and len(pd.read_parquet(run / "comparison.parquet")) == 4
    assert isinstance(out.file, io.StringIO) and "best: " in out.file.getvalue()


def test_a_search_of_one_family_has_nothing_to_compare(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {"lstm": FAMILIES["lstm"]})
    out = Console(file=io.StringIO())
    compare_families(RunFolder(run), out)
    assert not list(run.glob("comparison.*"))
    assert isinstance(out.file, io.StringIO) and out.file.getvalue() == ""


def test_a_comparison_that_fails_costs_the_run_nothing(tmp_path: Path, capsys: Any) -> None:
    run = make_run(tmp_path / "a")
    (run / "trials.parquet").write_bytes(b"PAR1")
    compare_families(RunFolder(run), Console(file=io.StringIO()))
    assert capsys.readouterr().err.startswith("note: no comparison was written: ")


# --- what is refused


def changed(**keys: Any) -> Callable[[Path], None]:
    """Keys of the summary replaced."""

    def change(run: Path) -> None:
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(summary | keys))

    return change


def put(name: str, content: bytes | None) -> Callable[[Path], None]:
    """A file of the run replaced, or removed."""

    def change(run: Path) -> None:
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)

    return change


def of_other_data(run: Path) -> None:
    file = run / "bundles" / "tcn" / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data": {"fingerprint": "xyz"}}))


HELD = {"windows": 1200, "span": [1_704_067_200, 1_704_153_600]}
CARD = "bundles/tcn/bundle.json"
CASES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "not done": (put("DONE", None), ["no finished run in", "no DONE"]),
    "no summary": (put("summary.json", None), ["no summary.json"]),
    "a torn summary": (put("summary.json", b'{"winners": {'), ["summary.json is not JSON"]),
    "a deep summary": (put("summary.json", b"[" * 100_000), ["summary.json is not JSON"]),
    "a list": (put("summary.json", b"[]"), ["no run of a search", "no winners"]),
    "a training": (put("summary.json", b'{"family": "lstm", "holdout": {}}'), ["no run of a search"]),
    "rows": (changed(task="regression"), ["is a run of rows, whose report compares its families"]),
    "no holdout": (changed(holdout=None), ["no run folder that this version wrote", "TypeError"]),
    "no leaderboard": (changed(leaderboard=3), ["no run folder that this version wrote"]),
    "a torn table": (put("trials.parquet", b"PAR1"), ["trials.parquet"]),
    "no bundle": (put(CARD, None), ["bundles/tcn", "no readable bundle.json"]),
    "a torn card": (put(CARD, b'{"format": 1'), ["bundles/tcn", "no readable bundle.json"]),
    "a deep card": (put(CARD, b"[" * 100_000), ["no run folder that this version wrote", "RecursionError"]),
    "a changed graph": (put("bundles/tcn/model.onnx", b"x"), ["model.onnx was changed"]),
    "a torn proof": (put("bundles/tcn/validation.json", b"{"), ["validation.json was changed"]),
    "another table's bundle": (of_other_data, ["bundles/tcn", "another table"]),
    "other data": (changed(data={"fingerprint": "x", "targets": ["load"]}), ["data fingerprint: x; there: abc"]),
    "other targets": (changed(data={"fingerprint": "abc", "targets": ["heat"]}), ["targets: heat; there: load"]),
    "other steps": (changed(steps=[1, 3]), ["steps ahead: 1, 3; there: 1 to 3"]),
    "fewer windows": (changed(holdout=HELD | {"windows": 1199}), ["holdout: 1199 windows, 2024-01-01 00:00:00 to"]),
    "another time": (changed(holdout=HELD | {"span": [0, 1_704_153_600]}), ["1970-01-01 00:00:00 to 2024-01-02"]),
    "a time without end": (changed(holdout=HELD | {"span": [0, 1e30]}), ["no run folder that this version wrote"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_in_one_line(name: str, tmp_path: Path, capsys: Any) -> None:
    spoil, words = CASES[name]
    good, bad = make_run(tmp_path / "good"), make_run(tmp_path / "bad")
    spoil(bad)
    assert compare.main([str(good), str(bad)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("error: ")
    assert all(word in said.err for word in words), said.err
    assert not list(tmp_path.rglob("comparison.*"))


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, capsys: Any) -> None:
    run = make_run(tmp_path / "a")
    (tmp_path / "file").touch()
    assert compare.main([str(run), "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"error: cannot read or write {tmp_path / 'file'}: File exists\n"


def test_neither_torch_nor_ray_is_loaded(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    code = "import sys; from ray_jobs import compare; compare.main(); print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, str(run)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best: training lstm" in done.stdout and done.stdout.endswith("set()\n")
