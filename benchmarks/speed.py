"""What does the exact loss cost? CPU seconds and memory, each time against another way to the same numbers.

    python benchmarks/speed.py --table docs/speed.md --json speed.json

The two sides of a row take turns in one process; a ratio is the median over repeats, with the lowest and the highest.
Memory is what a process of its own holds at its peak, above the inputs.
"""

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch.nn import functional as F

from cprlab.files import whole
from cprlab.models import Context, Outputs, parse_head
from cprlab.models.heads import build_head
from cprlab.training.kernel import chunked
from cprlab.training.loss import CrossEntropy

WINDOWS, LENGTH, D = 64, 50, 64  # 3,200 rows
CPR, CE, DENSE, TORCH = "CPR:100", "row-fused CE", "dense CE", "linear_cross_entropy"
HEADS = {CPR: "Softmax + CPR:{k}", CE: "Softmax"}


def loss_of(work: str, n_items: int, k: int = 100, length: int = LENGTH, windows: int = WINDOWS) -> Callable[[], None]:
    """Return a function that computes a loss and all its gradients, whose inputs are there already."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(n_items + 1, D, generator=generator).mul_(0.1).requires_grad_()
    items = torch.randint(n_items, (windows, length), generator=generator)
    targets = torch.randint(n_items, (windows, length), generator=generator)
    if work in HEADS:
        head, loss = build_head(parse_head(HEADS[work].format(k=k)), D, layers=1), CrossEntropy()
        facets = {name: torch.randn(windows, length, D, generator=generator).requires_grad_() for name in head.maps}
        at = torch.arange(length).expand(windows, -1)
        leaves = [weight, *facets.values()]

        def total():
            context = Context(items, at, n_items)
            return chunked(loss, head, facets, Outputs(weight, None), context, targets, loss.draw(targets))
    else:
        rows = torch.randn(windows * length, D, generator=generator).requires_grad_()
        leaves = [weight, rows]

        def total():
            if work == TORCH:
                options = torch.nn.LinearCrossEntropyOptions()
                return F.linear_cross_entropy(rows, weight, targets.flatten(), reduction="sum", options=options)
            return F.cross_entropy(rows @ weight.T, targets.flatten(), reduction="sum")

    def once():
        total().backward()
        for leaf in leaves:
            leaf.grad = None

    return once


def cpu_seconds(once: Callable[[], None]) -> float:
    """Return how long one call keeps the processor's cores."""
    began = time.process_time()
    once()
    return time.process_time() - began


def time_ratios(work: str, against: str, n_items: int, repeats: int) -> list[float]:
    """Return a ratio for each repeat."""
    sides = [loss_of(work, n_items), loss_of(against, n_items)]
    for side in sides:
        side()
    seconds = [[cpu_seconds(side) for side in sides] for _ in range(repeats)]
    return [mine / other for mine, other in seconds]


def peak_memory(work: str, n_items: int) -> float:
    """Return MB above the inputs, measured in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (work, n_items))


def _grown(work: str, n_items: int) -> float:
    loss_of(work, 500, windows=1)()  # what the libraries allocate once is not counted
    once = loss_of(work, n_items)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is what is held now
    before = _peak()
    once()
    return _peak() - before


def _peak() -> float:
    """Return the most that this process has held, in MB; `getrusage` would give its parent's, where that held more."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare(repeats: int) -> list[dict]:
    """Return a row for each pair of works and each size of catalogue."""
    rows = []
    for n_items in (13_000, 100_000):
        memory = {work: peak_memory(work, n_items) for work in (CPR, CE, DENSE, TORCH)}
        for work, against in ((CPR, CE), (CPR, DENSE), (CE, TORCH)):
            ratios = time_ratios(work, against, n_items, repeats)
            rows.append(
                {
                    "work": f"{work}, V = {n_items:,}",
                    "against": against,
                    "time_ratio": statistics.median(ratios),
                    "memory_ratio": memory[work] / memory[against],
                    "low": min(ratios),
                    "high": max(ratios),
                    "memory_mb": memory[work],
                }
            )
            print(rows[-1], flush=True)
    return rows


def scaling(repeats: int) -> list[dict]:
    """Return what a row costs CPR and CE, in CPU microseconds, over catalogue, history, k and batch."""
    settings = [{"n_items": n} for n in (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)]
    settings += [{"n_items": 13_000, "length": length, "windows": 3_200 // length} for length in (10, 50, 100, 200)]
    settings += [{"n_items": 13_000, "k": k} for k in (20, 100, 200, 500)]
    settings += [{"n_items": 13_000, "windows": windows} for windows in (8, 32, 128)]
    rows = []
    for setting in settings:
        setting = {"k": 100, "length": LENGTH, "windows": WINDOWS} | setting
        if setting["n_items"] > 100_000:
            setting["windows"] = 16  # the cost of a row is the same
        sides = [loss_of(work, **setting) for work in (CPR, CE)]
        for side in sides:
            side()
        seconds = [statistics.median(cpu_seconds(side) for _ in range(repeats)) for side in sides]
        micro = [1e6 * value / (setting["windows"] * setting["length"]) for value in seconds]
        rows.append(setting | {"CPR": micro[0], "CE": micro[1]})
        print(rows[-1], flush=True)
    return rows


PAGE = """# What the exact loss costs

Made by `python benchmarks/speed.py --table docs/speed.md` ({cores} threads, torch {torch}). A loss and all its
gradients, for {rows:,} rows (64 windows of 50 items), d = 64, single precision. Time is CPU time, of both sides in
turns in one process: the median ratio of {repeats} repeats, the lowest and the highest. Memory is the peak above the
inputs, in a process of its own; it includes the gradient of the item embeddings.

- *row-fused CE*: the kernel (`cprlab/training/kernel.py`) under the head `Softmax`; *CPR:100*: under
  `Softmax + CPR:100`, all of whose facets stand ready.
- *dense CE*: `torch.nn.functional.cross_entropy` of all logits at once.
- *linear_cross_entropy*: torch's own in chunks, with its default options.

{table}"""


def table(rows: list[dict], costs: list[dict]) -> str:
    """Return the tables in Markdown; the second only where there are costs."""
    lines = [
        "| loss and gradients | against | CPU time | memory | peak above inputs |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['work']} | {row['against']} | {row['time_ratio']:.2f} × [{row['low']:.2f}, {row['high']:.2f}] "
            f"| {row['memory_ratio']:.3f} × | {row['memory_mb']:.0f} MB |"
            for row in rows
        ),
    ]
    if costs:
        lines += [
            "",
            "| items | k | history | windows | CPR (µs a row) | CE (µs a row) |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
    lines += [
        f"| {row['n_items']:,} | {row['k']} | {row['length']} | {row['windows']} | {row['CPR']:.0f} | {row['CE']:.0f} |"
        for row in costs
    ]
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option("--table", help="Markdown.")] = Path("speed.md"),
    json_file: Annotated[Path | None, typer.Option("--json", help="The first table's rows.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out how the cost grows; under 5 minutes.")] = False,
) -> None:
    """Measure, and write the tables."""
    repeats = 5 if quick else 9
    rows = compare(repeats)
    costs = [] if quick else scaling(repeats=3)
    page = PAGE.format(
        cores=torch.get_num_threads(),
        torch=torch.__version__,
        rows=WINDOWS * LENGTH,
        repeats=repeats,
        table=table(rows, costs),
    )
    with whole(out) as file:
        file.write_text(page, encoding="utf-8")
    if json_file:
        with whole(json_file) as file:
            file.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
