"""A bundle's model in PyTorch, for what the graph cannot do: answers with its dropout on.

predictor = TorchPredictor("runs/sales/bundles/lstm")
low, high = predictor.interval(past)                 # where the middle 90% of 100 answers lie
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.predictor import BundleError, check_answers_value, feed, verify
from models.restore import restore
from models.uncertainty import LEVEL, has_dropout, interval, sample
from models.words import encode


class TorchPredictor:
    """A bundle, verified, with its weights back in PyTorch. Only families that this code knows can be opened."""

    def __init__(self, bundle: str | Path) -> None:
        self.card = verify(Path(bundle))
        try:
            with np.load(Path(bundle) / "weights.npz", allow_pickle=False) as arrays:
                self.model = restore(self.card["model"], {name: arrays[name] for name in arrays.files})
        except (OSError, LookupError, AttributeError, TypeError, ValueError, RuntimeError, ImportError) as error:
            raise BundleError(f"{bundle}: its weights do not fit its card ({' '.join(str(error).split())})") from error
        self.inputs: dict[str, dict[str, Any]] = {each["name"]: each for each in self.card["inputs"]}
        self.words = {name: tuple(each["words"]) for name, each in self.inputs.items() if each["dtype"] == "string"}

    def predict(self, past: NDArray[np.floating[Any]], **others: NDArray[Any]) -> NDArray[np.float32]:
        """What `models.predictor.Predictor.predict` answers, by PyTorch: (batch, H, K), in the targets' units. It takes
        and refuses the same."""
        check_answers_value(self.card)
        with torch.inference_mode():
            answers: NDArray[np.float32] = self.model(**self._tensors(past, others)).numpy()
        return answers

    def sample(
        self, past: NDArray[np.floating[Any]], samples: int = 100, *, seed: int = 0, **others: NDArray[Any]
    ) -> NDArray[np.float32]:
        """(samples, batch, H, K): answers with dropout on; ValueError for a model that has none, or as in `predict`."""
        check_answers_value(self.card)
        if not has_dropout(self.model):
            raise ValueError(f"{self.card['family']} was trained without dropout, so its answers do not scatter")
        return sample(self.model, self._tensors(past, others), samples, seed=seed)

    def interval(
        self,
        past: NDArray[np.floating[Any]],
        level: float = LEVEL,
        samples: int = 100,
        *,
        seed: int = 0,
        **others: NDArray[Any],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The bounds (batch, H, K) of the middle share `level` of the samples. The card's "dropout" says how much of
        the holdout such bounds covered: as a rule, far less than they should."""
        return interval(self.sample(past, samples, seed=seed, **others), level)

    def _tensors(self, past: NDArray[Any], others: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
        given = encode(feed(self.inputs, past, others), self.words)
        return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in given.items()}
