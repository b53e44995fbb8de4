"""The malformed corpus as one table: each file is refused in one line that says why, or read as documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.load import read_table
from data.table import check_table
from tests.corpus import Case, cases

CASES = list(cases())


def test_the_corpus_has_at_least_120_files() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 120


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_file_is_refused_or_read_as_documented(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(case.file).write_bytes(case.content)
    try:
        table = check_table(read_table(case.file), time="time", series=None, targets=["load"])
    except InputError as error:
        line = str(error)
        assert case.refused, line
        assert case.refused in line
        assert line.isprintable()
        assert len(line) < 600
    else:
        assert case.refused is None, f"accepted: {table.notices}"
        assert np.isfinite(table.values[:, 0]).sum() >= 55
        said = " ".join([*table.notices, *table.names])
        assert case.note in said, said
    assert {path.name for path in tmp_path.iterdir()} == {case.file}, "reading it has left a mark"
