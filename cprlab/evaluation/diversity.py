"""Diversity: how varied the lists are that a head recommends, to each user and to all, beside what users took."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from cprlab.data import Sequences
from cprlab.errors import DataError
from cprlab.evaluation.cases import TOP
from cprlab.evaluation.tables import interval
from cprlab.models import Recommender

LEFT_OUT = 50  # groups of users, at most, each of which the jackknife leaves out once


@dataclass(frozen=True)
class Lists:
    """A list of different items for each user.

    Attributes:
        items: (S, m, k) int64, item codes of the lists that S seeds give to m users; −1 behind a list's end.
        repeats: (S, m, k) bool, which of these the user took before: they are among the items that were read.
    """

    items: np.ndarray
    repeats: np.ndarray


def recommended(recommenders: Sequence[Recommender], sequences: Sequences, k: int = TOP) -> Lists:
    """Return the k most probable items for every test case, best first.

    Args:
        recommenders: one for each seed, trained on these sequences' items.
        sequences: the log.
        k: the lists' length; of fewer items, all.
    """
    windows = sequences.windows("test")
    read = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    k = min(k, sequences.n_items)
    items = np.stack([recommender.topk(read, k, users=windows.user)[0] for recommender in recommenders])
    return Lists(items, np.stack([np.isin(items[:, user], read[user]) for user in windows.user], axis=1))


def taken(sequences: Sequences, k: int = TOP) -> Lists:
    """Return the last k different items that each user took, latest first, as one seed's lists.

    A list is what a recommender would have had to give, had it known, at the moment before the first of these: so its
    repeats are those among the `max_len` items read up to that moment. At most the second half of a sequence is used.
    """
    items = np.full((1, sequences.n_users, k), -1)
    repeats = np.zeros(items.shape, dtype=bool)
    for user, (begin, end) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)):
        backwards = sequences.items[begin + (end - begin + 1) // 2 : end][::-1]
        places = np.sort(np.unique(backwards, return_index=True)[1])[:k]  # of each item's last time, from the end
        moment = end - places[-1] - 1
        read = sequences.items[max(begin, moment - sequences.max_len) : moment]
        items[0, user, : len(places)] = backwards[places]
        repeats[0, user, : len(places)] = np.isin(backwards[places], read)
    return Lists(items, repeats)


def item_vectors(sequences: Sequences, d: int = 64) -> np.ndarray:
    """Return unit vectors (n, d) that are near for items taken by the same users; 0 for an item that nobody took.

    The truncated singular value decomposition of the matrix of items and users, which is 1 where the user took the item
    in the training part (latent semantic analysis: Deerwester et al., JASIS 1990). So they are no head's own.

    Args:
        sequences: the log.
        d: the vectors' size; less where the log has no more than d items or users.

    Raises:
        DataError: there is but one user, or one item.
    """
    if min(sequences.n_users, sequences.n_items) < 2:
        raise DataError(f"{sequences.name}: vectors of items take two users and two items; bring a larger log.")
    lengths = np.diff(sequences.offsets)
    user = np.repeat(np.arange(sequences.n_users), lengths)
    training = np.arange(len(sequences.items)) < np.repeat(sequences.offsets[1:] - 2, lengths)
    places = (sequences.items[training], user[training])
    took = sparse.csr_array((np.ones(training.sum()), places), (sequences.n_items, sequences.n_users))
    took.sum_duplicates()
    took.data[:] = 1
    vectors = TruncatedSVD(min(d, *(size - 1 for size in took.shape)), algorithm="arpack", random_state=0)
    found = normalize(vectors.fit_transform(took))
    found[np.diff(took.indptr) == 0] = 0  # rather than the direction of rounding errors
    return found


def information(sequences: Sequences) -> np.ndarray:
    """Return (n,) bits, −log₂ of each item's share of the training interactions, one more counted for each item."""
    counts = sequences.training_counts() + 1
    return np.log2(counts.sum()) - np.log2(counts)


def intra_list_distance(items: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return (…) the mean cosine distance between two items of each list (Ziegler et al., WWW 2005).

    Args:
        items: (…, k) codes, −1 behind a list's end; nan comes of a list of one.
        vectors: (n, d) of length 1, or 0, which is at the distance 1 from all.
    """
    held = np.where((items >= 0)[..., None], vectors[items], 0)
    size = (items >= 0).sum(-1)
    cosines = (held.sum(-2) ** 2).sum(-1) - (held**2).sum((-1, -2))  # Σ over i ≠ j: |Σ u|² − Σ |u|²
    with np.errstate(invalid="ignore"):
        return 1 - cosines / (size * (size - 1))


def coverage(exposure: np.ndarray) -> float:
    """Return the share of the items that are in any list, from how many lists hold each (n,)."""
    return np.count_nonzero(exposure) / len(exposure)


def gini(exposure: np.ndarray) -> float:
    """Return Gini's coefficient of how many lists hold each item (n,): 0 if all are alike, 1 − 1/n if all is one's."""
    n = len(exposure)
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(exposure) / (n * exposure.sum()))


OF_ALL: dict[str, Callable[[np.ndarray], float]] = {"coverage": coverage, "Gini of exposure": gini}
OF_EACH = ("repeats", "intra-list distance", "novelty")


def diversity(
    lists: dict[str, Lists], sequences: Sequences, vectors: np.ndarray, against: str = "", seed: int = 0
) -> pd.DataFrame:
    """Return what is measured of lists, averaged over seeds, with 95% intervals over users.

    Args:
        lists: by name, all for the users of `sequences`.
        sequences: the log.
        vectors: (n, d) of `item_vectors`.
        against: the name of the lists that are subtracted from the others, user by user; none if empty.
        seed: of the bootstrap.

    Returns:
        Rows `lists, metric, value, low, high, n`. Means over users, with bootstrap intervals: "repeats" (share of a
        list that the user took before), "intra-list distance" (over lists of two and more; no row where there are
        none), and "novelty" (bits an item, of `information`). Of all lists together, over all items of the log:
        "coverage" and "Gini of exposure". These two depend on how many users there are, and a user drawn twice brings
        no new list, so a bootstrap's coverage is too low and its Gini too high. Their intervals are the jackknife's,
        which leaves out each fiftieth of the users once; they hold what as many other users would give on average, and
        are conservative (Efron and Stein, Annals of Statistics 9, 1981).
    """
    bits = information(sequences)
    each = {name: _of_each(of_name, vectors, bits) for name, of_name in lists.items()}
    every = {name: _of_all(of_name.items, sequences.n_items) for name, of_name in lists.items()}
    rows = []
    for name in lists:
        if name == against:
            continue
        for metric in OF_EACH:
            values = each[name][metric] - (each[against][metric] if against else 0)
            values = values[~np.isnan(values)]
            if len(values):
                rows.append((name, metric, values.mean(), *interval(values, seed), len(values)))
        for metric in OF_ALL:
            values = every[name][metric] - (every[against][metric] if against else 0)
            rows.append((name, metric, *_jackknife(values), sequences.n_users))
    return pd.DataFrame(rows, columns=["lists", "metric", "value", "low", "high", "n"])


def _of_each(lists: Lists, vectors: np.ndarray, bits: np.ndarray) -> dict[str, np.ndarray]:
    """Return each metric of a user's list, (m,)."""
    there = lists.items >= 0
    size = there.sum(2)
    measured = {
        "repeats": lists.repeats.sum(2) / size,
        "intra-list distance": intra_list_distance(lists.items, vectors),
        "novelty": np.where(there, bits[lists.items], 0).sum(2) / size,
    }
    return {metric: values.mean(0) for metric, values in measured.items()}


def _of_all(items: np.ndarray, n_items: int) -> dict[str, np.ndarray]:
    """Return each metric of all lists together, (1 + G,): of all users, and without each of G groups of them."""
    group = np.arange(items.shape[1]) % LEFT_OUT
    measured = []
    for of_seed in items:
        held = [of_seed[group == one] for one in np.unique(group)]
        exposure = np.stack([np.bincount(part[part >= 0], minlength=n_items) for part in held])
        exposures = np.vstack([exposure.sum(0), exposure.sum(0) - exposure])
        measured.append([[of_all(one) for one in exposures] for of_all in OF_ALL.values()])
    return dict(zip(OF_ALL, np.mean(measured, axis=0), strict=True))


def _jackknife(values: np.ndarray) -> tuple[float, float, float]:
    """Return the first value and its 95% interval from the others, those without each of G groups of users."""
    value, without = values[0], values[1:]
    spread = np.sqrt((len(without) - 1) * without.var())  # √((G − 1) / G · Σ (value − mean)²)
    half = stats.t.ppf(0.975, len(without) - 1) * spread
    return value, value - half, value + half
