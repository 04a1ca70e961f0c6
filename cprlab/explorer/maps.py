"""Maps: item embeddings, and other vectors of their space, projected to a plane."""

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from cprlab.errors import ConfigError
from cprlab.models.recommender import Codes

AROUND = 60  # items of a neighbourhood besides those of the history
PERPLEXITY = 30
MOST = 10_000  # items of a t-SNE, which takes a minute of one core for them


@dataclass(frozen=True)
class Plane:
    """A map of the items.

    Attributes:
        points: (n, 2) float32 positions of the items; NaN for items that the map does not show.
        linear: projection of other vectors; None if there is none, as for a t-SNE.
        note: what the map shows and what it does not.
    """

    points: np.ndarray
    linear: PCA | None
    note: str

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return positions (m, 2) of vectors (m, d) in the embedding space; NaN if the map has no projection."""
        if self.linear is None or not len(vectors):
            return np.full((len(vectors), 2), np.nan)
        return self.linear.transform(vectors.astype(np.float64))

    def slope(self, weights: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return the direction in which the scores of a hidden state grow in the plane, and what the plane holds of it.

        Args:
            weights: (n, d) item embeddings.
            state: (d,) hidden state h.

        Returns:
            The gradient (2,) of h·w over the plane, and the share of the variance of h·w over the items shown that
            lies in the plane; None if the map has no projection or all scores are equal.
        """
        if self.linear is None:
            return None
        gradient, shown = self.linear.components_ @ state.astype(np.float64), np.isfinite(self.points[:, 0])
        varies = (weights[shown] @ state).var(dtype=np.float64)
        return (gradient, (self.points[shown] @ gradient).var() / varies) if varies > 0 else None


def pca(weights: np.ndarray) -> Plane:
    """Return the plane of the first two principal components of all item embeddings (n, d), with n and d at least 2."""
    linear = PCA(2, svd_solver="covariance_eigh").fit(weights.astype(np.float64))
    points = linear.transform(weights.astype(np.float64)).astype(np.float32)
    return Plane(
        points, linear, f"The plane shows {linear.explained_variance_ratio_.sum():.0%} of the variance of all items."
    )


def local(weights: np.ndarray, history: Codes) -> Plane:
    """Return the plane of the first two principal components of a neighbourhood.

    It consists of the history and the items nearest to its mean, so it does not change when a hidden state is moved.
    """
    weights = weights.astype(np.float64)
    distances = cdist(weights[list(history)].mean(0, keepdims=True), weights)[0]
    nearest = np.argsort(distances, kind="stable")[: AROUND + len(history)]
    shown = np.unique(np.concatenate([nearest, list(history)]).astype(np.int64))
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
    """t-SNEs of item embeddings, each computed once, in a separate process, so that nothing else has to wait."""

    def __init__(self) -> None:
        self.asked: dict[int, Future] = {}

    def plane(self, place: int, weights: np.ndarray) -> Plane | None:
        """Return the t-SNE of the model with index `place`; None while it is computed.

        Raises:
            ConfigError: the other process failed.
        """
        if place not in self.asked:
            # Spawned, not forked: a fork of a process with threads may hang. It runs a function of sklearn, so that it
            # does not import this package and PyTorch.
            executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            made = TSNE(perplexity=min(PERPLEXITY, (len(weights) - 1) / 3), init="pca", random_state=0)
            self.asked[place] = executor.submit(made.fit_transform, weights)
            executor.shutdown(wait=False)
        if not self.asked[place].done():
            return None
        if error := self.asked[place].exception():
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"The t-SNE failed ({reason}); choose another projection.")
        note = "t-SNE keeps neighbours together; distances mean little, and hidden states cannot be shown on it."
        return Plane(self.asked[place].result().astype(np.float32), None, note)
