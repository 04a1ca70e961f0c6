"""METRICS: the one table of what is measured of a test case, and how cases become a number of their users."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cprlab.evaluation.cases import TOP


@dataclass(frozen=True)
class Metric:
    """What is measured of a test case.

    Attributes:
        name: what it is called in tables.
        of_cases: gives (m,) numbers from the cases of `evaluate` and the name of a column of ranks.
        k: how long the list is that the target must be in; None where the ranks do not matter.
        better: which of two values is the better one; None where neither is.
    """

    name: str
    of_cases: Callable[[pd.DataFrame, str], pd.Series]
    k: int | None = None
    better: Literal["higher", "lower"] | None = None

    def __call__(self, cases: pd.DataFrame, rank: str = "rank") -> pd.Series:
        """Return a number for each case; `rank` is the column of ranks, "rank" or "rank_post"."""
        return self.of_cases(cases, rank)


def _in_list(name: str, gain: Callable[[pd.Series], pd.Series], k: int = TOP) -> Metric:
    return Metric(
        f"{name}@{k}", lambda cases, rank: gain(cases[rank]).where(cases[rank] <= k, 0.0), k=k, better="higher"
    )


def _loss_on_whether(cases: pd.DataFrame, rank: str) -> pd.Series:
    """Return −log of the probability of the side that the target is on: the history, or all else.

    It is no more than the loss on the target, and that bound keeps a side that rounds to nothing from costing too much.
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
        # of the log-loss; the rest is that on which item of that side
        Metric("loss on whether", _loss_on_whether, better="lower"),
        Metric("loss on which", lambda cases, rank: cases["log_loss"] - _loss_on_whether(cases, rank), better="lower"),
    )
}
GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "all": lambda cases: cases["repeat"] | True,
    "repeat": lambda cases: cases["repeat"],
    "new": lambda cases: ~cases["repeat"],
}
MAIN = "NDCG@10"  # by which training is validated, and which tables are of unless another is asked for
RANKING = tuple(metric.name for metric in METRICS.values() if metric.k)
COPYING = ("log-loss", "copy probability", "observed repeats", "copy excess")
SUMMARY = (*RANKING, *COPYING, "copied in top 10")
BY_LENGTH = (MAIN, "copy probability", "observed repeats")


def mean(cases: pd.DataFrame, metric: str, rank: str = "rank") -> float:
    """Return a metric's mean over each user's cases, and then over users.

    Args:
        cases: what `evaluate` gave.
        metric: a name in `METRICS`.
        rank: the column of ranks, "rank" or "rank_post".
    """
    return float(user_means(METRICS[metric](cases, rank).to_numpy(float), users_of(cases)).mean())


def user_means(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return the mean of each user's values (…, u), so that a user with many cases weighs as one with a single case.

    Args:
        values: (…, m) numbers of cases.
        users: (m,) whose they are. The means are in the order of these, and the values themselves if each has one.
    """
    found, place, counts = np.unique(users, return_inverse=True, return_counts=True)
    if len(found) == len(users):
        return values
    rows = values.reshape(-1, len(users))
    sums = np.stack([np.bincount(place, weights=row, minlength=len(found)) for row in rows])
    return (sums / counts).reshape(*values.shape[:-1], len(found))


def users_of(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) whose the cases are; of a Snapshot's cases nobody knows, and each counts alone."""
    return cases["user"].to_numpy() if "user" in cases else np.arange(len(cases))
