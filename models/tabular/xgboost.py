"""XGBoost's boosted trees (Chen & Guestrin 2016, arxiv.org/abs/1603.02754), level by level, with second derivatives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from models.tabular._boosting import ROUNDS, Boosted
from models.tabular.trees import Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    lr: float = 0.05
    depth: int = 6
    min_weight: float = 1.0  # of second derivatives in a leaf
    columns: float = 0.8  # share that a tree sees
    rows: float = 1.0  # share that a tree sees
    l1: float = 0.0
    l2: float = 1.0
    gamma: float = 0.0  # the least that a split must gain
    max_bin: int = 256
    crossed: int = 0  # of the strongest amounts, 2 or more, whose pairs are columns too


class Learner(Boosted):
    strict = True

    def _data(self, matrix: NDArray[np.float32]) -> xgboost.QuantileDMatrix:
        return xgboost.QuantileDMatrix(
            matrix,
            self.shape.scaled(self.train),
            weight=self.train.weight,
            nthread=self.threads,
            max_bin=self.config.max_bin,
        )

    def _grown(self, seed: int) -> xgboost.Booster:
        sums = self.sums[:, 0] if self.sums.shape[1] == 1 else self.sums
        self.data.set_base_margin(sums.astype(np.float32))
        booster = xgboost.Booster({**self._params(), "seed": seed}, [self.data])
        for number in range(ROUNDS):
            booster.update(self.data, number)
        return booster

    def _of_text(self, text: str) -> xgboost.Booster:
        booster = xgboost.Booster({"nthread": self.threads})
        booster.load_model(bytearray(text, "utf8"))
        return booster

    def _text(self, booster: xgboost.Booster) -> str:
        return bytes(booster.save_raw("json")).decode()

    def _raw(self, booster: xgboost.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        zeros = np.zeros((len(matrix), len(self.base)), np.float32)
        found = booster.inplace_predict(matrix, predict_type="margin", base_margin=zeros, missing=np.nan)
        return np.asarray(found, np.float64).reshape(len(matrix), -1)

    def _gains(self, booster: xgboost.Booster) -> NDArray[np.float64]:
        found = np.zeros(booster.num_features())
        for name, gain in booster.get_score(importance_type="total_gain").items():
            found[int(name.removeprefix("f"))] = gain  # columns have no names of their own
        return found

    def _trees(self, booster: xgboost.Booster) -> list[Tree]:
        model = json.loads(self._text(booster))["learner"]["gradient_booster"]["model"]
        return [_tree(tree, score) for tree, score in zip(model["trees"], model["tree_info"], strict=True)]

    def _params(self) -> dict[str, Any]:
        config, shape = self.config, self.shape
        objective = {"none": "reg:squarederror", "logistic": "binary:logistic", "softmax": "multi:softprob"}[shape.link]
        return {
            "objective": objective,
            **({"num_class": shape.n_classes} if shape.link == "softmax" else {}),
            "base_score": 0.5 if shape.n_classes else 0.0,
            "eta": config.lr,
            "max_depth": config.depth,
            "min_child_weight": config.min_weight,
            "colsample_bytree": config.columns,
            "subsample": config.rows,
            "alpha": config.l1,
            "lambda": config.l2,
            "gamma": config.gamma,
            "max_bin": config.max_bin,
            "tree_method": "hist",
            "nthread": self.threads,
            "seed_per_iteration": True,
            "verbosity": 0,
        }


def _tree(tree: dict[str, Any], score: int) -> Tree:
    left = np.array(tree["left_children"], np.int64)
    inner = left >= 0
    # Its thresholds are float32, written with few digits.
    conditions = np.array(tree["split_conditions"], np.float32).astype(np.float64)
    return Tree(
        feature=np.where(inner, np.array(tree["split_indices"], np.int64), -1),
        threshold=conditions,
        true=left,
        false=np.array(tree["right_children"], np.int64),
        missing_true=np.array(tree["default_left"], bool),
        value=np.where(inner, 0.0, conditions)[:, None],
        scores=np.array([score], np.int64),
    )
