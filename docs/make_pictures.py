"""Make the README's pictures from a run: what the terminal said at its end, and the head of its report.

    python docs/make_pictures.py runs/lstm-sea-temperature

The report is photographed by a headless Chromium or Chrome that is found on the PATH.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from ray_jobs.run_folder import RunFolder
from ray_jobs.search import say

PICTURES = Path(__file__).parent / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def terminal(run: Path) -> None:
    console = Console(record=True, width=130, file=io.StringIO(), force_terminal=True)
    say(console, RunFolder(Path("runs") / run.name), json.loads((run / "summary.json").read_text(encoding="utf8")))
    picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make tune"), flags=re.DOTALL)  # no network
    (PICTURES / "terminal.svg").write_text(picture, encoding="utf8")


def report(run: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"no browser found for the report's picture; one of {', '.join(BROWSERS)} must be on the PATH")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--disable-background-networking", "--virtual-time-budget=8000", "--window-size=1180,1750"]
        command += [f"--user-data-dir={profile}", f"--screenshot={(PICTURES / 'report.png').resolve()}"]
        subprocess.run(
            [*command, (run / "report.html").resolve().as_uri()], check=True, capture_output=True, timeout=120
        )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    terminal(folder)
    report(folder)
