"""run_all: give jobs to free workers, and collect each job's result or error."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import lru_cache
from typing import Any, NamedTuple

from distributed import Client, Future, KilledWorker, Status, wait
from tqdm import tqdm

from cprlab.data import Sequences
from cprlab.errors import CprlabError
from cprlab.sweeps.grid import Grid, Trial
from cprlab.sweeps.results import described
from cprlab.training import train
from cprlab.training.loop import Device

TICK = 1.0  # seconds between checks of the workers
Job = tuple[Callable, tuple]  # a function that workers can import, and its arguments


class Outcome(NamedTuple):
    """Result of a job.

    Attributes:
        value: return value of the function; None if it failed.
        error: error message, or "".
        kind: class of the error, or "".
    """

    value: Any = None
    error: str = ""
    kind: str = ""


def run_all(client: Client, jobs: Sequence[Job], label: str) -> list[Outcome]:
    """Run jobs on a cluster's workers, with a progress bar on standard error, and return their outcomes in order.

    A job whose worker dies is tried again, up to Dask's `allowed-failures` (three times).

    Raises:
        CprlabError: the scheduler is gone, or Slurm refuses a job.
    """
    outcomes = [Outcome()] * len(jobs)
    waiting = deque(range(len(jobs)))
    running: dict[Future, int] = {}
    with tqdm(total=len(jobs), desc=label, unit=" done", smoothing=0.1) as bar:
        while waiting or running:
            workers = _workers(client)
            # One job per worker and none queued, so that a dying worker loses only the job it works on.
            while waiting and len(running) < workers:
                function, arguments = jobs[waiting[0]]
                running[client.submit(attempt, function, arguments, pure=False)] = waiting.popleft()
            _wait(running)
            for future in [future for future in running if future.done()]:
                place = running.pop(future)
                outcomes[place] = _outcome(future)
                bar.update()
            failed = sum(bool(outcome.error) for outcome in outcomes)
            bar.set_postfix(workers=workers, failed=failed)
    return outcomes


def _workers(client: Client) -> int:
    """Return the number of workers, and restart lost ones.

    Raises:
        CprlabError: the scheduler is gone, or Slurm refuses a job.
    """
    if client.cluster is not None:
        refused = [worker for worker in client.cluster.workers.values() if worker.status == Status.created]
        for worker in refused:
            worker.status = Status.failed  # or the cluster would not close
        if refused:
            raise CprlabError("A job could not be submitted; see the output of its command above.")
        client.cluster.scale(len(client.cluster.worker_spec))
    try:
        return len(client.nthreads())
    except (OSError, TimeoutError) as error:
        raise CprlabError("The Dask scheduler is gone; start it and the sweep again to finish what is left.") from error


def _wait(running: dict[Future, int]) -> None:
    try:
        if running:
            wait(list(running), timeout=TICK, return_when="FIRST_COMPLETED")
        else:
            time.sleep(TICK)
    except TimeoutError:
        pass


def _outcome(future: Future) -> Outcome:
    if future.status == "finished":
        return future.result()
    if future.status != "error":  # lost or cancelled, which only the scheduler does
        raise CprlabError("The Dask scheduler is gone; start it and the sweep again to finish what is left.")
    error = future.exception()
    if isinstance(error, KilledWorker):
        times = error.allowed_failures + 1
        return Outcome(
            None,
            f"The worker was killed {times} times while it worked on this, perhaps for lack of memory. Start the sweep "
            "again with fewer workers or a smaller batch.",
            "KilledWorker",
        )
    return Outcome(None, _sentence(error), type(error).__name__)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, CprlabError) else f"{type(error).__name__}: {text}"


# The following runs on workers.

_ALONE = threading.Lock()  # torch has one random stream per process, so a process trains one model at a time


def attempt(function: Callable, arguments: tuple) -> Outcome:
    """Call a function and return its result or error; its output to standard error, such as bars, is dropped."""
    with _ALONE, redirect_stderr(io.StringIO()):
        try:
            return Outcome(function(*arguments))
        except Exception as error:
            return Outcome(None, _sentence(error), type(error).__name__)


def train_trial(trial: Trial, data: str, log: dict[str, Any], runs: str, device: Device) -> dict[str, Any]:
    """Train a trial unless its run exists, and return a row about it.

    Args:
        trial: what to train.
        data: a built-in log, a file or a prepared folder.
        log: fields of `Grid` that say how the log is read: those of its `sized` and its `reading`.
        runs: folder of run folders.
        device: where to train.

    Returns:
        The columns of `Results.table` after the labels, then the test metrics of `run.json` by name, and the
        `fingerprint` of the data.

    Raises:
        CprlabError: the data, the head or the folder cannot be used, or training diverged.
    """
    run = train(_log(data, tuple(log.items())), trial.config, runs, device)
    return described(run) | run.record["test"] | {"fingerprint": run.record["data"]["fingerprint"]}


@lru_cache(maxsize=2)  # trials come log by log
def _log(data: str, fields: tuple[tuple[str, Any], ...]) -> Sequences:
    (log,) = Grid(data=(data,), **dict(fields)).logs().values()
    return log
