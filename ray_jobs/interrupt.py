"""SIGINT and SIGTERM (Ctrl-C, `ray job stop`, a node that is taken away) as one exception in the main thread.

Nothing has to be saved then: every epoch that anybody heard of is in the study, its state on disk. A second signal
ends the process at once, which loses no more.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 4
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_hear: Callable[[int, FrameType | None], None] | None = None  # within `raised`
_heard = False


class Interrupted(BaseException):
    """Not an Exception: what catches those, Tune among them, must not take it for a failure of its own."""


def behind(error: BaseException | None) -> Interrupted | None:
    """The signal that `error` comes from, if any: in the midst of Ray's compiled code it arrives as a SystemError."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error


def heard() -> bool:
    """Whether a signal has come since `raised` began."""
    return _heard


def renew() -> None:
    """Take the signals back from Ray, which puts handlers of its own in place when it starts."""
    if _hear is not None:
        for number in _SIGNALS:
            signal.signal(number, _hear)


@contextmanager
def raised() -> Iterator[None]:
    """Within, the first signal raises Interrupted, the next ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    global _hear, _heard
    _heard = False

    def hear(number: int, frame: FrameType | None) -> None:
        global _heard
        if _heard:
            os._exit(EXIT_CODE)
        _heard = True
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, hear) for number in _SIGNALS}
    _hear = hear
    try:
        yield
    except Exception as error:
        if (interrupted := behind(error)) is not None:
            raise interrupted from None
        raise
    finally:
        _hear = None
        if not _heard:  # else the process is on its way out, and a second signal must still end it at once
            for number, handler in before.items():
                signal.signal(number, handler)
