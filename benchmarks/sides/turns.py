"""Shared by both sides of `benchmarks/against_recbole.py`: train on request, and report the cost."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from benchmarks.memory import peak

Piece = TypeVar("Piece")


def endless(epoch: Callable[[int], Iterable[Piece]]) -> Iterator[Piece]:
    """Yield all pieces of epoch 0, of epoch 1, and so on."""
    number = 0
    while True:
        yield from epoch(number)
        number += 1


def serve(train: Callable[[int], int], before: float) -> None:
    """For each line of standard input, a number of targets, train on as many and print the cost as JSON.

    Args:
        train: takes a number of targets, trains on whole batches with at least as many, and returns their number.
        before: memory of the process after importing its libraries, in MB.
    """
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        targets = train(int(line))
        cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        cost = {name: seconds / targets for name, seconds in cost.items()}
        print(json.dumps(cost | {"memory": peak() - before}), file=sys.__stdout__, flush=True)
