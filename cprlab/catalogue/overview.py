"""The catalogue as tables and text: all data sets, one of them, and what the paper does beside logs at hand."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import CATALOGUE, PAPER, SHORTEST, DataSet, find
from cprlab.catalogue.local import Sizes, file_of, how_to_get, measure, read_about
from cprlab.data.log import InteractionLog
from cprlab.data.repeats import count_repeats
from cprlab.data.sequences import Sequences


def list_catalogue() -> pd.DataFrame:
    """Return a row of text a data set, by `name`: does it repeat, as the paper says; `licence, fetch, here`."""
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
    """Say in lines of text what a data set is, on what terms and where it is to be had, and how large it is.

    Raises:
        CprlabError: the catalogue has none of that name, or its imported file cannot be read.
    """
    data_set = find(name)
    items = f"items with at least {data_set.min_interactions} and " if data_set.min_interactions > 1 else ""
    repeats = {True: "yes, the paper says", False: "no, the paper says", None: "not one of the paper's"}
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
        lines.append(("or", f"RecBole's {data_set.name}.inter, of which {columns} are read"))
        lines.append(("to get it", how_to_get(data_set)))
    return _aligned(lines) + "\n" + describe_sizes(name)


def describe_sizes(name: str) -> str:
    """Say in lines of text how large a data set is, as published and as measured here, and what was noted of it.

    Raises:
        CprlabError: the catalogue has none of that name, or its imported file cannot be read.
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
    """Say what of the data set is in this folder."""
    if data_set.name in BUILTIN:
        return "built in"
    if read_about(file_of(data_set)) is None:
        return ""
    return f"{pq.read_metadata(file_of(data_set)).num_rows:,} interactions"


def beside_paper(logs: dict[str, Sequences]) -> pd.DataFrame:
    """Return the paper's data sets and logs at hand in one table, as text.

    Args:
        logs: by name; one of the paper's names, in any case, is put in that row.

    Returns:
        Rows indexed by `name`: what the paper does, `duplicates, min_interactions, user, item, time` (empty for other
        logs), then what is measured, `repeats` (their share) and `rarest` (the fewest interactions of an item that has
        any); empty for data sets that are not at hand.
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
