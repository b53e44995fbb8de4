"""Compare the winners of finished runs: what each cost to find, what it costs to ask, how well it answers.

    python -m ray_jobs.compare runs/market                     # all families of one run
    python -m ray_jobs.compare runs/market runs/again          # of several, judged on the same rows

Nothing is trained; the folders are read and the bundles held against their sums. Prints the table and writes it as
comparison.parquet and, with charts, as comparison.html into the first run's folder, or where --output says. A search
over several families does so by itself. What the columns mean: ray_jobs/report/compared.py.

Exit codes: 0 done; 2 a folder is no finished run, or the runs were not judged on the same rows; 1 a bug.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.errors import InputError
from ray_jobs.report.compared import Comparison, read_comparison
from ray_jobs.report.comparison import comparison_page
from ray_jobs.report.page import number
from ray_jobs.run_folder import RunFolder

TABLE, PAGE = "comparison.parquet", "comparison.html"
_NO_TERMINAL = 1000  # letters: a row stays a line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ray_jobs.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the folder of a run, runs/<name>")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the files go; default the first run")
    given = parser.parse_args(arguments)
    folder = given.output or given.runs[0]
    out = Console(file=sys.stdout, highlight=False, markup=False)
    try:
        comparison = read_comparison(given.runs)
        folder.mkdir(parents=True, exist_ok=True)
        leave(comparison, folder, out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot read or write {error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def leave(comparison: Comparison, folder: Path, out: Console) -> None:
    """Write comparison.parquet and comparison.html into a folder, each whole or not at all, and print the table."""
    into = RunFolder(folder)
    into.write_table(TABLE, comparison.frame())
    into.write_text(PAGE, comparison_page(comparison))
    show(out, comparison)
    out.print(f"comparison: {folder / PAGE}", soft_wrap=True)


def compare_families(run: RunFolder, out: Console) -> None:
    """At the end of a search, before it is done: the comparison of its families, where there are several."""
    try:
        comparison = read_comparison([run.path], done=False)
    except InputError as error:  # the run itself is whole
        print(f"note: no comparison was written: {error}", file=sys.stderr)
        return
    if len(comparison.models) > 1:
        leave(comparison, run.path, out)


def show(to: Console, comparison: Comparison) -> None:
    """The table, in a terminal with the best of each column bold, elsewhere plain; then the best in words."""
    best = {column.name: comparison.best(column) for column in comparison.columns}
    table = Table(box=box.SIMPLE_HEAD if to.is_terminal else None, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("model", vertical="bottom")
    for column in comparison.columns:
        head = f"{column.words} {column.unit}".strip().replace(" ", "\n")
        table.add_column(Text(head), justify="right", no_wrap=True, vertical="bottom")
    for row in comparison.rows:
        cells = [Text(row.label, style="bold" if row.kind == "model" else "")]
        for column in comparison.columns:
            value = row.values[column.name]
            style = "bold green" if row in best[column.name] else ""
            cells.append(Text(number(value) if math.isfinite(value) else "-", style=style))
        table.add_row(*cells)
    held = f"{comparison.windows:,} windows held out; rmse and mae in {comparison.unit}"
    to.print(f"answers of the exported files for {held}", soft_wrap=True)
    (to if to.is_terminal else Console(file=to.file, width=_NO_TERMINAL)).print(table)
    costs = "training: of all trials of a search, with their validation; latency: of one window, where the run was made"
    to.print(costs, soft_wrap=True)
    to.print(comparison.sentence(), soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
