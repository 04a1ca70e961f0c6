"""Does better repetition cost diversity? Accuracy of a study's heads, and diversity of their lists, as tables."""

import pandas as pd

from cprlab.evaluation import gains, means, overall, side_by_side

TAKEN = "taken by users"
UNITS = {
    "repeats": "share of a list",
    "intra-list distance": "1 − cosine",
    "novelty": "bits an item",
    "coverage": "share of all items",
    "Gini of exposure": "0: all items alike",
}


def accuracy(cases: pd.DataFrame, first: str, post: str) -> pd.DataFrame:
    """Return the NDCG@10 of each head and its difference to the first head, in the columns of `evaluation.diversity`.

    Args:
        cases: cases of runs that differ only in data, head and seed.
        first: the head that the others are compared with.
        post: name of the first head with the history removed at inference, which counts as another head here.

    Returns:
        Rows `data, against, lists, metric, value, low, high, n`; `against` is "" or the first head.
    """
    of_first = cases[cases["head"] == first]
    if post != first:
        removed = of_first.assign(head=post, rank=of_first["rank_post"])
        cases = pd.concat([of_first, removed, cases[cases["head"] != first]])
    of_heads, differences = overall(means(cases)), overall(gains(cases, {"head": first}))
    rows = pd.concat([of_heads.assign(against=""), differences.assign(against=first)]).rename(columns={"head": "lists"})
    return rows[["data", "against", "lists", "metric", "value", "low", "high", "n"]]


def measured(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return rows of `accuracy` and `evaluation.diversity` as text, `value [low, high]`.

    Returns:
        A row for each log and kind of lists, and a column for each metric.
    """
    texts = {}
    for data, of_data in table.groupby("data", sort=False):
        texts[data] = side_by_side(dict(iter(of_data.groupby("metric", sort=False))), "lists", digits)
    return pd.concat(texts, names=["data", "lists"])
