"""gain_in_words: a difference and its interval, for a sentence in a notebook."""

from typing import Any, Protocol


class Row(Protocol):
    """A row of a table from `DataFrame.itertuples`, whose attributes are the table's columns."""

    def __getattr__(self, column: str, /) -> Any: ...


def gain_in_words(row: Row) -> str:
    """Return one row of `evaluation.gains` as text: the value, its interval and its verdict."""
    value, low, high = (round(number, 4) + 0.0 for number in (row.value, row.low, row.high))  # which turns −0 into 0
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}], {row.verdict}"
