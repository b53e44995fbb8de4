"""A trained model as one ONNX file: raw columns in, answers in the target's unit out."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.extras import explain, extras
from models.words import NO_WORDS, Words

OPSET, OPSET_ML = 20, 4
OUTPUT = "future"


class Average(nn.Module):
    """The mean answer of several models, each with its own preprocessing: fold models as one graph."""

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, **inputs: Tensor) -> Tensor:
        return torch.stack([model(**inputs) for model in self.models]).mean(dim=0)

    @property
    def extras(self) -> dict[str, str]:
        """Of all: a network without constant inputs, because its fold chose none, does not weigh them."""
        return {name: what for model in self.models for name, what in extras(model).items()}

    def explain(self, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        answers, told = zip(*(explain(model, **inputs) for model in self.models), strict=True)
        means = {name: torch.stack([e[name] for e in told if name in e]).mean(dim=0) for name in self.extras}
        return torch.stack(answers).mean(dim=0), means


class _Graph(nn.Module):
    """A model as the exporter wants it: the answer, and behind it what the model tells besides."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        answer, told = explain(self.model, **inputs)
        return (answer, *(told[name] for name in extras(self.model)))


def export_onnx(
    model: nn.Module, path: Path, inputs: Mapping[str, Tensor], *, metadata: Mapping[str, str], words: Words = NO_WORDS
) -> None:
    """Write `model` to `path` as a single file, checked with the ONNX checker.

    Input  "past"    (batch, L, F) float32, raw, oldest step first, NaN = missing, and whatever else `inputs` names
    Output "future"  (batch, H, K) float32, in the targets' units, and one for each of the model's extras

    `inputs` are an example of any batch: their shapes, but for the batch, are the graph's. `words` are the vocabularies
    of the last columns of the model's "past"; in the graph each of them is an input of strings, (batch, L), instead.
    `metadata` goes into the file. The model is exported on the CPU, in evaluation mode.
    """
    graph = export_module(_Graph(model), inputs, [OUTPUT, *extras(model)])
    if words:
        graph = _reading_words(graph, words)
    onnx.helper.set_model_props(graph, dict(metadata))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save_model(graph, str(path))


def export_module(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """The graph of a module that takes one mapping of tensors, of any batch, and returns as many as `outputs` names.

    It is exported on the CPU, in evaluation mode, and left as it was.
    """
    module = copy.deepcopy(module).cpu().eval()
    # Two rows: the exporter takes a batch of one for a constant.
    example = {name: torch.zeros(2, *each.shape[1:], dtype=each.dtype) for name, each in inputs.items()}
    batch = torch.export.Dim("batch", min=1)
    # The exporter prints its progress and warns about its own internals.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            kwargs={"inputs": example},  # a mapping at the end of args would be taken for keywords
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes={"inputs": {name: {0: batch} for name in example}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # paths and line numbers of this machine
        node.doc_string = ""
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer]:
        del value.metadata_props[:]
    graph.doc_string = ""
    return graph


def _reading_words(model: onnx.ModelProto, words: Words) -> onnx.ModelProto:
    """The graph with inputs of strings, looked up in front of it, in place of the last columns of "past"."""
    # So that no value inside has the name of a column.
    model = onnx.compose.add_prefix(model, "model/", rename_inputs=False, rename_outputs=False)
    graph = model.graph
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == "past":
                node.input[i] = "model/past"
    (past,) = [each for each in graph.input if each.name == "past"]
    batch, steps, width = past.type.tensor_type.shape.dim
    width.dim_value -= len(words)
    shape, front = [batch.dim_param, steps.dim_value], []
    for name, vocabulary in words.items():
        graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, shape))
        front += [
            onnx.helper.make_node(
                "LabelEncoder",
                [name],
                [f"model/{name}/code"],
                domain="ai.onnx.ml",
                keys_strings=vocabulary,
                values_floats=[float(code) for code in range(1, len(vocabulary) + 1)],
                default_float=0.0,
            ),
            onnx.helper.make_node("Unsqueeze", [f"model/{name}/code", "model/last_axis"], [f"model/{name}/column"]),
        ]
    columns = ["past", *(f"model/{name}/column" for name in words)]
    front.append(onnx.helper.make_node("Concat", columns, ["model/past"], axis=2))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "model/last_axis"))
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", OPSET_ML))
    return model


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
