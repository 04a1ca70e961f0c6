"""METRICS: the table of all metrics of a test case, and their means over users."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cprlab.evaluation.cases import TOP


@dataclass(frozen=True)
class Metric:
    """A metric of a test case.

    Attributes:
        name: its name in tables.
        of_cases: function from the cases of `evaluate` and the name of a rank column to (m,) numbers.
        k: length of the list that must contain the target; None if the metric does not use ranks.
        better: whether "higher" or "lower" is better; None if neither is.
    """

    name: str
    of_cases: Callable[[pd.DataFrame, str], pd.Series]
    k: int | None = None
    better: Literal["higher", "lower"] | None = None

    def __call__(self, cases: pd.DataFrame, rank: str = "rank") -> pd.Series:
        """Return a number for each case; `rank` is the rank column, "rank" or "rank_post"."""
        return self.of_cases(cases, rank)


def _in_list(name: str, gain: Callable[[pd.Series], pd.Series], k: int = TOP) -> Metric:
    return Metric(
        f"{name}@{k}", lambda cases, rank: gain(cases[rank]).where(cases[rank] <= k, 0.0), k=k, better="higher"
    )


def _loss_on_whether(cases: pd.DataFrame, rank: str) -> pd.Series:
    """Return −log of the probability of the target's side: the history, or all other items.

    It is bounded by the loss on the target, so that a side whose probability rounds to 0 does not cost too much.
    """
    copied = cases["copy_probability"].astype(float).clip(0, 1)
    with np.errstate(divide="ignore"):
        return np.minimum(-np.log(copied.where(cases["repeat"], 1 - copied)), cases["log_loss"])


METRICS = {
    metric.name: metric
    for metric in (
        _in_list("NDCG", lambda rank: 1 / np.log2(1 + rank)),
        _in_list("HIT", lambda rank: rank * 0.0 + 1.0),
        _in_list("MRR", lambda rank: 1 / rank),
        Metric("log-loss", lambda cases, rank: cases["log_loss"], better="lower"),
        Metric("copy probability", lambda cases, rank: cases["copy_probability"]),
        Metric("observed repeats", lambda cases, rank: cases["repeat"].astype(float)),
        Metric("copy excess", lambda cases, rank: cases["copy_probability"] - cases["repeat"]),
        Metric("copied in top 10", lambda cases, rank: cases["copied"]),
        Metric("Brier score", lambda cases, rank: (cases["copy_probability"] - cases["repeat"]) ** 2, better="lower"),
        # log-loss = loss on whether the target is in the history + loss on which item of that side it is
        Metric("loss on whether", _loss_on_whether, better="lower"),
        Metric("loss on which", lambda cases, rank: cases["log_loss"] - _loss_on_whether(cases, rank), better="lower"),
    )
}
GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "all": lambda cases: cases["repeat"] | True,
    "repeat": lambda cases: cases["repeat"],
    "new": lambda cases: ~cases["repeat"],
}
MAIN = "NDCG@10"  # used for validation, and the default of tables
RANKING = tuple(metric.name for metric in METRICS.values() if metric.k)
COPYING = ("log-loss", "copy probability", "observed repeats", "copy excess")
SUMMARY = (*RANKING, *COPYING, "copied in top 10")
BY_LENGTH = (MAIN, "copy probability", "observed repeats")


def mean(cases: pd.DataFrame, metric: str, rank: str = "rank") -> float:
    """Return a metric's mean over users of its mean over each user's cases.

    Args:
        cases: result of `evaluate`.
        metric: a name in `METRICS`.
        rank: the rank column, "rank" or "rank_post".
    """
    return float(user_means(METRICS[metric](cases, rank).to_numpy(float), users_of(cases)).mean())


def user_means(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return the mean of each user's values (…, u), so that users count equally whatever their number of cases.

    Args:
        values: (…, m) one number per case.
        users: (m,) user of each case. Means are sorted by user; if each user has one case, `values` is returned as it
            is.
    """
    found, place, counts = np.unique(users, return_inverse=True, return_counts=True)
    if len(found) == len(users):
        return values
    rows = values.reshape(-1, len(users))
    sums = np.stack([np.bincount(place, weights=row, minlength=len(found)) for row in rows])
    return (sums / counts).reshape(*values.shape[:-1], len(found))


def users_of(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) the user of each case; cases of a Snapshot have no users, so each counts as one."""
    return cases["user"].to_numpy() if "user" in cases else np.arange(len(cases))
