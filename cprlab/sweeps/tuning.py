"""tuned, comparable, tuning_gains: the settings that validation chooses, and how much of a gain is tuning."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cprlab.errors import ConfigError, suggestion
from cprlab.evaluation import MAIN, gains
from cprlab.sweeps.results import Results


def tuned(results: Results, over: Sequence[str]) -> Results:
    """Return the runs at the best values of the settings `over`, for each combination of the other labels.

    The best have the highest NDCG@10 on the validation items, averaged over seeds; of equals, the first are kept.

    Returns:
        Its `table` says which values were chosen; in its `cases` they are no labels any more, so that `gains` compares
        heads whose values differ.

    Raises:
        ConfigError: one of `over` is no label of the runs.
    """
    over = list(over)
    for name in over:
        if name not in results.labels:
            raise ConfigError(f"The runs have no setting {name!r}: {suggestion(name, results.labels)}")
    others = [name for name in results.labels if name not in (*over, "seed")]
    scores = results.table.groupby([*others, *over], sort=False, dropna=False, as_index=False)["validation"].mean()
    best = scores.groupby(others, sort=False, dropna=False)["validation"].idxmax()
    chosen = scores.loc[best].drop(columns="validation")
    return Results(results.table.merge(chosen), results.cases.merge(chosen).drop(columns=over))


def comparable(results: Results, base: dict[str, Any]) -> Results:
    """Return the runs of settings with all seeds, on the data and encoders on which one that `base` names has them.

    So something can be compared where some runs of a grid failed.

    Args:
        results: of a grid, or of a part of it.
        base: labels, as in `{"head": "Softmax"}`.
    """
    setting = [name for name in results.labels if name != "seed"]
    seeds = results.table.groupby(setting, sort=False, dropna=False)["seed"].transform("nunique")
    table = results.table[seeds == results.table["seed"].nunique()]
    based = table.loc[(table[list(base)] == pd.Series(base)).all(axis=1), ["data", "encoder"]].drop_duplicates()
    table = table.merge(based)
    return Results(table, results.cases.merge(table[results.labels]))


def tuning_gains(
    results: Results, head: str, usual: dict[str, Any], metrics: Sequence[str] = (MAIN,), seed: int = 0
) -> pd.DataFrame:
    """Return what heads gain over one head when neither, one of the two, or both are tuned.

    Args:
        results: of a grid with several values of some settings.
        head: the one that the others are compared with.
        usual: the values of these settings of a head that is not tuned; a tuned one has those that `tuned` chooses.
        metrics: names of `evaluation.METRICS`.
        seed: of the bootstrap.

    Returns:
        Rows as of `gains` for every other head, with the label `tuned` in front: "neither", "only" with the one head's
        name, "only" with the other's, "both".

    Raises:
        ConfigError: a setting is unknown, or the usual values are not among those tried.
    """
    best = tuned(results, list(usual)).cases
    as_usual = results.cases.merge(pd.DataFrame([usual])).drop(columns=list(usual))
    if as_usual.empty:
        raise ConfigError(f"There are no runs with the usual values {usual}; run them too.")
    cases = pd.concat([as_usual.assign(tuned=False), best.assign(tuned=True)], ignore_index=True)
    cases.insert(0, "tuned", cases.pop("tuned"))
    tables = []
    for of_first in (False, True):
        found = gains(cases, {"head": head, "tuned": of_first}, metrics, seed)
        found = found[found["head"] != head]
        tables.append(found.assign(tuned=[_which(row.tuned, of_first, row.head, head) for row in found.itertuples()]))
    return pd.concat(tables, ignore_index=True)


def _which(of_other: bool, of_first: bool, other: str, first: str) -> str:
    if of_other == of_first:
        return "both" if of_first else "neither"
    return f"only {first if of_first else other}"
