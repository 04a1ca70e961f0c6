"""prepare: turn a log that may be larger than memory into a folder of sequences."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from duckdb.func import PythonUDFType
from tqdm import tqdm

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import SHORTEST, find
from cprlab.catalogue.local import About, located, note_filter, read_about
from cprlab.data.columns import Columns
from cprlab.data.doubts import are_titles, doubt_copies, doubt_ids, doubt_times, doubt_titles
from cprlab.data.log import check_ids, different_titles, find_columns, name_items, refuse_no_rows
from cprlab.data.prepared import load_prepared, open_npy, refuse_all_but_prepared, save_prepared
from cprlab.data.protocol import Protocol
from cprlab.data.readers import CHUNK, called, item_titles, line_of, read_chunks, read_head
from cprlab.data.sequences import Sequences
from cprlab.data.splits import (
    SplitBy,
    check_cases,
    check_protocol,
    held_out_places,
    keep_users,
    note_temporal,
    refuse_no_times,
)
from cprlab.data.ties import Order, TieCounts, Ties, keys, ranked
from cprlab.data.times import (
    LOOKS,
    count_finer,
    count_units,
    note_baskets,
    note_file_order,
    note_finer,
    note_order,
    note_units,
    read_times,
    show_time,
    unit_of,
)
from cprlab.errors import DataError, visible
from cprlab.files import scratch
from cprlab.loading.load import (
    check_file,
    doubt_times_not_named,
    first,
    load_log,
    load_own,
    now,
    refuse_times_not_named,
)

# `log` has place (row number in the file), user_id, item_id, moment (time), rank (order within a tie) and maybe basket.
# `placed` adds `start`, the place of the first row of the basket, and takes the basket's moment. Codes are numbered by
# first appearance.
NAMES = {"user": "user_id", "item": "item_id", "basket": "basket"}
ALONE = "CREATE VIEW placed AS SELECT *, 0::BIGINT AS start FROM log"
BASKETS = """
    CREATE TABLE baskets AS SELECT user_id, basket, min(moment) AS moment, min(place) AS start
    FROM log GROUP BY user_id, basket
"""
TOGETHER = """
    CREATE VIEW placed AS SELECT place, user_id, item_id, baskets.moment, rank, start
    FROM log JOIN baskets USING (user_id, basket)
"""
USERS = "CREATE TABLE users AS SELECT user_id, min(place) AS first, count(*) AS n FROM log GROUP BY user_id"
ITEMS = """
    CREATE TABLE items AS SELECT item_id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS code
    FROM (SELECT item_id, min(place) AS first FROM log GROUP BY item_id)
"""
RENUMBERED = """
    CREATE TABLE renumbered AS SELECT * REPLACE (row_number() OVER (ORDER BY place) - 1 AS place) FROM log;
    DROP TABLE log;
    ALTER TABLE renumbered RENAME TO log
"""
RARE = "DELETE FROM log WHERE {column} IN (SELECT {column} FROM log GROUP BY {column} HAVING count(*) < ?)"
SHOWN = """
    SELECT item_id, arg_min(title, place) AS title, count(DISTINCT title) > 1 AS several, min(code) AS code
    FROM titles JOIN items USING (item_id) GROUP BY item_id ORDER BY code
"""
REPEATED = "SELECT count(*) FROM (SELECT item_id FROM log GROUP BY item_id HAVING count(*) > 1)"
TWO = "SELECT title FROM titles WHERE item_id = ? GROUP BY title ORDER BY min(place) LIMIT 2"
COPIES = """
    SELECT coalesce(sum(n - 1), 0)::BIGINT, min({'user': first, 'moment': moment, 'item': code})
    FROM (SELECT user_id, item_id, moment, count(*) AS n FROM placed GROUP BY ALL HAVING n > 1)
    JOIN (SELECT user_id, first FROM users) USING (user_id) JOIN items USING (item_id)
"""
OUTSIDE = "SELECT count(*) FILTER (moment < ?), count(*) FILTER (moment > ?), max(moment) FROM placed"
SORTED = """
    SELECT first, moment, start, rank, code, n >= ? AS kept
    FROM placed JOIN users USING (user_id) JOIN items USING (item_id)
    ORDER BY first, moment, {key}(start), rank, {key}(place)
"""
KEYS: dict[Order, str] = {"file": "+", "reversed": "-", "shuffled": "scattered"}
STEPS = """
    SELECT count(*) FILTER (moment > before), count(*) FILTER (moment < before)
    FROM (SELECT moment, lag(moment) OVER (PARTITION BY user_id ORDER BY place) AS before FROM log)
"""
POINT = "SELECT moment FROM placed JOIN users USING (user_id) WHERE n >= ? ORDER BY moment LIMIT 1 OFFSET ?"
BEFORE = """
    SELECT count(*) FILTER (moment < ?) AS validation, count(*) FILTER (moment < ?) AS test
    FROM placed JOIN users USING (user_id) WHERE n >= ? GROUP BY first ORDER BY first
"""


def prepare(
    path: str | Path,
    folder: str | Path,
    columns: Columns = Columns(),
    *,
    ties: Ties = "auto",
    max_len: int = 50,
    min_interactions: int = 5,
    split: SplitBy = "leave-one-out",
    validation: str | Path = "",
    test: str | Path = "",
    memory: str = "2GB",
) -> Sequences:
    """Read a log in chunks, sort it on disk and write the sequences to a folder; for logs larger than memory.

    The result equals `Sequences.from_log(load_log(path))`. Memory use is one chunk of rows, the ids of users and items,
    and DuckDB's limit. While it runs, it needs about 30 bytes per row of disk space next to the folder, and more for
    long ids.

    Args:
        path: a file, a folder or glob of parts, or an imported log's name, as for `load_log`.
        folder: output folder; an earlier prepared log there is replaced.
        columns: which column holds what.
        ties: order of ties, as for `InteractionLog.from_frame`.
        max_len: maximum number of items that a model reads.
        min_interactions: users with fewer are left out.
        split: as for `Sequences.from_log`; for the next-basket split the log is read into memory.
        validation: with `test`, a log with the validation rows.
        test: a log with the test rows, as for `load_sequences`; the files are read into memory.
        memory: memory limit of DuckDB, such as "2GB" or "500MB"; beyond it, sorting continues on disk.

    Raises:
        DataError: the file or a value in it is invalid, or the folder cannot be written.
    """
    folder = Path(folder)
    if str(path) in BUILTIN:
        raise DataError(f"{path} is built in and fits in memory; use its name directly, without preparing it.")
    path = Path(located(path))
    check_file(path)
    about = read_about(path)
    name = called(path) if about is None else about.name
    check_protocol(max_len, min_interactions)
    Protocol(ties=ties, split=split)  # refuses a way or a split that is none
    refuse_all_but_prepared(folder)
    if test or validation:
        sequences = load_own(path, validation, test, columns, ties, split, max_len, min_interactions)
        save_prepared(sequences, folder)
        return load_prepared(folder)
    if split == "next-basket":  # baskets are grouped in memory
        log = load_log(path, columns, ties=ties)
        sequences = Sequences.from_log(log, max_len=max_len, min_interactions=min_interactions, split=split)
        save_prepared(sequences, folder)
        return load_prepared(folder)
    names = read_head(path).columns
    head = next(read_chunks(path, list(names)), pd.DataFrame(columns=names))
    refuse_times_not_named(head, called(path), columns, ties)
    found = find_columns(names, called(path), columns)
    titles = None if columns.title else item_titles(path)
    if titles is not None:
        found["title"] = None
    with scratch(folder) as work:
        with _database(work, memory, called(path)) as db:
            rows = _fill(db, path, found)
            refuse_no_rows(rows.n, called(path))
            notes: tuple[str, ...] = ()
            found = rows.columns
            if split == "temporal" and found["time"] is None:
                refuse_no_times(called(path))
            if about is not None:
                rows.n, left_out = _filter(db, rows.n, about)
                notes += about.notes + left_out
            if columns.basket:
                db.execute(BASKETS)
                ((baskets,),) = db.execute("SELECT count(*) FROM baskets").fetchall()
                notes += note_baskets(columns.basket, baskets)
            db.execute(TOGETHER if columns.basket else ALONE)
            if found["order"] is not None:
                notes += note_order(found["order"], found["order"] == found["time"])
            notes += (
                note_file_order(names) if found["time"] is None else note_units(rows.units) + note_finer(rows.finer)
            )
            db.execute(USERS)
            db.execute(ITEMS)
            lengths = _table(db, "SELECT n FROM users ORDER BY first")["n"].to_numpy()
            kept, short = keep_users(lengths, name, min_interactions)
            all_ids = rows.ids["user"].own(_table(db, "SELECT user_id FROM users ORDER BY first")["user_id"])
            user_ids = np.asarray(all_ids)
            item_ids = rows.ids["item"].own(_table(db, "SELECT item_id FROM items ORDER BY code")["item_id"])
            if found["title"] is not None:
                titles, doubt = _titles(db, rows, bool(columns.title))
                notes += doubt
            named = name_items(item_ids, titles)
            doubts = tuple(doubt_times_not_named(head, called(path), columns)) + _doubts(
                db, rows, user_ids, item_ids, lengths
            )
            user_ids = user_ids[kept]
            n_kept = int(lengths[kept].sum())
            order: Order = "shuffled" if ties == "shuffle" else "file"
            counts = TieCounts(pd.Series(item_ids), named)
            _sort(db, work / "items.npy", n_kept, min_interactions, order, counts)
            settled, tied = counts.settle(ties, rows.n, lambda: db.execute(STEPS).fetchall()[0])
            if counts.tied and settled != order:
                _sort(db, work / "items.npy", n_kept, min_interactions, settled)
            notes = (*doubts, *notes, *tied, *short)
            before = None
            if split == "temporal":
                query = db.execute
                answers = [query(POINT, [min_interactions, place]).fetchall() for place in held_out_places(n_kept)]
                points = [point for ((point,),) in answers]
                before = np.stack(list(query(BEFORE, [*points, min_interactions]).fetchnumpy().values()))
                cases = check_cases(lengths[kept], before, called(path))
                notes += note_temporal(points, unit_of(rows.units), cases, before.shape[1])
        sequences = Sequences.pack(
            np.load(work / "items.npy", mmap_mode="r+"),
            lengths[kept],
            user_ids,
            np.asarray(item_ids),
            named,
            max_len=max_len,
            name=name,
            notes=notes,
            before=before,
        )
        save_prepared(sequences, folder)
    return load_prepared(folder)


@contextmanager
def _database(work: Path, memory: str, log: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new database in the folder `work`; a lack of memory or disk becomes a DataError that names `log`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(work / "sorting"),
        "preserve_insertion_order": False,  # rows store their place
    }
    if memory.strip().startswith("-"):  # DuckDB takes negative values as no limit
        raise DataError(f"The memory limit {memory!r} is below 0; write it like 2GB or 500MB.")
    try:
        with duckdb.connect(work / "log.duckdb", config=config) as db:
            db.execute("SET enable_progress_bar = false")  # it would write to standard output
            db.create_function("scattered", _scattered, ["BIGINT"], "UBIGINT", type=PythonUDFType.ARROW)
            yield db
    except duckdb.ParserException as error:
        raise DataError(
            f"The memory limit {memory!r} is invalid ({_first_line(error)}); write it like 2GB or 500MB."
        ) from error
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise DataError(
            f"{log} cannot be sorted with {memory} of memory and the free disk space: {_first_line(error)}"
        ) from error


def _scattered(places: pa.ChunkedArray) -> pa.Array:
    return pa.array(keys(places.to_numpy(), "shuffled"))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


class _Ids:
    """Converts ids for DuckDB; ids of types that DuckDB lacks are replaced by numbers and kept in memory."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._numbered: pd.Index | None = None

    def put(self, values: pd.Series) -> pd.Series:
        """Return ids as DuckDB stores them."""
        plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biufM" and values.dtype != np.float16
        if plain or isinstance(values.dtype, pd.StringDtype):
            return values
        codes, different = pd.factorize(pd.Series(np.asarray(values)) if values.dtype == "category" else values)
        numbers = np.array([self._numbers.setdefault(one, len(self._numbers)) for one in different])
        known = 0 if self._numbered is None else len(self._numbered)
        new = different[numbers >= known]
        self._numbered = new if self._numbered is None else self._numbered.append(new)
        return pd.Series(numbers[codes], index=values.index)

    def own(self, kept: pd.Series) -> pd.Index:
        """Return the log's own ids for values from DuckDB."""
        return pd.Index(kept) if self._numbered is None else self._numbered.take(kept)


@dataclass
class _Rows:
    """What was read: numbers of rows, of times that look like each of `LOOKS`, of cut ones; ids, columns by role."""

    n: int
    units: np.ndarray
    finer: int
    ids: dict[str, _Ids]
    columns: dict[str, Any]


def _fill(db: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, Any], *, as_numbers: bool = False) -> _Rows:
    """Check the file's rows and append them to the tables `log` and `titles`."""
    if columns["order"] is not None and columns["time"] is None and columns["basket"] is None:
        columns = columns | {"time": columns["order"]}
    time, title, order = (columns[role] for role in ("time", "title", "order"))
    keys = {role: columns[role] for role in ("user", "item", "basket") if columns[role] is not None}
    rows, kinds = _Rows(0, np.zeros(len(LOOKS), dtype=np.int64), 0, {role: _Ids() for role in keys}, columns), set()

    def again(columns: dict[str, Any], *, as_numbers: bool) -> _Rows:
        for table in ("log", "titles"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        return _fill(db, path, columns, as_numbers=as_numbers)

    with tqdm(desc=f"reading {visible(called(path))}", unit=" rows", unit_scale=True, mininterval=1.0) as bar:
        for chunk in read_chunks(path, [column for column in columns.values() if column is not None]):
            line = partial(line_of, path, before=rows.n)
            for column in keys.values():
                check_ids(chunk[column], called(path), line)
            places = np.arange(rows.n, rows.n + len(chunk))
            times = places  # file order
            ranks = np.zeros(len(chunk)) if order is None else ranked(chunk[order])
            if ranks is None:
                return again(columns | {"order": None, "time": None if time == order else time}, as_numbers=as_numbers)
            if time is not None:
                times, kind = read_times(chunk[time], called(path), line, as_numbers=as_numbers)
                rows.units += count_units(times, kind)
                rows.finer += count_finer(chunk[time], kind)
                times = times.astype(float) if kind == "number" else times
                kinds.add(kind)
            if len(kinds) > 1:  # chunks of one column look different: read all of it as numbers
                return again(columns, as_numbers=True)
            ids = {role: rows.ids[role].put(chunk[column]) for role, column in keys.items()}
            named = {NAMES[role]: values for role, values in ids.items()}
            _append(db, "log", {"place": places, "moment": times, "rank": ranks} | named)
            if title is not None:
                different = different_titles(ids["item"], chunk[title])
                named = {"place": places[different.index], "item_id": different["item"], "title": different["title"]}
                _append(db, "titles", named)
            rows.n += len(chunk)
            bar.update(len(chunk))
    return rows


def _titles(db: duckdb.DuckDBPyConnection, rows: _Rows, named: bool) -> tuple[pd.Series | None, tuple[str, ...]]:
    """Return the titles by item id, None if the column holds none, and the doubt about them."""
    shown = _table(db, SHOWN)
    ((repeated,),) = db.execute(REPEATED).fetchall()
    several = shown["item_id"][shown["several"]]
    are = named or are_titles(len(several), repeated)
    own = rows.ids["item"].own(several[:1])
    two = [title for one in several[:1] for (title,) in db.execute(TWO, [one]).fetchall()]
    doubt = tuple(doubt_titles(rows.columns["title"], len(several), repeated, are, own, two))
    return (shown["title"].set_axis(rows.ids["item"].own(shown["item_id"])) if are else None), doubt


def _doubts(
    db: duckdb.DuckDBPyConnection, rows: _Rows, user_ids: np.ndarray, item_ids: pd.Index, lengths: np.ndarray
) -> tuple[str, ...]:
    """Return what `load._doubts` yields."""
    of_items = _table(db, "SELECT count(*) AS n FROM log JOIN items USING (item_id) GROUP BY code ORDER BY code")["n"]
    doubts = [
        *doubt_ids("user", pd.Series(user_ids), lengths),
        *doubt_ids("item", pd.Series(np.asarray(item_ids)), of_items.to_numpy()),
    ]
    if rows.columns["time"] is None:
        return tuple(doubts)
    unit = unit_of(rows.units)
    ((copies, example),) = db.execute(COPIES).fetchall()
    if copies:
        ((user,),) = db.execute("SELECT count(*) FROM users WHERE first < ?", [example["user"]]).fetchall()
        time = show_time(example["moment"], unit)
        doubts += doubt_copies(copies, rows.n, user_ids[user], item_ids[example["item"]], time)
    if unit:
        early, late, latest = db.execute(OUTSIDE, [first(unit), now(unit)]).fetchall()[0]
        doubts += doubt_times(early, late, rows.n, show_time(latest, unit))
    return tuple(doubts)


def _filter(db: duckdb.DuckDBPyConnection, n_rows: int, about: About) -> tuple[int, tuple[str, ...]]:
    """Remove the rows that `local.filtered` removes; return how many are left, and a note."""
    fewest = find(about.name).min_interactions
    if fewest == 1:
        return n_rows, ()
    left, before = n_rows, 0
    while left != before:
        before = left
        for column, least in (("item_id", fewest), ("user_id", SHORTEST)):
            ((rare,),) = db.execute(RARE.format(column=column), [least]).fetchall()
            left -= rare
    if left < n_rows:
        db.execute(RENUMBERED)
    return left, (note_filter(about, n_rows, left),)


def _append(db: duckdb.DuckDBPyConnection, table: str, columns: dict[str, np.ndarray | pd.Series | pd.Index]) -> None:
    """Append rows to a table; the first rows create it and set its types."""
    db.register("rows", pa.table({name: pa.array(values) for name, values in columns.items()}))
    db.execute(f"CREATE TABLE IF NOT EXISTS {table} AS FROM rows LIMIT 0")
    db.execute(f"INSERT INTO {table} FROM rows")
    db.unregister("rows")


def _sort(
    db: duckdb.DuckDBPyConnection,
    file: Path,
    n_items: int,
    min_interactions: int,
    order: Order,
    counts: TieCounts | None = None,
) -> None:
    """Write the kept users' `n_items` item codes, in order, to an npy file, and count the ties of all rows."""
    query = SORTED.format(key=KEYS[order])
    with (
        tqdm(total=n_items, desc="sorting", unit=" rows", unit_scale=True, mininterval=1.0) as bar,
        open_npy(file, np.dtype(np.int32), n_items) as npy,
    ):
        for batch in db.sql(query, params=[min_interactions]).to_arrow_reader(CHUNK):
            rows = {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names}
            if counts is not None:
                counts.add(*(rows[name] for name in ("first", "moment", "start", "rank", "code")))
            codes = rows["code"][rows["kept"]]
            npy.write(codes)
            bar.update(len(codes))


def _table(db: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """Return a query's result with the same types as a table read from a file."""
    return db.sql(query).to_arrow_table().to_pandas()
