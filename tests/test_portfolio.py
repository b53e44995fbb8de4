"""What a portfolio keeps of a use case that has ended; tests/test_tabular_search.py runs whole ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ray_jobs.portfolio import BUNDLES, _outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a use case "a", which has a winner, and whose name had another one before."""
    best = {"name": "linear", "cv_mean": 0.8, "cv_std": 0.1, "holdout": {"roc_auc": 0.7}}
    summary = {"family": "linear", "leaderboard": [best], "metric": {"name": "roc_auc"}, "search_seconds": 3.0}
    for place, text in ((tmp_path / "a" / "bundles" / "linear", "new"), (tmp_path / BUNDLES / "a", "before")):
        place.mkdir(parents=True)
        (place / "model.onnx").write_text(text)
    (tmp_path / "a" / "summary.json").write_text(json.dumps(summary))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "kept"),
    [(0, "new"), (1, "new"), (2, "before"), (3, "before"), (4, "before")],  # 1: another family has no winner
)
def test_a_winner_replaces_the_one_before_where_it_is_fit_for_use(folder: Path, code: int, kept: str) -> None:
    found = _outcome(folder, "a", code)
    assert (found.code, found.family, found.holdout) == (code, "linear", 0.7)
    assert (folder / BUNDLES / "a" / "model.onnx").read_text() == kept
    assert [each.name for each in (folder / BUNDLES).iterdir()] == ["a"]


def test_a_use_case_that_left_nothing_leaves_the_one_before(folder: Path) -> None:
    (folder / "a" / "summary.json").unlink()
    assert _outcome(folder, "a", 0).code == 1
    assert (folder / BUNDLES / "a" / "model.onnx").read_text() == "before"
