"""Ties: rows of one user with one time, or of one basket, whose order is not known, and what is done about it."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

Ties = Literal["file", "shuffle", "auto"]
Order = Literal["file", "reversed", "shuffled"]
SEED = 0
SHUFFLED = f"such ties are shuffled (seed {SEED})"
SHARE = 2 / 3  # of steps that go one way, at the least
SORTED = 1e-3  # below this probability it is no chance that so many rise, or fall
BACKWARDS = 0.05  # likewise for times that fall: a file in no order at all loses nothing when it is reversed


def keys(places: np.ndarray, order: Order) -> np.ndarray:
    """Return what rows at these places of the file (m,) are sorted by within ties; different places differ.

    Shuffled, it is the place's number of the generator splitmix64 (Steele, Lea and Flood, OOPSLA 2014), so a row's key
    depends on nothing but its place.
    """
    if order != "shuffled":
        return places if order == "file" else -places
    mixed = (places.astype(np.uint64) + np.uint64(SEED + 1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def ranked(values: pd.Series) -> np.ndarray | None:
    """Return numbers, or text that holds some, as float64 (m,); None where one is no finite number."""
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values.map(str).str.strip(), errors="coerce")
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers if np.isfinite(numbers).all() else None


def sorted_places(values: pd.Series) -> np.ndarray:
    """Return (n,) the place of each value among the different ones, as numbers where all are numbers, else as text."""
    numbers = ranked(values)
    return pd.factorize(values.map(str) if numbers is None else numbers, sort=True)[0]


class TieCounts:
    """Counts ties, and how often what stands in them rises or falls from a row to the next, in the order of the file.

    Attributes:
        tied: rows with the time of the same user's one before, or its basket, that no column puts in order.
        rises: by what is compared, how many steps between different neighbours within ties go up.
        falls: likewise, down.
    """

    def __init__(self, ids: pd.Series, titles: np.ndarray) -> None:
        """Take the log's own ids of the items, and their titles (n_items,), by item code."""
        self._names = {"item ids": ids, "titles": pd.Series(titles, dtype=object)}
        self.tied = 0
        self.rises, self.falls = (dict.fromkeys(self._names, 0) for _ in range(2))
        self._last: list[np.ndarray] = []

    @cached_property
    def _compared(self) -> dict[str, np.ndarray]:
        return {name: sorted_places(values) for name, values in self._names.items()}

    def add(self, *rows: np.ndarray) -> None:
        """Count the next rows, sorted by user and time.

        Args:
            rows: (m,) each: of which user, time, basket and rank they are, and the code of the item.
        """
        rows = tuple(np.concatenate(pair) for pair in zip(self._last, rows, strict=True)) if self._last else rows
        self._last = [values[-1:] for values in rows]
        user, time, basket, rank = (values[1:] == values[:-1] for values in rows[:-1])
        one = user & time & basket & rank
        self.tied += int(np.count_nonzero(one | (user & time & ~basket)))
        before, after = rows[-1][:-1][one], rows[-1][1:][one]
        if not len(before):
            return
        for name, place in self._compared.items():
            self.rises[name] += int(np.count_nonzero(place[after] > place[before]))
            self.falls[name] += int(np.count_nonzero(place[after] < place[before]))

    def settle(self, ties: Ties, n_rows: int, times: Callable[[], tuple[int, int]]) -> tuple[Order, tuple[str, ...]]:
        """Return the order that the rows of ties are to have, and the note on it, if there are any.

        "auto" takes the file's, unless the file shows that it is none: item ids or titles rise (or fall) within ties
        in more than 2/3 of the steps between different neighbours, which an order without regard to them would do with
        a probability below 1/1000 (one-sided binomial test against 1/2); or the file runs newest first, since times
        fall in more than 2/3 of the steps from a user's row to his next, with a probability below 1/20. What is sorted
        is shuffled, and what is newest first is reversed.

        Args:
            ties: what was asked for.
            n_rows: of the log.
            times: gives how often a user's time rises, and falls, from a row of the file to his next.
        """
        if not self.tied:
            return "file", ()
        order, said = self._settle(ties, times)
        tied = f"{self.tied:,} of {n_rows:,} interactions have the time of the same user's one before, or its basket"
        return order, (f"{tied}: {said}.",)

    def _settle(self, ties: Ties, times: Callable[[], tuple[int, int]]) -> tuple[Order, str]:
        if ties != "auto":
            return ("file", "such ties keep the order of the file") if ties == "file" else ("shuffled", SHUFFLED)
        for name in self._names:
            for way, steps in (("rise", self.rises[name]), ("fall", self.falls[name])):
                if one_way(steps, of := self.rises[name] + self.falls[name], SORTED):
                    return "shuffled", f"their {name} {way} in {steps / of:.1%} of the steps, so {SHUFFLED}"
        rises, falls = times()
        if one_way(falls, rises + falls, BACKWARDS):
            return "reversed", "such ties are reversed, since the file runs newest first"
        return "file", "such ties keep the order of the file, which sorts them by neither items nor titles"


def one_way(steps: int, of: int, chance: float) -> bool:
    """Say whether so many of the steps go one way that this is no chance."""
    return bool(steps > SHARE * of and stats.binom.sf(steps - 1, of, 0.5) < chance)
