"""The temporal fusion transformer: what is known ahead, what is static, how variables are selected, what it tells."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from models.export import export_onnx
from models.tft import Attention, Config, Gate, GatedResidual, Model, Selection

SIZES = {"lookback": 6, "n_steps": 3, "hidden": 8, "heads": 2}
PLAIN = {"channels": 4}
AHEAD = {"channels": 4, "n_ahead": 2}
STATIC = {"channels": 4, "static": (2,)}
ALL = {"channels": 5, "n_ahead": 2, "static": (3, 1), "layers": 2, "n_targets": 2}
SMALLEST = {"channels": 2, "n_ahead": 1, "static": (0,), "n_steps": 1}
KINDS = {"plain": PLAIN, "ahead": AHEAD, "static": STATIC, "all": ALL, "smallest": SMALLEST}


@pytest.fixture(params=KINDS)
def model(request):
    return make(**KINDS[request.param])


def make(*, random_weights=True, **settings):
    torch.manual_seed(0)
    model = Model(Config(**{**SIZES, **settings}))
    for parameter in model.parameters() if random_weights else ():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def inputs_of(model, n=5, seed=1):
    """Windows (n, 6, C), and (n, H, G) where channels are known ahead."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    inputs = {"x_BLC": torch.randn(n, config.lookback, config.channels, generator=generator)}
    if config.n_ahead:
        inputs["ahead_BHG"] = torch.randn(n, config.n_steps, config.n_ahead, generator=generator)
    return inputs


# --- what an answer may depend on


def test_what_is_known_ahead_reaches_its_own_step_and_later_ones():
    model = make(**AHEAD)
    inputs = inputs_of(model)
    before = model(**inputs)
    inputs["ahead_BHG"][:, 1] += 1.0
    after = model(**inputs)
    assert torch.allclose(before[:, 0], after[:, 0], atol=1e-6)
    assert ((before - after).abs()[:, 1:] > 1e-4).all()


def test_the_window_reaches_every_step_ahead():
    model = make(**PLAIN)
    past = inputs_of(model)["x_BLC"].requires_grad_()
    for step in range(3):
        (gradient,) = torch.autograd.grad(model(past)[:, step].sum(), past)
        assert (gradient != 0).all()


def test_steps_ahead_differ_by_their_learned_positions():
    model = make(**PLAIN)
    with torch.no_grad():
        answer = model(**inputs_of(model))
        model.position_HD[2] += 1.0
        other = model(**inputs_of(model))
    assert torch.equal(answer[:, :2], other[:, :2]) and not torch.equal(answer[:, 2], other[:, 2])


def test_a_static_channel_is_read_once_and_reaches_every_answer():
    model = make(**STATIC)
    inputs = inputs_of(model)
    before = model(**inputs)
    inputs["x_BLC"][:, :-1, 2] += 1.0  # it should not have changed within a window
    assert torch.equal(before, model(**inputs))
    inputs["x_BLC"][:, -1, 2] += 1.0
    assert (before != model(**inputs)).all()


def test_an_input_too_many_or_too_few_is_refused():
    with pytest.raises(ValueError, match=r"must have n_ahead=0 channels, got \(5, 3, 2\)"):
        make(**PLAIN)(torch.zeros(5, 6, 4), torch.zeros(5, 3, 2))
    with pytest.raises(ValueError, match="must have n_ahead=2 channels, got nothing"):
        make(**AHEAD)(torch.zeros(5, 6, 4))


# --- nothing is built that is not used


def test_gradient_reaches_every_parameter_whatever_is_given(model):
    model.train()
    model(**inputs_of(model)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_one_variable_has_the_weight_one_and_nothing_is_compared():
    selection = Selection(1, Config(channels=1, **SIZES))
    assert {name.split(".")[0] for name, _ in selection.named_parameters()} == {"each"}
    assert selection(torch.randn(2, 3, 1))[1].tolist() == [[1.0], [1.0]]


# --- the parts


def test_the_variables_networks_side_by_side_are_networks_of_their_own():
    selection = Selection(3, Config(channels=3, **SIZES)).eval()
    x_BTV = torch.randn(2, 4, 3)
    selection.weigh.weight.data.zero_()
    selection.weigh.bias.data = torch.tensor([0.2, 0.3, 0.5]).log()  # the weights of every step
    expected = torch.zeros(2, 4, 8)
    for v, weight in enumerate([0.2, 0.3, 0.5]):
        alone = GatedResidual(1, 8, 0.0)
        state = selection.each.state_dict()
        alone.load_state_dict(
            {name: value if "norm" in name else value[v].T.reshape(alone.state_dict()[name].shape)
             for name, value in state.items()}
        )  # fmt: skip
        expected += weight * alone(x_BTV[:, :, v : v + 1])
    selected, weights = selection(x_BTV)
    assert torch.allclose(selected, expected, atol=1e-6)
    assert torch.allclose(weights, torch.tensor([0.2, 0.3, 0.5]).expand(2, 3))


def test_a_gate_worked_out_by_hand():
    gate = Gate(2, 2, 0.0)
    gate.value.weight.data = torch.eye(2)
    gate.value.bias.data.zero_()
    gate.open.weight.data.zero_()
    gate.open.bias.data = torch.tensor([0.0, -100.0])  # half open, shut
    # 1 + 4 / 2 and 5 + 7 * 0 are 3 and 5: mean 4, deviation 1
    assert torch.allclose(gate(torch.tensor([4.0, 7.0]), torch.tensor([1.0, 5.0])), torch.tensor([-1.0, 1.0]))


def test_a_context_joins_the_hidden_layer():
    network = GatedResidual(1, 1, 0.0, context=True)
    for linear, weight in ((network.first, 2.0), (network.context, 3.0)):
        linear.weight.data.fill_(weight)
    network.first.bias.data.fill_(1.0)
    seen = []
    network.gate.register_forward_hook(lambda _, given, __: seen.append(given))
    network(torch.tensor([[[1.0], [-9.0]]]), torch.tensor([[[2.0]]]))
    # 2 * 1 + 1 + 3 * 2 = 9; 2 * -9 + 1 + 6 = -11, which the exponential unit takes almost to -1
    assert torch.allclose(seen[0][0], functional.elu(torch.tensor([[[9.0], [-11.0]]])))
    assert seen[0][1].tolist() == [[[1.0], [-9.0]]]


def test_heads_ask_apart_and_share_what_is_answered():
    attention = Attention(Config(channels=1, lookback=2, n_steps=1, hidden=2, heads=2))
    attention.ask.weight.data = 50.0 * torch.eye(2)
    attention.ask.bias.data.zero_()
    attention.offer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 5.0]])  # two heads' keys, one value
    steps = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]])  # two of the past, one ahead
    values, weights = attention(steps, 2)
    # the first head's choice is the first step, whose value is 2; the second's the second step, whose value is 5
    assert torch.allclose(weights, torch.tensor([[[0.5, 0.5, 0.0]]]), atol=1e-5)
    assert torch.allclose(values, torch.tensor([[[3.5]]]), atol=1e-4)


def test_no_step_ahead_attends_to_a_later_one():
    attention = Attention(Config(channels=1, lookback=2, n_steps=3, hidden=4, heads=2))
    _, weights = attention(torch.randn(1, 5, 4), 2)
    assert (weights[0] > 0).int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert torch.allclose(weights.sum(dim=2), torch.ones(1, 3))


# --- what it tells


def test_everything_told_is_a_share_whose_rows_sum_to_one(model):
    inputs = inputs_of(model)
    answer, told = model.explain(**inputs)
    config = model.config
    assert torch.equal(answer, model(**inputs)) and answer.shape == (5, config.n_steps, config.n_targets, 1)
    widths = {
        "static_weights": len(config.static),
        "variable_weights": config.channels - len(config.static),
        "ahead_weights": config.n_ahead,
        "attention": config.lookback,
    }
    assert {name: tuple(each.shape) for name, each in told.items()} == {n: (5, w) for n, w in widths.items() if w}
    assert list(told) == list(model.extras)
    for each in told.values():
        assert (each >= 0).all() and torch.allclose(each.sum(dim=1), torch.ones(5), atol=1e-6)


def test_attention_told_is_that_to_the_window_alone():
    model = make(channels=1, lookback=2, n_steps=2, hidden=2, heads=1)
    weights = torch.tensor([[[0.1, 0.3, 0.6, 0.0], [0.1, 0.1, 0.4, 0.4]]])
    model.attention.register_forward_hook(lambda _, __, output: (output[0], weights))
    # the first step has 0.1 + 0.1, the second 0.3 + 0.1, of 0.6
    assert torch.allclose(model.explain(torch.zeros(1, 2, 1))[1]["attention"], torch.tensor([[1 / 3, 2 / 3]]))


def test_it_finds_the_variables_that_matter():
    generator = torch.Generator().manual_seed(0)
    x_BLC, ahead_BHG = torch.randn(512, 6, 4, generator=generator), torch.randn(512, 3, 3, generator=generator)
    truth = (x_BLC[:, -1:, 2:3] + ahead_BHG[:, :, 1:2])[..., None]
    model = make(random_weights=False, channels=4, n_ahead=3, hidden=16, dropout=0.0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(12):
        for batch in torch.randperm(512, generator=generator).split(64):
            loss = (model(x_BLC[batch], ahead_BHG[batch]) - truth[batch]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    error = (model(x_BLC, ahead_BHG) - truth).square().mean()
    told = model.explain(x_BLC, ahead_BHG)[1]
    assert error < 0.1  # guessing the mean has 2
    assert told["variable_weights"].mean(dim=0).argmax() == 2 and told["variable_weights"][:, 2].mean() > 0.5
    assert told["ahead_weights"].mean(dim=0).argmax() == 1 and told["ahead_weights"][:, 1].mean() > 0.5


# --- the graph


def test_the_graph_of_the_smallest_equals_torch(tmp_path):
    """One step, one channel that changes, one known ahead; a larger one stands among the other families."""
    model = make(**SMALLEST)
    file = tmp_path / "model.onnx"
    export_onnx(model, file, inputs_of(model, 2), metadata={})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 17):
        inputs = inputs_of(model, batch)
        with torch.inference_mode():
            answer, told = model.explain(**inputs)
        got = session.run(None, {name: each.numpy() for name, each in inputs.items()})
        for expected, actual in zip([answer, *told.values()], got, strict=True):
            assert actual.shape == tuple(expected.shape) and np.abs(actual - expected.numpy()).max() < 1e-5


# --- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_ahead": -1}, "n_ahead must be at least 0, got n_ahead=-1"),
        ({"static": (3,)}, r"static must be positions below channels=3, each once: \(3,\)"),
        ({"static": (-1,)}, r"each once: \(-1,\)"),
        ({"static": (1, 1)}, r"each once: \(1, 1\)"),
        ({"static": (2, 0, 1)}, r"at least one channel must change in a window, got static=\(2, 0, 1\) of all"),
        ({"hidden": 30}, "hidden=30 cannot by heads=4"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(channels=3, lookback=4, n_steps=2, **settings)
