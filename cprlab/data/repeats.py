"""How much of a log repeats: the facts that decide whether a recommender should copy."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cprlab.data.sequences import AT_ONCE, Sequences


def repeat_statistics(sequences: Sequences) -> pd.DataFrame:
    """Return the log's sizes and shares of repeats, rows `fact, value`.

    A repeat is an interaction with an item that the same user consumed before: anywhere before, or among the last
    `max_len` items, which is all that a model reads.
    """
    lengths = np.diff(sequences.offsets)
    repeats = in_input = tested = 0
    for offsets, gaps in _blocks(sequences):
        near = (gaps > 0) & (gaps <= sequences.max_len)
        repeats += np.count_nonzero(gaps)
        in_input += np.count_nonzero(near)
        tested += np.count_nonzero(near[offsets[1:] - 1])
    n = len(sequences.items)
    facts = {
        "users": f"{sequences.n_users:,}",
        "items": f"{sequences.n_items:,}",
        "interactions": f"{n:,}",
        "interactions a user, median (shortest to longest)": (
            f"{np.median(lengths):,.0f} ({lengths.min():,} to {lengths.max():,})"
        ),
        "share of interactions that repeat an earlier item of the user": f"{repeats / n:.1%}",
        f"share that repeat one of the user's last {sequences.max_len} items": f"{in_input / n:.1%}",
        f"share of test items among the {sequences.max_len} items before them": f"{tested / sequences.n_users:.1%}",
    }
    return pd.DataFrame(facts.items(), columns=["fact", "value"])


def repeat_curve(sequences: Sequences, longest: int = 50) -> pd.DataFrame:
    """Return the share of repeats at each place of a sequence (the paper's analysis of its data sets).

    Returns:
        Rows `position, prefix ("has repeats" | "no repeat yet"), share, n`: over the users whose first position − 1
        items do, or do not, hold a repeat, how many repeat an earlier item at `position` (2 … `longest`).
    """
    n = np.zeros((longest + 1, 2, 2), dtype=np.int64)  # by position, whether the prefix has repeats, whether it repeats
    for offsets, gaps in _blocks(sequences):
        repeat = gaps > 0
        first = np.repeat(offsets[:-1], np.diff(offsets))
        position = np.arange(len(gaps)) - first + 1
        earlier = np.cumsum(repeat) - repeat
        shown = position <= longest
        np.add.at(n, (position[shown], (earlier > earlier[first]).astype(int)[shown], repeat.astype(int)[shown]), 1)
    rows = [
        (position, prefix, n[position, has, 1] / total, total)
        for position in range(2, longest + 1)
        for has, prefix in ((1, "has repeats"), (0, "no repeat yet"))
        if (total := n[position, has].sum())
    ]
    return pd.DataFrame(rows, columns=["position", "prefix", "share", "n"])


def _blocks(sequences: Sequences) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a stretch of users at a time, so that memory need not hold all of a long log.

    Yields:
        `offsets` (users + 1,), where each user's interactions begin in the stretch, and `gaps` (interactions,), how
        many places ago its user last had the item of each interaction; 0 if never.
    """
    first = 0
    while first < sequences.n_users:
        end = sequences.offsets[first] + AT_ONCE
        stop = max(first + 1, int(np.searchsorted(sequences.offsets, end, side="right")) - 1)
        offsets = sequences.offsets[first : stop + 1]
        items = sequences.items[offsets[0] : offsets[-1]]
        user = np.repeat(np.arange(stop - first), np.diff(offsets))
        order = np.lexsort((items, user))  # which keeps the order of equal items
        same = (np.diff(user[order]) == 0) & (np.diff(items[order]) == 0)
        gaps = np.zeros(len(items), dtype=np.int64)
        gaps[order[1:][same]] = np.diff(order)[same]
        yield offsets - offsets[0], gaps
        first = stop
