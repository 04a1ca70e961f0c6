"""Layouts of publishers' files: file names and columns, and reading them in chunks as text."""

import ast
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from cprlab.data.readers import refuse_header

ROWS = 2**18  # rows per chunk that is parsed line by line
BLOCK = 2**24  # bytes per chunk of separated values
LONGEST = 2**24  # bytes per line


class Table(NamedTuple):
    """A publisher's file with one row or record per line.

    Attributes:
        file: its name, as a shell pattern.
        columns: column names of a file without a header; columns with an empty name are not read.
        names: for a file with a header, or of records: pairs of the publisher's and cprlab's column names.
        separator: separator between values.
        encoding: text encoding.
        form: separated `values`, `json` objects, or `python` literals, which are parsed and never run.
        typed: whether the header has the form `name:type`.
    """

    file: str
    columns: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    separator: str = "\t"
    encoding: str = "utf-8"
    form: Literal["values", "json", "python"] = "values"
    typed: bool = False

    @property
    def looks(self) -> str:
        """Description of the file's lines."""
        if self.columns:
            shown = self.separator.join(self.columns).replace("\t", "<tab>")
            return shown.rstrip(self.separator) + ("…" if not self.columns[-1] else "")
        if self.typed:
            return "a header such as user_id:token<tab>item_id:token<tab>timestamp:float"
        kinds = {
            "values": "a header with",
            "json": "a JSON object per line with",
            "python": "a Python dict per line with",
        }
        return f"{kinds[self.form]} {', '.join(own for own, _ in self.names)}"


class Layout(NamedTuple):
    """The files of a data set.

    Attributes:
        log: one row per interaction.
        titles: columns `item_id` and `title`.
        keep: a column and its value in the rows that belong to the data set.
        joined: columns that are joined by `<` to form the item id, as in RecBole.
    """

    log: Table
    titles: Table | None = None
    keep: tuple[str, str] | None = None
    joined: tuple[str, ...] = ()


# RecBole's own files, which have many names for titles.
ATOMIC = Layout(
    Table("*.inter", typed=True),
    Table(
        "*.item",
        names=(
            ("product_id", "item_id"),
            ("id", "item_id"),
            *((name, "title") for name in ("movie_title", "movie_name", "item_name", "app_name", "name")),
        ),
        typed=True,
    ),
)


def read(stream: IO[bytes], table: Table, wanted: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in order, in chunks of text columns, with those of the `wanted` columns that exist.

    Raises:
        ValueError: the text does not match `table`; rows are counted from 1, without the header.
    """
    if table.form == "values" and len(table.separator) == 1:
        yield from _values(stream, table, wanted)
    else:
        yield from _records(stream, table, wanted)


def _values(stream: IO[bytes], table: Table, wanted: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Give Arrow whole blocks: its threads that read a Python stream could outlive Python and abort the process."""
    columns, line = table.columns, 1
    if not columns:
        header = stream.readline(LONGEST).decode("utf-8-sig").rstrip("\r\n").split(table.separator)
        columns, line = tuple(_renamed([name.strip() for name in header], table)), 2
    own = [name or f"unnamed {place}" for place, name in enumerate(columns)]  # Arrow needs names for all columns
    named = [name for name in wanted if name in columns]
    while block := stream.read(BLOCK):
        rest = stream.readline(LONGEST)
        if len(rest) == LONGEST and not rest.endswith(b"\n"):
            raise ValueError(f"it has a row of more than {LONGEST:,} bytes")
        block += rest
        if block.strip(b"\r\n"):
            yield _parsed(block, table, own, named, line)
        line += block.count(b"\n")


def _parsed(block: bytes, table: Table, own: list[str], named: list[str], line: int) -> pd.DataFrame:
    """Return the columns `named` of whole rows, the first of which is on the given line of the file."""
    try:
        chunk = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(use_threads=False, column_names=own, encoding=table.encoding),
            csv.ParseOptions(delimiter=table.separator, quote_char=False),
            csv.ConvertOptions(include_columns=named, column_types=dict.fromkeys(named, pa.string())),
        )
    except pa.ArrowInvalid:
        rows = (row.decode(table.encoding, "replace").rstrip("\r") for row in block.split(b"\n"))
        for at, row in enumerate(rows, line):
            if row and row.count(table.separator) != len(own) - 1:
                found = f"{row.count(table.separator) + 1}, not {len(own)}"
                raise ValueError(f"the number of fields on line {at} is {found}: {row[:60]!r}") from None
        raise
    return chunk.to_pandas()


def _renamed(header: list[str], table: Table) -> list[str]:
    """Return cprlab's names for the columns of a header; no name is used twice."""
    if table.typed:
        if table is ATOMIC.log:
            refuse_header(header)
        header = [name.rpartition(":")[0] or name for name in header]
    if len(set(header)) < len(header):
        raise ValueError(f"it has two columns {next(name for name in header if header.count(name) > 1)!r}")
    for own, name in table.names:
        if name not in header:
            header = [name if column == own else column for column in header]
    return header


def _records(stream: IO[bytes], table: Table, wanted: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    parse = _parser(table)
    names = {name: own for own, name in table.names}
    first = 1
    while lines := list(islice(iter(lambda: stream.readline(LONGEST), b""), ROWS)):
        records = []
        for number, line in enumerate(lines, first):
            try:
                records.append(parse(line))
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise ValueError(f"line {number} is not {table.looks}: {line[:60]!a}") from error
        columns = {name: [_text(record.get(names.get(name, name))) for record in records] for name in wanted}
        yield pd.DataFrame(columns, dtype=str)
        first += len(lines)


def _parser(table: Table) -> Callable[[bytes], dict]:
    def values(line: bytes) -> dict:
        fields = line.decode(table.encoding).rstrip("\r\n").split(table.separator)
        return dict(zip(table.columns, fields, strict=True))

    def record(line: bytes) -> dict:
        text = line.decode(table.encoding)
        value = json.loads(text) if table.form == "json" else ast.literal_eval(text)
        if not isinstance(value, dict):
            raise ValueError("not a record")
        return value

    return values if table.form == "values" else record


def _text(value: object) -> str:
    return "" if value is None else str(value)
