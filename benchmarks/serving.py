"""Measure `topk` when an index lists the items to score: recall and CPU time per query, with 1,000,000 items.

    pip install --editable '.[serve]'
    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/serving.py --table docs/serving.md

One history at a time, on one thread. The encoder is a user's vector, so that the time is that of the head. Every query
goes to all sides in turns, in each of several rounds.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.speed import table
from benchmarks.tables import stamp
from cprlab.files import whole
from cprlab.models import MFConfig, Recommender, parse_head
from cprlab.models.heads import PartitionedSoftmax
from cprlab.models.recommender import Retrieve

D, LENGTH, K, ROUNDS = 64, 50, 10, 3
CENTRES = 2_000  # of the items in clusters
HEADS = ("Softmax + C + F", "Softmax + CPR:100 + F")
CELLS, PROBES = 2_048, (16, 128)  # of IVF: how many cells there are, and how many are searched
LINKS, BREADTHS = 16, (200, 800)  # of HNSW: M and efSearch
HEADING = "## Recall and time\n"


def draw(kind: str, n_items: int, n_users: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return item vectors (n, d), users' states (u, d) and histories of 20 items, half of them of the 1,000 best.

    Args:
        kind: "clusters": items and states are near a common centre; "no structure": all are independent.
        n_items: n.
        n_users: u.
    """
    rng = np.random.default_rng(0)
    near = 1.0 if kind == "clusters" else 0.0
    centres = rng.normal(size=(CENTRES, D))
    of_item, of_user = rng.integers(CENTRES, size=n_items), rng.integers(CENTRES, size=n_users)
    vectors = near * centres[of_item] + rng.normal(size=(n_items, D)) * (0.7 if near else 1.0)
    vectors *= rng.lognormal(0, 0.2, size=(n_items, 1))
    states = near * centres[of_user] + rng.normal(size=(n_users, D)) * (0.7 if near else 1.0)
    vectors, states = vectors.astype(np.float32), states.astype(np.float32)
    states /= (states[:10] @ vectors[:10_000].T).std()  # logits of a common size
    histories = []
    for state in states:
        liked = rng.choice(in_numpy(vectors, state[None], 1_000)[0], 10, replace=False)
        histories.append(rng.choice(np.concatenate([liked, rng.integers(n_items, size=10)]), LENGTH))
    return vectors, states, histories


def build(head: str, vectors: np.ndarray, states: np.ndarray) -> Recommender:
    """Return a model with these vectors and states, whose facets V, C and R are near the state; the history gains."""
    torch.manual_seed(0)
    recommender = Recommender(MFConfig(d=D), parse_head(head), len(vectors), n_users=len(states)).eval()
    recommender.freeze_items(vectors)
    assert isinstance(recommender.head, PartitionedSoftmax)
    with torch.no_grad():
        recommender.get_parameter("encoder.users.weight").copy_(torch.from_numpy(states))
        for name in {"V", "C", "R100"} & set(recommender.head.maps):
            near = torch.eye(D) + (name != "V") * 0.3 * torch.randn(D, D) / D**0.5
            recommender.get_parameter(f"head.maps.{name}.weight").copy_(near)
        recommender.head.learned["F"][:3] = 1.0
    return recommender


def indexes(vectors: np.ndarray) -> dict[str, tuple[Retrieve | None, str]]:
    """Return what lists the items, by name, with the seconds that an index takes to build on one thread."""
    import faiss

    faiss.omp_set_num_threads(1)
    metric = faiss.METRIC_INNER_PRODUCT
    flat = faiss.IndexFlatIP(D)
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(D), D, CELLS, metric)
    graph = faiss.IndexHNSWFlat(D, LINKS, metric)
    cells.cp.max_points_per_centroid = 64
    sides: dict[str, tuple[Retrieve | None, str]] = {
        "all items (topk without retrieve)": (None, ""),
        "NumPy: product and argpartition": (partial(in_numpy, vectors), ""),
    }
    for name, index, settings in (
        ("flat", flat, [{}]),
        ("IVF", cells, [{"nprobe": value} for value in PROBES]),
        ("HNSW", graph, [{"efSearch": value} for value in BREADTHS]),
    ):
        began = time.process_time()
        index.train(vectors)
        index.add(vectors)
        built = f"{time.process_time() - began:.0f}"
        print(name, built, "s", flush=True)
        for setting in settings:
            given = ", ".join(f"{key} = {value}" for key, value in setting.items())
            sides[f"FAISS {name}{given and ', '}{given}"] = partial(in_faiss, index, name, setting), built
    return sides


def in_numpy(vectors: np.ndarray, queries: np.ndarray, m: int) -> np.ndarray:
    """Return the exact list, the simplest `retrieve`."""
    return np.argpartition(-(queries @ vectors.T), m - 1, axis=1)[:, :m]


def in_faiss(index: Any, name: str, setting: dict[str, int], queries: np.ndarray, m: int) -> np.ndarray:
    """Return the list of an index of FAISS, searched with this setting."""
    import faiss

    kinds = {"IVF": faiss.SearchParametersIVF, "HNSW": faiss.SearchParametersHNSW}
    params = kinds[name](**setting) if setting else None
    return index.search(queries, m, params=params)[1]


def measure(kind: str, n_items: int, n_queries: int) -> list[str]:
    """Return a row of the table for each head and side."""
    vectors, states, histories = draw(kind, n_items, n_queries)
    sides, rows = indexes(vectors), []
    for head in HEADS:
        recommender = build(head, vectors, states)
        seconds = np.empty((len(sides), ROUNDS, n_queries))
        found = np.empty((len(sides), n_queries, K), np.int64)
        for turn in range(ROUNDS):
            for query, history in enumerate(histories):
                for side, (retrieve, _) in enumerate(sides.values()):
                    once = partial(recommender.topk, [history], K, [query], retrieve=retrieve)
                    seconds[side, turn, query], (items, _) = clock(once)
                    found[side, query] = items[0]
        of_query = np.median(seconds, axis=1)
        for side, (name, (_, built)) in enumerate(sides.items()):
            shared = [len(np.intersect1d(mine, best)) / K for mine, best in zip(found[side], found[0], strict=True)]
            median, slow = 1e3 * np.quantile(of_query[side], (0.5, 0.95))
            times = f"{median:.1f} | {slow:.1f} | {np.median(of_query[0] / of_query[side]):.1f} ×"
            rows.append(f"{kind} | {head} | {name} | {np.mean(shared):.3f} | {times} | {built}")
            print(rows[-1], flush=True)
        new = np.mean([len(np.setdiff1d(best, history)) for best, history in zip(found[0], histories, strict=True)])
        print(f"{head}: {new:.1f} of the {K} best are new", flush=True)
    return rows


def clock(once: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU time of a call in seconds, and its result."""
    began = time.process_time()
    result = once()
    return time.process_time() - began, result


PAGE = """
{made}
There are {n_items:,} items, d = 64, in single precision, and
{n_queries} queries, one at a time: a history of 50 items, 20 of them distinct. Milliseconds are CPU time on one thread,
for all of `topk` without an encoder: the median and the 95th percentile over queries. A query's time is the median of
{rounds} rounds, in which all sides take turns. *Recall@10* is the share of the exact ten items that are found. *Faster*
is the median ratio to `topk` over all items. *Built* is how long the index takes to build, once, in CPU seconds.
IVF has {cells:,} cells, HNSW {links} links.

Recall depends on the item vectors, and these are drawn at random. *clusters*: items and states are around
{centres:,} centres. *no structure*: all are independent, the hardest case for an index. In both, lengths vary by a
fifth. For your own vectors, compare `topk` with and without `retrieve` on some hundred histories.

{rows}"""


def main(
    out: Annotated[Path, typer.Option("--table", help="Markdown; the text before the heading stays.")] = Path(
        "serving.md"
    ),
    n_items: Annotated[int, typer.Option("--items", help="Number of items.")] = 1_000_000,
    n_queries: Annotated[int, typer.Option("--queries", help="Number of queries.")] = 50,
) -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    rows = [row for kind in ("clusters", "no structure") for row in measure(kind, n_items, n_queries)]
    made = PAGE.format(
        made=stamp(
            "PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/serving.py --table docs/serving.md",
            *(f"{name} {version(name)}" for name in ("torch", "numpy", "faiss-cpu")),
        ),
        n_items=n_items,
        n_queries=n_queries,
        rounds=ROUNDS,
        centres=CENTRES,
        cells=CELLS,
        links=LINKS,
        rows=table(
            "items | head | the list comes from | recall@10 | median (ms) | 95% (ms) | faster | built (s)", rows
        ),
    )
    before = out.read_text(encoding="utf-8").split(HEADING)[0] if out.exists() else ""
    with whole(out) as file:
        file.write_text(before + HEADING + made, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
