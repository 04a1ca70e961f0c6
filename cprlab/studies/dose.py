"""Dose and response: what CPR gains as a log's repeats are removed, and on planted logs whose best loss is known."""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from cprlab.data import CopyingPlan, Sequences, count_repeats, thin_repeats
from cprlab.errors import DataError
from cprlab.evaluation import MAIN, METRICS, estimate
from cprlab.studies.words import Row, caution, gain_in_words, relative_in_words
from cprlab.training import fit_plan, planted_losses

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


def planted_gains(
    shares: Sequence[float], heads: tuple[str, str], users: int, seeds: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Return what the second head gains over the first on copying plans, by the true probabilities.

    Args:
        shares: of repeats (`CopyingPlan.share`).
        heads: the two heads' names.
        users: of each log.
        seeds: how many seeds of the training, from 0.
        seed: of the bootstrap.

    Returns:
        Rows `plan ("conflict" | "no conflict"), share, best` (the least expected loss, nats), `floor` (by how much any
        single state is above it, at the least), a column a head (how far its expected loss is above the best), and
        `value, low, high, n`: what the second loses less than the first, with its 95% interval over users and seeds.
    """
    rows = []
    for bottleneck, share in tqdm(list(product((True, False), shares)), desc="planted logs", unit=" logs"):
        plan = CopyingPlan(users=users, share=share, bottleneck=bottleneck)
        losses = {
            head: [planted_losses(plan, fit_plan(plan, head, of_training)) for of_training in range(seeds)]
            for head in heads
        }
        first, second = (np.stack([of_seed["loss"] for of_seed in losses[head]]) for head in heads)  # (S, m)
        known = losses[heads[0]][0][["best", "floor"]].mean()
        rows.append(
            {"plan": "conflict" if bottleneck else "no conflict", "share": share, **known}
            | {head: loss.mean() - known["best"] for head, loss in zip(heads, (first, second), strict=True)}
            | estimate(first - second, seed)._asdict()
        )
    return pd.DataFrame(rows)


def dose_answer(
    facts: pd.DataFrame, gained: pd.DataFrame, changed: pd.DataFrame, planted: pd.DataFrame, base: str
) -> str:
    """Return Markdown: what the gain is at the least and the largest dose, how it changes, and what is known of it.

    Args:
        facts: of `thinned`.
        gained: of `evaluation.gains` of NDCG@10, from the cases of `by_dose`.
        changed: of `changes`.
        planted: of `planted_gains`.
        base: the head that the others are compared with.
    """
    lines = []
    tested = facts[facts["removed"] == "repeats"].set_index(["log", "dose"])["tested"]
    of_all = gained[(gained["cases"] == "all") & (gained["ranking"] == "raw") & (gained["removed"] == "repeats")]
    for (data, head), rows in of_all.groupby(["data", "head"], sort=False):
        lines.append(f"- **{data}**, NDCG@10 of {head} against {base}:")
        for row in _ends(rows, "dose"):
            said = ", ".join(filter(None, (gain_in_words(row), relative_in_words(row))))
            share = f"{tested[data, row.dose]:.0%} of the test items are among those read"
            lines.append(f"  - {row.dose:.0%} of the repeats removed ({share}): {said}.")
        of_head = changed[(changed["data"] == data) & (changed["head"] == head)]
        for ranking, of_ranking in of_head.groupby("ranking", sort=False):
            said = "; ".join(f"*{row.removed}* {_change(row)}" for row in of_ranking.itertuples())
            lines.append(f"  - Change of the gain from the least to the largest dose, {ranking}: {said}.")
    for plan, rows in planted.groupby("plan", sort=False):
        said = "; ".join(
            f"at {row.share:.0%} repeats {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] nats, where any single state "
            f"loses {row.floor:.3f} at the least"
            for row in _ends(rows, "share")
        )
        lines.append(f"- **Planted logs, {plan}**, gain of a context partition: {said}.")
    return "\n".join([*lines, "", caution(int(facts["users"].min()))])


def _ends(rows: pd.DataFrame, x: str) -> tuple[Row, Row]:
    """Return the rows with the least and the largest x."""
    first, *_, last = rows.sort_values(x).itertuples()
    return first, last


def _change(row: Row) -> str:
    changed = "it grows" if row.value > 0 else "it shrinks"
    verdict = "no change shown" if row.low <= 0 <= row.high else changed
    return f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}], {verdict}"
