"""Tables over evaluated cases: metrics with intervals, paired differences, calibration of the copy probability."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.evaluation.metrics import MAIN, METRICS, RANKING, SUMMARY, user_means, users_of

RESAMPLES = 1000


GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "all": lambda cases: cases["repeat"] | True,
    "repeat": lambda cases: cases["repeat"],
    "new": lambda cases: ~cases["repeat"],
}
BY_LENGTH = (MAIN, "copy probability", "observed repeats")


def summarise(cases: dict[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Return the mean of each metric in `SUMMARY` over each user's cases, and then over users, with its 95% interval.

    Args:
        cases: by head, what `evaluate` gave.
        seed: of the bootstrap.

    Returns:
        Rows `head, cases ("all" | "repeat" | "new"), metric, value, low, high, n`. The "copy excess" is the copy
        probability minus the observed repeat (1 or 0), case by case: zero on average if the head is calibrated in
        the large. Beside each head stands the same
        head "(post)": its ranking metrics once the history's items are removed at inference. A group without cases
        has no rows, nor has a metric of probabilities of a head that only orders the items.
    """
    rows = []
    for head, of_head in cases.items():
        for label, rank, metrics in ((head, "rank", SUMMARY), (f"{head} (post)", "rank_post", RANKING)):
            for metric in metrics:
                per_case = METRICS[metric](of_head, rank)
                rows += [{"head": label, "metric": metric} | row for row in _by_group(of_head, per_case, seed)]
    return pd.DataFrame(rows)[["head", "cases", "metric", "value", "low", "high", "n"]]


def readable(table: pd.DataFrame, digits: int = 3, keys: Sequence[str] = ("metric", "head", "ranking")) -> pd.DataFrame:
    """Return rows of `summarise`, `compare`, `sweeps.means` or `sweeps.gains` as text, `value [low, high]`.

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


def compare(cases: dict[str, pd.DataFrame], seed: int = 0, base: str = "") -> pd.DataFrame:
    """Return the paired difference of every other head to one, user by user, with its 95% interval.

    Args:
        cases: by head, what `evaluate` gave for the same users.
        seed: of the bootstrap.
        base: the head that others are compared with; the first if empty.

    Returns:
        Rows `head, against, ranking ("raw" | "post"), cases, metric, value, low, high, n`; `value` is head − against.
    """
    base = base or next(iter(cases))
    of_base, rows = cases[base], []
    for head, of_head in cases.items():
        if head == base:
            continue
        for ranking, rank, metrics in (
            ("raw", "rank", (*RANKING, "log-loss")),
            ("post", "rank_post", RANKING),
        ):
            for metric in metrics:
                difference = METRICS[metric](of_head, rank) - METRICS[metric](of_base, rank)
                labels = {"head": head, "against": base, "ranking": ranking, "metric": metric}
                rows += [labels | row for row in _by_group(of_head, difference, seed)]
    columns = ["head", "against", "ranking", "cases", "metric", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


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
            bounds = interval(group["repeat"].to_numpy())
        rows.append((group["copy_probability"].mean(), group["repeat"].mean(), *bounds, len(group)))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n"])


def by_length(cases: dict[str, pd.DataFrame], bins: int = 8, seed: int = 0) -> pd.DataFrame:
    """Return how each head does on short and on long histories, in bins of about equally many users.

    Returns:
        Rows `head, length` (median number of items before the target), `metric` ("NDCG@10", "copy probability" or
        "observed repeats"), `value, low, high, n`.
    """
    rows = []
    for head, of_head in cases.items():
        for _, group in of_head.groupby(quantile_bins(of_head["length"].to_numpy(), bins)):
            for metric in BY_LENGTH:
                per_case = METRICS[metric](group, "rank")
                if per_case.isna().any():  # of a head that only orders the items
                    continue
                values = user_means(per_case.to_numpy(dtype=float), users_of(group))
                low, high = interval(values, seed)
                rows.append((head, group["length"].median(), metric, values.mean(), low, high, len(values)))
    return pd.DataFrame(rows, columns=["head", "length", "metric", "value", "low", "high", "n"])


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin (m,) of each value, of at most `bins` with about equally many; equal values share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    return np.searchsorted(edges[1:-1], values)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile-bootstrap interval of the mean of `values` (m,), users being resampled."""
    if len(values) < 2 or np.ptp(values) == 0:
        mean = float(np.mean(values))
        return mean, mean
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=50, method="percentile", vectorized=True, rng=seed
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _by_group(cases: pd.DataFrame, per_case: pd.Series, seed: int) -> list[dict]:
    rows = []
    for name, members in GROUPS.items():
        chosen = members(cases)
        values = user_means(per_case[chosen].to_numpy(dtype=float), users_of(cases)[chosen.to_numpy()])
        if len(values) and not np.isnan(values).any():
            low, high = interval(values, seed)
            rows.append({"cases": name, "value": values.mean(), "low": low, "high": high, "n": len(values)})
    return rows
