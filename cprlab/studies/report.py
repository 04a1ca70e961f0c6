"""What `notebooks/report.ipynb` asks beside tables that all can ask for: does training pay against counting?"""

from collections.abc import Sequence

import pandas as pd

from cprlab.evaluation import MAIN, gains, mean, overall, stacked


def against_rivals(cases: dict[str, pd.DataFrame], trained: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return whether training pays: the first trained head against Recent, and the best one against Counts.

    The best one is that of the highest NDCG@10 on these very cases, which favours it.

    Args:
        cases: by head, what `evaluate` gave.
        trained: which heads are trained.
        seed: of the bootstrap.

    Returns:
        Rows of `evaluation.gains` with the label `against`, of all cases as they rank raw; none for a rival that is
        not among the heads.
    """
    best = max(trained, key=lambda head: mean(cases[head], MAIN))
    pairs = [(rival, head) for rival, head in (("Recent", trained[0]), ("Counts", best)) if rival in cases]
    rows = [
        gains(stacked({name: cases[name] for name in pair}), {"head": pair[0]}, seed=seed).assign(against=pair[0])
        for pair in pairs
    ]
    return overall(pd.concat(rows)) if rows else pd.DataFrame()
