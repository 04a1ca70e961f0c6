"""Repeat consumption: how much of a log repeats, and when; and copies of a log with fewer repeats."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cprlab.data.baskets import refuse_baskets
from cprlab.data.sequences import AT_ONCE, Sequences
from cprlab.data.splits import FEWEST, keep_users
from cprlab.errors import ConfigError


class RepeatCounts(NamedTuple):
    """How often a log repeats.

    A repeat is an interaction with an item that the same user consumed before, either anywhere before or among the
    last `max_len` items, which is all that a model reads.

    Attributes:
        users: number of users.
        interactions: number of interactions.
        repeats: interactions that repeat an earlier item of the user.
        near: interactions that repeat one of the user's last `max_len` items.
        tested: test cases whose item is among the `max_len` items before it.
        cases: number of test cases: one per user in the leave-one-out split.
    """

    users: int
    interactions: int
    repeats: int
    near: int
    tested: int
    cases: int


def count_repeats(sequences: Sequences) -> RepeatCounts:
    """Count the interactions of a log that are repeats, and those that a model can see."""
    repeats = near = tested = begin = 0
    targets = sequences.windows("test").first
    for _, gaps in _blocks(sequences):
        reach = sequences.max_len
        if sequences.basket_start is not None:  # the history ends before the basket
            places = np.arange(begin, begin + len(gaps))
            reach = reach + places - sequences.basket_start[begin : begin + len(gaps)]
        read = (gaps > 0) & (gaps <= reach)
        repeats += int(np.count_nonzero(gaps))
        near += int(np.count_nonzero(read))
        some = targets[slice(*np.searchsorted(targets, [begin, begin + len(gaps)]))]
        tested += int(np.count_nonzero(read[some - begin]))
        begin += len(gaps)
    return RepeatCounts(sequences.n_users, len(sequences.items), repeats, near, tested, len(targets))


def repeat_statistics(sequences: Sequences) -> pd.DataFrame:
    """Return a log's sizes and shares of repeats (see `RepeatCounts`) as rows `fact, value`."""
    lengths, counts = np.diff(sequences.offsets), count_repeats(sequences)
    read = f"{sequences.max_len} items"
    facts = {
        "users": f"{sequences.n_users:,}",
        "items": f"{sequences.n_items:,}",
        "interactions": f"{counts.interactions:,}",
        "interactions per user, median (shortest to longest)": (
            f"{np.median(lengths):,.0f} ({lengths.min():,} to {lengths.max():,})"
        ),
        "share of interactions that repeat an earlier item of the user": f"{counts.repeats / counts.interactions:.1%}",
        f"share that repeat one of the user's last {read}": f"{counts.near / counts.interactions:.1%}",
        f"share of test items among the {read} before them": f"{counts.tested / counts.cases:.1%}",
    }
    return pd.DataFrame(facts.items(), columns=["fact", "value"])


def repeat_curve(sequences: Sequences, longest: int = 50) -> pd.DataFrame:
    """Return the share of repeats at each position of a sequence (the paper's analysis of its data sets).

    Returns:
        Rows `position, prefix ("has repeats" | "no repeat yet"), share, low, high, n`: among the `n` users whose first
        position − 1 items contain a repeat, or none, the share that repeats an earlier item at `position`
        (2 … `longest`), with its 95% Wilson interval. Each user counts once per position.
    """
    n = np.zeros((longest + 1, 2, 2), dtype=np.int64)  # position, prefix has repeats, item repeats
    for offsets, gaps in _blocks(sequences):
        repeat = gaps > 0
        first = np.repeat(offsets[:-1], np.diff(offsets))
        position = np.arange(len(gaps)) - first + 1
        earlier: np.ndarray = np.cumsum(repeat) - repeat
        shown = position <= longest
        np.add.at(n, (position[shown], (earlier > earlier[first]).astype(int)[shown], repeat.astype(int)[shown]), 1)
    rows = [
        (position, prefix, n[position, has, 1] / total, *wilson(n[position, has, 1], total), total)
        for position in range(2, longest + 1)
        for has, prefix in ((1, "has repeats"), (0, "no repeat yet"))
        if (total := n[position, has].sum())
    ]
    return pd.DataFrame(rows, columns=["position", "prefix", "share", "low", "high", "n"])


def repeat_gaps(sequences: Sequences) -> pd.DataFrame:
    """Return how many interactions ago repeated items were last consumed.

    Returns:
        Rows `gap, share, n`: the number of repeats whose item the user last consumed at most `gap` (1, 2, 5, 10, 20,
        50 …) interactions ago, and their share of all repeats, up to the first gap that covers all. No rows if nothing
        repeats.
    """
    counts = np.zeros(np.diff(sequences.offsets).max(), dtype=np.int64)  # by gap; shorter than the sequence
    for _, gaps in _blocks(sequences):
        counts += np.bincount(gaps[gaps > 0], minlength=len(counts))
    within, longest = np.cumsum(counts), np.flatnonzero(counts).max(initial=0)
    steps = np.array([step * 10**power for power in range(len(str(longest)) + 1) for step in (1, 2, 5)])
    shown = steps[: np.searchsorted(steps, longest) + 1] if longest else steps[:0]
    n = within[np.minimum(shown, longest)]
    return pd.DataFrame({"gap": shown, "share": n / max(1, within[-1]), "n": n})


def thin_repeats(
    sequences: Sequences, share: float, among: Literal["repeats", "all"] = "repeats", seed: int = 0
) -> Sequences:
    """Return the log with a random share of its repeats removed, for the same users at every share.

    First consumptions stay, so exactly this share of the repeats is removed, and each user keeps all distinct items.
    Users with fewer than 4 distinct items are left out at every share, since they could not be split without repeats.
    A larger share removes everything that a smaller one removes. The catalogue does not change.

    Args:
        sequences: the log.
        share: share of the repeats to remove, from 0 to 1.
        among: "repeats" removes repeats. "all" is the control: from each user it removes the same number of
            interactions, drawn from all of them. Histories become equally short, but the removed interactions are
            repeats no more often than the rest.
        seed: seed of the draw.

    Raises:
        ConfigError: the share is not from 0 to 1.
        DataError: no user has 4 distinct items.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"A share of repeats cannot be {share}; give a number from 0 to 1.")
    refuse_baskets(sequences.name, "a log with fewer repeats", sequences.basket_start)
    user = np.repeat(np.arange(sequences.n_users), np.diff(sequences.offsets))
    repeat = np.concatenate([gaps for _, gaps in _blocks(sequences)]) > 0
    different = np.bincount(user[~repeat], minlength=sequences.n_users)
    kept_users, _ = keep_users(different, f"{sequences.name} without repeats", FEWEST)
    rng = np.random.default_rng(seed)
    repeats = rng.permutation(np.flatnonzero(repeat & kept_users[user]))
    removed = repeats[: round(share * len(repeats))]
    if among == "all":
        shuffled = np.lexsort((rng.random(len(user)), user))  # grouped by user, in random order within each user
        place = np.arange(len(user)) - sequences.offsets[user]
        removed = shuffled[place < np.bincount(user[removed], minlength=sequences.n_users)[user]]
    kept = kept_users[user]
    kept[removed] = False
    before = None
    if sequences.before is not None:
        places = np.arange(len(user)) - sequences.offsets[user]
        left = (user[kept & (places < point[user])] for point in sequences.before)
        before = np.stack([np.bincount(of_users, minlength=sequences.n_users)[kept_users] for of_users in left])
    kind, short = "interactions" if among == "all" else "repeats", np.count_nonzero(~kept_users)
    note = (
        f"{len(removed):,} {kind} are removed at random (seed {seed}). {short:,} of {sequences.n_users:,} users have "
        f"fewer than {FEWEST} distinct items and are left out."
    )
    return Sequences.pack(
        sequences.items[kept],
        np.bincount(user[kept], minlength=sequences.n_users)[kept_users],
        sequences.user_ids[kept_users],
        sequences.item_ids,
        sequences.titles,
        max_len=sequences.max_len,
        name=sequences.name,
        notes=(*sequences.notes, note),
        only_consumed=False,
        before=before,
        own=sequences.own,
    )


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of a share `count / n` of independent cases."""
    found = binomtest(int(count), int(n)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _blocks(sequences: Sequences) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the log in blocks of users, so that a long log need not fit in memory.

    Yields:
        `offsets` (users + 1,), the start of each user's interactions in the block, and `gaps` (interactions,), how
        many positions ago the user last had the interaction's item; 0 if never.
    """
    first = 0
    while first < sequences.n_users:
        end = sequences.offsets[first] + AT_ONCE
        stop = max(first + 1, int(np.searchsorted(sequences.offsets, end, side="right")) - 1)
        offsets = sequences.offsets[first : stop + 1]
        items = sequences.items[offsets[0] : offsets[-1]]
        user = np.repeat(np.arange(stop - first), np.diff(offsets))
        order = np.lexsort((items, user))  # stable
        same = (np.diff(user[order]) == 0) & (np.diff(items[order]) == 0)
        gaps = np.zeros(len(items), dtype=np.int64)
        gaps[order[1:][same]] = np.diff(order)[same]
        yield offsets - offsets[0], gaps
        first = stop
