"""against_rivals: whether training pays compared with counting, for `notebooks/report.ipynb`."""

from collections.abc import Sequence

import pandas as pd

from cprlab.evaluation import MAIN, gains, mean, overall, stacked


def against_rivals(cases: dict[str, pd.DataFrame], trained: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return the gains of the first trained head over Recent, and of the best trained head over Counts.

    The best head is the one with the highest NDCG@10 on these same cases, which favours it.

    Args:
        cases: result of `evaluate`, by head.
        trained: the heads that are trained.
        seed: seed of the bootstrap.

    Returns:
        Rows of `evaluation.gains` with the label `against`, for all cases in the raw ranking; none for a rival that is
        not among the heads.
    """
    best = max(trained, key=lambda head: mean(cases[head], MAIN))
    pairs = [(rival, head) for rival, head in (("Recent", trained[0]), ("Counts", best)) if rival in cases]
    rows = [
        gains(stacked({name: cases[name] for name in pair}), {"head": pair[0]}, seed=seed).assign(against=pair[0])
        for pair in pairs
    ]
    return overall(pd.concat(rows)) if rows else pd.DataFrame()
