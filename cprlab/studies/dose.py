"""Dose and response: what CPR gains as a log's repeats are removed, and on planted logs whose best loss is known."""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

from cprlab.data import Sequences, count_repeats, thin_repeats
from cprlab.errors import DataError
from cprlab.evaluation import MAIN, METRICS, estimate

REMOVED: dict[str, Literal["repeats", "all"]] = {"repeats": "repeats", "any": "all"}  # what goes, and drawn among what
BEYOND = "repeats, against as many of any"


def thinned(logs: dict[str, Sequences], doses: Sequence[float]) -> tuple[dict[str, Sequences], pd.DataFrame]:
    """Return each log with shares of its repeats removed, and with as many interactions removed, whatever they are.

    Args:
        logs: by name; those without repeats are left out.
        doses: shares of the repeats that are removed, from 0 to 1.

    Returns:
        The thinned logs by a name of their own, and a row for each: `data` (that name), `log`, `removed` ("repeats" |
        "any"), `dose`, then what is measured, `users, interactions, repeats` (share of the interactions), `tested`
        (share of the test items that are among the items read).

    Raises:
        CprlabError: a dose is no share, no log has repeats, or no user is left.
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
    """Return `Results.cases` with the labels `data` (the log before), `removed` and `dose` in the place of `data`.

    Args:
        cases: of runs on `thinned` logs.
        facts: of `thinned`.
    """
    labels = facts[["data", "log", "removed", "dose"]].merge(cases, on="data", how="right")
    return labels.drop(columns="data").rename(columns={"log": "data"})


def changes(cases: pd.DataFrame, base: str, metric: str = MAIN, seed: int = 0) -> pd.DataFrame:
    """Return how much the gain over a head changes from the least dose to the largest, paired user by user.

    Args:
        cases: of `by_dose`.
        base: the head that the others are compared with.
        metric: one of `evaluation.METRICS`.
        seed: of the bootstrap over users and seeds.

    Returns:
        Rows `data, head, removed, ranking ("raw" | "post"), cases, metric, value, low, high, n`. The third row of
        `removed` is the first one minus the second: what is due to repeats, and not to shorter histories.
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
    """Return what the second of two heads gains over the first on a plan, by the true probabilities.

    Args:
        losses: by head, those of `training.planted_losses` of each seed.
        seed: of the bootstrap.

    Returns:
        `best` (the least expected loss, nats), `floor` (by how much any single state is above it, at the least), for
        each head how far its expected loss is above the best, and `value, low, high, n`: what the second loses less
        than the first, with its 95% interval over users and seeds.
    """
    of_users = {head: np.stack([of_seed["loss"] for of_seed in of_head]) for head, of_head in losses.items()}  # (S, m)
    first, second = of_users.values()
    known = next(iter(losses.values()))[0][["best", "floor"]].mean()
    above = {head: values.mean() - known["best"] for head, values in of_users.items()}
    return {**known, **above, **estimate(first - second, seed)._asdict()}
