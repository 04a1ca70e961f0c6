"""Ties: a user's rows with the same time or basket, whose order is unknown, and how they are ordered."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.data.doubts import changes

Ties = Literal["file", "shuffle", "auto"]
Order = Literal["file", "reversed", "shuffled"]
SEED = 0
SHUFFLED = f"such ties are shuffled (seed {SEED})"
SHARE = 2 / 3  # minimum share of steps in one direction
SORTED = 1e-3  # p-value below which ids or titles count as sorted
BACKWARDS = 0.05  # the same for falling times; reversing a file without order does no harm


def keys(places: np.ndarray, order: Order) -> np.ndarray:
    """Return unique sort keys within ties for rows at these positions (m,) in the file.

    The keys of a shuffle are the positions' outputs of the generator splitmix64 (Steele, Lea and Flood, OOPSLA 2014),
    so a row's key depends only on its position.
    """
    if order != "shuffled":
        return places if order == "file" else -places
    mixed = (places.astype(np.uint64) + np.uint64(SEED + 1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def ranked(values: pd.Series) -> np.ndarray | None:
    """Return numbers, or text that contains numbers, as float64 (m,); None unless all are finite numbers."""
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values.map(str).str.strip(), errors="coerce")
    numbers = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers if np.isfinite(numbers).all() else None


def sorted_places(values: pd.Series) -> np.ndarray:
    """Return (n,) the rank of each value among the distinct ones, compared as numbers if all are, else as text."""
    numbers = ranked(values)
    return pd.factorize(values.map(str) if numbers is None else numbers, sort=True)[0]


class TieCounts:
    """Counts ties, and how often item ids and titles rise or fall within them, in file order.

    Attributes:
        tied: rows with the time or basket of the same user's previous row that no column puts in order.
        rises: number of steps within ties, between different neighbours, that go up; by what is compared.
        falls: the same for steps that go down.
    """

    def __init__(self, ids: pd.Series, titles: np.ndarray) -> None:
        """Take the log's own item ids and titles, (n_items,) each, by item code."""
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
            rows: (m,) each: user, time, basket, rank and item code.
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
        """Decide the order of tied rows; return it with a note, if there are any.

        "auto" keeps the file's order, with two exceptions. Ties are shuffled if they are sorted: item ids or titles
        rise (or fall) in more than 2/3 of the steps between different neighbours, with p < 1/1000 in a one-sided
        binomial test against 1/2. Ties are reversed if the file runs newest first: times fall in more than 2/3 of the
        steps from a user's row to the next, with p < 1/20.

        Args:
            ties: the requested order.
            n_rows: number of rows of the log.
            times: returns how often the time rises, and falls, from a user's row in the file to the next.
        """
        if not self.tied:
            return "file", ()
        tied = f"{self.tied:,} of {n_rows:,} interactions have the time or basket of the same user's previous one"
        if ties == "shuffle":
            return "shuffled", (f"{tied}: {SHUFFLED}.",)
        rising = self._sorted()
        backwards = not rising and one_way((steps := times())[1], sum(steps), BACKWARDS)
        kept = f"{tied}: such ties keep the order of the file"
        if ties == "file":
            why = f"although their {rising}" if rising else "although it runs newest first" if backwards else ""
            return "file", (changes(f"{kept}, {why}.") if why else f"{kept}.",)
        if rising:
            return "shuffled", (f"{tied}: their {rising}, so {SHUFFLED}.",)
        if backwards:
            return "reversed", (f"{tied}: such ties are reversed, since the file runs newest first.",)
        return "file", (f"{kept}, which sorts them by neither item ids nor titles.",)

    def _sorted(self) -> str:
        """Return what rises or falls within ties, and in how many steps; empty if ties are not sorted."""
        for name in self._names:
            for way, steps in (("rise", self.rises[name]), ("fall", self.falls[name])):
                if one_way(steps, of := self.rises[name] + self.falls[name], SORTED):
                    return f"{name} {way} in {steps / of:.1%} of steps"
        return ""


def one_way(steps: int, of: int, chance: float) -> bool:
    """Return whether significantly more than half of the steps, and more than `SHARE`, go one way."""
    return bool(steps > SHARE * of and stats.binom.sf(steps - 1, of, 0.5) < chance)


def count_steps(times: np.ndarray, users: np.ndarray) -> tuple[int, int]:
    """Return how often the time rises, and falls, from a user's row in the file to the next."""
    order = np.argsort(users, kind="stable")
    before, after = times[order][:-1], times[order][1:]
    one = np.diff(users[order]) == 0
    return int(np.count_nonzero(one & (after > before))), int(np.count_nonzero(one & (after < before)))
