"""Rows: what RecBole (version 1.2) keeps of a log by a model's configuration, and its numbering of items."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cprlab.data import Columns
from cprlab.data.log import find_columns
from cprlab.data.readers import beside, line_of, read_table
from cprlab.data.times import read_times
from cprlab.errors import ConfigError, DataError

Settings = Mapping[str, Any]
Interval = tuple[str, float, float, str]  # bracket, from, to, bracket

FIELDS = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD", "time": "TIME_FIELD"}
FILTERS = ("rm_dup_inter", "val_interval", "user_inter_num_interval", "item_inter_num_interval")

# Ids and numbers that RecBole's pandas reads as missing.
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)


@dataclass(frozen=True)
class Rows:
    """The rows of a log that RecBole kept.

    Attributes:
        frame: the rows in RecBole's order, with times in single precision.
        columns: the names of its columns.
        more: ids of items that are only in the `.item` file; RecBole numbers them after those of the rows.
        own: the rows in the same order with the file's own times.
    """

    frame: pd.DataFrame
    columns: Columns
    more: list[str]
    own: pd.DataFrame


def rows_kept(path: Path, columns: Columns, settings: Settings) -> Rows:
    """Return the rows of a log that RecBole kept with these settings, as its `Dataset` does.

    Its steps are, in this order: `load_col` and `unload_col`; rows without user or item; `rm_dup_inter`, which sorts by
    time; `val_interval`; `filter_inter_by_user_or_item`; `user_inter_num_interval` and `item_inter_num_interval`
    together, until nothing changes; `normalize_field` and `normalize_all`. RecBole keeps times in single precision,
    which resolves seconds since 1970 only to a minute or two.

    Args:
        path: the log; RecBole's `.item` and `.user` files, if it read them, are next to it.
        columns: which column holds what. RecBole's own names (`ITEM_ID_FIELD` and the like) come before guesses.
        settings: RecBole's configuration.

    Raises:
        DataError: a file cannot be read, a column or a file is missing, or no row is kept.
        ConfigError: a setting cannot be followed; the message names it.
    """
    _refuse(settings)
    rows, found, own = _read(path, columns, settings)
    user, item, time = found["user"], found["item"], found["time"]
    tables = {}
    for source, field in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):  # the later one has common fields
        if (table := _table(path, source, str(settings.get(field, f"{source}_id")), settings)) is not None:
            tables[source] = table
    nobody, nothing = _missing(rows[user]), _missing(rows[item])
    if nobody.any() and nothing.any():  # RecBole then takes the labels of rows for their places
        raise DataError(
            f"{path} has rows without {user} and rows without {item}, in place of which RecBole leaves out other rows; "
            "make a Snapshot of the model's arrays."
        )
    rows = rows[~nobody & ~nothing]
    keep = settings.get("rm_dup_inter")
    if keep is not None:
        if time is not None:
            rows = rows.iloc[np.argsort(rows[time].to_numpy(np.float64), kind="stable")]
        rows = rows.drop_duplicates([user, item], keep=keep)
    rows, tables = _by_value(rows, tables, own, path, settings)
    if settings.get("filter_inter_by_user_or_item", True) is True:
        for source, table in tables.items():
            rows = rows[rows[found[source]].isin(table.index)]
    rows, tables = _by_number(rows, tables, found, settings)
    if not len(rows):
        raise DataError(f"{path} has no row that RecBole's configuration of this model keeps{filters(settings)}.")
    if keep is not None and time is not None:
        _refuse_open_order(rows, user, item, time, path)
    rows = rows.reset_index(drop=True)
    exact = rows.copy()
    if time is not None:
        times = rows[time].to_numpy(np.float64)
        name = str(settings.get("TIME_FIELD", time))
        if settings.get("normalize_all") is True or name in _names(settings.get("normalize_field"), "normalize_field"):
            times = (times - times.min()) / (np.ptp(times) or 1)
        rows[time] = times.astype(np.float32).astype(np.float64)
    more = tables["item"].index.difference(rows[item], sort=False).tolist() if "item" in tables else []
    return Rows(rows, columns.but(user=user, item=item, time=time or ""), more, exact)


def filters(settings: Settings) -> str:
    """Return the filters that are set, in words to end a sentence with; "" if there are none."""
    found = [f"{name} = {settings[name]!r}" for name in FILTERS if settings.get(name) not in (None, "[0,inf)")]
    return f" ({', '.join(found)})" if found else ""


def _refuse(settings: Settings) -> None:
    """Raise a ConfigError if a setting is none of RecBole's, or makes data other than one log with last items held out.

    With `eval_args` other than these, RecBole may have trained on the users' last items.
    """
    for name in ("benchmark_filename", "alias_of_item_id"):
        if settings.get(name):
            raise ConfigError(
                f"RecBole trained this model with {name} = {settings[name]!r}, and so did not number the items of one "
                "log; make a Snapshot of the model's arrays."
            )
    keep = settings.get("rm_dup_inter")
    if keep is not None and keep is not False and keep not in ("first", "last"):
        raise ConfigError(f"RecBole's rm_dup_inter = {keep!r} is unknown; possible: first, last.")
    if str(settings.get("TIME_FIELD", "")) in _names(settings.get("numerical_features"), "numerical_features"):
        raise ConfigError("RecBole trained this model with times as numerical_features; make a Snapshot of its arrays.")
    held_out = settings.get("eval_args") or {}
    split = held_out.get("split", {"LS": "valid_and_test"}) if isinstance(held_out, Mapping) else None
    way, parts = next(iter(split.items()), ("", None)) if isinstance(split, Mapping) else ("", None)
    share = parts[-1] if isinstance(parts, list) and parts else 0
    last = way == "RS" and held_out.get("group_by") == "user" and isinstance(share, int | float) and share > 0
    if way != "LS" and not last:
        raise ConfigError(
            f"RecBole split this model's log by eval_args = {held_out!r}, so it may have trained on users' last items; "
            "use a model trained with the split {'LS': 'valid_and_test'}, or make a Snapshot of other cases."
        )


def _read(path: Path, columns: Columns, settings: Settings) -> tuple[pd.DataFrame, dict[str, Any], dict[str, str]]:
    """Return a log's rows, with times as numbers, and the column of each role and of each of RecBole's fields."""
    rows = read_table(path)
    fields = {role: str(settings.get(FIELDS[role], "")) for role in FIELDS}
    named = {role: name for role, name in fields.items() if name in rows and not getattr(columns, role)}
    found = find_columns(rows.columns, path.name, columns.but(**named))
    if (column := found["time"]) is not None:
        rows[column], _ = read_times(rows[column], path.name, partial(line_of, path))
    own = {fields[role]: found[role] for role in FIELDS if found[role] is not None}
    return rows.drop(columns=found["order"] or []), found, own


def _table(path: Path, source: str, key: str, settings: Settings) -> pd.DataFrame | None:
    """Return RecBole's `.item` or `.user` file by id, with the columns that it loaded; None if it loaded none."""
    load, unload = (settings.get(name) or {} for name in ("load_col", "unload_col"))
    if not isinstance(load, Mapping) or not isinstance(unload, Mapping):
        raise ConfigError("RecBole's load_col and unload_col must give names of columns by file, such as inter.")
    if load and source not in load:
        return None
    found = beside(path, source)
    if found is None:
        if load and settings.get("filter_inter_by_user_or_item", True) is True:
            raise DataError(
                f"RecBole read {path.stem}.{source} too (load_col), and left out the rows of which it did not have the "
                f"{source} (filter_inter_by_user_or_item); put that file next to {path}."
            )
        return None
    table = read_table(found)
    if key not in table:
        raise DataError(f"{found} has no column {key!r}; its columns are {', '.join(table)}.")
    loaded = set(table) if load.get(source, "*") == "*" else set(_names(load[source], "load_col"))
    loaded -= set(_names(unload.get(source), "unload_col"))
    table = table[[name for name in table if name in loaded | {key}]].drop_duplicates(key)
    return table[~_missing(table[key])].set_index(key, drop=False)


def _by_value(
    rows: pd.DataFrame, tables: dict[str, pd.DataFrame], own: dict[str, str], path: Path, settings: Settings
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Apply `val_interval`: an interval of numbers, or a list of tokens, for each field."""
    wanted = settings.get("val_interval") or {}
    if not isinstance(wanted, Mapping):
        raise ConfigError(f"RecBole's val_interval = {wanted!r} must give an interval or a list for each column.")
    for field, values in wanted.items():
        column = own.get(field, field)
        within = [source for source, table in tables.items() if field in table]
        if column in rows and (field in own or not within):
            rows = rows[_has(rows[column], values, field)]
        elif not within:
            raise DataError(
                f"RecBole kept the rows of this model by their {field} (val_interval), and {path} has no such column; "
                "use the log that RecBole read."
            )
        for source in within if field in own else within[-1:]:
            tables = tables | {source: tables[source][_has(tables[source][field], values, field)]}
    return rows, tables


def _has(column: pd.Series, wanted: Any, field: str) -> np.ndarray:
    """Return whether each value is in an interval, or is one of the tokens; a missing value is not."""
    missing = _missing(column)
    if isinstance(wanted, list | tuple) and not all(isinstance(one, int | float) for one in wanted):
        return column.isin(wanted).to_numpy() & ~missing
    intervals = _intervals(wanted, f"val_interval of {field}")
    try:
        numbers = column.where(~missing, np.nan).to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"RecBole kept the rows of this model by their {field} (val_interval), and the column {column.name!r} has "
            "values that are no numbers; use the log that RecBole read."
        ) from error
    return _inside(numbers, intervals)


def _by_number(
    rows: pd.DataFrame, tables: dict[str, pd.DataFrame], found: dict[str, Any], settings: Settings
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Apply the intervals of the number of rows of a user and of an item, both at once, until nothing changes.

    Of users and items that have a file RecBole also leaves out those below the first interval.
    """
    wanted = {source: settings.get(f"{source}_inter_num_interval") for source in ("user", "item")}
    intervals = {
        source: _intervals(interval, f"{source}_inter_num_interval")
        for source, interval in wanted.items()
        if interval is not None
    }
    while True:
        banned = {}
        for source, allowed in intervals.items():
            counts = rows[found[source]].value_counts()
            out = counts.index[~_inside(counts.to_numpy(np.float64), allowed)]
            if source in tables:
                ids = tables[source].index
                out = out.union(ids[counts.reindex(ids, fill_value=0).to_numpy() < allowed[0][1]], sort=False)
            banned[source] = out
        if not any(len(out) for out in banned.values()):
            return rows, tables
        for source, out in banned.items():
            rows = rows[~rows[found[source]].isin(out)]
            if source in tables:
                tables = tables | {source: tables[source][~tables[source].index.isin(out)]}


def _refuse_open_order(rows: pd.DataFrame, user: str, item: str, time: str, path: Path) -> None:
    """Raise a DataError if the numbering of items or a history depends on the order of rows with the same time.

    RecBole's sort before `rm_dup_inter` leaves that order open.
    """
    tied = rows[rows.duplicated(time, keep=False)]
    new = ~rows[item].duplicated().loc[tied.index]
    if tied[new].duplicated(time).any() or tied.duplicated([user, time]).any():
        raise DataError(
            f"RecBole sorted the rows of {path} by time (rm_dup_inter) and left the order of rows with the same time "
            f"open. There are {len(tied):,} such rows, so its numbering of items is unknown. Write the rows that it "
            "kept to a file, in its order, with their numbers as times."
        )


def _intervals(text: Any, setting: str) -> list[Interval]:
    """Return the parts of an interval such as "[0,3);[5,inf)"."""
    found = []
    for part in str(text).split(";"):
        fits = re.fullmatch(r"\s*([\[(])([^,]+),([^,]+)([\])])\s*", part)
        try:
            if fits is None:
                raise ValueError
            found.append((fits[1], float(fits[2]), float(fits[3]), fits[4]))
        except ValueError:
            raise ConfigError(f"RecBole's {setting} is {str(text)!r}, which is no interval like [5,inf).") from None
    return found


def _inside(numbers: np.ndarray, intervals: list[Interval]) -> np.ndarray:
    """Return whether each number is in one of the intervals."""
    above = [numbers >= low if left == "[" else numbers > low for left, low, _, _ in intervals]
    below = [numbers <= high if right == "]" else numbers < high for _, _, high, right in intervals]
    return np.any([a & b for a, b in zip(above, below, strict=True)], axis=0)


def _missing(values: pd.Series) -> np.ndarray:
    """Return which values RecBole's reader takes for missing."""
    return (values.isna() | values.isin(MISSING)).to_numpy()


def _names(value: Any, setting: str) -> list[str]:
    """Return a setting that is a list of names."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ConfigError(f"RecBole's {setting} must be a list of names.")
    return [str(name) for name in value]
