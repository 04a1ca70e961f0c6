"""Snapshots, as .safetensors and as .npz, and the Parquet file of histories that may come with one."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cprlab.probes import Snapshot
from tests.fuzz.damage import VALUES, as_json, changed, damaged, one_of, pick, plain_safetensors, safetensors
from tests.fuzz.judge import Case

N, M, D = 7, 5, 3


def _sound(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {
        "item_embeddings": rng.normal(size=(N, D)),
        "states": rng.normal(size=(M, D)).astype(pick(rng, ("f4", "f8"))),
        "histories": np.where(np.arange(4) < rng.integers(1, 5, (M, 1)), rng.integers(0, N, (M, 4)), -1),
        "targets": rng.integers(0, N, M),
    }
    return arrays | ({"bias": rng.normal(size=N).astype("f4")} if rng.random() < 0.5 else {})


def _changed(rng: np.random.Generator, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays of which one has another type, another shape or other numbers, or is not there."""
    name = pick(rng, list(arrays))
    array = arrays[name]
    ways = [
        lambda: array.astype(
            pick(rng, ("f2", "f4", "f8", "i1", "i4", "u8", "i8", "?", "c8", "f16", "U5", "S3", ">f4"))
        ),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array[:-1],
        lambda: array[:0],
        lambda: array.T,
        lambda: np.concatenate([array, array]),
        lambda: np.array(array.flat[0]),
        lambda: array[::-1],
        lambda: -array,
        lambda: array * pick(rng, (np.nan, np.inf, 1e38, 1e300, 0)),
        lambda: np.where(rng.random(array.shape) < 0.2, pick(rng, (-1, -2, N, 2**31, 2**63 - 1, np.nan)), array),
    ]
    with np.errstate(all="ignore"):
        new = one_of(rng, ways, array)
    if rng.random() < 0.1:
        return {key: value for key, value in arrays.items() if key != name}
    return arrays | {name if rng.random() < 0.97 else pick(rng, ("extra", "", "bias")): new}


def _read(path: Path, histories: Path | None = None) -> dict[str, Any]:
    snapshot = Snapshot.load(path, histories)
    list(snapshot.log_probs())
    return {
        "item_embeddings": snapshot.item_embeddings,
        "states": snapshot.states,
        "histories": list(snapshot.histories),
        "targets": snapshot.targets,
        "bias": snapshot.bias,
        "item_ids": list(map(str, snapshot.item_ids)),
        "titles": snapshot.titles.tolist(),
    }


def _plain(arrays: dict[str, Any], header: dict[str, str]) -> dict[str, Any]:
    """Return what `_read` does, of arrays that fit together."""
    weights, targets = arrays["item_embeddings"], arrays["targets"]
    names = {name: json.loads(text) for name, text in header.items()}
    names |= {name: arrays[name].tolist() for name in ("item_ids", "titles") if name in arrays}
    ids = list(map(str, names.get("item_ids", range(len(weights)))))
    tables: dict[str, Any] = {name: arrays[name] for name in ("item_embeddings", "states", "bias") if name in arrays}
    for name, table in tables.items():
        if table.dtype.kind not in "fiub" or not np.isfinite(table).all():
            raise ValueError(f"{name} is not of finite numbers")
        double = table.dtype.kind == "f" and table.itemsize > 4
        tables[name] = table.astype("f8" if double else "f4")
    histories = arrays["histories"]
    if isinstance(histories, np.ndarray):
        histories = [
            row[: max((at + 1 for at, code in enumerate(row) if code != -1), default=0)] for row in histories.tolist()
        ]
    codes = [code for history in histories for code in history] + targets.tolist()
    if any(type(code) is not int or not 0 <= code < len(weights) for code in codes) or not all(map(len, histories)):
        raise ValueError("a code is not an item's, or a history is empty")
    if not len(targets) == len(histories) == len(arrays["states"]):
        raise ValueError("not as many of one as of the other")
    return {
        "bias": None,
        **tables,
        "histories": histories,
        "targets": targets,
        "item_ids": ids,
        "titles": list(map(str, names.get("titles", ids))),
    }


def snapshot_safetensors(rng: np.random.Generator, folder: Path) -> Case:
    """Arrays, with ids and titles as JSON in the header."""
    path = folder / "model.safetensors"
    arrays = _sound(rng)
    names: dict[str, Any] = {"item_ids": [f"i{item}" for item in range(N)], "titles": ["=cmd()", *"abcdef"]}
    for _ in range(int(rng.integers(0, 3))):
        if rng.random() < 0.7:
            arrays = _changed(rng, arrays)
        else:
            names |= {"item_ids": changed(rng, names["item_ids"])}
    kept = {
        name: array for name, array in arrays.items() if array.dtype.str[1:] in ("f2", "f4", "f8", "i4", "i8", "u8")
    }
    header: dict[str, str] = {name: as_json(names[name]).decode() for name in ("item_ids", "titles") if name in names}
    if rng.random() < 0.05:
        header["titles"] = pick(rng, ("[" * 100_000, "[1, 2", "", "[" + "9" * 5_000 + "]", "NaN"))
    data = safetensors(kept, header)
    if rng.random() < 0.15:  # the header says something else
        length = int.from_bytes(data[:8], "little")
        text = as_json(changed(rng, json.loads(data[8 : 8 + length])))
        data = len(text).to_bytes(8, "little") + text + data[8 + length :]
    path.write_bytes(damaged(rng, data) if rng.random() < 0.3 else data)
    return Case(lambda: _read(path), lambda: _plain(*plain_safetensors(path.read_bytes())), ["explore", str(path)])


def snapshot_npz(rng: np.random.Generator, folder: Path) -> Case:
    """Arrays in a zip archive, which may hold other things."""
    path = folder / "model.npz"
    arrays = _sound(rng)
    if rng.random() < 0.5:
        arrays["titles"] = np.array([f"Item {item}" for item in range(N)])
    for _ in range(int(rng.integers(0, 3))):
        arrays = _changed(rng, arrays)
    if rng.random() < 0.03:
        arrays["titles"] = np.array(VALUES[:N], dtype=object)  # a pickle
    buffer = io.BytesIO()
    save: Callable = np.savez_compressed if rng.random() < 0.5 else np.savez
    save(buffer, **arrays)
    data = buffer.getvalue()
    if rng.random() < 0.2:  # a member is damaged, and the archive is sound
        with zipfile.ZipFile(buffer) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = pick(rng, list(members))
        members[name] = damaged(rng, members[name])
        if rng.random() < 0.2:
            members[pick(rng, ("../up.npy", "/etc/x.npy", "a.txt", "states.npy.npy"))] = members[name]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        data = buffer.getvalue()
    path.write_bytes(damaged(rng, data) if rng.random() < 0.3 else data)

    def plain() -> dict[str, Any]:
        with np.load(path, allow_pickle=False) as file:
            return _plain({name: file[name] for name in file.files}, {})

    return Case(lambda: _read(path), plain, ["explore", str(path)])


def histories(rng: np.random.Generator, folder: Path) -> Case:
    """A Parquet file of histories and targets, by ids or by codes, for a Snapshot that holds none."""
    model, path = folder / "model.npz", folder / "histories.parquet"
    arrays = {name: array for name, array in _sound(rng).items() if name not in ("histories", "targets")}
    names = np.array([f"i{item}" for item in range(N)]) if rng.random() < 0.5 else np.arange(N) * 10
    by_id = rng.random() < 0.6
    held: dict[str, Any] = arrays | ({"item_ids": names} if by_id else {})
    np.savez(model, **held)
    items = names.tolist() if by_id else list(range(N))
    rows = [[pick(rng, items) for _ in range(int(rng.integers(1, 5)))] for _ in range(M)]
    targets = [pick(rng, items) for _ in range(M)]
    if rng.random() < 0.5:
        odd = pick(rng, (-1, N, 2**40, None)) if not isinstance(items[0], str) else pick(rng, ("", "x", None))
        ways = [
            lambda: rows[0].append(odd),
            lambda: rows[0].clear(),
            lambda: rows.__setitem__(0, None),
            lambda: targets.__setitem__(0, odd),
            lambda: (rows.pop(), targets.pop()),
            lambda: [one.append(one[0]) for one in (rows, targets)],
        ]
        pick(rng, ways)()
    columns = {"history": pa.array(rows), "target": pa.array(targets)}
    if rng.random() < 0.2:
        ways = [
            lambda: columns["target"].cast(pa.string() if pa.types.is_integer(columns["target"].type) else pa.int64()),
            lambda: pa.array([float(at) for at in range(len(rows))]),
            lambda: pa.array([str(row) for row in rows]),
            lambda: pa.array([[row] for row in rows]),
            lambda: pa.array([None] * len(rows)),
            lambda: pa.array([{"a": 1}] * len(rows)),
        ]
        name = pick(rng, ("history", "target"))
        columns[name] = one_of(rng, ways, columns[name])
    table = pa.table(columns if rng.random() < 0.95 else {"history": columns["history"]})
    pq.write_table(table, path)
    if rng.random() < 0.3:
        path.write_bytes(damaged(rng, path.read_bytes()))

    def plain() -> dict[str, Any]:
        with pq.ParquetFile(path) as file:
            read = file.read().to_pydict()
        codes = {name: code for code, name in enumerate(names.tolist())} if by_id else {item: item for item in range(N)}
        coded = [[codes[item] for item in row] for row in read["history"]]
        with np.load(model) as file:
            own = {name: file[name] for name in file.files}
        return _plain(own | {"histories": coded, "targets": np.array([codes[item] for item in read["target"]])}, {})

    return Case(lambda: _read(model, path), plain, ["explore", str(model), "--histories", str(path)])
