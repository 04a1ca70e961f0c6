"""How much of a log repeats: the facts that decide whether a recommender should copy."""

import numpy as np
import pandas as pd

from cprlab.data.sequences import Sequences


def repeat_statistics(sequences: Sequences) -> pd.DataFrame:
    """Return the log's sizes and shares of repeats, rows `fact, value`.

    A repeat is an interaction with an item that the same user consumed before: anywhere before, or among the last
    `max_len` items, which is all that a model reads.
    """
    lengths, gap = np.diff(sequences.offsets), _gaps(sequences)
    last = sequences.offsets[1:] - 1
    in_input = (gap > 0) & (gap <= sequences.max_len)
    facts = {
        "users": f"{sequences.n_users:,}",
        "items": f"{sequences.n_items:,}",
        "interactions": f"{len(sequences.items):,}",
        "interactions a user, median (shortest to longest)": (
            f"{np.median(lengths):,.0f} ({lengths.min():,} to {lengths.max():,})"
        ),
        "share of interactions that repeat an earlier item of the user": f"{(gap > 0).mean():.1%}",
        f"share that repeat one of the user's last {sequences.max_len} items": f"{in_input.mean():.1%}",
        f"share of test items among the {sequences.max_len} items before them": f"{in_input[last].mean():.1%}",
    }
    return pd.DataFrame(facts.items(), columns=["fact", "value"])


def repeat_curve(sequences: Sequences, longest: int = 50) -> pd.DataFrame:
    """Return the share of repeats at each place of a sequence (the paper's analysis of its data sets).

    Returns:
        Rows `position, prefix ("has repeats" | "no repeat yet"), share, n`: over the users whose first position − 1
        items do, or do not, hold a repeat, how many repeat an earlier item at `position` (2 … `longest`).
    """
    repeats = pd.Series((_gaps(sequences) > 0).astype(int))
    user = np.repeat(np.arange(sequences.n_users), np.diff(sequences.offsets))
    table = pd.DataFrame(
        {
            "position": np.arange(len(user)) - sequences.offsets[user] + 1,
            "repeat": repeats,
            "prefix": np.where(repeats.groupby(user).cumsum() > repeats, "has repeats", "no repeat yet"),
        }
    )
    table = table[table["position"].between(2, longest)]
    grouped = table.groupby(["position", "prefix"])["repeat"]
    return grouped.agg(share="mean", n="size").reset_index()


def _gaps(sequences: Sequences) -> np.ndarray:
    """Return for each packed interaction how many places ago its user last had its item; 0 if never."""
    user = np.repeat(np.arange(sequences.n_users), np.diff(sequences.offsets))
    order = np.lexsort((np.arange(len(user)), sequences.items, user))
    same = (np.diff(user[order]) == 0) & (np.diff(sequences.items[order]) == 0)
    gaps = np.zeros(len(user), dtype=np.int64)
    gaps[order[1:][same]] = np.diff(order)[same]
    return gaps
