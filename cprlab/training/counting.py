"""fit_counting: a counting rival's counts come of the training part, its weights and decays of the validation items."""

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

MOST_CASES = 50_000  # of the validation; five numbers are fitted to them
GRID = (0.3, 0.6, 0.8, 0.9, 0.97)  # of decays, where the search begins
LEAST = 1e-3  # of a decay
SETTLED, EXACT = 1e-9, 1e-13  # gain of the mean log-likelihood at which EM stops: in the search, and in the end


@dataclass(frozen=True)
class _Cases:
    """The validation cases, as far as a mixture with any decays needs them; L positions read.

    Attributes:
        ages: (C, L) how many items ago; 0 for the latest.
        visible: (C, L) bool, there is an item.
        hit: (C, L) bool, it is the target.
        followed: (C, L) bool, something came after it in training.
        transition: (C, L) M of the item and the target.
        popularity: (C,) of the target, as a probability.
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
        """Return (C + 1, K), what each component gives the target; the last row is of an item that nobody has had.

        That one imaginary case keeps the uniform weight, and so every item's probability, above 0.
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
    """Fill a recommender whose head counts, in place.

    λ maximises the likelihood of the validation items by EM (Dempster, Laird & Rubin, JRSS B 1977), for the decays
    that a simplex search finds to be the best (Nelder & Mead, Computer Journal 1965).

    Args:
        recommender: with a `Counting` head.
        sequences: the log.

    Returns:
        One row, with the columns of `fit`: `epoch` (1), `loss` (of a validation item, nats, with the imaginary case;
        NaN of a head that only orders), `ndcg` (validation NDCG@10), `seconds`, `targets_per_second`.
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
    """Fill M, the weights and the decays, and return the mean log-likelihood."""
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
    """Return M (n, n): of what was consumed next after each item in the training part, each item's share.

    A transition counts from each item of a basket to each item of the user's next one, 1 for each pair. Without
    baskets, each item is one of its own.
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
    """Return the weights λ (K,) of a mixture that maximise the mean over cases of log Σ_k λ_k p_k, and that mean.

    Args:
        probabilities: (C, K), p_k of each case; no row of zeros alone.
        settled: end when a step gains less.
        most: steps.
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
    rows, places = np.nonzero(batch.targets.numpy() >= 0)  # a case each
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
    """Return the weighted mean (C,) of values (C, L), and something else where there is no weight."""
    total = weights.sum(axis=1)
    return np.where(total > 0, (weights * values).sum(axis=1) / np.where(total > 0, total, 1), otherwise)
