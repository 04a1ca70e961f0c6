"""Readers of logs: a file of any of `READERS`, or the parts of a folder or of a glob, whole or in chunks."""

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from glob import glob as expand
from glob import has_magic
from itertools import islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from cprlab.data.doubts import NUMBER
from cprlab.data.log import GUESSES, plain
from cprlab.errors import DataError
from cprlab.files import as_frame, read_parquet, refuse_unreadable

JSON = (".jsonl", ".ndjson", ".json")
TYPED = (".parquet", ".feather", *JSON)  # their columns have types; values of other files are text
READERS = (".parquet", ".csv", ".tsv", ".inter", ".feather", *JSON)
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}  # second endings of text files
PACKED = (".parquet", ".feather")  # which are not compressed again
CHUNK = 2**18  # rows
BLOCK = 2**24  # bytes of JSON whose lines show the columns and their types


def kind_of(path: Path) -> tuple[str, str]:
    """Return the type and compression, by their endings, of a file or parts: `(".csv", ".gz")` or `(".csv", "")`."""
    if not path.is_file() and (parts := parts_of(path)):
        path = parts[0]
    compression = path.suffix.lower() if path.suffix.lower() in COMPRESSED else ""
    return (path.with_suffix("") if compression else path).suffix.lower(), compression


def parts_of(path: Path) -> list[Path]:
    """Return the files of a log: the file itself, or the readable files in a folder, or that a glob finds, by name.

    In names, `part-10` comes after `part-9`. Names that begin with `_` or `.` are left out, as Spark does.

    Raises:
        DataError: the files are of several types.
    """
    if path.is_file():
        return [path]
    roots = [path] if path.is_dir() else [Path(found) for found in expand(str(path), recursive=True)]
    files = {file: file.relative_to(root.parent) for root in roots for file in (root, *root.rglob("*"))}
    shown = [file for file, below in files.items() if not any(name.startswith(("_", ".")) for name in below.parts[1:])]
    parts = {file: kind for file in shown if file.is_file() and (kind := kind_of(file))[0] in READERS}
    if len(kinds := sorted({"".join(kind) for kind in parts.values()})) > 1:
        raise DataError(f"{path} holds files of several types ({', '.join(kinds)}); name one, such as *{kinds[0]}.")
    return sorted(
        parts, key=lambda file: [int(run) if run.isdigit() else run for run in re.split("([0-9]+)", str(file))]
    )


def called(path: Path) -> str:
    """Return the name of a log: that of the file or folder, or of the last folder before a glob."""
    return path.name if path.exists() else Path(*_fixed(path)).name or path.name


def _fixed(path: Path) -> list[str]:
    """Return the parts of a path before its first glob."""
    return list(takewhile(lambda name: not has_magic(name), path.parts))


def line_of(path: Path, row: int, before: int = 0) -> int:
    """Return the line on which a row of a file begins; the row's number where there are no lines.

    Rows are counted from 0, after those `before`. A text file has a header first. A csv file may have line ends in
    fields, so it is read again up to the row.
    """
    row += before
    if kind_of(path)[0] in TYPED or not path.is_file():
        return row + 1
    if _is_atomic(path):
        return row + 2
    with _csv_rows(path) as rows:
        for _ in islice(rows, row + 1):
            pass
        return rows.line_num + 1


def read_head(path: Path) -> pd.DataFrame:
    """Return a log's columns as an empty table.

    Raises:
        DataError: a file cannot be read, or its columns differ from those of the first part.
    """
    first, *others = parts = parts_of(path)
    head = _head(path, first)
    for part in others:
        if (own := _types(_head(path, part))) != _types(head):
            different = sorted(str(name) for name, _ in set(own.items()) ^ set(_types(head).items()))
            raise DataError(
                f"{part} and {first} differ in their columns or types ({', '.join(dict.fromkeys(different))}); the "
                f"{len(parts):,} parts of a log need the same ones."
            )
    return head


def _types(head: pd.DataFrame) -> dict[str, str]:
    """Return whether each column holds numbers, by name."""
    return {name: "numbers" if pd.api.types.is_numeric_dtype(kind) else "other" for name, kind in head.dtypes.items()}


def read_chunks(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Yield a log's rows in order, `CHUNK` at a time, with at least the given columns."""
    for part in parts_of(path):
        folders = _folders(path, part)
        with _in_a_sentence(part):
            for chunk in _chunks(part, [column for column in columns if column not in folders]):
                yield chunk.assign(**folders)


def read_table(path: Path) -> pd.DataFrame:
    """Return a log's table in file order; values of text files stay text."""
    if not path.is_file():
        read_head(path)  # refuses parts with other columns
    tables = []
    for part in parts_of(path):
        with _in_a_sentence(part):
            tables.append(_table(part).assign(**_folders(path, part)))
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _folders(path: Path, part: Path) -> dict[str, str]:
    """Return the columns that the folders of a part are named for, as in `day=2024-01-31/part-0.parquet` (Hive)."""
    names = () if path.is_file() else part.parent.parts[len(_fixed(path)) :]
    return {key: unquote(value) for key, sign, value in (name.partition("=") for name in names) if sign}


def _head(path: Path, part: Path) -> pd.DataFrame:
    with _in_a_sentence(part):
        if kind_of(part)[0] in TYPED:
            with _typed(part) as (schema, _):
                head = as_frame(schema.empty_table())
        else:
            _refuse_columns_twice(part)
            with _open_text(part) as file:
                head = _tidy(pd.read_csv(file, nrows=0, **_dialect(part)), part)
    return head.assign(**_folders(path, part))


def _chunks(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    if kind_of(path)[0] in TYPED:
        with _typed(path, columns) as (_, batches):
            for batch in batches:
                yield as_frame(pa.Table.from_batches([batch]))
    else:
        with _open_text(path) as file, pd.read_csv(file, chunksize=CHUNK, **_dialect(path)) as chunks:
            for chunk in chunks:
                yield _tidy(chunk, path)


def _table(path: Path) -> pd.DataFrame:
    if kind_of(path)[0] == ".parquet":
        return read_parquet(path)
    if kind_of(path)[0] in TYPED:
        with _typed(path) as (schema, batches):
            return as_frame(pa.Table.from_batches(batches, schema))
    _refuse_columns_twice(path)
    with _open_text(path) as file:
        return _tidy(pd.read_csv(file, **_dialect(path)), path)


@contextmanager
def _typed(path: Path, columns: list[str] | None = None) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open a parquet, feather or JSON lines file; yield its schema, and its rows in batches."""
    kind, place = kind_of(path)[0], os.path.abspath(path)  # Arrow would expand a leading "~"
    with ExitStack() as stack:
        if kind == ".parquet":
            # with pre_buffer, buffers would be kept until the last row
            file = stack.enter_context(pq.ParquetFile(place, pre_buffer=False))
            yield file.schema_arrow, file.iter_batches(CHUNK, columns=columns)
        elif kind == ".feather":
            file = stack.enter_context(pa.ipc.open_file(stack.enter_context(pa.OSFile(place))))
            yield file.schema, (file.get_batch(place) for place in range(file.num_record_batches))
        else:
            reader = _open_json(path, stack)
            yield reader.schema, reader


def _open_json(path: Path, stack: ExitStack) -> pa.RecordBatchReader:
    """Open JSON lines, with the columns and types of the first `BLOCK` bytes; what looks like a date stays text."""

    def opened(schema: pa.Schema | None) -> pa.RecordBatchReader:
        return stack.enter_context(
            pa.json.open_json(
                stack.enter_context(_open_text(path)),
                pa.json.ReadOptions(block_size=BLOCK, use_threads=False),
                pa.json.ParseOptions(schema, unexpected_field_behavior="infer" if schema is None else "ignore"),
            )
        )

    with _open_text(path) as file:
        if file.read(100).lstrip()[:1] == b"[":
            raise ValueError("it is one JSON array; write one object on each line (JSON lines)")
    schema = opened(None).schema
    text = [field.with_type(pa.string()) if pa.types.is_timestamp(field.type) else field for field in schema]
    return opened(pa.schema(text))


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
        raise DataError(f"{path} cannot be read as {kind_of(path)[0]}: {detail}") from error


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
    _refuse_separator(list(frame.columns), kind_of(path)[0], _dialect(path)["sep"])
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes surplus fields on the left an index
        raise ValueError("its rows have more fields than its header")
    spans = {column: frame[column].str.contains("\n", regex=False, na=False) for column in frame.columns}
    if any(rows.any() for rows in spans.values()):
        _refuse_open_quotes(path, path.stat().st_mtime_ns, len(frame.columns))
    names = frame.columns.str.strip()
    _refuse_no_header(names, frame)
    if kind_of(path)[0] == ".inter":
        refuse_header(list(names))
    frame.columns = [name.rpartition(":")[0] or name if _is_atomic(path) else name for name in names]
    if frame.columns.has_duplicates:
        raise ValueError(f"it has two columns {frame.columns[frame.columns.duplicated()][0]!r}; rename one of them")
    return frame


def _refuse_separator(names: list[str], kind: str, separator: str) -> None:
    signs = [sign for sign in ",;\t| " if len(names) == 1 and sign in names[0]]
    if signs:
        raise ValueError(f"its fields are separated by {signs[0]!r}; in {kind} files it is {separator!r}")


def refuse_header(names: list[str]) -> None:
    """Raise a ValueError if the header of RecBole's .inter file has other separators, or columns of histories."""
    _refuse_separator(names, ".inter", "\t")
    for name in names:
        if re.fullmatch(r".*_list:\w+_seq", name):
            raise ValueError(
                f"its column {name!r} holds histories, in which each interaction occurs many times; use the .inter "
                "file that it was made from, with one row for each interaction"
            )


def _refuse_no_header(names: pd.Index, frame: pd.DataFrame) -> None:
    """Raise a ValueError if the names of columns are a row: none is known, and one is a date, a number or a value.

    A number that is the place of its column is a name, as pandas gives it.
    """
    known = {plain(guess) for guesses in GUESSES.values() for guess in guesses}
    if any(plain(name.rpartition(":")[0] or name) in known for name in names):
        return
    row = rf"{NUMBER}|\d{{4}}-\d\d-\d\d.*"
    named = [name for place, name in enumerate(names) if name != str(place)]
    if any(re.fullmatch(row, name) or (frame[frame.columns[names == name]] == name).any(axis=None) for name in named):
        raise ValueError(
            f"its first line ({', '.join(names[:5])}) looks like a row; put a line with the names of the columns above "
            "it, such as user_id, item_id, timestamp"
        )


@lru_cache(maxsize=1)  # the chunks of a file ask one after the other
def _refuse_open_quotes(path: Path, changed: int, n_columns: int) -> None:
    """Raise a ValueError if line breaks are in fields because a quotation mark was not closed, not in valid fields.

    The file is read again by the rules of csv. Two marks that are not closed can be a valid field too, with as many
    separators as the rows that it swallows; the file is refused if most fields with line breaks have that many.
    """
    sep = _dialect(path)["sep"]
    with _csv_rows(path, strict=True) as rows:
        line, first, whole_rows, broken = 1, 0, 0, 0
        try:
            for row in rows:
                for field in row:
                    broken += "\n" in field
                    if "\n" in field and field.count(sep) == (n_columns - 1) * field.count("\n"):
                        whole_rows, first = whole_rows + 1, first or line
                line = rows.line_num + 1
        except csv.Error:
            first, whole_rows = line, broken + 1
    if 2 * whole_rows > broken:
        raise ValueError(
            f"a quotation mark on line {first} is not closed on that line, and the field that it begins is not valid "
            "csv or holds whole rows; close the mark or double it"
        )


@contextmanager
def _csv_rows(path: Path, strict: bool = False) -> Iterator[Any]:
    """Open a csv or tsv file with Python's reader, which counts lines, and yield the reader."""
    longest = csv.field_size_limit(2**31 - 1)
    try:
        with _open_text(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield csv.reader(text, delimiter=_dialect(path)["sep"], strict=strict)
    finally:
        csv.field_size_limit(longest)


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
