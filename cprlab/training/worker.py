"""A worker process of `train_all`: `python -m cprlab.training.worker` trains one run, and reports its progress.

Standard input has one line of JSON, the job; when it is closed, the worker ends. Each line on standard output is JSON:
the progress (`done` of `total` targets, and the `state` after the last epoch), or a CprlabError.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TextIO

from tqdm import tqdm

from cprlab.data import load_prepared
from cprlab.errors import CprlabError
from cprlab.training import kernel
from cprlab.training.runs import RunConfig, train


class _Told(tqdm):  # type: ignore[misc]  # tqdm is untyped
    """A progress bar that writes its progress as JSON."""

    def __init__(self, *args: Any, told: TextIO, **settings: Any) -> None:
        self.told = told
        super().__init__(*args, **settings)

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line."""
        with suppress(BrokenPipeError):  # the parent has ended, and `_end_with_parent` is about to notice
            print(json.dumps({"done": self.n, "total": self.total, "state": self.postfix or ""}), file=self.told)


def main() -> None:
    """Train the job that standard input describes."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keep what libraries print out of the report
    job = json.loads(sys.stdin.readline())
    Thread(target=_end_with_parent, daemon=True).start()
    if job["threads"] == 1:  # when another worker has ended, this one can use its core
        kernel.in_turn = ThreadPoolExecutor(2).map
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            bar = partial(_Told, told=told, file=nowhere)
            train(load_prepared(job["log"]), RunConfig(**job["config"]), job["runs"], "cpu", bar)
    except CprlabError as error:
        print(json.dumps({"error": type(error).__name__, "sentence": str(error)}), file=told)


def _end_with_parent() -> None:
    """Wait until standard input is closed, then exit; files are written atomically, so at most an epoch is lost."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
