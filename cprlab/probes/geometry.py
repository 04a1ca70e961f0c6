"""Geometry of hidden states and items: distances by case, the shape of the embedding space, its spectra, and a map."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from cprlab.errors import DataError
from cprlab.models import Recommender
from cprlab.models.recommender import HISTORIES_AT_ONCE, Codes, Histories, inference
from cprlab.probes.snapshot import Snapshot

DISTANCES_AT_ONCE = 2**21  # 16 MB of doubles
NEIGHBOURS = 10  # k of the k-occurrence
NO_ITEM = -1


def geometry(snapshot: Snapshot) -> pd.DataFrame:
    """Return distances of each hidden state h and its history, and how scattered the history is among other items.

    Distances are Euclidean, in the units of the embeddings. Scores are products, h · w, so compare ratios of these
    columns between models, not their sizes.

    Returns:
        One row per case: `case`, `size` (distinct items of the history), `norm` (of h), `to_history` (distance of h to
        the mean embedding of these items), `to_target` (distance of h to the target's embedding), `spread` (root mean
        squared distance of these items to their mean), `inside` (number of items outside the history that are closer to
        this mean than the farthest item of the history: those between its items).
    """
    weights, states = _doubles(snapshot)
    means = np.stack([weights[items].mean(0) for items in snapshot.distinct])
    spread, inside = np.empty(len(snapshot)), np.empty(len(snapshot), dtype=np.int64)
    at_once = max(1, DISTANCES_AT_ONCE // snapshot.n_items)
    for start in range(0, len(snapshot), at_once):
        for case, distances in enumerate(cdist(means[start : start + at_once], weights, "sqeuclidean"), start):
            own = distances[snapshot.distinct[case]]
            spread[case] = np.sqrt(own.mean())
            inside[case] = (distances < own.max()).sum() - (own < own.max()).sum()
    return pd.DataFrame(
        {
            "case": np.arange(len(snapshot)),
            "size": [len(items) for items in snapshot.distinct],
            "norm": np.linalg.norm(states, axis=1),
            "to_history": np.linalg.norm(states - means, axis=1),
            "to_target": np.linalg.norm(states - weights[snapshot.targets], axis=1),
            "spread": spread,
            "inside": inside,
        }
    )


def space(snapshot: Snapshot) -> pd.DataFrame:
    """Return measures of the embedding space as a whole.

    Hubness compares all pairs of items, so its time grows with n².

    Returns:
        Rows `measure, value`; NaN if a measure is undefined, such as a correlation with a constant:

        - "dimensions": d.
        - "participation ratio": (Σλ)² / Σλ² over the eigenvalues λ of the item embeddings' covariance; d if items vary
          equally in all directions, 1 if along a line.
        - "mean cosine": over all pairs of items (anisotropy; 0 if directions cancel out). Items with zero embeddings
          are left out.
        - "norm and popularity": Spearman's rank correlation of ‖w‖ with popularity, which counts every occurrence in
          the Snapshot's histories and targets.
        - "bias and popularity": the same for the bias, if there is one.
        - "hubness": skewness, over items, of how often an item is among the 10 nearest (Euclidean, exact) of others
          (Radovanović et al., JMLR 2010); large if a few items are neighbours of most.
        - "effective rank": exp of the entropy of the shares of the singular values of the cases' centred
          log-probabilities, see `spectra` (Roy and Vetterli, EUSIPCO 2007); at most d, and at most the number of cases
          minus one.
    """
    weights, _ = _doubles(snapshot)
    norms = np.linalg.norm(weights, axis=1)
    popularity = np.bincount(np.concatenate([*snapshot.histories, snapshot.targets]), minlength=snapshot.n_items)
    of_items, of_log_probs = _singular_values(snapshot).values()
    measures = {
        "dimensions": weights.shape[1],
        "participation ratio": 1 / (_shares(of_items) ** 2).sum(),
        "mean cosine": _mean_cosine(weights[norms > 0] / norms[norms > 0, None]),
        "norm and popularity": _rank_correlation(norms, popularity),
    }
    if snapshot.bias is not None:
        measures["bias and popularity"] = _rank_correlation(snapshot.bias, popularity)
    measures["hubness"] = _hubness(weights)
    measures["effective rank"] = np.exp(stats.entropy(of_log_probs)) if of_log_probs.any() else np.nan
    return pd.DataFrame({"measure": list(measures), "value": np.array(list(measures.values()), dtype=float)})


def spectra(snapshot: Snapshot) -> pd.DataFrame:
    """Return how the variance of item embeddings, and of predictions, is spread over directions.

    The log-probabilities of all m cases are H Wᵀ + 1 bᵀ − z 1ᵀ (m, n), where z are the cases' log-normalisers. H Wᵀ has
    rank at most d; z adds one, and a bias one more. So a softmax without bias has log-probabilities of rank at most
    d + 1 and cannot express a higher rank (Yang et al., ICLR 2018, theorem 1). Centring each case over the items
    removes z, and centring each item over the cases removes b. This leaves (H − h̄)(W − w̄)ᵀ, of rank at most d. Its
    spectrum shows how many of the d directions the predictions use. Godey et al. (2024) follow the spectrum of W in the
    training of language models.

    Returns:
        Rows `matrix` ("item embeddings", centred over the items, or "log-probabilities", centred over both), `index`
        (from 1), `share` (of the variance: squared singular value over the sum of all), descending. Shares are NaN if
        there is no variance, as for the predictions of a single case.
    """
    tables = [
        pd.DataFrame({"matrix": matrix, "index": np.arange(1, len(values) + 1), "share": _shares(values)})
        for matrix, values in _singular_values(snapshot).items()
    ]
    return pd.concat(tables, ignore_index=True)


def facet_distances(recommender: Recommender, histories: Histories, users: Codes | None = None) -> pd.DataFrame:
    """Return distances between the hidden states with which a head's partitions score items.

    Args:
        recommender: with a CPR head or a mixture; a head with one hidden state has no pairs, so no rows.
        histories: as in `Recommender.log_probs`.
        users: as in `Recommender.log_probs`.

    Returns:
        One row per case and pair of facets, such as V, R100 and C: `case, facet, other, distance` (Euclidean),
        `cosine`. The pointer's facets are not included, since they are multiplied with each other, not with item
        embeddings.

    Raises:
        ConfigError: as in `Recommender.log_probs`.
    """
    names = []
    for component in recommender.head.components:
        facets = [component.vocabulary, *(getattr(partition, "facet", None) for partition in component.partitions)]
        names += [name for name in facets if name]
    items, at, codes = recommender.collate(histories, users)
    states = {name: [np.empty((0, recommender.head.width))] for name in names}
    with inference(recommender):
        for start in range(0, len(items), HISTORIES_AT_ONCE):
            rows = slice(start, start + HISTORIES_AT_ONCE)
            facets = recommender(items[rows], at[rows], None if codes is None else codes[rows])
            for name in names:
                states[name].append(facets[name][:, 0].cpu().double().numpy())
    tables = [
        _compare(facet, other, np.concatenate(states[facet]), np.concatenate(states[other]))
        for facet, other in combinations(names, 2)
    ]
    if not tables:
        return _compare("", "", *np.empty((2, 0, 1)))
    return pd.concat(tables).sort_values("case", kind="stable", ignore_index=True)


def neighbourhood(snapshot: Snapshot, case: int, marked: Codes, n: int = 60) -> pd.DataFrame:
    """Return a map of a case's history, target and hidden state among the items that may interfere.

    The map is the plane of the first two principal components of the items shown; the hidden state is projected onto
    it.

    Args:
        snapshot: the model's states and embeddings.
        case: index of the case.
        marked: codes of items to always show, such as those that interfere with copying the history.
        n: number of other items to show, the nearest to the history's mean embedding.

    Returns:
        Rows `item` (code; −1 is the hidden state), `title`, `kind` ("other", "history", "interfering", "target",
        "hidden state"; a target in the history is a "target", a marked item in it "history"), `x`, `y` (Euclidean),
        `off_plane` (distance of the point from the plane, which the map does not show).

    Raises:
        DataError: there is no such case or item, or there are fewer than two items or dimensions.
    """
    _check_map(snapshot, case, marked)
    weights, states = _doubles(snapshot)
    history = snapshot.distinct[case]
    interfering = np.setdiff1d(np.asarray(marked, dtype=np.int64), history)
    kinds = {"history": history, "interfering": interfering, "target": snapshot.targets[[case]]}
    kind = np.full(snapshot.n_items, "other", dtype=object)
    for name, items in kinds.items():
        kind[items] = name
    distances = cdist(weights[history].mean(0, keepdims=True), weights)[0]
    others = np.flatnonzero(kind == "other")
    others = others[np.argsort(distances[others], kind="stable")[:n]]
    shown = np.concatenate([others, *(np.flatnonzero(kind == name) for name in kinds)])
    points = np.concatenate([weights[shown], states[[case]]])
    plane = PCA(2, svd_solver="full").fit(points[:-1])
    flat = plane.transform(points)
    return pd.DataFrame(
        {
            "item": [*shown, NO_ITEM],
            "title": [*snapshot.titles[shown], "hidden state"],
            "kind": [*kind[shown], "hidden state"],
            "x": flat[:, 0],
            "y": flat[:, 1],
            "off_plane": np.linalg.norm(points - plane.inverse_transform(flat), axis=1),
        }
    )


def _doubles(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """Return W (n, d) and the states (m, d) in double precision."""
    return snapshot.item_embeddings.astype(np.float64), snapshot.states.astype(np.float64)


def _singular_values(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """Return the singular values of `spectra`'s matrices, descending, without forming the (m, n) matrix."""
    differences = (array - array[0] for array in _doubles(snapshot))  # equal rows become exactly 0
    of_items, of_states = (np.linalg.qr(array - array.mean(0)).R for array in differences)
    return {
        "item embeddings": np.linalg.svd(of_items, compute_uv=False),
        "log-probabilities": np.linalg.svd(of_states @ of_items.T, compute_uv=False),
    }


def _shares(singular_values: np.ndarray) -> np.ndarray:
    variances = singular_values**2
    return variances / variances.sum() if variances.any() else np.full(len(variances), np.nan)


def _mean_cosine(units: np.ndarray) -> float:
    """Return the mean over pairs of unit vectors (n, d): ‖Σu‖² = n + the sum over all ordered pairs."""
    n = len(units)
    return ((units.sum(0) ** 2).sum() - n) / (n * (n - 1)) if n > 1 else np.nan


def _rank_correlation(values: np.ndarray, popularity: np.ndarray) -> float:
    if np.ptp(values) == 0 or np.ptp(popularity) == 0:
        return np.nan
    return stats.spearmanr(values, popularity).statistic


def _hubness(weights: np.ndarray) -> float:
    n = len(weights)
    if n < 2:
        return np.nan
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n - 1), algorithm="brute").fit(weights)
    occurrences = np.bincount(search.kneighbors(return_distance=False).ravel(), minlength=n)
    return stats.skew(occurrences) if np.ptp(occurrences) else np.nan


def _compare(facet: str, other: str, one: np.ndarray, two: np.ndarray) -> pd.DataFrame:
    """Return the rows of `facet_distances` for two facets' states (m, d)."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return pd.DataFrame(
        {
            "case": np.arange(len(one)),
            "facet": facet,
            "other": other,
            "distance": np.linalg.norm(one - two, axis=1),
            "cosine": (one * two).sum(1) / norms,
        }
    )


def _check_map(snapshot: Snapshot, case: int, marked: Codes) -> None:
    if not 0 <= case < len(snapshot):
        raise DataError(f"There is no case {case}; cases go from 0 to {len(snapshot) - 1}.")
    wrong = [item for item in marked if not 0 <= item < snapshot.n_items]
    if wrong:
        raise DataError(f"There is no item {wrong[0]} to mark; codes go from 0 to {snapshot.n_items - 1}.")
    if min(snapshot.item_embeddings.shape) < 2:
        raise DataError("A map needs two or more items, with embeddings of two or more dimensions.")
