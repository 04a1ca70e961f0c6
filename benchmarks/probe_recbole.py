"""Compare the ranking of a Snapshot of a RecBole model with RecBole's own evaluation.

    PYTHONPATH=. python benchmarks/probe_recbole.py --data ml-100k.inter

RecBole runs in its own environment, which is created if missing. Prints a table in Markdown: NDCG@10 on the test items,
with all items ranked. RecBole does not remove the history's items, so the comparison uses `rank`, not `rank_post`. A
Snapshot is one softmax, so of a CPR model it has only the vocabulary's state; the last two columns compare the ranking
by all partitions.
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
) -> None:
    """Train each model in RecBole, and print its NDCG@10 as RecBole and as cprlab compute it."""
    python = environment(env.absolute())
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


if __name__ == "__main__":
    typer.run(main)
