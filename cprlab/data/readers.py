"""Readers of parquet, csv, tsv and RecBole `.inter` files, whole or in chunks."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cprlab.data.log import GUESSES
from cprlab.errors import DataError
from cprlab.files import as_frame, read_parquet, refuse_unreadable

READERS = (".parquet", ".csv", ".tsv", ".inter")
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}  # second endings of text files
CHUNK = 2**18  # rows


def kind_of(path: Path) -> tuple[str, str]:
    """Return a file's type and compression by its endings: `(".csv", ".gz")` or `(".csv", "")`."""
    compression = path.suffix.lower() if path.suffix.lower() in COMPRESSED else ""
    return (path.with_suffix("") if compression else path).suffix.lower(), compression


def first_line(path: Path) -> int:
    """Return the line number of a file's first row: 2 in a text file, which has a header, else 1."""
    return 1 if _is_parquet(path) else 2


def read_head(path: Path) -> pd.DataFrame:
    """Return a file's columns as an empty table."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            return as_frame(pq.read_schema(os.path.abspath(path)).empty_table())
        _refuse_columns_twice(path)
        with _open_text(path) as file:
            return _tidy(pd.read_csv(file, nrows=0, **_dialect(path)), path)


def read_chunks(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Yield a file's rows in order, `CHUNK` at a time, with at least the given columns."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            # with pre_buffer, buffers would be kept until the last row
            with pq.ParquetFile(os.path.abspath(path), pre_buffer=False) as file:
                for batch in file.iter_batches(CHUNK, columns=columns):
                    yield as_frame(pa.Table.from_batches([batch]))
        else:
            with _open_text(path) as file, pd.read_csv(file, chunksize=CHUNK, **_dialect(path)) as chunks:
                for chunk in chunks:
                    yield _tidy(chunk, path)


def read_table(path: Path) -> pd.DataFrame:
    """Return a file's table in file order; values of text files stay text."""
    with _in_a_sentence(path):
        if _is_parquet(path):
            return read_parquet(path)
        _refuse_columns_twice(path)
        with _open_text(path) as file:
            return _tidy(pd.read_csv(file, **_dialect(path)), path)


def _is_parquet(path: Path) -> bool:
    return kind_of(path)[0] == ".parquet"


def _is_atomic(path: Path) -> bool:
    """Return whether a file is in RecBole's atomic format, with headers like `name:type`."""
    return kind_of(path)[0] in (".inter", ".item", ".user")


def _open_text(path: Path) -> pa.NativeFile:
    """Open a text file as bytes, decompressed on the fly; a truncated file is an error."""
    return pa.input_stream(os.path.abspath(path), compression=COMPRESSED.get(kind_of(path)[1]))


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}: {error.reason}). Save it as UTF-8.") from error
    except (
        ValueError,
        OSError,
        pa.ArrowException,
        MemoryError,
        OverflowError,
    ) as error:  # of pandas' and Arrow's parsers
        refuse_unreadable(path, error)
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read as a {kind_of(path)[0][1:]} table: {detail}") from error


def _dialect(path: Path) -> dict:
    """Return pandas' options for csv, tsv or RecBole's atomic format, with every value as text."""
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
    """Raise a ValueError if a column name occurs twice; pandas would rename the second silently."""
    with _open_text(path) as file:
        names = pd.read_csv(file, header=None, nrows=1, **_dialect(path)).iloc[0].str.strip()
    if (twice := names[names.duplicated() & (names != "")]).any():
        raise ValueError(f"it has two columns {twice.iloc[0]!r}; rename one of them")


def _tidy(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Refuse rows that were split wrongly, and remove the types from `name:type` headers."""
    signs = [sign for sign in ",;\t|" if len(frame.columns) == 1 and sign in frame.columns[0]]
    if signs:
        kind, sep = kind_of(path)[0], _dialect(path)["sep"]
        raise ValueError(f"its fields are separated by {signs[0]!r}; a {kind[1:]} file needs {sep!r}")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes surplus fields on the left an index
        raise ValueError("its rows have more fields than its header")
    for column in frame.columns:
        spans = frame[column].str.contains("\n", regex=False, na=False).to_numpy()
        if spans.any():
            line = int(frame.index[spans.argmax()]) + first_line(path)
            raise ValueError(
                f"a quotation mark on line {line} is not closed on that line; close or double it, "
                "and remove line breaks from fields"
            )
    names = frame.columns.str.strip()
    frame.columns = [name.rpartition(":")[0] or name if _is_atomic(path) else name for name in names]
    if frame.columns.has_duplicates:
        raise ValueError(f"it has two columns {frame.columns[frame.columns.duplicated()][0]!r}; rename one of them")
    return frame


def beside(path: Path, kind: str) -> Path | None:
    """Return RecBole's `.item` or `.user` file next to an `.inter` file, compressed or not; None if there is none."""
    ending, compression = kind_of(path)
    stem = path.with_suffix("") if compression else path
    files = [stem.with_suffix(f".{kind}{packed}") for packed in ("", *COMPRESSED)]
    return next((file for file in files if file.is_file()), None) if ending == ".inter" else None


def item_titles(path: Path) -> pd.Series | None:
    """Return titles by item id from the RecBole `.item` file next to an `.inter` file."""
    found = beside(path, "item")
    if found is None:
        return None
    frame = read_table(found)
    titles = [column for column in GUESSES["title"] if column in frame.columns]
    if "item_id" not in frame.columns or not titles:
        return None
    return frame.drop_duplicates("item_id").set_index("item_id")[titles[0]]
