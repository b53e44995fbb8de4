"""Holds a disturbed sweep against one that nobody disturbed, and counts."""

from __future__ import annotations

import signal
import time
from collections import Counter

from tests.faults.arena import Arena, Sweep, processes, wait_for
from tests.faults.row import Row


def actors() -> list[int]:
    """The processes that train, by Ray's titles: idle, and at work."""
    return processes("ray::WarmTrial") + processes("ray::ResourceTrainable")


class Judge:
    """Holds disturbed sweeps against one that nobody disturbed."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        calm = arena.begin("calm")
        self._search(calm)
        arena.trained()
        self.values = calm.acknowledged()
        self.ends = calm.ended()
        assert len(self.ends) == arena.trials, calm.said()
        self.best = min(self.ends, key=lambda number: self.ends[number]["value"])

    def _search(self, sweep: Sweep) -> None:
        """Let it go on until its last trial has ended, and no further: not to the training of its winner."""
        done = self.arena.trials
        wait_for(lambda: len(sweep.ended()) == done or sweep.process.poll() is not None, 300, "the search to end")
        sweep.send(signal.SIGTERM)
        sweep.end(4, 0)

    def go_on(self, row: Row, name: str, before: dict[tuple[int, int], float], *, to_the_end: bool = True) -> None:
        """Resume the run and count; `before` is what had been acknowledged when it was disturbed.

        `to_the_end`: to the winner and its bundle, else to the last trial, which takes half the time.
        """
        after = self.arena.begin(name, resume=True)
        if len(before) < len(self.values):  # a reader at the end would keep the database's files from going
            wait_for(lambda: len(after.acknowledged()) > len(before) or after.process.poll() is not None, 180, "epochs")
            row.seconds_to_recover = max(row.seconds_to_recover, time.monotonic() - after.began)
        self.end(row, after, before, to_the_end=to_the_end)

    def end(self, row: Row, sweep: Sweep, before: dict[tuple[int, int], float], *, to_the_end: bool) -> None:
        """Let a sweep go on as `go_on` says, and count."""
        if to_the_end:
            sweep.end(0)
        else:
            self._search(sweep)
        self.count(row, sweep, before)

    def count(self, row: Row, sweep: Sweep, before: dict[tuple[int, int], float]) -> None:
        row.n += 1
        done = (sweep.folder / "DONE").exists()
        # Before the database is opened, which makes files beside it.
        row.left_over += len(sweep.left_over()) if done else 0
        found, ends = sweep.acknowledged(), sweep.ended()
        row.trials_lost += len(set(range(self.arena.trials)) - set(ends))
        places = Counter(
            notes["place"] for trial in sweep.notes().values() for notes in trial.values() if "place" in notes
        )
        row.counted_twice += sum(n - 1 for n in places.values())
        row.epochs_lost += sum(found.get(key) != value for key, value in before.items())
        trained = Counter(self.arena.trained())
        again = [sum(n - 1 for (t, _), n in trained.items() if t == trial) for trial in range(self.arena.trials)]
        row.epochs_twice = max(row.epochs_twice, *again)
        calm, same = self.ends[self.best], found == self.values
        if done:
            best = sweep.summary()["best"]
            same = same and (best["trial"], best["value"], best["params"]) == (self.best, calm["value"], calm["params"])
        same = same and {n: (e["value"], e["params"]) for n, e in ends.items()} == {
            n: (e["value"], e["params"]) for n, e in self.ends.items()
        }
        same = same and {n: e["state"] for n, e in ends.items()} == {n: e["state"] for n, e in self.ends.items()}
        row.other_winner += not same
        wait_for(lambda: not actors(), 20, "actors to end")
        print(f"{sweep.folder.name}: {row.n} of: {row.fault}", flush=True)
