"""Params that are given to a training or fixed in a search are checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import InputError
from ray_jobs import config, train
from ray_jobs.params import check_fixed, judged_by_another, with_head_weights
from tests.builders import make_sales

pytestmark = pytest.mark.usefixtures("nothing_starts")

TARGET = ["--target", "sales"]
SELECT = ["--features.select", "importance"]
LAGS = ["--features.lags", "6,12"]

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
    make_sales().to_csv(tmp_path / "table.csv", index=False)
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
