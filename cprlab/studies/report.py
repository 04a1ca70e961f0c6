"""against_rivals and cautions: whether training pays compared with counting, and is finished, for `report.ipynb`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cprlab.evaluation import MAIN, gains, mean, overall, stacked
from cprlab.evaluation.cases import TOP
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


def guessing(name: str, cases: pd.DataFrame, n_items: int) -> str:
    """Return a sentence on a model that predicts or ranks no better than a uniform guess; "" if it does both.

    The guess loses log n, and its NDCG@10 is the mean gain of a rank that is uniform on the n items.

    Args:
        name: the model.
        cases: result of `evaluate`.
        n_items: number of items, n.
    """
    ranks = np.arange(1, min(TOP, n_items) + 1)
    chance = (1 / np.log2(1 + ranks)).sum() / n_items
    loss, ndcg, said = mean(cases, "log-loss"), mean(cases, MAIN), []
    if loss > np.log(n_items):
        said.append(f"its log-loss is {loss:,.2f} nats, and that of a guess {np.log(n_items):.2f}")
    if ndcg < chance or np.isclose(ndcg, chance):
        said.append(f"its NDCG@10 is {ndcg:.4f}, and that of a guess {chance:.4f}")
    if not said:
        return ""
    return (
        f"{name} is no better than a uniform guess among the items in this: {'; '.join(said)}. Train it again, such as "
        "with a smaller learning rate, before anything said about it here is used."
    )


def cautions(runs: dict[str, Run], trained: Sequence[str], seed: int = 0) -> str:
    """Return sentences on heads that only guess or rank worse than counting, or whose training may not be finished.

    Also on a metric that says nothing since the list holds every item.

    Args:
        runs: the runs by head.
        trained: the heads that are trained; the others only count.
        seed: seed of the bootstrap.
    """
    cases = {head: run.cases for head, run in runs.items()}
    items = {head: run.record["data"]["items"] for head, run in runs.items()}
    said = [guessing(head, cases[head], items[head]) for head in trained]
    if min(items.values()) <= TOP:
        said.append(f"HIT@{TOP} is always 1 with {TOP} items or fewer.")
    said += [behind(cases, head, [rival for rival in runs if rival not in trained], seed) for head in trained]
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
