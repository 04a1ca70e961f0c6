"""What every part of benchmarks/gpu.py writes to, and the time that all of them share."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cprlab.files import make_folder

SPARE = 15  # seconds at the end, for what is still to be written


@dataclass
class Clock:
    """How much of the time that was asked for is left."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Return seconds, 0 when the time is over."""
        return max(0.0, self.began + self.seconds - time.monotonic())


class Rows:
    """JSON lines, each written as soon as it is known, and whether any tells of something wrong."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.file, self.wrong = folder / "rows.jsonl", False

    def add(self, part: str, **values: Any) -> None:
        """Write a row, and show it."""
        self.wrong |= values.get("right") is False
        line = json.dumps({"part": part} | values)
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    @contextmanager
    def going_on(self, part: str, **values: Any) -> Iterator[None]:
        """Write a row of whatever goes wrong in the block, and go on behind it: a GPU's minutes are few."""
        try:
            yield
        except Exception as error:
            self.add(part, **values, said=sentence(error), right=False)


def sentence(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is called."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
