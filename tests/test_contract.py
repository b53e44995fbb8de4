"""What every family keeps: its space fits its model, and its model trains, ships and answers like the others."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.calendar import DAY
from data.words import words_of
from models import crossval, training
from models.batches import Windows
from models.export import OUTPUT, export_onnx
from models.features import Features
from models.heads import Heads
from models.preprocess import NORMALISATIONS, Forecaster
from models.scaling import Statistics
from search_spaces import FAMILIES, flatten, load, unflatten
from tests.builders import (
    make_model,
    make_params,
    make_problem,
    make_rich_table,
    make_table,
    make_training,
    some_windows,
    weights,
)

LOOKBACK, STEPS, TARGETS = 8, (1, 2, 4), 2
# What a graph does before and after its network is no family's own: each normalisation with one, one with each family.
TURNS = [(family, NORMALISATIONS[i % len(NORMALISATIONS)]) for i, family in enumerate(FAMILIES)]
FROM_THE_DATA = set(crossval.FROM_THE_DATA)  # a model's settings that no space may search


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def problem():
    """Two targets, and a third column with missing values, so that there is a flag."""
    return make_problem(make_table(n_targets=TARGETS), lookback=LOOKBACK, steps=STEPS)


@pytest.fixture
def model(family, problem):
    return make_model(family, problem, random_weights=True)


def past_of(problem, n):
    """The first n windows, raw, with missing values among them."""
    past = some_windows(problem).gather(torch.arange(n))[0]["past"]
    assert past.isnan().any()
    return past


# --- the space


def test_there_are_families():
    assert {"lstm", "linear"} <= set(FAMILIES)


def test_space_names_are_settings(family):
    groups = unflatten(load(family).ranges)
    fields = {field.name for field in dataclasses.fields(crossval.family(family).Config)}
    assert fields >= FROM_THE_DATA
    assert set(groups["model"]) <= fields - FROM_THE_DATA
    assert set(groups["fit"]) <= {field.name for field in dataclasses.fields(training.Config)} - {"max_epochs"}
    assert set(groups["input"]) == {"normalisation"}
    assert set(groups) == {"window", "input", "model", "fit"} and not groups["window"]  # lookbacks: from the user


def test_starts_lie_inside_the_space(family):
    space = load(family)
    assert next(iter(space.starts)) == "default"
    for start, values in space.starts.items():
        assert values.keys() == space.ranges.keys(), start
        check_inside(space, values)


def check_inside(space, values):
    for name, distribution in space.ranges.items():
        value = values[name]
        if isinstance(distribution, CategoricalDistribution):
            assert value in distribution.choices, name
            continue
        assert distribution.low <= value <= distribution.high, name
        if isinstance(distribution, IntDistribution):
            assert (value - distribution.low) % distribution.step == 0, name


def test_the_upper_bound_of_every_range_can_be_drawn(family):
    for name, distribution in load(family).ranges.items():
        if isinstance(distribution, IntDistribution) and not distribution.log:
            assert (distribution.high - distribution.low) % distribution.step == 0, name


def test_flattening_a_space_and_back_loses_nothing(family):
    default = load(family).default
    assert flatten(unflatten(default)) == default


def corners(family, n=16):
    """All lowest, all highest, and n draws of lowest, highest or any choice for each name."""
    rng = np.random.default_rng(0)
    extremes = {
        name: list(d.choices) if isinstance(d, CategoricalDistribution) else [d.low, d.high]
        for name, d in load(family).ranges.items()
    }
    yield {name: ends[0] for name, ends in extremes.items()}
    yield {name: ends[-1] for name, ends in extremes.items()}
    for _ in range(n):
        yield {name: ends[rng.integers(len(ends))] for name, ends in extremes.items()}


def test_corners_of_the_space_build_and_take_a_step(family, problem):
    for corner in corners(family):
        params = unflatten({**corner, "window.lookback": LOOKBACK})
        statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
        model = crossval.build(problem, family, params, statistics)
        fit = {**params["fit"], "max_epochs": 1}
        epoch = next(make_training(model, some_windows(problem, origins=slice(64)), **fit).epochs())
        assert math.isfinite(epoch.train_loss), corner
        assert model.eval()(past_of(problem, 3)).isfinite().all(), corner


@pytest.mark.parametrize("name", sorted(FROM_THE_DATA))
def test_a_size_of_zero_is_refused(family, name):
    sizes = {"channels": 3, "lookback": 4, "n_steps": 2, "n_targets": 1, "n_outputs": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
        crossval.family(family).Config(**sizes)


# --- the model


@pytest.mark.parametrize("batch", [1, 5])
def test_output_is_batch_by_steps_by_targets(model, problem, batch):
    answer = model.eval()(past_of(problem, 20)[-batch:])
    assert answer.shape == (batch, len(STEPS), TARGETS) and answer.dtype == torch.float32


@pytest.mark.parametrize("lookback", [1, 2, 30])
def test_any_lookback_will_do(family, problem, lookback):
    model = make_model(family, problem, lookback=lookback).eval()
    assert model(torch.zeros(3, lookback, 3)).shape == (3, len(STEPS), TARGETS)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_gradient_reaches_every_parameter(family, problem, normalisation):
    model = make_model(family, problem, input__normalisation=normalisation).train()
    inputs, future = some_windows(problem).gather(torch.arange(64))
    (model.scaled(**inputs)["future"] - model.scale_targets(future)).square().mean().backward()
    assert list(model.parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_batch_rows_do_not_mix(model, problem):
    # In training too: a mean over the batch would make workers that share one take other steps than a single worker.
    for mode in (model.train(), model.eval()):
        past = past_of(problem, 30)[-4:].nan_to_num(5.0).requires_grad_()
        mode(past)[1].sum().backward()
        assert past.grad is not None
        assert past.grad[1].any() and not past.grad[[0, 2, 3]].any()


def test_a_row_s_answer_is_its_own(model, problem):
    past = past_of(problem, 30)[-5:]
    other = past.clone()
    other[[0, 1, 3, 4]] = torch.tensor([math.nan, 1e9, -7.0])
    with torch.inference_mode():
        assert torch.equal(model.eval()(past)[2], model(other)[2])


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_missing_and_infinite_values_give_finite_answers(family, problem, normalisation):
    model = make_model(family, problem, input__normalisation=normalisation, random_weights=True).eval()
    past = past_of(problem, 8).nan_to_num(3.0)
    past[0] = math.nan
    past[1, :, 0] = math.nan
    past[2, -1] = math.inf
    past[3, 0] = -math.inf
    past[4] = math.inf
    past[5] = torch.finfo(torch.float32).max
    past[6, ::2] = torch.finfo(torch.float32).min
    with torch.inference_mode():
        answer = model(past)
        assert answer.isfinite().all()
        past[4] = math.nan  # infinite is missing
        assert torch.equal(model(past), answer)


def test_a_missing_value_shows_in_the_answer(model, problem):
    past = past_of(problem, 30)[-1:].nan_to_num(3.0)
    gone = past.clone()
    gone[0, -1, :TARGETS] = math.nan
    with torch.inference_mode():
        assert (model.eval()(past) != model(gone)).all()


def test_weights_survive_a_file(family, problem, model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    table = make_table(n_targets=TARGETS, seed=5)  # other statistics, which the file replaces
    again = make_model(family, make_problem(table, lookback=LOOKBACK, steps=STEPS), seed=1).eval()
    past = past_of(problem, 16)
    with torch.inference_mode():
        assert not torch.equal(again(past), model.eval()(past))
        again.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(again(past), model(past))


def test_evaluation_repeats_itself(model, problem):
    past = past_of(problem, 16)
    with torch.inference_mode():
        assert torch.equal(model.eval()(past), model(past))


def test_bfloat16_trains_on_a_cpu(family, problem):
    model = make_model(family, problem)
    windows = some_windows(problem, origins=slice(64))
    before = weights(model)
    epoch = next(make_training(model, windows, precision="bfloat16", max_epochs=1, lr=0.01).epochs())
    assert math.isfinite(epoch.train_loss)
    assert all(p.dtype == torch.float32 and not torch.equal(p, before[n]) for n, p in model.named_parameters())
    exact = training.predict(model, windows)["future"]
    rough = training.predict(model, windows, precision="bfloat16")["future"]
    assert rough.dtype == np.float32 and 0 < np.abs(rough - exact).max() < 0.05 * float(model.std[0])


# --- inputs beside the past


@pytest.fixture(scope="module")
def rich():
    """A column known ahead, a constant one, two of words, and waves of time; some have missing values."""
    table = make_rich_table(n_targets=TARGETS)
    return make_problem(table, lookback=LOOKBACK, steps=STEPS, waves=((DAY, 1), (DAY, 2), (7 * DAY, 1)))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_input_reaches_the_answer(family, rich, normalisation):
    model = make_model(family, rich, input__normalisation=normalisation, random_weights=True).train()
    inputs, future = some_windows(rich).gather(torch.arange(64))
    answer = model.scaled(**inputs)["future"]
    assert answer.shape == (64, len(STEPS), TARGETS)
    (answer - model.scale_targets(future)).square().mean().backward()
    unread = getattr(crossval.family(family), "READS_TARGETS_ALONE", False)
    for name, parameter in model.named_parameters():
        if not (unread and name.startswith("embeddings.")):
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    others = {f"column {i}": {"past": _other_column(inputs["past"], i, rich)} for i in range(len(rich.table.names))}
    others |= {name: {name: values + 6 * 3600} for name, values in inputs.items() if name.startswith("time")}
    others["ahead"] = {"ahead": torch.where(inputs["ahead"].isnan(), 5.0, inputs["ahead"] + 3)}
    own = {*(f"column {i}" for i in range(TARGETS)), "time_ahead", "ahead"}
    with torch.inference_mode():
        before = model.eval()(**inputs)
        for name, other in others.items():
            changed = model(**{**inputs, **other})
            assert changed.isfinite().all()
            assert torch.equal(changed, before) == (unread and name not in own), name


def _other_column(past, i, problem):
    """One column changed at every second step, since a window's level would swallow a shift; at all where constant."""
    other, steps = past.clone(), slice(None, None, 1 if i in problem.table.static else 2)
    if i >= problem.table.n_numbers:
        words = problem.table.categories[problem.table.names[i]]
        other[:, steps, i] = (other[:, steps, i] + 1) % (len(words) + 1)
    else:
        other[:, steps, i] = torch.where(other[:, steps, i].isnan(), 5.0, other[:, steps, i] + 3)
    return other


def test_nothing_known_of_any_input_has_a_finite_answer(family, rich):
    model = make_model(family, rich, random_weights=True).eval()
    inputs, _ = some_windows(rich).gather(torch.arange(3))
    numbers = rich.table.n_numbers
    for odd in (math.nan, math.inf, -math.inf, torch.finfo(torch.float32).max):
        inputs["past"][:, :, :numbers], inputs["past"][:, :, numbers:] = odd, 0
        inputs["ahead"][:] = odd
        with torch.inference_mode():
            assert model(**inputs).isfinite().all()


@pytest.mark.parametrize(("family", "normalisation"), TURNS)
def test_onnx_equals_torch_for_every_input_and_head(family, normalisation, rich, tmp_path):
    """And for a feature, at the batches that people send."""
    heads, features = Heads(direction=True, levels=(0.1, 0.5, 0.9)), Features(columns=(0, 2), lags=(1,))
    rows = LOOKBACK + features.reach
    longer = make_problem(rich.table, lookback=rows, steps=STEPS, waves=rich.waves)
    rich = dataclasses.replace(longer, features=features, heads=heads)
    model = make_model(family, rich, input__normalisation=normalisation, random_weights=True).eval()
    words, numbers = rich.table.categories, rich.table.n_numbers
    file = tmp_path / "model.onnx"
    export_onnx(model, file, crossval.example(rich, LOOKBACK, 2), metadata={}, words=words)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(put.name, put.type, put.shape[1:]) for put in session.get_inputs()] == [
        ("past", "tensor(float)", [rows, numbers]),
        ("ahead", "tensor(float)", [len(STEPS), 1]),
        ("time", "tensor(int64)", [rows]),
        ("time_ahead", "tensor(int64)", [len(STEPS)]),
        ("kind", "tensor(string)", [rows]),
        ("place", "tensor(string)", [rows]),
    ]
    names = [put.name for put in session.get_outputs()]
    assert names == [OUTPUT, *model.extras] and set(heads.extras) <= set(names)
    inputs = some_windows(rich).gather(torch.arange(20))[0]
    inputs["past"][-1, :, numbers] = 0
    inputs["ahead"][-2] = math.nan
    feed = {name: values.numpy() for name, values in inputs.items()}
    for i, (name, vocabulary) in enumerate(words.items()):
        feed[name] = words_of(feed["past"][:, :, numbers + i], vocabulary)
    feed["past"] = feed["past"][:, :, :numbers]
    feed["kind"][-1, ::2] = "never heard"  # and the others are empty
    scale = model.std[:TARGETS].numpy()
    for batch in (1, 2, 17):
        with torch.inference_mode():
            expected, told = model.explain(**{name: values[-batch:] for name, values in inputs.items()})
        answer, *others = session.run(None, {name: values[-batch:] for name, values in feed.items()})
        assert answer.shape == (batch, len(STEPS), TARGETS)
        assert np.abs((answer - expected.numpy()) / scale).max() < 1e-5
        for name, other in zip(names[1:], others, strict=True):
            away = np.abs(other - told[name].numpy())
            assert (away / scale[:, None] if name == "quantiles" else away).max() < 1e-5, name
    assert {each.domain for each in onnx.load(file).opset_import} <= {"", "ai.onnx.ml"}  # any runtime knows these


# --- learning


def puzzle(answer_from):
    """Windows of 8 random numbers followed by two of them, those at positions `answer_from`."""
    rows = np.random.default_rng(0).normal(size=(640, 10)).astype(np.float32)
    rows[:, 8:] = rows[:, answer_from]
    origins = np.arange(640) * 10 + 8
    table = rows.reshape(-1, 1)
    parts = [Windows(table, o, lookback=8, steps=np.array([1, 2]), n_targets=1) for o in (origins[:512], origins[512:])]
    return table, *parts


@pytest.mark.parametrize("answer_from", [[7, 7], [6, 7]], ids=["repeat the last value", "copy the last two"])
def test_learns_to_copy(family, answer_from):
    table, train, valid = puzzle(answer_from)
    module = crossval.family(family)
    config = module.Config(channels=1, lookback=8, n_steps=2, n_targets=1, **make_params(family)["model"])
    torch.manual_seed(0)
    model = Forecaster(module.Model(config), Statistics.fit(table, np.arange(len(table))), 1, "none")
    loop = make_training(model, train, max_epochs=10, lr=0.02, loss="mse", weight_decay=0.0)
    *_, last = loop.epochs()
    error = float(np.square(training.predict(model, valid)["future"] - valid.truth()).mean())
    assert error < 0.05, f"after {last.number} epochs; guessing the mean has 1"


# --- the graph


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_onnx_equals_torch_for_every_normalisation(problem, normalisation, tmp_path):
    family = "linear"
    model = make_model(family, problem, input__normalisation=normalisation, random_weights=True).train()
    file = tmp_path / "model.onnx"
    export_onnx(model, file, {"past": torch.zeros(2, LOOKBACK, 3)}, metadata={"family": family})
    assert model.training  # the model stays as it was
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (put,), (got, *more) = session.get_inputs(), session.get_outputs()
    assert (put.name, put.type, put.shape[1:]) == ("past", "tensor(float)", [LOOKBACK, 3])
    assert (got.name, got.type, got.shape[1:]) == (OUTPUT, "tensor(float)", [len(STEPS), TARGETS])
    assert not more
    assert isinstance(put.shape[0], str)
    assert session.get_modelmeta().custom_metadata_map["family"] == family
    model.eval()
    past = past_of(problem, 20)
    past[-1] = math.nan
    past[-2, :, 0] = math.inf
    for batch in (1, 2, 17):
        some = past[-batch:]
        with torch.inference_mode():
            expected = model(some).numpy()
        (answer,) = session.run(None, {"past": some.numpy()})
        assert answer.shape == (batch, len(STEPS), TARGETS) and answer.dtype == np.float32
        assert np.abs((answer - expected) / model.std[:TARGETS].numpy()).max() < 1e-5
    assert {each.domain for each in onnx.load(file).opset_import} <= {"", "ai.onnx.ml"}  # any runtime knows these


def test_every_search_range_is_of_a_kind_the_searchers_know(family):
    known = (CategoricalDistribution, IntDistribution, FloatDistribution)
    assert all(isinstance(each, known) for each in load(family).ranges.values())
