"""The catalogue as tables and text: all data sets, one of them, and the paper's data sets next to your own logs."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import CATALOGUE, PAPER, SHORTEST, DataSet, find
from cprlab.catalogue.local import Sizes, file_of, how_to_get, measure, read_about
from cprlab.data.log import InteractionLog
from cprlab.data.repeats import count_repeats
from cprlab.data.sequences import Sequences
from cprlab.errors import PlaceError


def list_catalogue() -> pd.DataFrame:
    """Return one row of text per data set, indexed by `name`: `repeats (paper), licence, fetch, here`."""
    rows = [
        (
            data_set.name,
            {True: "yes", False: "no", None: ""}[data_set.duplicates],
            data_set.terms.name,
            "yes" if data_set.files else "by hand" if data_set.layout else "",
            _here(data_set),
        )
        for data_set in CATALOGUE
    ]
    return pd.DataFrame(rows, columns=["name", "repeats (paper)", "licence", "fetch", "here"]).set_index("name")


def describe(name: str) -> str:
    """Describe a data set in lines of text: filter, publisher, licence, how to get it, and size.

    Raises:
        CprlabError: there is no such data set, or its imported file cannot be read.
    """
    data_set = find(name)
    items = f"items with at least {data_set.min_interactions} and " if data_set.min_interactions > 1 else ""
    repeats = {True: "yes, according to the paper", False: "no, according to the paper", None: "not in the paper"}
    lines = [
        ("name", data_set.name),
        ("repeats", repeats[data_set.duplicates]),
        ("filter", f"{items}users with at least {SHORTEST} interactions"),
        ("publisher", f"{data_set.publisher}: {data_set.page}"),
        ("licence", f"{data_set.terms.name}. {data_set.terms.means}"),
    ]
    if data_set.layout is not None:
        tables = [table for table in (data_set.layout.log, data_set.layout.titles) if table is not None]
        lines += [("file", f"{table.file}: {table.looks}") for table in tables]
        columns = f"{data_set.user}, {data_set.item}, {data_set.time}"
        lines.append(("or", f"RecBole's {data_set.name}.inter, with columns {columns}"))
        lines.append(("to get it", how_to_get(data_set)))
    return _aligned(lines) + "\n" + describe_sizes(name)


def describe_sizes(name: str) -> str:
    """Describe a data set's size in lines of text, as published and as measured here, with notes.

    Raises:
        CprlabError: there is no such data set, or its imported file cannot be read.
    """
    data_set = find(name)
    published, lines = data_set.published, []
    if published.interactions:
        text = f"{published.users:,} users, {published.items:,} items, {published.interactions:,} interactions"
        lines.append(("published", f"{text} ({published.by})"))
    if data_set.name in BUILTIN:
        log = BUILTIN[data_set.name]("auto")
        lines.append(("measured", f"{_of_log(log)}: built in"))
        lines += [("note", note) for note in log.notes]
    elif (about := read_about(file_of(data_set))) is not None:
        lines.append(("measured", f"{measure(file_of(data_set))}: {file_of(data_set)}"))
        lines += [("source", f"{file}, SHA-256 {digest}") for file, digest in about.sources]
        lines += [("note", note) for note in about.notes]
    if data_set.remark:
        lines.append(("remark", data_set.remark))
    return _aligned(lines)


def _aligned(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{what:<10} {text}" for what, text in lines)


def _here(data_set: DataSet) -> str:
    """Return what is available locally: "built in", the imported size, or nothing."""
    if data_set.name in BUILTIN:
        return "built in"
    try:
        if read_about(file_of(data_set)) is None:
            return ""
    except PlaceError:
        return "cannot be read"
    return f"{pq.read_metadata(file_of(data_set)).num_rows:,} interactions"


def beside_paper(logs: dict[str, Sequences]) -> pd.DataFrame:
    """Return the paper's data sets and your own logs in one table, as text.

    Args:
        logs: logs by name; a name of the paper, ignoring case, goes to that row.

    Returns:
        Rows indexed by `name`: the paper's `duplicates, min_interactions, user, item, time` (empty for other logs), and
        the measured `repeats` (their share) and `rarest` (fewest interactions of a consumed item; empty for data sets
        without a log).
    """
    done = ["name", "duplicates", "min_interactions", "user", "item", "time"]
    paper = pd.DataFrame(PAPER)[done].set_index("name").replace({"duplicates": {True: "yes", False: "no"}})
    known = {name.casefold(): name for name in paper.index}
    measured = {known.get(name.casefold(), name): _measured(sequences) for name, sequences in logs.items()}
    measured = pd.DataFrame.from_dict(measured, orient="index")
    order = [*paper.index, *measured.index.difference(paper.index, sort=False)]
    return paper.astype(str).join(measured, how="outer").reindex(order).fillna("").rename_axis("name")


def _of_log(log: InteractionLog) -> Sizes:
    distinct = len(np.unique(log.users.astype(np.int64) * len(log.item_ids) + log.items))
    return Sizes(len(log.user_ids), len(log.item_ids), len(log), len(log) - distinct)


def _measured(sequences: Sequences) -> dict[str, str]:
    counts = count_repeats(sequences)
    of_item = np.unique(sequences.items, return_counts=True)[1]
    return {"repeats": f"{counts.repeats / counts.interactions:.1%}", "rarest": f"{of_item.min():,}"}
