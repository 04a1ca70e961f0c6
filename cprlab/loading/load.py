"""load_log and load_sequences: open a built-in log, a file or a prepared folder."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import CATALOGUE
from cprlab.catalogue.local import filtered, located, read_about
from cprlab.data.columns import Columns
from cprlab.data.log import InteractionLog
from cprlab.data.prepared import load_prepared
from cprlab.data.readers import COMPRESSED, READERS, first_line, item_titles, kind_of, read_table
from cprlab.data.sequences import Sequences
from cprlab.data.splits import SplitBy
from cprlab.data.ties import Ties
from cprlab.errors import DataError, suggestion

_NAMES = dict.fromkeys([*BUILTIN, *(data_set.name for data_set in CATALOGUE)])


def load_log(
    name_or_path: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
) -> InteractionLog:
    """Read a built-in log or an imported data set by name, or a parquet, csv, tsv or RecBole `.inter` file.

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
    return as_log(read_table(path), path, columns, ties)


def as_log(frame: pd.DataFrame, path: Path, columns: Columns, ties: Ties) -> InteractionLog:
    """Return the log of a file's table, with titles from an `.item` file.

    The paper's filter removes rare items and short histories of an imported data set.

    Raises:
        DataError: a column or value is invalid.
    """
    titles = None if columns.title else item_titles(path)
    line, name = first_line(path), path.name
    notes: tuple[str, ...] = ()
    if (about := read_about(path)) is not None:
        frame, left_out = filtered(frame, about)
        name, notes = about.name, about.notes + left_out
    return InteractionLog.from_frame(frame, name, columns, ties=ties, titles=titles, first_line=line, notes=notes)


def load_sequences(
    name_or_path: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
    split: SplitBy = "leave-one-out",
    max_len: int = 0,
) -> Sequences:
    """Open a prepared folder (`prepare`, `save_prepared`), or read anything that `load_log` reads as sequences.

    Args:
        name_or_path: as for `load_log`, or a folder.
        columns: which column of a file holds what.
        ties: order of rows whose order is unknown; must be "auto" for a folder, whose order is fixed.
        split: how to hold interactions out; for a folder, the split that it was prepared with.
        max_len: maximum number of items that a model reads; 0 means 50, or the value of a prepared folder.

    Raises:
        DataError: the data are missing, invalid, or too short to split.
    """
    if str(name_or_path) in BUILTIN or not os.path.isdir(located(name_or_path)):
        return Sequences.from_log(load_log(name_or_path, columns, ties=ties), split=split, max_len=max_len or 50)
    if columns != Columns() or ties != "auto":
        raise DataError(
            f"{name_or_path} is a prepared log, whose columns and order are fixed; remove the column names and ties."
        )
    sequences = load_prepared(name_or_path)
    if sequences.split != split:
        raise DataError(
            f"{name_or_path} was prepared with the {sequences.split} split, not the {split} split. "
            f"Use --split {sequences.split}, or prepare the log again."
        )
    return replace(sequences, max_len=max_len) if max_len else sequences


def check_file(path: Path) -> None:
    """Raise a DataError unless `path` is a file of a type that cprlab reads."""
    if not path.suffix and not os.path.exists(path):
        raise DataError(f"Unknown data {str(path)!r}: {suggestion(str(path), _NAMES)} Or name a file.")
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file. Check the name, or use one of {', '.join(BUILTIN)}.")
    kind, compression = kind_of(path)
    if kind not in READERS or (compression and kind == ".parquet"):
        packed = " or ".join(COMPRESSED)
        raise DataError(
            f"{path} ends in {''.join(path.suffixes[-2:] if compression else path.suffixes[-1:])!r}; "
            f"cprlab reads {', '.join(READERS)}, and text files compressed as {packed}."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; a log needs a header and a row for each interaction.")
