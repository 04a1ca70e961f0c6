"""Capacity: how many items can a single hidden state rank above all others? For random sets, and for histories."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from cprlab.probes.certificates import separable
from cprlab.probes.snapshot import Snapshot


def capacity(n: int, d: int) -> float:
    """Return m*, the set size at which half of all random sets can be ranked above the rest of n items.

    Items are in general position. m* solves min over b of
    m [(1 + b²) Φ(b) + b φ(b)] + (n − m) [(1 + b²) Φ(−b) − b φ(b)] = d: the statistical dimension of the cone of
    separating scores equals that of a random subspace (Gardner, 1988; Gordon, 1988, for Gaussian embeddings). Weller et
    al. (2025) ask instead for which n and d all sets of a size can be, and train the embeddings for it.

    Args:
        n: number of items.
        d: size of the hidden state; if it is at least n / 2, m* is infinite.
    """
    if 2 * d >= n:
        return np.inf

    def dimension(m: float) -> float:
        def at(b: float) -> float:
            own, others = (1 + b**2) * norm.cdf(b) + b * norm.pdf(b), (1 + b**2) * norm.cdf(-b) - b * norm.pdf(b)
            return m * own + (n - m) * others

        return minimize_scalar(at, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10}).fun

    return float(brentq(lambda m: dimension(m) - d, 1e-9, n / 2))


def separable_share(snapshot: Snapshot, sizes: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Return the share of histories whose last items can be copied exactly, by number of items.

    Args:
        snapshot: W, b, and the histories.
        sizes: numbers of distinct items; histories with fewer are left out.
        seed: seed of the random sets.

    Returns:
        Rows `sets ("histories" | "random"), size, share, undecided, n`: the share of sets that some single state ranks
        above all other items (undecided cases count as no), and the share of undecided cases.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        cases = [case for case, history in enumerate(snapshot.distinct) if size <= len(history) < snapshot.n_items]
        if not cases:
            continue
        chosen = snapshot.take(np.array(cases))
        asked = {
            "histories": [_last(history, size) for history in chosen.histories],
            "random": [rng.choice(snapshot.n_items, size, replace=False) for _ in cases],
        }
        for sets, S in asked.items():
            outcomes = np.array([found.outcome for found in separable(chosen, S)])
            rows.append((sets, size, np.mean(outcomes == "yes"), np.mean(outcomes == "undecided"), len(cases)))
    return pd.DataFrame(rows, columns=["sets", "size", "share", "undecided", "n"])


def _last(history: np.ndarray, size: int) -> np.ndarray:
    """Return the `size` distinct items that were consumed last."""
    return np.array(list(dict.fromkeys(history[::-1].tolist()))[:size])
