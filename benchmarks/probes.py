"""Measure the cost of the probes per case, and compare certificates with a linear program on all items.

    python benchmarks/probes.py --snapshot model.safetensors --cases 200 --against 300

Times are CPU time on one thread: the median of repeats, and their range. `argmaxable` is also given Gaussian items, as
many and as wide, as an untrained GRU4Rec's are, and narrower ones. The linear program is solved by HiGHS with all rows,
for random sets of items around the size at which half of them can be separated.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy.optimize import linprog
from tqdm import tqdm

from cprlab.probes import Snapshot, argmaxable, bottleneck_gap, capacity, copy_dial, copyable, separable

PROBES: dict[str, Callable[[Snapshot], pd.DataFrame]] = {
    "copyable, whole history": lambda snapshot: copyable(snapshot),
    "bottleneck_gap, free and ball": lambda snapshot: bottleneck_gap(snapshot),
    "copy_dial, three shares": lambda snapshot: copy_dial(snapshot),
}


def main(
    snapshot: Annotated[Path, typer.Option(help="A Snapshot, .safetensors or .npz.")],
    cases: Annotated[int, typer.Option(help="Number of cases to time.")] = 200,
    repeats: Annotated[int, typer.Option(help="Number of repeats.")] = 5,
    against: Annotated[int, typer.Option(help="Number of certificates to compare with the linear program.")] = 300,
) -> None:
    """Print three tables in Markdown."""
    torch.set_num_threads(1)
    model = Snapshot.load(snapshot)
    n, d = model.item_embeddings.shape
    chosen = model.sample(cases)
    print(f"{n:,} items, d = {d}, {len(chosen)} cases\n")
    print("| probe | ms a case: median [lowest, highest] | worst certificate (nats) |\n| --- | --- | --- |")
    for name, probe in PROBES.items():
        times = []
        for _ in range(repeats):
            began = time.process_time()
            table = probe(chosen)
            times.append((time.process_time() - began) / len(chosen) * 1e3)
        worst = f"{table['certificate'].max():.1e}" if "certificate" in table else ""
        print(f"| {name} | {np.median(times):.1f} [{min(times):.1f}, {max(times):.1f}] | {worst} |", flush=True)
    print("\n| items | d | never first | undecided | screened | seconds |\n| --- | --- | --- | --- | --- | --- |")
    _catalogue("of the model", model)
    for width in sorted({8, 16, 32, d}):
        weight = np.random.default_rng(0).normal(size=(n, width))
        _catalogue("Gaussian", Snapshot(weight, np.zeros((1, width)), [[0]], [0]))
    if against:
        _compare(model, against)


def _catalogue(name: str, model: Snapshot) -> None:
    began = time.process_time()
    table, _ = argmaxable(model)
    seconds = time.process_time() - began
    no, undecided = ((table["argmaxable"] == answer).sum() for answer in ("no", "undecided"))
    screened = (table["how"] == "screen").sum()
    n, d = model.item_embeddings.shape
    print(f"| {n:,} {name} | {d} | {no:,} | {undecided:,} | {screened:,} | {seconds:.1f} |", flush=True)


def _compare(model: Snapshot, against: int) -> None:
    rng = np.random.default_rng(0)
    middle = round(capacity(*model.item_embeddings.shape))
    sizes = rng.integers(max(1, middle - 2), middle + 3, against)
    sets = [rng.choice(model.n_items, size, replace=False) for size in sizes]
    cases = model.take(rng.integers(len(model), size=against))
    ours = separable(cases, sets, progress=True)
    outcomes = [found.outcome for found in ours]
    disagree, seconds = 0, []
    for items, outcome in zip(tqdm(sets, desc="HiGHS", unit="case"), outcomes, strict=True):
        began = time.process_time()
        disagree += (_largest_margin(model, items) > 1e-9) != (outcome == "yes")
        seconds.append(time.process_time() - began)
    print(
        f"\n{against} random sets of {sizes.min()} to {sizes.max()} items: {outcomes.count('yes')} yes, "
        f"{outcomes.count('no')} no, {outcomes.count('undecided')} undecided; HiGHS disagrees on {disagree}. "
        f"{1e3 * np.median([found.seconds for found in ours]):.1f} ms a case, HiGHS {1e3 * np.median(seconds):.0f} ms."
    )


def _largest_margin(model: Snapshot, items: np.ndarray) -> float:
    """Return the largest t such that some |h| ≤ 1 and c give w · h ≥ c + t on the items and ≤ c − t on all others."""
    n, d = model.item_embeddings.shape
    sign = np.ones((n, 1))
    sign[items] = -1
    weight = model.item_embeddings.astype(float)
    weight = (weight - weight.mean(0)) / np.sqrt((weight**2).sum(1).mean())
    rows = np.hstack([sign * weight, -sign, np.ones((n, 1))])
    bounds = [(-1, 1)] * d + [(None, None), (None, 1)]
    return -linprog(np.append(np.zeros(d + 1), -1.0), rows, np.zeros(n), bounds=bounds).fun


if __name__ == "__main__":
    typer.run(main)
