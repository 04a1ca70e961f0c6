"""contributions: the gain of each part of a head, from all pairs of heads that differ only in this part."""

from collections.abc import Sequence

import pandas as pd

from cprlab.evaluation import MAIN, gains
from cprlab.models import PARTS, HeadConfig, parse_head

LETTERS = [part.letter for part in PARTS]


def contributions(cases: pd.DataFrame, metrics: Sequence[str] = (MAIN,), seed: int = 0) -> pd.DataFrame:
    """Return the gain of each part where it is the only difference between two of the heads.

    Args:
        cases: as in `Results`.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.

    Returns:
        Rows as in `gains`, after the columns `part` (such as "C" or "R:100") and `over` (the head without it), sorted
        by part. No rows if no two heads differ in one part only.

    Raises:
        ConfigError: as for `gains`.
    """
    tables = []
    for part, head, over in steps(list(cases["head"].unique())):
        found = gains(cases[cases["head"].isin((head, over))], {"head": over}, metrics, seed)
        found.insert(0, "part", part)
        found.insert(1, "over", over)
        tables.append(found)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def steps(heads: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return `(part, head, over)` for all pairs of heads where one is the other plus one part, sorted by part."""
    parsed = {name: parse_head(name) for name in heads}
    found = [(added, head, over) for over in heads for head in heads if (added := _added(parsed[head], parsed[over]))]
    return sorted(found, key=lambda step: LETTERS.index(step[0].partition(":")[0]))


def _added(head: HeadConfig, over: HeadConfig) -> str:
    """Return the part that `head` has and `over` does not; "" if this is not the only difference."""
    if type(head) is not type(over):
        return ""
    differing = [part for part in PARTS if getattr(head, part.field, None) != getattr(over, part.field, None)]
    if len(differing) != 1:
        return ""
    (part,) = differing
    more, less = getattr(head, part.field), getattr(over, part.field)
    if not more or head.switched(**{part.field: less}) != over:
        return ""
    if part.field != "rerank":
        return part.letter
    return f"R:{','.join(str(k) for k in more if k not in less)}" if set(less) < set(more) else ""
