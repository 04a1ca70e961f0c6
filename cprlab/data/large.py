"""prepare: a log that may be larger than memory becomes a folder of sequences."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from cprlab.data.builtin import BUILTIN
from cprlab.data.load import CHUNK, check_file, first_line, item_titles, read_chunks, read_head
from cprlab.data.log import (
    check_ids,
    find_columns,
    first_titles,
    name_items,
    note_file_order,
    note_ties,
    read_times,
    refuse_no_rows,
)
from cprlab.data.sequences import Sequences, check_protocol, keep_users, open_npy, refuse_other_files
from cprlab.errors import DataError, visible
from cprlab.files import scratch

# `log` holds place (of the row in the file), user_id, item_id and moment (its time). Codes go by first appearance.
USERS = "CREATE TABLE users AS SELECT user_id, min(place) AS first, count(*) AS n FROM log GROUP BY user_id"
ITEMS = """
    CREATE TABLE items AS SELECT item_id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS code
    FROM (SELECT item_id, min(place) AS first FROM log GROUP BY item_id)
"""
TITLES = "SELECT item_id, arg_min(title, place) AS title FROM titles GROUP BY item_id"
SORTED = """
    SELECT first, moment, code, n >= ? AS kept
    FROM log JOIN users USING (user_id) JOIN items USING (item_id)
    ORDER BY first, moment, place
"""


def prepare(
    path: str | Path,
    folder: str | Path,
    *,
    user: str = "",
    item: str = "",
    time: str = "",
    title: str = "",
    max_len: int = 50,
    min_interactions: int = 5,
    memory: str = "2GB",
) -> Sequences:
    """Read a log in chunks, sort it on disk and keep the sequences in a folder, for logs that do not fit in memory.

    The result equals `Sequences.from_log(load_log(path))`. Memory holds a chunk of rows, the ids of users and items,
    and what DuckDB may take; beside the folder there must be room for about 30 bytes a row while this runs, and for
    more where ids are long.

    Args:
        path: a parquet, csv, tsv or RecBole `.inter` file.
        folder: where the sequences go; an earlier log prepared there is replaced.
        user: column of the users; guessed from its name when empty. Likewise `item`, `time` and `title`.
        item: column of the items.
        time: column of the times; a log without one is taken in file order.
        title: column of the items' titles.
        max_len: how many items a model reads at the most.
        min_interactions: users with fewer are left out.
        memory: what DuckDB may take, such as "2GB" or "500MB"; it goes on on disk.

    Raises:
        DataError: the file or a value in it is not what it should be, or the folder cannot be written.
    """
    path, folder = Path(path), Path(folder)
    if str(path) in BUILTIN:
        raise DataError(f"{path} is built in and fits in memory: it needs no preparing; give its name as it is.")
    check_file(path)
    check_protocol(max_len, min_interactions)
    refuse_other_files(folder)
    names = read_head(path).columns
    columns = find_columns(names, path.name, {"user": user, "item": item, "time": time, "title": title})
    titles = None if title else item_titles(path)
    if titles is not None:
        columns["title"] = None
    notes = note_file_order(names) if columns["time"] is None else ()
    with scratch(folder) as work:
        with _database(work, memory, path.name) as db:
            n_rows = _fill(db, path, columns)
            refuse_no_rows(n_rows, path.name)
            db.execute(USERS)
            db.execute(ITEMS)
            lengths = _table(db, "SELECT n FROM users ORDER BY first")["n"].to_numpy()
            kept, short = keep_users(lengths, path.name, min_interactions)
            kept_ids = f"SELECT user_id FROM users WHERE n >= {min_interactions} ORDER BY first"
            user_ids = np.asarray(_table(db, kept_ids)["user_id"])
            item_ids = pd.Index(_table(db, "SELECT item_id FROM items ORDER BY code")["item_id"])
            if columns["title"] is not None:
                titles = _table(db, TITLES).set_index("item_id")["title"]
            tied = _sort(db, work / "items.npy", int(lengths[kept].sum()), min_interactions)
        Sequences.pack(
            np.load(work / "items.npy", mmap_mode="r+"),
            lengths[kept],
            user_ids,
            np.asarray(item_ids),
            name_items(item_ids, titles),
            max_len=max_len,
            name=path.name,
            notes=notes + note_ties(tied, n_rows) + short,
        ).save(folder)
    return Sequences.load(folder)


@contextmanager
def _database(work: Path, memory: str, log: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new database in the folder `work`; what it lacks is said in a sentence about `log`."""
    config = {
        "memory_limit": memory,
        "temp_directory": str(work / "sorting"),
        "preserve_insertion_order": False,  # rows know their place
    }
    try:
        with duckdb.connect(work / "log.duckdb", config=config) as db:
            db.execute("SET enable_progress_bar = false")  # it would write to standard output
            yield db
    except duckdb.ParserException as error:
        raise DataError(f"The memory cannot be {memory!r}: {_first_line(error)}; write it as 2GB or 500MB.") from error
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise DataError(
            f"{log} cannot be sorted with {memory} of memory and the room that is left on disk: {_first_line(error)}"
        ) from error
    except duckdb.ConversionException as error:
        raise DataError(
            f"{log} has values that change their type ({_first_line(error)}); save them as text."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _fill(
    db: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str | None], *, as_numbers: bool = False
) -> int:
    """Check the file's rows and append them to the tables `log` and `titles`; return how many there are."""
    user, item, time, title = (columns[role] for role in ("user", "item", "time", "title"))
    kinds, place = set(), 0
    with tqdm(desc=f"reading {visible(path.name)}", unit=" rows", unit_scale=True, mininterval=1.0) as bar:
        for chunk in read_chunks(path, [column for column in columns.values() if column is not None]):
            line = first_line(path) + place
            for column in (user, item):
                check_ids(chunk[column], path.name, line)
            places = np.arange(place, place + len(chunk))
            times = places  # the order of the file
            if time is not None:
                times, kind = read_times(chunk[time], path.name, line, as_numbers=as_numbers)
                times = times.astype(float) if kind == "number" else times
                kinds.add(kind)
            if len(kinds) > 1:  # only the whole column tells what it is: numbers, of which some chunks look otherwise
                db.execute("DROP TABLE log")
                db.execute("DROP TABLE IF EXISTS titles")
                return _fill(db, path, columns, as_numbers=True)
            _append(db, "log", {"place": places, "user_id": chunk[user], "item_id": chunk[item], "moment": times})
            if title is not None:
                first = first_titles(chunk, item, title)
                _append(db, "titles", {"place": np.full(len(first), place), "item_id": first.index, "title": first})
            place += len(chunk)
            bar.update(len(chunk))
    return place


def _append(db: duckdb.DuckDBPyConnection, table: str, columns: dict[str, np.ndarray | pd.Series | pd.Index]) -> None:
    """Append rows to a table, which the first ones make and give its types."""
    db.register("rows", pa.table({name: pa.array(values) for name, values in columns.items()}))
    db.execute(f"CREATE TABLE IF NOT EXISTS {table} AS FROM rows LIMIT 0")
    db.execute(f"INSERT INTO {table} FROM rows")
    db.unregister("rows")


def _sort(db: duckdb.DuckDBPyConnection, file: Path, n_items: int, min_interactions: int) -> int:
    """Write the kept users' items, `n_items` codes in order, to an npy file; return how many of all rows are tied."""
    tied = 0
    before = {"first": np.empty(0, np.int64), "moment": np.empty(0, np.int64)}
    with (
        tqdm(total=n_items, desc="sorting", unit=" rows", unit_scale=True, mininterval=1.0) as bar,
        open_npy(file, np.dtype(np.int32), n_items) as npy,
    ):
        for batch in db.sql(SORTED, params=[min_interactions]).to_arrow_reader(CHUNK):
            rows = {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names}
            same = [np.diff(np.concatenate([last, rows[name]])) == 0 for name, last in before.items()]
            tied += np.count_nonzero(same[0] & same[1])
            before = {name: rows[name][-1:] for name in before}
            codes = rows["code"][rows["kept"]]
            npy.write(codes)
            bar.update(len(codes))
    return tied


def _table(db: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """Return a query's result with the types that reading a file would give."""
    return db.sql(query).to_arrow_table().to_pandas()
