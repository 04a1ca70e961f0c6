"""What a log's repeats are, in words and numbers."""

import pandas as pd

from cprlab.data import RepeatCounts
from cprlab.data.repeats import wilson
from cprlab.studies.words import FEW, caution


def repeats_answer(counts: dict[str, RepeatCounts], curve: pd.DataFrame, gaps: pd.DataFrame, max_len: int) -> str:
    """Return Markdown: how much each log repeats, whether one repeat announces the next, and how soon items come back.

    Args:
        counts: of `data.count_repeats`, by log.
        curve: of `data.repeat_curve`, with the log's name in the column `data`.
        gaps: of `data.repeat_gaps`, likewise.
        max_len: how many items a model reads.
    """
    lines = []
    for name, of_log in counts.items():
        start = f"- **{name}** ({of_log.users:,} users)"
        if not of_log.repeats:
            lines.append(f"{start}: nobody consumes an item again, so whatever a model puts on the history is lost.")
            continue
        tested = _share(of_log.tested / of_log.cases, *wilson(of_log.tested, of_log.cases))
        lines.append(
            f"{start}: {of_log.repeats / of_log.interactions:.1%} of the interactions repeat an earlier item of the "
            f"user, and {tested} of the users end with an item that is among the {max_len} before it. "
            f"{_announced(curve[curve['data'] == name])} {_soon(gaps[gaps['data'] == name], of_log, max_len)}"
        )
    return "\n".join([*lines, "", caution(min(of_log.users for of_log in counts.values()))])


def _announced(curve: pd.DataFrame) -> str:
    """Compare the users with and without a repeat so far, at the place where the smaller group is largest.

    Each user counts once at a place, and all have consumed as much there.
    """
    with_repeat, without = (
        curve[curve["prefix"] == prefix].set_index("position") for prefix in ("has repeats", "no repeat yet")
    )
    smaller = pd.concat([with_repeat["n"], without["n"]], axis=1, join="inner").min(axis=1)
    if smaller.max() < FEW or smaller.empty:
        return "Too few users have a repeat, or none, at the same place to tell whether one announces the next."
    place = smaller.idxmax()
    one, other = with_repeat.loc[place], without.loc[place]
    if one.low > other.high:
        verdict = "One repeat announces the next"
    elif one.high < other.low:
        verdict = "One repeat makes the next less likely"
    else:
        verdict = "It is not shown that one repeat announces the next"
    return (
        f"{verdict}: of the users who have repeated by their item {place - 1}, "
        f"{_share(one.share, one.low, one.high)} repeat with the following one, of the others "
        f"{_share(other.share, other.low, other.high)}."
    )


def _soon(gaps: pd.DataFrame, counts: RepeatCounts, max_len: int) -> str:
    half, read = gaps[gaps["share"] >= 0.5].iloc[0], counts.near / counts.repeats
    return (
        f"{half.share:.0%} of the repeats come within {half.gap:,.0f} interactions, and {read:.1%} within the "
        f"{max_len} that a model reads."
    )


def _share(value: float, low: float, high: float) -> str:
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"
