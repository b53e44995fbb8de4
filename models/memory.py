"""How much memory the training of one trial takes, worked out from a forward pass of 8 windows and of 16.

What autograd keeps for the backward pass grows with the batch, so two small batches tell of any other. The rest is
counted: weights, gradients, the optimiser's moments and the best weights of every fold, and the folds' predictions.
"""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from models import training
from models.batches import Inputs
from models.crossval import Problem, build, example, fit_statistics
from models.in_step import Params
from models.preprocess import Forecaster

_COPIES = 9  # of a fold's weights: themselves, gradients, two moments, the best; four more in a state on its way
_BATCHES = (8, 16)  # of fewer windows, some kernels keep more than their share
_WORKSPACE = 2.0  # what a backward pass holds besides: gradients of what was kept, and temporaries
_SCORING = 6  # arrays as large as a fold's predictions: truth, answers, their parts, differences (float64 counts twice)


def trial_bytes(problem: Problem, name: str, params: Params, *, on_device: bool = False) -> int:
    """Bytes of main memory that a trial of family `name` needs besides its process; `params` are nested.

    With `on_device` the network lies on an accelerator, and only what is brought back counts.
    """
    fit = training.Config(**params["fit"])
    a_window = 4 * len(problem.steps) * problem.table.n_targets * problem.heads.n_outputs
    scoring = a_window * max(len(fold.valid) for fold in problem.split.folds)
    model = build(problem, name, params, fit_statistics(problem, problem.split.final))
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    held = _COPIES * len(problem.split.folds) * weights + _SCORING * scoring + len(problem.split.folds) * scoring
    if on_device:
        return held
    lookback = params["window"]["lookback"]
    few, more = (kept_bytes(model, example(problem, lookback, n)) for n in _BATCHES)
    each = max(0, more - few) / (_BATCHES[1] - _BATCHES[0])
    largest = max(fit.batch_size, training.EVAL_BATCH // 4)  # nothing is kept when answering, a layer's output is
    return held + int(_WORKSPACE * (more + (largest - _BATCHES[1]) * each))


def kept_bytes(model: Forecaster, inputs: Inputs) -> int:
    """Bytes that autograd keeps of one forward pass, each storage counted once and the weights not at all."""
    kept: dict[int, int] = {}
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    holding: list[Tensor] = []  # so that no address is used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            holding.append(tensor)
        return tensor

    model.train()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model.scaled(**inputs)
    return sum(kept.values())
