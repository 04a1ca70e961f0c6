"""Baskets: sets of items that a user took together; the next-basket split holds out each user's last two."""

import numpy as np

from cprlab.data.windows import Windows
from cprlab.errors import DataError


def group_baskets(
    users: np.ndarray, items: np.ndarray, times: np.ndarray | None, baskets: np.ndarray | None, log: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of a log to keep, (m,) bool, and where the basket of each kept row begins, (kept,) int64.

    A basket is a user's rows with the same basket number, or with the same time. It is a set: if an item occurs more
    than once in a basket, its first row is kept. Starts are positions among the kept rows.

    Args:
        users: (m,) user codes, non-decreasing.
        items: (m,) item codes.
        times: (m,) times, sorted within each user, or None.
        baskets: (m,) basket numbers, non-decreasing, or None.
        log: name of the log in error messages.

    Raises:
        DataError: the log has no baskets, and no two rows of a user have the same time.
    """
    new = np.diff(users, prepend=-1) != 0
    if baskets is not None:
        new |= np.diff(baskets, prepend=-1) != 0
    elif times is not None:
        new[1:] |= np.diff(times) != 0
    if new.all() or (baskets is None and times is None):
        raise DataError(
            f"{log} has no baskets for the next-basket split: no basket column is named, and no two rows of a user "
            "have the same time. Name the column with --basket, or use the leave-one-out split."
        )
    basket = np.cumsum(new) - 1
    kept = np.zeros(len(users), dtype=bool)
    kept[np.unique(basket * (int(items.max()) + 1) + items, return_index=True)[1]] = True
    begins = np.searchsorted(basket[kept], np.arange(basket[-1] + 1))
    return kept, begins[basket[kept]]


def last_baskets(offsets: np.ndarray, basket_start: np.ndarray) -> np.ndarray:
    """Return (2, n_users) the number of each user's items before the second-to-last basket, and before the last.

    Args:
        offsets: (n_users + 1,) start of each user's items.
        basket_start: (m,) start of each item's basket.
    """
    begin = offsets[:-1]
    test = basket_start[offsets[1:] - 1]
    validation = np.where(test > begin, basket_start[np.maximum(test, 1) - 1], begin)
    return np.stack([validation - begin, test - begin])


def first_baskets(offsets: np.ndarray, basket_start: np.ndarray) -> np.ndarray:
    """Return (n_users,) the number of items in each user's first basket; arguments as in `last_baskets`."""
    begins = np.repeat(offsets[:-1], np.diff(offsets))
    return np.add.reduceat((basket_start == begins).astype(np.int64), offsets[:-1])


def note_baskets_held_out(
    n_rows: int, left_out: int, n_baskets: int, cases: tuple[int, int], n_users: int
) -> tuple[str]:
    """Return the note on a next-basket split: the rows left out, and the number of validation and test users."""
    return (
        f"Next-basket split of {n_baskets:,} baskets: each user's last basket is the test, the one before it the "
        "validation. Every item of such a basket is a target, and the history ends before the basket. "
        f"{left_out:,} of {n_rows:,} rows repeat an item within a basket and are left out. Of {n_users:,} users, "
        f"{cases[0]:,} have a validation basket and {cases[1]:,} a test basket.",
    )


def refuse_baskets(log: str, what: str, starts: np.ndarray | None) -> None:
    """Raise a DataError if a log is split by baskets, which `what` does not support; `starts`: its `basket_start`."""
    if starts is not None:
        raise DataError(f"{log}: {what} does not work with the next-basket split; use leave-one-out.")


def training_windows_of_baskets(
    offsets: np.ndarray, basket_start: np.ndarray, validation: np.ndarray, longest_first: np.ndarray, max_len: int
) -> Windows:
    """Return the training windows of the next-basket split: a target is predicted from the item before its basket.

    Args:
        offsets: (n_users + 1,) start of each user's items.
        basket_start: (m,) start of each item's basket.
        validation: (n_users,) packed position of each user's first held-out item.
        longest_first: (n_users,) maximum number of items that a user's first window reads.
        max_len: maximum number of items that a window reads.
    """
    of_item = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    place = np.arange(len(basket_start))
    targets = place[(basket_start > offsets[of_item]) & (place < validation[of_item])]
    user, at = of_item[targets], basket_start[targets] - 1
    index = at - offsets[user]  # which window scores it: the first one, or which of the later ones
    later = index - longest_first[user]
    window = np.where(later < 0, 0, 1 + later // max(1, max_len // 2))
    new = np.flatnonzero((np.diff(user, prepend=-1) != 0) | (np.diff(window, prepend=-1) != 0))
    n_targets = np.diff(new, append=len(targets))
    stop = at[new + n_targets - 1] + 1
    return Windows(user[new], np.maximum(offsets[user[new]], stop - max_len), stop, targets[new], n_targets)
