"""InteractionLog: who consumed what, and when, checked, typed and sorted."""

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pandas as pd

from cprlab.errors import DataError

GUESSES = {
    "user": [
        "user_id",
        "user",
        "userid",
        "household_id",
        "customer_id",
        "visitor_id",
        "visitorid",
        "student_id",
        "session_id",
    ],
    "item": ["item_id", "item", "itemid", "product_id", "movie_id", "article_id", "track_id", "problem_step_name"],
    "time": [
        "timestamp",
        "time",
        "datetime",
        "date",
        "transaction_timestamp",
        "event_time",
        "event_timestamp",
        "unix_timestamp",
        "created_at",
        "purchase_date",
        "order_date",
        "time_start",
        "step_start_time",
        "ts",
    ],
    "title": ["title", "item_title", "movie_title", "item_name", "product_name", "name"],
}


TimeKind = Literal["whole", "number", "date"]


@dataclass(frozen=True)
class InteractionLog:
    """Interactions grouped by user, each user's in order of time; equal times keep the order of the file.

    Users and items are stored as codes into the ids that the log itself uses.

    Attributes:
        name: what to call the log in tables.
        users: (m,) int32, codes into `user_ids`, non-decreasing.
        items: (m,) int32, codes into `item_ids`.
        times: (m,) int64 or float64 in the unit of the log (microseconds for dates), or None where it has no times.
        user_ids: (n_users,) the log's own user ids.
        item_ids: (n_items,) the log's own item ids.
        titles: (n_items,) str, what to call each item; its id where the log has no title.
        notes: what a reader of results should know: rows dropped, ties, missing times.
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    titles: np.ndarray
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        name: str = "log",
        *,
        user: str = "",
        item: str = "",
        time: str = "",
        title: str = "",
        titles: pd.Series | None = None,
        first_line: int = 1,
        notes: tuple[str, ...] = (),
    ) -> Self:
        """Check and sort a table with a row an interaction.

        Args:
            frame: the table, in file order.
            name: what to call it in tables and error messages.
            user: column of the users; guessed from its name when empty. Likewise `item`, `time` and `title`.
            item: column of the items.
            time: column of the times: numbers, dates or ISO text; without one, rows are taken in file order.
            title: column with the item's title.
            titles: titles by item id, from another table; it goes before `title`.
            first_line: what error messages call the first row of `frame`.
            notes: notes to pass on.

        Raises:
            DataError: a column is missing, a value is empty or unreadable, or the table has no rows.
        """
        columns = find_columns(frame.columns, name, {"user": user, "item": item, "time": time, "title": title})
        refuse_no_rows(len(frame), name)
        for role in ("user", "item"):
            check_ids(frame[columns[role]], name, first_line)
        user_codes, user_ids = pd.factorize(frame[columns["user"]])
        item_codes, item_ids = pd.factorize(frame[columns["item"]])
        if columns["time"] is None:
            times, order = None, np.argsort(user_codes, kind="stable")
            notes += note_file_order(frame.columns)
        else:
            times, _ = read_times(frame[columns["time"]], name, first_line)
            order = np.lexsort((times, user_codes))
            times = times[order]
            tied = np.count_nonzero((np.diff(times) == 0) & (np.diff(user_codes[order]) == 0))
            notes += note_ties(tied, len(frame))
        if titles is None and columns["title"] is not None:
            titles = first_titles(frame, columns["item"], columns["title"])
        return cls(
            name=name,
            users=user_codes[order].astype(np.int32),
            items=item_codes[order].astype(np.int32),
            times=times,
            user_ids=np.asarray(user_ids),
            item_ids=np.asarray(item_ids),
            titles=name_items(item_ids, titles),
            notes=notes,
        )


def find_columns(names: pd.Index, log: str, given: dict[str, str]) -> dict[str, str | None]:
    """Return the column of each role (user, item, time, title); None for a time or title that is not there.

    Args:
        names: the table's columns.
        log: what to call the log in error messages.
        given: the column by role; guessed from its name where empty.

    Raises:
        DataError: a column is missing, or is to be two things.
    """
    columns = {role: _column(names, role, column, log) for role, column in given.items()}
    taken = [column for column in columns.values() if column is not None]
    if twice := [column for column in taken if np.count_nonzero(names == column) > 1]:
        raise DataError(f"{log} has two columns {twice[0]!r}; give each a name of its own.")
    if len(set(taken)) < len(taken):
        raise DataError(
            f"{log}: one column is to be two things ({', '.join(f'{r}: {c}' for r, c in columns.items() if c)}); "
            "name a column for each."
        )
    return columns


def _column(names: pd.Index, role: str, given: str, log: str) -> str | None:
    known = ", ".join(map(str, names))
    if given:
        if given not in names:
            raise DataError(f"{log} has no column {given!r}; its columns are {known}.")
        return given
    by_name = {str(column).casefold(): column for column in reversed(names)}
    for guess in GUESSES[role]:
        if guess in by_name:
            return by_name[guess]
    if role in ("time", "title"):
        return None
    raise DataError(
        f"{log} has no column that looks like the {role} (tried {', '.join(GUESSES[role])}); "
        f"its columns are {known}: name the right one with --{role}."
    )


def refuse_no_rows(n_rows: int, log: str) -> None:
    """Raise the DataError of a log that holds nothing."""
    if n_rows == 0:
        raise DataError(f"{log} holds no rows; a log needs a row for each interaction.")


def check_ids(values: pd.Series, log: str, first_line: int) -> None:
    """Raise a DataError if an id is empty, or a list; `first_line` is what to call the first of `values`."""
    empty = values.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values):
        empty = empty | (values.astype(str).str.strip() == "").to_numpy()
    if empty.any():
        raise DataError(
            f"{log}, line {first_line + int(empty.argmax())}: the column {values.name!r} is empty; "
            "fill it in or remove such rows."
        )
    try:
        if values.dtype == object:
            values.nunique()
    except TypeError as error:
        raise DataError(f"{log}: an id is a list or a table; ids must be numbers or text.") from error


def read_times(
    values: pd.Series, log: str, first_line: int, *, as_numbers: bool = False
) -> tuple[np.ndarray, TimeKind]:
    """Return times as exact 64-bit integers where they are whole, else as float64, and what they were read as.

    Args:
        values: numbers, dates or text of one of them.
        log: what to call the log in error messages.
        first_line: what to call the first of `values`.
        as_numbers: they belong to a column that holds other numbers, of other kinds, as well.

    Raises:
        DataError: a value is not a time, or cannot be told apart from its neighbours.
    """
    column = values.name
    if isinstance(values.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(values):
        bad, parsed = values.isna(), values
    elif pd.api.types.is_signed_integer_dtype(values) and not values.isna().any():
        return values.to_numpy(dtype=np.int64), "whole"
    else:
        text = values.astype("string").str.strip()
        if not as_numbers and text.str.fullmatch(r"[+-]?\d+").fillna(False).all():
            exact = pd.to_numeric(text)
            if pd.api.types.is_signed_integer_dtype(exact):
                return exact.to_numpy(dtype=np.int64), "whole"
            row = next(row for row, digits in enumerate(text) if not -(2**63) <= int(digits) < 2**63)
            raise DataError(
                f"{log}, line {first_line + row}: the time {text.iloc[row][:60]!r} in the column {column!r} does not "
                "fit 64 bits; use a coarser unit."
            )
        numbers = pd.to_numeric(text, errors="coerce").astype("float64")
        if as_numbers or numbers.notna().any():
            bad, parsed = ~np.isfinite(numbers), numbers
        else:
            parsed = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
            bad = parsed.isna()
    if bad.any():
        row = int(np.asarray(bad).argmax())
        raise DataError(
            f"{log}, line {first_line + row}: {str(values.iloc[row])[:60]!r} in the column {column!r} is not a "
            "time; use a number (such as seconds since 1970) or an ISO date (such as 2017-01-31 12:00:00) throughout."
        )
    if parsed.dtype == np.float64:
        numbers = parsed.to_numpy()
        if np.abs(numbers).max() >= 2**53:
            raise DataError(
                f"{log}: the column {column!r} has fractions beside numbers above 2^53, which cannot be told apart; "
                "use whole numbers throughout."
            )
        return (numbers.astype(np.int64) if (numbers == np.floor(numbers)).all() else numbers), "number"
    moments = parsed.dt.as_unit("us")
    if (moments != parsed).any():
        row = int((moments != parsed).to_numpy().argmax())
        raise DataError(
            f"{log}, line {first_line + row}: the time {str(values.iloc[row])[:60]!r} in the column {column!r} is "
            "finer than a microsecond, which would be lost; use whole numbers."
        )
    return moments.astype("int64").to_numpy(), "date"


def first_titles(frame: pd.DataFrame, item: str, title: str) -> pd.Series:
    """Return for each item the first title that is not empty, by item id."""
    titled = frame[frame[title].notna() & (frame[title].astype(str).str.strip() != "")]
    return titled.drop_duplicates(item).set_index(item)[title]


def name_items(item_ids: pd.Index, titles: pd.Series | None) -> np.ndarray:
    """Return (n_items,) str, each item's title, or its id where `titles`, by item id, have none."""
    own = pd.Series([str(one) for one in np.asarray(item_ids)], dtype=object)  # as wide as each is, not as the widest
    if titles is None:
        return own.to_numpy()
    found = pd.Series(titles.reindex(item_ids).to_numpy(dtype=object), dtype=object)
    return found.where(found.notna() & (found.astype(str).str.strip() != ""), own).astype(str).to_numpy(dtype=object)


def note_file_order(names: pd.Index) -> tuple[str]:
    """Return the note on a log without times, whose columns are `names`."""
    known = ", ".join(map(str, names))
    return (f"No column looks like a time (columns: {known}): rows are taken in file order. Name one with --time.",)


def note_ties(tied: int, n_rows: int) -> tuple[str, ...]:
    """Return the note on the rows that have the time of the same user's row before, if there are any."""
    if not tied:
        return ()
    return (
        f"{tied:,} of {n_rows:,} interactions have the time of the same user's one before: "
        "such ties keep the order of the file.",
    )
