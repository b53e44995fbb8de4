"""From raw columns to a model's answer as one graph: what stands in front of a model, and what comes behind it.

    a graph of a model     "matrix" (batch, D) float32, as `Encoding.matrix` gives it  ->  "scores" (batch, C) float32:
                           probabilities of C classes, or (batch, 1) the value
    the whole              an input for each column, (batch,): float32, NaN = missing; strings, "" = missing; int64
                           seconds since 1970, MISSING_TIME = missing  ->  "probabilities" (batch, C) float32 and
                           "label" (batch,) strings, or "value" (batch,) float32

The scores of several models, each with an encoding of its own, are averaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from data.calendar import DAY
from data.rows import RowTable
from data.times import MISSING_TIME
from data.words import words_of
from models.tabular.encoding import Encoding, TimeCode, WordCode
from models.tabular.outputs import CLUSTER, LABEL, PROBABILITIES, VALUE

OPSET, OPSET_ML, IR_VERSION = 20, 3, 9
MATRIX, SCORES = "matrix", "scores"


class Builder:
    """Nodes and constants under one prefix, so that no value inside has the name of a column."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, kind: str, *inputs: str, domain: str = "", name: str | None = None, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        output = name or f"{self.prefix}/{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def column_names(columns: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """A name in the graph for each column: its own, where that is a C identifier, as ONNX wants names, and not `taken`,
    as the outputs' are; else "column_N" by its place."""
    names: dict[str, str] = {}
    for place, column in enumerate(columns, start=1):
        fits = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", column) is not None and column not in taken
        name = column if fits else f"column_{place}"
        while not fits and (name in columns or name in taken or name in names.values()):
            name += "_"
        names[column] = name
    return names


def inputs(encoding: Encoding, names: Mapping[str, str]) -> list[ValueInfoProto]:
    """What a graph takes: an input for each column."""
    kinds = dict.fromkeys(encoding.numbers, TensorProto.FLOAT)
    kinds |= {word.name: TensorProto.STRING for word in encoding.words}
    kinds |= {time.name: TensorProto.INT64 for time in encoding.times}
    return [helper.make_tensor_value_info(names[column], kind, ["batch"]) for column, kind in kinds.items()]


def sent(table: RowTable, rows: NDArray[np.int64], names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """These rows as a graph takes them, by its inputs' names."""
    feed: dict[str, NDArray[Any]] = {
        names[name]: table.values[rows, place] for place, name in enumerate(table.names[: table.n_numbers])
    }
    for place, (name, words) in enumerate(table.categories.items(), start=table.n_numbers):
        feed[names[name]] = words_of(table.values[rows, place], words)
    return feed | {names[name]: table.times[rows, place] for place, name in enumerate(table.time_names)}


def encode(encoding: Encoding, names: Mapping[str, str], to: Builder) -> str:
    """The matrix of `encoding`, made of the columns' inputs; its name."""
    axis = to.constant(np.array([1], np.int64))
    parts = []
    if encoding.numbers:
        columns = [to.add("Unsqueeze", names[name], axis) for name in encoding.numbers]
        numbers = to.add("Concat", *columns, axis=1)
        parts.append(to.add("Where", to.add("IsInf", numbers), to.constant(np.array(np.nan, np.float32)), numbers))
    for time in encoding.times:
        parts += [to.add("Unsqueeze", column, axis) for column in _time(time, names[time.name], to)]
    for word in encoding.words:
        parts.append(to.add("Unsqueeze", _code(word, names[word.name], to), axis))
    return to.add("Concat", *parts, axis=1)


def _time(time: TimeCode, column: str, to: Builder) -> list[str]:
    missing = to.add("Equal", column, to.constant(np.array(MISSING_TIME, np.int64)))
    start = to.constant(np.array(time.start, np.int64))
    known = to.add("Where", missing, start, column)
    whole = [(to.add("Sub", known, start), DAY)]
    whole += [(to.add("Mod", known, to.constant(np.array(period, np.int64))), period) for period in time.periods]
    nothing, columns = to.constant(np.array(np.nan, np.float32)), []
    for seconds, unit in whole:
        exact = to.add("Cast", seconds, to=TensorProto.DOUBLE)
        share = to.add("Div", exact, to.constant(np.array(unit, np.float64)))
        columns.append(to.add("Where", missing, nothing, to.add("Cast", share, to=TensorProto.FLOAT)))
    return columns


def _code(word: WordCode, column: str, to: Builder) -> str:
    return to.add(
        "LabelEncoder",
        column,
        domain="ai.onnx.ml",
        keys_strings=["", *word.words],
        values_floats=[float(code) for code in range(len(word.words) + 1)],
        default_float=float(len(word.words) + 1),
    )


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What stands behind the models' mean, (batch, C) scores: `calibrated` makes what is answered of it; of two classes
    the second is the label from `threshold` on, of more the likeliest."""

    classes: tuple[str, ...] = ()  # none: a value
    calibrated: Callable[[Builder, str], str] = lambda to, scores: scores
    threshold: float = 0.5
    clusters: bool = False  # the score is a cluster's code

    @property
    def names(self) -> tuple[str, ...]:
        return (PROBABILITIES, LABEL) if self.classes else (CLUSTER,) if self.clusters else (VALUE,)

    def add(self, to: Builder, scores: str) -> list[ValueInfoProto]:
        if self.clusters:
            code = to.add("Squeeze", scores, to.constant(np.array([1], np.int64)))
            to.add("Cast", code, to=TensorProto.INT64, name=CLUSTER)
            return [helper.make_tensor_value_info(CLUSTER, TensorProto.INT64, ["batch"])]
        if not self.classes:
            to.add("Squeeze", scores, to.constant(np.array([1], np.int64)), name=VALUE)
            return [helper.make_tensor_value_info(VALUE, TensorProto.FLOAT, ["batch"])]
        probabilities = to.add("Identity", self.calibrated(to, scores), name=PROBABILITIES)
        if len(self.classes) == 2:
            up = to.add("Gather", probabilities, to.constant(np.array(1, np.int64)), axis=1)
            above = to.add("GreaterOrEqual", up, to.constant(np.array(self.threshold, np.float32)))
            place = to.add("Cast", above, to=TensorProto.INT64)
        else:
            place = to.add("ArgMax", probabilities, axis=1, keepdims=0)
        to.add(
            "LabelEncoder",
            place,
            domain="ai.onnx.ml",
            name=LABEL,
            keys_int64s=list(range(len(self.classes))),
            values_strings=list(self.classes),
        )
        return [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", len(self.classes)]),
            helper.make_tensor_value_info(LABEL, TensorProto.STRING, ["batch"]),
        ]


def assemble(
    members: Sequence[tuple[Encoding, ModelProto, float]], names: Mapping[str, str], answers: Answers
) -> ModelProto:
    """The weighted mean of the models' scores as one graph, and what `answers` makes of it; the weights' sum is 1."""
    to, scores, domains, functions = Builder("model"), [], {"": OPSET, "ai.onnx.ml": OPSET_ML}, []
    for number, (encoding, model, weight) in enumerate(members):
        matrix = encode(encoding, names, to)
        inner = onnx.compose.add_prefix(model, f"model_{number}/")
        (put,), (got,) = inner.graph.input, inner.graph.output
        for node in inner.graph.node:
            for place, name in enumerate(node.input):
                if name == put.name:
                    node.input[place] = matrix
        to.nodes += inner.graph.node
        to.constants += inner.graph.initializer
        functions += inner.functions
        domains |= {each.domain: max(each.version, domains.get(each.domain, 0)) for each in inner.opset_import}
        scores.append(to.add("Mul", got.name, to.constant(np.array(weight, np.float32))))
    outputs = answers.add(to, to.add("Sum", *scores))
    graph = helper.make_graph(
        to.nodes,
        "foldline",
        inputs(members[0][0], names),
        outputs,
        to.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions)
    onnx.checker.check_model(whole, full_check=True)
    return whole
