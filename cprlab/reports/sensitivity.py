"""Sensitivity to training settings: how much of the gain between heads is tuning, in words."""

from typing import Any

import pandas as pd

from cprlab.reports.answer import caution, gain_in_words, overall
from cprlab.reports.numbers import as_text
from cprlab.sweeps import Results, gains, means, tuned, tuning_gains


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
        lines += [
            f"{other} against {head} on {as_text(data)}, NDCG@10 at {len(rows)} combinations of settings:",
            "",
            f"- **Settings and heads.** {head} reaches {_range(first)}, {other} {_range(second)}: settings move them by "
            f"{first.max() - first.min():.4f} and {second.max() - second.min():.4f}. At like settings the gain is "
            f"{_range(rows['value'], '+')}; its interval is above zero at {(rows['low'] > 0).sum()} of {len(rows)}, "
            f"below at {(rows['high'] < 0).sum()}.",
            f"- **Chosen by validation.** {head}: {_values(values[head], usual)}; {other}: "
            f"{_values(values[other], usual)}.",
        ]
        for row in tuning[(tuning["data"] == data) & (tuning["head"] == other)].itertuples():
            lines.append(
                f"- **{row.tuned[0].upper()}{row.tuned[1:]} tuned.** {gain_in_words(row).removeprefix('all ')}."
            )
        lines.append("")
    still = (results.table["best_epoch"] == results.table["epochs"]).sum()
    lines.append(
        f"In {still} of {len(results.table)} runs the last epoch was the best one, so longer training may change it."
    )
    return "\n".join([*lines, "", caution(results.cases.groupby("data")["user"].nunique().min())])


def _range(values: pd.Series, sign: str = "") -> str:
    return f"{values.min():{sign}.4f} to {values.max():{sign}.4f}"


def _values(row: Any, usual: dict[str, Any]) -> str:
    return ", ".join(f"{name} {getattr(row, name)}" for name in usual)
