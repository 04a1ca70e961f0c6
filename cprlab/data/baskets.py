"""Baskets: sets of items that a user took at once, of which the next-basket split holds out the last two."""

import numpy as np

from cprlab.data.windows import Windows
from cprlab.errors import DataError


def group_baskets(
    users: np.ndarray, items: np.ndarray, times: np.ndarray | None, baskets: np.ndarray | None, log: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of a log to keep, (m,) bool, and where the basket of each kept row begins, (kept,) int64.

    A basket is the rows of a user with one basket's number, or with one time. It is a set: of the rows of one item in
    a basket the first is kept. Where a basket begins is a place among the kept rows.

    Args:
        users: (m,) codes, non-decreasing.
        items: (m,) codes.
        times: (m,) in order for each user, or None.
        baskets: (m,) the number of each row's basket, non-decreasing, or None.
        log: what to call the log in error messages.

    Raises:
        DataError: the log has no baskets, and no two rows of a user have one time.
    """
    new = np.diff(users, prepend=-1) != 0
    if baskets is not None:
        new |= np.diff(baskets, prepend=-1) != 0
    elif times is not None:
        new[1:] |= np.diff(times) != 0
    if new.all() or (baskets is None and times is None):
        raise DataError(
            f"{log} has no baskets, which the next-basket split needs: no column of them is named, and no two rows of "
            "a user have one time; name their column with --basket, or take the leave-one-out split."
        )
    basket = np.cumsum(new) - 1
    kept = np.zeros(len(users), dtype=bool)
    kept[np.unique(basket * (int(items.max()) + 1) + items, return_index=True)[1]] = True
    begins = np.searchsorted(basket[kept], np.arange(basket[-1] + 1))
    return kept, begins[basket[kept]]


def last_baskets(offsets: np.ndarray, basket_start: np.ndarray) -> np.ndarray:
    """Return (2, n_users) how many of each user's items lie before the last basket but one, and before the last one.

    Args:
        offsets: (n_users + 1,) where each user's items begin.
        basket_start: (m,) where the basket of each item begins.
    """
    begin = offsets[:-1]
    test = basket_start[offsets[1:] - 1]
    validation = np.where(test > begin, basket_start[np.maximum(test, 1) - 1], begin)
    return np.stack([validation - begin, test - begin])


def first_baskets(offsets: np.ndarray, basket_start: np.ndarray) -> np.ndarray:
    """Return (n_users,) how many items each user's first basket holds; arguments as in `last_baskets`."""
    begins = np.repeat(offsets[:-1], np.diff(offsets))
    return np.add.reduceat((basket_start == begins).astype(np.int64), offsets[:-1])


def note_baskets_held_out(
    n_rows: int, left_out: int, n_baskets: int, cases: tuple[int, int], n_users: int
) -> tuple[str]:
    """Return the note on a next-basket split: what of a basket is left out, and its validation and test users."""
    return (
        f"Next-basket split: each user's last of {n_baskets:,} baskets is the test, the one before it the validation; "
        "every item of it is a target, and the history ends before it. "
        f"{left_out:,} of {n_rows:,} rows name an item of their basket again and are left out. There are {cases[0]:,} "
        f"validation and {cases[1]:,} test users of {n_users:,}.",
    )


def refuse_baskets(log: str, what: str, starts: np.ndarray | None) -> None:
    """Raise a DataError if a log is split by baskets, for `what` has no use for those; `starts`: its `basket_start`."""
    if starts is not None:
        raise DataError(f"{log}: {what} cannot be had of the next-basket split; take leave-one-out.")


def training_windows_of_baskets(
    offsets: np.ndarray, basket_start: np.ndarray, validation: np.ndarray, longest_first: np.ndarray, max_len: int
) -> Windows:
    """Return what is read and scored in training, where a target is predicted from the item before its basket.

    Args:
        offsets: as in `last_baskets`; likewise `basket_start`.
        basket_start: where the basket of each item begins.
        validation: (n_users,) the packed position from which on a user's items are held out.
        longest_first: (n_users,) how many items the first of a user's windows reads at the most.
        max_len: how many items a window reads at the most.
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
