"""Which recipe trains an encoder best? One change after another to a base recipe, on several logs, with several seeds.

    python benchmarks/recipes.py --data ml-100k.inter --encoder SASRec --recipe "" --recipe "prenorm init=0.02 root"

A recipe is a list of settings that differ from the base (`Recipe`). A row a training is added to the JSON lines; what
is there already is not trained again, so the command can be stopped and repeated, and several may write to one file.
"""

import itertools
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

from cprlab.data import Sequences, Windows, load_sequences
from cprlab.evaluation import evaluate, mean
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.models.encoders import SASRec
from cprlab.training import TrainingConfig
from cprlab.training.loop import Training

RANKINGS = {"raw": "rank", "post": "rank_post"}


@dataclass(frozen=True)
class Recipe:
    """How an encoder is trained; the defaults are the base.

    Attributes:
        hidden: recurrent units of GRU4Rec.
        inner: width of SASRec's feed-forward networks.
        heads: of its attention.
        activation: of the feed-forward networks.
        dropout: of inputs and sublayers.
        attention: dropout of attention weights; below 0 as `dropout`.
        rate: of Adam.
        beta: β₂ of Adam.
        decay: decoupled weight decay (AdamW).
        batch: windows a step.
        averaging: decay of the moving average of the weights, a step; 0 is none.
        warmup: steps over which the rate rises to its value.
        falling: the rate falls with 1/√step after the warm-up.
        init: standard deviation of the item embeddings; 0 is Xavier's.
        root: embeddings are multiplied by √d at the input.
        prenorm: layers normalise what they read; a last LayerNorm what each gives (SASRec).
        norm: a LayerNorm on the states (GRU4Rec).
        moving: the borders of windows move from epoch to epoch.
        max_len: items read.
    """

    hidden: int = 128
    inner: int = 256
    heads: int = 2
    activation: str = "gelu"
    dropout: float = 0.3
    attention: float = -1.0
    rate: float = 2e-3
    beta: float = 0.999
    decay: float = 0.0
    batch: int = 64
    averaging: float = 0.99
    warmup: int = 0
    falling: bool = False
    init: float = 0.0
    root: bool = False
    prenorm: bool = False
    norm: bool = False
    moving: bool = False
    max_len: int = 50


def read_recipe(text: str) -> Recipe:
    """Read "name=value name=value"; a name alone is switched on."""
    kinds = {name: type(value) for name, value in asdict(Recipe()).items()}
    given: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        given[name] = True if not value else kinds[name](value)
    return Recipe(**given)


class PreNorm(SASRec):
    """SASRec whose layers normalise what they read; one more LayerNorm normalises what each layer gives."""

    def __init__(self, config: SASRecConfig, max_len: int) -> None:
        super().__init__(config, max_len)
        self.add_module("norm", nn.Identity())
        self.last = nn.LayerNorm(config.d, eps=config.norm_eps)
        for layer in self.layers:
            layer.norm_first = True  # type: ignore[assignment]

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d)."""
        return self.last(super().forward(embedded, valid, users))


class Changed(nn.Module):
    """An encoder with √d before it and a LayerNorm behind it, or either."""

    def __init__(self, encoder: nn.Module, d: int, root: bool, norm: bool) -> None:
        super().__init__()
        self.encoder, self.scale = encoder, math.sqrt(d) if root else 1.0
        self.norm = nn.LayerNorm(d) if norm else nn.Identity()

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d)."""
        return self.norm(self.encoder(embedded * self.scale, valid, users))


def build(recipe: Recipe, encoder: str, head: str, sequences: Sequences) -> Recommender:
    """Return an untrained recommender as the recipe wants it."""
    attention = recipe.dropout if recipe.attention < 0 else recipe.attention
    config: GRU4RecConfig | SASRecConfig = GRU4RecConfig(hidden=recipe.hidden, dropout=recipe.dropout)
    if encoder == "SASRec":
        config = SASRecConfig(
            inner=recipe.inner,
            heads=recipe.heads,
            activation=recipe.activation,
            dropout=recipe.dropout,
            attention_dropout=attention,
        )
    recommender = Recommender(config, parse_head(head), sequences.n_items, max_len=sequences.max_len)
    if recipe.prenorm:
        assert isinstance(config, SASRecConfig)
        recommender.encoder = PreNorm(config, sequences.max_len)
    if recipe.root or recipe.norm:
        recommender.encoder = Changed(recommender.encoder, config.d, recipe.root, recipe.norm)
    if recipe.init:
        nn.init.normal_(recommender.embedding.weight, std=recipe.init)
    return recommender


def moved(sequences: Sequences, rng: np.random.Generator) -> Windows:
    """Return training windows of `max_len` whose borders lie elsewhere each time; every position is a target once."""
    begin, stop = sequences.offsets[:-1], sequences.held_out[0]
    length, stride = sequences.max_len, max(1, sequences.max_len // 2)
    rows = []
    for user, (first, last) in enumerate(zip(begin, stop - 1, strict=True)):  # targets are first + 1 … last
        done, upto = first, min(last, first + int(rng.integers(stride, length + 1)))
        while done < last:
            rows.append((user, max(first, upto - length), upto, done + 1, upto - done))
            done, upto = upto, min(last, upto + stride)
    return Windows(*np.array(rows, dtype=np.int64).T)


def train(recipe: Recipe, encoder: str, head: str, sequences: Sequences, seed: int, epochs: int, patience: int) -> dict:
    """Return what came of a training: the curve, and test and validation metrics of its best epoch."""
    torch.manual_seed(seed)
    recommender = build(recipe, encoder, head, sequences)
    config = TrainingConfig(batch_size=recipe.batch, learning_rate=recipe.rate, averaging=recipe.averaging, seed=seed)
    training = Training(recommender, sequences, config, "cpu")
    optimizer = training.optimizer
    for group in optimizer.param_groups:
        group["betas"] = (0.9, recipe.beta)
    judged = training.average.module
    assert isinstance(judged, Recommender)
    curve: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}
    step, began = 0, time.perf_counter()
    for epoch in range(epochs):
        rng = np.random.default_rng((seed, epoch, 1))
        if recipe.moving:
            training.windows = moved(sequences, rng)
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
        curve.append({"loss": loss / int(training.windows.n_targets.sum()), "ndcg": mean(cases, "NDCG@10")})
        curve[-1] |= {"post": mean(cases, "NDCG@10", "rank_post")}
        scores = [one["ndcg"] for one in curve]
        if scores[-1] == max(scores):
            best = {name: weight.clone() for name, weight in judged.state_dict().items()}
            validation = cases
        if len(scores) > patience and max(scores[-patience:]) < max(scores):
            break
    judged.load_state_dict(best)
    found = {"validation": validation, "test": evaluate(judged, sequences, "test")}
    scores_of = {
        f"{split} {name}": round(mean(cases, "NDCG@10", rank), 5)
        for split, cases in found.items()
        for name, rank in RANKINGS.items()
    }
    scores_of |= {f"{split} log-loss": round(mean(cases, "log-loss"), 4) for split, cases in found.items()}
    seconds = round(time.perf_counter() - began)
    best_epoch = int(np.argmax([one["ndcg"] for one in curve])) + 1
    shown = [{name: round(value, 5) for name, value in one.items()} for one in curve]
    return scores_of | {"best_epoch": best_epoch, "epochs": len(curve), "seconds": seconds, "curve": shown}


def main(
    data: Annotated[list[str], typer.Option(help="A built-in log, a file or a prepared folder; repeat for more.")],
    recipe: Annotated[list[str], typer.Option(help="What differs from the base; repeat for more.")] = [""],  # noqa: B006
    encoder: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["GRU4Rec", "SASRec"],  # noqa: B006
    head: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["Softmax"],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Repeat for more.")] = [0],  # noqa: B006
    epochs: Annotated[int, typer.Option(help="At most.")] = 200,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without gain.")] = 10,
    out: Annotated[Path, typer.Option(help="JSON lines.")] = Path("recipes.jsonl"),
) -> None:
    """Train every head on every encoder and log with every recipe and seed."""
    for source, number, text, kind, name in itertools.product(data, seed, recipe, encoder, head):
        asked = {"data": Path(source).stem, "encoder": kind, "head": name, "recipe": text, "seed": number}
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        if asked in (json.loads(line)["asked"] for line in lines):
            continue
        taken = read_recipe(text)
        sequences = load_sequences(source, max_len=taken.max_len)
        row = {"asked": asked} | train(taken, kind, name, sequences, number, epochs, patience)
        with out.open("a", encoding="utf-8") as file:
            print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    typer.run(main)
