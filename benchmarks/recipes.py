"""Compare training recipes: single changes to a base recipe, on several logs, with several seeds.

    python benchmarks/recipes.py --data ml-100k.inter --encoder SASRec --recipe "" --recipe "postnorm rate=1e-3"

A recipe is a list of settings that differ from the base (`Recipe`), cprlab's default. Each training adds a row to the
JSON lines; trainings that are there already are not repeated, so the command can be stopped and started again, and
several processes may write to one file. With --write PAGE and no --data nothing is trained: the rows become the table
between `<!-- recipes -->` and `<!-- end -->` of a Markdown page.
"""

import itertools
import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
from torch import nn

from benchmarks.tables import fill, stamp
from cprlab.data import Sequences
from cprlab.evaluation import MAIN, evaluate, mean
from cprlab.loading import load_sequences
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.training import TrainingConfig
from cprlab.training.loop import Training

RANKINGS = {"raw": "rank", "post": "rank_post"}


@dataclass(frozen=True)
class Recipe:
    """How an encoder is trained; the defaults are the base.

    Attributes:
        hidden: recurrent units of GRU4Rec.
        inner: width of SASRec's feed-forward networks.
        heads: attention heads of SASRec.
        activation: activation of the feed-forward networks.
        dropout: dropout of inputs and sublayers.
        attention: dropout of attention weights; below 0: the same as `dropout`.
        rate: learning rate of Adam.
        decay: decoupled weight decay (AdamW).
        batch: windows per step.
        averaging: decay per step of the moving average of the weights; 0: no average.
        warmup: steps over which the learning rate rises to its value.
        falling: the learning rate falls with 1/√step after the warm-up.
        init: standard deviation of the item embeddings; 0: Xavier initialisation.
        root: also multiply GRU4Rec's inputs by √d.
        plain: do not multiply SASRec's inputs by √d.
        postnorm: normalise the outputs of SASRec's sublayers, as RecBole does, instead of their inputs.
        norm: a LayerNorm on the states (GRU4Rec).
        fixed: keep the borders of windows the same in all epochs.
        max_len: maximum number of items read.
    """

    hidden: int = 128
    inner: int = 256
    heads: int = 2
    activation: str = "gelu"
    dropout: float = 0.3
    attention: float = -1.0
    rate: float = 4e-3
    decay: float = 0.0
    batch: int = 64
    averaging: float = 0.99
    warmup: int = 0
    falling: bool = False
    init: float = 0.0
    root: bool = False
    plain: bool = False
    postnorm: bool = False
    norm: bool = False
    fixed: bool = False
    max_len: int = 50


def read_recipe(text: str) -> Recipe:
    """Parse "name=value name=value"; a name without a value is set to True."""
    kinds = {name: type(value) for name, value in asdict(Recipe()).items()}
    given: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        given[name] = True if not value else kinds[name](value)
    return Recipe(**given)


class Changed(nn.Module):
    """An encoder whose inputs are multiplied by a number, optionally followed by a LayerNorm."""

    def __init__(self, encoder: nn.Module, d: int, scale: float, norm: bool) -> None:
        super().__init__()
        self.encoder, self.scale = encoder, scale
        self.norm = nn.LayerNorm(d) if norm else nn.Identity()

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d)."""
        return self.norm(self.encoder(embedded * self.scale, valid, users))


def build(recipe: Recipe, encoder: str, head: str, sequences: Sequences) -> Recommender:
    """Return an untrained recommender for a recipe."""
    attention = recipe.dropout if recipe.attention < 0 else recipe.attention
    config: GRU4RecConfig | SASRecConfig = GRU4RecConfig(hidden=recipe.hidden, dropout=recipe.dropout)
    if encoder == "SASRec":
        config = SASRecConfig(
            inner=recipe.inner,
            heads=recipe.heads,
            activation=recipe.activation,
            dropout=recipe.dropout,
            attention_dropout=attention,
            norm_first=not recipe.postnorm,
        )
    recommender = Recommender(config, parse_head(head), sequences.n_items, max_len=sequences.max_len)
    scale = math.sqrt(config.d) ** (recipe.root - recipe.plain)
    recommender.encoder = Changed(recommender.encoder, config.d, scale, recipe.norm)
    if recipe.init:
        nn.init.normal_(recommender.embedding.weight, std=recipe.init)
    return recommender


def train(recipe: Recipe, encoder: str, head: str, sequences: Sequences, seed: int, epochs: int, patience: int) -> dict:
    """Train once; return the learning curve, and test and validation metrics of the best epoch."""
    torch.manual_seed(seed)
    recommender = build(recipe, encoder, head, sequences)
    config = TrainingConfig(batch_size=recipe.batch, learning_rate=recipe.rate, averaging=recipe.averaging, seed=seed)
    training = Training(recommender, sequences, config, "cpu")
    optimizer = training.optimizer
    judged = training.average.module
    assert isinstance(judged, Recommender)
    curve: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}
    step, began = 0, time.perf_counter()
    for epoch in range(epochs):
        loss = 0.0
        for _, value in training.epoch(epoch):
            step += 1
            loss += value
            for group in optimizer.param_groups:
                rate = recipe.rate * min(1.0, step / max(1, recipe.warmup))
                group["lr"] = rate * math.sqrt(recipe.warmup / max(step, recipe.warmup)) if recipe.falling else rate
            if recipe.decay:
                with torch.no_grad():
                    for weight in recommender.parameters():
                        weight.mul_(1 - recipe.rate * recipe.decay)
        cases = evaluate(judged, sequences, "validation")
        curve.append({"loss": loss / int(training.windows.n_targets.sum()), "ndcg": mean(cases, MAIN)})
        curve[-1] |= {"post": mean(cases, MAIN, "rank_post")}
        scores = [one["ndcg"] for one in curve]
        if scores[-1] == max(scores):
            best = {name: weight.clone() for name, weight in judged.state_dict().items()}
            validation = cases
        if len(scores) > patience and max(scores[-patience:]) < max(scores):
            break
    judged.load_state_dict(best)
    found = {"validation": validation, "test": evaluate(judged, sequences, "test")}
    scores_of = {
        f"{split} {name}": round(mean(cases, MAIN, rank), 5)
        for split, cases in found.items()
        for name, rank in RANKINGS.items()
    }
    scores_of |= {f"{split} log-loss": round(mean(cases, "log-loss"), 4) for split, cases in found.items()}
    seconds = round(time.perf_counter() - began)
    best_epoch = int(np.argmax([one["ndcg"] for one in curve])) + 1
    shown = [{name: round(value, 5) for name, value in one.items()} for one in curve]
    return scores_of | {"best_epoch": best_epoch, "epochs": len(curve), "seconds": seconds, "curve": shown}


def main(
    data: Annotated[list[str], typer.Option(help="A built-in log, a file or a prepared folder; repeat for more.")] = [],  # noqa: B006
    recipe: Annotated[list[str], typer.Option(help="What differs from the base; repeat for more.")] = [""],  # noqa: B006
    encoder: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["GRU4Rec", "SASRec"],  # noqa: B006
    head: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["Softmax"],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Repeat for more.")] = [0],  # noqa: B006
    epochs: Annotated[int, typer.Option(help="Maximum epochs.")] = 200,
    patience: Annotated[int, typer.Option(help="Stop after this many epochs without gain.")] = 10,
    out: Annotated[Path, typer.Option(help="JSON lines.")] = Path("results/recipes.jsonl"),
    write: Annotated[Path | None, typer.Option(help="Markdown page whose table is replaced by the rows.")] = None,
) -> None:
    """Train every head on every encoder and log with every recipe and seed."""
    for source, number, text, kind, name in itertools.product(data, seed, recipe, encoder, head):
        asked = {"data": Path(source).stem, "encoder": kind, "head": name, "recipe": text, "seed": number}
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        if asked in (json.loads(line)["asked"] for line in lines):
            continue
        taken = read_recipe(text)
        sequences = load_sequences(source, max_len=taken.max_len)
        with patch.object(Sequences, "largest_shift", 0) if taken.fixed else nullcontext():
            row = {"asked": asked} | train(taken, kind, name, sequences, number, epochs, patience)
        with out.open("a", encoding="utf-8") as file:
            print(json.dumps(row), file=file, flush=True)
    if write is not None:
        fill(write, "recipes", table(out), stamp("PYTHONPATH=. python benchmarks/recipes.py --write docs/accuracy.md"))


def table(rows: Path) -> str:
    """Return a Markdown table of means over seeds: one row per encoder and recipe, one column per log."""
    found = pd.json_normalize([json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()])
    found.columns = found.columns.str.removeprefix("asked.")
    logs = found["data"].unique()
    lines = [f"| encoder | differs in | {' | '.join(logs)} |", f"| --- | --- |{' --- |' * len(logs)}"]
    for (encoder, recipe), of_recipe in found.groupby(["encoder", "recipe"], sort=True):
        cells = []
        for name in logs:
            of_log = of_recipe[of_recipe["data"] == name]
            value = of_log[["validation raw", "test raw", "test post", "best_epoch"]].mean()
            said = "{:.4f}; {:.4f}, {:.4f}; {:.0f}; {}".format(*value, len(of_log))
            cells.append(said if len(of_log) else "")
        lines.append(f"| {encoder} | {recipe or 'nothing'} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
