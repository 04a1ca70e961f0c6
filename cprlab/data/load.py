"""load_log and load_sequences: a built-in name, a file or a prepared folder becomes what models can be given."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cprlab.data.builtin import BUILTIN
from cprlab.data.catalogue import CATALOGUE
from cprlab.data.imported import filtered, located, read_about
from cprlab.data.log import GUESSES, InteractionLog
from cprlab.data.prepared import load_prepared
from cprlab.data.sequences import Sequences
from cprlab.data.splits import SplitBy
from cprlab.data.ties import Ties
from cprlab.errors import DataError, suggestion
from cprlab.files import as_frame, read_parquet

READERS = (".parquet", ".csv", ".tsv", ".inter")
_NAMES = dict.fromkeys([*BUILTIN, *(data_set.name for data_set in CATALOGUE)])
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}  # endings behind those of text files
CHUNK = 2**18  # rows; what is read in chunks needs the memory of one


def load_log(
    name_or_path: str | Path,
    *,
    user: str = "",
    item: str = "",
    time: str = "",
    title: str = "",
    basket: str = "",
    ties: Ties = "auto",
) -> InteractionLog:
    """Read a built-in log or an imported data set by its name, or a parquet, csv, tsv or RecBole `.inter` file.

    Text files may be packed, as `.gz` or `.zst`.

    Ids stay the file's own: in text files they are kept as text, so that `007` is not `7`. Beside `NAME.inter`,
    RecBole's `NAME.item` gives the titles where there is one.

    Args:
        name_or_path: one of `cprlab.data.BUILTIN`, a data set of the catalogue that was imported (of which the paper's
            filter leaves out rare items), or a file.
        user: column of the users; guessed from its name when empty. Likewise `item`, `time` and `title`.
        item: column of the items.
        time: column of the times; a log without one is taken in file order.
        title: column of the items' titles.
        basket: column of baskets, if rows are to be taken together (see `InteractionLog.from_frame`).
        ties: in which order rows are whose order is not known (see there); "auto" shuffles those of a built-in log.

    Raises:
        DataError: the file is missing, empty or not a table, or a column or value is not what it should be.
        ConfigError: there is no such way with ties.
    """
    if str(name_or_path) in BUILTIN:
        if user or item or time or title or basket:
            raise DataError(f"{name_or_path} is built in and has its columns already; leave the column names out.")
        return BUILTIN[str(name_or_path)](ties)
    path = Path(located(name_or_path))
    check_file(path)
    return as_log(read_table(path), path, ties=ties, user=user, item=item, time=time, title=title, basket=basket)


def as_log(frame: pd.DataFrame, path: Path, ties: Ties = "auto", **columns: str) -> InteractionLog:
    """Return the log of a file's table, with the titles beside it; `columns` by role, as for `load_log`.

    Of an imported data set, the rows are left out that the paper leaves out.

    Raises:
        DataError: a column or value is not what it should be.
    """
    titles = None if columns.get("title") else item_titles(path)
    line, name = first_line(path), path.name
    notes: tuple[str, ...] = ()
    if (about := read_about(path)) is not None:
        frame, left_out = filtered(frame, about)
        name, notes = about.name, about.notes + left_out
    return InteractionLog.from_frame(frame, name, **columns, ties=ties, titles=titles, first_line=line, notes=notes)


def load_sequences(
    name_or_path: str | Path,
    *,
    user: str = "",
    item: str = "",
    time: str = "",
    title: str = "",
    basket: str = "",
    ties: Ties = "auto",
    split: SplitBy = "leave-one-out",
    max_len: int = 0,
) -> Sequences:
    """Open a folder that `prepare` or `save_prepared` wrote, or read what `load_log` reads into sequences.

    Args:
        name_or_path: as for `load_log`, or a folder.
        user: as for `load_log`; likewise `item`, `time` and `title`.
        item: column of the items.
        time: column of the times.
        title: column of the items' titles.
        basket: column of baskets.
        ties: in which order rows are whose order is not known; a folder has the order that it was prepared with.
        split: how to hold interactions out; a folder has the split that it was prepared with.
        max_len: how many items a model reads at the most; 0 stands for 50, or for what a folder was prepared with.

    Raises:
        DataError: the data are missing, are not what they should be, or are too short to be split.
    """
    columns = {"user": user, "item": item, "time": time, "title": title, "basket": basket}
    if str(name_or_path) in BUILTIN or not os.path.isdir(located(name_or_path)):
        return Sequences.from_log(load_log(name_or_path, **columns, ties=ties), split=split, max_len=max_len or 50)
    if any(columns.values()) or ties != "auto":
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


def kind_of(path: Path) -> tuple[str, str]:
    """Return what a file holds and how it is packed, as its endings say: `(".csv", ".gz")`, or `(".csv", "")`."""
    compression = path.suffix.lower() if path.suffix.lower() in COMPRESSED else ""
    return (path.with_suffix("") if compression else path).suffix.lower(), compression


def first_line(path: Path) -> int:
    """Return what error messages call the first row of a file: its line in a text file, which has a header."""
    return 1 if _is_parquet(path) else 2


def read_head(path: Path) -> pd.DataFrame:
    """Return a file's table without its rows."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            return as_frame(pq.read_schema(os.path.abspath(path)).empty_table())
        _refuse_columns_twice(path)
        with _open_text(path) as file:
            return _tidy(pd.read_csv(file, nrows=0, **_dialect(path)), path)


def read_chunks(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Yield a file's rows in order, `CHUNK` of them at a time, with `columns` at the least."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            # buffers would be kept until the last row
            with pq.ParquetFile(os.path.abspath(path), pre_buffer=False) as file:
                for batch in file.iter_batches(CHUNK, columns=columns):
                    yield as_frame(pa.Table.from_batches([batch]))
        else:
            with _open_text(path) as file, pd.read_csv(file, chunksize=CHUNK, **_dialect(path)) as chunks:
                for chunk in chunks:
                    yield _tidy(chunk, path)


def read_table(path: Path) -> pd.DataFrame:
    """Return a file's table in file order; values of text files as text."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            return read_parquet(path)
        _refuse_columns_twice(path)
        with _open_text(path) as file:
            return _tidy(pd.read_csv(file, **_dialect(path)), path)


def _is_parquet(path: Path) -> bool:
    return kind_of(path)[0] == ".parquet"


def _is_atomic(path: Path) -> bool:
    """Say whether a file is in RecBole's atomic format, whose headers are `name:type`."""
    return kind_of(path)[0] in (".inter", ".item")


def _open_text(path: Path) -> pa.NativeFile:
    """Open a text file for reading its bytes, which Arrow unpacks as they are read; what is cut off is an error."""
    return pa.input_stream(os.path.abspath(path), compression=COMPRESSED.get(kind_of(path)[1]))


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8.") from error
    except (
        ValueError,
        OSError,
        pa.ArrowException,
        MemoryError,
        OverflowError,
    ) as error:  # of pandas' and Arrow's parsers
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read as a {kind_of(path)[0][1:]} table: {detail}") from error


def _dialect(path: Path) -> dict:
    """Return how pandas is to read csv, tsv or RecBole's atomic format, with every value as text."""
    return {
        "sep": "," if kind_of(path)[0] == ".csv" else "\t",
        "dtype": str,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
        "on_bad_lines": "error",
        "skip_blank_lines": False,
        "quoting": csv.QUOTE_NONE if _is_atomic(path) else csv.QUOTE_MINIMAL,
    }


def _refuse_columns_twice(path: Path) -> None:
    """Raise a ValueError if a name stands twice in the header, which pandas would change."""
    with _open_text(path) as file:
        names = pd.read_csv(file, header=None, nrows=1, **_dialect(path)).iloc[0].str.strip()
    if (twice := names[names.duplicated() & (names != "")]).any():
        raise ValueError(f"it has two columns {twice.iloc[0]!r}; rename one of them")


def _tidy(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Refuse rows that were taken apart wrongly; `name:type` headers lose their type."""
    signs = [sign for sign in ",;\t|" if len(frame.columns) == 1 and sign in frame.columns[0]]
    if signs:
        kind, sep = kind_of(path)[0], _dialect(path)["sep"]
        raise ValueError(f"{signs[0]!r} stands between its fields, where a {kind[1:]} file has {sep!r}")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields at the left for an index
        raise ValueError("its rows have more fields than its header")
    for column in frame.columns:
        spans = frame[column].str.contains("\n", regex=False, na=False).to_numpy()
        if spans.any():
            line = int(frame.index[spans.argmax()]) + first_line(path)
            raise ValueError(
                f"a quotation mark is opened on line {line} and not closed there; close or double it, "
                "and take line breaks out of fields"
            )
    names = frame.columns.str.strip()
    frame.columns = [name.rpartition(":")[0] or name if _is_atomic(path) else name for name in names]
    if frame.columns.has_duplicates:
        raise ValueError(f"it has two columns {frame.columns[frame.columns.duplicated()][0]!r}; rename one of them")
    return frame


def item_titles(path: Path) -> pd.Series | None:
    """Return RecBole's titles by item id from the `.item` file beside an `.inter` file, packed or not."""
    kind, compression = kind_of(path)
    stem = path.with_suffix("") if compression else path
    beside = [stem.with_suffix(f".item{ending}") for ending in ("", *COMPRESSED)]
    found = next((items for items in beside if items.is_file()), None)
    if kind != ".inter" or found is None:
        return None
    frame = read_table(found)
    titles = [column for column in GUESSES["title"] if column in frame.columns]
    if "item_id" not in frame.columns or not titles:
        return None
    return frame.drop_duplicates("item_id").set_index("item_id")[titles[0]]
