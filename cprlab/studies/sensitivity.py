"""Sensitivity to training settings: how much of the gain between heads is tuning, in words."""

from typing import Any

import pandas as pd

from cprlab.evaluation import gains, means
from cprlab.numbers import as_text
from cprlab.studies.words import Row, caution, gain_in_words, judgement, overall, unfinished
from cprlab.sweeps import Results, tuned, tuning_gains


def sensitivity_answer(results: Results, head: str, usual: dict[str, Any]) -> str:
    """Return Markdown: how far NDCG@10 of each head moves with the settings, and what heads gain once they are tuned.

    Args:
        results: of every head at every combination of the settings.
        head: the one that the others are compared with.
        usual: the settings' values where nothing is tuned.
    """
    levels = overall(means(results.cases))
    same, tuning = overall(gains(results.cases, {"head": head})), overall(tuning_gains(results, head, usual))
    chosen = tuned(results, list(usual)).table.drop_duplicates(["data", "head"])
    lines = []
    for (data, other), rows in same.groupby(["data", "head"], sort=False):
        of_data = levels[levels["data"] == data]
        first, second = (of_data.loc[of_data["head"] == name, "value"] for name in (head, other))
        values = {row.head: row for row in chosen[chosen["data"] == data].itertuples()}
        of_tuned = list(tuning[(tuning["data"] == data) & (tuning["head"] == other)].itertuples())
        lines += [
            f"{other} against {head} on {as_text(data)}, NDCG@10 at {len(rows)} combinations of settings:",
            "",
            f"- **Settings and heads.** {head} reaches {_range(first)}, {other} {_range(second)}: settings move them "
            f"by {first.max() - first.min():.4f} and {second.max() - second.min():.4f}. At like settings the gain is "
            f"{_range(rows['value'], '+')}; its interval is above zero at {(rows['low'] > 0).sum()} of {len(rows)}, "
            f"below at {(rows['high'] < 0).sum()}.",
            f"- **Chosen by validation.** {head}: {_values(values[head], usual)}; {other}: "
            f"{_values(values[other], usual)}.",
            *(f"- **{row.tuned[0].upper()}{row.tuned[1:]} tuned**: {_gain(row)}." for row in of_tuned),
            "",
            _verdict(other, of_tuned),
            "",
        ]
    few = caution(results.cases.groupby("data")["user"].nunique().min())
    return "\n".join([*lines, unfinished(results.table), "", few])


def _verdict(other: str, of_tuned: list[Row]) -> str:
    neither, both = (next(row for row in of_tuned if row.tuned == name) for name in ("neither", "both"))
    found = judgement(both)
    if found == "better":
        return f"So what {other} gains is not tuning alone: {_gain(both)}, once both are tuned."
    if judgement(neither) == "better":
        return f"So tuning may be all of the gain that the usual settings show: {_gain(both)}, once both are tuned."
    return f"So no gain is shown once both are tuned: {_gain(both)}."


def _gain(row: Row) -> str:
    return gain_in_words(row).removeprefix("all ")


def _range(values: pd.Series, sign: str = "") -> str:
    return f"{values.min():{sign}.4f} to {values.max():{sign}.4f}"


def _values(row: Any, usual: dict[str, Any]) -> str:
    return ", ".join(f"{name} {getattr(row, name)}" for name in usual)
