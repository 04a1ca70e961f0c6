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


def table(file: Path) -> str:
    """Return a Markdown table of the races: a row per side, a column per number of items and precision."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    races = [row for row in rows if row["part"] == "speed"]
    columns = list(dict.fromkeys((row["items"], row["targets"], row["precision"]) for row in races))
    cells: dict[str, dict[tuple, str]] = {}
    for row in races:
        said = f"{row['ms']:.1f} ms, {row['memory_mb']:,.0f} MB" if row["ms"] is not None else "–"
        if row["ms"] is not None and row["side"] != "ours":
            said += f", {row['ours_to_it']:.2f}" + (" (inexact)" if row.get("exact") is False else "")
        cells.setdefault(row["side"], {})[row["items"], row["targets"], row["precision"]] = said
    shown = {side: of_side for side, of_side in cells.items() if set(of_side.values()) != {"–"}}
    lines = [f"| loss | {' | '.join(f'{n:,} items, {m:,} targets, {precision}' for n, m, precision in columns)} |"]
    lines.append(f"| --- |{' --- |' * len(columns)}")
    for side in sorted(shown, key=lambda side: not side.startswith("ours")):
        lines.append(f"| {side} | {' | '.join(shown[side].get(column, '–') for column in columns)} |")
    (device,) = (row for row in rows if row["part"] == "device")
    checks = [row for row in rows if row["part"] == "correct"]
    worst = max(row[key] for row in checks for key in row if key.endswith("_off_relative"))
    right = sum(row["right"] for row in checks)
    said = f"{device['name']}, torch {device['torch']}. {right} of {len(checks)} checks against float64 passed; the"
    return "\n".join([f"{said} largest relative error of a loss or gradient was {worst:.0e}.", "", *lines])
