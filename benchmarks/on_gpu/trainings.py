"""Train a list of jobs in parallel, until the time is over."""

import json
import multiprocessing
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydantic
import torch
import yaml

from benchmarks.on_gpu.rows import Clock, Rows, sentence
from cprlab.config import Config
from cprlab.data.splits import SplitBy
from cprlab.errors import ConfigError, CprlabError
from cprlab.files import whole
from cprlab.loading import load_sequences
from cprlab.models import EncoderConfig, GRU4RecConfig
from cprlab.training import RunConfig, TrainingConfig, train


class Job(Config):
    """A training.

    Attributes:
        log: a prepared folder, or another argument of `load_sequences`.
        split: split of the log.
        max_len: maximum number of items that a model reads; 0: the log's default.
        encoder: as in `RunConfig`, like `head` and `training`.
    """

    log: str
    split: SplitBy = "leave-one-out"
    max_len: int = pydantic.Field(0, ge=0)
    encoder: EncoderConfig = GRU4RecConfig()
    head: str = "Softmax"
    training: TrainingConfig = TrainingConfig()

    @property
    def config(self) -> RunConfig:
        """The configuration for `train`."""
        return RunConfig(encoder=self.encoder, head=self.head, training=self.training)


def read_jobs(path: Path) -> list[Job]:
    """Return the jobs of a YAML or JSON file.

    Raises:
        ConfigError: the file cannot be read, is not a list of jobs, or has an invalid job.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as jobs: {sentence(error)}.") from None
    if not isinstance(listed, list) or not all(isinstance(job, dict) for job in listed):
        raise ConfigError(f"{path} must be a list of jobs, each with a log.")
    jobs = [Job(**job) for job in listed]
    for job in jobs:
        _ = job.config  # refuse unknown heads before anything is measured
    return jobs


def train_side_by_side(
    rows: Rows, jobs: list[Job], runs: Path, until: Clock, device: str = "cuda", parallel: int = 16
) -> None:
    """Train into `runs`; when the time is over, end the unfinished trainings, which another call continues."""
    context, waiting = multiprocessing.get_context("spawn"), list(enumerate(jobs))
    with TemporaryDirectory() as scratch:
        at_work: dict[int, tuple[Any, float]] = {}
        while (waiting or at_work) and until.left():
            while waiting and len(at_work) < parallel:
                number, job = waiting.pop(0)
                process = context.Process(target=_train, args=(job, runs, _end(scratch, number), device), daemon=True)
                process.start()
                at_work[number] = process, time.monotonic()
            for number in [number for number, (process, _) in at_work.items() if not process.is_alive()]:
                began, end = at_work.pop(number)[1], _end(scratch, number)
                values = json.loads(end.read_text()) if end.exists() else {"said": "its process ended"}
                rows.add("training", job=jobs[number].model_dump(), seconds=time.monotonic() - began, **values)
            time.sleep(0.1)
        for process, _ in at_work.values():
            process.kill()
        for number, (process, began) in at_work.items():
            process.join()
            rows.add("training", job=jobs[number].model_dump(), seconds=time.monotonic() - began, said="no time")
        for _, job in waiting:
            rows.add("training", job=job.model_dump(), seconds=0.0, said="no time")


def _train(job: Job, runs: Path, end: Path, device: Any) -> None:
    """Train in a separate process, and write how it ended."""
    torch.set_num_threads(1)
    try:
        sequences = load_sequences(job.log, split=job.split, max_len=job.max_len)
        run = train(sequences, job.config, runs, device)
        values = {"folder": run.folder.name, "epochs": len(run.history), "test": run.record["test"]}
    except CprlabError as error:
        values = {"said": str(error)}
    with whole(end) as file:
        file.write_text(json.dumps(values), encoding="utf-8")


def _end(scratch: str, number: int) -> Path:
    return Path(scratch) / f"{number}.json"
