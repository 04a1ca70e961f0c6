"""Imported data sets: where they are, their metadata, and the paper's filter."""

import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cprlab.catalogue.data_sets import SHORTEST, DataSet, find
from cprlab.errors import ConfigError, DataError
from cprlab.files import refuse_unreadable

FOLDER = Path("data")  # in the current folder
KEY = b"cprlab"  # Parquet metadata key of `About`
MEASURE = """
    SELECT count(DISTINCT user_id), count(DISTINCT item_id), count(*), sum(n)::BIGINT
    FROM (SELECT user_id, item_id, count(*) AS n FROM read_parquet(?) GROUP BY ALL)
"""


class About(NamedTuple):
    """Metadata of an imported file.

    Attributes:
        name: name of the data set.
        sources: names and SHA-256 of the files that it was made from.
        notes: what a reader of results should know.
    """

    name: str
    sources: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def metadata(self) -> dict[bytes, bytes]:
        """Return Parquet metadata that `read_about` reads."""
        return {KEY: json.dumps(self._asdict()).encode()}


class Sizes(NamedTuple):
    """Size of a log before any filter; `repeats` are interactions with an item that the user consumed before."""

    users: int
    items: int
    interactions: int
    repeats: int

    def __str__(self) -> str:
        share = self.repeats / self.interactions
        sizes = f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"
        return f"{sizes}, {share:.1%} of them repeats"


def file_of(data_set: DataSet) -> Path:
    """Return the path of an imported data set."""
    return FOLDER / f"{data_set.name}.parquet"


def located(data: str | Path) -> str:
    """Return the path of a log: the imported file for the name of a data set, otherwise `data` itself.

    Raises:
        DataError: it names a data set that is not imported, and there is no such file or folder.
    """
    try:
        data_set = find(str(data))
    except ConfigError:
        return str(data)
    if read_about(file_of(data_set)) is not None:
        return str(file_of(data_set))
    if data_set.layout is None or os.path.exists(data):
        return str(data)
    raise DataError(f"{data_set.name} is in the catalogue, but not in {FOLDER}/ here: {how_to_get(data_set)}")


def how_to_get(data_set: DataSet) -> str:
    """Return how to get a data set: the command, and where to find the file."""
    if data_set.files:
        return f"cprlab data fetch {data_set.name}"
    return (
        f"{data_set.terms.by_hand}. Download it from {data_set.page}, then use cprlab data import {data_set.name} PATH "
        "(RecBole's .inter file from https://recbole.io/dataset_list.html also works)."
    )


def read_about(path: Path) -> About | None:
    """Return the metadata of an imported file; None for all other files."""
    if path.suffix.lower() != ".parquet":
        return None
    try:
        about = About(**json.loads((pq.read_metadata(path).metadata or {})[KEY]))
        find(about.name)
    except (KeyError, TypeError, ValueError, OSError, ConfigError) as error:
        refuse_unreadable(path, error)
        return None
    return about._replace(sources=tuple((name, sha) for name, sha in about.sources), notes=tuple(about.notes))


def filtered(frame: pd.DataFrame, about: About) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Remove the rare items of an imported log as the paper does; return the rest, and a note.

    RecBole's filter is repeated until every item has `min_interactions` and every user `SHORTEST`. Data sets that keep
    all items are not filtered here: `Sequences.from_log` removes short users.

    Raises:
        DataError: nothing is left.
    """
    fewest = find(about.name).min_interactions
    if fewest == 1:
        return frame, ()
    users, items = (pd.factorize(frame[column])[0] for column in ("user_id", "item_id"))
    kept = np.arange(len(frame))
    while True:
        enough = np.bincount(users[kept])[users[kept]] >= SHORTEST
        enough &= np.bincount(items[kept])[items[kept]] >= fewest
        if enough.all():
            break
        kept = kept[enough]
    return frame.iloc[kept], (note_filter(about, len(frame), len(kept)),)


def note_filter(about: About, before: int, after: int) -> str:
    """Return the note on the rows that the paper's filter removes.

    Raises:
        DataError: nothing is left.
    """
    rule = f"items with at least {find(about.name).min_interactions} interactions, users with at least {SHORTEST}"
    if not after:
        raise DataError(f"{about.name}: the paper's filter ({rule}) leaves none of {before:,} interactions.")
    return f"The paper's filter for {about.name} ({rule}) removes {before - after:,} of {before:,} interactions."


def measure(path: Path) -> Sizes:
    """Count the users, items, interactions and repeats of an imported file, with at most 2 GB of memory.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            duckdb.connect(config={"memory_limit": "2GB", "temp_directory": folder}) as db,
        ):
            db.execute("SET enable_progress_bar = false")
            ((users, items, distinct, interactions),) = db.execute(MEASURE, [str(path)]).fetchall()
    except duckdb.Error as error:
        refuse_unreadable(path, error)
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); import it again.") from error
    return Sizes(users, items, interactions, interactions - distinct)
