"""fit_counting: fit a counting baseline: counts on the training part, weights and decays on the validation items."""

import math
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import optimize, sparse

from cprlab.data import Sequences
from cprlab.evaluation import MAIN, evaluate, mean
from cprlab.models import Recommender
from cprlab.models.counting import MIXTURES, Counting

MOST_CASES = 50_000  # maximum number of validation cases; only five numbers are fitted to them
GRID = (0.3, 0.6, 0.8, 0.9, 0.97)  # decays from which the search starts
LEAST = 1e-3  # smallest decay
SETTLED, EXACT = 1e-9, 1e-13  # EM stops at this gain in mean log-likelihood: during the search, and in the last fit


@dataclass(frozen=True)
class _Cases:
    """What a mixture needs of C validation cases, whatever its decays; L positions are read.

    Attributes:
        ages: (C, L) number of items after this one; 0 for the latest.
        visible: (C, L) bool, whether there is an item.
        hit: (C, L) bool, whether it is the target.
        followed: (C, L) bool, whether any item came after it in training.
        transition: (C, L) entry of M for the item and the target.
        popularity: (C,) probability of the target by popularity.
        n_items: n.
    """

    ages: np.ndarray
    visible: np.ndarray
    hit: np.ndarray
    followed: np.ndarray
    transition: np.ndarray
    popularity: np.ndarray
    n_items: int

    def probabilities(self, names: tuple[str, ...], decays: np.ndarray) -> np.ndarray:
        """Return (C + 1, K) the target's probability under each component; the last target is an item nobody consumed.

        This imaginary case keeps the uniform component's weight, and so every item's probability, above 0.
        """
        columns = []
        for name in names:
            match name:
                case "frequency":
                    column = _mean(decays[0] ** self.ages * self.visible, self.hit, 0.0)
                case "Markov":
                    column = _mean(decays[1] ** self.ages * self.followed, self.transition, self.popularity)
                case "popularity":
                    column = self.popularity
                case _:
                    column = np.full(len(self.popularity), 1 / self.n_items)
            columns.append(np.append(column, 1 / self.n_items if name == "uniform" else 0.0))
        return np.stack(columns, axis=1)


def fit_counting(recommender: Recommender, sequences: Sequences) -> pd.DataFrame:
    """Fit a recommender with a counting head, in place.

    The weights λ maximise the likelihood of the validation items by EM (Dempster, Laird & Rubin, JRSS B 1977). The
    decays maximise it by a simplex search (Nelder & Mead, Computer Journal 1965).

    Args:
        recommender: with a `Counting` head.
        sequences: the log.

    Returns:
        One row, with the columns of `fit`: `epoch` (1), `loss` (mean over validation items and the imaginary case,
        nats; NaN if the head has no probabilities), `ndcg` (validation NDCG@10), `seconds`, `targets_per_second`.
    """
    head = recommender.head
    assert isinstance(head, Counting)
    began = time.perf_counter()
    head.popularity = torch.from_numpy(sequences.training_counts().astype(np.float64))
    loss = -_fit_mixture(head, sequences) if head.config.probabilities else math.nan
    seconds = time.perf_counter() - began
    ndcg = mean(evaluate(recommender, sequences, "validation"), MAIN)
    rate = float(head.popularity.sum()) / seconds
    row = {"epoch": 1, "loss": loss, "ndcg": ndcg, "seconds": seconds, "targets_per_second": rate}
    return pd.DataFrame([row])


def _fit_mixture(head: Counting, sequences: Sequences) -> float:
    """Fit M, the weights and the decays, and return the mean log-likelihood."""
    head.matrix = transitions(sequences)
    names = MIXTURES[head.config.kind]
    cases = _cases(head, sequences)
    free = [place for place, name in enumerate(("frequency", "Markov")) if name in names]

    def loss(decays: np.ndarray) -> float:
        both = np.ones(2)
        both[free] = decays
        return -em(cases.probabilities(names, both), SETTLED)[1]

    grid = np.stack(np.meshgrid(*[GRID] * len(free)), axis=-1).reshape(-1, len(free))
    start = min(grid, key=loss)
    found = optimize.minimize(
        loss, start, method="Nelder-Mead", bounds=[(LEAST, 1.0)] * len(free), options={"xatol": 1e-4, "fatol": 1e-8}
    )
    decays = np.ones(2)
    decays[free] = found.x
    weights, value = em(cases.probabilities(names, decays), EXACT)
    head.decays, head.weights = torch.from_numpy(decays), torch.from_numpy(weights)
    return value


def transitions(sequences: Sequences) -> sparse.csr_array:
    """Return M (n, n): among the items consumed next after item i in the training part, the share of item j.

    Each pair of an item of a basket and an item of the user's next basket counts as one transition. Without baskets,
    each item is its own basket.
    """
    end = np.repeat(sequences.held_out[0], np.diff(sequences.offsets))
    places = np.flatnonzero(np.arange(len(sequences.items)) < end)
    starts = sequences.basket_start
    first, basket = np.unique(places if starts is None else starts[places], return_inverse=True)
    shape = (len(first), sequences.n_items)
    held = sparse.csr_array((np.ones(len(places)), (basket, sequences.items[places])), shape=shape)
    user = np.searchsorted(sequences.offsets, first, side="right")
    followed = np.flatnonzero(user[1:] == user[:-1])
    counts = sparse.csr_array(held[followed].T @ held[followed + 1])
    counts.sort_indices()
    counts.data /= np.repeat(counts.sum(axis=1), np.diff(counts.indptr))
    return counts


def em(probabilities: np.ndarray, settled: float, most: int = 100_000) -> tuple[np.ndarray, float]:
    """Return the mixture weights λ (K,) that maximise the mean over cases of log Σ_k λ_k p_k, and this mean.

    Args:
        probabilities: (C, K) p_k of each case; every row has a positive entry.
        settled: stop when a step gains less.
        most: maximum number of steps.
    """
    weights, before = np.full(probabilities.shape[1], 1 / probabilities.shape[1]), -np.inf
    for _ in range(most):
        mixed = probabilities @ weights
        value = float(np.log(mixed).mean())
        if value - before < settled:
            break
        before = value
        weights = weights * (probabilities.T @ (1 / mixed)) / len(mixed)
    return weights, value


def _cases(head: Counting, sequences: Sequences) -> _Cases:
    windows = sequences.windows("validation")
    chosen = np.arange(len(windows))
    if len(chosen) > MOST_CASES:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST_CASES, replace=False))
    batch = sequences.batch(windows, chosen)
    rows, places = np.nonzero(batch.targets.numpy() >= 0)  # one per case
    items, at, targets = batch.items.numpy()[rows], batch.at.numpy()[rows, places], batch.targets.numpy()[rows, places]
    ages = at[:, None] - np.arange(items.shape[1])
    visible = (ages >= 0) & (items < head.n_items)
    known = np.where(visible, items, 0)
    followed = visible & (head.starts.diff() > 0).numpy()[known]
    transition = np.zeros(items.shape)
    transition[followed] = head.matrix[known[followed], np.repeat(targets, followed.sum(axis=1))]
    popularity = head.popularity.numpy()
    return _Cases(
        np.maximum(ages, 0),
        visible,
        visible & (items == targets[:, None]),
        followed,
        transition,
        popularity[targets] / popularity.sum(),
        head.n_items,
    )


def _mean(weights: np.ndarray, values: np.ndarray, otherwise: np.ndarray | float) -> np.ndarray:
    """Return the weighted mean (C,) of values (C, L), and `otherwise` where all weights are 0."""
    total = weights.sum(axis=1)
    return np.where(total > 0, (weights * values).sum(axis=1) / np.where(total > 0, total, 1), otherwise)
