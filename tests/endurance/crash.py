"""Commands that write, killed at random moments or started twice at once, against ones that nobody disturbs.

Each command is started, killed (SIGKILL to its whole process group) and started again, until it was killed often enough
and ends by itself. After each kill, all that stands under its final name must be readable as whole and equal to what
the undisturbed command made, bit for bit, and nothing that was finished may be gone. Where a command ends before it is
killed, its runs, or what it fetched, are removed and it starts anew, with its earlier report or prepared log in place.
What is fetched comes from a slow server on this machine. Prints a table.
"""

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

from cprlab import cli
from cprlab.catalogue import data_sets
from cprlab.catalogue.local import FOLDER
from cprlab.data import load_prepared
from cprlab.training import Run
from tests.catalogue.server import Answer, serving

Pieces = dict[str, str]  # what is finished, and a digest of all in it that is to be the same each time
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["cprlab.cli", "cprlab.pages.run", "cprlab.pages.sweep"])
PATIENCE = 900  # seconds for a command
SENDING = 1.5  # seconds in which the server sends what is fetched
FETCHED = "gowalla"  # the data set that is fetched


class Command(NamedTuple):
    """A command to be killed.

    Attributes:
        words: what `cprlab` is given.
        makes: reads what stands under its final name in the folder; raises where something is not whole.
        first: what `cprlab` is given before, undisturbed, if anything.
    """

    words: list[str]
    makes: Callable[[Path], Iterator[tuple[str, str]]]
    first: tuple[str, ...] = ()


def digest(*parts: bytes | str | pd.DataFrame) -> str:
    """Return a digest of contents, of tables without what a clock decides."""
    summed = hashlib.sha256()
    for part in parts:
        if isinstance(part, pd.DataFrame):
            part = part.drop(columns=["seconds", "targets_per_second"], errors="ignore").to_json(double_precision=15)
        summed.update(part.encode() if isinstance(part, str) else part)
    return summed.hexdigest()


def runs(folder: Path) -> Iterator[tuple[str, str]]:
    """Read all runs."""
    for path in sorted(folder.glob("runs/[!.]*")):
        run = Run.load(path)
        weights, record = ((path / name).read_bytes() for name in ("model.safetensors", "run.json"))
        yield f"run {path.name}", digest(weights, record, run.history, run.cases)


def prepared(folder: Path) -> Iterator[tuple[str, str]]:
    """Read the prepared log."""
    for path in folder.glob("prepared"):
        read = load_prepared(path)
        yield "data", digest(*(np.asarray(array).tobytes() for array in (read.items, read.offsets)), read.fingerprint)


def page(path: Path) -> str:
    """Return a page, which must have its end."""
    text = path.read_text(encoding="utf-8")
    assert text.rstrip().endswith("</html>"), f"{path} is cut"
    return text


def reported(folder: Path) -> Iterator[tuple[str, str]]:
    """Read all runs and the report."""
    yield from runs(folder)
    for path in folder.glob("report"):
        assert page(path / "index.html").count("Plotly.newPlot(") >= 5
        json.loads((path / "report.ipynb").read_text(encoding="utf-8"))
        yield "report", digest((path / "metrics.json").read_bytes())


def swept(folder: Path) -> Iterator[tuple[str, str]]:
    """Read all runs and the sweep's report."""
    yield from runs(folder)
    for path in folder.glob("report"):
        stamp = json.loads((path / "stamp.json").read_text(encoding="utf-8"))
        assert sorted(stamp["files"]) == sorted(file.name for file in path.iterdir())
        assert all(page(file) for file in path.glob("*.html"))
        table = pd.read_parquet(path / "results.parquet")
        yield "results", digest(table.assign(folder=[Path(run).name for run in table["folder"]]))


def fetched(folder: Path) -> Iterator[tuple[str, str]]:
    """Read what was downloaded and what was imported from it."""
    for path in folder.glob(f"{FOLDER}/{FETCHED}/*.gz"):
        yield "download", digest(gzip.decompress(path.read_bytes()))
    for path in folder.glob(f"{FOLDER}/*.parquet"):
        yield "data", digest(path.read_bytes())


def retrofitted(folder: Path) -> Iterator[tuple[str, str]]:
    """Read all runs and the page of a retrofit with what was fitted."""
    yield from runs(folder)
    for path in folder.glob("retrofitted"):
        page(path / "index.html")
        numbers = json.loads((path / "retrofit.json").read_text(encoding="utf-8"))
        assert {"index.html", "report.ipynb", "retrofit.json", *numbers["files"]} == {
            one.name for one in path.iterdir()
        }
        fitted = [one.read_bytes() for one in sorted(path.rglob("*.safetensors"))]
        assert fitted
        yield "retrofit", digest(re.sub(r'"seconds": [-+.e0-9]+', "", json.dumps(numbers)), *fitted)


def kept(folder: Path) -> Iterator[tuple[str, str]]:
    """Read the kept runs and their metrics, without what a clock decides."""
    for path in sorted(folder.glob("kept/*/*/*.parquet")):
        about = json.loads(pq.read_metadata(path).metadata[b"cprlab"])
        del about["curve"]["seconds"]
        yield path.name, digest(pd.read_parquet(path), json.dumps(about))
    for path in folder.glob("metrics.json"):
        json.loads(path.read_text(encoding="utf-8"))
        yield path.name, digest(path.read_bytes())


def paged(folder: Path) -> Iterator[tuple[str, str]]:
    """Read the explorer's offline page."""
    for path in folder.glob("explorer.html"):
        yield path.name, digest(page(path))


GRID = {
    "name": "crash",
    "data": "log.csv",
    "encoder": ["GRU4Rec", "MF"],
    "head": ["Softmax", "Softmax + CPR:20 + Mi"],
    "settings": {"epochs": 3},
    "seeds": 2,
    "device": "cpu",
    "runs": "runs",
    "out": "report",
}
TRAINING = ["--data", "log.csv", "--device", "cpu", "--runs", "runs"]
LOADED = (*TRAINING[:-1], "trained", "--epochs", "2")
TRAINED = ("report", *LOADED, "--out", "unused")
COMMANDS = {
    "train": Command(["train", *TRAINING, "--epochs", "8"], runs),
    "prepare": Command(["prepare", "long.csv", "prepared"], prepared),
    "fetch": Command(["data", "fetch", FETCHED], fetched),
    "report": Command(["report", *TRAINING, "--epochs", "3", "--out", "report"], reported),
    "sweep": Command(["sweep", "grid.yaml", "--workers", "2"], swept),
    "import": Command(["data", "import", FETCHED, "loc-gowalla_totalCheckins.txt.gz"], fetched),
    "retrofit": Command(
        ["retrofit", *TRAINING, "--epochs", "3", "--heads", "Softmax", "--out", "retrofitted"], retrofitted
    ),
    "results": Command(["results", "--keep", "trained", "--folder", "kept", "--json", "metrics.json"], kept, TRAINED),
    "page": Command(["explore", *LOADED, "--cases", "10", "--page", "explorer.html"], paged, TRAINED),
}
AT_ONCE = "at once"


def write_inputs(folder: Path) -> None:
    """Write a log of 150 users out of a dozen favourites each, a longer one, and the sweep's grid."""
    folder.mkdir(parents=True)
    for name, users, length in (("log.csv", 150, 30), ("long.csv", 4_000, 50)):
        rng = np.random.default_rng(0)
        drawn = np.concatenate([rng.choice(rng.choice(300, 12, replace=False), length) for _ in range(users)])
        pd.DataFrame({"user_id": np.repeat(np.arange(users), length), "item_id": drawn}).to_csv(
            folder / name, index=False
        )
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
    (folder / "loc-gowalla_totalCheckins.txt.gz").write_bytes(check_ins())


def check_ins() -> bytes:
    """Return a file in the layout of the data set that is fetched."""
    rng = np.random.default_rng(0)
    drawn = rng.integers([1_000, 28, 24, 5_000], size=(60_000, 4))
    lines = (f"{u}\t2010-10-{1 + d:02d}T{h:02d}:00:00Z\t30.2\t-97.7\t{i}" for u, d, h, i in drawn)
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def call(words: list[str], folder: Path, published: data_sets.File) -> None:
    """Be `cprlab` with these words, in a folder and in a process group of its own."""
    os.setsid()
    data_sets.CATALOGUE = (data_sets.find(FETCHED)._replace(files=(published,)),)
    os.chdir(folder)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv[1:] = words
    cli.main()


def start(command: Command, folder: Path, published: data_sets.File) -> BaseProcess:
    """Start a command in a process that has imported cprlab already, for that takes longest, and writes nothing."""
    process = FORKS.Process(target=call, args=(command.words, folder, published))
    process.start()
    return process


def end(process: BaseProcess, folder: Path) -> None:
    """Wait until a command ends well."""
    process.join(PATIENCE)
    assert process.exitcode == 0, (folder / "said.txt").read_text()[-2000:]


def half_written(folder: Path) -> set[str]:
    """Return the names of what is being written, or was when a command was killed."""
    places = (folder, folder / "runs", folder / FOLDER, folder / FOLDER / FETCHED, *folder.glob("kept/*/*"))
    found = (entry.name for place in places if place.is_dir() for entry in os.scandir(place))
    return {name for name in found if name.endswith((".partial", ".replaced"))}


def watch(process: BaseProcess, folder: Path, upto: int) -> int:
    """Wait until a command has begun to write so many files, or has ended; return how many it began to write."""
    before = writes = half_written(folder)
    while process.exitcode is None and len(writes - before) < upto:
        writes = writes | half_written(folder)
        time.sleep(0.0005)
    return len(writes - before)


def kill(process: BaseProcess, folder: Path, seconds: float, writes: int, rng: random.Random) -> str:
    """Kill a command at a random moment; return where that was, or nothing if it ended before.

    A third of the moments are anywhere in the `seconds` that the command takes; the others are at, or a little after,
    the moment when it begins to write one of its `writes` files.
    """
    before = half_written(folder)
    began, begun = time.monotonic(), 0
    if rng.random() < 1 / 3:
        moment = rng.uniform(0, seconds)
        while process.exitcode is None and time.monotonic() < began + moment:
            time.sleep(0.002)
    else:
        begun = watch(process, folder, rng.randint(1, max(1, writes)))
        time.sleep(rng.choice([0, rng.uniform(0, 0.005), rng.uniform(0, 0.05), rng.uniform(0, 1)]))
    if process.exitcode is not None:
        return ""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    if half_written(folder) - before:
        return "while writing"
    return "while working" if begun or before or list(folder.glob("runs/.*.checkpoint")) else "before"


def compare(name: str, kills: int, seed: int, work: Path, published: data_sets.File) -> str:
    """Kill a command so many times, and return its row of the table."""
    command, rng = COMMANDS[name], random.Random(seed)
    whole, killed = work / name / "whole", work / name / "killed"
    for folder in (whole, killed):
        write_inputs(folder)
        if command.first:
            end(start(command._replace(words=[*command.first]), folder, published), folder)
    began = time.monotonic()
    process = start(command, whole, published)
    writes = watch(process, whole, sys.maxsize)
    end(process, whole)
    seconds = time.monotonic() - began
    expected: Pieces = dict(command.makes(whole))
    before: Pieces = {}
    where: Counter[str] = Counter()
    readings, ends = 0, 0
    while True:
        process = start(command, killed, published)
        moment = kill(process, killed, seconds, writes, rng) if sum(where.values()) < kills else ""
        if not moment:
            end(process, killed)
        now = dict(command.makes(killed))
        readings += len(now)
        for piece, of_piece in now.items():
            assert of_piece == expected[piece], f"{name}: {piece} differs from what nobody disturbed"
        assert before.keys() <= now.keys(), f"{name}: {before.keys() - now.keys()} is gone"
        before = now
        if moment:
            where[moment] += 1
            continue
        assert now == expected, f"{name}: {expected.keys() - now.keys()} is missing"
        left = [*killed.rglob(".*"), *killed.rglob("*.partial*")]
        assert not left, f"{name}: {left} is left over"
        ends += 1
        if sum(where.values()) == kills:
            break
        for worked in ("runs", FOLDER, "kept"):
            shutil.rmtree(killed / worked, ignore_errors=True)
        before = dict(command.makes(killed))
    moments = ", ".join(f"{where[moment]} {moment}" for moment in ("before", "while working", "while writing"))
    what = f"{name} killed ({moments}; {ends} ends and {readings} readings, all as undisturbed)"
    return f"| {what} | {kills} | {kills} | `python -m tests.endurance.crash {name}` |"


def at_once(times: int, seed: int, work: Path, published: data_sets.File) -> str:
    """Start a report and a sweep on one folder of runs at the same time, and return their row of the table."""
    rng = random.Random(seed)
    whole, both = work / "alone", work / "both"
    for folder in (whole, both):
        write_inputs(folder)
    sweep = COMMANDS["sweep"]
    report = Command([*COMMANDS["report"].words[:-1], "other", "--heads", "Softmax; Softmax + CPR:20 + Mi"], reported)
    for command in (report, sweep):
        end(start(command, whole, published), whole)
    expected = dict(swept(whole))
    for _ in range(times):
        started = []
        for command in rng.sample([report, sweep], 2):
            started.append(start(command, both, published))
            time.sleep(rng.uniform(0, 1))
        for process in started:
            end(process, both)
        assert dict(swept(both)) == expected, "what two processes made at once differs from what one made"
        left = [*both.rglob(".*"), *both.rglob("*.partial*")]
        assert not left, f"{left} is left over"
        shutil.rmtree(both / "runs")
    what = "a report and a sweep on one folder of runs at once (the same runs as one after the other)"
    return f"| {what} | {times} | {times} | `python -m tests.endurance.crash '{AT_ONCE}'` |"


def main() -> None:
    """Print what was found; the first thing that does not hold stops it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*COMMANDS, AT_ONCE]
    parser.add_argument("commands", nargs="*", default=names, help=f"some of {', '.join(names)}")
    parser.add_argument("--kills", type=int, default=50, help="how many times each command is killed")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments, as far as the machine's speed allows")
    asked = parser.parse_args()
    print("| what | tried | survived | command |\n| --- | --- | --- | --- |")
    body = check_ins()
    for name in asked.commands:
        with tempfile.TemporaryDirectory() as work, serving(Answer(body, slow=SENDING * 2**14 / len(body))) as server:
            address = server.address.replace("log.zip", "check-ins.txt.gz")
            published = data_sets.File(address, hashlib.md5(body, usedforsecurity=False).hexdigest())
            way = at_once if name == AT_ONCE else partial(compare, name)
            print(way(asked.kills, asked.seed, Path(work), published), flush=True)


if __name__ == "__main__":
    main()
