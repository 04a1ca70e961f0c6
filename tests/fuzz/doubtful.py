"""Logs in which something is not what it seems, in a file, a folder of parts, a terminal or a closed place."""

import csv
import encodings.utf_8_sig  # noqa: F401  # which nobody could import
import io
import math
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections import Counter
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cprlab import cli
from cprlab.errors import DataError
from cprlab.loading import load_log
from cprlab.loading.check import check
from tests.fuzz.damage import WORDS, damaged, pick
from tests.fuzz.judge import Case
from tests.fuzz.logs import HEADERS, _compare_prepared, _read, _roles, _rows, _sorted

NOBODY = 65534
# Ids, and what is left of each without what cannot be seen.
SEEN = {
    "ab": "ab",
    "a\u200bb": "ab",
    " ab": "ab",
    "ab\u00a0": "ab",
    "\uff41b": "ab",
    "a b": "a b",
    "a  b": "a b",
    "AB": "AB",
}
NUMBERS = ("7", "007", "7.0", "7.", "+7", "1e5", "100000", "0.5", ".50", "70", "-0", "0", "8", "1E+5")
UNKNOWN = ("nan", "NULL", "None", "-1", "n/a", "unknown", "<NA>")
STREAMS = "argv", "stdout", "stderr", "__stdout__", "__stderr__"
ENCODINGS = ("ascii", "latin-1", "cp1252", "koi8-r", "utf-8", "shift_jis")


def _write(path: Path, table: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(table)
    path.write_text(out.getvalue(), encoding="utf-8")


def ties(rng: np.random.Generator, folder: Path) -> Case:
    """Rows of a user share a day, in random order, sorted by item or title, or newest first; some days are no days."""
    path = folder / "log.csv"
    rows = [
        [f"u{user}", str(int(rng.integers(30))), str(int(rng.integers(1, 5)))]
        for user in range(int(rng.integers(1, 6)))
        for _ in range(int(rng.integers(1, 16)))
    ]
    named = {item: f"Title {int(rng.integers(100))}" for _, item, _ in rows}
    orders = {
        "by item": lambda row: (row[0], int(row[2]), int(row[1])),
        "by title": lambda row: (row[0], int(row[2]), named[row[1]]),
        "newest first": lambda row: (row[0], -int(row[2])),
        "oldest first": lambda row: (row[0], int(row[2])),
    }
    way = pick(rng, ("random", *orders))
    rows = sorted(rows, key=orders[way]) if way in orders else [rows[place] for place in rng.permutation(len(rows))]
    if rng.random() < 0.2:
        rows[int(rng.integers(len(rows)))][2] = pick(rng, WORDS)
    _write(path, [list(HEADERS), *([*row, named[row[1]]] for row in rows)])
    both = rng.random() < 0.12

    def read() -> dict[str, Any]:
        log = load_log(path)
        if both:
            _compare_prepared(path)
        said = " ".join(log.notes)
        words = {"shuffled": "ties are shuffled", "reversed": "ties are reversed", "file": "ties keep the order"}
        users, items = log.user_ids[log.users].tolist(), log.item_ids[log.items].tolist()
        how = next((how for how, phrase in words.items() if phrase in said), "none")
        assert log.times is not None
        return _grouped(list(zip(users, items, log.times.tolist(), strict=True)), how)

    def plain() -> dict[str, Any]:
        kept = [(user, item, float(time)) for user, item, time in rows]
        first = {user: place for place, (user, _, _) in reversed(list(enumerate(kept)))}
        kept.sort(key=lambda row: (first[row[0]], row[2]))
        tied = [(one, other) for one, other in pairwise(kept) if one[::2] == other[::2]]
        in_file = [[float(row[2]) for row in rows if row[0] == user] for user in first]
        steps = [(one, other) for times in in_file for one, other in pairwise(times) if one != other]
        titles = {item: named[item] for _, item, _ in kept}
        ranks: list[list[tuple[Any, Any]]] = [
            [(int(one[1]), int(other[1])) for one, other in tied],
            [(titles[one[1]], titles[other[1]]) for one, other in tied],
        ]
        ordered = any(_mostly(pairs, 1e-3) or _mostly([pair[::-1] for pair in pairs], 1e-3) for pairs in ranks)
        backwards = _mostly([pair[::-1] for pair in steps], 0.05)
        how = "none" if not tied else "shuffled" if ordered else "reversed" if backwards else "file"
        if how == "reversed":
            kept = sorted(reversed(kept), key=lambda row: (first[row[0]], row[2]))
        return _grouped(kept, how)

    return Case(read, plain, ["report", "--data", str(path)])


def _mostly(pairs: list[tuple[Any, Any]], chance: float) -> bool:
    """Return whether more than two thirds of the pairs that differ rise, and so many rise seldom by chance."""
    rises, n = sum(one < other for one, other in pairs), sum(one != other for one, other in pairs)
    return rises > 2 / 3 * n and sum(math.comb(n, k) for k in range(rises, n + 1)) / 2**n < chance


def _grouped(rows: list[tuple[str, str, float]], how: str) -> dict[str, Any]:
    """Return users, times and items in order; where ties are shuffled, the items of a tie in any order."""
    if how == "shuffled":
        rows = sorted(rows, key=lambda row: (rows.index(next(one for one in rows if one[0] == row[0])), row[2], row[1]))
    return {"how": how, "rows": rows}


def odd_ids(rng: np.random.Generator, folder: Path) -> Case:
    """Ids that are equal as numbers or but for what is invisible, or that mean that none is known."""
    path = folder / "log.csv"
    pool = [*(pick(rng, (NUMBERS, UNKNOWN, tuple(SEEN), ("x", "y")))), "z"]
    rows = [[f"u{rng.integers(3)}", pick(rng, pool), str(place)] for place in range(int(rng.integers(1, 60)))]
    if rng.random() < 0.1:
        rows[int(rng.integers(len(rows)))][1] = pick(rng, ("", " ", "\t"))
    _write(path, [["user_id", "item_id", "timestamp"], *rows])
    both = rng.random() < 0.12

    def read() -> dict[str, Any]:
        log = load_log(path)
        if both:
            _compare_prepared(path)
        said = " ".join(log.notes)
        return {
            "items": Counter(log.item_ids[log.items].tolist()),
            "as numbers": _number(said, r"([\d,]+) item ids equal another as numbers"),
            "invisible": _number(said, r"([\d,]+) item ids equal another but for spaces"),
            "unknown": _number(said, r"([\d,]+) of [\d,]+ rows have item ids such as"),
        }

    def plain() -> dict[str, Any]:
        items = [item for _, item, _ in rows]
        if not all(item.strip() for item in items):
            raise ValueError("an empty id")
        distinct = list(dict.fromkeys(items))
        values = [Fraction(one) for one in distinct if one in (*NUMBERS, "-1")]
        seen = [SEEN.get(one, one) for one in distinct]
        return {
            "items": Counter(items),
            "as numbers": len(values) - len(set(values)),
            "invisible": len(seen) - len(set(seen)),
            "unknown": sum(item in UNKNOWN for item in items),
        }

    return Case(read, plain, ["report", "--data", str(path)])


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    return int(found[1].replace(",", "")) if found else 0


def copies(rng: np.random.Generator, folder: Path) -> Case:
    """Rows that are there again, with the index that pandas writes, with a number of each play, or without times."""
    path = folder / "log.csv"
    rows = [[f"u{rng.integers(3)}", f"i{rng.integers(8)}", str(rng.integers(40))] for _ in range(30)]
    rows = [rows[place] for place in np.sort(rng.integers(0, 30, int(rng.integers(10, 90))))]
    timed, index, damage = rng.random() < 0.8, rng.random() < 0.5, rng.random() < 0.3
    header = ["user_id", "item_id", "timestamp"][: 3 if timed else 2]
    table = [header, *(row[: len(header)] for row in rows)]
    if index:
        name = pick(rng, ("", "play"))
        table = [[name if place == 0 else str(place - 1), *row] for place, row in enumerate(table)]
    _write(path, table)
    if damage:
        path.write_bytes(damaged(rng, path.read_bytes(), text=True))

    def read() -> dict[str, Any]:
        found = check(path)
        if found.refused:
            raise found.refused
        said = " ".join(found.doubts)
        pattern = r"([\d,]+) of [\d,]+ rows (?:have the user, item and time|are exact copies)"
        return {"rows": _facts(found)["rows"], "copies": _number(said, pattern)}

    def plain() -> dict[str, Any]:
        text = path.read_bytes().decode("utf-8-sig")
        header, *body = csv.reader(io.StringIO(text, newline=""))
        if any(len(row) != len(header) for row in body):
            raise ValueError("rows of other widths")
        names = [name.strip() for name in header]
        roles = _roles(names)
        at = [names.index(roles[role]) for role in ("user_id", "item_id", "timestamp") if role in roles]
        keys: list[tuple] = [tuple(row) if len(at) < 3 else tuple(row[place] for place in at) for row in body]
        if len(at) == 3:
            keys = [(*key[:2], float(key[2])) for key in keys]
        return {"rows": f"{len(body):,}", "copies": len(keys) - len(set(keys))}

    return Case(read, plain, ["report", "--data", str(path)])


def _facts(found: Any) -> dict[str, str]:
    return dict(zip(found.facts["fact"], found.facts["value"], strict=True))


def odd_titles(rng: np.random.Generator, folder: Path) -> Case:
    """One title for an item or several, of which some are markup, formulas or commands to a terminal."""
    path = folder / "log.csv"
    several = rng.random() < 0.5
    rows = []
    for place in range(int(rng.integers(1, 60))):
        item = int(rng.integers(8))
        title = pick(rng, WORDS) if rng.random() < 0.3 else f"Item {item}{place * several or ''}"
        rows.append([f"u{rng.integers(3)}", f"i{item}", str(place), title])
    if rng.random() < 0.2:
        rows[int(rng.integers(len(rows)))][2] = pick(rng, WORDS)
    _write(path, [["user_id", "item_id", "timestamp", pick(rng, ("title", "name", "Title"))], *rows])
    both = rng.random() < 0.12

    def plain() -> dict[str, Any]:
        text = path.read_text(encoding="utf-8")
        _, *body = csv.reader(io.StringIO(text, newline=""))
        users, items, times, titles = (list(column) for column in zip(*body, strict=True))
        return _sorted(users, items, times, titles)

    return Case(lambda: _read(path, both), plain, ["report", "--data", str(path)])


def parquet_parts(rng: np.random.Generator, folder: Path) -> Case:
    """A folder as Spark writes it: parts, of which one may be empty, damaged or another table, and other files."""
    place = folder / "log.parquet"
    place.mkdir()
    rows = _rows(rng)
    cuts = np.sort(rng.integers(0, len(rows) + 1, int(rng.integers(0, 12))))
    parts = [part for part in np.split(np.arange(len(rows)), cuts)]
    odd = int(rng.integers(len(parts))) if rng.random() < 0.4 else -1
    hive = rng.random() < 0.2
    for number, part in enumerate(parts):
        columns = {name: [rows[row][at] for row in part] for at, name in enumerate(HEADERS)}
        home = place
        if hive:
            columns.pop("timestamp")
            home = place / f"timestamp={number + 1}"
            home.mkdir()
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        if number == odd:
            ways = [
                lambda table=table: table.drop_columns(["title"]),
                lambda table=table: table.rename_columns(["who", *table.column_names[1:]]),
                lambda table=table: table.set_column(1, "item_id", pa.array(range(len(table)))),
                lambda table=table: table.select(table.column_names[::-1]),
            ]
            table = pick(rng, ways)()
        pq.write_table(table, home / f"part-{number}.snappy.parquet")
        if number == odd and rng.random() < 0.5:
            file = home / f"part-{number}.snappy.parquet"
            file.write_bytes(damaged(rng, file.read_bytes()))
    for name in ("_SUCCESS", ".part-0.crc", "notes.txt"):
        (place / name).write_bytes(rng.bytes(5))
    both = rng.random() < 0.2

    def plain() -> dict[str, Any]:
        tables = []
        for number in range(len(parts)):
            home = place / f"timestamp={number + 1}" if hive else place
            table = pq.ParquetFile(home / f"part-{number}.snappy.parquet").read()
            if hive:
                table = table.append_column("timestamp", pa.array([str(number + 1)] * len(table), pa.string()))
            tables.append(table)
        kinds = [{field.name: pa.types.is_integer(field.type) for field in table.schema} for table in tables]
        if any(kind != kinds[0] for kind in kinds):
            raise ValueError("parts differ")
        columns = {name: [value for table in tables for value in table[name].to_pylist()] for name in kinds[0]}
        return _sorted(columns["user_id"], columns["item_id"], columns.get("timestamp"), columns.get("title"))

    return Case(lambda: _read(place, both), plain, ["report", "--data", str(place)])


def terminal(rng: np.random.Generator, folder: Path) -> Case:
    """What a check prints, where standard output has another encoding: escapes take the place of what it lacks."""
    path = folder / f"log{pick(rng, ('', 'é', '日本', 'ß'))}.csv"
    rows = [[pick(rng, ("é", "日", "a", "ß", "Ж")), f"i{rng.integers(8)}", str(n)] for n in range(12)]
    if rng.random() < 0.3:
        rows[3][pick(rng, (0, 1, 2))] = pick(rng, ("", "soon", "日"))
    _write(path, [["user_id", "item_id", "timestamp"], *rows])
    encoding, command = pick(rng, ENCODINGS), ["data", "check", str(path)]

    def read() -> str:
        code, printed, said = _printed(command, encoding)
        if code:
            raise DataError(said.decode(encoding).strip())
        return printed.decode(encoding)

    def plain() -> str:
        _, printed, _ = _printed(command, "utf-8")
        return printed.decode().encode(encoding, "backslashreplace").decode(encoding)

    return Case(read, plain, command)


def _printed(command: list[str], encoding: str) -> tuple[int, bytes, bytes]:
    """Run a command line in this process with other standard streams; return its exit code and what it wrote."""
    before = [vars(sys)[name] for name in STREAMS]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            files = [open(number, "w", encoding=encoding, closefd=False) for number in (1, 2)]  # noqa: SIM115
            sys.argv, (sys.stdout, sys.stderr) = ["cprlab", *command], files
            vars(sys).update(__stdout__=files[0], __stderr__=files[1])
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
            for file in files:
                file.flush()
        finally:
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
                os.close(copy)
            vars(sys).update(zip(STREAMS, before, strict=True))
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def closed(rng: np.random.Generator, folder: Path) -> Case:
    """A file and its folder that the user may read, or not."""
    place = Path(tempfile.mkdtemp(prefix="cprlab-fuzz-"))
    place.chmod(0o755)
    path = place / "logs" / "log.csv"
    path.parent.mkdir()
    rows = _rows(rng)
    _write(path, [list(HEADERS), *rows])
    path.chmod(pick(rng, (0o644, 0o644, 0o000, 0o200, 0o600)))
    path.parent.chmod(pick(rng, (0o755, 0o755, 0o755, 0o700, 0o744)))

    def read() -> dict[str, Any]:
        with nobody():
            return _read(path, False)

    def plain() -> dict[str, Any]:
        with nobody():
            text = path.read_text(encoding="utf-8")
        _, *body = csv.reader(io.StringIO(text, newline=""))
        return _sorted(*(list(column) for column in zip(*body, strict=True)))

    weakref.finalize(read, shutil.rmtree, place, ignore_errors=True)
    return Case(read, plain, [])


@contextmanager
def nobody() -> Any:
    """Have no rights of the superuser meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
