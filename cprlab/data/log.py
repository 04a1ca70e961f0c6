"""InteractionLog: who consumed what and when, checked, typed and sorted."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd

from cprlab.data.columns import Columns
from cprlab.data.doubts import are_titles, doubt_titles
from cprlab.data.protocol import Protocol
from cprlab.data.ties import TieCounts, Ties, count_steps, keys, ranked
from cprlab.data.times import (
    LineOf,
    count_finer,
    count_units,
    from_one,
    note_baskets,
    note_file_order,
    note_finer,
    note_order,
    note_units,
    read_times,
    unit_of,
)
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
        "reviewer_id",
        "client_id",
    ],
    "item": [
        "item_id",
        "item",
        "itemid",
        "product_id",
        "movie_id",
        "article_id",
        "track_id",
        "problem_step_name",
        "business_id",
        "book_id",
        "asin",
        "stock_code",
    ],
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
    "order": ["order", "position", "sequence", "add_to_cart_order"],
}


@dataclass(frozen=True)
class InteractionLog:
    """Interactions grouped by user and sorted by time; `notes` say how ties were ordered.

    Users and items are stored as codes into the log's own ids.

    Attributes:
        name: name of the log in tables.
        users: (m,) int32, codes into `user_ids`, non-decreasing.
        items: (m,) int32, codes into `item_ids`.
        times: (m,) int64 or float64 in the log's unit (microseconds for dates), or None if the log has no times.
        user_ids: (n_users,) the log's own user ids.
        item_ids: (n_items,) the log's own item ids.
        titles: (n_items,) str, each item's title, or its id if it has none.
        notes: what a reader of results should know: rows dropped, ties, missing times.
        unit: what the times look like, one of `times.LOOKS`: "seconds" to "nanoseconds" since 1970 (UTC), the digits of
            a date, or Excel's days; empty for plain numbers and for no times.
        baskets: (m,) int64, basket number of each row, non-decreasing; None if the log has no baskets.
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    titles: np.ndarray
    notes: tuple[str, ...] = field(default=())
    unit: str = ""
    baskets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        name: str = "log",
        columns: Columns = Columns(),
        *,
        ties: Ties = "auto",
        titles: pd.Series | None = None,
        line_of: LineOf = from_one,
        notes: tuple[str, ...] = (),
    ) -> Self:
        """Check and sort a table with one row per interaction.

        Args:
            frame: the table, in file order.
            name: name of the log in tables and error messages.
            columns: which column holds what. Without a time, rows stay in file order. A user's rows of one basket, such
                as an order number, follow each other, at the time of the earliest.
            ties: order of a user's rows with the same time or basket, where no column named like `position` gives it:
                "file", the file's order; "shuffle", a random order that depends only on the row's position in the
                file; or "auto", see `ties.TieCounts.settle`.
            titles: titles by item id, from another table; takes precedence over `columns.title`.
            line_of: line number of a row, for error messages.
            notes: notes to pass on.

        Raises:
            DataError: a column is missing, a value is empty or unreadable, or the table has no rows.
            ConfigError: `ties` is unknown.
        """
        Protocol(ties=ties)  # refuses a way that is none
        if not isinstance(frame, pd.DataFrame):
            raise DataError(
                f"{name} must be a DataFrame with a row for each interaction, not a {type(frame).__name__}."
            )
        found = find_columns(frame.columns, name, columns)
        ranks = None if found["order"] is None else ranked(frame[found["order"]])
        refuse_no_rows(len(frame), name)
        for role in ("user", "item", "basket"):
            if found[role] is not None:
                check_ids(frame[found[role]], name, line_of)
        user_codes, user_ids = pd.factorize(frame[found["user"]])
        item_codes, item_ids = pd.factorize(frame[found["item"]])
        places = np.arange(len(frame))
        starts = np.zeros_like(places)  # position of the first row of each row's basket
        if found["basket"] is not None:
            basket_codes = pd.factorize(frame[found["basket"]])[0]
            pairs = user_codes.astype(np.int64) * (basket_codes.max() + 1) + basket_codes
            first, starts = np.unique(pairs, return_index=True, return_inverse=True)[1:]
            starts = first[starts]
            notes += note_baskets(found["basket"], len(first))
        time_column = found["time"]
        if ranks is not None:
            as_time = time_column is None and found["basket"] is None
            notes += note_order(found["order"], as_time)
            time_column = found["order"] if as_time else time_column
        times, unit = None, ""
        written = moments = places if found["basket"] is None else starts  # in the order of the file
        if time_column is None:
            notes += note_file_order(frame.columns)
        else:
            written, kind = read_times(frame[time_column], name, line_of)
            times = written
            if found["basket"] is not None:
                times = pd.Series(written).groupby(starts).transform("min").to_numpy()
            units = count_units(written, kind)
            unit, moments = unit_of(units), times
            notes += note_units(units) + note_finer(count_finer(frame[time_column], kind))
        if titles is None and found["title"] is not None:
            different = different_titles(item_codes, frame[found["title"]])
            first = different.drop_duplicates("item")
            several = np.unique(different["item"].drop(first.index))
            repeated = int(np.count_nonzero(np.bincount(item_codes) > 1))
            shown = bool(columns.title) or are_titles(len(several), repeated)
            two = different["title"][different["item"].isin(several[:1])][:2]
            notes += tuple(doubt_titles(found["title"], len(several), repeated, shown, item_ids[several[:1]], two))
            titles = first["title"].set_axis(item_ids[first["item"]]) if shown else None
        named = name_items(item_ids, titles)
        ranks = np.zeros(len(frame)) if ranks is None else ranks
        order = np.lexsort((places, ranks, starts, moments, user_codes))
        counts = TieCounts(pd.Series(item_ids), named)
        counts.add(*(values[order] for values in (user_codes, moments, starts, ranks, item_codes)))
        how, said = counts.settle(ties, len(frame), lambda: count_steps(written, user_codes))
        if how != "file":
            order = np.lexsort((keys(places, how), ranks, keys(starts, how), moments, user_codes))
        return cls(
            name=name,
            users=user_codes[order].astype(np.int32),
            items=item_codes[order].astype(np.int32),
            times=None if times is None else times[order],
            user_ids=np.asarray(user_ids),
            item_ids=np.asarray(item_ids),
            titles=named,
            notes=notes + said,
            unit=unit,
            baskets=None
            if found["basket"] is None
            else np.cumsum(np.diff(starts[order], prepend=starts[order[0]]) != 0),
        )


def find_columns(names: pd.Index, log: str, given: Columns) -> dict[str, Any]:
    """Return the column of each role (user, item, time, title, basket, order); None for absent optional columns.

    "order" is the likeliest column with such a name that has no other role.

    Args:
        names: the table's columns.
        log: name of the log in error messages.
        given: the columns that are known; the others are guessed from column names, except for baskets.

    Raises:
        DataError: a column is missing, or has two roles.
    """
    if names.has_duplicates:
        raise DataError(f"{log} has two columns {names[names.duplicated()][0]!r}; rename one of them.")
    columns = {role: _column(names, role, column, log) for role, column in given}
    taken = [column for column in columns.values() if column is not None]
    if twice := [column for column in taken if np.count_nonzero(names == column) > 1]:
        raise DataError(f"{log} has two columns {twice[0]!r}; rename one of them.")
    if len(set(taken)) < len(taken):
        (column, roles), *_ = (
            (one, [role for role, other in columns.items() if other == one]) for one in taken if taken.count(one) > 1
        )
        raise DataError(
            f"{log}: the column {column!r} has two roles, {' and '.join(roles)}; name another one with "
            f"--{' or --'.join(roles)}."
        )
    return columns | {"order": next((name for name in candidates(names, "order") if name not in taken), None)}


def _column(names: pd.Index, role: str, given: str, log: str) -> str | None:
    known = ", ".join(map(str, names))
    if given:
        if given not in names:
            raise DataError(f"{log} has no column {given!r}. Its columns are {known}.")
        return given
    if found := candidates(names, role):
        return found[0]
    if role in ("time", "title", "basket"):
        return None
    raise DataError(
        f"{log}: no column looks like the {role} (tried {', '.join(GUESSES[role])}). "
        f"Its columns are {known}; name the right one with --{role}."
    )


def candidates(names: pd.Index, role: str) -> list[str]:
    """Return the columns whose names fit a role, the likeliest first; `movieId` counts as `movie_id`."""
    found = []
    for form in (str.casefold, plain):
        by_name = {form(str(column)): column for column in reversed(names)}
        found += [by_name[form(guess)] for guess in GUESSES.get(role, ()) if form(guess) in by_name]
    return list(dict.fromkeys(found))


def plain(name: str) -> str:
    """Return a column name without case and punctuation: `movieId`, `Movie ID` and `movie_id` become equal."""
    return "".join(filter(str.isalnum, name.casefold()))


def refuse_no_rows(n_rows: int, log: str) -> None:
    """Raise a DataError if a log has no rows."""
    if n_rows == 0:
        raise DataError(f"{log} has no rows; a log needs a row for each interaction.")


def check_ids(values: pd.Series, log: str, line_of: LineOf) -> None:
    """Raise a DataError if an id is empty or a list; `line_of` is as for `read_times`."""
    try:
        if not (pd.api.types.is_numeric_dtype(values) or isinstance(values.dtype, pd.StringDtype)):
            values.nunique()
    except (TypeError, NotImplementedError) as error:
        raise DataError(
            f"{log}, column {values.name!r}: an id is a list or a table; ids must be numbers, text or dates."
        ) from error
    empty = values.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values):
        empty = empty | (as_text(values).str.strip() == "").to_numpy()
    if empty.any():
        raise DataError(
            f"{log}, line {line_of(int(empty.argmax()))}: the column {values.name!r} is empty. "
            "Fill in the value or remove the row."
        )


def as_text(values: pd.Series) -> pd.Series:
    """Return ids or titles of any type as text; bytes are decoded as UTF-8, or else shown as hexadecimal digits."""
    return values.map(_as_text) if values.dtype == object else values.astype(str)


def _as_text(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    text = value.decode("utf-8", "replace")
    return text if text.isprintable() and "\ufffd" not in text else value.hex()


def different_titles(items: np.ndarray | pd.Series, titles: pd.Series) -> pd.DataFrame:
    """Return each item's different titles that are not empty, as rows `item, title` by their place in the file."""
    text = as_text(titles)
    named = (titles.notna() & (text.str.strip() != "")).to_numpy()
    rows = pd.DataFrame({"item": np.asarray(items)[named], "title": text[named].array}, np.flatnonzero(named))
    return rows.drop_duplicates()


def name_items(item_ids: pd.Index, titles: pd.Series | None) -> np.ndarray:
    """Return (n_items,) str, each item's title, or its id if `titles` (by item id) has none."""
    own = as_text(pd.Series(np.asarray(item_ids), dtype=object))
    if titles is None:
        return own.to_numpy()
    found = pd.Series(titles.reindex(item_ids).to_numpy(dtype=object), dtype=object)
    return found.where(found.notna() & (found.astype(str).str.strip() != ""), own).astype(str).to_numpy(dtype=object)
