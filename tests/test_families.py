"""What single families promise besides the contract that all of them keep."""

from __future__ import annotations

import pytest
import torch

from models import attention_lstm, cnn_lstm, linear, modern_tcn, segment_lstm, tcn, tcn_attention
from models._blocks import CausalConvolution, Pooling
from ray_jobs import config
from ray_jobs.series import unread
from ray_jobs.study import StudyBook
from search_spaces import load
from tests.builders import make_problem, make_rich_table

SIZES = {"channels": 3, "lookback": 24, "n_steps": 4, "n_targets": 2}


def windows(n=5, lookback=24, channels=3, seed=0):
    return torch.randn(n, lookback, channels, generator=torch.Generator().manual_seed(seed))


# --- temporal convolutions


@pytest.mark.parametrize(("kernel", "layers", "steps"), [(5, 5, 249), (3, 4, 61), (7, 6, 757), (2, 1, 3)])
def test_the_tcn_sees_as_many_steps_as_its_formula_says(kernel, layers, steps):
    config = tcn.Config(**SIZES | {"lookback": steps + 5}, kernel=kernel, layers=layers, filters=4, dropout=0.0)
    assert tcn.receptive_field(config) == steps
    model = tcn.Model(config).double()
    for parameter in model.parameters():  # with positive weights and inputs no rectifier closes a path
        parameter.data.abs_()
    past = windows(1, steps + 5).abs().double().requires_grad_()
    model(past).sum().backward()
    seen = past.grad.abs().sum(dim=(0, 2)) > 0
    assert seen[-steps:].all() and not seen[:-steps].any()


@pytest.mark.parametrize("norm", ["weight", "layer"])
@pytest.mark.parametrize(("kernel", "layers"), [(3, 4), (5, 5)])
def test_the_tcn_answers_to_the_first_step_that_it_sees_and_to_none_before(norm, kernel, layers):
    config = tcn.Config(**SIZES | {"lookback": 300}, kernel=kernel, layers=layers, filters=4, norm=norm, dropout=0.0)
    steps = tcn.receptive_field(config)
    model = tcn.Model(config).double()
    for parameter in model.parameters():
        parameter.data.abs_()
    past = windows(1, 300).abs().double()
    with torch.inference_mode():
        before = model(past)
        for place, reaches in ((300 - steps, True), (300 - steps - 1, False)):
            other = past.clone()
            other[:, place] += 1e6
            assert torch.equal(model(other), before) != reaches


def test_the_named_starting_points_are_those_of_their_sources():
    """Units and heads of the attention LSTM, 64-32 and so on by halving; filters, layers and kernel of the TCN."""
    starts = load("attention_lstm").starts
    sizes = {n: (s["model.hidden"], s["model.layers"], s["model.heads"]) for n, s in starts.items()}
    assert sizes == {"lightweight": (64, 2, 2), "default": (128, 2, 4), "deep": (256, 3, 8)}
    model = attention_lstm.Model(attention_lstm.Config(**SIZES, hidden=256, layers=3, heads=8))
    assert [layer.hidden_size for layer in model.modules() if isinstance(layer, torch.nn.LSTM)] == [256, 128, 64]
    starts = load("tcn").starts
    sizes = {n: (s["model.filters"], s["model.layers"], s["model.kernel"]) for n, s in starts.items()}
    assert sizes == {"lightweight": (32, 4, 3), "default": (64, 5, 5), "deep": (128, 6, 7)}


@pytest.mark.parametrize("norm", ["weight", "layer"])
@pytest.mark.parametrize("lookback", [1, 2, 3, 61, 96, 301])
def test_the_thinned_tcn_answers_as_the_dilated_one(norm, lookback):
    config = tcn.Config(**SIZES, kernel=5, layers=5, filters=8, norm=norm, dropout=0.0)
    thin, dense = tcn.blocks(config, dense=False).double(), tcn.blocks(config, dense=True).double()
    dense.load_state_dict(thin.state_dict())
    x_BCL = windows(4, lookback).double().transpose(1, 2)
    assert dense(x_BCL).shape == (4, 8, lookback)
    assert torch.allclose(thin(x_BCL)[:, :, -1], dense(x_BCL)[:, :, -1], rtol=1e-12, atol=1e-12)


def test_no_state_of_the_dilated_tcn_knows_a_later_step():
    config = tcn_attention.Config(**SIZES, filters=8, dropout=0.0)
    blocks = tcn.blocks(config, dense=True)
    past, other = windows(), windows()
    other[:, 15:] = 7.0
    before, after = (blocks(each.transpose(1, 2)) for each in (past, other))
    assert torch.equal(before[:, :, :15], after[:, :, :15])
    assert not torch.equal(before[:, :, 15], after[:, :, 15])


def test_a_causal_convolution_worked_out_by_hand():
    layer = CausalConvolution(1, 1, 2, stride=2)
    layer.convolution.weight.data = torch.tensor([[[10.0, 1.0]]])
    layer.convolution.bias.data.zero_()
    # ten times the step before plus the step, at every second step counted back from the last
    assert layer(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])).tolist() == [[[12.0, 34.0]]]
    assert layer(torch.tensor([[[1.0, 2.0, 3.0]]])).tolist() == [[[1.0, 23.0]]]


@pytest.mark.parametrize(
    ("family", "lookback", "said"),
    [
        ("tcn", 96, ["see only the last 29 of the window's 96 steps"]),  # kernel 3, 3 layers: 1 + 2 * 2 * 7
        ("tcn", 29, []),
        ("lstm", 96, []),
        ("segment_lstm", 8, ["other columns and features go unread"]),
    ],
)
def test_what_a_family_does_not_read_is_told(tmp_path, family, lookback, said):
    url = f"sqlite:///{tmp_path}/study.db"
    book = StudyBook(url, load(family), [lookback], algorithm="tpe", trials=3, seed=0, minimise=True)
    sentences = unread(config.check({"window": {"lookback": lookback}}), make_problem(), book)
    book.close()
    assert len(sentences) == len(said) and all(part in whole for part, whole in zip(said, sentences, strict=True))


def test_what_is_known_ahead_is_read_by_all(tmp_path):
    book = StudyBook(
        f"sqlite:///{tmp_path}/x.db", load("linear"), [8], algorithm="tpe", trials=3, seed=0, minimise=True
    )
    (sentence,) = unread(config.check({"window": {"lookback": 8}}), make_problem(make_rich_table()), book)
    book.close()
    assert sentence == (
        "linear answers each target from its own past and what is known ahead; the past of other columns and features "
        "go unread"
    )


# --- attention


@pytest.mark.parametrize("query", ["last", "mean"])
@pytest.mark.parametrize("family", [attention_lstm, tcn_attention])
def test_attention_weighs_every_step_and_its_rows_sum_to_one(family, query):
    model = family.Model(family.Config(**SIZES, query=query)).eval()
    answer, told = model.explain(windows())
    assert torch.equal(answer, model(windows()))
    assert list(told) == list(model.extras) == ["attention"]
    assert told["attention"].shape == (5, 24) and (told["attention"] >= 0).all()
    assert torch.allclose(told["attention"].sum(dim=1), torch.ones(5), atol=1e-6)


def test_attention_finds_the_step_that_answers_the_query():
    pooling = Pooling(2, 1, "last")
    pooling.ask.bias.data.zero_()
    pooling.ask.weight.data = torch.eye(2) * 2**0.5  # undoes the scaling by the root of the width
    pooling.offer.weight.data = torch.cat([torch.eye(2), torch.eye(2)])
    steps = torch.tensor([[[30.0, 0.0], [0.0, 30.0], [30.0, 0.0], [0.0, 1.0]]])
    _, weights = pooling(steps, torch.tensor([[1.0, 0.0]]))
    assert torch.allclose(weights, torch.tensor([[0.5, 0.0, 0.5, 0.0]]), atol=1e-6)


def test_heads_that_cannot_share_are_refused():
    with pytest.raises(ValueError, match="hidden=96 with layers=2 and heads=5 leaves a remainder"):
        attention_lstm.Config(**SIZES, hidden=96, heads=5)
    with pytest.raises(ValueError, match="filters=30 cannot by heads=4"):
        tcn_attention.Config(**SIZES, filters=30)


# --- what a target's answer may depend on


@pytest.mark.parametrize(("family", "own"), [(linear, True), (segment_lstm, True), (modern_tcn, False), (tcn, False)])
def test_only_some_families_read_the_other_columns(family, own):
    torch.manual_seed(0)
    model = family.Model(family.Config(**SIZES)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    past, other = windows(), windows()
    other[:, :, 1:] += 1.0
    assert torch.equal(model(past)[:, :, 0], model(other)[:, :, 0]) == own
    assert not torch.equal(model(past)[:, :, 1], model(other)[:, :, 1])


def test_targets_of_one_segment_lstm_share_all_but_their_embedding():
    model = segment_lstm.Model(segment_lstm.Config(**SIZES)).eval()
    past = windows()
    past[:, :, 1] = past[:, :, 0]
    assert not torch.equal(model(past)[:, :, 0], model(past)[:, :, 1])
    model.channel_KD.data[1] = model.channel_KD.data[0]
    assert torch.allclose(model(past)[:, :, 0], model(past)[:, :, 1], atol=1e-6)


@pytest.mark.parametrize(("segment", "segments"), [(8, 4), (30, 1)])
def test_a_segment_ahead_is_one_step_of_the_lstm_from_the_last_state(segment, segments):
    config = segment_lstm.Config(**SIZES | {"n_steps": 30}, segment=segment, hidden=16)
    model = segment_lstm.Model(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    h_BKD, c_BKD = windows(5, 2, 16).double(), windows(5, 2, 16, seed=1).double()
    y_BKMD = model._ahead(h_BKD, c_BKD)
    assert y_BKMD.shape == (5, 2, segments, 16)
    for k in range(2):
        state = (h_BKD[None, :, k].contiguous(), c_BKD[None, :, k].contiguous())
        for m in range(segments):
            query = torch.cat([model.position_MD[m], model.channel_KD[k]])
            y_B1D, _ = model.lstm(query.expand(5, 1, -1), state)
            assert torch.allclose(y_BKMD[:, k, m], y_B1D[:, 0], rtol=1e-12, atol=1e-12)


# --- large kernels over patches


@pytest.mark.parametrize(("patches", "kernel"), [(1, 5), (4, 3), (4, 7), (4, 9), (41, 25), (12, 51)])
def test_the_product_over_time_is_the_convolution(patches, kernel):
    convolution = torch.nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=6).double()
    x_RND = windows(5, patches, 6).double()
    expected = convolution(x_RND.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(modern_tcn.over_time(convolution, x_RND), expected, rtol=1e-12, atol=1e-12)


def test_mixing_over_channels_is_a_map_of_each_place_s_channels():
    mixing = modern_tcn.OverChannels(3, 5).double()
    x_BCO = windows(4, 3, 6).double()
    expected = torch.nn.functional.linear(x_BCO.transpose(1, 2), mixing.weight, mixing.bias).transpose(1, 2)
    assert torch.allclose(mixing(x_BCO), expected, rtol=1e-12, atol=1e-12)


# --- convolutions in front of an LSTM


def test_each_convolution_halves_the_steps_that_the_lstm_reads():
    model = cnn_lstm.Model(cnn_lstm.Config(**SIZES, convolutions=3))
    assert [model.front(torch.zeros(1, 3, n)).shape[2] for n in (1, 8, 9, 24)] == [1, 1, 2, 3]
