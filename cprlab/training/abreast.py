"""train_all: several trainings on one log; on a processor side by side, each in a process of its own.

A worker is a plain Python process and no copy of this one, so that scripts and notebooks' kernels can start it alike.
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

import cprlab
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
    """Return the runs of these configurations on these data, each as `train` gives it.

    On a processor those that are not there yet are trained side by side, and the threads that torch has here are shared
    out among `configs`, so that what a run has does not depend on which others are there. Workers end with this
    process, whatever ends it; what they trained goes on after its last whole epoch when it is asked for again. On a
    GPU, and where torchrun started this process, one is trained after another.

    Args:
        sequences: the log.
        configs: what to train, by any name.
        runs: the folder of run folders.
        device: where to train.

    Raises:
        ConfigError: a head does not fit the data, or the device is not there.
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
    """Return the same sequences with codes in the place of ids, which training does not ask for, and no titles."""
    users, items = np.arange(sequences.n_users), np.arange(sequences.n_items)
    return replace(sequences, user_ids=users, item_ids=items, titles=np.full(len(items), "", dtype=object))


def _train_abreast(asked: dict[str, dict[str, Any]], at_once: int) -> None:
    """Let a `training.worker` train each that is asked for, so many at once.

    The longest names of heads come first: a part more is work more, and what takes longest should not start last.
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
    """Start a worker; it ends when its standard input does, so with this process at the latest."""
    places = [str(Path(cprlab.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "cprlab.training.worker"],  # -P: no file of the working folder is in the way
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": str(job["threads"])},
        start_new_session=True,  # Ctrl-C is for this process, which ends the workers
    )
    print(json.dumps(job), file=child.stdin, flush=True)
    return child


def _listen(name: str, child: "subprocess.Popen[str]", told: "SimpleQueue[tuple[str, str]]") -> None:
    """Pass on what a worker tells, and an empty line when it has ended."""
    with child:
        for line in child.stdout or ():
            told.put((name, line))
        child.wait()  # before its standard input is closed, which would end it
    told.put((name, ""))


def _told(line: str) -> dict[str, Any]:
    """Return how far a worker is, or raise the error that it met."""
    told = json.loads(line)
    if "error" in told:
        raise getattr(errors, told["error"])(told["sentence"])
    return told


def _refuse_failure(name: str, code: int) -> None:
    """Raise a CprlabError if a worker ended otherwise than well."""
    if code < 0:
        raise CprlabError(
            f"The process that trained {name} was killed, for want of memory perhaps; start again to go on after the "
            "last whole epoch."
        )
    if code:
        raise CprlabError(f"The training of {name} failed; what went wrong stands above.")


class _Bar(tqdm):  # type: ignore[misc]  # tqdm tells no types
    """One bar for all trainings, since a notebook shows several bars as a growing heap of lines."""

    def __init__(self, trainings: int) -> None:
        super().__init__(total=0, unit=" targets", unit_scale=True, mininterval=1.0, desc=f"{trainings} trainings")
        self.each: dict[str, dict[str, Any]] = {}

    def show(self, name: str, **told: Any) -> None:
        """Show how far one is: `done` of `total` targets, and after an epoch its `state`."""
        self.each[name] = told
        self.total = sum(one["total"] for one in self.each.values())
        states = [f"{name}: {one['state']}" for name, one in self.each.items() if one["state"]]
        self.set_postfix_str("; ".join(states), refresh=False)
        self.update(sum(one["done"] for one in self.each.values()) - self.n)

    def end(self, name: str) -> None:
        """Count no more targets than one needed that has ended."""
        if name in self.each:
            self.show(name, **self.each[name] | {"total": self.each[name]["done"]})
