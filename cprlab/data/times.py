"""Times: parse a time column, guess its unit, and write the notes on it."""

import re
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from cprlab.data.doubts import changes
from cprlab.errors import DataError

TimeKind = Literal["whole", "number", "date"]
UNITS = {"": 0, "seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # per second
EDGES = np.array([1e8, 1e11, 1e14, 1e17])  # from each edge on, a number is 1973 or later in the next unit
DIGITS = {
    "YYYYMMDD": "%Y%m%d",
    "YYYYMMDDhhmm": "%Y%m%d%H%M",
    "YYYYMMDDhhmmss": "%Y%m%d%H%M%S",
}  # of a date, and strftime
EXCEL, EPOCH, EXCEL_DAYS = "Excel's days", pd.Timestamp("1899-12-30"), (29221, 54789)  # 1980 to 2050
LineOf = Callable[[int], int]  # returns the line on which a row begins; rows are counted from 0, lines from 1
LOOKS = (*UNITS, *DIGITS, EXCEL)  # what a column of numbers can look like


def from_one(row: int) -> int:
    """Return a row's number, counted from 1."""
    return row + 1


def read_times(
    values: pd.Series, log: str, line_of: LineOf, *, as_numbers: bool = False
) -> tuple[np.ndarray, TimeKind]:
    """Return times as exact 64-bit integers if all are whole, else as float64, and what they were read as.

    Dates become microseconds; what is finer is cut (`count_finer`).

    Args:
        values: numbers, dates, or either as text.
        log: name of the log in error messages.
        line_of: line number of a row of `values`, for error messages.
        as_numbers: read as floating-point numbers, because other parts of the column contain other kinds of numbers.

    Raises:
        DataError: a value is not a time, or a number loses precision.
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
                f"{log}, line {line_of(row)}, column {column!r}: the time {text.iloc[row][:60]!r} does not fit in "
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
            f"{log}, line {line_of(row)}, column {column!r}: {str(values.iloc[row])[:60]!r} is not a time. Use "
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
    return moments.astype("int64").to_numpy(), "date"


def count_finer(values: pd.Series, kind: TimeKind) -> int:
    """Return how many of the values that `read_times` read as `kind` are cut, being finer than a microsecond."""
    if kind != "date":
        return 0
    if values.dtype.kind == "M":
        return int(np.count_nonzero(pd.to_datetime(values).dt.nanosecond))
    return int(values.astype("string").str.contains(r"[.,][0-9]{6}[0-9]*[1-9]").sum())


def note_finer(n: int) -> tuple[str, ...]:
    """Return the note on times that are cut, if there are any."""
    return (f"{n:,} times are finer than a microsecond and are cut to whole ones.",) if n else ()


def count_units(times: np.ndarray, kind: TimeKind) -> np.ndarray:
    """Return (9,) how many times look like each of `LOOKS`.

    Each looks like one of `UNITS` since 1970; from 1973 to 5138 the magnitude decides. A number can also be a date
    written in digits, such as 20240131, or one of Excel's days from 1980 to 2050.

    Args:
        times: as returned by `read_times`; dates are microseconds.
        kind: as returned by `read_times`.
    """
    if kind == "date":
        return len(times) * (np.array(LOOKS) == "microseconds")
    numbers = times.astype(np.float64)
    units = np.bincount(np.searchsorted(EDGES, np.abs(numbers), side="right"), minlength=len(UNITS))
    digits = [np.count_nonzero(_are_digits(numbers, form)) for form in DIGITS]
    first, last = EXCEL_DAYS
    return np.array([*units, *digits, np.count_nonzero((first <= numbers) & (numbers < last))])


def _are_digits(numbers: np.ndarray, form: str) -> np.ndarray:
    """Return (m,) which numbers are a date and time of 1900 to 2099 written in the digits of a form of `DIGITS`."""
    date, clock = np.divmod(numbers, 10.0 ** (len(form) - 8))
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    fits = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    fits &= numbers == np.floor(numbers)
    for most in (60, 60, 24)[7 - len(form) // 2 :]:  # of seconds, minutes, hours
        fits &= clock % 100 < most
        clock = clock // 100
    return fits


def unit_of(counts: np.ndarray) -> str:
    """Return the one of `LOOKS` that all times look like, or the unit that most do; empty for plain numbers."""
    units = counts[: len(UNITS)]
    all_of_them = [form for form, n in zip(LOOKS, counts, strict=True) if form not in UNITS and n == units.sum()]
    return all_of_them[0] if all_of_them else LOOKS[units.argmax()]


def as_number(moment: pd.Timestamp, unit: str) -> float:
    """Return a moment in one of `LOOKS`, as a number that can be compared with such times."""
    if unit in DIGITS:
        return int(moment.strftime(DIGITS[unit]))
    return (moment - EPOCH) / pd.Timedelta(days=1) if unit == EXCEL else moment.timestamp() * UNITS[unit]


def show_time(time: float, unit: str) -> str:
    """Return a time as a UTC date and time, or as a plain number if it has no unit."""
    if not unit:
        return f"{int(time) if time == int(time) else time:,}"
    if unit in DIGITS:
        digits = str(int(time))
        month, day, *clock = re.findall("..", digits[4:])
        return f"{digits[:4]}-{month}-{day} {':'.join(clock)}".strip()
    seconds = (time - (pd.Timestamp(0) - EPOCH).days) * 86_400 if unit == EXCEL else time // UNITS[unit]
    shown = str(np.datetime64(round(seconds), "s")).replace("T", " ")
    return shown.removesuffix(" 00:00:00")


def note_units(counts: np.ndarray) -> tuple[str, ...]:
    """Return the note on times that look like several units, if they do."""
    looks = [f"{n:,} like {unit}" for unit, n in zip(LOOKS, counts, strict=True) if UNITS.get(unit) and n]
    if len(looks) < 2 or unit_of(counts) not in UNITS:
        return ()
    return (
        changes(
            f"The times look like different units since 1970 ({' and '.join(looks)}), so rows are in the wrong order. "
            "Use one unit for all rows."
        ),
    )


def note_file_order(names: pd.Index) -> tuple[str]:
    """Return the note on a log without times, with columns `names`."""
    known = ", ".join(map(str, names))
    return (f"No column is named like a time (columns: {known}), so rows stay in file order. Name one with --time.",)


def note_baskets(column: str, n_baskets: int) -> tuple[str]:
    """Return the note on a log whose rows are grouped into baskets."""
    return (f"Rows are grouped into {n_baskets:,} baskets (column {column!r}), each at the time of its earliest row.",)


def note_order(column: str, as_time: bool) -> tuple[str]:
    """Return the note on a log with a column that gives the order of rows."""
    if as_time:
        return (f"No column is named like a time; the column {column!r} gives the order instead.",)
    return (f"Rows with the same time or basket are ordered by the column {column!r}.",)
