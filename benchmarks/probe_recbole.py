"""Compare the ranking of a Snapshot of a RecBole model with RecBole's own evaluation.

    PYTHONPATH=. python benchmarks/probe_recbole.py --data ml-100k.inter [--filters]

RecBole runs in its own environment, which is created if missing. Prints a table in Markdown: NDCG@10 on the test items,
with all items ranked; with --filters, of models that were trained with filters. RecBole does not remove the history's
items, so the comparison uses `rank`, not `rank_post`. A Snapshot is one softmax, so of a CPR model it has only the
vocabulary's state; the last two columns compare the ranking by all partitions.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.against_recbole import CPR, ROOT, THREADS, environment
from cprlab.adapters.recbole import PADDING, Fidelity, Reference, load
from cprlab.errors import DataError
from cprlab.evaluation import MAIN, METRICS
from cprlab.models import Recommender
from cprlab.probes import Snapshot, copy_probability, from_recbole

GRU = {"hidden_size": 64, "num_layers": 1, "embedding_size": 32, "dropout_prob": 0.1}
TRANSFORMER = {"hidden_size": 32, "n_layers": 1, "n_heads": 2, "inner_size": 64}
MODELS: dict[str, dict] = {
    "GRU4Rec": GRU | {"epochs": 5},
    "SASRec": TRANSFORMER | {"epochs": 5},
    "GRU4RecCPR": GRU | CPR | {"n_facet_hidden": 1, "epochs": 2},
    "SASRecCPR": TRANSFORMER | CPR | {"n_facet_hidden": 1, "epochs": 2},
}
RATED = {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
FILTERS: dict[str, dict] = {
    "none": {},
    "user_inter_num_interval: [20,inf)": {"user_inter_num_interval": "[20,inf)"},
    "item_inter_num_interval: [10,60)": {"item_inter_num_interval": "[10,60)"},
    "both, each [15,inf)": {"user_inter_num_interval": "[15,inf)", "item_inter_num_interval": "[15,inf)"},
    "val_interval: {rating: [4,5]}": RATED | {"val_interval": {"rating": "[4,5]"}},
    "normalize_all: True": {"normalize_all": True},
    "rm_dup_inter: first": {"rm_dup_inter": "first"},
}
FEWER = 20_000  # rows of the log, for the models trained with filters
COMMON = {"MAX_ITEM_LIST_LENGTH": 20, "train_batch_size": 512, "learning_rate": 3e-3}


def train(python: Path, folder: Path, settings: dict) -> dict:
    """Train a model in RecBole; return its checkpoint (`file`) and the NDCG@10 that RecBole measures (`ndcg`)."""
    answer = subprocess.run(
        [python, "-W", "ignore", "-m", "benchmarks.sides.recbole_train", json.dumps(settings)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | THREADS | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return json.loads(answer.stdout)


def ndcg(recommender: Recommender, snapshot: Snapshot) -> float:
    """Return the NDCG@10 of all partitions on a Snapshot's cases, without ranking padding."""
    first = PADDING + 1 if isinstance(recommender, Reference) else 0  # item
    scores = recommender.log_probs([history + first for history in snapshot.histories])[:, first:]
    rank = (scores >= np.take_along_axis(scores, snapshot.targets[:, None], axis=1)).sum(1)
    return float(np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean())


def main(
    data: Annotated[Path, typer.Option(help="ml-100k, as a RecBole .inter file.")],
    env: Annotated[Path, typer.Option(help="RecBole's environment.")] = ROOT / ".venv-recbole",
    filters: Annotated[
        bool, typer.Option("--filters", help="Train GRU4Rec with each filter on the first 20,000 rows.")
    ] = False,
) -> None:
    """Train each model in RecBole, and print its NDCG@10 as RecBole and as cprlab compute it."""
    python = environment(env.absolute())
    if filters:
        _filtered(python, data)
        return
    fidelities: tuple[Fidelity, ...] = ("reference", "corrected")
    print("| model | RecBole | Snapshot | all partitions, reference | all partitions, corrected |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        log = Path(shutil.copy(data, folder / "log" / "log.inter"))
        for model, sizes in MODELS.items():
            theirs = train(python, folder, {"model": model} | COMMON | sizes)
            reference, corrected = (load(folder / theirs["file"], fidelity) for fidelity in fidelities)
            snapshot = from_recbole(corrected, log)
            ours = METRICS[MAIN](copy_probability(snapshot), "rank").mean()
            cells = (theirs["ndcg"], ours, ndcg(reference, snapshot), ndcg(corrected, snapshot))
            print(f"| {model} | {' | '.join(f'{cell:.6f}' for cell in cells)} |", flush=True)


def _filtered(python: Path, data: Path) -> None:
    print("| filter | test cases | RecBole | Snapshot |")
    print("| --- | --- | --- | --- |", flush=True)
    rows = data.read_text().splitlines(keepends=True)
    for name, settings in FILTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "log").mkdir()
            log = Path(folder) / "log" / "log.inter"
            log.write_text("".join(rows[: 1 + FEWER]))
            theirs = train(python, Path(folder), {"model": "GRU4Rec"} | COMMON | MODELS["GRU4Rec"] | settings)
            try:
                snapshot = from_recbole(load(Path(folder) / theirs["file"]), log)
            except DataError as refused:
                print(f"| {name} | refused: {str(refused).replace(folder, '')} | {theirs['ndcg']:.6f} | |", flush=True)
                continue
            ours = METRICS[MAIN](copy_probability(snapshot), "rank").mean()
            print(f"| {name} | {len(snapshot)} | {theirs['ndcg']:.6f} | {ours:.6f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
