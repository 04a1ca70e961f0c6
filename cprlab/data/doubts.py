"""Doubts: what in a log is probably not what it seems, in sentences, each with its number and an example.

A doubt has one of two grades: it changes results, and begins with `CHANGES`, or it is good to know.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd

CHANGES = "Changes results: "
UNKNOWN = {"nan", "none", "null", "na", "n/a", "nil", "-1", "unknown", "undefined", "<na>", "nat", "#n/a"}  # as ids
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|[0-9](?:\.[0-9]+)?[eE]\+?[0-9]{1,3})"
DATE = r"\d{4}-\d\d-\d\d(?:[T ].*)?"
WHOLE = r"0|-?[1-9][0-9]*"  # a number as programs write it
EXACT = 2**53  # from here on, not every whole number is a 64-bit floating-point number
MORE_THAN_HALF = 0.5


def changes(doubt: str) -> str:
    """Return a doubt with the grade that it changes results."""
    return CHANGES + doubt


def graded(doubts: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the doubts of each grade, without the words that mark it."""
    return {
        "Changes results": [doubt.removeprefix(CHANGES) for doubt in doubts if doubt.startswith(CHANGES)],
        "Good to know": [doubt for doubt in doubts if not doubt.startswith(CHANGES)],
    }


def doubt_copies(copies: int, n_rows: int, user: object, item: object, time: str) -> Iterator[str]:
    """Yield the doubt about rows with the user, item and time of an earlier row, such as the one given."""
    if copies:
        user, item = (str(pd.Series([one]).iloc[0]) for one in (user, item))  # NumPy writes dates in other ways
        yield changes(
            f"{copies:,} of {n_rows:,} rows have the user, item and time of an earlier row, such as user {user!r}, "
            f"item {item!r}, {time}. If they are copies, remove them: they count as repeats."
        )


def doubt_ids(kind: str, ids: pd.Series, rows: np.ndarray) -> Iterator[str]:
    """Yield the doubts about ids that are probably no ids, or the same as others.

    Args:
        kind: "user" or "item".
        ids: (n,) different ids.
        rows: (n,) number of rows of each.
    """
    if pd.api.types.is_bool_dtype(ids):
        return
    if pd.api.types.is_numeric_dtype(ids):
        yield from _doubt_unknown(kind, ids, rows, ids.eq(-1) & (ids.min() == -1))
        rounded = ids[ids.abs() >= EXACT] if pd.api.types.is_float_dtype(ids) else ids[:0]
        yield from _doubt_rounded(kind, rounded)
        return
    if re.fullmatch(DATE, str(ids.iloc[0])) and ids.map(str).str.fullmatch(DATE).all():
        yield changes(
            f"All {kind} ids are dates, such as {str(ids.iloc[0])!r}. If these are times, name another column with "
            f"--{kind}."
        )
    if not pd.api.types.is_string_dtype(ids):  # dates, UUIDs, bytes, mixed types
        return
    text = ids.astype("str")
    yield from _doubt_unknown(kind, text, rows, text.str.strip().str.casefold().isin(UNKNOWN))
    numbers = text[text.str.fullmatch(NUMBER)]
    odd = numbers[~numbers.str.fullmatch(WHOLE)]
    yield from _doubt_rounded(
        kind, odd[np.array([abs(Decimal(one)) >= EXACT and not one.isdecimal() for one in odd], bool)]
    )
    yield from doubt_same(kind, numbers, _replaced(numbers, odd, _plainly), "as numbers")
    hidden = text[~text.str.fullmatch("[!-~]+")]
    yield from doubt_same(
        kind, text, _replaced(text, hidden, without_invisible), "but for spaces and what is invisible"
    )


def _replaced(text: pd.Series, odd: pd.Series, how: Callable[[str], str]) -> pd.Series:
    """Return text with `how` applied to the part `odd` of it."""
    keys = text.copy()
    keys[odd.index] = [how(one) for one in odd]
    return keys


def _plainly(number: str) -> str:
    value = Decimal(number)
    return str(int(value)) if value == value.to_integral_value() else str(value.normalize())


def without_invisible(text: str) -> str:
    """Return text in Unicode's form NFKC, with single spaces and without characters that cannot be seen."""
    words = unicodedata.normalize("NFKC", text).split()
    return " ".join("".join(filter(str.isprintable, word)) for word in words)


def doubt_same(kind: str, text: pd.Series, keys: pd.Series, how: str, *, grade: str = CHANGES) -> Iterator[str]:
    """Yield the doubt about ids that have the key, by index, of an earlier one."""
    first = text.groupby(keys).transform("first")
    if (same := first != text).any():
        yield (
            f"{grade}{np.count_nonzero(same):,} {kind} ids equal another {how}, such as {text[same].iloc[0]!r} and "
            f"{first[same].iloc[0]!r}; they count as different. Write each id in one way."
        )


def _doubt_unknown(kind: str, ids: pd.Series, rows: np.ndarray, unknown: pd.Series) -> Iterator[str]:
    if unknown.any():
        names = ", ".join(repr(str(one)) for one in ids[unknown])
        yield changes(
            f"{rows[unknown].sum():,} of {rows.sum():,} rows have {kind} ids such as {names}, which usually mean that "
            f"none is known; each counts as one {kind}. Remove these rows, or give them their own ids."
        )


def _doubt_rounded(kind: str, rounded: pd.Series) -> Iterator[str]:
    if len(rounded):
        yield changes(
            f"{len(rounded):,} {kind} ids are rounded numbers of 2^53 or more, such as {str(rounded.iloc[0])!r}, so "
            "different ids may have become one. Write ids as whole numbers or text."
        )


def doubt_times(early: int, late: int, n_rows: int, latest: str) -> Iterator[str]:
    """Yield the doubts about times in 1970 or before, and in the future."""
    if early:
        yield changes(f"{early:,} of {n_rows:,} times are in 1970 or before; they may be zeros or in the wrong unit.")
    if late:
        yield changes(f"{late:,} of {n_rows:,} times are in the future; the latest is {latest}.")


def are_titles(several: int, repeated: int) -> bool:
    """Return whether a column holds titles of items, not the names of people or of reviews.

    Args:
        several: number of items with several titles.
        repeated: number of items with several rows.
    """
    return several <= MORE_THAN_HALF * repeated


def doubt_titles(
    column: str, several: int, repeated: int, shown: bool, item: Sequence[object], titles: Sequence[str]
) -> Iterator[str]:
    """Yield the doubt about items with several titles.

    Args:
        column: the column of titles.
        several: as for `are_titles`.
        repeated: as for `are_titles`.
        shown: whether the titles are shown.
        item: an item with several titles.
        titles: two of them.
    """
    if not several:
        return
    found = (
        f"{several:,} of {repeated:,} items with several rows have several values in the column {column!r}, such as "
        f"item {str(*item)!r} with {' and '.join(map(repr, titles))}"
    )
    if shown:
        yield f"{found}; the first of each is its title."
    else:
        yield f"{found}. So these are not titles of items, and none are shown. If they are, use --title {column}."
