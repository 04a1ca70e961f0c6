"""Readable tables: statistics as text, and the calibration of the copy probability."""

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
        digits: number of decimals.
        keys: columns that identify a row; missing columns are ignored.

    Returns:
        One column per group of cases, indexed by the keys.
    """
    text = _text(table, digits)
    keys = [key for key in keys if key in table]
    wide = table.assign(text=text).pivot(index=keys, columns="cases", values="text")
    seen = table.drop_duplicates(keys)
    first = {metric: place for place, metric in enumerate(seen["metric"].unique())}
    order = seen.sort_values("metric", key=lambda column: column.map(first), kind="stable").set_index(keys).index
    return wide.reindex(order)[[name for name in GROUPS if name in wide]].fillna("").rename_axis(columns=None)


def side_by_side(tables: dict[str, pd.DataFrame], key: str, digits: int = 3) -> pd.DataFrame:
    """Return tables with rows `key, value, low, high` as text, with one row per `key` and one column per table."""
    texts = [pd.Series(_text(table, digits), index=table[key], name=name) for name, table in tables.items()]
    return pd.concat(texts, axis=1).fillna("")


def _text(table: pd.DataFrame, digits: int) -> list[str]:
    """Return `value [low, high]` for each row; only the value without an interval, and "" without a value."""
    rounded = table[["value", "low", "high"]].astype(float).round(digits) + 0.0  # turns −0 into 0
    return [
        ("" if np.isnan(row.value) else f"{row.value:.{digits}f}")
        + ("" if np.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]")
        for row in rounded.itertuples()
    ]


def calibration(cases: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Return predicted copy probability and observed share of repeats, in bins with the same number of users.

    Returns:
        Rows `predicted, observed, low, high, n`: mean copy probability, share of targets in the history and its 95%
        interval (Wilson's, or a bootstrap over users if users have several targets), and number of users. No rows for a
        head that only ranks.
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
