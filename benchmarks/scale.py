"""Measure the cost of `prepare` by number of rows, the cost of training by number of items, and the share of padding.

    PYTHONPATH=. python benchmarks/scale.py --table docs/scale.md --data ml-1m.parquet --data complete-journey

A synthetic log has on average 20 interactions per user and 100 per item; users' activity and items' popularity fall
with their rank, as rank^−½ and 1/rank. It is prepared in a separate process, and memory is this process's peak,
including Python and its libraries.
"""

import multiprocessing
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import duckdb
import numpy as np
import pandas as pd
import typer

from benchmarks.memory import peak
from benchmarks.tables import stamp
from cprlab.data import InteractionLog, Sequences, Windows
from cprlab.files import whole
from cprlab.loading import load_sequences, prepare
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.training.loop import TrainingConfig, _batches, fit

MILLION = 1_000_000
FILES = [(1, "parquet"), (10, "parquet"), (30, "parquet"), (100, "parquet"), (10, "csv")]  # million rows, file type
LOG = """
    COPY (
        SELECT
            -- odd factors shuffle the ids and keep them distinct
            (n_users * pow(uniform(place, 1), 2))::BIGINT * 2654435761 % 4294967296 AS user_id,
            pow(n_items, uniform(place, 2))::BIGINT * 2246822519 % 4294967296 AS item_id,
            (uniform(place, 3) * 31536000)::BIGINT AS timestamp
        FROM (SELECT range AS place, {rows} / 20 AS n_users, {rows} / 100 AS n_items FROM range({rows}))
    ) TO '{path}'
"""


def write_log(path: Path, rows: int) -> None:
    """Write a synthetic log as parquet or csv; it is the same every time."""
    with duckdb.connect() as db:
        db.execute("CREATE MACRO uniform(place, salt) AS hash(place, salt) / 18446744073709551616.0")
        db.execute(LOG.format(rows=rows, path=path))


def measure(path: Path, folder: Path) -> dict:
    """Return the cost of preparing a log, measured in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (path, folder))


def _measured(path: Path, folder: Path) -> dict:
    wall, cpu = time.perf_counter(), time.process_time()
    sequences = prepare(path, folder)
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": peak() / 1024,
        "users": sequences.n_users,
        "items": sequences.n_items,
        "kept": len(sequences.items),
    }


def scaling() -> list[dict]:
    """Return a row for each synthetic log."""
    rows = []
    for millions, ending in FILES:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / f"log.{ending}"
            write_log(path, millions * MILLION)
            rows.append({"rows": millions * MILLION, "file": ending} | measure(path, Path(work) / "prepared"))
        print(rows[-1], flush=True)
    return rows


def catalogues() -> list[dict]:
    """Return the cost of one training epoch on 64 users with 53 items each, for several catalogue sizes."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(_trained, (100_000, 300_000, MILLION), chunksize=1)


def _trained(n_items: int) -> dict:
    items = np.random.default_rng(0).integers(0, n_items, (64, 53))
    frame = pd.DataFrame({"user": np.repeat(np.arange(64), 53), "item": items.ravel()})
    sequences = replace(
        Sequences.from_log(InteractionLog.from_frame(frame)),
        items=items.ravel().astype(np.int32),
        item_ids=np.arange(n_items),
        titles=np.arange(n_items).astype(str),
    )
    recommender = Recommender(GRU4RecConfig(), parse_head("Softmax + CPR:100 + Mi"), n_items)
    cpu = time.process_time()
    fit(recommender, sequences, TrainingConfig(epochs=1), "cpu")
    row = {"items": n_items, "cpu": time.process_time() - cpu, "peak": peak() / 1024}
    print(row, flush=True)
    return row


def exponent(rows: list[dict], what: str) -> float:
    """Return b of the least-squares fit `what` = a · rows^b (of the logarithms) over the parquet logs."""
    parquet = [row for row in rows if row["file"] == "parquet"]
    return float(np.polyfit(np.log([row["rows"] for row in parquet]), np.log([row[what] for row in parquet]), 1)[0])


def padding(windows: Windows, size: int) -> tuple[float, float]:
    """Return the share of padding among the positions that an epoch's batches read, and among those they score."""
    batches = _batches(windows, size, np.random.default_rng(0))
    shares = []
    for used in (windows.lengths, windows.n_targets):
        held = sum(len(chosen) * used[chosen].max() for chosen in batches)
        shares.append(1 - used.sum() / held)
    return shares[0], shares[1]


PAGE = """# Large logs

{made}
`--data NAME` adds a row to the last table; the others need no data.

## Preparing a log

`cprlab prepare` on synthetic logs with, on average, 20 interactions per user and 100 per item. The activity of users
falls with their rank as rank^−½, the popularity of items as 1/rank. {threads} threads; DuckDB may use 2 GB. Wall time
includes waiting for the disk and for other work on the same cores; CPU time does not. The peak is all memory of the
process, including Python, its libraries and the file pages that it maps.

| rows | file | users kept | items kept | interactions kept | wall (s) | CPU (s) | µs of CPU a row | peak (GiB) |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table}

From the smallest to the largest parquet file, wall time grows as rows^{wall:.2f} and CPU time as rows^{cpu:.2f} (least
squares of the logarithms).

## Training on a large catalogue

An epoch and its validation, all exact: GRU4Rec, d = 64, Softmax + CPR:100 + Mi, 64 users with 50 targets each.
Memory holds the embeddings, their gradient, Adam's two moments, the best epoch's copy, and the logits of one window.

| items | CPU (s) | peak (GiB) |
| --- | --- | --- |
{catalogues}

## Padding

The share of padding in what the encoder reads and in what the head scores, for an epoch of training in batches of
{size} windows.

| data | windows | padding read | padding scored |
| --- | --- | --- | --- |
{shares}
"""


def page(rows: list[dict], data: list[str]) -> str:
    """Return the page in Markdown, with the `rows` of `scaling` and the padding of `data`."""
    table = [
        f"| {row['rows']:,} | {row['file']} | {row['users']:,} | {row['items']:,} | {row['kept']:,} "
        f"| {row['wall']:.0f} | {row['cpu']:.0f} | {1e6 * row['cpu'] / row['rows']:.1f} | {row['peak']:.2f} |"
        for row in rows
    ]
    size, shares = TrainingConfig().batch_size, []
    for source in data:
        windows = load_sequences(source).windows("train")
        read, scored = padding(windows, size)
        shares.append(f"| {Path(source).name} | {len(windows):,} | {read:.1%} | {scored:.1%} |")
    return PAGE.format(
        made=stamp("PYTHONPATH=. python benchmarks/scale.py --table docs/scale.md"),
        threads=duckdb.execute("SELECT current_setting('threads')").fetchall()[0][0],
        table="\n".join(table),
        wall=exponent(rows, "wall"),
        cpu=exponent(rows, "cpu"),
        size=size,
        catalogues="\n".join(f"| {row['items']:,} | {row['cpu']:.0f} | {row['peak']:.2f} |" for row in catalogues()),
        shares="\n".join(shares),
    )


def main(
    out: Annotated[Path, typer.Option("--table", help="Markdown.")] = Path("scale.md"),
    data: Annotated[list[str], typer.Option(help="A log whose padding to measure; repeat for more.")] = [],  # noqa: B006
) -> None:
    """Measure the costs and write the page."""
    text = page(scaling(), data)
    with whole(out) as file:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
