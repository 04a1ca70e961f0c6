"""Diversity of recommended lists, within and across users, compared with what users took."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse, stats

from cprlab.data import Sequences
from cprlab.errors import DataError
from cprlab.evaluation.bootstrap import estimate
from cprlab.evaluation.cases import TOP
from cprlab.models import Recommender

LEFT_OUT = 50  # maximum number of user groups in the jackknife, each left out once


@dataclass(frozen=True)
class Lists:
    """A list of distinct items for each user.

    Attributes:
        items: (S, m, k) int64, item codes of the lists of S seeds for m users, padded with −1.
        repeats: (S, m, k) bool, whether the user took the item before, that is, among the items that were read.
    """

    items: np.ndarray
    repeats: np.ndarray


def recommended(recommenders: Sequence[Recommender], sequences: Sequences, k: int = TOP) -> Lists:
    """Return the k most probable items for every test case, best first.

    Args:
        recommenders: one per seed, trained on these sequences' items.
        sequences: the log.
        k: length of the lists, at most the number of items.

    Raises:
        DataError: not every user has a test case.
    """
    windows = sequences.windows("test")
    if not np.array_equal(windows.user, np.arange(sequences.n_users)):
        raise DataError(
            f"{sequences.name}: the {sequences.split} split does not have one list per user; use leave-one-out."
        )
    read = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    k = min(k, sequences.n_items)
    items = np.stack([recommender.topk(read, k, users=windows.user)[0] for recommender in recommenders])
    return Lists(items, np.stack([np.isin(items[:, user], read[user]) for user in windows.user], axis=1))


def taken(sequences: Sequences, k: int = TOP) -> Lists:
    """Return the last k distinct items that each user took, latest first, as lists of one seed.

    This is the perfect list at the moment before the first of these items. Its repeats are the items among the
    `max_len` items read up to that moment. At most the second half of a sequence is used.
    """
    items = np.full((1, sequences.n_users, k), -1)
    repeats = np.zeros(items.shape, dtype=bool)
    for user, (begin, end) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)):
        backwards = sequences.items[begin + (end - begin + 1) // 2 : end][::-1]
        places = np.sort(np.unique(backwards, return_index=True)[1])[:k]  # last occurrences, from the end
        moment = end - places[-1] - 1
        read = sequences.items[max(begin, moment - sequences.max_len) : moment]
        items[0, user, : len(places)] = backwards[places]
        repeats[0, user, : len(places)] = np.isin(backwards[places], read)
    return Lists(items, repeats)


def takers(sequences: Sequences) -> sparse.csr_array:
    """Return (n, users) float64, 1 if a user took the item in the training part."""
    lengths = np.diff(sequences.offsets)
    user = np.repeat(np.arange(sequences.n_users), lengths)
    training = np.arange(len(sequences.items)) < np.repeat(sequences.held_out[0], lengths)
    places = (sequences.items[training], user[training])
    took = sparse.csr_array((np.ones(training.sum()), places), (sequences.n_items, sequences.n_users))
    took.sum_duplicates()
    took.data[:] = 1
    return took


def information(sequences: Sequences) -> np.ndarray:
    """Return (n,) each item's self-information in bits: −log₂ of its training share, with add-one smoothing."""
    counts = sequences.training_counts() + 1
    return np.log2(counts.sum()) - np.log2(counts)


def intra_list_distance(items: np.ndarray, took: sparse.csr_array) -> np.ndarray:
    """Return (S, m) the mean cosine distance between two items of each list (Ziegler et al., WWW 2005).

    An item's vector says which users took it in training, without the list's own user. Otherwise the items of a history
    would be close because this user took them, and lists of repeats would never be diverse. The distance of two items
    is 0 if the same other users took them, and 1 if no other user took both.

    Args:
        items: (S, m, k) codes, padded with −1; the distance is NaN for a list of one item.
        took: (n, m) from `takers`.
    """
    distance = np.full(items.shape[:2], np.nan)
    for seed, user in np.ndindex(distance.shape):
        rows = took[items[seed, user][items[seed, user] >= 0]]
        own = rows[:, [user]].toarray()
        both = (rows @ rows.T).toarray() - own @ own.T
        each = np.diag(both)
        scale = np.sqrt(each[:, None] * each)
        cosine = np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)
        if len(each) > 1:
            distance[seed, user] = 1 - cosine[~np.eye(len(each), dtype=bool)].mean()
    return distance


def coverage(exposure: np.ndarray) -> float:
    """Return the share of items that are in any list, given the number of lists with each item (n,)."""
    return np.count_nonzero(exposure) / len(exposure)


def gini(exposure: np.ndarray) -> float:
    """Return the Gini coefficient of item counts (n,): 0 if all are equal or 0; 1 − 1/n if one item has all."""
    n, total = len(exposure), exposure.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(exposure) / (n * total)) if total else 0.0


OF_ALL: dict[str, Callable[[np.ndarray], float]] = {"coverage": coverage, "Gini of exposure": gini}
OF_EACH = ("repeats", "intra-list distance", "novelty")


def diversity(
    lists: dict[str, Lists], sequences: Sequences, against: Sequence[str] = ("",), seed: int = 0
) -> pd.DataFrame:
    """Measure the diversity of lists, averaged over seeds, with 95% intervals over users.

    Args:
        lists: lists by name, all for the users of `sequences`.
        sequences: the log.
        against: names of lists to subtract from all others, user by user; "" for the measures themselves.
        seed: seed of the bootstrap.

    Returns:
        Rows `against, lists, metric, value, low, high, n`.

        Means over users, with bootstrap intervals: "repeats" (share of a list that the user took before), "intra-list
        distance" (over lists of at least two items; no row if there are none) and "novelty" (bits per item, see
        `information`).

        Over all lists and all items of the log: "coverage" and "Gini of exposure". These depend on the number of users,
        and a user drawn twice adds no new list, so a bootstrap would give too low a coverage and too high a Gini. Their
        intervals come from a jackknife that leaves out each fiftieth of the users once. They refer to the average over
        samples of the same number of users, and are conservative (Efron and Stein, Annals of Statistics 9, 1981).
    """
    bits, took = information(sequences), takers(sequences)
    each = {name: _of_each(of_name, took, bits) for name, of_name in lists.items()}
    every = {name: _of_all(of_name.items, sequences.n_items) for name, of_name in lists.items()}
    rows = []
    for base, name in itertools.product(against, lists):
        if name == base:
            continue
        for metric in OF_EACH:
            values = each[name][metric] - (each[base][metric] if base else 0)
            values = values[~np.isnan(values)]
            if len(values):
                rows.append((base, name, metric, *estimate(values, seed)))
        for metric in OF_ALL:
            values = every[name][metric] - (every[base][metric] if base else 0)
            rows.append((base, name, metric, *_jackknife(values), sequences.n_users))
    return pd.DataFrame(rows, columns=["against", "lists", "metric", "value", "low", "high", "n"])


def _of_each(lists: Lists, took: sparse.csr_array, bits: np.ndarray) -> dict[str, np.ndarray]:
    """Return each metric of single lists, (m,)."""
    there = lists.items >= 0
    size = there.sum(2)
    measured = {
        "repeats": lists.repeats.sum(2) / size,
        "intra-list distance": intra_list_distance(lists.items, took),
        "novelty": np.where(there, bits[lists.items], 0).sum(2) / size,
    }
    return {metric: values.mean(0) for metric, values in measured.items()}


def _of_all(items: np.ndarray, n_items: int) -> dict[str, np.ndarray]:
    """Return each metric of all lists together, (1 + G,): for all users, then without each of G groups."""
    group = np.arange(items.shape[1]) % LEFT_OUT
    measured = []
    for of_seed in items:
        held = [of_seed[group == one] for one in np.unique(group)]
        exposure = np.stack([np.bincount(part[part >= 0], minlength=n_items) for part in held])
        exposures = np.vstack([exposure.sum(0), exposure.sum(0) - exposure])
        measured.append([[of_all(one) for one in exposures] for of_all in OF_ALL.values()])
    return dict(zip(OF_ALL, np.mean(measured, axis=0), strict=True))


def _jackknife(values: np.ndarray) -> tuple[float, float, float]:
    """Return the first value, and its 95% interval from the G others, each without one group of users."""
    value, without = values[0], values[1:]
    spread = np.sqrt((len(without) - 1) * without.var())  # √((G − 1) / G · Σ (value − mean)²)
    half = stats.t.ppf(0.975, len(without) - 1) * spread
    return value, value - half, value + half
