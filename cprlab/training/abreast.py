"""train_all: several trainings on one log; on a CPU they run in parallel, each in its own process.

A worker is a new Python process, not a copy of this one, so both scripts and notebook kernels can start it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cprlab import errors
from cprlab.data import Sequences, save_prepared
from cprlab.errors import CprlabError
from cprlab.files import scratch
from cprlab.training.loop import Device, open_device
from cprlab.training.processes import several
from cprlab.training.runs import Run, RunConfig, run_folder, train


def train_all(
    sequences: Sequences, configs: Mapping[str, RunConfig], runs: Path | str = "runs", device: Device = "auto"
) -> dict[str, Run]:
    """Return the run of each configuration on a log, as `train` returns it.

    On a CPU, missing runs are trained in parallel. Torch's threads are divided by the number of `configs`, finished or
    not, so that the threads of a run do not depend on which other runs exist. Workers end when this process ends, for
    whatever reason; when a run is requested again, its training continues after the last whole epoch. On a GPU, or
    if torchrun started this process, runs are trained one after the other.

    Args:
        sequences: the log.
        configs: configurations to train, with names for progress and error messages.
        runs: folder that contains the run folders.
        device: where to train.

    Returns:
        The runs, by the names of `configs`.

    Raises:
        ConfigError: a head does not fit the data, or the device is not available.
        DataError: the folder cannot be written.
        CprlabError: a training diverged, or its process was killed.
    """
    missing = {name: config for name, config in configs.items() if not run_folder(sequences, config, runs).is_dir()}
    threads = torch.get_num_threads()
    at_once = min(len(configs), threads)
    if missing and at_once > 1 and open_device(device).type == "cpu" and not several():
        first = run_folder(sequences, next(iter(missing.values())), runs)
        with scratch(first.with_name(f"{first.name}.log")) as folder:
            save_prepared(_without_names(sequences), folder / "log")
            common = {"log": str(folder / "log"), "runs": str(runs), "threads": threads // at_once}
            _train_abreast({name: common | {"config": missing[name].model_dump()} for name in missing}, at_once)
    return {name: train(sequences, config, runs, device) for name, config in configs.items()}


def _without_names(sequences: Sequences) -> Sequences:
    """Return the sequences with codes instead of ids, and without titles: training needs neither."""
    users, items = np.arange(sequences.n_users), np.arange(sequences.n_items)
    return replace(sequences, user_ids=users, item_ids=items, titles=np.full(len(items), "", dtype=object))


def _train_abreast(asked: dict[str, dict[str, Any]], at_once: int) -> None:
    """Train each job in a `training.worker`, at most `at_once` at a time.

    Heads with the longest names come first: they have more parts, so they take longer and should not start last.
    """
    waiting = sorted(asked, key=lambda name: -len(asked[name]["config"]["head"]))
    running: dict[str, subprocess.Popen[str]] = {}
    told: SimpleQueue[tuple[str, str]] = SimpleQueue()
    with _Bar(len(asked)) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name = waiting.pop(0)
                    running[name] = _start(asked[name])
                    Thread(target=_listen, args=(name, running[name], told), daemon=True).start()
                name, line = told.get()
                if line:
                    bar.show(name, **_told(line))
                else:
                    _refuse_failure(name, running.pop(name).returncode)
                    bar.end(name)
        finally:
            for child in running.values():
                child.kill()
                child.wait()


def _start(job: dict[str, Any]) -> "subprocess.Popen[str]":
    """Start a worker; it ends when its standard input is closed, at the latest when this process ends."""
    places = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "cprlab.training.worker"],  # -P: do not import from the working folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": str(job["threads"])},
        start_new_session=True,  # only this process receives Ctrl-C, and it ends the workers
    )
    print(json.dumps(job), file=child.stdin, flush=True)
    return child


def _listen(name: str, child: "subprocess.Popen[str]", told: "SimpleQueue[tuple[str, str]]") -> None:
    """Pass on the lines that a worker writes, then an empty line when it has ended."""
    with child:
        for line in child.stdout or ():
            told.put((name, line))
        child.wait()  # leaving the block closes its standard input, which would end it
    told.put((name, ""))


def _told(line: str) -> dict[str, Any]:
    """Return a worker's progress, or raise the error that it reports."""
    told = json.loads(line)
    if "error" in told:
        raise getattr(errors, told["error"])(told["sentence"])
    return told


def _refuse_failure(name: str, code: int) -> None:
    """Raise a CprlabError if a worker failed or was killed."""
    if code < 0:
        raise CprlabError(
            f"The process that trained {name} was killed, perhaps because memory ran out; start again to continue "
            "after the last whole epoch."
        )
    if code:
        raise CprlabError(f"The training of {name} failed; the error is printed above.")


class _Bar(tqdm):  # type: ignore[misc]  # tqdm is untyped
    """One progress bar for all trainings; a notebook would print more and more lines for several bars."""

    def __init__(self, trainings: int) -> None:
        super().__init__(total=0, unit=" targets", unit_scale=True, mininterval=1.0, desc=f"{trainings} trainings")
        self.each: dict[str, dict[str, Any]] = {}

    def show(self, name: str, **told: Any) -> None:
        """Show the progress of one training: `done` of `total` targets, and the `state` after its last epoch."""
        self.each[name] = told
        self.total = sum(one["total"] for one in self.each.values())
        states = [f"{name}: {one['state']}" for name, one in self.each.items() if one["state"]]
        self.set_postfix_str("; ".join(states), refresh=False)
        self.update(sum(one["done"] for one in self.each.values()) - self.n)

    def end(self, name: str) -> None:
        """Lower the total of a finished training to the targets that it needed."""
        if name in self.each:
            self.show(name, **self.each[name] | {"total": self.each[name]["done"]})
