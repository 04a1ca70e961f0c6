"""Maps: the item embeddings of a model on a plane, and the plane's place for everything else in their space."""

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from cprlab.errors import ConfigError
from cprlab.models.recommender import Codes

AROUND = 60  # items of a neighbourhood that are neither taken nor next
PERPLEXITY = 30


@dataclass(frozen=True)
class Plane:
    """Where things lie on a map.

    Attributes:
        points: (n, 2) single precision, of the items; NaN for one that the map does not show.
        linear: what gives other vectors their place; None where nothing does, as on a t-SNE.
        note: what the map shows, and does not.
    """

    points: np.ndarray
    linear: PCA | None
    note: str

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return (m, 2) for vectors (m, d) of the items' space; NaN where the map has no place for them."""
        if self.linear is None or not len(vectors):
            return np.full((len(vectors), 2), np.nan)
        return self.linear.transform(vectors.astype(np.float64))


def pca(weights: np.ndarray) -> Plane:
    """Return the plane of two principal components of all item embeddings (n, d); n and d from 2 up."""
    linear = PCA(2, svd_solver="covariance_eigh").fit(weights.astype(np.float64))
    points = linear.transform(weights.astype(np.float64)).astype(np.float32)
    return Plane(
        points, linear, f"The plane shows {linear.explained_variance_ratio_.sum():.0%} of the variance of all items."
    )


def local(weights: np.ndarray, history: Codes, marked: Codes) -> Plane:
    """Return the plane of two principal components of a history, marked items, and the nearest others to its mean."""
    weights = weights.astype(np.float64)
    distances = cdist(weights[list(history)].mean(0, keepdims=True), weights)[0]
    nearest = np.argsort(distances, kind="stable")[: AROUND + len(history)]
    shown = np.unique(np.concatenate([nearest, list(history), list(marked)]).astype(np.int64))
    linear = PCA(2, svd_solver="full").fit(weights[shown])
    points = np.full((len(weights), 2), np.nan, dtype=np.float32)
    points[shown] = linear.transform(weights[shown])
    share = linear.explained_variance_ratio_.sum()
    return Plane(
        points,
        linear,
        f"The plane shows {share:.0%} of the variance of these {len(shown):,} items; the others are left out.",
    )


class Tsne:
    """t-SNEs of item embeddings, each made once, in a process of its own, so that nothing else waits."""

    def __init__(self) -> None:
        self.asked: dict[int, Future] = {}

    def plane(self, place: int, weights: np.ndarray) -> Plane | None:
        """Return the t-SNE of the model at a place; None as long as it is being made.

        Raises:
            ConfigError: the other process could not make it.
        """
        if place not in self.asked:
            # Spawned, not forked: a fork of a process with threads may hang. What it runs is sklearn's alone, so that
            # it need not import this package, and PyTorch with it.
            executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            made = TSNE(perplexity=min(PERPLEXITY, (len(weights) - 1) / 3), init="pca", random_state=0)
            self.asked[place] = executor.submit(made.fit_transform, weights)
            executor.shutdown(wait=False)
        if not self.asked[place].done():
            return None
        if error := self.asked[place].exception():
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"The t-SNE could not be made ({reason}); choose another projection.")
        note = "t-SNE keeps neighbours together; its distances mean little, and hidden states have no place on it."
        return Plane(self.asked[place].result().astype(np.float32), None, note)
