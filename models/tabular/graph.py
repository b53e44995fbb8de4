"""From raw columns to a model's answer as one graph: what stands in front of a model, and what comes behind it.

    a graph of a model     "matrix" (batch, D) float32, as `Encoding.matrix` gives it  ->  "scores" (batch, C) float32:
                           probabilities of C classes, or (batch, 1) the value
    the whole              an input for each column, (batch,): float32, NaN = missing; strings, "" = missing; int64
                           seconds since 1970, MISSING_TIME = missing

The scores of several models, each with an encoding of its own, are averaged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from data.calendar import DAY
from data.times import MISSING_TIME
from models.tabular.encoding import Encoding, TimeCode, WordCode

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


def encode(encoding: Encoding, names: dict[str, str], to: Builder) -> str:
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


def assemble(
    members: Sequence[tuple[Encoding, ModelProto]], names: dict[str, str], *, output: str, n_scores: int
) -> ModelProto:
    """The mean of the models' scores as one graph, under the name `output`: (batch, n_scores) float32."""
    first = members[0][0]
    kinds = dict.fromkeys(first.numbers, TensorProto.FLOAT)
    kinds |= {word.name: TensorProto.STRING for word in first.words}
    kinds |= {time.name: TensorProto.INT64 for time in first.times}
    to, scores, domains, functions = Builder("model"), [], {"": OPSET, "ai.onnx.ml": OPSET_ML}, []
    for number, (encoding, model) in enumerate(members):
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
        scores.append(got.name)
    to.add("Mean", *scores, name=output)
    graph = helper.make_graph(
        to.nodes,
        "foldline",
        [helper.make_tensor_value_info(names[name], kinds[name], ["batch"]) for name in kinds],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", n_scores])],
        to.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions)
    onnx.checker.check_model(whole, full_check=True)
    return whole
