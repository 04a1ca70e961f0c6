"""Does a head know when to copy? How well its copy probability tells repeats from new items, beside the base rate."""

import numpy as np
import pandas as pd
from scipy.special import entr

from cprlab.evaluation.bootstrap import bounds, shares
from cprlab.evaluation.metrics import METRICS


def knows_when(cases: dict[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Return whether heads know for whom to copy, and not only how often, with 95% bootstrap intervals over users.

    Calibration in the large is not knowledge: who says the share of repeats to everybody is calibrated.

    Args:
        cases: by head, what `evaluate` gave; a user's cases count as one. Heads without probabilities are left out.
        seed: of the bootstrap.

    Returns:
        Rows `head, metric, value, low, high, n` (users): "AUC" (the chance that a repeat has a higher copy probability
        than a new item, equal ones counting half; none where all cases are of one kind), "loss on whether" (nats),
        "base rate" (the same loss for always saying the share of repeats among these cases, its entropy) and "against
        the base rate" (the difference of both; below 0 a head knows more).
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
    """Return the area under the ROC curve (R,) for R weightings of the same cases.

    Args:
        scores: (m,).
        positive: (m,) 1 or 0.
        weights: (R, m), at least 0.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where runs of equal scores begin
    above, below = (
        np.add.reduceat(weights[:, order] * kind[order], starts, axis=1) for kind in (positive, 1 - positive)
    )
    lower = np.cumsum(below, axis=1) - below / 2
    with np.errstate(invalid="ignore"):  # a resample may hold one kind alone
        return (above * lower).sum(1) / (above.sum(1) * below.sum(1))
