"""Errors that a user can act on: one sentence each, naming what was wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class CprlabError(Exception):
    """The parent of every error that cprlab raises on purpose; its text is the whole message."""


class DataError(CprlabError):
    """A log or a file of results could not be read as what it should be."""


class ConfigError(CprlabError):
    """A name, a setting or a parameter is not one that cprlab understands."""


def visible(text: str) -> str:
    """Return text for a terminal, in which characters that cannot be seen, or would steer it, are escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def suggestion(wrong: object, choices: Iterable[object]) -> str:
    """Say which of `choices` the user may have meant by `wrong`, and list them all."""
    names = [str(choice) for choice in choices]
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(str(wrong).casefold(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"{hint}Possible: {', '.join(names)}."
