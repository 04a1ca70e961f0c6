"""Ties: rows of one user with one time, or of one basket, whose order nobody knows, and what is done about it.

A file has them in some order. Where that order is a sorting, by item or title, a model would learn the sorting and be
praised for it, since the next item is then known to come later in the alphabet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.errors import ConfigError, DataError, suggestion

Ties = Literal["auto", "file", "shuffle"]

# More than this share of the steps goes one way, and that would come of a random order once in a thousand logs at most.
# The steps of a random order lean against one another, so that the test errs on the safe side.
FAR, RARE = 2 / 3, 1e-3


@dataclass(frozen=True)
class TieOrder:
    """In which order ties are taken.

    Attributes:
        how: as in the file, from its end, in a random order that is always the same, or by a column.
        why: what the end of a note says of it.
    """

    how: Literal["file", "reversed", "shuffled", "column"]
    why: str

    def keys(self, places: np.ndarray, column: np.ndarray | None = None) -> np.ndarray:
        """Return what sorts the rows of a tie, given their places in the file (m,) and a column's values, if any."""
        match self.how:
            case "file":
                return places
            case "reversed":
                return -places
            case "shuffled":
                return scrambled(places)
            case "column":
                assert column is not None
                return column


def parse_ties(name: str) -> Ties:
    """Return the way to take ties of this name.

    Raises:
        ConfigError: there is none.
    """
    known: dict[str, Ties] = {ties: ties for ties in get_args(Ties)}
    if name not in known:
        raise ConfigError(f"Unknown ties {name!r}: {suggestion(name, known)}")
    return known[name]


def scrambled(places: np.ndarray) -> np.ndarray:
    """Return an int64 for each place, random to look at, always the same (SplitMix64; Steele et al., OOPSLA 2014)."""
    z = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.int64)


def ranks(item_ids: Iterable, titles: Iterable) -> dict[str, np.ndarray]:
    """Return (n,) the rank of each item by its id, as a number if all are, and by its title; equal ones share one."""
    ids = pd.Series(np.asarray(item_ids, dtype=object)).astype(str)
    numbers = pd.to_numeric(ids, errors="coerce")
    found = {"item ids": numbers if numbers.notna().all() else ids, "titles": pd.Series(list(titles), dtype=str)}
    return {what: values.rank(method="dense").to_numpy(np.int64) for what, values in found.items()}


def choose_order(ties: Ties, column: str, steps: dict[str, tuple[int, int]], newest: tuple[int, int]) -> TieOrder:
    """Return how ties are taken.

    Args:
        ties: what was asked for; auto takes the order of the file, unless that is a sorting or runs newest first.
        column: one that tells the order within ties; empty where there is none.
        steps: by what items can be sorted: how many steps from one row of a tie to the next, in file order, rise, and
            how many fall.
        newest: how many steps from one row of a user to the next, in file order, go back in time, and how many forth.
    """
    if ties == "shuffle":
        return TieOrder("shuffled", "they are shuffled, with a fixed seed.")
    if ties == "file":
        return TieOrder("file", "they keep the order of the file.")
    if column:
        return TieOrder("column", f"they are ordered by the column {column!r}.")
    for what, (up, down) in steps.items():
        for way, many, few in (("rise", up, down), ("fall", down, up)):
            if _one_way(many, few):
                share = many / (many + few)
                return TieOrder(
                    "shuffled",
                    f"the file sorts them ({what} {way} in {share:.1%} of the steps), which is no order of events, so "
                    "they are shuffled, with a fixed seed; ask for the file's order with --ties file.",
                )
    if _one_way(*newest):
        return TieOrder("reversed", "the file runs newest first, so they are taken from its end.")
    return TieOrder("file", "they keep the order of the file.")


def _one_way(many: int, few: int) -> bool:
    """Say whether steps go one way far more often than chance."""
    total = many + few
    return total > 0 and many / total > FAR and bool(stats.binom.sf(many - 1, total, 0.5) < RARE)


def count_steps(same: np.ndarray, values: np.ndarray) -> tuple[int, int]:
    """Return how many steps between neighbours rise, and how many fall.

    Args:
        same: (m − 1,) bool, which neighbours belong together.
        values: (m,).
    """
    steps = np.diff(values)[same]
    return int(np.count_nonzero(steps > 0)), int(np.count_nonzero(steps < 0))


def read_positions(values: pd.Series, log: str, first_line: int) -> np.ndarray:
    """Return the numbers of a column that tells the order within ties.

    Raises:
        DataError: a value is no number.
    """
    numbers = pd.to_numeric(values.astype("string"), errors="coerce")
    if (bad := ~np.isfinite(numbers.to_numpy(np.float64, na_value=np.nan))).any():
        row = int(bad.argmax())
        raise DataError(
            f"{log}, line {first_line + row}: {str(values.iloc[row])[:60]!r} in the column {values.name!r} is no "
            "number, as the order of rows is; rename the column, or take the file's order with --ties file."
        )
    return numbers.to_numpy(np.float64)


def sort_rows(
    users: np.ndarray,
    moments: np.ndarray | None,
    starts: np.ndarray | None,
    by: dict[str, np.ndarray],
    ties: Ties,
    position: str,
    values: np.ndarray | None,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, TieOrder]:
    """Return the order (m,) of a log's rows, user after user, and how ties were taken.

    Args:
        users: (m,) codes, in the order of the file.
        moments: (m,) times, one for all rows of a basket; None where the order of the file is that of events.
        starts: (m,) the place of the first row of each row's basket; None where there are no baskets.
        by: (m,) each, ranks of the items, by what a file may sort them.
        ties: what was asked for.
        position: the name of a column that tells the order within ties, or "".
        values: (m,) of that column.
        places: (m,) of the rows in the file, rising; None: 0, 1, ….
    """
    places = np.arange(len(users)) if places is None else places
    groups = tuple(key for key in (starts, moments, users) if key is not None)
    if len(groups) == 1:
        return np.lexsort((places, users)), TieOrder("file", "")
    in_file = np.lexsort((places, *groups))
    tied = np.logical_and.reduce([np.diff(key[in_file]) == 0 for key in groups])
    steps = {what: count_steps(tied, ranks[in_file]) for what, ranks in by.items()}
    of_user = np.lexsort((places, users))
    forth, back = (0, 0) if moments is None else count_steps(np.diff(users[of_user]) == 0, moments[of_user])
    chosen = choose_order(ties, position, steps, (back, forth))
    keys = [chosen.keys(places, values), *groups]
    if starts is not None and chosen.how == "reversed":
        keys[1] = -starts
    return np.lexsort(keys), chosen
