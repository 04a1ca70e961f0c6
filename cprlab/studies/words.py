"""answer: what a report found, in words and numbers."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from cprlab.evaluation import LOWER_IS_BETTER, MAIN, gains, mean, stacked

FEW = 20  # users below which an interval covers its mean too rarely for a verdict
SMALL = 300  # users below which only large gains can be seen
ROUNDED = 0.0005  # a difference that is 0.0 percentage points as printed


class Row(Protocol):
    """A row of a table as `DataFrame.itertuples` gives it: the table's columns are its attributes."""

    def __getattr__(self, column: str, /) -> Any: ...


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


def answer(summary: pd.DataFrame, differences: pd.DataFrame, base: str, rivals: pd.DataFrame | None = None) -> str:
    """Return Markdown: how often each head copies against how often it should, and what each gains over the first.

    Args:
        summary: of `evaluation.means`.
        differences: of `evaluation.gains` over `base`.
        base: the first head.
        rivals: of `against_rivals`.
    """
    everyone = overall(summary).set_index(["head", "metric"])
    observed = everyone.xs("observed repeats", level="metric").iloc[0]
    lines = [f"Of what {observed.n:,} test users took next, {observed.value:.1%} was in their history.", ""]
    for head in everyone.xs("copy excess", level="metric").index:
        copying, excess = everyone.loc[(head, "copy probability")], everyone.loc[(head, "copy excess")]
        lines.append(
            f"- **{head}** put {copying.value:.1%} [{copying.low:.1%}, {copying.high:.1%}] of its probability on the "
            f"history: {excess_in_words(excess)} ({_points(excess.value)} "
            f"[{_points(excess.low)}, {_points(excess.high)}] percentage points against what users did)."
        )
    for head, rows in differences[differences["metric"] == MAIN].groupby("head", sort=False):
        raw = "; ".join(gain_in_words(row) for row in telling(rows[rows["ranking"] == "raw"]).itertuples())
        post = next(rows[(rows["ranking"] == "post") & (rows["cases"] == "all")].itertuples())
        lines.append(f"- NDCG@10 of **{head}** against {base}: {raw}.")
        lines.append(f"- The same once both leave the history out at inference: {gain_in_words(post)}.")
    for row in () if rivals is None else rivals.itertuples():
        lines.append(f"- NDCG@10 of **{row.head}** against {row.against}, which only counts: {gain_in_words(row)}.")
    return "\n".join(lines)


def excess_in_words(excess: pd.Series) -> str:
    """Say in words what the "copy excess" of a head, a row with `value, low, high, n`, means."""
    low, high = excess.low, excess.high
    if excess.n < FEW:
        return "too few users to tell"
    if max(abs(low), abs(high)) < ROUNDED:
        return "as often as users repeat"
    if low <= 0 <= high:
        return "not shown to differ from how often users repeat"
    return "too little" if high < 0 else "too much"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def gain_in_words(row: Row) -> str:
    """Say one row of `evaluation.gains` in words."""
    value, low, high = (round(number, 4) + 0.0 for number in (row.value, row.low, row.high))  # which turns −0 into 0
    return f"{row.cases} {value:+.4f} [{low:+.4f}, {high:+.4f}], {judgement(row)}"


def judgement(row: Row) -> str:
    """Return "better", "worse", "no difference shown" or "too few users to tell" for one row, as `gain_in_words`."""
    if row.n < FEW:
        return "too few users to tell"
    if row.low <= 0 <= row.high:
        return "no difference shown"
    return "better" if (row.value < 0) == (getattr(row, "metric", None) in LOWER_IS_BETTER) else "worse"


def telling(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one log's rows of `evaluation.gains`: of all cases alone if all of them are new."""
    return rows if (rows["cases"] == "repeat").any() else rows[rows["cases"] == "all"]


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `means` or `gains` that are of all cases, ranked with the history left in."""
    return table[(table["cases"] == "all") & (table["ranking"] == "raw")]


def relative_in_words(row: Row) -> str:
    """Say the relative gain of one row of `evaluation.gains`; nothing where the base may be 0."""
    ratios = (row.ratio, row.ratio_low, row.ratio_high)
    if not np.isfinite(ratios).all():
        return ""
    value, low, high = (f"{ratio - 1:+.0%}" for ratio in ratios)
    return f"{value} [{low}, {high}]"


def caution(users: int) -> str:
    """Return a sentence on how little so few test users say, a line of Markdown; nothing where they are many."""
    if users >= SMALL:
        return ""
    return f"*This is a small sample, of {users:,} test users: only large differences can be seen in it.*"


def unfinished(table: pd.DataFrame) -> str:
    """Return a sentence on how many runs of `Results.table` were still getting better when they ended."""
    still = (table["best_epoch"] == table["epochs"]).sum()
    if not still:
        return f"In none of {len(table)} runs was the last epoch the best one."
    return f"In {still} of {len(table)} runs the last epoch was the best one, so longer training may change this."
