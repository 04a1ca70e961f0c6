"""Errors that a user can act on: the message says what is wrong, where, and what to do."""

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 1_500  # maximum number of characters in a message, which may quote data


class CprlabError(Exception):
    """Base class of cprlab's errors; its text is the complete message, in visible characters."""

    def __str__(self) -> str:
        return visible(super().__str__())


class DataError(CprlabError):
    """A log or another file is invalid, or cannot be read or written."""


class PlaceError(DataError):
    """A file or folder cannot be read, written or replaced; nothing is known to be wrong with its content."""


class ConfigError(CprlabError):
    """A name, setting or parameter is invalid."""


def suggestion(wrong: object, choices: Iterable[object]) -> str:
    """Return a hint: which of `choices` the user may have meant by `wrong`, and the list of all."""
    names = [str(choice) for choice in choices]
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(str(wrong).casefold(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"{hint}Possible: {', '.join(names)}."


def visible(text: object) -> str:
    """Return text as one line that is safe to print on a terminal.

    Control characters, bidirectional marks, line ends and unpaired surrogates become escapes such as \\x1b. The middle
    of a very long text is left out.
    """
    line = str(text)
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - 500]} … {line[-400:]}"
    return "".join(letter if _is_shown(letter) else ascii(letter)[1:-1] for letter in line)


def _is_shown(letter: str) -> bool:
    return letter == " " or not unicodedata.category(letter).startswith(("C", "Zl", "Zp"))
