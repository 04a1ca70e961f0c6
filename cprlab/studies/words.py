"""gain_in_words: a difference and its interval, in a sentence of a notebook."""

from typing import Any, Protocol


class Row(Protocol):
    """A row of a table as `DataFrame.itertuples` gives it: the table's columns are its attributes."""

    def __getattr__(self, column: str, /) -> Any: ...


def gain_in_words(row: Row) -> str:
    """Say one row of `evaluation.gains` in words: the value, its interval and its verdict."""
    value, low, high = (round(number, 4) + 0.0 for number in (row.value, row.low, row.high))  # which turns −0 into 0
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}], {row.verdict}"
