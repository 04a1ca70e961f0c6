"""Tables to read: statistics as text, and the calibration of the copy probability."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.evaluation.bootstrap import estimate
from cprlab.evaluation.metrics import GROUPS, users_of


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `means` or `gains` that are of all cases, ranked with the history left in."""
    return table[(table["cases"] == "all") & (table["ranking"] == "raw")]


def readable(table: pd.DataFrame, digits: int = 3, keys: Sequence[str] = ("metric", "head", "ranking")) -> pd.DataFrame:
    """Return rows of `means` or `gains` as text, `value [low, high]`.

    Args:
        table: the rows, with a column `cases`.
        digits: behind the point.
        keys: columns that tell the rows from one another; those that the table lacks do not count.

    Returns:
        A column a group of cases, indexed by the keys.
    """
    text = _text(table, digits)
    keys = [key for key in keys if key in table]
    wide = table.assign(text=text).pivot(index=keys, columns="cases", values="text")
    seen = table.drop_duplicates(keys)
    first = {metric: place for place, metric in enumerate(seen["metric"].unique())}
    order = seen.sort_values("metric", key=lambda column: column.map(first), kind="stable").set_index(keys).index
    return wide.reindex(order)[[name for name in GROUPS if name in wide]].fillna("").rename_axis(columns=None)


def side_by_side(tables: dict[str, pd.DataFrame], key: str, digits: int = 3) -> pd.DataFrame:
    """Return tables with rows `key, value, low, high` as text: a row for each `key`, a column for each table."""
    texts = [pd.Series(_text(table, digits), index=table[key], name=name) for name, table in tables.items()]
    return pd.concat(texts, axis=1).fillna("")


def _text(table: pd.DataFrame, digits: int) -> list[str]:
    """Return `value [low, high]` for each row; the value alone where it has no interval, and nothing for no value."""
    rounded = table[["value", "low", "high"]].astype(float).round(digits) + 0.0  # which turns −0 into 0
    return [
        ("" if np.isnan(row.value) else f"{row.value:.{digits}f}")
        + ("" if np.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]")
        for row in rounded.itertuples()
    ]


def calibration(cases: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Return the predicted copy probability beside the observed share of repeats, in bins of equally many users.

    Returns:
        Rows `predicted, observed, low, high, n`: mean copy probability, share of targets that are in the history, and
        its 95% interval: Wilson's, or, where users have several targets, the bootstrap's over users. No rows of a head
        that only orders the items.
    """
    if cases["copy_probability"].isna().any():
        return pd.DataFrame(columns=["predicted", "observed", "low", "high", "n"])
    users = cases[["copy_probability", "repeat"]].groupby(users_of(cases)).mean()
    edges = pd.qcut(users["copy_probability"].rank(method="first"), min(bins, len(users)), labels=False)
    rows = []
    for _, group in users.groupby(edges):
        if len(users) == len(cases):
            bounds = stats.binomtest(int(group["repeat"].sum()), len(group)).proportion_ci(method="wilson")
        else:
            _, *bounds, _ = estimate(group["repeat"].to_numpy(float))
        rows.append((group["copy_probability"].mean(), group["repeat"].mean(), *bounds, len(group)))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n"])
