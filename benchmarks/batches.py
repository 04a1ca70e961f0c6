"""Measure how the order of windows, and the divisor of a batch's loss, affect accuracy and time.

    python benchmarks/batches.py --data ml-100k.inter --variant sorted+own --variant 1+constant --out batches.jsonl

A variant is the number of random batches whose windows are sorted together by length, to reduce padding (1: not
sorted), and the divisor of the sum over a batch's targets: the batch's own number of targets, or a constant, the mean
over batches. Each training adds a row to the JSON lines; trainings that are there already are not repeated.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer

from cprlab.data import Sequences, Windows
from cprlab.evaluation import MAIN, METRICS, evaluate
from cprlab.loading import load_sequences
from cprlab.models import EncoderConfig, GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.training import TrainingConfig, fit, loop
from cprlab.training.kernel import chunked
from cprlab.training.loop import Device

ENCODERS: dict[str, EncoderConfig] = {
    "GRU4Rec": GRU4RecConfig(hidden=128, dropout=0.3),
    "SASRec": SASRecConfig(dropout=0.2),
}
EARLIER = 200  # batches sorted together in the versions up to 0.1, which divided by the batch's own targets


def main(
    data: Annotated[list[str], typer.Option(help="A built-in log, a file or a prepared folder; repeat for more.")],
    variant: Annotated[
        list[str], typer.Option(help="BATCHES+DIVISOR, with sorted for 200, and own or constant; repeat for more.")
    ] = ["sorted+own", "sorted+constant", "1+constant", "5+constant", "20+constant"],  # noqa: B006
    encoder: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["GRU4Rec"],  # noqa: B006
    head: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["Softmax"],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Repeat for more.")] = [0],  # noqa: B006
    users: Annotated[int, typer.Option(help="Sample this many users; 0 takes all.")] = 0,
    epochs: Annotated[int, typer.Option(help="Maximum epochs.")] = 100,
    patience: Annotated[int, typer.Option(help="Stop after this many epochs without gain.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Adam's learning rate.")] = 2e-3,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    out: Annotated[Path, typer.Option(help="JSON lines.")] = Path("batches.jsonl"),
) -> None:
    """Train every head on every encoder and data set with every variant and seed."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    there = [json.loads(line)["asked"] for line in lines]
    for source in data:
        sequences = load_sequences(source)
        sequences = sequences.sample(users) if users else sequences
        for number, kind, name, how in ((s, e, h, v) for s in seed for e in encoder for h in head for v in variant):
            training = TrainingConfig(epochs=epochs, patience=patience, learning_rate=learning_rate, seed=number)
            asked = {"data": Path(source).name, "users": users, "encoder": kind, "head": name, "variant": how}
            asked |= training.model_dump(include={"epochs", "patience", "learning_rate", "seed"})
            if asked not in there:
                row = {"asked": asked, "device": device} | one(sequences, kind, name, how, training, device)
                with out.open("a", encoding="utf-8") as file:
                    print(json.dumps(row), file=file, flush=True)


def one(
    sequences: Sequences, encoder: str, head: str, variant: str, training: TrainingConfig, device: Device
) -> dict[str, Any]:
    """Train once; return curves, test metrics, targets per second and the share of padding."""
    block, _, divisor = variant.partition("+")
    together = EARLIER if block == "sorted" else int(block)
    windows = sequences.windows("train")
    torch.manual_seed(training.seed)
    recommender = Recommender(ENCODERS[encoder], parse_head(head), sequences.n_items, n_users=sequences.n_users)
    with patch.object(loop, "BATCHES_SORTED_TOGETHER", together):
        batches = loop._batches(windows, training.batch_size, np.random.default_rng((training.seed, 0)))
        mean = int(windows.n_targets.sum()) / len(batches)
        with patch.object(loop, "chunked", divided_by_own(mean) if divisor == "own" else chunked):
            history = fit(recommender, sequences, training, device)
    cases = evaluate(recommender, sequences, "test")
    scores = {name: float(METRICS[MAIN](cases, rank).mean()) for name, rank in RANKINGS.items()}
    curves = {name: history[name].round(5).tolist() for name in ("loss", "ndcg", "seconds")}
    rate = float(history["targets_per_second"].median())
    return {"test": scores, "targets_per_second": rate, "padding": padding(windows, batches)} | curves


RANKINGS = {"raw": "rank", "post": "rank_post"}


def divided_by_own(mean: float) -> Callable[..., torch.Tensor]:
    """Return a loss that, divided by the mean number of targets, is divided by the batch's own number instead."""

    def own(*arguments: Any) -> torch.Tensor:
        targets = arguments[5]
        loss = chunked(*arguments)
        return loss * (mean / (targets >= 0).sum())

    return own


def padding(windows: Windows, batches: list[np.ndarray]) -> dict[str, float]:
    """Return the share of padding among the positions that an encoder reads, and among those that a head scores."""
    columns = {"read": windows.lengths, "scored": windows.n_targets}
    return {
        name: 1 - float(used.sum() / sum(len(chosen) * used[chosen].max() for chosen in batches))
        for name, used in columns.items()
    }


if __name__ == "__main__":
    typer.run(main)
