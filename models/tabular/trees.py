"""Grown trees as a graph: what LightGBM, XGBoost and scikit-learn's forests are turned into, by one way for all.

A tree is a table of nodes. An inner node sends a row to its `true` child where matrix[:, feature] <= threshold (or <,
where `strict`), and where that number is missing as `missing_true` says; a leaf adds `value` to one of the scores.
Thresholds and sums are float64, as in the libraries, so that no row changes sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models.tabular.graph import IR_VERSION, MATRIX, OPSET, OPSET_ML, SCORES, Builder

MOST_NODES = 8_000_000  # of a model: a node takes 40 bytes of a file, which may have 2 GB, and 500 while it is written


class TooManyNodesError(ValueError):
    """A model's trees are too large for a graph."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """n nodes, the first the root; children are places in these arrays. All (n,)."""

    feature: NDArray[np.int64]  # -1 = a leaf
    threshold: NDArray[np.float64]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missing_true: NDArray[np.bool_]
    value: NDArray[np.float64]  # (n, S) of leaves, for each score that the tree adds to
    scores: NDArray[np.int64]  # (S,) which


def to_onnx(
    trees: Sequence[Tree],
    base: NDArray[np.float64],
    *,
    width: int,
    link: str,
    strict: bool = False,
    factor: float = 1.0,
    seen: Callable[[Builder, str], str] = lambda to, matrix: matrix,
) -> ModelProto:
    """The graph of `base` (S,) plus the sum of the trees, of a matrix of `width` columns.

    `link` makes scores of the sums: "none"; "logistic", two classes of one sum; "softmax". The trees' part of them is
    multiplied by `factor` first, and `seen` makes what they see of the matrix. TooManyNodesError where no file, or no
    memory, would hold them.
    """
    _check_size(trees)
    to, n = Builder("trees"), len(base)
    exact = to.add("Cast", seen(to, MATRIX), to=TensorProto.DOUBLE)
    sums = to.add("TreeEnsembleRegressor", exact, domain="ai.onnx.ml", n_targets=n, **_attributes(trees, strict))
    sums = to.add("Cast", sums, to=TensorProto.DOUBLE)
    sums = to.add("Add", to.add("Mul", sums, to.constant(np.array(factor))), to.constant(base[None]))
    if link == "logistic":
        up = to.add("Sigmoid", sums)
        sums = to.add("Concat", to.add("Sub", to.constant(np.array(1.0)), up), up, axis=1)
    elif link == "softmax":
        sums = to.add("Softmax", sums, axis=1)
    to.add("Cast", sums, to=TensorProto.FLOAT, name=SCORES)
    n_scores = 2 if link == "logistic" else n
    graph = helper.make_graph(
        to.nodes,
        "trees",
        [helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["batch", n_scores])],
        to.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _check_size(trees: Sequence[Tree]) -> None:
    nodes = sum(len(tree.feature) for tree in trees)
    if nodes > MOST_NODES:
        raise TooManyNodesError(
            f"its trees have {nodes:,} nodes, at most {MOST_NODES:,} of a model go into one ONNX file; search "
            f"with fewer epochs, or larger leaves"
        )


def _attributes(trees: Sequence[Tree], strict: bool) -> dict[str, Any]:
    sizes = [len(tree.feature) for tree in trees]
    number = np.repeat(np.arange(len(trees)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    feature, threshold, true, false, missing = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("feature", "threshold", "true", "false", "missing_true")
    )
    inner = feature >= 0
    leaves, scores, weights = [], [], []
    for which, tree in enumerate(trees):
        for leaf in np.flatnonzero(tree.feature < 0):
            for score, value in zip(tree.scores, tree.value[leaf], strict=True):
                leaves.append((which, leaf))
                scores.append(int(score))
                weights.append(float(value))
    owners = np.array(leaves, np.int64).reshape(-1, 2)
    mode = "BRANCH_LT" if strict else "BRANCH_LEQ"
    return {
        "nodes_treeids": number.tolist(),
        "nodes_nodeids": place.tolist(),
        "nodes_featureids": np.where(inner, feature, 0).tolist(),
        "nodes_modes": [mode if each else "LEAF" for each in inner],
        "nodes_values_as_tensor": numpy_helper.from_array(np.where(inner, threshold, 0.0).astype(np.float64)),
        "nodes_truenodeids": np.where(inner, true, 0).tolist(),
        "nodes_falsenodeids": np.where(inner, false, 0).tolist(),
        "nodes_missing_value_tracks_true": missing.astype(np.int64).tolist(),
        "target_treeids": owners[:, 0].tolist(),
        "target_nodeids": owners[:, 1].tolist(),
        "target_ids": scores,
        "target_weights_as_tensor": numpy_helper.from_array(np.array(weights, np.float64)),
    }
