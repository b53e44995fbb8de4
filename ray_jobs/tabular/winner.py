"""The best trial of each sweep of rows, made whole: out-of-fold scores, calibration, bundles; and what they are worth
together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console

from models.tabular import clustering, ensemble, importance, threshold
from models.tabular.blend import Blend, Member
from models.tabular.bundle import write_bundle
from models.tabular.calibration import NONE, calibrate
from models.tabular.crossval import FoldLearner, RowProblem, family, refit
from models.tabular.graph import column_names
from models.tabular.metrics import METRICS, Scores, score
from models.tabular.outputs import OUTPUTS
from models.tabular.trees import TooManyNodesError
from models.tabular.validation import answered, prove
from models.validation import Proof
from ray_jobs.cluster import versions
from ray_jobs.display import busy
from ray_jobs.kind import NoWinnerError, ProofError
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.ship import first_failure, git_commit
from ray_jobs.study import StudyBook, ending, epochs, spread
from ray_jobs.sweep import Swept
from ray_jobs.tabular import gates
from ray_jobs.tabular.gates import Verdict
from ray_jobs.winner import restore, why_none
from search_spaces import at_edge, unflatten

ENSEMBLE = "ensemble"


@dataclass(frozen=True, kw_only=True, eq=False)
class Finalist:
    """The best trial of a family's sweep, or several families together."""

    family: str
    trial: int | None
    value: float
    std: float
    folds: list[float]
    epochs: int | None
    params: dict[str, Any]  # flat; of an ensemble the weight of each family
    members: tuple[Member, ...]
    out_of_fold: Scores  # (N, C) of the rows of all folds, one fold after the other, not calibrated
    kind: str  # "average", "refit" or "ensemble"
    on_bounds: list[str]
    costs: dict[str, list[float]]  # column -> of each fold, what its loss costs
    gains: dict[str, list[float]] | None  # column -> of each fold, what its models say
    stability: float | None = None  # of a clustering: how far its folds' models agree about the holdout

    def as_dict(self) -> dict[str, Any]:
        names = ("family", "trial", "value", "std", "folds", "epochs", "params", "kind")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shipped:
    proof: Proof
    scores: Scores  # of the holdout, from the file
    holdout: dict[str, float]
    blend: Blend
    verdicts: list[Verdict]


@dataclass(frozen=True, kw_only=True, eq=False)
class Winner:
    """A finalist whose models have been proven, and have left as a bundle."""

    finalist: Finalist
    shipped: Shipped


def judged_rows(problem: RowProblem) -> NDArray[np.int64]:
    """The rows of all folds, one fold after the other."""
    return np.concatenate([fold.valid for fold in problem.folds])


def finalist(settings: Config, problem: RowProblem, book: StudyBook, swept: Swept) -> Finalist:
    """The best trial of a study, its fold models brought back and their predictions made; NoWinnerError."""
    best = book.best()
    if best is None:
        raise NoWinnerError(why_none(settings, book))
    params: dict[str, Any] = ending(best)["params"]
    whole = unflatten({**params, "fit.max_epochs": settings.search.max_epochs})
    cv = problem.cross_validation(book.family, whole, trial=best.number)
    restore(cv, swept.states(best.number), epochs(best), settings.resources.cpus_per_trial)
    last = epochs(best)[-1]
    folds = [float(value) for value in last["folds"]]
    out_of_fold = np.concatenate(cv.predict_folds())
    learners: list[FoldLearner] = cv.trainings
    n_epochs = max(1, round(float(np.median(last["best_epochs"]))))
    averaged = settings.export.winner == "average"
    if settings.export.winner == "auto":  # in the order of time the early folds have seen too little
        averaged = problem.scheme != "walk_forward" and problem.table.target is not None
    shipped = learners if averaged else [refit(problem, book.family, whole, trial=best.number, epochs=n_epochs)]
    return Finalist(
        family=book.family,
        trial=best.number,
        value=float(ending(best)["value"]),
        std=spread(folds),
        folds=folds,
        epochs=n_epochs,
        params=params,
        members=tuple(
            Member(encoding=each.shape.encoding, learner=each.learner, weight=1 / len(shipped)) for each in shipped
        ),
        out_of_fold=out_of_fold,
        kind="average" if averaged else "refit",
        on_bounds=at_edge(params, book.ranges),
        costs={} if problem.table.target is None else importance.permutation(problem, learners, seed=problem.seed),
        gains=importance.own(learners),
        stability=_stability(problem, learners) if problem.table.target is None else None,
    )


def _stability(problem: RowProblem, learners: Sequence[FoldLearner]) -> float:
    table, held = problem.table, problem.final.valid
    codes = [each.learner.predict(each.shape.encoding.matrix(table, held))[:, 0].astype(np.int64) for each in learners]
    return clustering.stability(codes)


def winners(
    settings: Config, problem: RowProblem, finalists: Sequence[Finalist], run: RunFolder, out: Console
) -> tuple[list[Winner], dict[str, str]]:
    """Each finalist, and where they are better together their ensemble, proven and written; of one that failed its
    proof, why."""
    alone = len(finalists) == 1 or problem.table.target is None  # clusters of two families are no numbers to weigh
    together = None if alone else _ensemble(problem, finalists)
    crowned, without = [], {}
    for best in [*finalists, *([together] if together else [])]:
        with busy(out, f"{best.family}: calibrating, exporting and proving it"):
            try:
                crowned.append(crown(settings, problem, best, run))
            except ProofError as error:
                without[best.family] = str(error)
    if not crowned:
        raise ProofError("; ".join(without.values()))
    return crowned, without


def _ensemble(problem: RowProblem, finalists: Sequence[Finalist]) -> Finalist | None:
    """The finalists weighted; None where one alone does best on out-of-fold rows."""
    rows = [fold.valid for fold in problem.folds]
    members = [each.out_of_fold for each in finalists]
    shares = ensemble.weights(problem.table, rows, members, problem.metric)
    folds = ensemble.judged(problem.table, rows, members, problem.metric)
    sign = 1.0 if problem.minimise else -1.0
    if max(shares) == 1.0 or sign * float(np.mean(folds)) >= min(sign * each.value for each in finalists):
        return None
    scores = np.sum([share * each for share, each in zip(shares, members, strict=True)], axis=0)
    chosen = [(share, each) for share, each in zip(shares, finalists, strict=True) if share > 0]
    return Finalist(
        family=ENSEMBLE,
        trial=None,
        value=float(np.mean(folds)),
        std=spread(folds),
        folds=folds,
        epochs=None,
        params={f"weight.{each.family}": share for share, each in chosen},
        members=tuple(
            replace(member, weight=member.weight * share) for share, each in chosen for member in each.members
        ),
        out_of_fold=scores,
        kind="ensemble",
        on_bounds=[],
        costs={},
        gains=None,
    )


def crown(settings: Config, problem: RowProblem, best: Finalist, run: RunFolder) -> Winner:
    """The finalist calibrated on out-of-fold rows, proven and written; ProofError."""
    table, final = problem.table, problem.final
    blend = _calibrated(settings, problem, best)
    names = column_names(table.columns, OUTPUTS)
    spread_of = problem.rows(final)[1].target.astype(np.float64)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        try:
            onnx.save(blend.graph(names), graph)
        except TooManyNodesError as error:
            raise ProofError(f"{best.family}: {error}") from None
        proof = prove(
            blend,
            graph,
            table,
            final.valid,
            names,
            mean=float(spread_of.mean()),
            std=float(spread_of.std()) or 1.0,
            tolerance=settings.export.tolerance,
        )
        if not proof.passed:
            unit = "of probability" if table.classes else "standard deviations"
            raise ProofError(first_failure(proof, best.family, against="its models", unit=unit))
        scores = answered(graph, table, final.valid, names)
        if table.target is None:
            holdout = _judged_clusters(problem, best, scores[:, 0].astype(np.int64))
        else:
            holdout = score(table, final.valid, scores, threshold=blend.threshold)
        figures = gates.figures(holdout, best.value, best.std, proof.costs)
        verdicts = gates.judge(gates.parse(settings.gates), figures)
        shipped = Shipped(proof=proof, scores=scores, holdout=holdout, blend=blend, verdicts=verdicts)
        write_bundle(
            run.bundle(best.family),
            graph,
            blend,
            table.take(final.valid),
            names,
            card=_card(settings, problem, best, shipped),
            proof=proof,
        )
    return Winner(finalist=best, shipped=shipped)


def _judged_clusters(problem: RowProblem, best: Finalist, codes: NDArray[np.int64]) -> dict[str, float]:
    """The holdout's clusters, by every metric, by how far the folds agree, and against the known groups."""
    table, held, (member,) = problem.table, problem.final.valid, best.members
    space = member.learner.told(member.encoding.matrix(table, held))
    known = {
        f"{name} of {label}" if len(table.labels) > 1 else name: value
        for label, words in table.labels.items()
        for name, value in clustering.against(codes, words[held]).items()
    }
    stable = {} if best.stability is None else {"stability": best.stability}
    return {**clustering.score(space, codes, list(clustering.METRICS)), **stable, **known}


def _calibrated(settings: Config, problem: RowProblem, best: Finalist) -> Blend:
    table, rows = problem.table, judged_rows(problem)
    blend = Blend(members=best.members, classes=table.classes, clusters=table.target is None)
    if not table.classes:
        return blend
    assert table.target is not None
    weight = None if table.weight is None else table.weight[rows]
    sizes = [len(fold.valid) for fold in problem.folds]
    found = calibrate(table.target[rows], best.out_of_fold, weight, sizes)
    blend = replace(blend, calibration=found)
    if len(table.classes) != 2:
        return blend
    asked = settings.export.threshold
    if isinstance(asked, float):
        return replace(blend, threshold=asked)
    usual = problem.metric if METRICS[problem.metric].by_labels else threshold.DEFAULT
    by = usual if asked == "auto" else asked
    return replace(blend, threshold=threshold.choose(table, rows, found(best.out_of_fold), by))


def _card(settings: Config, problem: RowProblem, best: Finalist, shipped: Shipped) -> dict[str, Any]:
    """What bundle.json says besides the graph's inputs, outputs and sums; no place of ours is in it."""
    table = problem.table
    calibration = shipped.blend.calibration
    return {
        "name": settings.name,
        "family": best.family,
        "task": table.task,
        "target": table.target_name,
        "classes": list(table.classes),
        "rule": getattr(family(best.family), "RULE", None) if table.target is None else None,
        "threshold": shipped.blend.threshold if len(table.classes) == 2 else None,
        "calibration": calibration.kind if calibration is not NONE else "none",
        "metrics": {
            "name": problem.metric,
            "unit": problem.unit,
            "direction": "min" if problem.minimise else "max",
            "mean": best.value,
            "std": best.std,
            "folds": best.folds,
            "holdout": shipped.holdout,
        },
        "gates": [asdict(each) for each in shipped.verdicts],
        "winner": best.as_dict(),
        "config": settings.model_dump(exclude={"runs": True, "data": {"path"}, "search": {"storage"}}),
        "seed": problem.seed,
        "versions": versions(),
        "data": {"fingerprint": table.fingerprint, "rows": table.n_rows},
        "git_commit": git_commit(),
    }
