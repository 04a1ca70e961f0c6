"""Copy probability: how often a model copies, compared with how often it should."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from sklearn import metrics

from cprlab.errors import DataError
from cprlab.evaluation import calibration, estimate
from cprlab.evaluation.cases import measure
from cprlab.probes.snapshot import Snapshot

BINS = 10  # for the calibration error


def copy_probability(snapshot: Snapshot, scores: Iterable[tuple[slice, torch.Tensor]] | None = None) -> pd.DataFrame:
    """Return the probability that each prediction puts on its history, and how well it ranks.

    The columns are those of `evaluation.evaluate`, so its statistics (of `stacked` cases) and `calibration` also accept
    these cases.

    Returns:
        One row per case: `case`, `length` (of the history), `target`, `repeat` (the target is in the history), `rank`
        (1 is best, among all items), `rank_post` (with the history's items removed; NaN if that removes the target),
        `log_loss` (nats), `copy_probability` (P_copy = Σ p(x) over the history's items), `copied` (share of the top 10
        that is in the history).

    Raises:
        DataError: the scores of a case overflow the arrays' precision.
    """
    parts = []
    for cases, given in scores or snapshot.log_probs():
        histories = snapshot.distinct[cases]
        table = np.full((len(histories), max(map(len, histories))), snapshot.n_items)
        for row, history in zip(table, histories, strict=True):
            row[: len(history)] = history
        parts.append(measure(given, torch.from_numpy(table), torch.from_numpy(snapshot.targets[cases, None])))
    measured = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    if (wrong := measured["copy_probability"].isna()).any():
        raise DataError(
            f"The scores of case {wrong.argmax()} overflow {snapshot.item_embeddings.dtype}; use smaller "
            "item_embeddings and states, or float64."
        )
    measured.insert(0, "case", np.arange(len(snapshot)))
    measured.insert(1, "length", [len(history) for history in snapshot.histories])
    return measured


def copy_scores(cases: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return how well the copy probability predicts repeats, with 95% bootstrap intervals over cases.

    Args:
        cases: from `copy_probability` or `evaluation.evaluate`.
        seed: seed of the bootstrap.

    Returns:
        Rows `measure, value, low, high, n`: "copy probability" and "repeats" (means), "calibration error" (expected,
        over 10 bins with the same number of cases), "Brier score", "AUC" (NaN if all cases repeat, or none),
        "loss on the history" (mean of −log P_copy over targets in the history, nats: the cost of copying too little)
        and "loss off the history" (mean of −log(1 − P_copy) over new targets: the cost of copying too much). The
        calibration error and the AUC have no interval.
    """
    predicted, repeat = cases["copy_probability"].clip(0, 1).to_numpy(float), cases["repeat"].to_numpy(bool)
    binned = calibration(cases, BINS)
    error = float(np.average((binned["predicted"] - binned["observed"]).abs(), weights=binned["n"]))
    area = float(metrics.roc_auc_score(repeat, predicted)) if 0 < repeat.sum() < len(repeat) else np.nan
    with np.errstate(divide="ignore"):
        on, off = -np.log(predicted[repeat]), -np.log1p(-predicted[~repeat])
    rows = [
        ("copy probability", *_mean(predicted, seed)),
        ("repeats", *_mean(repeat.astype(float), seed)),
        ("calibration error", error, np.nan, np.nan, len(cases)),
        ("Brier score", *_mean((predicted - repeat) ** 2, seed)),
        ("AUC", area, np.nan, np.nan, len(cases)),
        ("loss on the history", *_mean(on, seed)),
        ("loss off the history", *_mean(off, seed)),
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "n"])


def _mean(values: np.ndarray, seed: int) -> tuple[float, float, float, int]:
    if not len(values):
        return np.nan, np.nan, np.nan, 0
    if not np.isfinite(values).all():
        return float(values.mean()), np.nan, np.nan, len(values)
    return estimate(values, seed)
