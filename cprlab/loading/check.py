"""check: how cprlab reads a log, and every doubt about it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.local import located
from cprlab.data.baskets import group_baskets
from cprlab.data.columns import Columns
from cprlab.data.doubts import CHANGES, doubt_same, without_invisible
from cprlab.data.log import InteractionLog, as_text, candidates, plain
from cprlab.data.readers import kind_of, read_table
from cprlab.data.repeats import count_repeats
from cprlab.data.sequences import Sequences
from cprlab.data.splits import SplitBy
from cprlab.data.ties import BACKWARDS, Ties, count_steps, one_way, ranked
from cprlab.data.times import DIGITS, EXCEL, from_one, read_times, show_time
from cprlab.errors import DataError
from cprlab.loading.load import as_log, check_file

NOT_USED = ("event", "event_type", "action", "behavior", "behaviour", "type", "rating", "ratings", "score", "stars")
LIKE_BASKETS = ("basketid", "basket", "orderid", "invoiceno", "invoice", "transactionid", "cartid")  # `plain` names
ENOUGH = 5  # interactions per user, the default of `Sequences.from_log`
MANY, TIMES_THE_MEDIAN = 1000, 50  # interactions of a user that suggest a program or a shared account
FIRST = 5  # rows shown
ZONED = r"\d[T ]\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)\s*$"  # date, time of day and time zone


@dataclass(frozen=True)
class Check:
    """How a file was read. Values from the file are unescaped; make them `visible` before printing.

    Attributes:
        columns: rows `column, type, used as, why`.
        rows: the first rows, as text.
        facts: rows `fact, value`; empty if the file is not a log, as are `splits` and `doubts`.
        splits: rows `fact, leave-one-out, temporal, next-basket`: the size of each split and its leakage, without
            columns for splits that are not possible.
        doubts: one sentence or two for each doubt; those that change results first (see `cprlab.data.doubts`).
        refused: why the file is not a log, or cannot be split.
    """

    columns: pd.DataFrame
    rows: pd.DataFrame
    facts: pd.DataFrame
    splits: pd.DataFrame
    doubts: tuple[str, ...]
    refused: DataError | None


def check(
    path: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
) -> Check:
    """Read a file into memory as `load_log` does, and describe it.

    Args:
        path: a file, a folder or glob of parts, or an imported log's name, as for `load_log`.
        columns: which column holds what.
        ties: order of ties, as for `load_log`.

    Raises:
        DataError: the file is missing or not a table.
    """
    if str(path) in BUILTIN:
        raise DataError(f"{path} is built in and needs no check; name a file instead.")
    path = Path(located(path))
    check_file(path)
    frame = read_table(path)
    given = dict(columns)
    taken = {role: given[role] or next(iter(candidates(frame.columns, role)), "") for role in given}
    places = [one for one in candidates(frame.columns, "order") if one not in taken.values()][:1]
    if places and ranked(frame[places[0]]) is not None:
        taken["order" if taken["time"] or taken["basket"] else "time"] = places[0]
    facts, refused = pd.DataFrame(columns=["fact", "value"]), None
    leaks: dict[SplitBy, dict[str, int | float]] = {}
    doubts: list[str] = []
    try:
        log = as_log(frame, path, columns, ties)
        if not given["title"] and not _titled(log).any():  # see `cprlab.data.doubts.are_titles`
            taken["title"] = ""
        facts = _describe(path, frame, log, taken["time"])
        doubts += _doubts(frame, log, given, taken)
        leaks["leave-one-out"] = leakage(log, "leave-one-out")
    except DataError as error:
        refused = error
    else:
        others: tuple[SplitBy, ...] = ("temporal", "next-basket")
        for split in others:
            with suppress(DataError):  # nobody asked for this split, so the log need not allow it
                leaks[split] = leakage(log, split)
        doubts += _about_leaks(leaks, log)
    head = frame.head(FIRST).apply(lambda values: as_text(values.astype(object)))
    return Check(
        _describe_columns(frame, given, taken),
        head,
        facts,
        _side_by_side(leaks),
        tuple(sorted(doubts, key=_grade)),
        refused,
    )


def _grade(doubt: str) -> bool:
    return not doubt.startswith(CHANGES)


def _describe_columns(frame: pd.DataFrame, given: dict[str, str], columns: dict[str, str]) -> pd.DataFrame:
    roles = {column: role for role, column in reversed(columns.items()) if column}
    rows = []
    for column in frame.columns:
        role = roles.get(column, "")
        why = f"named with --{role}" if role and given.get(role) else "its name" if role else ""
        if not role and plain(str(column)) in LIKE_BASKETS:
            why = "may be baskets: group their rows with --basket"
        elif not role and not columns["time"] and any(word in str(column).casefold() for word in ("time", "date")):
            why = "may be times: name it with --time"
        kind = str(frame[column].dtype).replace("str", "text")
        rows.append((str(column), kind, role or "not used", why))
    return pd.DataFrame(rows, columns=["column", "type", "used as", "why"])


def _describe(path: Path, frame: pd.DataFrame, log: InteractionLog, time: str) -> pd.DataFrame:
    kind, compression = kind_of(path)
    lengths = np.bincount(log.users)
    facts = {
        "file type": f"{kind[1:]}{f', compressed as {compression[1:]}' if compression else ''}",
        "rows": f"{len(log):,}",
        "users": f"{len(log.user_ids):,}",
        "items": f"{len(log.item_ids):,}",
        "interactions per user, median (fewest to most)": _spread(lengths),
        "interactions that repeat an earlier item of the user": f"{_repeats(log):.1%}",
        "times": "none, rows stay in file order" if log.times is None else _range(log.times, log.unit),
        "read as": "" if log.times is None else _read_as(frame[time], log.unit),
        "items with a title": f"{np.count_nonzero(_titled(log)):,}",
    }
    if log.baskets is not None:
        sizes = np.bincount(log.baskets)
        facts["baskets"] = f"{len(sizes):,}"
        facts["rows per basket, median (fewest to most)"] = _spread(sizes)
    return pd.DataFrame([(fact, value) for fact, value in facts.items() if value], columns=["fact", "value"])


def _titled(log: InteractionLog) -> np.ndarray:
    return log.titles != as_text(pd.Series(log.item_ids, dtype=object)).to_numpy(dtype=object)


def _spread(counts: np.ndarray) -> str:
    return f"{np.median(counts):,.0f} ({counts.min():,} to {counts.max():,})"


def _repeats(log: InteractionLog) -> float:
    pairs = log.users.astype(np.int64) * len(log.item_ids) + log.items
    return 1 - len(np.unique(pairs)) / len(log)


def _range(times: np.ndarray, unit: str) -> str:
    return " to ".join(show_time(time, unit) for time in (times.min().item(), times.max().item()))


def _read_as(values: pd.Series, unit: str) -> str:
    if not unit:
        return "plain numbers, used only for order"
    if unit in DIGITS:
        return f"dates written in digits, {unit}"
    if unit == EXCEL:
        return "Excel's days since 1899-12-30, guessed from their magnitude"
    if pd.isna(pd.to_numeric(as_text(values.head(1)).str.strip(), errors="coerce").iloc[0]):
        return "dates, in UTC unless they name a time zone"
    return f"{unit} since 1970 (UTC), guessed from their magnitude"


def leakage(log: InteractionLog, split: SplitBy) -> dict[str, int | float]:
    """Return the size and leakage of a split, by fact, for the users with at least 5 interactions.

    Shares are of the validation or test cases. In the next-basket split each item of a user's last basket is a separate
    test case. A test item is older than the newest training interaction if any kept user has a training interaction
    after it: the model was then trained on the future.

    Raises:
        DataError: the log cannot be split this way.
    """
    sequences = Sequences.from_log(log, split=split)
    rows = np.arange(len(log))
    if split == "next-basket":
        rows = rows[group_baskets(log.users, log.items, log.times, log.baskets, log.name)[0]]
    users = log.users[rows]
    rows = rows[(np.bincount(users) >= ENOUGH)[users]]  # log rows in the sequences' order
    training = np.arange(len(sequences.items)) < np.repeat(sequences.held_out[0], np.diff(sequences.offsets))
    windows = sequences.windows("test")
    tests, validations = windows.first, sequences.windows("validation").first
    counts = count_repeats(sequences)
    facts = {
        "users": sequences.n_users,
        "training targets": int(sequences.windows("train").n_targets.sum()),
        "validation cases": len(validations),
        "test cases": len(tests),
        "test items among the 50 before them": counts.tested / counts.cases,
        "test items that never occur in training": np.mean(sequences.training_counts()[sequences.items[tests]] == 0),
    }
    if log.times is not None:
        times = log.times[rows]
        newest = times[training].max()
        facts["validation items older than the newest training interaction"] = np.mean(times[validations] < newest)
        facts["test items older than the newest training interaction"] = np.mean(times[tests] < newest)
    if log.baskets is not None:
        baskets = log.baskets[rows]
        facts["test items predicted from their own basket"] = np.mean(baskets[tests] == baskets[windows.stop - 1])
    return {fact: value if isinstance(value, int) else float(value) for fact, value in facts.items()}


def _side_by_side(leaks: dict[SplitBy, dict[str, int | float]]) -> pd.DataFrame:
    shown = {
        split: {fact: f"{value:,}" if isinstance(value, int) else f"{value:.1%}" for fact, value in facts.items()}
        for split, facts in leaks.items()
    }
    return pd.DataFrame(shown).rename_axis("fact").reset_index()


def _doubts(frame: pd.DataFrame, log: InteractionLog, given: dict[str, str], columns: dict[str, str]) -> Iterator[str]:
    guessed = {role: column for role, column in columns.items() if column and not given.get(role, "order")}
    if guessed:
        named = ", ".join(f"{role} = {column!r}" for role, column in guessed.items())
        yield f"Guessed from column names: {named}. Name other columns with --{', --'.join(guessed)}."
    for role in guessed:
        others = [column for column in candidates(frame.columns, role)[1:] if column not in columns.values()]
        if others:
            yield f"The {role} could also be {' or '.join(map(repr, others))}; name it with --{role}."
    yield from log.notes
    yield from _about_times(frame, log, columns["user"], columns["time"])
    yield from _about_rows(frame, log, columns)
    for kind, ids in (("user", log.user_ids), ("item", log.item_ids)):
        yield from _about_ids(kind, pd.Series(ids))
    yield from _about_users(log)


def _about_leaks(leaks: dict[SplitBy, dict[str, int | float]], log: InteractionLog) -> Iterator[str]:
    share = leaks["leave-one-out"].get("test items older than the newest training interaction", 0)
    if share and not _number_rows(log):
        remedy = " The temporal split avoids this." if "temporal" in leaks else ""
        yield (
            f"Leakage: in the leave-one-out split, {share:.1%} of the test items are older than the newest training "
            f"interaction, so models know what other users did later.{remedy}"
        )


def _number_rows(log: InteractionLog) -> bool:
    """Return whether the times of several users are all first, first + 1, … with the same first."""
    if log.unit or log.times is None or len(log.user_ids) < 2:
        return False
    begins = np.flatnonzero(np.diff(log.users, prepend=-1))
    place = np.arange(len(log)) - np.repeat(begins, np.diff(begins, append=len(log)))
    return bool((log.times == log.times[0] + place).all())


def _about_times(frame: pd.DataFrame, log: InteractionLog, user: str, time: str) -> Iterator[str]:
    if log.times is None:
        return
    if _number_rows(log):
        yield (
            f"Each user's times are {log.times[0]:,}, {log.times[0] + 1:,} and so on, so they number the user's rows. "
            "Times of different users cannot be compared, so the temporal split and the leakage figures mean nothing."
        )
    falls = count_steps(read_times(frame[time], log.name, from_one)[0], pd.factorize(frame[user])[0])[::-1]
    if one_way(falls[0], sum(falls), BACKWARDS):
        yield (
            f"The file runs newest first: from row to row of a user, times fall in {falls[0]:,} of {sum(falls):,} "
            "steps that change them. Rows are sorted by time."
        )
    if not log.unit:
        return
    if isinstance(frame[time].dtype, pd.StringDtype):
        zoned = frame[time].str.contains(ZONED)
        if zoned.any() and not zoned.all():
            yield f"{np.count_nonzero(~zoned):,} times have no time zone, unlike the others, and are read as UTC."


def _about_rows(frame: pd.DataFrame, log: InteractionLog, columns: dict[str, str]) -> Iterator[str]:
    if log.times is None:  # otherwise, the log's notes count rows that are equal in user, item and time
        with suppress(TypeError):  # lists in an unused column
            if twice := np.count_nonzero(frame.duplicated()):
                yield f"{twice:,} of {len(frame):,} rows are exact copies of an earlier row; they are kept as repeats."
    for column in frame.columns.difference([*columns.values()], sort=False):
        if plain(column) in map(plain, NOT_USED) and (values := as_text(frame[column]).value_counts()).size > 1:
            often = " and ".join(f"{value!r} ({n:,} rows)" for value, n in values.head(2).items())
            yield f"The column {column!r} is not used, so all rows count the same, such as {often}."


def _about_ids(kind: str, ids: pd.Series) -> Iterator[str]:
    if pd.api.types.is_numeric_dtype(ids):
        return
    text = as_text(ids)
    odd = text[[not one.isprintable() for one in text]]
    if len(odd):
        yield f"{len(odd):,} {kind} ids contain invisible characters, such as line ends or escapes: {odd.iloc[0]!r}."
    seen = text.map(without_invisible)
    yield from doubt_same(kind, seen, seen.str.casefold(), "but for case", grade="")


def _about_users(log: InteractionLog) -> Iterator[str]:
    lengths = np.bincount(log.users)
    short = lengths < ENOUGH
    if short.any():
        yield (
            f"{np.count_nonzero(short):,} of {len(lengths):,} users have fewer than {ENOUGH} interactions and are left "
            f"out, with {lengths[short].sum() / len(log):.1%} of the rows."
        )
    median = np.median(lengths)
    if lengths.max() > max(MANY, TIMES_THE_MEDIAN * median):
        yield (
            f"The user {str(log.user_ids[lengths.argmax()])!r} has {lengths.max():,} interactions, "
            f"{lengths.max() / median:,.0f} times the median. It may be a program or a shared account."
        )
    ends = np.cumsum(lengths)
    items = [
        log.items[end - length : end].tobytes() for end, length in zip(ends, lengths, strict=True) if length >= ENOUGH
    ]
    if same := len(items) - len(set(items)):
        yield f"{same:,} of {len(items):,} users have exactly the same sequence of items as another user."
