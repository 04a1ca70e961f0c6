"""Splits: hold out each user's last two items or baskets, or what follows two points in time."""

from collections.abc import Sequence
from typing import Literal, NoReturn

import numpy as np

from cprlab.data.times import show_time
from cprlab.errors import DataError

SplitBy = Literal["leave-one-out", "temporal", "next-basket"]
OWN: Literal["files"] = "files"  # the split of a log with a file for each part
FEWEST = 4  # interactions per user: one that is only read, and one target each for training, validation and test
PERCENT = (80, 90)  # of the interactions are before the temporal split's validation, and before its test


def check_protocol(max_len: int, min_interactions: int) -> None:
    """Raise a DataError if histories of these lengths cannot be split."""
    if not FEWEST <= min_interactions < 2**31 or not 1 <= max_len < 2**31:
        raise DataError(
            f"A split needs users with at least {FEWEST} interactions and histories of at least 1 item, both below "
            f"2^31; got {min_interactions} and {max_len}."
        )


def keep_users(lengths: np.ndarray, log: str, min_interactions: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (n_users,) bool, which users have enough interactions, and a note on the others, if any.

    Args:
        lengths: (n_users,) number of interactions per user.
        log: name of the log in error messages.
        min_interactions: users with fewer are left out.

    Raises:
        DataError: no user has enough interactions.
    """
    kept = lengths >= min_interactions
    if not kept.any():
        raise DataError(
            f"{log}: no user has {min_interactions} interactions (the longest history has {lengths.max()}), so there "
            "is nothing to split into training, validation and test. Use longer histories or more users."
        )
    if kept.all():
        return kept, ()
    note = (
        f"{np.count_nonzero(~kept):,} of {len(kept):,} users have fewer than {min_interactions} interactions "
        "and are left out."
    )
    return kept, (note,)


def refuse_no_times(log: str) -> NoReturn:
    """Raise the DataError for a temporal split of a log without times."""
    raise DataError(
        f"{log} has no times for the temporal split. Name the column with --time, or use the leave-one-out split."
    )


def held_out_places(n: int) -> list[int]:
    """Return the positions, among `n` interactions sorted by time, where validation and test begin."""
    return [n * percent // 100 for percent in PERCENT]


def check_cases(
    lengths: np.ndarray, before: np.ndarray, log: str, first: np.ndarray | None = None, *, own: bool = False
) -> tuple[int, int]:
    """Return the number of users with a validation case, and with a test case.

    Args:
        lengths: (n_users,) number of interactions per user.
        before: (2, n_users) number of them before the validation, and before the test.
        log: name of the log in error messages.
        first: (n_users,) number of items before the first target: the first basket in the next-basket split; 1 if
            None.
        own: whether the parts are files of their own.

    Raises:
        DataError: nothing is left for training, validation or test.
    """
    validation, test = before
    cases = {
        "target to train on": validation > (1 if first is None else first),
        "validation case": (validation > 0) & (validation < test),
        "test case": (test > 0) & (test < lengths),
    }
    for name, users in cases.items():
        if not users.any():
            if own:
                raise DataError(f"{log}: the files leave no {name}; the files need rows of the same users.")
            why = (
                "the temporal split leaves no {}, since no user comes back after its points in time"
                if first is None
                else "the next-basket split leaves no {}, since no user has enough baskets"
            ).format(name)
            raise DataError(f"{log}: {why}. Use the leave-one-out split, or more users.")
    return int(cases["validation case"].sum()), int(cases["test case"].sum())


def note_temporal(points: Sequence[float], unit: str, cases: tuple[int, int], n_users: int) -> tuple[str]:
    """Return the note on a temporal split: its points in time, in `unit`, and the number of cases."""
    validation, test = (show_time(point, unit) for point in points)
    return (
        f"Temporal split: training before {validation}, validation until {test}, test from then on "
        f"({PERCENT[0]}% and {PERCENT[1]}% of the interactions come before these times). Each user's first interaction "
        f"in a period is held out, if the user has an earlier one: {cases[0]:,} validation and {cases[1]:,} test cases "
        f"of {n_users:,} users.",
    )
