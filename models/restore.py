"""A trained model as arrays and a description, and back: how a bundle keeps what PyTorch needs, without pickle."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.export import Average
from models.features import Features
from models.heads import Heads
from models.layout import Layout
from models.preprocess import Forecaster
from models.scaling import Statistics

Arrays = Mapping[str, NDArray[Any]]


def describe(model: nn.Module) -> list[dict[str, Any]]:
    """What `restore` makes a `Forecaster` of, or the several of an `Average`, in values that JSON can hold."""
    return [_describe(each) for each in _members(model)]


def weights(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Every weight and buffer by name, as arrays."""
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}


def restore(descriptions: Sequence[Mapping[str, Any]], arrays: Arrays) -> nn.Module:
    """The model that `describe` and `weights` were taken of, in evaluation mode.

    ValueError, KeyError, TypeError or RuntimeError where the two do not fit each other.
    """
    several = len(descriptions) > 1 or any(name.startswith("models.") for name in arrays)
    models = []
    for i, description in enumerate(descriptions):
        prefix = f"models.{i}." if several else ""
        own = {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}
        models.append(_restore(description, own))
    return (Average(models) if several else models[0]).eval()


def _members(model: nn.Module) -> list[Forecaster]:
    found = list(model.models) if isinstance(model, Average) else [model]
    if not all(isinstance(each, Forecaster) for each in found):
        raise TypeError(f"a Forecaster or an Average of them can be described, got {type(model).__name__}")
    return found  # type: ignore[return-value]


def _describe(model: Forecaster) -> dict[str, Any]:
    config: Any = model.network.config
    return {
        "family": type(model.network).__module__.rpartition(".")[2],
        "config": asdict(config),
        "n_targets": model.n_targets,
        "normalisation": model.normalisation,
        "features": asdict(model.features),
        "layout": asdict(model.layout),
        "heads": asdict(model.heads),
        "reads_ahead": model.correction is None,
    }


def _restore(said: Mapping[str, Any], arrays: Arrays) -> Forecaster:
    module = importlib.import_module(f"models.{said['family']}")
    n_words = len(said["layout"]["words"])
    model = Forecaster(
        module.Model(_made(module.Config, said["config"])),
        Statistics(
            mean=arrays["mean"].astype(np.float64),
            std=arrays["std"].astype(np.float64),
            flagged=tuple(int(i) for i in arrays["flagged"]),
            feature_mean=arrays["feature_mean"].astype(np.float64),
            feature_std=arrays["feature_std"].astype(np.float64),
            seen=tuple(arrays[f"embeddings.{i}.seen"].astype(bool) for i in range(n_words)),
        ),
        said["n_targets"],
        said["normalisation"],
        _made(Features, said["features"]),
        _made(Layout, said["layout"]),
        heads=_made(Heads, said["heads"]),
        visible=arrays["visible"].tolist() if "visible" in arrays else None,
        reads_ahead=said["reads_ahead"],
    )
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    """A frozen configuration from what JSON made of it: its lists are tuples."""
    known = {each.name for each in fields(kind)}
    return kind(**{name: _tuples(value) for name, value in values.items() if name in known})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
