"""Compare training speed, in targets per second, with RecBole.

    python benchmarks/against_recbole.py --data ml-100k.inter --table docs/recbole.md --json recbole.json

RecBole runs in its own environment, which is created if missing. The sides of a comparison are processes that train in
turns; a ratio is the median over rounds, with the lowest and the highest. Linux only.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.tables import stamp
from cprlab.files import whole

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
PINS = ["recbole==1.2.1", "numpy==1.26.4", "pandas==2.2.3", "scipy==1.14.1"]
# Waiting threads sleep; otherwise waiting counts as CPU time, and a busy machine slows both sides a lot.
THREADS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
COMMON = {"max_len": 50, "learning_rate": 1e-3}

GRU = {"hidden_size": 128, "num_layers": 1, "embedding_size": 64}
TRANSFORMER = {"hidden_size": 64, "n_layers": 2, "n_heads": 2, "inner_size": 256}
CPR = {
    "n_facet": 1, "n_facet_context": 1, "n_facet_reranker": 1, "n_facet_emb": 2, "n_facet_all": 5,
    "reranker_CAN_NUM": 100, "n_facet_hidden": 2, "n_facet_window": -2, "n_facet_MLP": -1,
}  # fmt: skip
PAIRS = [  # RecBole's model and its sizes; cprlab's encoder, its sizes and the head
    (
        ("GRU4Rec", GRU | {"dropout_prob": 0.3}),
        ("GRU4Rec", {"d": 64, "hidden": 128, "dropout": 0.3}, "Softmax"),
    ),
    (
        ("SASRec", TRANSFORMER | {"hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.5}),
        (
            "SASRec",
            {"d": 64, "layers": 2, "heads": 2, "inner": 256, "dropout": 0.5, "attention_dropout": 0.5},
            "Softmax",
        ),
    ),
    (
        ("GRU4RecCPR", GRU | CPR | {"dropout_prob": 0.0}),
        ("GRU4Rec", {"d": 64, "hidden": 128, "dropout": 0.0}, "Softmax + CPR:100 + Mi"),
    ),
    (
        ("SASRecCPR", TRANSFORMER | CPR | {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.1}),
        (
            "SASRec",
            {"d": 64, "layers": 2, "heads": 2, "inner": 256, "dropout": 0.0, "attention_dropout": 0.1},
            "Softmax + CPR:100 + Mi",
        ),
    ),
]
OUR_BATCH, AS_SHIPPED, BATCHES = 64, 2048, (256, 512, 2048)  # windows; samples; samples that "at its best" tries


class Side:
    """A process that trains on request."""

    def __init__(self, python: Path, name: str, settings: dict, folder: Path) -> None:
        process = subprocess.Popen(
            [python, "-W", "ignore", "-m", f"benchmarks.sides.{name}", json.dumps(COMMON | settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | THREADS | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.questions, self.answers = process, process.stdin, process.stdout

    def train(self, targets: int) -> dict:
        """Train; return seconds per target as `cpu` and `wall`, and the peak `memory` so far, in MB."""
        self.questions.write(f"{targets}\n")
        self.questions.flush()
        answer = self.answers.readline()
        if not answer:
            raise SystemExit("One of the sides stopped; its error is printed above.")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self.questions.close()
        self.process.wait()


def environment(folder: Path) -> Path:
    """Return the Python of RecBole's environment, which is created if missing."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for packages in ([TORCH], [TORCH, *PINS]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return python


def best_batch(python: Path, settings: dict, folder: Path) -> int:
    """Return the batch size with which RecBole uses the least CPU time per target."""
    costs = {}
    for size in BATCHES:
        with closing(Side(python, "theirs", settings | {"batch_size": size}, folder)) as side:
            side.train(1)  # one batch
            costs[size] = side.train(2 * max(BATCHES))["cpu"]
    print(settings["model"], costs, flush=True)
    return min(costs, key=lambda size: costs[size])


def compare(python: Path, data: Path, repeats: int) -> list[dict]:
    """Return two rows for each pair: RecBole at its best, and as shipped."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        shutil.copy(data, folder / "log" / "log.inter")
        for (model, sizes), (encoder, our_sizes, head) in PAIRS:
            theirs: dict = {"model": model, "sizes": sizes}
            best = theirs | {"best": True}
            best["batch_size"] = best_batch(python, best, folder)
            ours = {
                "data": str(folder / "log" / "log.inter"),
                "encoder": encoder,
                "sizes": our_sizes,
                "head": head,
                "batch_size": OUR_BATCH,
            }
            shipped = theirs | {"best": False, "batch_size": AS_SHIPPED}
            with ExitStack() as stack:
                sides = [
                    stack.enter_context(closing(Side(of, name, settings, folder)))
                    for of, name, settings in (
                        (Path(sys.executable), "ours", ours),
                        (python, "theirs", best),
                        (python, "theirs", shipped),
                    )
                ]
                turn = (97_171, 4_096, 2_048)  # our windows differ, so a whole epoch; samples cost the same
                for side, targets in zip(sides, turn, strict=True):
                    side.train(targets)
                rounds = [
                    [side.train(targets) for side, targets in zip(sides, turn, strict=True)] for _ in range(repeats)
                ]
            for column, how in ((1, "at its best"), (2, "as shipped")):
                size = (best, shipped)[column - 1]["batch_size"]
                work, against = f"RecBole {model} {how} (batches of {size})", f"cprlab {encoder}, {head}"
                rows.append(row(work, against, [(turns[column], turns[0]) for turns in rounds]))
                print(rows[-1], flush=True)
    return rows


def row(work: str, against: str, rounds: list[tuple[dict, dict]]) -> dict:
    """Return the ratios of time and memory of `work` to those of `against`, from the costs of both in each round."""
    cpu, wall = ([mine[clock] / other[clock] for mine, other in rounds] for clock in ("cpu", "wall"))
    last = rounds[-1]
    rates = {
        f"{side}_per_{clock}_second": 1 / statistics.median(turns[place][clock] for turns in rounds)
        for place, side in enumerate(("work", "against"))
        for clock in ("cpu", "wall")
    }
    return {
        "work": work,
        "against": against,
        "time_ratio": statistics.median(cpu),
        "memory_ratio": last[0]["memory"] / last[1]["memory"],
        "low": min(cpu),
        "high": max(cpu),
        "wall_ratio": statistics.median(wall),
        "wall_low": min(wall),
        "wall_high": max(wall),
        "work_mb": last[0]["memory"],
        "against_mb": last[1]["memory"],
        **rates,
    }


PAGE = """# Training speed against RecBole

{made}
Two threads a side; RecBole's side has {theirs}.
The tables show the cost of training on one target: data, forward, backward and Adam's step, in single precision on
ml-100k (943 users, 1,682 items, 97,171 training targets). The three sides of a comparison are processes that take
turns. A ratio is RecBole's cost per target divided by cprlab's in the same round: the median of {repeats} rounds after
a warm-up, with the lowest and the highest. CPU time is the time of all threads of the process; use it when the machine
is busy with other work. Waiting threads sleep (`OMP_WAIT_POLICY=PASSIVE`, both sides). Memory is the peak above the
imports, including the data. [probes.md](probes.md#a-recbole-checkpoint) says how a model that RecBole trained is read.

- *RecBole* trains through its own loader and `Trainer`. It makes a sample of every prefix, so a target is a sample, and
  the encoder reads the history again for each. *As shipped*: batches of 2,048, and autograd's anomaly mode, which one
  of its imports turns on. *At its best*: anomaly mode off, denormal numbers flushed to zero
  (`torch.set_flush_denormal`), and the batch size of {batches} that costs least.
- *cprlab* trains on windows, {ours} in a batch, with its own training loop; one turn is a whole epoch.

## Ratios

| RecBole | cprlab | CPU time | wall time | memory |
| --- | --- | --- | --- | --- |
{ratios}

## Targets per second

| | by CPU time | by wall time | peak memory |
| --- | --- | --- | --- |
{rates}

## Settings, the same on both sides

Histories of at most 50 items, leave-one-out, d = 64, tied embeddings, full cross-entropy, Adam with learning rate
0.001; everything else is RecBole's default. GRU: one layer of 128. Transformer: two layers, two heads, inner width
256. CPR: k = 100, pointer with mean, and Mi over three positions and the top two layers (where there are two).

| RecBole's model | its settings | cprlab's settings |
| --- | --- | --- |
{settings}
"""


def page(rows: list[dict], repeats: int) -> str:
    """Return the report in Markdown."""

    def times(row: dict, names: tuple[str, str, str]) -> str:
        return "{:.1f} × [{:.1f}, {:.1f}]".format(*(row[name] for name in names))

    ratios, rates = [], {}
    for row in rows:
        cpu, wall = times(row, ("time_ratio", "low", "high")), times(row, ("wall_ratio", "wall_low", "wall_high"))
        ratios.append(f"| {row['work']} | {row['against']} | {cpu} | {wall} | {row['memory_ratio']:.2f} × |")
        for side in ("against", "work"):
            cells = [f"{row[f'{side}_per_{clock}_second']:,.0f}" for clock in ("cpu", "wall")]
            rates[row[side]] = f"| {row[side]} | {' | '.join(cells)} | {row[f'{side}_mb']:,.0f} MB |"

    def listed(sizes: dict) -> str:
        return ", ".join(f"{name} = {value}" for name, value in sizes.items())

    command = "PYTHONPATH=. python benchmarks/against_recbole.py --data ml-100k.inter --table docs/recbole.md"
    return PAGE.format(
        made=stamp(command, f"torch {torch.__version__}"),
        theirs=", ".join(pin.replace("==", " ") for pin in [TORCH, *PINS]),
        repeats=repeats,
        batches=", ".join(map(str, BATCHES)),
        ours=OUR_BATCH,
        ratios="\n".join(ratios),
        rates="\n".join(rates.values()),
        settings="\n".join(
            f"| {model} | {listed(sizes)} | {encoder}: {listed(our_sizes)}; {head} |"
            for (model, sizes), (encoder, our_sizes, head) in PAIRS
        ),
    )


def main(
    data: Annotated[Path, typer.Option(help="ml-100k, as a RecBole .inter file.")],
    out: Annotated[Path, typer.Option("--table", help="Markdown.")] = Path("recbole.md"),
    json_file: Annotated[Path | None, typer.Option("--json", help="The rows.")] = None,
    env: Annotated[Path, typer.Option(help="RecBole's environment.")] = ROOT / ".venv-recbole",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5,
) -> None:
    """Measure both sides and write the tables."""
    rows = compare(environment(env.absolute()), data, repeats)
    with whole(out) as file:
        file.write_text(page(rows, repeats), encoding="utf-8")
    if json_file:
        with whole(json_file) as file:
            file.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
