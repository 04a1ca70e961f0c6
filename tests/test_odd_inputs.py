"""docs/reliability.md's table of odd inputs: each is made here, given to its command, and answered as the row says."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cprlab import cli

PAGE = (Path(__file__).parent.parent / "docs" / "reliability.md").read_text()
FIRST = pd.Timestamp("2024-01-01")


def log(**changes):
    """Return a log of 20 users, who take 12 of 60 items each, one every three hours; a change may be a function."""
    rng = np.random.default_rng(0)
    steps = np.tile(np.arange(12), 20)
    table = pd.DataFrame({"user_id": np.repeat([f"u{user}" for user in range(20)], 12)})
    table["item_id"] = rng.integers(10, 70, len(table))
    table["timestamp"] = 1_704_067_200 + steps * 10_800 + np.repeat(np.arange(20), 12)
    for name, change in changes.items():
        table[name] = change(table) if callable(change) else change
    return table


def days(table):
    return (FIRST + pd.to_timedelta(np.arange(len(table)) % 12 // 4, "D")).strftime("%Y-%m-%d")


def digits(form):
    return lambda table: pd.to_datetime(table["timestamp"], unit="s").dt.strftime(form)


def by_item(table):
    return table.sort_values(["user_id", "timestamp", "item_id"])


def written(table, name="log.csv", **options):
    """Return a function that writes a table as text and returns the file's name."""

    def write():
        table.to_csv(name, index=False, **options)
        return name

    return write


def text(lines, name="log.csv"):
    return lambda: (Path(name).write_text("\n".join(lines) + "\n"), name)[1]


def parquet(table):
    return lambda: (table.to_parquet("log.parquet"), "log.parquet")[1]


def parts(table):
    def write():
        Path("log.parquet").mkdir()
        Path("log.parquet/_SUCCESS").touch()
        for part, rows in enumerate(np.array_split(np.arange(len(table)), 3)):
            table.iloc[rows].to_parquet(f"log.parquet/part-{part:05d}.snappy.parquet")
        return "log.parquet"

    return write


def twice(table):
    return table.loc[np.repeat(np.arange(len(table)), 1 + np.arange(len(table)) % 2)].reset_index(drop=True)


def arrays(first=0, **changes):
    """Return a function that writes item embeddings, states, histories and targets; `first` pads the histories."""

    def write():
        rng = np.random.default_rng(0)
        values: dict[str, np.ndarray] = {
            "item_embeddings": rng.normal(size=(30, 8)),
            "states": rng.normal(size=(40, 8)),
        }
        values["histories"] = rng.integers(1, 30, (40, 9))
        values["histories"][:, :4] = np.where(first < 1, 0, values["histories"][:, :4])
        values["targets"] = rng.integers(1, 30, 40)
        tensors = {name: torch.from_numpy(value) for name, value in values.items()}
        if changes:
            tensors |= {name: tensors[name].bfloat16() for name in ("item_embeddings", "states")}
        save_file(tensors, "model.safetensors")
        return "model.safetensors"

    return write


def grid(*lines, **others):
    def write():
        log().to_csv("log.csv", index=False)
        pd.DataFrame({"0": log()["user_id"], "1": log()["item_id"]}).to_csv("numbers.csv", index=False)
        log(item_id=lambda table: table["item_id"] % 8).to_csv("eight.csv", index=False)
        Path("grid.yaml").write_text("\n".join(["size: smoke", "encoder: MF", *lines]) + "\n")
        for name, content in others.items():
            Path(f"{name}.yaml").write_text(content)
        return "grid.yaml"

    return write


SOUND = ("name: grid", "data: log.csv", "head: [Softmax]")
BACKWARDS = log(t_dat=days).drop(columns="timestamp")[::-1]
NAMES = log(name=lambda table: "Person " + table["user_id"])
TITLES = log(title=lambda table: [f"Great thing {row}!" for row in range(len(table))])
HUGE = log(item_id=lambda table: 2**60 + table["item_id"])
CHECK, TRAIN, SWEEP = ("data", "check", "FILE"), ("train", "--data", "FILE"), ("sweep", "FILE", "--workers", "1")
IMPORT, PROBE = ("data", "import", "ml-100k", "FILE"), ("probe", "FILE")
SLURM = ("sweep", "FILE", "--slurm", "slurm.yaml")

# By the words of the page: the command, and what makes its file.
INPUTS = {
    "three days without time of day, rows sorted by item": (CHECK, written(by_item(log(timestamp=days)))),
    "the same, rows of a day in random order": (CHECK, written(log(timestamp=days))),
    "the same, rows newest first": (CHECK, written(log(timestamp=days)[::-1])),
    "rows newest first, and no times": (CHECK, written(log()[::-1].drop(columns="timestamp"))),
    "a time for each row, in order": (CHECK, written(log())),
    "dates in a column `t_dat`, newest first": (TRAIN, written(BACKWARDS)),
    "dates such as 20240101 in a column `day`": (
        TRAIN,
        written(log(day=digits("%Y%m%d")).drop(columns="timestamp")),
    ),
    "dates in a column `eventdate`, beside times of day": (
        TRAIN,
        written(log(timeframe=range(240), eventdate=days).drop(columns="timestamp")),
    ),
    "dates written 20240101": (CHECK, written(log(timestamp=digits("%Y%m%d")))),
    "times written 202401011200": (CHECK, written(log(timestamp=digits("%Y%m%d%H%M")))),
    "times written 20240101120000": (CHECK, written(log(timestamp=digits("%Y%m%d%H%M%S")))),
    "Excel's serial days, such as 45292": (CHECK, written(log(timestamp=lambda table: 45_292 + table.index % 12))),
    "seconds with spaces around them": (
        CHECK,
        written(log(timestamp=lambda table: table["timestamp"].map(" {} ".format))),
    ),
    "half of the rows twice": (CHECK, written(twice(log()))),
    "the same, with pandas' index as a column": (CHECK, written(twice(log()).rename_axis("").reset_index())),
    "the same, with a number of each play": (CHECK, written(twice(log()).rename_axis("play").reset_index())),
    "items 12 and 12.0": (CHECK, written(log(item_id=["12", "12.0", "13", "14"] * 60))),
    "users `nan`, items `NULL`": (
        CHECK,
        written(log(user_id=["nan"] * 12 + ["b"] * 228, item_id=["NULL"] * 2 + list("abcdefg") * 34)),
    ),
    "users `NA` in a quarter of the rows": (CHECK, written(log(user_id=(["NA"] * 3 + list("abcdefghi")) * 20))),
    "items that Excel wrote as 1.23456789012346E+18": (CHECK, written(log(item_id="1.23456789012346E+18"))),
    "items beyond 2^53 as floating-point numbers": (CHECK, parquet(HUGE.astype({"item_id": float}))),
    "items beyond 2^53 as whole numbers, csv": (CHECK, written(HUGE)),
    "items beyond 2^53 as whole numbers, Parquet": (CHECK, parquet(HUGE)),
    "names of customers in a column `name`": (CHECK, written(NAMES)),
    "titles of reviews in a column `title`": (CHECK, written(TITLES)),
    "a folder of Parquet parts, as Spark writes it": (CHECK, parts(log())),
    "an .inter file with spaces for tabs": (CHECK, written(log(), "log.inter", sep=" ")),
    "the same, imported": (IMPORT, written(log(), "log.inter", sep=" ")),
    "a csv without a header": (CHECK, written(log(), header=False)),
    "the same, imported as another data set": (IMPORT, written(log(), header=False)),
    "a csv with semicolons": (CHECK, written(log(), sep=";")),
    "RecBole's histories, `item_id_list:token_seq`": (
        CHECK,
        text(["user_id:token\titem_id_list:token_seq\titem_id:token", "1\t3\t5", "1\t3 5\t7"], "log.inter"),
    ),
    "RecBole's histories, imported": (
        IMPORT,
        text(["user_id:token\titem_id_list:token_seq\titem_id:token", "1\t3\t5", "1\t3 5\t7"], "log.inter"),
    ),
    "arrays whose histories are padded with item 0": (PROBE, arrays()),
    "the same arrays without padding": (PROBE, arrays(1)),
    "arrays in bfloat16": (PROBE, arrays(1, half=True)),
    "`heads:` for `head:`": (SWEEP, grid(*SOUND[:2], "heads: [Softmax]")),
    "a list of seeds": (SWEEP, grid(*SOUND, "seeds: [0, 1]")),
    "a number as the name": (SWEEP, grid("name: 2024", *SOUND[1:])),
    "a tab before a name": (SWEEP, grid("\tdata: x")),
    "the same learning rate twice, as 1e-3 and 0.001": (
        SWEEP,
        grid(*SOUND, "settings: {learning_rate: [1e-3, 0.001]}"),
    ),
    "a setting that nothing has": (SWEEP, grid(*SOUND, "settings: {weight_decay: [0.01]}")),
    "learning rates written 1e-3 and 4e-3": (SWEEP, grid(*SOUND, "settings: {learning_rate: [1e-3, 4e-3]}")),
    "a log whose columns are called 0 and 1": (SWEEP, grid("name: grid", "data: numbers.csv", SOUND[2])),
    'the same, with `user: "0"` and `item: "1"`': (
        SWEEP,
        grid("name: grid", "data: numbers.csv", SOUND[2], 'user: "0"', 'item: "1"'),
    ),
    "a log of eight items with a head that reranks 100": (
        SWEEP,
        grid("name: grid", "data: eight.csv", 'head: [Softmax, "Softmax + CPR:100 + Mi"]'),
    ),
    "Slurm without `sbatch`": (SLURM, grid(*SOUND, slurm="cores: 1\nprocesses: 1\nmemory: 2GB\n")),
    "Slurm without memory": (SLURM, grid(*SOUND, slurm="cores: 1\nprocesses: 1\n")),
    "Slurm with `partition:`": (SLURM, grid(*SOUND, slurm="cores: 1\nmemory: 2GB\npartition: gpu\n")),
}
ROWS = dict(re.findall(r"^\| ([^|]+) \| `cprlab [^`]+` \| ([^|]+) \|$", PAGE, re.MULTILINE))


def _is_slow(words):
    command, _ = INPUTS[words]
    return command == PROBE or ("index.html" in ROWS.get(words, "") or "exit code 1" in ROWS.get(words, ""))


def test_the_page_has_a_row_for_each_input():
    assert list(ROWS) == list(INPUTS)
    section = PAGE.split("### Odd inputs")[1].split("\n## ")[0]
    counts = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+) \|", section, re.MULTILINE)
    assert [sum(map(int, column)) for column in zip(*counts, strict=True)] == [len(INPUTS)] * 2


@pytest.mark.parametrize("words", [pytest.param(words, marks=[pytest.mark.slow] * _is_slow(words)) for words in INPUTS])
def test_an_odd_input_is_answered_as_the_page_says(words, tmp_path, monkeypatch, capfd):
    command, write = INPUTS[words]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch
    name = write()
    monkeypatch.setattr(sys, "argv", ["cprlab", *(name if word == "FILE" else word for word in command)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = " ".join("".join(capfd.readouterr()).split())
    quoted = re.findall(r"“([^”]+)”", ROWS[words])
    assert quoted
    for piece in quoted:
        assert re.search(".*".join(map(re.escape, piece.split("…"))), said), piece
    assert "Traceback" not in said
    refused = "cprlab: " in said
    assert stopped.value.code == (1 if "exit code 1" in ROWS[words] else 2 if refused else 0)
