"""Measure CPU time and memory of the exact loss, evaluation and a single prediction, compared with alternatives.

    PYTHONPATH=. python benchmarks/speed.py --table docs/speed.md --figure figures/loss_cost.png --json speed.json

The two sides of a comparison run in turns in one process; a ratio is the median over repeats, with the lowest and the
highest. With one thread, CPU time includes no waiting; only training is measured in wall time, on one thread and on
two. Memory is the peak of a separate process, above the inputs.
"""

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from plotly.subplots import make_subplots
from torch.nn import functional as F

from benchmarks.memory import forget_peak, peak
from benchmarks.tables import stamp
from cprlab.data import Batch, Sequences
from cprlab.evaluation import evaluate
from cprlab.files import whole
from cprlab.loading import load_log
from cprlab.models import Context, GRU4RecConfig, Outputs, Recommender, SoftmaxConfig, parse_head
from cprlab.models.heads import PartitionedSoftmax
from cprlab.models.recommender import HISTORIES_AT_ONCE, inference
from cprlab.plots import COLOURS
from cprlab.training import RunConfig, TrainingConfig, train_all
from cprlab.training.kernel import chunked
from cprlab.training.loss import CrossEntropy

WINDOWS, LENGTH, D = 64, 50, 64  # 3,200 rows
CPR, CE, DENSE, TORCH = "CPR:100", "row-fused CE", "dense CE", "linear_cross_entropy"
PRODUCTS = "its three products alone"
LARGE, TINY = f"{CPR}, logits up to 1e4", f"{CPR}, denormal embeddings"
HEADS = {CPR: "Softmax + CPR:{k}", CE: "Softmax", LARGE: "Softmax + CPR:{k}", TINY: "Softmax + CPR:{k}"}
PAIRS = [(CPR, CE), (CPR, DENSE), (CE, TORCH), (LARGE, CPR), (TINY, CPR)]
PAIRS += [(PRODUCTS, against) for against in (CPR, CE, DENSE, TORCH)]
SPREAD = {LARGE: 300.0, TINY: 1e-40}  # standard deviation of the embeddings; 0.1 otherwise
TRAINED = ("Softmax", "Softmax + CPR:100 + Mi")
BATCHES = 10  # batches of WINDOWS windows per repeat


def loss_of(work: str, n_items: int, k: int = 100, length: int = LENGTH, windows: int = WINDOWS) -> Callable[[], None]:
    """Return a function that computes a loss and all its gradients from inputs made beforehand."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(n_items + 1, D, generator=generator).mul_(SPREAD.get(work, 0.1)).requires_grad_()
    items = torch.randint(n_items, (windows, length), generator=generator)
    targets = torch.randint(n_items, (windows, length), generator=generator)
    if work in HEADS:
        config, loss = parse_head(HEADS[work].format(k=k)), CrossEntropy()
        assert isinstance(config, SoftmaxConfig)
        head = PartitionedSoftmax(config, D, layers=1)
        facets = {name: torch.randn(windows, length, D, generator=generator).requires_grad_() for name in head.maps}
        at = torch.arange(length).expand(windows, -1)
        leaves = [weight, *facets.values()]

        def total() -> torch.Tensor:
            context = Context(items, at, n_items)
            return chunked(loss, head, facets, Outputs(weight, None), context, targets, loss.draw(targets))
    else:
        rows = torch.randn(windows * length, D, generator=generator).requires_grad_()
        leaves = [weight, rows]
        if work == PRODUCTS:
            return lambda: _products(rows.detach(), weight.detach())

        def total() -> torch.Tensor:
            if work == TORCH:
                options = torch.nn.LinearCrossEntropyOptions()
                return F.linear_cross_entropy(rows, weight, targets.flatten(), reduction="sum", options=options)
            return F.cross_entropy(rows @ weight.T, targets.flatten(), reduction="sum")

    def once() -> None:
        total().backward()
        for leaf in leaves:
            leaf.grad = None

    return once


def _products(rows: torch.Tensor, weight: torch.Tensor) -> None:
    """Compute the three products that any exact loss needs: logits, and the gradients of embeddings and rows."""
    grad, z = torch.zeros_like(weight), rows.new_empty(200, len(weight))
    for few in rows.split(len(z)):
        logits = torch.mm(few, weight.T, out=z[: len(few)])
        grad.addmm_(logits.T, few)
        logits @ weight


def cpu_seconds(once: Callable[[], object]) -> float:
    """Return the CPU time of one call, in seconds."""
    began = time.process_time()
    once()
    return time.process_time() - began


def time_ratios(work: str, against: str, n_items: int, repeats: int) -> list[float]:
    """Return the ratio of CPU times for each repeat."""
    sides = [loss_of(work, n_items), loss_of(against, n_items)]
    for side in sides:
        side()
    seconds = [[cpu_seconds(side) for side in sides] for _ in range(repeats)]
    return [mine / other for mine, other in seconds]


def peak_memory(work: str, n_items: int) -> float:
    """Return the peak memory above the inputs in MB, measured in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (work, n_items))


def _grown(work: str, n_items: int) -> float:
    loss_of(work, 500, windows=1)()  # so that memory that libraries allocate once is not counted
    once = loss_of(work, n_items)
    forget_peak()
    before = peak()
    once()
    return peak() - before


def compare(repeats: int) -> list[dict]:
    """Return a row for each pair of losses and each catalogue size."""
    rows = []
    for n_items in (13_000, 100_000):
        memory = {work: peak_memory(work, n_items) for work in (CPR, CE, DENSE, TORCH, LARGE, TINY, PRODUCTS)}
        for work, against in PAIRS:
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


GROWS = {  # quantity, and its values
    "n_items": (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    "length": (10, 50, 100, 200),
    "k": (20, 100, 200, 500),
    "windows": (8, 16, 64, 128),
}
CALLED = {"n_items": "items V", "length": "history L", "k": "k of R", "windows": "windows in a batch"}


def scaling(repeats: int) -> list[dict]:
    """Return the cost per row of CPR and CE in CPU microseconds, when one quantity grows and the others are fixed."""
    rows = []
    for grows, value in ((grows, value) for grows, values in GROWS.items() for value in values):
        setting = {"n_items": 13_000, "length": LENGTH, "k": 100, "windows": WINDOWS} | {grows: value}
        if grows == "length":
            setting["windows"] = WINDOWS * LENGTH // value
        if setting["n_items"] > 100_000:
            setting["windows"] = 16  # the cost per row is the same
        sides = [loss_of(work, **setting) for work in (CPR, CE)]
        for side in sides:
            side()
        seconds = [statistics.median(cpu_seconds(side) for _ in range(repeats)) for side in sides]
        micro = [1e6 * value / (setting["windows"] * setting["length"]) for value in seconds]
        rows.append(setting | {"grows": grows, "CPR": micro[0], "CE": micro[1]})
        print(rows[-1], flush=True)
    return rows


def exponent(costs: list[dict], side: str) -> float:
    """Return b of the power law a · V^b, fitted to the costs for catalogues of 10,000 items and more."""
    of_items = [row for row in costs if row["grows"] == "n_items" and row["n_items"] >= 10_000]
    return float(
        np.polyfit(np.log([row["n_items"] for row in of_items]), np.log([row[side] for row in of_items]), 1)[0]
    )


def using(n_items: int, n_users: int, repeats: int) -> list[dict]:
    """Return, for each head, the CPU milliseconds of evaluation without the encoder, and of one history."""
    rng = np.random.default_rng(0)
    sequences = Sequences(
        items=rng.integers(0, n_items, n_users * 60).astype(np.int32),
        offsets=np.arange(n_users + 1) * 60,
        user_ids=np.arange(n_users),
        item_ids=np.arange(n_items),
        titles=np.arange(n_items).astype(str),
        max_len=LENGTH,
        name="random",
        fingerprint="random",
        notes=(),
    )
    windows, rows = sequences.windows("test"), []
    for head in ("Softmax", "Softmax + CPR:100 + Mi", "Softmax + CPR:20,100,500 + Mi", "MoS:3 dynamic", "RepeatNet"):
        recommender = Recommender(GRU4RecConfig(), parse_head(head), n_items)
        batches = [
            sequences.batch(windows, np.arange(start, min(start + HISTORIES_AT_ONCE, n_users)))
            for start in range(0, n_users, HISTORIES_AT_ONCE)
        ]

        works: dict[str, Callable[[], object]] = {
            "evaluation": partial(evaluate, recommender, sequences),
            "encoder": partial(_encode, recommender, batches),
            "history": partial(recommender.log_probs, [sequences.items[:LENGTH]]),
        }
        seconds = {}
        for name, once in works.items():
            once()
            seconds[name] = statistics.median(
                cpu_seconds(once) for _ in range(repeats * (5 if name == "history" else 1))
            )
        rows.append(
            {
                "head": head,
                "evaluation": 1e3 * (seconds["evaluation"] - seconds["encoder"]),
                "history": 1e3 * seconds["history"],
            }
        )
        print(rows[-1], flush=True)
    return rows


def _encode(recommender: Recommender, batches: list[Batch]) -> None:
    """Run only the encoder, on the batches of an evaluation."""
    with inference(recommender):
        for batch in batches:
            recommender(batch.items, batch.at)


def draw(costs: list[dict], file: Path) -> None:
    """Plot the rows of `scaling`, one panel for each quantity that grows."""
    figure = make_subplots(1, len(GROWS), subplot_titles=list(CALLED.values()), shared_yaxes=True)
    for column, grows in enumerate(GROWS, start=1):
        of_panel = [row for row in costs if row["grows"] == grows]
        for colour, (side, name) in zip(COLOURS, (("CPR", CPR), ("CE", CE)), strict=False):
            figure.add_scatter(
                x=[row[grows] for row in of_panel], y=[row[side] for row in of_panel], name=name, legendgroup=side,
                showlegend=column == 1, mode="lines+markers", line_color=colour, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title="CPU µs a row", col=1)
    figure.update_layout(template="plotly_white", title="What a row of the exact loss and its gradients costs")
    with whole(file) as new:
        new.write_bytes(figure.to_image("png", width=1200, height=420, scale=1.5))


def training(sequences: Sequences, threads: int, repeats: int) -> dict:
    """Return the targets per second of complete training steps with both heads, and the ratio of their times.

    A step does what `fit` does with a batch: encode, score, differentiate, update the weights. All windows have LENGTH
    items and LENGTH / 2 targets, as nearly all training windows have.
    """
    torch.set_num_threads(threads)
    windows = sequences.windows("train")
    full = np.flatnonzero((windows.lengths == LENGTH) & (windows.n_targets == LENGTH // 2))
    chosen = np.random.default_rng(0).permutation(full)[: BATCHES * WINDOWS].reshape(BATCHES, WINDOWS)
    batches = [sequences.batch(windows, rows) for rows in chosen]
    sides = [_steps(head, sequences.n_items, batches) for head in TRAINED]
    for side in sides * 3:  # the first steps also allocate memory
        side()
    seconds = np.array([[_clock(side) for side in sides] for _ in range(repeats)])
    torch.set_num_threads(1)
    ratios = seconds[:, 1] / seconds[:, 0]
    rates = BATCHES * WINDOWS * (LENGTH // 2) / np.median(seconds, axis=0)
    row = {"threads": threads, "ratio": np.median(ratios), "low": ratios.min(), "high": ratios.max()}
    row |= dict(zip(TRAINED, rates, strict=True))
    print(row, flush=True)
    return row


def abreast(sequences: Sequences, repeats: int) -> dict:
    """Return the seconds that `train_all` needs to train both heads for one epoch, on one core and on two."""
    seconds, cores = [], sorted(os.sched_getaffinity(0))
    configs = {head: RunConfig(head=head, training=TrainingConfig(epochs=1)) for head in TRAINED}
    for _ in range(repeats):
        for used in (1, 2):
            os.sched_setaffinity(0, cores[:used])
            torch.set_num_threads(used)
            with TemporaryDirectory() as runs:
                seconds.append(_clock(partial(train_all, sequences, configs, runs, "cpu")))
            print(used, seconds[-1], flush=True)
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)
    one, two = seconds[::2], seconds[1::2]
    ratios = [single / double for single, double in zip(one, two, strict=True)]
    row = {"one": statistics.median(one), "two": statistics.median(two)}
    return row | {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def _steps(head: str, n_items: int, batches: list[Batch]) -> Callable[[], None]:
    """Return a function that trains one model on all batches once."""
    torch.manual_seed(0)
    recommender, loss = Recommender(GRU4RecConfig(d=D), parse_head(head), n_items, max_len=LENGTH), CrossEntropy()
    optimizer = torch.optim.Adam(recommender.parameters(), lr=TrainingConfig().learning_rate)

    def steps() -> None:
        for items, at, targets in ((batch.items, batch.at, batch.targets) for batch in batches):
            facets, context = recommender(items, at), Context(items, at, n_items)
            drawn = loss.draw(targets)
            value = chunked(loss, recommender.head, facets, recommender.outputs, context, targets, drawn)
            optimizer.zero_grad()
            (value / targets.numel()).backward()
            optimizer.step()

    return steps


def _clock(once: Callable[[], object]) -> float:
    began = time.perf_counter()
    once()
    return time.perf_counter() - began


PAGE = """# The cost of the exact loss, evaluation and a prediction

{made}

## A loss and all its gradients

For {rows:,} rows (64 windows of 50 items), d = 64, single precision. Time is CPU time; both sides run in turns in one
process. Ratios are the median of {repeats} repeats, with the lowest and the highest. Memory is the peak above the
inputs, in a separate process; it includes the gradient of the item embeddings.

- *row-fused CE*: the kernel (`cprlab/training/kernel.py`) with the head `Softmax`.
- *CPR:100*: the same kernel with the head `Softmax + CPR:100`, whose facets are computed beforehand.
- *dense CE*: `torch.nn.functional.cross_entropy` of all logits at once.
- *linear_cross_entropy*: torch's own chunked loss, with its default options.
- *logits up to 1e4*, *denormal embeddings*: the same work on difficult numbers; it should not be slower.
- *its three products alone*: only the logits and the two gradients computed from them, as matrix products of 200 rows
  with all embeddings. No exact loss can cost less, so these rows are a bound for the ratios above them.

{losses}
{growth}
## A training step

Targets per second of wall time, for GRU4Rec with d = 64 on complete-journey-types ({n_types:,} items): {batches}
batches of {windows} windows that read {length} items and have {targets} targets each. The two heads run in turns in one
process; medians of {repeats_training} repeats. The last column is how much longer a step takes with the second head:
the median ratio, with the lowest and the highest.

{steps}
The training time of a report: `train_all` of both heads, one epoch each, with validation and test, on one core and on
two, in turns. Medians of {repeats_abreast} repeats of wall time, and the median ratio, with the lowest and the highest.

{abreast}
## Evaluation, and a single prediction

CPU milliseconds with {n_items:,} items. *Evaluation* ranks all items for {n_users:,} users (`evaluate`), without the
encoder. *One history* computes all log-probabilities for one history of 50 items (`log_probs`), with the encoder, as an
edited history needs.

{uses}"""

GROWTH = """
The cost of a row in CPU µs, for CPR:100 and row-fused CE, when one quantity grows and the others stay at V = 13,000,
L = 50, k = 100 and 64 windows. For catalogues of 10,000 items and more the cost grows as V^{CPR:.2f} and V^{CE:.2f}:

![What a row of the loss costs]({figure})

{table}
"""


def table(header: str, rows: list[str]) -> str:
    """Return a Markdown table."""
    return (
        "\n".join([f"| {header} |", "|" + " --- |" * (header.count("|") + 1), *(f"| {row} |" for row in rows)]) + "\n"
    )


def main(
    out: Annotated[Path, typer.Option("--table", help="Markdown.")] = Path("speed.md"),
    figure: Annotated[Path, typer.Option("--figure", help="Plot of how the cost grows, PNG.")] = Path("loss_cost.png"),
    json_file: Annotated[Path | None, typer.Option("--json", help="The first table's rows.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip how the cost grows; under 5 minutes.")] = False,
) -> None:
    """Measure the costs and write the tables."""
    torch.set_num_threads(1)
    repeats, n_items, n_users = 5, 13_300, 2_469
    rows = compare(repeats)
    uses = using(n_items, n_users, 5)
    sequences = Sequences.from_log(load_log("complete-journey-types"))
    repeats_training = 15
    steps = [training(sequences, threads, repeats_training) for threads in (1, 2)]
    repeats_abreast = 3
    both = abreast(sequences, repeats_abreast)
    growth = ""
    if not quick:
        costs = scaling(repeats=3)
        draw(costs, figure)
        growth = GROWTH.format(
            figure=os.path.relpath(figure, out.parent),
            table=table(
                "what grows | to | CPR:100 | row-fused CE",
                [
                    f"{CALLED[row['grows']]} | {row[row['grows']]:,} | {row['CPR']:.0f} | {row['CE']:.0f}"
                    for row in costs
                ],
            ),
            **{side: exponent(costs, side) for side in ("CPR", "CE")},
        )
    command = "PYTHONPATH=. python benchmarks/speed.py --table docs/speed.md --figure figures/loss_cost.png"
    page = PAGE.format(
        made=stamp(command, "one thread", f"torch {torch.__version__}"),
        rows=WINDOWS * LENGTH,
        repeats=repeats,
        losses=table(
            "loss and gradients | against | CPU time | memory | peak above inputs",
            [
                f"{row['work']} | {row['against']} | {row['time_ratio']:.2f} × [{row['low']:.2f}, {row['high']:.2f}] "
                f"| {row['memory_ratio']:.3f} × | {row['memory_mb']:.0f} MB"
                for row in rows
            ],
        ),
        growth=growth,
        n_types=sequences.n_items,
        batches=BATCHES,
        windows=WINDOWS,
        length=LENGTH,
        targets=LENGTH // 2,
        repeats_training=repeats_training,
        steps=table(
            f"threads | {TRAINED[0]} | {TRAINED[1]} | time",
            [
                f"{row['threads']} | {row[TRAINED[0]]:,.0f} | {row[TRAINED[1]]:,.0f} "
                f"| {row['ratio']:.2f} × [{row['low']:.2f}, {row['high']:.2f}]"
                for row in steps
            ],
        ),
        repeats_abreast=repeats_abreast,
        abreast=table(
            "one core | two cores | gain",
            ["{one:.0f} s | {two:.0f} s | {ratio:.2f} × [{low:.2f}, {high:.2f}]".format(**both)],
        ),
        n_items=n_items,
        n_users=n_users,
        uses=table(
            "head | evaluation | one history",
            [f"{row['head']} | {row['evaluation']:.0f} ms | {row['history']:.1f} ms" for row in uses],
        ),
    )
    with whole(out) as file:
        file.write_text(page, encoding="utf-8")
    if json_file:
        with whole(json_file) as file:
            file.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
