"""Dose and response: CPR's gain as repeats are removed from a log, and on planted logs with a known best loss."""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

from cprlab.data import Sequences, count_repeats, thin_repeats
from cprlab.errors import DataError
from cprlab.evaluation import MAIN, METRICS, estimate

REMOVED: dict[str, Literal["repeats", "all"]] = {"repeats": "repeats", "any": "all"}  # label: what to draw from
BEYOND = "repeats, against as many of any"


def thinned(logs: dict[str, Sequences], doses: Sequence[float]) -> tuple[dict[str, Sequences], pd.DataFrame]:
    """Return each log with shares of its repeats removed, and with the same number of any interactions removed.

    Args:
        logs: logs by name; those without repeats are left out.
        doses: shares of the repeats to remove, from 0 to 1.

    Returns:
        The thinned logs by new names, and a row for each: `data` (new name), `log`, `removed` ("repeats" | "any"),
        `dose`, and counts of the thinned log: `users, interactions, repeats` (share of the interactions), `tested`
        (share of the test items that are among the items read).

    Raises:
        CprlabError: a dose is not a share, no log has repeats, or no user is left.
    """
    made, rows = {}, []
    for (log, sequences), removed, dose in product(logs.items(), REMOVED, doses):
        if not count_repeats(sequences).repeats:
            continue
        name = f"{log}, {dose:.0%} of {removed}"
        made[name] = thin_repeats(sequences, dose, REMOVED[removed])
        counts = count_repeats(made[name])
        shares = counts.repeats / counts.interactions, counts.tested / counts.cases
        rows.append((name, log, removed, dose, counts.users, counts.interactions, *shares))
    if not rows:
        raise DataError(f"Nothing repeats in {', '.join(logs)}, so there is no dose to vary; take a log with repeats.")
    columns = ["data", "log", "removed", "dose", "users", "interactions", "repeats", "tested"]
    return made, pd.DataFrame(rows, columns=columns)


def by_dose(cases: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return `Results.cases` with the labels `data` (the original log), `removed` and `dose` instead of `data`.

    Args:
        cases: cases of runs on `thinned` logs.
        facts: the rows from `thinned`.
    """
    labels = facts[["data", "log", "removed", "dose"]].merge(cases, on="data", how="right")
    return labels.drop(columns="data").rename(columns={"log": "data"})


def changes(cases: pd.DataFrame, base: str, metric: str = MAIN, seed: int = 0) -> pd.DataFrame:
    """Return the change of the gain over a head from the smallest to the largest dose, paired by user.

    Args:
        cases: cases from `by_dose`.
        base: the head that the others are compared with.
        metric: one of `evaluation.METRICS`.
        seed: seed of the bootstrap over users and seeds.

    Returns:
        Rows `data, head, removed, ranking ("raw" | "post"), cases, metric, value, low, high, n`. The third value of
        `removed` is the first minus the second: the effect of repeats, without that of shorter histories.
    """
    rows = []
    for ranking, rank in (("raw", "rank"), ("post", "rank_post")):
        scores = cases.assign(score=METRICS[metric](cases, rank)).set_index(
            ["data", "seed", "user", "removed", "dose", "head"]
        )["score"]
        by_head = scores.unstack("head", sort=False)
        gain = by_head.drop(columns=base).sub(by_head[base], axis=0).unstack("dose")
        for head in gain.columns.levels[0].drop(base, errors="ignore"):
            change = (gain[head].iloc[:, -1] - gain[head].iloc[:, 0]).unstack("removed")
            change[BEYOND] = change["repeats"] - change["any"]
            for (data, of_data), removed in product(change.groupby("data", sort=False), (*REMOVED, BEYOND)):
                values = of_data[removed].unstack("user").to_numpy()  # (S, m)
                labels = {"data": data, "head": head, "removed": removed}
                name = {"ranking": ranking, "cases": "all", "metric": metric}
                rows.append(labels | name | estimate(values, seed)._asdict())
    return pd.DataFrame(rows)


def planted_gain(losses: dict[str, list[pd.DataFrame]], seed: int = 0) -> dict[str, float]:
    """Return the gain of the second of two heads over the first on a plan, in expected loss, in nats.

    Args:
        losses: by head, the result of `training.planted_losses` for each seed.
        seed: seed of the bootstrap.

    Returns:
        `best` (the smallest possible expected loss), `floor` (by how much any single state is at least above it), for
        each head how far its expected loss is above `best`, and `value, low, high, n`: the loss of the first head
        minus that of the second, with its 95% interval over users and seeds.
    """
    of_users = {head: np.stack([of_seed["loss"] for of_seed in of_head]) for head, of_head in losses.items()}  # (S, m)
    first, second = of_users.values()
    known = next(iter(losses.values()))[0][["best", "floor"]].mean()
    above = {head: values.mean() - known["best"] for head, values in of_users.items()}
    return {**known, **above, **estimate(first - second, seed)._asdict()}
