"""open_cluster: worker processes on this machine, on a running Dask cluster, or under Slurm."""

import inspect
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask.config
import torch
from dask.system import CPU_COUNT
from dask_jobqueue.core import Job, JobQueueCluster
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client, Nanny, Scheduler, SpecCluster

from cprlab.errors import ConfigError, suggestion
from cprlab.sweeps.config import read_yaml
from cprlab.training.loop import Device, open_device

SECONDS_TO_FIND_A_SCHEDULER = 20


@contextmanager
def open_cluster(workers: int = 0, scheduler: str = "", slurm: str = "", device: Device = "auto") -> Iterator[Client]:
    """Yield a client of a cluster; what was started for it ends with the block, or with this process.

    Args:
        workers: number of worker processes; 0 means one per core of this machine, or one per GPU if `device` is a GPU,
            and under Slurm the file's `n_workers`, or one.
        scheduler: address of a running cluster's scheduler, such as `tcp://10.0.0.1:8786`.
        slurm: a YAML file with the arguments of `dask_jobqueue.SLURMCluster`.
        device: where each worker trains.

    Raises:
        ConfigError: there is no scheduler at the address, or the file is invalid.
    """
    if scheduler and (slurm or workers):
        raise ConfigError("A running cluster has its own workers; remove --workers and --slurm, or --scheduler.")
    if scheduler:
        try:
            client = Client(scheduler, timeout=SECONDS_TO_FIND_A_SCHEDULER)
        except (OSError, ValueError) as error:
            detail = str(error).splitlines()[0]
            raise ConfigError(f"There is no Dask scheduler at {scheduler} ({detail}); see docs/sweeps.md.") from None
        with client:
            yield client
        return
    before = dict(os.environ)
    try:
        with _slurm(slurm, workers) if slurm else _local(workers, device) as cluster, Client(cluster) as client:
            yield client
    finally:
        for name in os.environ.keys() - before:  # Dask's nannies limit later processes to one thread
            del os.environ[name]


def _local(workers: int, device: Device) -> SpecCluster:
    """Return worker processes of one thread each; with GPUs, each worker sees one."""
    gpus = _gpus() if open_device(device).type == "cuda" else []
    specs = {}
    for place in range(workers or len(gpus) or CPU_COUNT):
        own = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
        # Dask does not manage training's memory, so it must not limit it.
        options = {"nthreads": 1, "env": own, "memory_limit": 0, "dashboard": False, "silence_logs": logging.CRITICAL}
        specs[place] = {"cls": Nanny, "options": options}
    front = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": None}
    return SpecCluster(workers=specs, scheduler={"cls": Scheduler, "options": front}, silence_logs=logging.CRITICAL)


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return visible.split(",")


def _slurm(path: str, workers: int) -> SLURMCluster:
    arguments: dict[str, Any] = {"n_workers": 1, "scheduler_options": {}} | read_yaml(path)
    known = {
        name
        for kind in (JobQueueCluster, Job, SLURMJob)
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.default is not parameter.empty
    }
    for name in arguments:
        if name not in known:
            meant = "queue" if name == "partition" else name
            raise ConfigError(f"{path}: SLURMCluster has no argument {name!r}: {suggestion(meant, sorted(known))}")
    for name, example in (("cores", "1"), ("memory", "16GB")):
        if arguments.get(name, dask.config.get(f"jobqueue.slurm.{name}", None)) is None:
            raise ConfigError(f"{path} does not say how much a job gets; add a line such as `{name}: {example}`.")
    if shutil.which(SLURMJob.submit_command) is None:
        raise ConfigError("There is no sbatch on this machine; start the sweep on a machine that submits Slurm's jobs.")
    arguments["scheduler_options"] = {"dashboard": False, "dashboard_address": None} | arguments["scheduler_options"]
    try:
        return SLURMCluster(**arguments | ({"n_workers": workers} if workers else {}))
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None
