"""Times: parse a time column, guess its unit, and write the notes on it."""

from typing import Literal

import numpy as np
import pandas as pd

from cprlab.errors import DataError

TimeKind = Literal["whole", "number", "date"]
UNITS = {"": 0, "seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # per second
EDGES = np.array([1e8, 1e11, 1e14, 1e17])  # from each edge on, a number is 1973 or later in the next unit


def read_times(
    values: pd.Series, log: str, first_line: int, *, as_numbers: bool = False
) -> tuple[np.ndarray, TimeKind]:
    """Return times as exact 64-bit integers if all are whole, else as float64, and what they were read as.

    Args:
        values: numbers, dates, or either as text.
        log: name of the log in error messages.
        first_line: line number of the first of `values` in error messages.
        as_numbers: read as floating-point numbers, because other parts of the column contain other kinds of numbers.

    Raises:
        DataError: a value is not a time, or loses precision.
    """
    column = values.name
    if values.dtype.kind == "M":
        bad, parsed = values.isna(), pd.to_datetime(values)  # Arrow's dates have no time of day yet
    elif pd.api.types.is_float_dtype(values) and not values.isna().any():
        parsed = values.astype("float64")
        bad = ~np.isfinite(parsed)
    elif pd.api.types.is_signed_integer_dtype(values) and not values.isna().any():
        return values.to_numpy(dtype=np.int64), "whole"
    else:
        text = values.astype("string").str.strip()
        if not as_numbers and text.str.fullmatch(r"[+-]?[0-9]{1,1000}").fillna(False).all():
            exact = pd.to_numeric(text)
            if pd.api.types.is_signed_integer_dtype(exact):
                return exact.to_numpy(dtype=np.int64), "whole"
            row = next(row for row, digits in enumerate(text) if not -(2**63) <= int(digits) < 2**63)
            raise DataError(
                f"{log}, line {first_line + row}, column {column!r}: the time {text.iloc[row][:60]!r} does not fit in "
                "64 bits; use a coarser unit."
            )
        numbers = pd.to_numeric(text, errors="coerce").astype("float64")
        if as_numbers or numbers.notna().any():
            bad, parsed = ~np.isfinite(numbers), numbers
        else:
            parsed = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
            bad = parsed.isna() | ~text.str.contains("[0-9]").fillna(False)  # pandas parses "now" and "today"
    if bad.any():
        row = int(np.asarray(bad).argmax())
        raise DataError(
            f"{log}, line {first_line + row}, column {column!r}: {str(values.iloc[row])[:60]!r} is not a time. Use "
            "numbers (such as seconds since 1970) or ISO dates (such as 2017-01-31 12:00:00) in all rows."
        )
    if parsed.dtype == np.float64:
        numbers = parsed.to_numpy()
        if np.abs(numbers).max() >= 2**53 and not pd.api.types.is_float_dtype(values):
            raise DataError(
                f"{log}, column {column!r}: times have fractions, and numbers above 2^53, which lose precision. "
                "Use whole numbers in all rows."
            )
        whole = (numbers == np.floor(numbers)).all() and np.abs(numbers).max() < 2**63
        return (numbers.astype(np.int64) if whole else numbers), "number"
    try:
        moments = parsed.dt.as_unit("us")
    except pd.errors.OutOfBoundsDatetime as error:
        raise DataError(
            f"{log}, column {column!r}: a time is too far from 1970 for microseconds in 64 bits; use numbers."
        ) from error
    if (moments != parsed).any():
        row = int((moments != parsed).to_numpy().argmax())
        raise DataError(
            f"{log}, line {first_line + row}, column {column!r}: the time {str(values.iloc[row])[:60]!r} is finer than "
            "a microsecond and would be rounded; use whole numbers."
        )
    return moments.astype("int64").to_numpy(), "date"


def count_units(times: np.ndarray, kind: TimeKind) -> np.ndarray:
    """Return (5,) how many times look like each of `UNITS` since 1970; from 1973 to 5138 the magnitude decides.

    Args:
        times: as returned by `read_times`; dates are microseconds.
        kind: as returned by `read_times`.
    """
    if kind == "date":
        return len(times) * (np.array(list(UNITS)) == "microseconds")
    return np.bincount(np.searchsorted(EDGES, np.abs(times.astype(np.float64)), side="right"), minlength=len(UNITS))


def unit_of(counts: np.ndarray) -> str:
    """Return the unit that most times look like; empty for plain numbers."""
    return list(UNITS)[counts.argmax()]


def show_time(time: float, unit: str) -> str:
    """Return a time as a UTC date and time, or as a plain number if it has no unit."""
    if not unit:
        return f"{int(time) if time == int(time) else time:,}"
    shown = str(np.datetime64(int(time // UNITS[unit]), "s")).replace("T", " ")
    return shown.removesuffix(" 00:00:00")


def note_units(counts: np.ndarray) -> tuple[str, ...]:
    """Return the note on times that look like several units, if they do."""
    looks = [f"{n:,} like {unit}" for unit, n in zip(UNITS, counts, strict=True) if unit and n]
    if len(looks) < 2:
        return ()
    return (
        f"The times look like different units since 1970 ({' and '.join(looks)}), so rows are in the wrong order. "
        "Use one unit for all rows.",
    )


def note_file_order(names: pd.Index) -> tuple[str]:
    """Return the note on a log without times, with columns `names`."""
    known = ", ".join(map(str, names))
    return (f"No column looks like a time (columns: {known}), so rows stay in file order. Name one with --time.",)


def note_baskets(column: str, n_baskets: int) -> tuple[str]:
    """Return the note on a log whose rows are grouped into baskets."""
    return (f"Rows are grouped into {n_baskets:,} baskets (column {column!r}), each at the time of its earliest row.",)


def note_order(column: str, as_time: bool) -> tuple[str]:
    """Return the note on a log with a column that gives the order of rows."""
    if as_time:
        return (f"No column looks like a time; the column {column!r} gives the order instead.",)
    return (f"Rows with the same time or basket are ordered by the column {column!r}.",)
