"""Prepared logs: the folder that `prepare` and `save_prepared` write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cprlab.data import Sequences, load_prepared, save_prepared
from cprlab.loading import load_log
from tests.fuzz.damage import VALUES, as_json, changed, damaged_file, one_of, pick
from tests.fuzz.judge import Case
from tests.fuzz.logs import column, entries, labels


def prepared_log(rng: np.random.Generator, folder: Path) -> Case:
    """A file of the folder is damaged, or another sound one."""
    place = folder / "prepared"
    save_prepared(_sound(folder), place)
    for _ in range(int(rng.integers(0, 3))):
        file = place / pick(rng, ("items.npy", "offsets.npy", "users.parquet", "items.parquet", "sequences.json"))
        if not file.is_file():
            continue
        if rng.random() < 0.4:
            damaged_file(rng, file, text=file.suffix == ".json")
        else:
            one_of(rng, [lambda file=file: _other(rng, file)], None)

    def read() -> dict[str, Any]:
        sequences = load_prepared(place)
        values = {name: getattr(sequences, name) for name in ("max_len", "name", "fingerprint", "notes")}
        windows = sequences.windows("test")
        sequences.batch(windows, np.arange(min(3, len(windows))))
        return values | {
            "items": np.array(sequences.items),
            "offsets": np.array(sequences.offsets),
            "users": labels(entries(sequences.user_ids).tolist()),
            "ids": labels(entries(sequences.item_ids).tolist()),
            "titles": sequences.titles.tolist(),
        }

    def plain() -> dict[str, Any]:
        facts = json.loads((place / "sequences.json").read_text(encoding="utf-8"))
        users, items = (pq.ParquetFile(place / f"{name}.parquet").read().to_pydict() for name in ("users", "items"))
        return {
            "max_len": facts["max_len"],
            "name": facts["name"],
            "fingerprint": facts["fingerprint"],
            "notes": facts["notes"],
            "items": np.load(place / "items.npy", allow_pickle=False),
            "offsets": np.load(place / "offsets.npy", allow_pickle=False),
            "users": labels(users["id"]),
            "ids": labels(items["id"]),
            "titles": items["title"],
        }

    return Case(read, plain, ["report", "--data", str(place)])


def _sound(folder: Path) -> Sequences:
    path = folder / "sound.csv"
    lines = [f"u{user},i{(user * place) % 7},{place}" for user in range(5) for place in range(8)]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines))
    return Sequences.from_log(load_log(path))


def _other(rng: np.random.Generator, file: Path) -> None:
    """Write a sound file with other values of the same kind."""
    if file.suffix == ".npy":
        _other_array(rng, file)
    elif file.suffix == ".json":
        file.write_bytes(as_json(changed(rng, json.loads(file.read_bytes()))))
    else:
        table = pq.ParquetFile(file).read()
        at = int(rng.integers(table.num_columns))
        drawn = column(rng, [f"x{row}" for row in range(table.num_rows)], odd=True)
        table = table.set_column(at, table.column_names[at], drawn).slice(int(rng.random() < 0.1))
        pq.write_table(table.drop_columns([] if rng.random() < 0.9 else ["id"]), file)


def _other_array(rng: np.random.Generator, file: Path) -> None:
    array = np.load(file)
    ways = [
        lambda: array.astype(pick(rng, ("f4", "i2", "i8", "i4", ">i4", ">i8", "u8", "?", "U3"))),
        lambda: array[None],
        lambda: array[:0],
        lambda: array + 1,
        lambda: -array,
        lambda: array[::-1],
        lambda: np.append(array, array[-1:]).astype(array.dtype),
        lambda: np.array(int(array[0])),
    ]
    np.save(file, one_of(rng, ways, array))
    if rng.random() < 0.1:
        np.save(file, np.array([VALUES], dtype=object), allow_pickle=True)
