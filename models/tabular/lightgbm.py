"""LightGBM's boosted trees (Ke et al. 2017, papers.nips.cc/paper/6907), leaf by leaf: the strong default for tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.tabular import workers
from models.tabular._boosting import ROUNDS, Boosted
from models.tabular.trees import Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    lr: float = 0.05
    leaves: int = 31
    min_leaf: int = 20  # rows
    columns: float = 0.8  # share that a tree sees
    rows: float = 1.0  # share that a tree sees
    l1: float = 0.0
    l2: float = 0.0
    max_bin: int = 255
    crossed: int = 0  # of the strongest amounts, 2 or more, whose pairs are columns too


class Learner(Boosted):
    def _data(self, matrix: NDArray[np.float32]) -> lightgbm.Dataset:
        config = self.config
        return lightgbm.Dataset(
            matrix,
            self.shape.scaled(self.train),
            weight=self.train.weight,
            params={"max_bin": config.max_bin, "verbose": -1, "num_threads": self.threads, "feature_pre_filter": False},
            free_raw_data=False,
        )

    def _grown(self, seed: int) -> lightgbm.Booster:
        self.data.set_init_score(self.sums.ravel(order="F"))
        booster = lightgbm.Booster(self._params(seed), self.data)
        for _ in range(ROUNDS):
            booster.update()
        return booster

    def _of_text(self, text: str) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=text)

    def _text(self, booster: lightgbm.Booster) -> str:
        return str(booster.model_to_string())

    def _raw(self, booster: lightgbm.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        found = np.asarray(booster.predict(matrix, raw_score=True, num_threads=self.threads), np.float64)
        return found.reshape(len(matrix), -1)

    def _gains(self, booster: lightgbm.Booster) -> NDArray[np.float64]:
        return np.asarray(booster.feature_importance("gain"), np.float64)

    def _trees(self, booster: lightgbm.Booster) -> list[Tree]:
        return [_tree(info, len(self.base)) for info in booster.dump_model()["tree_info"]]

    def _params(self, seed: int) -> dict[str, Any]:
        config, shape = self.config, self.shape
        objective = {"none": "regression", "logistic": "binary", "softmax": "multiclass"}[shape.link]
        return {
            "objective": objective,
            **({"num_class": shape.n_classes} if shape.link == "softmax" else {}),
            "learning_rate": config.lr,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_leaf,
            "feature_fraction": config.columns,
            "bagging_fraction": config.rows,
            "bagging_freq": int(config.rows < 1),
            "lambda_l1": config.l1,
            "lambda_l2": config.l2,
            "max_bin": config.max_bin,
            "feature_pre_filter": False,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads,
            "verbose": -1,
            **({"tree_learner": "data", "num_machines": workers.size()} if workers.size() > 1 else {}),
        }


def _tree(info: dict[str, Any], n_sums: int) -> Tree:
    nodes: list[dict[str, Any]] = []

    def walk(node: dict[str, Any]) -> int:
        place = len(nodes)
        nodes.append(node)
        if "split_feature" in node:
            node["true"], node["false"] = walk(node["left_child"]), walk(node["right_child"])
        return place

    walk(info["tree_structure"])
    inner = [("split_feature" in node) for node in nodes]

    def each(name: str, leaf: float) -> list[Any]:
        return [node[name] if is_inner else leaf for node, is_inner in zip(nodes, inner, strict=True)]

    return Tree(
        feature=np.array(each("split_feature", -1), np.int64),
        threshold=np.array(each("threshold", 0.0), np.float64),
        true=np.array(each("true", 0), np.int64),
        false=np.array(each("false", 0), np.int64),
        missing_true=np.array([is_inner and _missing_left(n) for n, is_inner in zip(nodes, inner, strict=True)]),
        value=np.array([[0.0 if is_inner else n["leaf_value"]] for n, is_inner in zip(nodes, inner, strict=True)]),
        scores=np.array([info["tree_index"] % n_sums], np.int64),
    )


def _missing_left(node: dict[str, Any]) -> bool:
    """A column in which the train rows miss nothing takes a missing number for 0."""
    if node["missing_type"] == "None":
        return bool(node["threshold"] >= 0)
    return bool(node["default_left"])
