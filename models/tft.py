"""Temporal fusion transformer: at every step the variables are weighed, an LSTM reads the past and another one the
steps ahead, and these attend to both.

Source: Lim et al. 2021, arxiv.org/abs/1912.09363, with these changes. Linear maps with nothing between them are one: a
variable goes into its network as the number that it is, and the weights are found from these numbers. The weights have
a linear map of their own, since a layer norm over few variables leaves little of them: of two, a sign. The networks of
a selection share their norm, and their sum has the dropout. Each step ahead has a learned position, which is all that
its LSTM reads where nothing is known ahead.
Shapes: B batch, L lookback steps, H steps ahead, T = L + H or either, C channels, G channels known ahead, S static
ones, V variables (any of these), N = B * T, D hidden units, E of the attention's values, K targets, O numbers for
each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models._blocks import check_dropout, check_sizes, lstm

MakeLinear = Callable[[int, int], nn.Module]  # of so many inputs and outputs

READS_AHEAD = True  # `Model.forward` takes what is known at the steps that are answered


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the network itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    n_ahead: int = 0  # channels known at the steps that are answered
    static: tuple[int, ...] = ()  # positions, among the channels, of those that are constant in a window
    hidden: int = 32
    heads: int = 4
    layers: int = 1  # of each LSTM
    dropout: float = 0.1  # before each gate, and between the layers of an LSTM

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "heads", "layers")
        check_dropout(self)
        if self.n_ahead < 0:
            raise ValueError(f"n_ahead must be at least 0, got n_ahead={self.n_ahead}")
        if len({*self.static, *range(self.channels)}) > self.channels or len({*self.static}) < len(self.static):
            raise ValueError(f"static must be positions below channels={self.channels}, each once: {self.static}")
        if len(self.static) == self.channels:
            raise ValueError(f"at least one channel must change in a window, got static={self.static} of all")
        if self.hidden % self.heads:
            raise ValueError(f"heads share the units evenly: hidden={self.hidden} cannot by heads={self.heads}")


class Model(nn.Module):
    """(B, L, C), and (B, H, G) where channels are known ahead, -> (B, H, K, O)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.moving = [i for i in range(config.channels) if i not in config.static]
        self.extras = {}
        hidden, dropout, context = config.hidden, config.dropout, bool(config.static)
        if config.static:
            self.extras["static_weights"] = "how much each constant input weighs; rows sum to 1"
            self.static = Selection(len(config.static), config)
            selects = ["select"] if max(len(self.moving), config.n_ahead) > 1 else []
            names = ["hidden", "cell", "enrich", *selects]
            self.contexts = nn.ModuleDict({name: GatedResidual(hidden, hidden, dropout) for name in names})
        self.extras["variable_weights"] = "how much each input weighs over the window; rows sum to 1"
        self.past = Selection(len(self.moving), config, context=context)
        if config.n_ahead:
            self.extras["ahead_weights"] = "how much each input known ahead weighs; rows sum to 1"
            self.ahead = Selection(config.n_ahead, config, context=context)
        self.extras["attention"] = "how much each step of the window weighs in the answer; rows sum to 1"
        self.position_HD = nn.Parameter(0.02 * torch.randn(config.n_steps, hidden))
        self.encoder = lstm(hidden, hidden, config.layers, dropout=dropout)
        self.decoder = lstm(hidden, hidden, config.layers, dropout=dropout)
        self.after_lstm = Gate(hidden, hidden, dropout)
        self.enrich = GatedResidual(hidden, hidden, dropout, context=context)
        self.attention = Attention(config)
        self.after_attention = Gate(hidden // config.heads, hidden, dropout)
        self.refine = GatedResidual(hidden, hidden, dropout)
        self.after_all = Gate(hidden, hidden, dropout)
        self.answer = nn.Linear(hidden, config.n_targets * config.n_outputs)

    def forward(self, x_BLC: Tensor, ahead_BHG: Tensor | None = None) -> Tensor:
        return self.explain(x_BLC, ahead_BHG)[0]

    def explain(self, x_BLC: Tensor, ahead_BHG: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        if (ahead_BHG is None) != (self.config.n_ahead == 0):
            given = "nothing" if ahead_BHG is None else tuple(ahead_BHG.shape)
            raise ValueError(f"ahead_BHG must have n_ahead={self.config.n_ahead} channels, got {given}")
        lookback, told = x_BLC.shape[1], {}
        contexts: dict[str, Tensor] = {}  # (B, 1, D) each
        states = None
        if self.config.static:
            static_B1D, told["static_weights"] = self.static(x_BLC[:, -1:, list(self.config.static)])
            contexts = {name: each(static_B1D) for name, each in self.contexts.items()}
            first = (contexts[name].transpose(0, 1) for name in ("hidden", "cell"))
            states = tuple(each.repeat(self.config.layers, 1, 1) for each in first)
        past_BLD, told["variable_weights"] = self.past(x_BLC[:, :, self.moving], contexts.get("select"))
        ahead_BHD = self.position_HD.expand(x_BLC.shape[0], -1, -1)
        if ahead_BHG is not None:
            known_BHD, told["ahead_weights"] = self.ahead(ahead_BHG, contexts.get("select"))
            ahead_BHD = ahead_BHD + known_BHD

        encoded_BLD, states = self.encoder(past_BLD, states)
        decoded_BHD, _ = self.decoder(ahead_BHD, states)
        inputs_BTD = torch.cat([past_BLD, ahead_BHD], dim=1)
        local_BTD = self.after_lstm(torch.cat([encoded_BLD, decoded_BHD], dim=1), inputs_BTD)
        enriched_BTD = self.enrich(local_BTD, contexts.get("enrich"))
        values_BHE, weights_BHT = self.attention(enriched_BTD, lookback)
        attended_BHD = self.after_attention(values_BHE, enriched_BTD[:, lookback:])
        refined_BHD = self.after_all(self.refine(attended_BHD), local_BTD[:, lookback:])

        share_BL = weights_BHT[:, :, :lookback].mean(dim=1)
        told["attention"] = share_BL / share_BL.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return self.answer(refined_BHD).unflatten(2, (self.config.n_targets, -1)), told


class Selection(nn.Module):
    """(B, T, V) -> (B, T, D) and weights (B, V): the answers of each variable's own network, weighed and summed.

    The weights are a step's own, found from all its variables, and sum to 1; those told are averaged over the steps.
    """

    def __init__(self, variables: int, config: Config, *, context: bool = False) -> None:
        super().__init__()
        hidden, dropout = config.hidden, config.dropout
        self.each = GatedResidual(1, hidden, 0.0, linear=partial(Linears, variables))
        self.dropout = nn.Dropout(dropout)  # once for all variables
        self.several = variables > 1  # the weight of a single one is 1
        if self.several:
            self.compare = GatedResidual(variables, hidden, dropout, context=context)
            self.weigh = nn.Linear(hidden, variables)

    def forward(self, x_BTV: Tensor, context_B1D: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.several:
            weights_BTV = torch.softmax(self.weigh(self.compare(x_BTV, context_B1D)), dim=2)
        else:
            weights_BTV = torch.ones_like(x_BTV)
        h_VND = self.each(x_BTV.flatten(0, 1).t()[:, :, None])
        selected_N1D = weights_BTV.flatten(0, 1)[:, None] @ h_VND.transpose(0, 1)
        selected_BTD = self.dropout(selected_N1D).view(*x_BTV.shape[:2], selected_N1D.shape[2])
        return selected_BTD, weights_BTV.mean(dim=1)


class Linears(nn.Module):
    """A linear map for each variable, side by side: (V, N, inputs) -> (V, N, outputs)."""

    def __init__(self, variables: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as nn.Linear has it
        self.weight = nn.Parameter(torch.empty(variables, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(variables, 1, outputs).uniform_(-bound, bound))

    def forward(self, x_VNI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_VNI, self.weight)


class Gate(nn.Module):
    """(..., inputs) and a residual (..., D) -> (..., D): a gated linear unit, added to the residual and normed."""

    def __init__(self, inputs: int, hidden: int, dropout: float, linear: MakeLinear = nn.Linear) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.value = linear(inputs, hidden)
        self.open = linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        x = self.dropout(x)
        y: Tensor = self.norm(residual + self.value(x) * self.open(x).sigmoid())
        return y


class GatedResidual(nn.Module):
    """(..., inputs) -> (..., D): one hidden layer, which a context (B, 1, D) may join, gated beside a linear way."""

    def __init__(
        self, inputs: int, hidden: int, dropout: float, *, context: bool = False, linear: MakeLinear = nn.Linear
    ) -> None:
        super().__init__()
        self.first = linear(inputs, hidden)
        self.context = nn.Linear(hidden, hidden, bias=False) if context else None
        self.skip = linear(inputs, hidden) if inputs != hidden else nn.Identity()
        self.gate = Gate(hidden, hidden, dropout, linear)

    def forward(self, x: Tensor, context_B1D: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.context is not None:
            h = h + self.context(context_B1D)
        y: Tensor = self.gate(functional.elu(h), self.skip(x))
        return y


class Attention(nn.Module):
    """(B, T, D) -> (B, H, E), weights (B, H, T): a step ahead attends to the past and to the steps ahead up to itself.

    Each head weighs the steps, all heads share the values: the mean of their weights is all that the answer knows.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.width = config.heads, config.hidden // config.heads
        self.ask = nn.Linear(config.hidden, config.hidden)
        self.offer = nn.Linear(config.hidden, config.hidden + self.width, bias=False)  # a key's would change no weight

    def forward(self, h_BTD: Tensor, lookback: int) -> tuple[Tensor, Tensor]:
        k_BTD, v_BTE = self.offer(h_BTD).split([self.heads * self.width, self.width], dim=2)
        q_BHD = self.ask(h_BTD[:, lookback:])
        q, k = (each.unflatten(2, (self.heads, self.width)) for each in (q_BHD, k_BTD))
        scores = torch.einsum("bhnd,btnd->bnht", q, k) * self.width**-0.5
        seen_HT = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril(lookback)
        weights_BHT = torch.softmax(scores.masked_fill(~seen_HT, -torch.inf), dim=3).mean(dim=1)
        return weights_BHT @ v_BTE, weights_BHT
