"""Two workers train and predict as one does; a batch is dealt to all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models import parallel
from models.training import predict
from search_spaces import FAMILIES
from tests.builders import equal, make_model, make_params, make_problem, make_training, some_windows, weights

BATCH, N_TRAIN = 8, 33  # the last batch is one window: it leaves one of two workers without
N_PREDICT = (0, 1, 2, 19)


def answered(model, problem, n):
    return predict(model, some_windows(problem, origins=slice(0, n)))["future"]


def two_epochs(family, loss):
    """What is trained alone, and by two: the loop, which is the same code in both."""
    problem = make_problem()
    still = {"model__dropout": 0.0} if "dropout" in make_params(family)["model"] else {}
    model = make_model(family, problem, random_weights=True, **still)
    windows = some_windows(problem, origins=slice(0, N_TRAIN))
    valid = some_windows(problem, origins=slice(-7, None))
    truth = valid.truth()
    loop = make_training(
        model,
        windows,
        valid,
        metric=lambda p: float(np.abs(p["future"] - truth).mean()),
        batch_size=BATCH,
        loss=loss,
        lr=0.01,
    )
    epochs = [(e.train_loss, e.valid, e.best_number) for e in loop.epochs()]
    predictions = {n: torch.from_numpy(answered(model, problem, n)) for n in N_PREDICT}
    return {"weights": weights(model), "epochs": epochs, "predictions": predictions}


CASES = [(family, "mse") for family in FAMILIES] + [("linear", "mae"), ("linear", "huber")]


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save([two_epochs(*case) for case in CASES], Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What each of two workers has after the same epochs, by rank and case."""
    folder = tmp_path_factory.mktemp("pair")
    mp.spawn(one_of_two, args=(str(folder),), nprocs=2)
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return [dict(zip(CASES, each, strict=True)) for each in found]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_workers_take_the_steps_of_one(pair, case):
    alone, (first, second) = two_epochs(*case), (each[case] for each in pair)
    assert equal(first["weights"], second["weights"])
    for name, value in alone["weights"].items():
        # Adam divides by the gradient's size, so that rounding in a gradient near 0 shows in the weight.
        torch.testing.assert_close(first["weights"][name].double(), value.double(), rtol=1e-4, atol=1e-4)
    for one, other in zip(first["epochs"], alone["epochs"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert first["epochs"] == second["epochs"]


@pytest.mark.parametrize("n", N_PREDICT)
def test_two_workers_predict_what_one_does(pair, n):
    for case in CASES:
        first, second = (each[case]["predictions"][n] for each in pair)
        assert first.shape == (n, 3, 1) and torch.equal(first, second)
        problem = make_problem()
        model = make_model(case[0], problem, random_weights=True)
        model.load_state_dict(pair[0][case]["weights"])
        alone = answered(model, problem, n)
        torch.testing.assert_close(first, torch.from_numpy(alone), rtol=1e-6, atol=1e-4)


# Windows 10 .. 16 dealt to ranks in turn; a window counts 1 / 7, and the mean over ranks divides by their number.
@pytest.mark.parametrize(
    ("world", "rank", "batch", "mine", "weight"),
    [
        (2, 0, range(10, 17), [10, 12, 14, 16], 4 * 2 / 7),
        (2, 1, range(10, 17), [11, 13, 15], 3 * 2 / 7),
        (3, 2, range(10, 17), [12, 15], 2 * 3 / 7),
        (2, 0, range(10, 11), [10], 2.0),
        (2, 1, range(10, 11), [10], 0.0),  # nothing left: it takes the step with a window that does not count
        (1, 0, range(10, 17), [*range(10, 17)], 1.0),
    ],
)
def test_a_batch_is_dealt_to_the_ranks(monkeypatch, world, rank, batch, mine, weight):
    monkeypatch.setattr(parallel, "world", lambda: world)
    monkeypatch.setattr(parallel, "rank", lambda: rank)
    share, part = parallel.share(torch.tensor(list(batch)))
    assert share.tolist() == mine and part == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(("world", "n"), [(1, 5), (2, 5), (2, 1), (3, 7), (4, 2), (3, 0)])
def test_the_slices_of_all_ranks_are_everything_once(monkeypatch, world, n):
    monkeypatch.setattr(parallel, "world", lambda: world)
    taken = []
    for rank in range(world):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        taken += range(n)[parallel.my_slice(n)]
    assert taken == list(range(n))
