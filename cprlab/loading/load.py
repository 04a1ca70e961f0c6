"""load_log and load_sequences: open a built-in log, a file or a prepared folder."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import CATALOGUE
from cprlab.catalogue.local import filtered, located, read_about
from cprlab.data.columns import Columns
from cprlab.data.doubts import changes, doubt_copies, doubt_ids, doubt_times
from cprlab.data.log import InteractionLog, find_columns
from cprlab.data.own_files import from_files
from cprlab.data.prepared import is_prepared, load_prepared
from cprlab.data.readers import (
    CHUNK,
    COMPRESSED,
    PACKED,
    READERS,
    called,
    item_titles,
    kind_of,
    line_of,
    parts_of,
    read_table,
)
from cprlab.data.sequences import Sequences
from cprlab.data.splits import OWN, SplitBy
from cprlab.data.ties import BACKWARDS, Ties, count_steps, one_way, ranked
from cprlab.data.times import DIGITS, as_number, count_units, from_one, read_times, show_time, unit_of
from cprlab.errors import DataError, suggestion
from cprlab.files import refuse_unreadable

_NAMES = dict.fromkeys([*BUILTIN, *(data_set.name for data_set in CATALOGUE)])


def load_log(
    name_or_path: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
) -> InteractionLog:
    """Read a built-in log or an imported data set by name, a file of `readers.READERS`, or a folder or glob of parts.

    Text files may be compressed, as `.gz` or `.zst`. Ids do not change: in text files they stay text, so `007` is not
    `7`. Next to `NAME.inter`, RecBole's `NAME.item` gives the titles if it exists.

    Args:
        name_or_path: one of `cprlab.catalogue.BUILTIN`, an imported data set of the catalogue (the paper's filter
            removes its rare items), or a file.
        columns: which column holds what (see `InteractionLog.from_frame`).
        ties: order of rows whose order is unknown (see there); "auto" shuffles those of a built-in log.

    Raises:
        DataError: the file is missing, empty or not a table, or a column or value is invalid.
        ConfigError: `ties` is unknown.
    """
    if str(name_or_path) in BUILTIN:
        if columns != Columns():
            raise DataError(f"{name_or_path} is built in and its columns are known; remove the column names.")
        return BUILTIN[str(name_or_path)](ties)
    path = Path(located(name_or_path))
    check_file(path)
    frame = read_table(path)
    refuse_times_not_named(frame, called(path), columns, ties)
    return as_log(frame, path, columns, ties)


def as_log(frame: pd.DataFrame, path: Path, columns: Columns, ties: Ties) -> InteractionLog:
    """Return the log of a file's table, with titles from an `.item` file, and with its doubts as its first notes.

    The paper's filter removes rare items and short histories of an imported data set.

    Raises:
        DataError: a column or value is invalid.
    """
    titles = None if columns.title else item_titles(path)
    name = called(path)
    notes: tuple[str, ...] = ()
    if (about := read_about(path)) is not None:
        frame, left_out = filtered(frame, about)
        name, notes = about.name, about.notes + left_out
    hidden = doubt_times_not_named(frame, called(path), columns)
    line = partial(line_of, path)
    log = InteractionLog.from_frame(frame, name, columns, ties=ties, titles=titles, line_of=line, notes=notes)
    return replace(log, notes=(*hidden, *_doubts(log), *log.notes))


def _doubts(log: InteractionLog) -> Iterator[str]:
    """Yield the doubts about a log's ids, copies and times; `prepare` asks its database for the same."""
    for kind, codes, ids in (("user", log.users, log.user_ids), ("item", log.items, log.item_ids)):
        yield from doubt_ids(kind, pd.Series(ids), np.bincount(codes))
    if log.times is None:
        return
    new = (np.diff(log.users, prepend=-1) != 0) | (np.diff(log.times, prepend=log.times[0]) != 0)
    tied = np.flatnonzero(~new | ~np.append(new[1:], True))
    order = tied[np.lexsort((log.items[tied], np.cumsum(new)[tied]))]
    copies = order[1:][(np.diff(np.cumsum(new)[order]) == 0) & (np.diff(log.items[order]) == 0)]
    if len(copies):
        user, item, time = log.user_ids[log.users[copies[0]]], log.item_ids[log.items[copies[0]]], log.times[copies[0]]
        yield from doubt_copies(len(copies), len(log), user, item, show_time(time.item(), log.unit))
    if log.unit:
        early, late = (int(np.sum(beyond)) for beyond in (log.times < first(log.unit), log.times > now(log.unit)))
        yield from doubt_times(early, late, len(log), show_time(log.times.max().item(), log.unit))


def first(unit: str) -> float:
    """Return the first moment that is no doubt in times of a unit; numbers near 0 would be in 1970."""
    return as_number(pd.Timestamp("1971-01-01"), unit)


def now(unit: str) -> float:
    """Return this moment in a unit."""
    return as_number(pd.Timestamp.now(), unit)


def times_not_named(frame: pd.DataFrame, log: str, columns: Columns) -> dict[str, np.ndarray]:
    """Return the times in columns whose values are dates, by column, if no column is named like a time.

    Values are dates if all are, in the first `CHUNK` rows: dates, ISO text, the digits of dates, or numbers since 1970
    in a unit that puts all of them from 1990 to now.

    Raises:
        DataError: a column is missing, or has two roles.
    """
    found = find_columns(frame.columns, log, columns)
    head = frame.head(CHUNK)
    ordered = found["order"] is not None and found["basket"] is None and ranked(head[found["order"]]) is not None
    if found["time"] is not None or ordered or head.empty:
        return {}
    times = {}
    for column in head.columns.difference([one for one in found.values() if one is not None], sort=False):
        try:
            for rows in (head[column].head(100), head[column]):
                moments, kind = read_times(rows, log, from_one)
                unit = unit_of(count_units(moments, kind))
                since = as_number(pd.Timestamp("1990-01-01"), unit) if unit else np.inf
                if kind != "date" and unit not in DIGITS and not ((moments > since) & (moments < now(unit))).all():
                    break
            else:
                times[column] = moments
        except (DataError, TypeError, ValueError, NotImplementedError):  # other values than times
            continue
    return times


def doubt_times_not_named(frame: pd.DataFrame, log: str, columns: Columns) -> Iterator[str]:
    """Yield the doubt about a file whose columns of dates are not used, if it has any."""
    for column, times in times_not_named(frame, log, columns).items():
        user = find_columns(frame.columns, log, columns)["user"]
        rises, falls = count_steps(times, pd.factorize(frame[user].head(CHUNK))[0])
        newest = one_way(falls, rises + falls, BACKWARDS)
        yield changes(
            f"The column {column!r} holds dates (such as {str(frame[column].iloc[0])!r}), but rows keep the order of "
            f"the file{', which runs newest first' if newest else ''}. Use --time {column} to sort by it."
        )


def refuse_times_not_named(frame: pd.DataFrame, log: str, columns: Columns, ties: Ties) -> None:
    """Raise a DataError if a column holds dates and is not used, unless `ties` asks for the order of the file."""
    for column in () if ties == "file" else times_not_named(frame, log, columns):
        raise DataError(
            f"{log}: no column is named like a time, but {column!r} holds dates (such as "
            f"{str(frame[column].iloc[0])!r}). Use --time {column} to sort by it, or --ties file to keep the order of "
            "the file."
        )


def load_sequences(
    name_or_path: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
    split: SplitBy = "leave-one-out",
    max_len: int = 0,
    validation: str | Path = "",
    test: str | Path = "",
) -> Sequences:
    """Open a prepared folder (`prepare`, `save_prepared`), or read anything that `load_log` reads as sequences.

    Args:
        name_or_path: as for `load_log`, or a folder.
        columns: which column of a file holds what.
        ties: order of rows whose order is unknown; must be "auto" for a folder, whose order is fixed.
        split: how to hold interactions out; for a folder, the split that it was prepared with.
        max_len: maximum number of items that a model reads; 0 means 50, or the value of a prepared folder.
        validation: with `test`, a log with the validation rows.
        test: a log with the test rows; `name_or_path` then has the training rows only (see `own_files.from_files`).

    Raises:
        DataError: the data are missing, invalid, or too short to split.
    """
    if test or validation:
        return load_own(name_or_path, validation, test, columns, ties, split, max_len or 50)
    if str(name_or_path) in BUILTIN or not is_prepared(Path(located(name_or_path))):
        return Sequences.from_log(load_log(name_or_path, columns, ties=ties), split=split, max_len=max_len or 50)
    if columns != Columns() or ties != "auto":
        raise DataError(
            f"{name_or_path} is a prepared log, whose columns and order are fixed; remove the column names and ties."
        )
    sequences = load_prepared(name_or_path)
    if sequences.split not in (split, OWN):
        raise DataError(
            f"{name_or_path} was prepared with the {sequences.split} split, not the {split} split. "
            f"Use --split {sequences.split}, or prepare the log again."
        )
    return replace(sequences, max_len=max_len) if max_len else sequences


def load_own(
    training: str | Path,
    validation: str | Path,
    test: str | Path,
    columns: Columns,
    ties: Ties,
    split: SplitBy,
    max_len: int,
    min_interactions: int = 5,
) -> Sequences:
    """Read files that are split already (see `own_files.from_files`); without a validation file it is "".

    Raises:
        DataError: there is no test file, another split is asked for, or a file is invalid.
    """
    if not test:
        raise DataError("A validation file needs a test file; name it with --test.")
    if split != "leave-one-out":
        raise DataError(f"With a test file, the files are the split; leave out --split {split}.")
    rows, tested = (load_log(path, columns, ties=ties) for path in (training, test))
    chosen = load_log(validation, columns, ties=ties) if validation else None
    return from_files(rows, chosen, tested, max_len=max_len, min_interactions=min_interactions)


def check_file(path: Path) -> None:
    """Raise a DataError unless `path` is a file of a type that cprlab reads."""
    if path.suffix.lower() in (".xlsx", ".xls", ".xlsm", ".ods"):
        raise DataError(
            f"{path} is a workbook, which cprlab does not read. Save the sheet as csv (in Excel: Save As, CSV UTF-8), "
            "with dates written like 2024-01-31 and long ids formatted as text."
        )
    try:
        os.stat(path)
    except OSError as error:
        refuse_unreadable(path, error)
    if not os.path.isfile(path) and parts_of(path):
        return
    if not path.suffix and not os.path.exists(path):
        raise DataError(f"Unknown data {str(path)!r}: {suggestion(str(path), _NAMES)} Or name a file.")
    if not os.path.isfile(path):
        raise DataError(
            f"{path} is not a file, nor a folder or glob that holds logs. Check the name, or use one of "
            f"{', '.join(BUILTIN)}."
        )
    kind, compression = kind_of(path)
    if kind not in READERS or (compression and kind in PACKED):
        packed = " or ".join(COMPRESSED)
        raise DataError(
            f"{path} ends in {''.join(path.suffixes[-2:] if compression else path.suffixes[-1:])!r}; "
            f"cprlab reads {', '.join(READERS)}, and text files compressed as {packed}."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; a log needs a header and a row for each interaction.")
