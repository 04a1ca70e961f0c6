"""Check in a few minutes on a GPU that the kernel is correct and fast, and train models there.

    PYTHONPATH=. python benchmarks/gpu.py --pack carried --data ml-1m.parquet --python 3.12  # before, with a network
    python -m pip install --no-index --no-deps --target site carried/wheels/*.whl  # and the rest there
    PYTHONPATH=.:site:carried/site python benchmarks/gpu.py --out measured --minutes 12 --jobs jobs.yaml

Each row is written to OUT/rows.jsonl as soon as it is known, and each run to RUNS as soon as it is complete, so an
interruption loses nothing finished. First the heads are compared with float64, then the loss with other exact losses
(`RIVALS`, those that are installed), in turns in one process; then models are trained in parallel until the time is
over, and the next call with the same RUNS continues them. The exit status is 1 if the kernel is wrong. A job has the
fields of `Job`:

    - {log: carried/logs/ml-1m, head: "Softmax + CPR:100 + Mi", max_len: 200, training: {seed: 1}}
"""

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.on_gpu.correct import HEADS, check, check_softmax
from benchmarks.on_gpu.packing import pack
from benchmarks.on_gpu.rivals import DTYPES, Task, anatomy, chunk_sizes, race
from benchmarks.on_gpu.rows import SPARE, Clock, Rows, table
from benchmarks.on_gpu.trainings import Job, read_jobs, train_side_by_side
from benchmarks.tables import fill, stamp
from cprlab.data.splits import SplitBy
from cprlab.errors import ConfigError, CprlabError
from cprlab.training import fused

TARGETS = {13_000: 16_384, 100_000: 8_192, 1_000_000: 2_048}  # by items; eager has at most about 50 GB of logits


def measure(
    rows: Rows,
    device: torch.device,
    clock: Clock,
    jobs: list[Job],
    sizes: dict[int, int] = TARGETS,
    heads: Sequence[str] = HEADS,
    parallel: int = 16,
    runs: Path | None = None,
) -> None:
    """Check the kernel, measure its speed, then train; if there are jobs, speed takes at most a third of the time."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor"
    usable = fused.usable(device)
    rows.add("device", name=name, torch=torch.__version__, triton=usable, right=usable or device.type == "cpu")
    with rows.going_on("correct", head="softmax in place"):
        rows.add("correct", head="softmax in place", **check_softmax(device))
    for head in heads:
        with rows.going_on("correct", head=head):
            rows.add("correct", head=head, **check(head, device))
    races = Clock((clock.left() - SPARE) / (3 if jobs else 1))
    for measured in ((race,), (chunk_sizes, anatomy)):  # the races of all sizes come before the details
        for (n_items, n_targets), precision in product(sizes.items(), DTYPES):
            if not races.left():
                break
            with rows.going_on("speed", items=n_items, targets=n_targets, precision=precision):
                task = Task.draw(n_items, n_targets, precision, device)
                for one in measured:
                    one(rows, task, races)
    if jobs:
        runs = runs or rows.file.parent / "runs"
        train_side_by_side(rows, jobs, runs, Clock(clock.left() - SPARE), device.type, parallel)


def main(
    out: Annotated[Path, typer.Option(help="Folder for rows.jsonl and runs.")] = Path("measured"),
    jobs: Annotated[Path | None, typer.Option(help="List of trainings, YAML or JSON.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of the runs; OUT/runs if not given.")] = None,
    minutes: Annotated[float, typer.Option(help="Time limit in minutes.", min=0.0)] = 12.0,
    parallel: Annotated[int, typer.Option(help="Trainings at once.", min=1)] = 16,
    packed: Annotated[Path | None, typer.Option("--pack", help="Only write the files to carry to this folder.")] = None,
    data: Annotated[list[str], typer.Option(help="A log to pack; repeat for more.")] = [],  # noqa: B006
    split: Annotated[SplitBy, typer.Option(help="Split of the packed logs.")] = "leave-one-out",
    python: Annotated[str, typer.Option(help="Python version of the wheels.")] = "3.12",
    measured: Annotated[Path, typer.Option("--rows", help="Kept rows, for --write.")] = Path("results/gpu.jsonl"),
    write: Annotated[Path | None, typer.Option(help="Only write the kept rows to the table of this page.")] = None,
) -> None:
    """Measure on a GPU, pack the files needed for that, or write the table of what was measured."""
    clock = Clock(60 * minutes)
    try:
        if write is not None:
            fill(write, "gpu", table(measured), stamp("PYTHONPATH=. python benchmarks/gpu.py --write docs/speed.md"))
            return
        if packed is not None:
            pack(packed, data, split, python)
            return
        listed = read_jobs(jobs) if jobs else []
        if not torch.cuda.is_available():
            raise ConfigError("There is no GPU here; run this where torch sees one.")
        rows = Rows(out)
        measure(rows, torch.device("cuda"), clock, listed, parallel=parallel, runs=runs)
    except CprlabError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(int(rows.wrong))


if __name__ == "__main__":
    typer.run(main)
