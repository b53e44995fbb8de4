"""What is wrong with a command is said in one line, with exit code 2, and nothing is started or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import ray

from data.errors import InputError
from ray_jobs import cluster, config, display, prepare, series, train
from ray_jobs.params import check_fixed, judged_by_another, with_head_weights
from ray_jobs.search import main
from ray_jobs.sweep import HaltedError
from search_spaces import FAMILIES

Frame = pd.DataFrame
Change = Callable[[Frame], Frame]


def good(rows: int = 400) -> Frame:
    t = np.arange(rows)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "sales": 10 + np.sin(t / 5) + 0.01 * (t % 7),
            "price": 2 + np.cos(t / 9),
            "shop": ["a"] * (rows // 2) + ["b"] * (rows - rows // 2),
        }
    )


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
    ("pbt with workers", None, [*TARGET, "--search.scheduler", "pbt", "--resources.workers_per_trial", "2"], ["pbt"]),
]


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("Ray was started for a command that is refused")

    monkeypatch.setattr(cluster, "connect", refuse)


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
    frame = change(good()) if change else good()
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


PARAMS = """
family: lstm
epochs: 2
params:
  window.lookback: 24
  input.normalisation: last
  model.hidden: 16
  fit.lr: 0.001
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lookback: 24", "lookback: 24.0", "window.lookback must be a whole number"),
        ("lookback: 24", "lookback: .nan", "window.lookback must be a whole number"),
        ("hidden: 16", "hidden: 1.5", "model.hidden must be int, got 1.5"),
        ("hidden: 16", "hidden: 16\n  fit.batch_size: true", "fit.batch_size must be int, got True"),
        ("hidden: 16", "hidden: 16\n  model.n_targets: 1", "n_targets"),
        ("lr: 0.001", "lr: .nan", "fit.lr must be float, got nan"),
        ("epochs: 2", "epochs: 1" + "0" * 30, "epochs must be a whole number from 1 to 100000"),
        ("epochs: 2", "epochs: 2\ntrial: abc", "trial must be a whole number from 0"),
        ("epochs: 2", "epochs: 2\nfolds: 5", "each of folds must be numbers"),
        ("epochs: 2", "epochs: 2\nfolds: [1.0, 2.0]", "each of folds must be numbers"),
        ("family: lstm", "family: lstmm", "did you mean 'lstm'?"),
        ("window.lookback: 24", "model.alpha: 1.0", "only a winner of series is trained again"),
    ],
)
def test_a_configuration_to_train_is_checked_before_anything_starts(
    old: str, new: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(PARAMS.replace(old, new))
    with pytest.raises(SystemExit) as ended:
        train.main(["--params", str(file), "--runs", str(tmp_path / "runs")])
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.err.count("\n") == 1
    assert says in printed.err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("keep", "flags", "says"),
    [
        ("\n  input.keep: 3", [], "input.keep=3 counts inputs that features.select ranks, which is 'none' here"),
        ("\n  input.keep: 4", [*SELECT, *LAGS], "from 1 to 3, got 4"),
        ("", [*SELECT, *LAGS], "from 1 to 3, got None"),
    ],
)
def test_a_choice_of_inputs_to_train_fits_its_configuration(
    keep: str, flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(PARAMS.replace("normalisation: last", f"normalisation: last{keep}"))
    good().to_csv(tmp_path / "table.csv", index=False)
    arguments = ["--data", str(tmp_path / "table.csv"), *TARGET, "--horizon", "3", "--folds", "2", *flags]
    with pytest.raises(SystemExit) as ended:
        train.main(["--params", str(file), "--runs", str(tmp_path / "runs"), *arguments])
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.err.count("\n") == 1
    assert says in printed.err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("workers", ["0", "²", "9" * 5000])
def test_workers_are_a_number(workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(["--params", str(tmp_path / "best.yaml"), "--workers", workers])
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.err.count("\n") == 1 and len(printed.err) < 200


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
    good().to_csv(tmp_path / "sales.csv", index=False)
    line = refusal(capsys, ["--data", str(tmp_path / "slaes.csv"), "--target", "sales"])
    assert "sales.csv" in line


def test_an_unknown_sample_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'stocks'?" in refusal(capsys, ["--sample", "stock"])


def test_a_table_of_rows_is_no_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert "titanic" in refusal(capsys, ["--sample", "titanic"])


def test_too_few_rows_names_the_number_that_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "table.csv"
    flags = ["--data", str(file), *TARGET, *WINDOW]
    good(60).to_csv(file, index=False)
    line = refusal(capsys, flags)
    needed = max(int(word.strip(",;.")) for word in line.split() if word.strip(",;.").isdigit())
    good(needed - 1).to_csv(file, index=False)
    assert str(needed) in refusal(capsys, flags)
    good(needed).to_csv(file, index=False)
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


def test_a_choice_that_is_fixed_may_be_any_that_the_family_takes() -> None:
    """As the README shows it: the spaces search three losses, and no weighting."""
    flags = [*TARGET, "--search.fixed", "{fit.loss: smooth_l1, fit.weighting: volatility}"]
    check_fixed(config.parse(flags, prog="", description=""), ["lstm", "linear"])


def test_weights_of_heads_that_contradict_the_parameters_are_refused() -> None:
    settings = config.parse([*TARGET, "--heads.direction", "0.3", "--horizon", "2"], prog="", description="")
    assert with_head_weights(settings, {"fit.lr": 0.1}) == {"fit.direction_weight": 0.3, "fit.lr": 0.1}
    with pytest.raises(InputError, match=r"heads\.direction says 0\.3, and the params' fit\.direction_weight 0\.5"):
        with_head_weights(settings, {"fit.direction_weight": 0.5})
    with pytest.raises(InputError, match="one weight for each of 2 steps"):
        with_head_weights(settings, {"fit.step_weights": "1 1 1"})


def test_weights_that_leave_a_fold_without_any_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": pd.date_range("2024", periods=300, freq="h"), "y": np.sin(np.arange(300.0))})
    frame["w"] = (np.arange(300) > 150).astype(float)
    frame.to_csv(tmp_path / "t.csv", index=False)
    flags = ["--data", str(tmp_path / "t.csv"), "--target", "y", "--data.weight", "w", "--lookback", "8"]
    settings = prepare.complete(config.parse([*flags, "--horizon", "2"], prog="", description=""))
    with pytest.raises(InputError, match="every training window of fold 1 weighs 0"):
        prepare.problem(settings)


@pytest.mark.parametrize(
    ("family", "fixed", "words"),
    [
        ("attention_lstm", "{model.hidden: 48}", ["attention_lstm (", "model.layers: 3", "fix that, too"]),
        ("tcn_attention", "{model.filters: 20}", ["tcn_attention (", "model.heads: 8"]),
        ("tft", "{model.heads: 32}", ["tft (", "model.hidden: 16"]),
    ],
)
def test_what_is_fixed_goes_with_everything_that_is_searched(family, fixed, words):
    settings = config.parse([*TARGET, "--search.fixed", fixed], prog="", description="")
    with pytest.raises(InputError) as caught:
        check_fixed(settings, [family])
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_weight_that_is_searched_by_another_head_s_metric_is_said():
    settings = config.parse([*TARGET, "--heads.direction", "0.3,1.0"], prog="", description="")
    (said,) = judged_by_another(settings, "mae")
    assert "heads.direction is searched, and search.metric=mae judges the value head alone" in said
    assert judged_by_another(settings, "log_loss") == []


def test_what_is_fixed_with_all_that_it_depends_on_is_taken():
    fixed = "{model.hidden: 48, model.layers: 1, model.heads: 4}"
    check_fixed(config.parse([*TARGET, "--search.fixed", fixed], prog="", description=""), ["attention_lstm"])


def test_a_final_training_that_fails_takes_no_other_with_it(monkeypatch, tmp_path):
    """A network too large for its device when it sees all rows: the others are trained without it."""
    asked = []

    def models(settings, problem, finalists, folder):
        asked.append([best.family for best in finalists])
        if "tft" in asked[-1]:
            raise HaltedError("the final training of tft failed: out of memory")
        return [f"model of {best.family}" for best in finalists]

    monkeypatch.setattr(series, "models", models)
    finalists = [SimpleNamespace(family=name) for name in ("lstm", "tft", "linear")]
    trained, without = series._trained(None, None, finalists, SimpleNamespace(path=tmp_path))
    assert [(best.family, model) for best, model in trained] == [
        ("lstm", "model of lstm"),
        ("linear", "model of linear"),
    ]
    assert without == {"tft": "the final training of tft failed: out of memory"}
    assert asked == [["lstm", "tft", "linear"], ["lstm"], ["tft"], ["linear"]]
    with pytest.raises(HaltedError, match="tft failed"):
        series._trained(None, None, finalists[1:2], SimpleNamespace(path=tmp_path))
