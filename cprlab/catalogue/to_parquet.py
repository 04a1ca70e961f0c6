"""Import: convert a data set's file, from RecBole or its publisher, to a Parquet file that `--data NAME` finds."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from operator import add
from pathlib import Path, PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cprlab.catalogue.data_sets import CATALOGUE, DataSet, find
from cprlab.catalogue.layouts import ATOMIC, Layout, Table, read
from cprlab.catalogue.local import About, file_of, read_about
from cprlab.catalogue.unpack import Member, members
from cprlab.data.columns import Columns
from cprlab.data.log import check_ids, find_columns
from cprlab.data.times import count_finer, note_finer, read_times
from cprlab.errors import DataError, PlaceError
from cprlab.files import whole

MOMENTS = {"whole": pa.int64(), "date": pa.timestamp("us", "UTC"), "number": pa.float64()}


def import_data(name: str, *paths: str | Path) -> Path:
    """Read a data set from RecBole's atomic file or its publisher's file, and write `data/NAME.parquet`.

    Columns are user_id, item_id, timestamp (a whole number or UTC, as in the file) and, if there are titles, title.
    All rows of the data set are kept, in file order. An earlier import is replaced.

    Args:
        name: name in the catalogue.
        paths: the file, plain, gzipped or in a zip or tar archive, or a folder that contains it. Titles come from the
            file next to it, in the same folder or archive. Several files count as one folder.

    Raises:
        CprlabError: there is no such data set, or the file is invalid.
    """
    data_set = find(name)
    if data_set.layout is None:
        raise DataError(f"{data_set.name} comes with cprlab; use --data {data_set.name} without importing it.")
    target = file_of(data_set)
    refuse_other_file(target)
    log, titles, layout = _choose(data_set, data_set.layout, [Path(path) for path in paths])
    files = dict.fromkeys(member.path for member in (log, titles) if member)
    sources = tuple((path.name, _sha256(path)) for path in files)
    known = _read_titles(titles, layout.titles) if titles and layout.titles else None
    with whole(target, partial(refuse_other_file, target)) as temporary:
        if not _write(temporary, data_set, log, layout, known, sources):
            _write(temporary, data_set, log, layout, known, sources, as_numbers=True)
    return target


def refuse_other_file(target: Path) -> None:
    """Raise a PlaceError if there is a file that no import made."""
    if target.exists() and read_about(target) is None:
        raise PlaceError(f"{target} was not made by an import; move it elsewhere, so that it is not overwritten.")


def _choose(data_set: DataSet, own: Layout, paths: list[Path]) -> tuple[Member, Member | None, Layout]:
    """Return the file with the log, the file with the titles, and their layout."""
    found = [member for path in paths for member in _offered(data_set.name, own, path)]
    for pattern, layout in ((f"{data_set.name}.inter", ATOMIC), (own.log.file, own), ("*.inter", ATOMIC)):
        logs = [member for member in found if _called(member.name, pattern)]
        if len(logs) > 1:
            names = ", ".join(ascii(member.name) for member in logs[:5])
            raise DataError(f"{paths[0]} contains several logs ({names}); name the file of {data_set.name}.")
        if logs:
            _refuse_another(data_set, logs[0])
            return logs[0], _beside(logs[0], found, layout), layout
    if len(found) == 1:  # trust the user, whatever the file's name
        return found[0], _beside(found[0], found, own), own
    raise DataError(f"{paths[0]} contains neither {data_set.name}.inter nor the publisher's {own.log.file}.")


def _beside(log: Member, found: list[Member], layout: Layout) -> Member | None:
    """Return the file of titles next to a log, on disk or in its archive."""
    if layout.titles is None:
        return None
    place = PurePosixPath(log.name)
    pattern = layout.titles.file.replace("*.item", f"{place.stem}.item")
    if place.name == log.path.name.removesuffix(".gz"):  # a file on disk
        files = sorted(file for file in log.path.parent.iterdir() if _called(file.name.removesuffix(".gz"), pattern))
        near = [member for file in files for member in members(file)]
    else:
        near = [one for one in found if one.path == log.path and PurePosixPath(one.name).parent == place.parent]
    return next((member for member in near if _called(member.name, pattern)), None)


def _offered(name: str, own: Layout, path: Path) -> list[Member]:
    if not path.exists():
        raise DataError(f"{path} does not exist; name the file or folder of {name}.")
    if path.is_file():
        return members(path)
    patterns = (own.log.file, f"{name}.inter")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    logs = [file for file in files if any(_called(file.name.removesuffix(".gz"), pattern) for pattern in patterns)]
    return [member for file in logs for member in members(file)]


def _refuse_another(data_set: DataSet, log: Member) -> None:
    stem = PurePosixPath(log.name).stem.casefold()
    for other in CATALOGUE:
        if other.name.casefold() == stem != data_set.name.casefold():
            raise DataError(f"{log.path} has the name of {other.name}; import it as that, not as {data_set.name}.")


def _called(name: str, pattern: str) -> bool:
    return fnmatch(PurePosixPath(name).name.casefold(), pattern.casefold())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_titles(member: Member, table: Table) -> pd.Series:
    """Return titles by item id."""
    frame = pd.concat(
        [pd.DataFrame(columns=["item_id", "title"], dtype=str), *_read(member, table, ("item_id", "title"))]
    )
    frame = frame[(frame != "").all(axis=1)]
    return frame.drop_duplicates("item_id").set_index("item_id")["title"]


def _read(member: Member, table: Table, wanted: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    try:
        with member.open() as stream:
            yield from read(stream, table, wanted)
    except ValueError as error:  # also what Arrow and the decoders raise
        detail = str(error).splitlines()[0]
        raise DataError(
            f"{member.path} has the wrong layout ({detail}); {table.file} should have {table.looks}."
        ) from error


def _write(
    path: Path,
    data_set: DataSet,
    log: Member,
    layout: Layout,
    titles: pd.Series | None,
    sources: tuple[tuple[str, str], ...],
    *,
    as_numbers: bool = False,
) -> bool:
    """Write the log while reading it; return False early if its times must be read again `as_numbers`."""
    named = (data_set.user, data_set.item, data_set.time, "user_id", "item_id", "timestamp")
    others = (data_set.time_else, "title", *layout.joined, *(layout.keep or ())[:1])
    wanted = tuple(filter(None, dict.fromkeys(named + others)))
    counts: Counter[str] = Counter()
    writer = None
    try:
        with tqdm(desc=f"importing {data_set.name}", unit=" rows", unit_scale=True, mininterval=1.0) as bar:
            for chunk in _read(log, layout.log, wanted):
                frame, kind = _tidied(chunk, data_set, layout, log.name, counts, as_numbers)
                if titles is not None:
                    frame["title"] = frame["item_id"].map(titles)
                if writer is None:
                    first = kind
                    types = dict.fromkeys(frame, pa.string()) | ({"timestamp": MOMENTS[kind]} if kind else {})
                    writer = pq.ParquetWriter(path, pa.schema(types), compression="zstd")
                if kind != first:  # chunks of one column look different: read all of it as numbers
                    return False
                writer.write_table(pa.Table.from_pandas(frame, writer.schema, preserve_index=False))
                bar.update(len(chunk))
        if writer is None or counts["kept"] == 0:
            raise DataError(f"{log.path} contains no interactions of {data_set.name}.")
        writer.add_key_value_metadata(About(data_set.name, sources, _notes(data_set, layout, counts)).metadata())
    finally:
        if writer is not None:
            writer.close()
    return True


def _tidied(
    chunk: pd.DataFrame, data_set: DataSet, layout: Layout, name: str, counts: Counter, as_numbers: bool
) -> tuple[pd.DataFrame, str]:
    """Check a chunk and return its rows to write, and what its times were read as ("" without times)."""
    if layout.joined:
        chunk[data_set.item] = chunk[layout.joined[0]].str.cat([chunk[part] for part in layout.joined[1:]], sep="<")
    known = {role: getattr(data_set, role) for role in ("user", "item", "time")}
    known = {role: column for role, column in known.items() if column in chunk}
    columns = find_columns(chunk.columns, name, Columns(**known))
    line = counts["rows"] + (1 if layout.log.columns else 2)
    for role in ("user", "item"):
        check_ids(chunk[columns[role]], name, partial(add, line))
    frame = pd.DataFrame({"user_id": chunk[columns["user"]], "item_id": chunk[columns["item"]]})
    kind = ""
    if columns["time"] is not None:
        times = chunk[columns["time"]]
        if data_set.time_else in chunk:
            empty = times.str.strip() == ""
            counts["late"] += int(empty.sum())
            times = times.where(~empty, chunk[data_set.time_else])
        moments, kind = read_times(times, name, partial(add, line), as_numbers=as_numbers)
        counts["finer"] += count_finer(times, kind)
        frame["timestamp"] = pd.to_datetime(moments, unit="us", utc=True) if kind == "date" else moments
    if "title" in chunk:
        frame["title"] = chunk["title"]
    counts["rows"] += len(chunk)
    if layout.keep is not None:
        column, value = layout.keep
        frame = frame[chunk[column] == value]
    counts["kept"] += len(frame)
    return frame, kind


def _notes(data_set: DataSet, layout: Layout, counts: Counter) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if layout.keep is not None:
        column, value = layout.keep
        rows = f"{counts['rows'] - counts['kept']:,} of {counts['rows']:,} rows of the publisher's file"
        notes += (f"{rows} do not belong to {data_set.name} (their {column} is not {value}) and are left out.",)
    if counts["late"]:
        notes += (f"{counts['late']:,} rows have no {data_set.time}; their {data_set.time_else} is used instead.",)
    return notes + note_finer(counts["finer"])
