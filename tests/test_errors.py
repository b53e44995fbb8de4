"""What is wrong with a command is said in one line, with exit code 2, and nothing is started or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray

from data.errors import InputError
from ray_jobs import cluster, config, display, prepare
from ray_jobs.search import main
from search_spaces import FAMILIES
from tests.builders import make_sales

pytestmark = pytest.mark.usefixtures("nothing_starts")

Frame = pd.DataFrame
Change = Callable[[Frame], Frame]


def put(column: str, row: int, value: object) -> Change:
    """Replace one value; rows count from 1, as messages do."""

    def change(frame: Frame) -> Frame:
        frame = frame.astype({column: object})
        frame.loc[row - 1, column] = value
        return frame

    return change


def swapped(frame: Frame) -> Frame:
    order = [*range(10), 11, 10, *range(12, len(frame))]
    return frame.iloc[order].reset_index(drop=True)


def flat(frame: Frame) -> Frame:
    """The target keeps one value while the first fold validates, and changes before and after."""
    sales = frame["sales"].copy()
    sales.iloc[20 : len(frame) // 3 + 40] = 7.0
    return frame.assign(sales=sales)


WINDOW = ["--lookback", "12", "--horizon", "3"]
TARGET = ["--target", "sales"]
SELECT = ["--features.select", "importance"]
LAGS = ["--features.lags", "6,12"]
KEEP = ["--search.fixed"]
HYPERBAND = ["--search.scheduler", "hyperband"]
MYSQL = "mysql+pymysql://ann@127.0.0.1"
POSTGRES = "postgresql+psycopg://ann@127.0.0.1"

# name, change of the table, flags besides --data, what the line must say
CASES: list[tuple[str, Change | None, list[str], list[str]]] = [
    ("no target", None, [], ["no target given", "--target"]),
    ("target misspelt", None, ["--target", "slaes"], ["'slaes'", "did you mean 'sales'?"]),
    ("time misspelt", None, [*TARGET, "--time", "tiem"], ["'tiem'", "did you mean 'time'?"]),
    ("series misspelt", None, [*TARGET, "--series", "shp"], ["'shp'", "did you mean 'shop'?"]),
    ("past misspelt", None, [*TARGET, "--data.past", "prise"], ["'prise'", "did you mean 'price'?"]),
    ("target twice", None, ["--target", "sales,sales"], ["'sales'", "twice"]),
    ("target is time", None, ["--target", "time"], ["'time'"]),
    ("text target", None, ["--target", "shop"], ["'shop'", "row 1", "'a'"]),
    ("text in a number", put("sales", 7, "n.a."), TARGET, ["'sales'", "row 7", "'n.a.'"]),
    ("text past", None, [*TARGET, "--data.past", "shop"], ["'shop'", "row 1", "'a'"]),
    ("infinite value", put("sales", 9, float("inf")), TARGET, ["'sales'", "row 9"]),
    ("constant target", lambda f: f.assign(sales=3.0), TARGET, ["'sales'", "constant"]),
    ("empty target", lambda f: f.assign(sales=np.nan), TARGET, ["'sales'"]),
    ("time not readable", put("time", 5, "yesterday"), [*TARGET, "--time", "time"], ["'time'", "row 5", "'yesterday'"]),
    ("time missing", put("time", 5, None), [*TARGET, "--time", "time"], ["'time'", "row 5"]),
    ("unsorted", swapped, TARGET, ["row", "order"]),
    ("doubled time", lambda f: pd.concat([f.iloc[:20], f.iloc[19:]]), TARGET, ["rows 20 and 21", "2024-01-01 19:00"]),
    ("no time column", lambda f: f.drop(columns="time"), TARGET, ["time"]),
    ("small numbers as time", lambda f: f.assign(time=np.arange(len(f))), [*TARGET, "--time", "time"], ["'time'"]),
    ("too few rows", lambda f: f.iloc[:60], TARGET, ["5 walk_forward folds", "60"]),
    ("horizon too long", None, [*TARGET, "--horizon", "200"], ["horizon"]),
    ("too many folds", None, [*TARGET, "--folds", "99", "--lookback", "48"], ["99 walk_forward folds"]),
    ("grouped without series", None, [*TARGET, "--validation.scheme", "grouped"], ["grouped"]),
    ("feature is the target", lambda f: f.assign(copy=f["sales"]), TARGET, ["'copy'", "'sales'"]),
    ("feature is the future", lambda f: f.assign(next=f["sales"].shift(-1)), TARGET, ["'next'"]),
    ("unknown flag", None, [*TARGET, "--trails", "3"], ["--trails", "did you mean '--trials'?"]),
    ("unknown scheduler", None, [*TARGET, "--search.scheduler", "ashaa"], ["search.scheduler", "'ashaa'"]),
    ("no trials", None, [*TARGET, "--trials", "0"], ["search.trials", "got 0"]),
    ("trials not a number", None, [*TARGET, "--trials", "many"], ["search.trials", "'many'"]),
    ("one fold", None, [*TARGET, "--folds", "1"], ["validation.folds", "got 1"]),
    ("holdout of everything", None, [*TARGET, "--validation.holdout", "1.5"], ["validation.holdout", "1.5"]),
    ("lookback of zero", None, [*TARGET, "--lookback", "0"], ["window.lookback", "got 0"]),
    ("a name that climbs", None, [*TARGET, "--name", "../up"], ["name", "'../up'"]),
    ("path and sample", None, [*TARGET, "--sample", "stocks"], ["data.path", "data.sample"]),
    ("negative embargo", None, [*TARGET, "--validation.embargo", "-1"], ["validation.embargo"]),
    ("hyperband one by one", None, [*TARGET, *HYPERBAND, "--resources.concurrent", "1"], ["'hyperband'", "auto"]),
    ("no database", None, [*TARGET, "--search.storage", "here"], ["search.storage='here'", "no address"]),
    ("no MySQL there", None, [*TARGET, "--search.storage", f"{MYSQL}:1/x"], ["search.storage", "connect"]),
    ("no server", None, [*TARGET, "--search.storage", f"{POSTGRES}:1/x"], ["search.storage", "refused"]),
    ("a password", None, [*TARGET, "--search.storage", f"{POSTGRES}/x?password=secret"], ["holds a password"]),
    ("r2 of a flat fold", flat, [*TARGET, "--search.metric", "r2"], ["search.metric='r2'", "fold 1", "divide"]),
    ("a password with a slash", None, [*TARGET, "--search.storage", "mysql+pymysql://u:a/b@h/x"], ["holds a password"]),
    ("a database in memory", None, [*TARGET, "--search.storage", "sqlite://"], ["in memory"]),
    ("a user that is not there", None, [*TARGET, "--runs", "~no_such_user/x"], ["runs='~no_such_user/x' is no path"]),
    ("a path too long", None, [*TARGET, "--runs", "/tmp/" + "x" * 300], ["is no path", "too long"]),
    ("no end to an epoch", None, [*TARGET, "--search.epoch_timeout", ".inf"], ["search.epoch_timeout", "inf"]),
    ("an embargo for ever", None, [*TARGET, "--validation.embargo", "1" + "0" * 19], ["validation.embargo"]),
    ("a long embargo", None, [*TARGET, "--validation.embargo", "90000"], ["need at least", "the table has 400"]),
    ("no holdout", None, [*TARGET, "--validation.holdout", "1e-300"], ["validation.holdout"]),
    ("an odd tag", None, [*TARGET, "--trials", "!!bool maybe"], ["search.trials", "'!!bool maybe'"]),
    ("a deep flag", None, [*TARGET, "--trials", "[" * 5000], ["search.trials"]),
    (
        "feature misspelt",
        None,
        [*TARGET, "--features.columns", "prise", "--features.lags", "6,12"],
        ["'prise'", "'price'"],
    ),
    ("future misspelt", None, [*TARGET, "--data.future", "prise"], ["no future column 'prise'", "'price'"]),
    ("future is the target", None, [*TARGET, "--data.future", "sales"], ["'sales' is a target and cannot be future"]),
    (
        "future holds the target",
        lambda f: f.assign(copy=f["sales"]),
        [*TARGET, "--data.future", "copy"],
        ["'copy'", "equals the target 'sales'"],
    ),
    ("static changes", None, [*TARGET, "--data.static", "price"], ["static column 'price'", "data row 2"]),
    ("weight below zero", put("price", 3, -1), [*TARGET, "--data.weight", "price"], ["'price'", "data row 3", "-1"]),
    (
        "an hour's wave",
        None,
        [*TARGET, "--features.fourier", "{hour: 1}"],
        ["step, hour, is", "leave hour out"],
    ),
    ("an unknown wave", None, [*TARGET, "--features.fourier", "{dya: 1}"], ["features.fourier", "'dya'"]),
    (
        "members of an average",
        None,
        [*TARGET, "--export.members", "3", "--validation.scheme", "blocked"],
        ["export.members", "export.winner=refit"],
    ),
    ("a feature over one step", None, [*TARGET, "--features.averages", "1"], ["features.averages", "got 1"]),
    (
        "a fixed name misspelt",
        None,
        [*TARGET, "--search.fixed", "{model.hiden: 64}"],
        ["'model.hiden'", "'model.hidden'"],
    ),
    ("a fixed value out of range", None, [*TARGET, "--search.fixed", "{model.hidden: 640}"], ["between 16 and 64"]),
    ("a fixed value of no choice", None, [*TARGET, "--search.fixed", "{fit.loss: maee}"], ["'mse', 'mae'", "'maee'"]),
    (
        "a fixed value of a wrong kind",
        None,
        [*TARGET, "--search.fixed", "{fit.emphasis: high}"],
        ["fit.emphasis must be float, got 'high'"],
    ),
    ("a fixed value that cannot be", None, [*TARGET, "--search.fixed", "{fit.level: 2.0}"], ["between 0 and 1"]),
    ("fixed epochs", None, [*TARGET, "--search.fixed", "{fit.max_epochs: 5}"], ["fit.max_epochs"]),
    ("no head", None, [*TARGET, "--heads.value", "0"], ["no head is left", "heads.value"]),
    (
        "no head for the value",
        None,
        [*TARGET, "--heads.value", "0", "--heads.direction", "1", "--search.metric", "mae"],
        ["search.metric='mae' judges the value", "rank by log_loss"],
    ),
    ("a head's weights with a 0", None, [*TARGET, "--heads.direction", "[0, 1]"], ["weights above 0"]),
    ("steps without weights", None, [*TARGET, "--heads.steps", "[1, 2]"], ["heads.steps", "3 steps", "[1.0, 2.0]"]),
    (
        "a metric of a head that is not",
        None,
        [*TARGET, "--search.metric", "log_loss"],
        ["'log_loss'", "give heads.direction a weight"],
    ),
    (
        "a head's weight fixed",
        None,
        [*TARGET, "--search.fixed", "{fit.value_weight: 0}"],
        ["fit.value_weight is decided by heads.value"],
    ),
    (
        "steps' weights fixed",
        None,
        [*TARGET, "--search.fixed", "{fit.step_weights: '1 2'}"],
        ["fit.step_weights is decided by heads.steps"],
    ),
    ("quantiles without levels", None, [*TARGET, "--heads.quantiles", "1", "--heads.levels", ""], ["heads.levels"]),
    ("a band without a direction", None, [*TARGET, "--heads.band", "1"], ["give heads.direction a weight"]),
    ("a level of 1", None, [*TARGET, "--heads.quantiles", "1", "--heads.levels", "0.5,1"], ["heads.levels"]),
    ("fixed is no mapping", None, [*TARGET, "--search.fixed", "model.hidden"], ["search.fixed", "'model.hidden'"]),
    ("another choice", None, [*TARGET, "--features.select", "importances"], ["features.select", "'importances'"]),
    ("nothing to choose among", None, [*TARGET, *SELECT], ["features.select='importance'", "there are 1 (price)"]),
    ("more than there are", None, [*TARGET, *SELECT, *LAGS, *KEEP, "{input.keep: 4}"], ["from 1 to 3", "got 4"]),
    ("keep without a choice", None, [*TARGET, *LAGS, *KEEP, "{input.keep: 1}"], ["no parameter 'input.keep'"]),
    ("more grace than epochs", None, [*TARGET, "--max-epochs", "3", "--search.grace", "4"], ["search.grace=4 is more"]),
    (
        "grace of none",
        None,
        [*TARGET, "--search.scheduler", "none", "--search.grace", "2"],
        ["is for search.scheduler"],
    ),
    ("pbt with workers", None, [*TARGET, "--search.scheduler", "pbt", "--resources.workers_per_trial", "2"], ["pbt"]),
]


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line that refuses these arguments."""
    with pytest.raises(SystemExit) as ended:
        main("lstm", arguments=arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.mark.parametrize(("change", "flags", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_wrong_is_said_in_one_line(
    change: Change | None, flags: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = change(make_sales()) if change else make_sales()
    file = tmp_path / "table.csv"
    frame.to_csv(file, index=False)
    runs = tmp_path / "runs"
    line = refusal(capsys, ["--data", str(file), "--runs", str(runs), *WINDOW, *flags])
    for part in says:
        assert part in line
    assert not runs.exists()


@pytest.mark.parametrize(
    "text", ["2024: 1", "on: 5", "~: 1", "data: {2024-01-01: 1}", "search: {trials: !!bool maybe}", 'seed: !!int ""']
)
def test_odd_yaml_is_refused_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text + "\n")
    assert str(file) in refusal(capsys, ["--config", str(file)])


def test_a_table_of_ones_own_takes_the_place_of_a_file_s_sample(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: {sample: stocks, past: []}\n")
    data = config.parse(["--config", str(file), "--data", "mine.csv"], prog="", description="").data
    assert (data.path, data.sample, data.past) == ("mine.csv", None, [])
    with pytest.raises(InputError, match="exclude each other"):
        config.parse(["--data", "mine.csv", "--sample", "stocks"], prog="", description="")
    file.write_text("data: 5\n")
    with pytest.raises(InputError, match="data"):
        config.parse(["--config", str(file), "--data", "mine.csv"], prog="", description="")


def test_a_default_name_can_be_resumed_by(tmp_path: Path) -> None:
    settings = config.check({"data": {"path": "/tables/ventes_été 销售.csv", "targets": ["x"]}})
    name = prepare.default_name(FAMILIES, settings)
    assert config.check({"name": name}).name == name
    assert name.endswith("-ventes_ete")


def test_brackets_in_a_name_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    out = display.console()
    row = {"folds": [1.0], "kind": "model", "holdout": {"mae": 1.0}, "cv_mean": 1.0, "cv_std": 0.0, "name": "a [/b]"}
    out.print("inputs: price [/kWh], speed [m/s]", soft_wrap=True)
    display.show_leaderboard(out, [row], metric="mae", unit="unit of price [/kWh]")
    printed = capsys.readouterr().out
    assert "price [/kWh], speed [m/s]" in printed and "a [/b]" in printed and "mae (unit of price [/kWh])" in printed


def test_a_missing_file_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sales().to_csv(tmp_path / "sales.csv", index=False)
    line = refusal(capsys, ["--data", str(tmp_path / "slaes.csv"), "--target", "sales"])
    assert "sales.csv" in line


def test_an_unknown_sample_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'stocks'?" in refusal(capsys, ["--sample", "stock"])


def test_a_table_of_rows_is_no_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert "titanic" in refusal(capsys, ["--sample", "titanic"])


def test_too_few_rows_names_the_number_that_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "table.csv"
    flags = ["--data", str(file), *TARGET, *WINDOW]
    make_sales(60).to_csv(file, index=False)
    line = refusal(capsys, flags)
    needed = max(int(word.strip(",;.")) for word in line.split() if word.strip(",;.").isdigit())
    make_sales(needed - 1).to_csv(file, index=False)
    assert str(needed) in refusal(capsys, flags)
    make_sales(needed).to_csv(file, index=False)
    with pytest.raises(AssertionError, match="Ray was started"):
        main("lstm", arguments=flags)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("search: {trials: 1, trials: 2}", ["twice", "'trials'"]),
        ("serch: {trials: 1}", ["'serch'", "did you mean 'search'?"]),
        ("search: {trails: 1}", ["'search.trails'", "did you mean 'search.trials'?"]),
        ("search: [1, 2]", ["search"]),
        ("- 1", ["mapping"]),
        ("search: {trials: [}", ["YAML"]),
        ("search: {trials: '5'}", ["search.trials", "'5'"]),
        ("window: {lookback: []}", ["window.lookback"]),
        ("!!python/object/apply:os.system ['true']", ["YAML"]),
    ],
)
def test_a_wrong_file_is_refused(
    text: str, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    line = refusal(capsys, ["--config", str(file)])
    for part in says:
        assert part in line


def test_a_taken_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert "exists" in refusal(capsys, ["--runs", str(tmp_path), "--name", "mine"])


def test_more_gpus_than_there_are_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}] * 2)
    runs = tmp_path / "runs"
    line = refusal(capsys, ["--runs", str(runs), "--resources.gpus_per_trial", "2"])
    assert "needs 2 GPUs" in line
    line = refusal(capsys, ["--runs", str(runs), "--resources.cpus_per_trial", "8"])
    assert "resources.cpus_per_trial=8 is more than any node has: 4 CPUs at most" in line
    assert not runs.exists()


def test_families_are_named_and_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments=["lstn", "--trials", "1"])
    assert ended.value.code == 2
    assert "did you mean 'lstm'?" in capsys.readouterr().err


def test_weights_that_leave_a_fold_without_any_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": pd.date_range("2024", periods=300, freq="h"), "y": np.sin(np.arange(300.0))})
    frame["w"] = (np.arange(300) > 150).astype(float)
    frame.to_csv(tmp_path / "t.csv", index=False)
    flags = ["--data", str(tmp_path / "t.csv"), "--target", "y", "--data.weight", "w", "--lookback", "8"]
    settings = prepare.complete(config.parse([*flags, "--horizon", "2"], prog="", description=""))
    with pytest.raises(InputError, match="every training window of fold 1 weighs 0"):
        prepare.problem(settings)
