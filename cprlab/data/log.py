"""InteractionLog: who consumed what, and when, checked, typed and sorted."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Self

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
        columns = {
            role: _column(frame, role, given, name)
            for role, given in {"user": user, "item": item, "time": time, "title": title}.items()
        }
        taken = [column for column in columns.values() if column is not None]
        if len(set(taken)) < len(taken):
            raise DataError(
                f"{name}: one column is to be two things ({', '.join(f'{r}: {c}' for r, c in columns.items() if c)}); "
                "name a column for each."
            )
        if frame.empty:
            raise DataError(f"{name} holds no rows; a log needs a row for each interaction.")
        for role in ("user", "item"):
            _refuse_empty(frame[columns[role]], columns[role], name, first_line)
        try:
            user_codes, user_ids = pd.factorize(frame[columns["user"]])
            item_codes, item_ids = pd.factorize(frame[columns["item"]])
        except TypeError as error:
            raise DataError(f"{name}: an id is a list or a table; ids must be numbers or text.") from error
        if columns["time"] is None:
            times, order = None, np.argsort(user_codes, kind="stable")
            known = ", ".join(map(str, frame.columns))
            notes += (
                f"No column looks like a time (columns: {known}): rows are taken in file order. Name one with --time.",
            )
        else:
            times = _times(frame[columns["time"]], columns["time"], name, first_line)
            order = np.lexsort((times, user_codes))
            times = times[order]
            tied = np.count_nonzero((np.diff(times) == 0) & (np.diff(user_codes[order]) == 0))
            if tied:
                notes += (
                    f"{tied:,} of {len(frame):,} interactions have the time of the same user's one before: "
                    "such ties keep the order of the file.",
                )
        return cls(
            name=name,
            users=user_codes[order].astype(np.int32),
            items=item_codes[order].astype(np.int32),
            times=times,
            user_ids=np.asarray(user_ids),
            item_ids=np.asarray(item_ids),
            titles=_titles(frame, columns["item"], columns["title"], titles, item_ids),
            notes=notes,
        )

    def sample(self, n_users: int, seed: int = 0) -> Self:
        """Return the log of `n_users` of its users, drawn at random; the whole log if it has no more."""
        if n_users >= len(self.user_ids):
            return self
        drawn = np.random.default_rng(seed).choice(len(self.user_ids), n_users, replace=False)
        kept = np.isin(self.users, drawn)
        return replace(
            self,
            users=self.users[kept],
            items=self.items[kept],
            times=None if self.times is None else self.times[kept],
            notes=(
                *self.notes,
                f"{n_users:,} of {len(self.user_ids):,} users are drawn at random (seed {seed}).",
            ),
        )

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when the users, the items or their order do."""
        digest = hashlib.sha256()
        for codes in (self.users, self.items):
            digest.update(np.ascontiguousarray(codes, dtype="<i4").tobytes())
        for ids in (self.user_ids, self.item_ids):
            digest.update("\0".join(map(str, ids)).encode())
        return digest.hexdigest()[:16]


def _column(frame: pd.DataFrame, role: str, given: str, name: str) -> str | None:
    if given:
        if given not in frame.columns:
            raise DataError(f"{name} has no column {given!r}; its columns are {', '.join(map(str, frame.columns))}.")
        return given
    by_name = {str(column).casefold(): column for column in reversed(frame.columns)}
    for guess in GUESSES[role]:
        if guess in by_name:
            return by_name[guess]
    if role in ("time", "title"):
        return None
    raise DataError(
        f"{name} has no column that looks like the {role} (tried {', '.join(GUESSES[role])}); "
        f"its columns are {', '.join(map(str, frame.columns))}: name the right one with --{role}."
    )


def _refuse_empty(values: pd.Series, column: str, name: str, first_line: int) -> None:
    empty = values.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values):
        empty = empty | (values.astype(str).str.strip() == "").to_numpy()
    if empty.any():
        raise DataError(
            f"{name}, line {first_line + int(empty.argmax())}: the column {column!r} is empty "
            f"({int(empty.sum()):,} such rows); fill it in or remove the rows."
        )


def _times(values: pd.Series, column: str, name: str, first_line: int) -> np.ndarray:
    """Return times as exact 64-bit integers where they are whole, else as float64."""
    if isinstance(values.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(values):
        bad, parsed = values.isna(), values
    elif pd.api.types.is_signed_integer_dtype(values) and not values.isna().any():
        return values.to_numpy(dtype=np.int64)
    else:
        text = values.astype("string").str.strip()
        if text.str.fullmatch(r"[+-]?\d+").fillna(False).all():
            exact = pd.to_numeric(text)
            if pd.api.types.is_signed_integer_dtype(exact):
                return exact.to_numpy(dtype=np.int64)
            row = next(row for row, digits in enumerate(text) if not -(2**63) <= int(digits) < 2**63)
            raise DataError(
                f"{name}, line {first_line + row}: the time {text.iloc[row][:60]!r} in the column {column!r} does not "
                "fit 64 bits; use a coarser unit."
            )
        numbers = pd.to_numeric(text, errors="coerce").astype("float64")
        if numbers.notna().any():
            bad, parsed = ~np.isfinite(numbers), numbers
        else:
            parsed = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
            bad = parsed.isna()
    if bad.any():
        row = int(np.asarray(bad).argmax())
        raise DataError(
            f"{name}, line {first_line + row}: {str(values.iloc[row])[:60]!r} in the column {column!r} is not a "
            "time; use a number (such as seconds since 1970) or an ISO date (such as 2017-01-31 12:00:00) throughout."
        )
    if parsed.dtype == np.float64:
        numbers = parsed.to_numpy()
        if np.abs(numbers).max() >= 2**53:
            raise DataError(
                f"{name}: the column {column!r} has fractions beside numbers above 2^53, which cannot be told apart; "
                "use whole numbers throughout."
            )
        return numbers.astype(np.int64) if (numbers == np.floor(numbers)).all() else numbers
    return parsed.dt.as_unit("us").astype("int64").to_numpy()


def _titles(
    frame: pd.DataFrame, item: str, title: str | None, titles: pd.Series | None, item_ids: pd.Index
) -> np.ndarray:
    if titles is None and title is not None:
        titled = frame[frame[title].notna() & (frame[title].astype(str).str.strip() != "")]
        titles = titled.drop_duplicates(item).set_index(item)[title]
    own = pd.Series(np.asarray(item_ids).astype(str), dtype=object)
    if titles is None:
        return own.to_numpy()
    found = pd.Series(titles.reindex(item_ids).to_numpy(dtype=object), dtype=object)
    return found.where(found.notna() & (found.astype(str).str.strip() != ""), own).astype(str).to_numpy(dtype=object)
