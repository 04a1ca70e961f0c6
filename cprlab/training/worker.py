"""What `train_all` starts: `python -m cprlab.training.worker` trains one run, and tells how far it is.

Standard input brings one line of JSON, the job, and ends when the worker is to end. On standard output each line is
JSON: how far training is (`done` of `total` targets, and the `state` after the last epoch), or a CprlabError.
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


class _Told(tqdm):  # type: ignore[misc]  # tqdm tells no types
    """A bar that tells what it would show."""

    def __init__(self, *args: Any, told: TextIO, **settings: Any) -> None:
        self.told = told
        super().__init__(*args, **settings)

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line."""
        with suppress(BrokenPipeError):  # nobody listens any more, and `_end_with_parent` is about to see it
            print(json.dumps({"done": self.n, "total": self.total, "state": self.postfix or ""}), file=self.told)


def main() -> None:
    """Train what standard input asks for."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is not what is told
    job = json.loads(sys.stdin.readline())
    Thread(target=_end_with_parent, daemon=True).start()
    if job["threads"] == 1:  # when another worker has ended, its core is of use to this one
        kernel.in_turn = ThreadPoolExecutor(2).map
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            bar = partial(_Told, told=told, file=nowhere)
            train(load_prepared(job["log"]), RunConfig(**job["config"]), job["runs"], "cpu", bar)
    except CprlabError as error:
        print(json.dumps({"error": type(error).__name__, "sentence": str(error)}), file=told)


def _end_with_parent() -> None:
    """Wait for the end of standard input; what is kept is written whole, so nothing is lost but an epoch."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
