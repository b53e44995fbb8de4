"""A trial's states on disk: each whole or absent, verified before it is used, the last two kept.

    checkpoints/lstm/trial-00007/epoch-00005/
        state.pt         tensors, numbers and text of all folds (torch reads it with `weights_only`)
        report.json      what was reported of that epoch
        manifest.json    written last: whose state this is, and the sha256 of the two others

A state is written under a temporary name, made durable (fsync) and then renamed. One that is torn, changed or another
trial's is passed over for the one before it, and `Checkpoints.passed_over` says so.

Where epochs are so short that this would cost more than `SHARE` of the training, not every epoch gets a state, but
never do two in a row go without: the second gets one that is not waited for until it is on the disk. The death of a
process leaves that one whole; the loss of power may tear it, and the last durable one is kept beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

KEPT = 2
SHARE = 0.02  # of the time spent training, at most, goes into making states durable
GRACE = 0.1  # seconds besides, for each trial: one slow write must not keep the next epoch from its state
_STATE, _REPORT, _MANIFEST = "state.pt", "report.json", "manifest.json"


Way = Literal["durable", "quick"]


@dataclass(frozen=True, kw_only=True)
class Found:
    state: dict[str, Any]
    report: dict[str, Any]


class CannotWriteError(Exception):
    """A state could not be written: one line names the path and the reason."""


class Checkpoints:
    """The states of one trial in `folder`; `owner` (JSON values) says whose they are, and is held against each."""

    def __init__(self, folder: Path, owner: Mapping[str, Any]) -> None:
        self.folder = folder
        self.owner = dict(owner)
        self.cheapest = 0.0  # seconds that a durable write took
        self.spent = 0.0  # on all of them
        self.trained = 0.0  # seconds of training
        self.without = 0  # epochs since the last state
        self.durable: str | None = None  # the newest state that is known to be
        self.passed_over: list[str] = []  # sentences: which states the last `newest` could not use, and why

    def due(self, seconds: float) -> Way | None:
        """How to write now, after an epoch that took `seconds` to train: None where a durable state would cost too much
        and the epoch before has one."""
        self.trained += seconds
        self.without += 1
        if self.spent + self.cheapest <= self.trained * SHARE + GRACE:
            return "durable"
        return "quick" if self.without > 1 else None

    def save(self, state: dict[str, Any], report: Mapping[str, Any], way: Way = "durable") -> None:
        """Write the state after epoch report["number"]; CannotWriteError leaves those that were there as they were."""
        began = time.perf_counter()
        name = _name(report["number"])
        part, final = self.folder / f".{name}.part", self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o700)
            buffer = io.BytesIO()  # torch's writer hides what a full disk says
            torch.save(state, buffer)
            content = {_STATE: buffer.getvalue(), _REPORT: _json(dict(report))}
            sums = {each: hashlib.sha256(data).hexdigest() for each, data in content.items()}
            content[_MANIFEST] = _json({"owner": self.owner, "sha256": sums})
            for each, data in content.items():
                _write(part / each, data, durable=way == "durable")
            if way == "durable":
                _make_folder_durable(part)
            shutil.rmtree(final, ignore_errors=True)  # trained again, because this one could not be used
            part.rename(final)
            if way == "durable":
                _make_folder_durable(self.folder)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise CannotWriteError(f"cannot write {self.folder}: {error.strerror or error}") from error
        self.without = 0
        self.durable = name if way == "durable" else self.durable
        for old in self._states()[KEPT:]:
            if old.name != self.durable:
                shutil.rmtree(old, ignore_errors=True)
        if way == "durable":
            cost = time.perf_counter() - began
            self.cheapest = min(self.cheapest or cost, cost)
            self.spent += cost

    def newest(self, at_most: int | None = None) -> Found | None:
        """The newest state, of epoch `at_most` or earlier, that is whole and this trial's own; None where none is."""
        self.passed_over = []
        for folder in self._states():
            if at_most is not None and folder.name > _name(at_most):
                continue
            try:
                state, report = self._read(folder)
            except Exception as error:  # whatever a changed file makes torch and json raise
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self.passed_over.append(f"{folder.parent.name}/{folder.name} cannot be used: {lines[0]}")
            else:
                return Found(state=state, report=report)
        return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("epoch-*"), reverse=True)

    def _read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf8"))
        if manifest["owner"] != self.owner:
            raise ValueError("it belongs to another trial")
        for name, expected in manifest["sha256"].items():
            if name not in (_STATE, _REPORT) or _sha256(folder / name) != expected:
                raise ValueError(f"{name} is not what was written")
        if set(manifest["sha256"]) != {_STATE, _REPORT}:
            raise ValueError("its manifest does not name both files")
        report = json.loads((folder / _REPORT).read_text(encoding="utf8"))
        if folder.name != _name(report["number"]):
            raise ValueError(f"it is the state of epoch {report['number']}")
        state = torch.load(folder / _STATE, weights_only=True, map_location="cpu")
        _check_plain(state)
        return state, report


def _name(epoch: int) -> str:
    return f"epoch-{epoch:05d}"


def _check_plain(value: Any) -> None:
    """Dense tensors, numbers, texts, and lists and dicts of them: all that a state holds."""
    match value:
        case dict():
            for each in value.values():
                _check_plain(each)
        case list() | tuple():
            for each in value:
                _check_plain(each)
        case Tensor():
            if value.layout != torch.strided or value.is_quantized:
                raise ValueError(f"it holds a tensor of layout {value.layout}")
        case bool() | int() | float() | str() | None:
            pass
        case _:
            raise ValueError(f"it holds a {type(value).__name__}")


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _write(path: Path, data: bytes, *, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _make_folder_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
