"""Which interactions are held out: the last two of each user or baskets, or all behind two points in time."""

from collections.abc import Sequence
from typing import Literal, NoReturn

import numpy as np

from cprlab.data.times import show_time
from cprlab.errors import DataError

SplitBy = Literal["leave-one-out", "temporal", "next-basket"]
FEWEST = 4  # interactions of a user: one that is only read, and a target each for training, validation and test
PERCENT = (80, 90)  # of the interactions lie before the temporal split's validation, and before its test


def check_protocol(max_len: int, min_interactions: int) -> None:
    """Raise a DataError if histories of such lengths cannot be split."""
    if not FEWEST <= min_interactions < 2**31 or not 1 <= max_len < 2**31:
        raise DataError(
            f"A split needs users with at least {FEWEST} interactions and histories of at least 1 item, and both below "
            f"2^31; asked for {min_interactions} and {max_len}."
        )


def keep_users(lengths: np.ndarray, log: str, min_interactions: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (n_users,) which users have enough interactions, and the note on the others, if there are any.

    Args:
        lengths: (n_users,) how many interactions each has.
        log: what to call the log in error messages.
        min_interactions: how many are enough.

    Raises:
        DataError: no user has that many interactions.
    """
    kept = lengths >= min_interactions
    if not kept.any():
        raise DataError(
            f"{log}: no user has {min_interactions} interactions (the longest history holds {lengths.max()}), "
            "so nothing can be split into training, validation and test; bring longer histories, or more users."
        )
    if kept.all():
        return kept, ()
    note = (
        f"{np.count_nonzero(~kept):,} of {len(kept):,} users have fewer than {min_interactions} interactions "
        "and are left out."
    )
    return kept, (note,)


def refuse_no_times(log: str) -> NoReturn:
    """Raise the DataError of a log without times that is to be split by them."""
    raise DataError(
        f"{log} has no times, which the temporal split needs; name their column with --time, or take the "
        "leave-one-out split."
    )


def held_out_places(n: int) -> list[int]:
    """Return which of `n` interactions in order of time are the first of the validation and of the test."""
    return [n * percent // 100 for percent in PERCENT]


def check_cases(lengths: np.ndarray, before: np.ndarray, log: str, first: np.ndarray | None = None) -> tuple[int, int]:
    """Return how many users have a validation and a test case.

    Args:
        lengths: (n_users,) how many interactions each user has.
        before: (2, n_users) how many of them lie before the validation, and before the test.
        log: what to call the log in error messages.
        first: (n_users,) how many items are read before the first target: a basket of the next-basket split; 1 if None.

    Raises:
        DataError: nothing is left to train on, to validate or to test.
    """
    validation, test = before
    cases = {
        "target to train on": validation > (1 if first is None else first),
        "validation case": (validation > 0) & (validation < test),
        "test case": (test > 0) & (test < lengths),
    }
    for name, users in cases.items():
        if not users.any():
            why = (
                "the temporal split leaves no {}, since no user comes back behind its points in time"
                if first is None
                else "the next-basket split leaves no {}, since no user has so many baskets"
            ).format(name)
            raise DataError(f"{log}: {why}; take the leave-one-out split, or more users.")
    return int(cases["validation case"].sum()), int(cases["test case"].sum())


def note_temporal(points: Sequence[float], unit: str, cases: tuple[int, int], n_users: int) -> tuple[str]:
    """Return the note on a temporal split: its points in time, in `unit`, and its validation and test cases."""
    validation, test = (show_time(point, unit) for point in points)
    return (
        f"Temporal split: training before {validation}, validation from then until {test}, test from then on; "
        f"{PERCENT[0]}% and {PERCENT[1]}% of the interactions lie before. Held out is each user's first interaction "
        f"after a point, if the user was there before: {cases[0]:,} validation and {cases[1]:,} test cases of "
        f"{n_users:,} users.",
    )
