"""Errors that a user can act on: one sentence each, naming what was wrong, where, and what to do."""

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 1_500  # characters of a sentence that quotes data


class CprlabError(Exception):
    """The parent of every error that cprlab raises on purpose; its text is the whole message, in visible characters."""

    def __str__(self) -> str:
        return visible(super().__str__())


class DataError(CprlabError):
    """A log or a file of results could not be read as what it should be."""


class ConfigError(CprlabError):
    """A name, a setting or a parameter is not one that cprlab understands."""


def suggestion(wrong: object, choices: Iterable[object]) -> str:
    """Say which of `choices` the user may have meant by `wrong`, and list them all."""
    names = [str(choice) for choice in choices]
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(str(wrong).casefold(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"{hint}Possible: {', '.join(names)}."


def visible(text: object) -> str:
    """Return a line of text of which a terminal does nothing but show it, whatever was quoted in it.

    Control characters, those that turn the direction of writing, line ends and halves of surrogate pairs are written
    as escapes, such as \\x1b; of a very long text the middle is left out.
    """
    line = str(text)
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - 500]} … {line[-400:]}"
    return "".join(letter if _is_shown(letter) else ascii(letter)[1:-1] for letter in line)


def _is_shown(letter: str) -> bool:
    return letter == " " or not unicodedata.category(letter).startswith(("C", "Zl", "Zp"))
