"""against_rivals and cautions: whether training pays compared with counting, and is finished, for `report.ipynb`."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cprlab.evaluation import MAIN, gains, mean, overall, stacked
from cprlab.training import Run


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
    rows = [_gain(cases, head, rival, seed).assign(against=rival) for rival, head in pairs]
    return pd.concat(rows) if rows else pd.DataFrame()


def behind(cases: Mapping[str, pd.DataFrame], name: str, rivals: Sequence[str], seed: int = 0) -> str:
    """Return a sentence on the best rival that ranks better than a model; "" if none is shown to.

    Args:
        cases: result of `evaluate` by name, of the same users.
        name: the model.
        rivals: models that only count.
        seed: seed of the bootstrap.
    """
    for rival in sorted(rivals, key=lambda rival: mean(cases[rival], MAIN), reverse=True):
        (row,) = _gain(cases, name, rival, seed).itertuples()
        if row.verdict == "worse":
            own, other = mean(cases[name], MAIN), mean(cases[rival], MAIN)
            return (
                f"{name} ranks worse than {rival}, which only counts: its NDCG@10 is {own:.4f} against {other:.4f} "
                f"({row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}])."
            )
    return ""


def cautions(runs: dict[str, Run], trained: Sequence[str], seed: int = 0) -> str:
    """Return sentences on heads that rank worse than counting, and on heads whose training may not be finished.

    Args:
        runs: the runs by head.
        trained: the heads that are trained; the others only count.
        seed: seed of the bootstrap.
    """
    cases = {head: run.cases for head, run in runs.items()}
    said = [behind(cases, head, [rival for rival in runs if rival not in trained], seed) for head in trained]
    rising = [head for head in trained if runs[head].history["ndcg"].idxmax() == runs[head].history.index[-1]]
    if rising:
        said.append(
            f"The validation NDCG@10 was still rising in the last epoch for {', '.join(rising)}: what is reported here "
            "may change with more epochs."
        )
    return " ".join(filter(None, said))


def _gain(cases: Mapping[str, pd.DataFrame], head: str, rival: str, seed: int) -> pd.DataFrame:
    """Return the gain of a head over a rival, a row of `evaluation.gains`, for all cases in the raw ranking."""
    pair = stacked({name: cases[name] for name in (rival, head)})
    return overall(gains(pair, {"head": rival}, seed=seed))
