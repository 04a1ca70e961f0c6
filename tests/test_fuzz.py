"""A sample of the bad input that `make fuzz` tries, and each kind of fault that it has found."""

import json
import pickle
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

import cprlab
from cprlab import cli
from cprlab.adapters import recbole
from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.data import load_prepared, save_prepared
from cprlab.errors import ConfigError, DataError, visible
from cprlab.explorer import ExplorerState
from cprlab.loading import load_log, prepare
from cprlab.probes import Snapshot
from cprlab.sweeps.config import read_sweep
from cprlab.training import Run
from tests.fuzz import KINDS, judge, random
from tests.fuzz.judge import limits
from tests.fuzz.models import ATTACKED, Attack, trained

SAMPLE = 20  # cases of each kind
COMMANDS = 3  # refused cases of each kind that a command line is given too


@pytest.mark.parametrize("name", KINDS)
def test_bad_input_is_read_as_by_a_plain_reader_or_refused_in_a_sentence(name, tmp_path, monkeypatch, capsys):
    make, _ = KINDS[name]
    came = []
    for number in range(SAMPLE):
        folder = tmp_path / str(number)
        folder.mkdir()
        came.append(judge(make, random(name, number), folder))
    assert {"equal", "refused"} == set(came)  # sound files are read, and not all is
    refused = [number for number, how in enumerate(came) if how == "refused"][:COMMANDS]
    monkeypatch.chdir(tmp_path)
    # The explorer opens its models while a server starts, which is left out here.
    monkeypatch.setattr("cprlab.explorer.serve.serve", lambda notebook, port, show, token, prepare: prepare())
    for number in refused if name != "log in a closed place" else ():  # which the tests' own user may read
        folder = tmp_path / f"{number} again"
        folder.mkdir()
        case = make(random(name, number), folder)
        monkeypatch.setattr(sys, "argv", ["cprlab", *case.command])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2
        assert said.startswith("cprlab: ")
        assert said.isprintable()


def test_what_is_quoted_is_shown_in_visible_characters():
    assert visible("plain − é 中 “text”.") == "plain − é 中 “text”."
    assert visible("\x1b[2Ja\nb\r\t\0\x9b\u202e\u2028\ud800\ufeff") == (
        r"\x1b[2Ja\nb\r\t\x00\x9b\u202e\u2028\ud800\ufeff"
    )
    assert len(visible("x" * 10**7)) < 2_000


# What the fuzzer has found, each in its smallest form: files that leaked an error, or were read as something else.

ROWS = "user_id,item_id,timestamp\n"


def parquet(path, table, **metadata):
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_an_id_that_ends_in_nul_keeps_its_name_and_a_wide_one_takes_no_more_room_than_itself(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"{ROWS}a,x\0,1\na,x,2\n" + "".join(f"a,{n},3\n" for n in range(3_000)) + f"a,{'w' * 10**6},4\n")
    with limits():  # as text of one width this were 12 GB
        log = load_log(path)
    assert log.titles[:2].tolist() == ["x\0", "x"]


@pytest.mark.parametrize(
    ("columns", "metadata", "said"),
    [
        ({"user_id": ["a"], "item_id": ["x"]}, {"pandas": '{"columns": []}'}, None),
        ({"user_id": ["a"], "item_id": ["x"]}, {"pandas": "[1]"}, None),
        ({"user_id": ["a"], "item_id": pa.array([b"\xff"]).view(pa.string())}, {}, "UTF8"),
        ({"user_id": [["a"]], "item_id": ["x"]}, {}, "a list"),
    ],
)
def test_odd_parquet_is_read_by_its_columns_or_refused(tmp_path, columns, metadata, said):
    path = parquet(tmp_path / "log.parquet", pa.table(columns), **metadata)
    if said is None:
        assert load_log(path).item_ids.tolist() == ["x"]
        return
    for read in (load_log, lambda path: prepare(path, tmp_path / "out", min_interactions=4)):
        with pytest.raises(DataError, match=said):
            read(path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["user_id", "item_id", "item_id"])
    with pytest.raises(DataError, match="two columns 'item_id'"):
        load_log(parquet(tmp_path / "log.parquet", table))


@pytest.mark.parametrize("changes", [{"max_len": 0.5}, {"max_len": 10**30}, {"notes": {"a": 1}}, {"name": []}])
def test_a_prepared_folder_with_other_facts_is_refused(tmp_path, changes, sequences):
    save_prepared(sequences, tmp_path / "log")
    facts = tmp_path / "log" / "sequences.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | changes))
    with pytest.raises(DataError, match="not a complete prepared log"):
        load_prepared(tmp_path / "log")


def test_archives_that_unpack_to_much_more_are_refused_unread(tmp_path):
    name = tmp_path / "model.npz"
    np.savez_compressed(name, states=np.zeros(2**25 + 1), item_embeddings=np.eye(3))
    with zipfile.ZipFile(tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(2**28 + 1))
    for read, path in ((Snapshot.load, name), (read_checkpoint, tmp_path / "model.pth")):
        with pytest.raises(DataError, match="would unpack to"):
            read(path)


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x04tQK\x00(J\xff\xff\xff\x7ftq\x00(K\x00t\x89ccollections\nOrderedDict\n)RtR."
)  # a tensor of 2^31 numbers, all of them the first of four


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (b"\x80\x04Nr\xff\xff\xff\x7f.", "reserves room"),  # C's reader takes 32 GB for this
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected"),  # bytes that are not there
        (TENSOR, "has only 4 numbers stored"),
        (pickle.dumps(Attack(), protocol=4), "contains no dictionary"),
        (b"\x80\x04" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "contains no dictionary"),
    ],
)
def test_a_hostile_pickle_runs_nothing_and_takes_no_memory(tmp_path, pickled, said):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/data/0", bytes(16))
    with limits(), pytest.raises(DataError, match=said):
        read_checkpoint(tmp_path / "model.pth")
    assert not ATTACKED.exists()


def changed_run(tmp_path, change):
    _, _, folders = trained()
    folder = tmp_path / "run"
    shutil.copytree(folders[0], folder)
    change(folder)
    return folder


def with_sizes(**sizes):
    def change(folder):
        record = json.loads((folder / "run.json").read_text())
        for place in (record["data"], record["config"]["encoder"]):
            place.update({name: size for name, size in sizes.items() if name in place})
        record["config"]["head"] = sizes.get("head", record["config"]["head"])
        (folder / "run.json").write_text(json.dumps(record))

    return change


def with_table(name, change):
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name)


def in_half_precision(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight.half() for name, weight in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        with_sizes(items=10**9),
        with_sizes(items=-1),
        with_sizes(hidden=10**9),
        with_sizes(layers=10**9),
        with_sizes(head="MoS:1000000000"),
        in_half_precision,
        with_table("history.parquet", lambda table: table[:0]),
        with_table("history.parquet", lambda table: table.drop(columns="ndcg")),
        with_table("history.parquet", lambda table: table.astype(str)),
        with_table("cases.parquet", lambda table: table[1:]),
        lambda folder: (folder / "run.json").write_text("[" * 100_000),
    ],
)
def test_a_run_folder_with_other_contents_is_refused_before_it_takes_memory(tmp_path, change):
    with limits(), pytest.raises(DataError, match="is not a whole run"):
        Run.load(changed_run(tmp_path, change))


@pytest.mark.parametrize("changes", [{"hidden_size": 10**9}, {"num_layers": 10**9}, {"model": [1]}])
def test_a_checkpoint_with_other_sizes_is_refused_before_it_takes_memory(changes):
    checkpoint = read_checkpoint(recbole.RECORDED / "GRU4Rec.pth")
    config = dict(checkpoint["config"].final_config_dict) | changes
    with limits(), pytest.raises(ConfigError):
        recbole.from_state_dict(config["model"], config, checkpoint["state_dict"])
    weights: dict[str, Any] = {"item_embedding.weight": Attack()}
    with pytest.raises(ConfigError, match="do not fit"):
        recbole.from_state_dict("GRU4Rec", config | {"model": "GRU4Rec"}, weights)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, '{"data": "\\ud800"}'])
def test_a_state_that_is_no_text_or_nested_deeply_is_refused(text):
    text = text.replace("}", ', "models": ["a"], "settings": [{}]}')
    with pytest.raises(ConfigError, match="The explorer's state"):
        ExplorerState.from_json(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nb: [*a, *a]", r"line 2: \*a is a reference"),
        ("name: 2001-99-99", "month must be in"),
        ("name: " + "9" * 5_000, "digits"),
        ("name: x\nseeds: 1000000000", "1,000,000,000|2,000,000,000"),
        ("name: '" + "x" * 200_000 + "'", "at most 100,000"),
        ("data: " + "[" * 3_000, "nested too deeply"),
        ("name: [[1], {a: 1}]", "of type list"),
        ("name: !!python/object/apply:os.system ['true']", "constructor"),
    ],
)
def test_a_grid_of_references_wrong_dates_or_endless_runs_is_refused(tmp_path, text, said):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_sweep(tmp_path / "grid.yaml")


def test_histories_of_lists_are_refused(tmp_path):
    np.savez(tmp_path / "model.npz", item_embeddings=np.eye(2), states=np.eye(2), item_ids=["a", "b"])
    table = pa.table({"history": [[["a"]], [["b"]]], "target": ["a", "b"]})
    with pytest.raises(DataError, match="row 0: an id is a list"):
        Snapshot.load(tmp_path / "model.npz", parquet(tmp_path / "histories.parquet", table))


def test_the_package_unpickles_nothing_that_could_run():
    """Ruff's rules S301 and others refuse the rest (see pyproject.toml)."""
    for path in Path(cprlab.__file__).parent.rglob("*.py"):
        code = path.read_text()
        assert not re.search(r"allow_pickle=(?!False)", code), path
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\(.*", code)), path
