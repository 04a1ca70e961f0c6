"""Logs: csv, tsv, RecBole's .inter with its .item, and Parquet."""

import csv
import datetime
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cprlab.data import Sequences
from cprlab.errors import CprlabError
from cprlab.loading import load_log, prepare
from tests.fuzz.damage import as_json, changed, damaged, one_of, pick, word
from tests.fuzz.judge import Case, differ

HEADERS = ("user_id", "item_id", "timestamp", "title")
csv.field_size_limit(10**9)


def csv_log(rng: np.random.Generator, folder: Path) -> Case:
    """A comma between two fields, quotation marks where they are needed, or where they are not."""
    path = folder / "log.csv"
    path.write_bytes(_text(rng, ",", HEADERS))
    return _case(rng, path, ",", csv.QUOTE_MINIMAL)


def tsv_log(rng: np.random.Generator, folder: Path) -> Case:
    """A tab between two fields."""
    path = folder / "log.tsv"
    path.write_bytes(_text(rng, "\t", HEADERS))
    return _case(rng, path, "\t", csv.QUOTE_MINIMAL)


def inter_log(rng: np.random.Generator, folder: Path) -> Case:
    """RecBole's format: types in the headers, no quotation marks, titles in another file."""
    path = folder / "log.inter"
    path.write_bytes(_text(rng, "\t", ("user_id:token", "item_id:token", "timestamp:float", "label:token")))
    if rng.random() < 0.5:
        rows = [["item_id:token", "title:token_seq"]] + [[f"i{item}", f"Item {item}"] for item in range(6)]
        if rng.random() < 0.5:
            rows[int(rng.integers(len(rows)))][int(rng.integers(2))] = word(rng)
        data = "\n".join("\t".join(row) for row in rows).encode()
        path.with_suffix(".item").write_bytes(damaged(rng, data, text=True) if rng.random() < 0.4 else data)
    return _case(rng, path, "\t", csv.QUOTE_NONE)


def _rows(rng: np.random.Generator) -> list[list[str]]:
    """Return a log of a few users, whose times may be whole, fractions, dates or none, with ties."""
    dates = ("2017-01-{:02d}", "2017-01-{:02d} 10:00:00", "2017-01-{:02d}T10:00:00.25Z")
    shape = pick(rng, ("{}", "{}", "{}.5", *dates)) if rng.random() < 0.97 else pick(rng, ("１{}", "today"))
    rows = []
    for _ in range(int(rng.integers(1, 60))):
        item = int(rng.integers(8))
        rows.append([f"u{rng.integers(4)}", f"i{item}", shape.format(int(rng.integers(1, 29))), f"Item {item}"])
    return rows


def _text(rng: np.random.Generator, delimiter: str, headers: tuple[str, ...]) -> bytes:
    table = [list(headers), *_rows(rng)]
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            row = pick(rng, table) if rng.random() < 0.9 else table[0]
            if (way := rng.random()) < 0.8:
                row[int(rng.integers(len(row) or 1)) : 1 + int(rng.integers(len(row) or 1))] = [word(rng)]
            elif way < 0.9:
                row.append(word(rng))
            else:
                table.insert(int(rng.integers(len(table) + 1)), [] if rng.random() < 0.5 else list(row))
    if rng.random() < 0.1:
        kept = rng.permutation(len(headers))[: int(rng.integers(1, 5))]
        table = [[row[at] for at in kept if at < len(row)] for row in table]
    out = io.StringIO()
    if rng.random() < 0.7:
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quotechar='"', escapechar="\\")
        writer.writerows(table)
    else:
        out.write("\n".join(delimiter.join(row) for row in table))
    data = out.getvalue().encode()
    return damaged(rng, data, text=True) if rng.random() < 0.4 else data


def _case(rng: np.random.Generator, path: Path, delimiter: str, quoting: Literal[0, 3]) -> Case:
    both = rng.random() < 0.12  # the way by DuckDB too, which takes longer

    def read() -> dict[str, Any]:
        return _read(path, both)

    def plain() -> dict[str, Any]:
        atomic = quoting == csv.QUOTE_NONE
        columns = _columns(path, delimiter, quoting)
        titles = columns.get("title")
        other = path.with_suffix(".item")
        if atomic and other.is_file():
            items = _columns(other, delimiter, quoting)
            if "item_id" in items and "title" in items:
                named: dict[str, str] = {}
                for item, title in zip(items["item_id"], items["title"], strict=True):
                    named.setdefault(item, title or "")
                titles = [named.get(item, "") for item in columns["item_id"]]
        return _sorted(columns["user_id"], columns["item_id"], columns.get("timestamp"), titles)

    return Case(read, plain, ["report", "--data", str(path)])


def _read(path: Path, both: bool) -> dict[str, Any]:
    log = load_log(path, ties="file")
    if both:
        _compare_prepared(path)
    users, items = (
        entries(ids)[codes].tolist() for ids, codes in ((log.user_ids, log.users), (log.item_ids, log.items))
    )
    return {
        "users": labels(users),
        "items": labels(items),
        "times": None if log.times is None else log.times.tolist(),
        "titles": log.titles[log.items].tolist() if _plain_ids(items) else None,
    }


def _compare_prepared(path: Path) -> None:
    """Raise an AssertionError unless the way by DuckDB ends as the way by memory does."""
    results: list[Sequences | CprlabError] = []
    for way in (lambda: Sequences.from_log(load_log(path)), lambda: prepare(path, path.with_name("prepared"))):
        try:
            results.append(way())
        except CprlabError as error:
            results.append(error)
    one, other = results
    if isinstance(one, CprlabError) or isinstance(other, CprlabError):
        kinds = "ids have mixed types", "change their type"  # what a prepared folder cannot hold
        if any(kind in str(other) for kind in kinds):
            return
        assert type(one) is type(other), f"in memory {one}, prepared {other}"
        return
    for name in ("items", "offsets", "user_ids", "item_ids", "titles", "fingerprint", "notes"):
        difference = differ(getattr(one, name), getattr(other, name), name)
        assert not difference, f"prepared, {difference}"


def _columns(path: Path, delimiter: str, quoting: Literal[0, 3]) -> dict[str, list[str]]:
    """Return a text file's columns by name, with the csv module."""
    text = path.read_bytes().decode("utf-8-sig")
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    header = [name.strip() for name in header]
    if quoting == csv.QUOTE_NONE:
        header = [name.rpartition(":")[0] or name for name in header]
    if len(set(header)) < len(header):
        raise ValueError("a name stands twice in the header")
    if any(len(row) > len(header) for row in rows):
        raise ValueError("a row has more fields than the header")
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    found = {name: [row[at] for row in rows] for at, name in enumerate(header)}
    return {role: found[name] for role, name in _roles(list(found)).items()}


def _roles(names: list[str]) -> dict[str, str]:
    """Return the column of each role: named like it but for case, or else but for case and signs; the first such."""
    plain = {re.sub(r"[\W_]", "", name.casefold()): name for name in reversed(names)}
    folded = {name.casefold(): name for name in reversed(names)}
    likely = {role: folded.get(role) or plain.get(role.replace("_", "")) for role in HEADERS}
    return {role: name for role, name in likely.items() if name}


def _sorted(users: list, items: list, times: list | None, titles: list | None) -> dict[str, Any]:
    """Return what `_read` does: users by first appearance, each user's rows by time, ties in file order."""
    if not users:
        raise ValueError("no rows")
    if any(value is None or str(value).strip() == "" for value in (*users, *items)):
        raise ValueError("an empty id")
    first = {user: place for place, user in reversed(list(enumerate(users)))}
    moments = None if times is None else plain_times(times)
    order = sorted(range(len(users)), key=lambda row: (first[users[row]], moments[row] if moments else 0))
    named = {item: str(item) for item in items}
    found: dict[Any, set] = {item: set() for item in items}
    for item, title in zip(items, titles or [], strict=bool(titles)):
        found[item] |= {title} if title is not None and str(title).strip() else set()
    repeated = sum(items.count(item) > 1 for item in found)
    if 2 * sum(len(different) > 1 for different in found.values()) > repeated:
        titles = None  # of people or reviews
    for item, title in reversed(list(zip(items, titles or [""] * len(items), strict=True))):
        if title is not None and str(title).strip():
            named[item] = title.decode() if isinstance(title, bytes) else str(title)
    return {
        "users": labels([users[row] for row in order]),
        "items": labels([items[row] for row in order]),
        "times": None if moments is None else [moments[row] for row in order],
        "titles": [named[items[row]] for row in order] if _plain_ids(items) else None,
    }


def entries(ids: np.ndarray) -> np.ndarray:
    """Return ids as Python's numbers and text; dates stay NumPy's, since those of nanoseconds would become numbers."""
    own = ids.astype(object) if ids.dtype.kind in "iufb" else ids
    return np.array([*own, None], dtype=object)[:-1]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain_ids(values: list) -> bool:
    return all(type(value) in (str, int) for value in values)


def labels(values: list) -> list:
    """Return ids as they are, but codes of those that each library has an object of its own for, such as dates."""
    if _plain_ids(values):
        return values
    codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return [codes[value] for value in values]


def plain_times(values: list) -> list[int | float]:
    """Return times as whole numbers, floating-point numbers, or microseconds since 1970."""
    if all(isinstance(value, datetime.datetime) for value in values):
        return [_microseconds(value) for value in values]
    texts = [(value.decode() if isinstance(value, bytes) else str(value)).strip() for value in values]
    if all(re.fullmatch(r"[+-]?[0-9]+", text) for text in texts):
        if any(not -(2**63) <= int(text) < 2**63 for text in texts):
            raise ValueError("beyond 64 bits")
        return [int(text) for text in texts]
    try:
        numbers = [float(text.encode("ascii")) for text in texts]  # digits of other scripts are none
    except ValueError:
        return [_microseconds(datetime.datetime.fromisoformat(_full(text))) for text in texts]
    if not np.isfinite(numbers).all():
        raise ValueError("a time that is no number")
    return numbers


def _full(text: str) -> str:
    """Return an ISO date as Python's own reader wants it: with a day, of two digits, and no point behind."""
    text = text.removesuffix(".")
    text = f"{text}-01" if re.fullmatch(r"\d{4}-\d{1,2}", text) else text
    return re.sub(r"-(\d)(?!\d)", r"-0\1", text)


def _microseconds(moment: datetime.datetime) -> int:
    zone = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return (zone - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def parquet_log(rng: np.random.Generator, folder: Path) -> Case:
    """Columns of any Arrow type, in one or several groups, under any compression, with or without pandas' own words."""
    path = folder / "log.parquet"
    rows = _rows(rng)
    arrays, names = [], list(HEADERS)
    for at, name in enumerate(names):
        arrays.append(column(rng, [row[at] for row in rows], odd=rng.random() < 0.25 and name != "title"))
    if rng.random() < 0.1:
        arrays[3] = pa.array([None if rng.random() < 0.5 else 2**60 + int(row[1][1:]) for row in rows], pa.int64())
    if rng.random() < 0.08:
        names[int(rng.integers(4))] = pick(rng, ("user_id", "item_id", "timestamp", "", "a\0b", "\x1b[2J", "USER_ID"))
    table = pa.Table.from_arrays(arrays, names=names)
    if rng.random() < 0.3 and len(set(names)) == len(names):
        words = json.loads(pa.Schema.from_pandas(table.slice(0, 0).to_pandas(ignore_metadata=True)).metadata[b"pandas"])
        for _ in range(int(rng.integers(0, 4))):
            words = changed(rng, words)
        table = table.replace_schema_metadata({"pandas": as_json(words)})
    if rng.random() < 0.05:
        table = table.slice(0, 0)
    options: dict[str, Any] = {
        "compression": pick(rng, ("snappy", "none", "zstd", "gzip")),
        "row_group_size": pick(rng, (7, 1000)),
        "use_dictionary": bool(rng.random() < 0.5),
        "data_page_version": pick(rng, ("1.0", "2.0")),
    }
    pq.write_table(table, path, **options)
    if rng.random() < 0.35:
        path.write_bytes(damaged(rng, path.read_bytes()))
    both = rng.random() < 0.12

    def plain() -> dict[str, Any]:
        with pq.ParquetFile(path) as file:
            read = file.read()
        if len(set(read.column_names)) < len(read.column_names):
            raise ValueError("a name stands twice")
        found = {role: read.column(name) for role, name in _roles(read.column_names).items()}
        moments = None
        if "timestamp" in found:
            times = found["timestamp"]
            if pa.types.is_timestamp(times.type) and times.type.unit == "ns":
                times = pc.floor_temporal(times, unit="microsecond").cast(pa.timestamp("us", times.type.tz))
            moments = times.to_pylist()
        for role, column in found.items():
            if pa.types.is_duration(column.type):  # Python's own hold less
                found[role] = pa.array([[number] for number in column.cast(pa.int64()).to_pylist()])
        columns = {role: column.to_pylist() for role, column in found.items()}
        columns = {role: list(map(_hashable, values)) for role, values in columns.items()}
        return _sorted(columns["user_id"], columns["item_id"], moments, columns.get("title"))

    return Case(lambda: _read(path, both), plain, ["report", "--data", str(path)])


def column(rng: np.random.Generator, texts: list[str], odd: bool) -> pa.Array:
    """Return a column as text, or as numbers, or of a type that a log seldom has."""
    if not odd:
        return pa.array(texts)
    digits = [int("".join(re.findall(r"\d", text)) or 0) % 100 for text in texts]
    moments = [datetime.datetime(2017, 1, 1) + datetime.timedelta(hours=number) for number in digits]
    ways = [
        lambda: pa.array(digits),
        lambda: pa.array(digits, pa.uint8()),
        lambda: pa.array([number + 2**63 for number in digits], pa.uint64()),
        lambda: pa.array([-number for number in digits], pa.int8()),
        lambda: pa.array([number / 4 for number in digits], pa.float32()),
        lambda: pa.array([number / 4 for number in digits], pa.float64()),
        lambda: pa.array([pick(rng, (np.nan, np.inf, 1.0)) for _ in digits]),
        lambda: pa.array([None if rng.random() < 0.1 else number for number in digits]),
        lambda: pa.array([None] * len(digits)),
        lambda: pa.array(moments, pa.timestamp(pick(rng, ("s", "ms", "us", "ns")), pick(rng, (None, "UTC")))),
        lambda: pa.array([number * 10**6 + int(rng.integers(3)) for number in digits], pa.timestamp("ns")),
        lambda: pa.array([2**45 + number for number in digits], pa.timestamp("ms")),
        lambda: pa.array([moment.date() for moment in moments]),
        lambda: pa.array([moment.time() for moment in moments]),
        lambda: pa.array([number > 40 for number in digits]),
        lambda: pa.array([Decimal(number) / 4 for number in digits]),
        lambda: pa.array([text.encode() for text in texts]),
        lambda: pa.array([[text] for text in texts]),
        lambda: pa.array([{"a": text} for text in texts]),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array(digits).dictionary_encode(),
        lambda: pa.array([word(rng) if rng.random() < 0.1 else text for text in texts], pa.large_string()),
        lambda: pa.array(digits, pa.duration("s")),
    ]
    return one_of(rng, ways, pa.array(texts))
