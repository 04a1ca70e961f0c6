"""load_log and load_sequences: a built-in name, a file or a prepared folder becomes what models can be given."""

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
    """Read a built-in log or an imported data set by its name, or a parquet, csv, tsv or RecBole `.inter` file.

    Text files may be packed, as `.gz` or `.zst`.

    Ids stay the file's own: in text files they are kept as text, so that `007` is not `7`. Beside `NAME.inter`,
    RecBole's `NAME.item` gives the titles where there is one.

    Args:
        name_or_path: one of `cprlab.catalogue.BUILTIN`, a data set of the catalogue that was imported (of which the
            paper's filter leaves out rare items), or a file.
        columns: which column holds what (see `InteractionLog.from_frame`).
        ties: in which order rows are whose order is not known (see there); "auto" shuffles those of a built-in log.

    Raises:
        DataError: the file is missing, empty or not a table, or a column or value is not what it should be.
        ConfigError: `ties` is not possible.
    """
    if str(name_or_path) in BUILTIN:
        if columns != Columns():
            raise DataError(f"{name_or_path} is built in and has its columns already; leave the column names out.")
        return BUILTIN[str(name_or_path)](ties)
    path = Path(located(name_or_path))
    check_file(path)
    return as_log(read_table(path), path, columns, ties)


def as_log(frame: pd.DataFrame, path: Path, columns: Columns, ties: Ties) -> InteractionLog:
    """Return the log of a file's table, with the titles beside it.

    Of an imported data set, the rows are left out that the paper leaves out.

    Raises:
        DataError: a column or value is not what it should be.
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
    """Open a folder that `prepare` or `save_prepared` wrote, or read what `load_log` reads into sequences.

    Args:
        name_or_path: as for `load_log`, or a folder.
        columns: which column of a file holds what.
        ties: in which order rows are whose order is not known; a folder has the order that it was prepared with.
        split: how to hold interactions out; a folder has the split that it was prepared with.
        max_len: how many items a model reads at the most; 0 stands for 50, or for what a folder was prepared with.

    Raises:
        DataError: the data are missing, are not what they should be, or are too short to be split.
    """
    if str(name_or_path) in BUILTIN or not os.path.isdir(located(name_or_path)):
        return Sequences.from_log(load_log(name_or_path, columns, ties=ties), split=split, max_len=max_len or 50)
    if columns != Columns() or ties != "auto":
        raise DataError(
            f"{name_or_path} is a prepared log and has its columns already, and its order; leave the column names and "
            "ties out."
        )
    sequences = load_prepared(name_or_path)
    if sequences.split != split:
        raise DataError(
            f"{name_or_path} was prepared with the {sequences.split} split, not the {split} one; "
            f"ask for the split {sequences.split}, or prepare the log anew."
        )
    return replace(sequences, max_len=max_len) if max_len else sequences


def check_file(path: Path) -> None:
    """Raise a DataError unless `path` is a file of a kind that cprlab reads."""
    if not path.suffix and not os.path.exists(path):
        raise DataError(f"Unknown data {str(path)!r}: {suggestion(str(path), _NAMES)} Or give a file.")
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file; check the name, or choose one of {', '.join(BUILTIN)}.")
    kind, compression = kind_of(path)
    if kind not in READERS or (compression and kind == ".parquet"):
        packed = " or ".join(COMPRESSED)
        raise DataError(
            f"{path} ends in {''.join(path.suffixes[-2:] if compression else path.suffixes[-1:])!r}; "
            f"cprlab reads {', '.join(READERS)}, and text with {packed} behind."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; a log needs a header and a row for each interaction.")
