"""The one error that means "what the user gave is wrong", and the near-name hint that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "first_line", "nearest"]


class InputError(ValueError):
    """The data or the configuration is wrong; one line says the rule, the value found and the way out.

    Line breaks, control characters and runs of blanks become one blank, because names and values come from files.
    A script prints the line on stderr and exits with code 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        printable = "".join(letter if letter.isprintable() else " " for letter in message)
        super().__init__(" ".join(printable.split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'OT'?)"` for the known name closest to `name`, or `""` when none is close.

    Upper and lower case count as equal.
    """
    folded = {str(candidate).casefold(): str(candidate) for candidate in known}
    close = get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
