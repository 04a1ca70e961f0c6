"""Could any embedding of this width do better? Free item embeddings by width, and a trained softmax by the rank of W.

    PYTHONPATH=. python benchmarks/width.py runs/NAME ml-100k.inter --out width

Prints two tables for the run of a plain softmax, and writes them as figures: the floor of the copy dial at the wanted
share by width, and the losses at each rank. One test case of each user, of a sample of the users.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from cprlab import plots
from cprlab.evaluation import readable
from cprlab.loading import load_sequences
from cprlab.pages.figures import pictures
from cprlab.probes import floor_by_width, loss_by_rank, wanted_share
from cprlab.subjects import open_subject

RANKS = (1, 2, 4, 8, 16, 32, 64)


def main(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    data: Annotated[str, typer.Argument(help="The log that it was trained on.")],
    split: Annotated[str, typer.Option(help="How it was split.")] = "leave-one-out",
    users: Annotated[int, typer.Option(help="Number of users.")] = 1000,
    widths: Annotated[str, typer.Option(help="Widths of the free embeddings.")] = "4,8,16,32,64,128",
    out: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("width"),
) -> None:
    """Print the tables, and write the figures."""
    torch.set_num_threads(1)
    subject = open_subject(str(run), load_sequences(data, split=split))  # type: ignore[arg-type]
    assert subject.users is not None
    chosen = np.unique(subject.users, return_index=True)[1]
    if len(chosen) > users:
        chosen = chosen[np.sort(np.random.default_rng(0).choice(len(chosen), users, replace=False))]
    snapshot, cases = subject.snapshot.take(chosen), subject.cases.iloc[chosen]
    floors = floor_by_width(snapshot, [int(d) for d in widths.split(",")], wanted_share(cases), progress=True)
    ranks = loss_by_rank(snapshot, RANKS)
    print(f"{run.name}: {len(chosen):,} cases, {snapshot.n_items:,} items, radius {snapshot.radius:.1f}\n")
    print(floors.round(4).to_string(index=False), "\n")
    print(readable(ranks[ranks["ranking"] == "raw"], keys=("metric", "kept")).to_string())
    out.mkdir(parents=True, exist_ok=True)
    figures = [plots.floor_by_width({subject.name: floors}), plots.loss_by_rank({subject.name: ranks})]
    drawn = pictures([json.loads(figure.to_json()) for figure in figures], f"of {run.name}")
    for figure, picture in zip(figures, drawn, strict=True):
        (out / f"{figure.layout.meta['name']}.png").write_bytes(picture)


if __name__ == "__main__":
    typer.run(main)
