"""A sweep of 24 runs, killed twice at random and finished, against one that nobody disturbs: are the weights the same?

Each is a `cprlab sweep` with two workers. The first two are killed (SIGKILL) once a number of runs, drawn at random, is
finished; in the third one a worker is killed. Writes to the folder given, or to a new one, and prints a table.
"""

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

RUNS = 24
GRID = {
    "size": "small",
    "encoder": ["GRU4Rec", "SASRec"],
    "head": ["Softmax", "Softmax + C", "Softmax + CPR:20 + Mi"],
    "settings": {"epochs": 3},
    "seeds": 2,
}


def write_log(path: Path, repeats: bool) -> None:
    """Write 200 users with 30 interactions each, out of a dozen favourites, or each item once."""
    rng = np.random.default_rng(0)
    rows = ["user_id,item_id"]
    for user in range(200):
        drawn = rng.choice(rng.choice(300, 12, replace=False), 30) if repeats else rng.permutation(300)[:30]
        rows += [f"u{user},i{item}" for item in drawn]
    path.write_text("\n".join(rows) + "\n")


def start(folder: Path, name: str) -> subprocess.Popen:
    """Start the sweep `name`, which keeps its runs in `folder`/name."""
    grid = {"name": name, "data": ["repeats.csv", "once.csv"], "runs": name, "out": f"report-{name}", "device": "cpu"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(grid | GRID))
    command = [sys.executable, "-c", "from cprlab.cli import main; main()", "sweep", f"{name}.yaml", "--workers", "2"]
    said = (folder / "said.txt").open("a")
    return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)


def finished(runs: Path) -> dict[str, int]:
    """Return when the weights of each finished run were written, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("[!.]*/model.safetensors")}


def digests(runs: Path) -> dict[str, str]:
    """Return a digest of the weights of each run."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in runs.glob("*/model.safetensors")
    }


def report(what: str, began: float, before: dict[str, int], now: dict[str, int], runs: Path) -> None:
    """Print a row of the table."""
    kept = sum(now.get(name) == written for name, written in before.items())
    begun = len(list(runs.glob(".*.checkpoint")))
    print(f"| {what} | {time.time() - began:.0f} | {len(now)} | {kept} of {len(before)} | {begun} |", flush=True)


def main() -> None:
    """Run both sweeps and print what was found."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    for name, repeats in (("repeats.csv", True), ("once.csv", False)):
        write_log(folder / name, repeats)
    print("| sweep | seconds | runs finished | earlier ones untouched | begun and not finished |")
    print("| --- | --- | --- | --- | --- |")
    runs = folder / "killed"
    before: dict[str, int] = {}
    rng = random.Random(time.time_ns())
    for upto in (rng.randint(2, 10), rng.randint(12, 20)):
        began, process = time.time(), start(folder, "killed")
        while len(finished(runs)) < upto:
            time.sleep(0.05)
        time.sleep(rng.random() * 2)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        now = finished(runs)
        report(f"killed; {len(alive)} processes left over", began, before, now, runs)
        before = now
    began, process = time.time(), start(folder, "killed")
    while len(finished(runs)) <= len(before):
        time.sleep(0.05)
    workers = [
        child for child in psutil.Process(process.pid).children() if "multiprocessing.spawn" in str(child.cmdline())
    ]
    workers[-1].kill()
    assert process.wait() == 0
    report("finished; one worker killed", began, before, finished(runs), runs)
    began, process = time.time(), start(folder, "whole")
    assert process.wait() == 0
    report("not disturbed", began, {}, finished(folder / "whole"), folder / "whole")
    killed, whole = digests(runs), digests(folder / "whole")
    same = sum(killed.get(name) == digest for name, digest in whole.items())
    print(f"\n{same} of {len(whole)} runs have the same weights, bit for bit; {len(killed)} runs in the first folder.")
    assert same == len(whole) == len(killed) == RUNS


if __name__ == "__main__":
    main()
