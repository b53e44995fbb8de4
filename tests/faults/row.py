"""The yardstick: the same counts for every fault."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """Sums over the instants of one scenario; `n` counts those that hit a sweep under way."""

    fault: str
    n: int = 0
    trials_lost: int = 0
    epochs_lost: int = 0  # acknowledged, then unreadable or changed
    epochs_twice: int = 0  # trained again, at most of one running trial in one disturbance
    counted_twice: int = 0
    corrupted_accepted: int = 0
    left_over: int = 0  # processes and temporary files
    other_winner: int = 0
    seconds_to_recover: float = 0.0  # the longest, from the start of the process that goes on to its first new epoch
