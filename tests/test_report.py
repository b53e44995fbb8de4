"""The report of a run, built from a small made-up run folder with a real study database."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from data.errors import InputError
from ray_jobs.report import page as report_page
from ray_jobs.report import write as report
from ray_jobs.report.charts import numbers, readable_range, with_breaks
from ray_jobs.report.folds import joined
from ray_jobs.report.head import verdict
from ray_jobs.report.run import best_so_far, mean_curves, read_run, read_search, warnings
from ray_jobs.report.write import write_report
from tests.pages import HOUR, RANGES, START, Reader, make_run

EVIL = "</script><img src=x onerror=alert(1)>&'\""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "etth1", families=("lstm", "linear"))


@pytest.fixture(scope="module")
def page(run) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_the_report_has_every_section_and_chart(page):
    read = Reader(page)
    sections = {attributes["id"] for tag, attributes in read.tags if tag == "section"}
    assert sections == {
        *("warnings", "notices", "leaderboard", "forecasts", "steps", "folds", "search", "family-0", "family-1"),
        *("winners", "trials", "config"),
    }
    assert set(read.charts) == {
        *("forecast", "in-full", "by-step", "fold-scores", "fold-bounds", "history"),
        *(f"{name}-{i}" for name in ("curves", "importances", "slices") for i in (0, 1)),
    }
    assert {"3 gaps were found", "Error by step ahead", "/data/ett.parquet"} <= {
        said for said in ("3 gaps were found", "Error by step ahead", "/data/ett.parquet") if said in read.text
    }


def test_no_forecast_is_drawn_where_no_head_answers_the_value(tmp_path):
    run = make_run(tmp_path / "directions", families=("lstm",))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "answers_value": False}))
    read = Reader(write_report(run).read_text(encoding="utf-8"))
    assert "there is no forecast to draw" in read.text
    assert not {"forecast", "in-full", "by-step"} & set(read.charts)
    check_links(read)


def test_nothing_is_loaded_from_the_network(page):
    read = Reader(page)
    for tag, attributes in read.tags:
        assert tag not in ("link", "img", "iframe", "base", "object", "embed")
        assert "src" not in attributes and not (attributes.get("href") or "#").strip("#").count(":")
    own = page.replace(report_page.get_plotlyjs(), "")
    assert "http://" not in own and "https://" not in own and "url(" not in own and "@import" not in own
    policy = next(a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "http" not in policy and "connect-src" not in policy


def test_plotly_is_inlined_once(page):
    assert sum("plotly.js v" in script for script in Reader(page).scripts) == 1
    assert len(page) < len(report_page.get_plotlyjs()) + 1_000_000


def check_links(read):
    places = {attributes.get("id") for _, attributes in read.tags}
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert links and all(link.startswith("#") and link[1:] in places for link in links)


def test_every_link_of_the_page_leads_to_a_place_on_it(page):
    check_links(Reader(page))


def test_the_verdict_names_winner_scores_and_gain_over_the_best_baseline(run):
    said, good = verdict(read_run(run))
    text = re.sub("<.*?>", "", said)
    assert text == (
        "lstm wins with a cross-validated MAE of 1.000 ± 0.25 over 3 folds and 2.000 on the holdout: "
        "66.7 % better than the best baseline there, last value (6.000)."
    )
    assert good


def test_a_winner_that_a_baseline_beats_is_called_out(tmp_path):
    made = make_run(tmp_path / "a", n_trials=2)
    summary = json.loads((made / "summary.json").read_text())
    summary["leaderboard"][0]["holdout"]["mae"] = 5.0  # last value has 4.0
    (made / "summary.json").write_text(json.dumps(summary))
    run = read_run(made)
    said, good = verdict(run)
    assert "25.0 % worse" in said and not good
    assert any("lstm is no better on the holdout than the baseline last value" in warning for warning in warnings(run))
    assert '<p class="verdict bad">' in write_report(made).read_text()


def test_a_failed_gate_comes_first_and_an_ensemble_was_not_searched(tmp_path):
    made = make_run(tmp_path / "a", families=("lstm", "linear"), n_trials=2)
    summary = json.loads((made / "summary.json").read_text())
    summary["failed_gates"] = ["roc_auc >= 0.99: 0.8"]
    summary["winners"]["linear"] |= {"trial": None, "epochs": None}
    (made / "summary.json").write_text(json.dumps(summary))
    assert warnings(read_run(made))[0] == "A gate failed: roc_auc >= 0.99: 0.8."
    text = Reader(write_report(made).read_text(encoding="utf-8")).text
    assert "Search of lstm" in text and "Search of linear" not in text and "None" not in text


def test_higher_is_better_for_metrics_that_are_maximised(tmp_path):
    made = make_run(tmp_path / "a", n_trials=2, metric={"name": "r2", "unit": "1", "direction": "max"})
    summary = json.loads((made / "summary.json").read_text())
    for i, entry in enumerate(summary["leaderboard"]):
        entry["holdout"]["r2"] = 0.9 - 0.1 * i
        entry["cv_mean"] = 0.8 - 0.1 * i
    (made / "summary.json").write_text(json.dumps(summary))
    said, good = verdict(read_run(made))
    assert good and "0.100 better" in said and "last value (0.8000)" in said
    write_report(made)


def test_the_best_of_a_column_is_bold_and_missing_values_are_dashes(page):
    table = page[page.index('id="leaderboard"') :]
    first = re.search(r'<tr class="first">(.*?)</tr>', table).group(1)
    assert "<b>lstm</b>" in first and "<b>1.000</b> ± 0.25" in first and "<td>\N{EN DASH}</td>" in first
    drift = re.search(r'<tr class="baseline">(<td class="text">drift.*?)</tr>', table).group(1)
    assert "5.000 ± 0.25" in drift and "<b>0.5000</b>" in drift  # the r2 of all is equal


def test_bounds_and_failures_are_warned_of(run):
    assert warnings(read_run(run)) == [
        "The best lstm: model.hidden lies on the bound of its range: widen the range and search again.",
        "1 trial failed; the table of trials names them.",
    ]


def test_the_choice_of_inputs_shows_each_rank_and_who_sees_it(tmp_path):
    ranked = {"holdout": ["wind", EVIL], "1": [EVIL, "wind"], "2": ["wind", EVIL], "3": ["wind", EVIL]}
    made = make_run(tmp_path / "a", families=("lstm", "tcn"), n_trials=2, rankings=ranked)
    assert 'id="inputs"' not in write_report(make_run(tmp_path / "b", n_trials=2, rankings={})).read_text()
    summary = json.loads((made / "summary.json").read_text())
    for family, kind in (("lstm", "refit"), ("tcn", "average")):
        summary["winners"][family]["kind"] = kind
        summary["winners"][family]["params"]["input.keep"] = 1
    (made / "summary.json").write_text(json.dumps(summary))
    page = write_report(made).read_text(encoding="utf-8")
    table = page[page.index('id="inputs"') : page.index('id="trials"')]
    rows = [re.sub("<.*?>", "|", row) for row in re.findall("<tr>(.*?)</tr>", table)]
    cells = [[cell for cell in row.split("|") if cell] for row in rows]
    assert cells[0] == ["input", "fold 1", "fold 2", "fold 3", "before the holdout", "lstm", "tcn"]
    assert cells[1] == ["wind", "2", "1", "1", "1", "chosen", "in 2 of 3 folds"]
    assert cells[2] == [report_page.escape(EVIL), "1", "2", "2", "2", "in 1 of 3 folds"]


def test_names_from_data_cannot_break_out_of_the_page(tmp_path):
    made = make_run(
        tmp_path / "a", families=(EVIL, "b%{x}"), targets=(EVIL, "OT"), series=(EVIL, "s2"), name=EVIL, notices=[EVIL]
    )
    (made / "config.yaml").write_text(f"name: {EVIL}")
    page = write_report(made).read_text(encoding="utf-8")
    read = Reader(page)
    assert not [tag for tag, _ in read.tags if tag == "img"]
    assert (
        page.count("<script")
        == page.count("</script>")
        == 2 + len(read.charts) + report_page.get_plotlyjs().count("<script")
    )
    drawn = json.dumps(read.charts)
    assert "<img" not in drawn and "&lt;img" in drawn  # plotly reads tags in its texts
    assert EVIL in read.text


def test_charts_hold_numbers_and_no_nan(page):
    charts = Reader(page).charts
    for figure in charts.values():
        json.dumps(figure, allow_nan=False)
        assert figure["data"] and figure["layout"]
    crosses = [
        trace
        for trace in charts["curves-0"]["data"]
        if trace["marker"]["symbol"] == "x" and len(trace["x"]) > 1 and trace.get("visible", True)
    ]
    assert len(crosses) == 3 + 1  # three pruned, one failed
    assert [len(trace["x"]) for trace in crosses].count(2) == 3


def test_the_history_has_a_best_so_far_of_each_family_and_a_cross_for_each_failure(page):
    history = Reader(page).charts["history"]
    lines = [trace for trace in history["data"] if trace["name"] == "best so far"]
    assert [line["x"] for line in lines] == [list(range(1, 13)), list(range(13, 25))]
    assert all(line["y"] == sorted(line["y"], reverse=True) for line in lines)
    assert history["data"][-1]["name"] == "failed" and history["data"][-1]["x"] == [7, 19]


def test_baselines_far_worse_than_the_winner_are_hidden_until_asked_for(page):
    drawn = {trace["name"]: trace["visible"] for trace in Reader(page).charts["fold-scores"]["data"]}
    assert drawn == {"lstm": True, "linear": True, "last value": True} | dict.fromkeys(
        ("seasonal naive", "drift", "mean"), "legendonly"
    )  # last value is three times the winner's error, no more


def test_yes_and_no_stay_what_they_are_where_another_family_has_neither(tmp_path):
    made = make_run(tmp_path / "a", n_trials=2, families=("lstm", "linear"))
    frame = pd.read_parquet(made / "trials.parquet")
    frame["params.model.individual"] = pd.array([True, False, None, None], dtype="boolean")
    frame.to_parquet(made / "trials.parquet")
    assert read_run(made).trials["params.model.individual"].tolist() == [True, False, None, None]
    assert "model.individual False" in write_report(made).read_text()


def test_a_choice_shows_the_traces_of_one_target_of_one_series(tmp_path):
    made = make_run(tmp_path / "a", targets=("OT", "load"), series=("north", "south"))
    read = Reader(write_report(made).read_text(encoding="utf-8"))
    figure = read.charts["forecast"]
    assert [choice["label"] for choice in figure["choices"]] == [
        *("north: OT", "north: load", "south: OT", "south: load")
    ]
    for i, choice in enumerate(figure["choices"]):
        shown = [place for place, visible in enumerate(choice["visible"]) if visible]
        assert shown == [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]
    assert [trace["name"] for trace in figure["data"][:4]] == [
        *("truth", "lstm, 1 step ahead", "lstm, 3 steps ahead", "last value, 3 steps ahead")
    ]
    assert "on the holdout by target" in read.text


def test_an_answer_is_drawn_at_the_time_it_speaks_of(run):
    figure = report.forecasts.forecasts(read_run(run))
    truth, first, last = figure["data"][:3]
    assert first["x"][0] == truth["x"][0] == 1000 * (START + 300 * HOUR)
    assert last["x"][0] == truth["x"][2] and last["y"][0] == pytest.approx(truth["y"][2] + 0.3, abs=1e-5)


def test_forecasts_in_full_do_not_overlap(run):
    pieces = report.forecasts.in_full(read_run(run))["data"][2]["x"]
    assert pieces.count(None) == 8
    times = [time for time in pieces if time is not None]
    assert len(times) == 8 * 3 and times == sorted(set(times))


@pytest.mark.parametrize("n_trials", [1, 3])
def test_few_trials_make_a_report_that_says_what_it_lacks(tmp_path, n_trials):
    made = make_run(tmp_path / "a", n_trials=n_trials, steps=(1,), on_bounds=[], notices=[])
    read = Reader(write_report(made).read_text(encoding="utf-8"))
    assert f"Importances need at least 8 trials with a value; this family has {n_trials}." in read.text
    assert "There is only one step." in read.text
    assert "importances-0" not in read.charts and "in-full" not in read.charts and "curves-0" in read.charts


def test_a_run_without_holdout_study_and_curves_still_has_a_report(tmp_path):
    made = make_run(tmp_path / "a", n_trials=2, holdout=None)
    for name in ("holdout.parquet", "oof.parquet", "curves.parquet", "study.db"):
        (made / name).unlink()
    summary = json.loads((made / "summary.json").read_text())
    for entry in summary["leaderboard"]:
        entry["holdout"] = None
    (made / "summary.json").write_text(json.dumps(summary))
    read = Reader(write_report(made).read_text(encoding="utf-8"))
    assert "The study database is not in the run folder." in read.text and "forecast" not in read.charts
    assert "66.7 % better" not in read.text and "50.0 % better than the best baseline there, last value" in read.text


def test_importances_and_ranges_come_from_the_study(run):
    search = read_search(read_run(run), "lstm")
    assert set(search.importances) == set(search.ranges) == set(RANGES)
    assert sum(search.importances.values()) == pytest.approx(1.0)
    missing = read_search(read_run(run), "transformer")
    assert not missing.importances and missing.why_none.startswith("The study database cannot be read")


def test_a_broken_database_costs_the_importances_and_no_more(tmp_path):
    made = make_run(tmp_path / "a", n_trials=1)
    (made / "study.db").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    assert "The study database cannot be read: " in write_report(made).read_text(encoding="utf-8")


def test_stopped_trials_count_for_importances(tmp_path):
    made = make_run(tmp_path / "a", n_trials=9)  # 6 complete, 2 pruned, 1 failed
    assert read_search(read_run(made), "lstm").importances


def test_reading_leaves_the_run_folder_as_it_was(tmp_path):
    made = make_run(tmp_path / "a")
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    write_report(made)
    write_report(made)
    after = {file.name: file.read_bytes() for file in made.iterdir()}
    assert set(after) - set(before) == {"report.html"}
    assert all(after[name] == content for name, content in before.items())


def test_a_fold_that_stopped_early_counts_with_its_best_value(tmp_path):
    made = make_run(tmp_path / "a", n_trials=1)
    rows = [["lstm", 0, 1, 1, 4.0, 4.0], ["lstm", 0, 1, 2, 2.0, 2.0], ["lstm", 0, 1, 3, 3.0, 2.0]]
    rows += [["lstm", 0, 1, 4, 1.0, 1.0], ["lstm", 0, 2, 1, 6.0, 6.0], ["lstm", 0, 2, 2, 8.0, 6.0]]
    frame = pd.DataFrame(rows, columns=["family", "trial", "fold", "epoch", "valid", "best"])
    frame.to_parquet(made / "curves.parquet")
    curves = mean_curves(read_run(made), "lstm")
    assert curves["valid"].tolist() == [5.0, 5.0, 4.5, 3.5]
    assert curves["best"].tolist() == [5.0, 4.0, 4.0, 3.5]


def test_the_command_prints_the_path_and_refuses_what_is_no_run(run, tmp_path, capsys):
    assert report.main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert report.main([str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == f"no finished run in {tmp_path}: it has no summary.json; give the folder of a run, runs/<name>\n"
    )


def test_a_table_without_a_column_is_named(tmp_path):
    made = make_run(tmp_path / "a", n_trials=1)
    pd.DataFrame({"family": ["lstm"]}).to_parquet(made / "trials.parquet")
    with pytest.raises(InputError, match=r"trials.parquet lacks the column 'number'; it has family"):
        write_report(made)


def test_small_parts_of_charts():
    assert best_so_far([math.nan, 3.0, 4.0, 2.0], minimise=True)[1:] == [3.0, 3.0, 2.0]
    assert numbers([1.23456789, None, math.nan, math.inf]) == [1.23457, None, None, None]
    assert with_breaks([0, 1, 2, 9, 10], "abcde") == ([0, 1, 2, None, 9, 10], ["a", "b", "c", None, "d", "e"])
    assert joined([(5, 6), (0, 2), (1, 3), (3.5, 4)], slack=0.5) == [(0, 4), (5, 6)]
    assert readable_range([1, 2, 3, 4], minimise=True) is None
    low, high = readable_range([1, 2, 3, 4, 1000], minimise=True)
    assert low < 1 and 4 < high < 20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.56, "1,235"),
        (0.123456, "0.1235"),
        (0.0, "0.000"),
        (-2.5, "\N{MINUS SIGN}2.500"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_numbers_have_four_significant_digits(value, text):
    assert report_page.number(value) == text
