"""Series, as a search sees them: what `ray_jobs/kind.py` asks of a kind of data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from torch import nn

from data.errors import InputError
from data.folds import SCHEMES
from models.crossval import Problem, n_ranked, parameters, reads_targets_alone
from models.crossval import family as family_module
from models.in_step import Params
from models.memory import trial_bytes
from models.metrics import METRICS
from ray_jobs import config, output, prepare, tables
from ray_jobs.display import busy
from ray_jobs.kind import ProofError
from ray_jobs.params import check_fixed, check_select, head_weights, judged_by_another
from ray_jobs.proofs import Found, prove_all
from ray_jobs.run_folder import RunFolder
from ray_jobs.settings import Config
from ray_jobs.ship import Proven
from ray_jobs.study import StudyBook
from ray_jobs.suggest import points
from ray_jobs.sweep import HaltedError
from ray_jobs.winner import Finalist, Winner, candidate, crown, finalist, models
from search_spaces import FAMILIES, load, unflatten, with_keep

__all__ = [
    "FAMILIES",
    "MODULE",
    "announce",
    "check",
    "complete",
    "finalist",
    "grace",
    "leave",
    "needs",
    "open_book",
    "problem",
    "say",
    "summary",
    "unread",
    "winners",
]

MODULE = "ray_jobs.search"
_OF_ROWS = (
    *("data.task", "data.drop", "data.group", "data.labels", "data.positive", "data.class_weights"),
    *("export.threshold", "gates"),
)
complete, problem = prepare.complete, prepare.problem
summary, leave, say = tables.summary, output.leave, output.say


def check(settings: Config, families: Sequence[str]) -> None:
    """InputError for what of the settings does not go together, before any data is read."""
    config.check_kind(settings, _OF_ROWS, "rows", "series")
    if settings.validation.scheme not in SCHEMES:
        raise InputError(
            f"validation.scheme={settings.validation.scheme!r} is for rows; of series: {', '.join(SCHEMES)}"
        )
    if settings.search.metric not in ("auto", *METRICS):
        raise InputError(f"search.metric={settings.search.metric!r} is for rows; of series: {', '.join(METRICS)}")
    prepare.check_scheduler(settings)
    check_fixed(settings, families)
    check_select(settings, families)
    head_weights(settings)


def open_book(settings: Config, problem: Problem, family: str, url: str, *, name: str | None = None) -> StudyBook:
    """The family's study, opened or made in the database at `url`."""
    weights, ranked = head_weights(settings), n_ranked(problem, family)
    return StudyBook(
        url,
        with_keep(load(family), ranked) if ranked else load(family),
        settings.window.lookbacks,
        algorithm=settings.search.algorithm,
        trials=settings.search.trials,
        seed=settings.search.seed,
        minimise=problem.minimise,
        name=name,
        fixed={**weights.fixed, **settings.search.fixed},
        settings=parameters(family),
        searched=weights.searched,
    )


def needs(settings: Config, problem: Problem, family: str, params: Params, *, on_device: bool) -> int:
    """Bytes that a trial with these nested params takes besides its process."""
    return trial_bytes(problem, family, params, on_device=on_device)


def grace(settings: Config) -> int:
    """Epochs that a trial is given at least, where the scheduler ends trials."""
    return 1 if settings.search.grace == "auto" else settings.search.grace


def announce(out: Console, settings: Config, problem: Problem, source: str, run: RunFolder) -> None:
    """What is searched on, before the first trial."""
    output.announce(out, problem, source, run)
    for sentence in judged_by_another(settings, problem.metric):
        out.print(f"note: {sentence}", soft_wrap=True, markup=False)


def unread(settings: Config, problem: Problem, book: StudyBook) -> list[str]:
    """Sentences about what of the data the family's networks, or some of them, do not read."""
    lookback = settings.window.lookbacks[-1]
    module, said = family_module(book.family), []
    others = problem.table.names[problem.table.n_targets :]
    holes = bool(np.isnan(problem.table.values[:, : problem.table.n_targets]).any())
    if reads_targets_alone(book.family) and holes:
        said.append(f"{book.family} takes a missing value for the level of its window, and is not told that it is one")
    if reads_targets_alone(book.family) and (others or problem.features.each):
        ahead = problem.table.future or problem.waves
        alone = "and what is known ahead; the past of other columns" if ahead else "alone: other columns"
        so = ", and none are chosen" if problem.rankings else ""
        said.append(f"{book.family} answers each target from its own past {alone} and features go unread{so}")
    if hasattr(module, "receptive_field"):
        lowest = {**book.fixed, **{name: points(d)[0] for name, d in book.ranges.items()}}
        sizes = {"channels": 1, "lookback": lookback, "n_steps": 1, "n_targets": 1}
        seen: int = module.receptive_field(module.Config(**sizes, **unflatten(lowest)["model"]))
        if seen < lookback:
            said.append(
                f"the smallest networks of search_spaces/{book.family}.py see only the last {seen} of the window's "
                f"{lookback} steps; those with more layers or longer kernels see more"
            )
    return said


def winners(
    settings: Config, problem: Problem, finalists: Sequence[Finalist], run: RunFolder, out: Console
) -> tuple[list[Winner], dict[str, str]]:
    """Each finalist trained, proven and written; of one that could not be trained or failed its proof, why."""
    names = ", ".join(best.family for best in finalists)
    with busy(out, f"{names}: training the best configuration on everything before the holdout"):
        trained, without = _trained(settings, problem, finalists, run)
    candidates = {best.family: candidate(best, model) for best, model in trained}
    said: list[str] = []

    def heard(family: str, found: Found) -> None:
        said.append(family)
        how = "differs from PyTorch" if isinstance(found, ProofError) else "equals PyTorch"
        if len(candidates) > 1:
            out.print(f"{family}: its graph {how}; {len(said)} of {len(candidates)} compared", soft_wrap=True)

    with busy(out, f"{', '.join(candidates)}: exporting and proving"):
        proven = prove_all(settings, problem, list(candidates.values()), heard)
    crowned = []
    with busy(out, "measuring what an answer costs"):
        for best, _ in trained:
            match proven[best.family]:
                case ProofError() as error:
                    without[best.family] = str(error)
                case Proven() as found:
                    crowned.append(crown(settings, problem, best, candidates[best.family], found, run))
    if not crowned:
        raise ProofError("; ".join(without.values()))
    return crowned, without


def _trained(
    settings: Config, problem: Problem, finalists: Sequence[Finalist], run: RunFolder
) -> tuple[list[tuple[Finalist, nn.Module]], dict[str, str]]:
    """The models: all in one training, and each in its own where that fails, so that one takes no other with it."""
    try:
        return list(zip(finalists, models(settings, problem, finalists, run.path), strict=True)), {}
    except HaltedError:
        if len(finalists) == 1:
            raise
    trained, without = [], {}
    for best in finalists:
        try:
            trained.append((best, models(settings, problem, [best], run.path)[0]))
        except HaltedError as error:
            without[best.family] = str(error)
    if not trained:
        raise HaltedError("; ".join(without.values()))
    return trained, without
