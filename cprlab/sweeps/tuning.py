"""tuned, comparable, tuning_gains: settings chosen by validation, and how much of a gain is due to tuning."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cprlab.errors import ConfigError, suggestion
from cprlab.evaluation import MAIN, gains
from cprlab.sweeps.results import Results


def tuned(results: Results, over: Sequence[str]) -> Results:
    """Return the runs with the best values of the settings `over`, for each combination of the other labels.

    The best values have the highest validation NDCG@10, averaged over seeds; the first ones if equal.

    Returns:
        Results whose `table` has the chosen values. Its `cases` do not have them as labels, so that `gains` compares
        heads with different values.

    Raises:
        ConfigError: one of `over` is not a label of the runs.
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
    """Return the runs of settings with all seeds, on data and encoders where a setting with `base`'s labels has all.

    This allows comparisons if some runs of a grid failed.

    Args:
        results: results of a grid, or of a part of it.
        base: labels, such as `{"head": "Softmax"}`.
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
    """Return the gains of heads over one head when neither, either, or both are tuned.

    Args:
        results: results of a grid with several values of some settings.
        head: the head that the others are compared with.
        usual: values of these settings for a head that is not tuned; a tuned head has those that `tuned` chooses.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.

    Returns:
        Rows as in `gains` for every other head, with the label `tuned` in front: "neither", "only HEAD" for either
        head, or "both".

    Raises:
        ConfigError: a setting is unknown, or the usual values were not tried.
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
