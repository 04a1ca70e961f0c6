"""How accurate is each head on each encoder? Train them all alike and write one table, with intervals.

    python benchmarks/accuracy.py --data ml-100k.inter --data complete-journey --seed 0 --seed 1 --out accuracy.md

Runs that are there are read back, so the command can be stopped, and repeated with more data, heads or seeds. The table
is written anew after every run; JSON lines beside it hold all the figures.
"""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from cprlab.data import load_sequences
from cprlab.evaluation import METRICS, interval
from cprlab.files import whole
from cprlab.models import GRU4RecConfig, MFConfig, SASRecConfig
from cprlab.training import RunConfig, TrainingConfig, train
from cprlab.training.loop import Device
from cprlab.training.loss import LossName

ENCODERS = {
    "GRU4Rec": GRU4RecConfig(hidden=128, dropout=0.3),
    "SASRec": SASRecConfig(dropout=0.2, attention_dropout=0.2),
    "MF": MFConfig(dropout=0.3),
}
HEADS = [
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + CPR:100",
    "Softmax + CPR:100 + Mi",
    "Softmax + CPR:20,100,500 + Mi",
    "MoS:3",
    "MoS:3 dynamic",
    "RepeatNet",
]
SHOWN = ("NDCG@10", "HIT@10", "MRR@10")
RANKINGS = {"raw": "rank", "post": "rank_post"}


def main(
    data: Annotated[list[str], typer.Option(help="A built-in log, a file or a prepared folder; repeat for more.")],
    encoder: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["GRU4Rec", "SASRec"],  # noqa: B006
    head: Annotated[
        list[str], typer.Option(help="Repeat for more; the first is what others are compared with.")
    ] = HEADS,
    seed: Annotated[list[int], typer.Option(help="Repeat for more.")] = [0],  # noqa: B006
    epochs: Annotated[int, typer.Option(help="At most.")] = 100,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without gain.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 2e-3,
    loss: Annotated[LossName, typer.Option(help="CE, BPR, BCE, gBCE or sampled.")] = "CE",
    device: Annotated[Device, typer.Option(help="Where to train: auto, cpu, cuda, mps.")] = "auto",
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="The table.")] = Path("accuracy.md"),
) -> None:
    """Train every head on every encoder and data set."""
    rows: list[dict] = []
    for source in data:
        sequences = load_sequences(source)
        for kind in encoder:
            cases: dict[str, list[pd.DataFrame]] = {}
            seconds: dict[str, float] = {}
            now: list[dict] = []
            for number in seed:
                for name in head:
                    training = TrainingConfig(
                        epochs=epochs, patience=patience, learning_rate=learning_rate, loss=loss, seed=number
                    )
                    config = RunConfig(encoder=ENCODERS[kind], head=name, training=training)
                    run = train(sequences, config, runs, device)
                    cases.setdefault(config.head, []).append(run.cases)
                    seconds[config.head] = seconds.get(config.head, 0) + float(run.history["seconds"].sum())
                    labels = {"data": Path(source).name, "encoder": kind}
                    now = [labels | row | {"seconds": round(seconds[row["head"]])} for row in _rows(cases)]
                    _write(rows + now, out)
            rows += now


def _rows(cases: dict[str, list[pd.DataFrame]]) -> list[dict]:
    """Return a row a head: means over seeds and users, with 95% intervals over users; differences to the first head."""
    averaged = {head: _average(of_seeds) for head, of_seeds in cases.items()}
    base = next(iter(averaged.values()))
    rows = []
    for head, of_head in averaged.items():
        row = {"head": head, "seeds": len(cases[head]), "log-loss": float(of_head["log-loss"].mean())}
        for column in of_head.columns.drop("log-loss"):
            row[column] = _estimate(of_head[column])
            row[f"{column} difference"] = _estimate(of_head[column] - base[column])
        rows.append(row)
    return rows


def _average(of_seeds: list[pd.DataFrame]) -> pd.DataFrame:
    """Return each user's metrics, averaged over seeds."""
    tables = [
        pd.DataFrame(
            {f"{metric} {name}": METRICS[metric](cases, rank) for metric in SHOWN for name, rank in RANKINGS.items()}
        ).assign(**{"log-loss": cases["log_loss"]})
        for cases in of_seeds
    ]
    return sum(tables[1:], tables[0]) / len(tables)


def _estimate(values: pd.Series) -> tuple[float, float, float]:
    return float(values.mean()), *interval(values.to_numpy())


def _write(rows: list[dict], out: Path) -> None:
    def text(value: tuple[float, float, float], sign: str = "") -> str:
        return "{:{s}.4f} [{:{s}.4f}, {:{s}.4f}]".format(*value, s=sign)

    lines = [
        "| data | encoder | head | seeds | NDCG@10 | history removed | gain | gain, history removed | log-loss | min |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [row["data"], row["encoder"], row["head"], row["seeds"]]
        cells += [text(row[f"NDCG@10 {name}"]) for name in RANKINGS]
        cells += [text(row[f"NDCG@10 {name} difference"], "+") for name in RANKINGS]
        lines.append("| " + " | ".join(map(str, [*cells, f"{row['log-loss']:.3f}", round(row["seconds"] / 60)])) + " |")
    for path, content in ((out, lines), (out.with_suffix(".jsonl"), map(json.dumps, rows))):
        with whole(path) as file:
            file.write_text("\n".join(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
