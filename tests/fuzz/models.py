"""Run folders, and checkpoints that RecBole wrote."""

import collections
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cprlab.adapters import recbole
from cprlab.data import Sequences
from cprlab.loading import load_log
from cprlab.models import GRU4RecConfig, MFConfig, SASRecConfig
from cprlab.subjects import open_subject
from cprlab.sweeps.results import described
from cprlab.training import Run, RunConfig, TrainingConfig, train
from tests.fuzz.damage import as_json, changed, damaged, damaged_file, one_of, pick, plain_safetensors, safetensors
from tests.fuzz.judge import Case
from tests.fuzz.logs import column

ATTACKED = Path(tempfile.gettempdir()) / "cprlab-was-attacked"
FILES = ("run.json", "model.safetensors", "history.parquet", "cases.parquet")


@cache
def trained() -> tuple[Path, Sequences, list[Path]]:
    """Return a log's file, the log, and the folders of small runs on it, trained once a process."""
    place = Path(tempfile.mkdtemp(prefix="cprlab-fuzz-"))
    rng = np.random.default_rng(0)
    lines = [f"u{user},i{rng.integers(9)},{at}" for user in range(6) for at in range(8)]
    (place / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    sequences = Sequences.from_log(load_log(place / "log.csv"))
    once = TrainingConfig(epochs=1)
    configs = [
        RunConfig(encoder=GRU4RecConfig(d=4, hidden=3), head="Softmax + CPR:3 + Mi", training=once),
        RunConfig(encoder=SASRecConfig(d=4, layers=1, inner=4), head="MoS:2 dynamic", training=once),
        RunConfig(encoder=MFConfig(d=4), training=once.but(precision="float64")),
    ]
    return place / "log.csv", sequences, [train(sequences, one, place / "runs", "cpu").folder for one in configs]


def run_folder(rng: np.random.Generator, folder: Path) -> Case:
    """What a training leaves: its record, its weights, its history and its test cases."""
    log, sequences, sound = trained()
    place = folder / "run"
    shutil.copytree(pick(rng, sound), place)
    for _ in range(int(rng.integers(0, 3))):
        file = place / pick(rng, FILES)
        if not file.is_file():
            continue
        if rng.random() < 0.3:
            damaged_file(rng, file, text=file.suffix == ".json")
        elif file.suffix == ".json":
            try:
                file.write_bytes(as_json(changed(rng, json.loads(file.read_bytes()))))
            except ValueError:
                continue
        elif file.suffix == ".safetensors":
            _other_weights(rng, file)
        else:
            _other_table(rng, file)

    def read() -> dict[str, Any]:
        run = Run.load(place)
        subject = open_subject(str(place), sequences, facet="V")
        described(run)
        return {
            "record": run.record,
            "weights": {name: weight.numpy() for name, weight in run.recommender.state_dict().items()},
            "history": run.history.to_dict("list"),
            "cases": subject.cases.to_dict("list"),
        }

    def plain() -> dict[str, Any]:
        weights, _ = plain_safetensors((place / "model.safetensors").read_bytes())
        tables = {name: pq.ParquetFile(place / f"{name}.parquet").read().to_pydict() for name in ("history", "cases")}
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        return {"record": record, "weights": weights} | tables

    return Case(read, plain, ["explore", str(place), "--data", str(log)])


def _other_weights(rng: np.random.Generator, file: Path) -> None:
    try:
        weights, header = plain_safetensors(file.read_bytes())
    except (ValueError, LookupError, struct.error):
        return
    name = pick(rng, list(weights))
    weight = weights[name]
    ways = [
        lambda: weight.astype(pick(rng, ("f2", "f4", "f8", "i8"))),
        lambda: weight[:-1],
        lambda: weight[None],
        lambda: weight.T,
        lambda: weight * np.nan,
        lambda: weight + 1,
        lambda: np.zeros((0, 4), "f4"),
    ]
    new = one_of(rng, ways, weight)
    weights = {key: value for key, value in weights.items() if key != name or rng.random() < 0.9}
    file.write_bytes(safetensors(weights | {name if rng.random() < 0.9 else "extra": new}, header))


def _other_table(rng: np.random.Generator, file: Path) -> None:
    try:
        table = pq.read_table(file)
    except (OSError, ValueError):
        return
    if not table.num_columns:
        return
    at = int(rng.integers(table.num_columns))
    name = table.column_names[at]
    ways = [
        lambda: table.drop_columns([name]),
        lambda: table.slice(1),
        lambda: table.slice(0, 0),
        lambda: table.rename_columns([*table.column_names[:at], "other", *table.column_names[at + 1 :]]),
        lambda: table.set_column(at, name, column(rng, [f"x{row}" for row in range(table.num_rows)], odd=True)),
        lambda: table.append_column("extra", table.column(at)),
    ]
    pq.write_table(one_of(rng, ways, table), file)


def recbole_checkpoint(rng: np.random.Generator, folder: Path) -> Case:
    """A zip archive of a pickle and of tensors' bytes, as torch.save writes it."""
    sound = recbole.RECORDED / f"{pick(rng, recbole.CLASSES)}.pth"
    path = folder / sound.name
    data = sound.read_bytes()
    if rng.random() < 0.75:  # members are damaged, and the archive is sound
        with zipfile.ZipFile(sound) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        for _ in range(int(rng.integers(0, 3))):
            pickled = next(name for name in members if name.endswith("data.pkl"))
            name = pickled if rng.random() < 0.7 else pick(rng, list(members))
            if (way := rng.random()) < 0.1 and name != pickled:
                del members[name]
            elif way < 0.6:
                members[name] = _hostile(rng, members[name]) if name == pickled else members[name][:-4]
            else:
                members[name] = damaged(rng, members[name])
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        data = out.getvalue()
    path.write_bytes(damaged(rng, data) if rng.random() < 0.2 else data)
    fidelity = pick(rng, ("corrected", "reference"))
    log, _, _ = trained()

    def read() -> dict[str, Any]:
        recommender = recbole.load(path, fidelity)
        scores = recommender.log_probs([[1, 2, 3, 3]])
        assert scores.shape == (1, recommender.n_items)
        return {"items": recommender.embedding.weight[:-1].numpy(force=True), "max_len": recommender.max_len}

    def plain() -> dict[str, Any]:
        content = _Plain(path).load()
        config, state = content["config"].final_config_dict, content["state_dict"]
        name = "item_matrix.weight" if config["model"] == "RepeatNet" else "item_embedding.weight"
        wide = max(config["embedding_size"], config["hidden_size"]) if config["model"] == "RepeatNet" else 0
        items = state[name]
        items = np.pad(items, ((0, 0), (0, max(0, wide - items.shape[1]))))
        return {"items": items[fidelity == "corrected" :], "max_len": int(config["MAX_ITEM_LIST_LENGTH"])}

    return Case(read, plain, ["explore", str(path), "--data", str(log)])


def _hostile(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a pickle with other numbers and words, or one that wants to run something or to take all memory."""
    small = [at for at in range(len(data) - 1) if data[at : at + 1] == b"K"]  # BININT1
    at = pick(rng, small or [0])
    ways = [
        lambda: data[: at + 1] + rng.bytes(1) + data[at + 2 :],
        lambda: data[: at + 1] + rng.bytes(1) + data[at + 2 :],
        lambda: data[:at] + pick(rng, (b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"N", b"]")) + data[at + 2 :],
        lambda: data[:at] + b"G" + struct.pack(">d", pick(rng, (np.nan, 1e300, 0.5))) + data[at + 2 :],
        lambda: data[:2] + b"Nr" + struct.pack("<I", 2**31 - 1) + b"0" + data[2:],  # room for 2^31 memories
        lambda: data[:2] + b"]" * 200_000 + b"a" * 199_999 + b"0" + data[2:],
        lambda: pickle.dumps({"config": Attack(), "state_dict": {}}, protocol=4),
        lambda: pickle.dumps([1]),
        lambda: data.replace(b"hidden_size", b"hidden_sizf"),
        lambda: data.replace(b"GRU4Rec", b"\x1b[2JRec"),
        lambda: data.replace(b"FloatStorage", b"DoubleStorag"),
        lambda: data.replace(b"_rebuild_tensor_v2", b"_rebuild_parameter"),
    ]
    return pick(rng, ways)()


class Attack:
    """Would write a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (open, (str(ATTACKED), "w"))


class _Any:
    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class _Plain(pickle.Unpickler):
    """A second reader of such files, for those that cprlab reads."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        (self.name,) = (name for name in self.archive.namelist() if name.endswith("/data.pkl"))
        super().__init__(io.BytesIO(self.archive.read(self.name)))

    def find_class(self, module: str, name: str) -> Any:
        if name == "OrderedDict":
            return collections.OrderedDict
        if name == "_rebuild_tensor_v2":
            return lambda data, at, size, *_: data[at : at + int(np.prod(size))].reshape(size)
        if name.endswith("Storage"):
            return {"FloatStorage": "f4", "DoubleStorage": "f8", "LongStorage": "i8"}.get(name, "f4")
        return _Any

    def persistent_load(self, pid: tuple) -> np.ndarray:
        data = self.archive.read(self.name.replace("data.pkl", f"data/{pid[2]}"))
        return np.frombuffer(data, pid[1])
