"""The output file of all parts of benchmarks/gpu.py, and the time limit that they share."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cprlab.files import make_folder

SPARE = 15  # seconds reserved at the end, to write results


@dataclass
class Clock:
    """A time limit."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Return the seconds left; 0 when the time is over."""
        return max(0.0, self.began + self.seconds - time.monotonic())


class Rows:
    """JSON lines, each written as soon as it is known, and whether any of them reports an error."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.file, self.wrong = folder / "rows.jsonl", False

    def add(self, part: str, **values: Any) -> None:
        """Write a row, and print it."""
        self.wrong |= values.get("right") is False
        line = json.dumps({"part": part} | values)
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    @contextmanager
    def going_on(self, part: str, **values: Any) -> Iterator[None]:
        """If the block raises an error, write it as a row and continue after the block: GPU time is scarce."""
        try:
            yield
        except Exception as error:
            self.add(part, **values, said=sentence(error), right=False)


def sentence(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
