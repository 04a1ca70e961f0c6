"""How much of a log repeats, and when: what decides whether a recommender should copy; and a log with fewer repeats."""

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

    A repeat is an interaction with an item that the same user consumed before: anywhere before, or among the last
    `max_len` items, which is all that a model reads.

    Attributes:
        users: how many there are.
        interactions: of all users.
        repeats: of these, how many repeat an earlier item of the user.
        near: of these, how many repeat one of the user's last `max_len` items.
        tested: test cases whose item is among the `max_len` items before it.
        cases: how many test cases there are: one a user, but for temporal splits.
    """

    users: int
    interactions: int
    repeats: int
    near: int
    tested: int
    cases: int


def count_repeats(sequences: Sequences) -> RepeatCounts:
    """Return how many interactions of the log are repeats, and how many of them a model can see."""
    repeats = near = tested = begin = 0
    targets = sequences.windows("test").first
    for _, gaps in _blocks(sequences):
        reach = sequences.max_len
        if sequences.basket_start is not None:  # what is read ends before the basket
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
    """Return the log's sizes and shares of repeats (see `RepeatCounts`), rows `fact, value`."""
    lengths, counts = np.diff(sequences.offsets), count_repeats(sequences)
    read = f"{sequences.max_len} items"
    facts = {
        "users": f"{sequences.n_users:,}",
        "items": f"{sequences.n_items:,}",
        "interactions": f"{counts.interactions:,}",
        "interactions a user, median (shortest to longest)": (
            f"{np.median(lengths):,.0f} ({lengths.min():,} to {lengths.max():,})"
        ),
        "share of interactions that repeat an earlier item of the user": f"{counts.repeats / counts.interactions:.1%}",
        f"share that repeat one of the user's last {read}": f"{counts.near / counts.interactions:.1%}",
        f"share of test items among the {read} before them": f"{counts.tested / counts.cases:.1%}",
    }
    return pd.DataFrame(facts.items(), columns=["fact", "value"])


def repeat_curve(sequences: Sequences, longest: int = 50) -> pd.DataFrame:
    """Return the share of repeats at each place of a sequence (the paper's analysis of its data sets).

    Returns:
        Rows `position, prefix ("has repeats" | "no repeat yet"), share, low, high, n`: over the users whose first
        position − 1 items do, or do not, hold a repeat, how many repeat an earlier item at `position` (2 … `longest`),
        with the 95% Wilson interval: each user counts once at a position.
    """
    n = np.zeros((longest + 1, 2, 2), dtype=np.int64)  # by position, whether the prefix has repeats, whether it repeats
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
    """Return how many interactions ago the items of repeats were last consumed.

    Returns:
        Rows `gap, share, n`: the repeats whose item the user last consumed at most `gap` (1, 2, 5, 10, 20, 50 …)
        interactions ago, and their share of all repeats, up to the first gap that holds them all. No rows if nothing
        repeats.
    """
    counts = np.zeros(np.diff(sequences.offsets).max(), dtype=np.int64)  # by gap, which is shorter than the sequence
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
    """Return the log without a share of its repeats, drawn at random, for the same users at every share.

    First consumptions stay, so exactly that share of the repeats is gone. A user keeps at least their different items;
    those who have fewer than 4 of these could not be split once all repeats are gone, and are left out at every share.
    What a smaller share removes, a larger one removes as well. The catalogue stays whole.

    Args:
        sequences: the log.
        share: of the repeats, from 0 to 1.
        among: "repeats" removes these. "all" is its control: of each user it removes as many interactions, drawn among
            all of theirs. So histories are as short, and what is missing is no more often a repeat than what stays.
        seed: of the draw.

    Raises:
        ConfigError: the share is none.
        DataError: no user has 4 different items.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"A share of repeats cannot be {share}; give one from 0 to 1.")
    refuse_baskets(sequences.name, "a log with fewer repeats", sequences.basket_start)
    user = np.repeat(np.arange(sequences.n_users), np.diff(sequences.offsets))
    repeat = np.concatenate([gaps for _, gaps in _blocks(sequences)]) > 0
    different = np.bincount(user[~repeat], minlength=sequences.n_users)
    kept_users, _ = keep_users(different, f"{sequences.name} without repeats", FEWEST)
    rng = np.random.default_rng(seed)
    repeats = rng.permutation(np.flatnonzero(repeat & kept_users[user]))
    removed = repeats[: round(share * len(repeats))]
    if among == "all":
        shuffled = np.lexsort((rng.random(len(user)), user))  # user after user, each one's interactions in random order
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
        f"{len(removed):,} {kind} are removed at random (seed {seed}); {short:,} of {sequences.n_users:,} users have "
        f"fewer than {FEWEST} different items and are left out."
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
    )


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of the share `count / n` of independent cases."""
    found = binomtest(int(count), int(n)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


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
