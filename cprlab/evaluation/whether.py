"""Does a head know when to copy? How well its copy probability separates repeats from new items."""

import numpy as np
import pandas as pd
from scipy.special import entr

from cprlab.evaluation.bootstrap import bounds, shares
from cprlab.evaluation.metrics import METRICS


def knows_when(cases: dict[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Measure whether heads know for whom to copy, not only how often, with 95% bootstrap intervals over users.

    Calibration alone does not show this: predicting the share of repeats for everybody is calibrated.

    Args:
        cases: results of `evaluate` by head. Users count equally; heads without probabilities are left out.
        seed: seed of the bootstrap.

    Returns:
        Rows `head, metric, value, low, high, n` (users): "AUC" (probability that a repeat has a higher copy probability
        than a new item, ties counting half; no row if all cases are of one kind), "loss on whether" (nats), "base rate"
        (the loss of always predicting the share of repeats among these cases, its entropy) and "against the base rate"
        (the difference; below 0 the head knows more).
    """
    rows = []
    for head, of_head in cases.items():
        if of_head["copy_probability"].isna().any():
            continue
        users, user = np.unique(of_head["user"].to_numpy(), return_inverse=True)
        drawn = shares(np.random.default_rng(seed), len(users))
        sample = np.full(len(users), 1 / len(users))
        weights = (np.vstack([sample, drawn]) / np.bincount(user))[:, user]
        repeat = of_head["repeat"].to_numpy(float)
        loss = weights @ METRICS["loss on whether"](of_head, "rank").to_numpy(float) / weights.sum(1)
        share = np.clip(weights @ repeat / weights.sum(1), 0, 1)
        base = entr(share) + entr(1 - share)
        measured = {"loss on whether": loss, "base rate": base, "against the base rate": loss - base}
        if 0 < repeat.mean() < 1:
            measured = {"AUC": area(of_head["copy_probability"].to_numpy(float), repeat, weights)} | measured
        for metric, values in measured.items():
            known = values[1:][~np.isnan(values[1:])]
            rows.append((head, metric, values[0], *bounds(known), len(users)))
    return pd.DataFrame(rows, columns=["head", "metric", "value", "low", "high", "n"])


def area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve (R,) for R sets of weights of the same cases.

    Args:
        scores: (m,).
        positive: (m,) 1 or 0.
        weights: (R, m), at least 0.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # starts of runs of equal scores
    above, below = (
        np.add.reduceat(weights[:, order] * kind[order], starts, axis=1) for kind in (positive, 1 - positive)
    )
    lower = np.cumsum(below, axis=1) - below / 2
    with np.errstate(invalid="ignore"):  # a resample may have one kind only
        return (above * lower).sum(1) / (above.sum(1) * below.sum(1))
