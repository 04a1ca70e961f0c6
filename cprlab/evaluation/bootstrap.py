"""Bootstrap intervals of means over users and seeds."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

RESAMPLES = 1000
FEW = 20  # users below which an interval covers its mean too rarely for a verdict, and a share is not drawn
FEW_OF_A_KIND = 10  # cases that repeat, or that do not, below which nothing is fitted to tell them apart
USERS_AT_ONCE = 2**14
USERS_COUNTED = 2**17  # up to this number of users, the draws of all resamples are cached, one byte each
SHAPES = 3  # cached draws; the matrices of one log have this number of shapes


class Estimate(NamedTuple):
    """A mean, its 95% interval, and the number of users."""

    value: float
    low: float
    high: float
    n: int


def judge(found: Estimate, better: Literal["higher", "lower"] | None = "higher") -> str:
    """Return what a difference of means shows.

    Args:
        found: the difference with its interval; any row that has these attributes will do.
        better: which of two values is the better one; None where neither is.

    Returns:
        "better" or "worse" ("more" or "less" where neither value is the better one), "no difference shown" where the
        interval holds 0, or "too few users to tell" below `FEW` of them, whatever the interval.
    """
    if found.n < FEW:
        return "too few users to tell"
    if found.low <= 0 <= found.high:
        return "no difference shown"
    more = found.value > 0
    if better is None:
        return "more" if more else "less"
    return "better" if more == (better == "higher") else "worse"


def estimate(values: np.ndarray, seed: int = 0) -> Estimate:
    """Return the mean of `values`, (S seeds, m users) or (m,), with its interval from `resampled_means`."""
    values = np.atleast_2d(values)
    return Estimate(values.mean(), *bounds(resampled_means(values, seed)), values.shape[1])


def bounds(drawn: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile interval of resampled numbers (R,)."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def resampled_means(values: np.ndarray, seed: int | tuple[int, ...] = 0) -> np.ndarray:
    """Return (1000,) means of `values` (S seeds, m users), resampled over both; the draw depends on the shape only.

    If S = 1, only users are resampled. Seeds and users are crossed, so this is Owen's pigeonhole bootstrap (Annals of
    Applied Statistics 1, 2007), which is conservative.
    """
    n_seeds, n_users = values.shape
    if n_users <= USERS_AT_ONCE:
        seeds, users = _drawn(n_seeds, n_users, seed)
        return np.einsum("rs,rs->r", seeds, users @ values.T)
    drawn = np.zeros((RESAMPLES, n_seeds))
    if n_users <= USERS_COUNTED:
        seeds, counts = _counted(n_seeds, n_users, seed)
        nonzero = np.flatnonzero(values.any(axis=0))  # most users have the value 0 and do not change the sum
        for start in range(0, len(nonzero), USERS_AT_ONCE // 4):
            some = nonzero[start : start + USERS_AT_ONCE // 4]
            drawn += counts[some].T.astype(float) @ values[:, some].T / n_users
    else:
        rng = np.random.default_rng(seed)
        seeds = shares(rng, n_seeds)
        for row, chosen in enumerate(_draws(rng, n_users)):
            drawn[row] = values @ chosen / n_users
    return np.einsum("rs,rs->r", seeds, drawn)


@lru_cache(maxsize=SHAPES)
def _drawn(n_seeds: int, n_users: int, seed: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of seeds (1000, S) and users (1000, m) in each resample."""
    rng = np.random.default_rng(seed)
    return shares(rng, n_seeds), shares(rng, n_users)


@lru_cache(maxsize=SHAPES)
def _counted(n_seeds: int, n_users: int, seed: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of seeds (1000, S), and the counts of users (m, 1000), in each resample."""
    rng = np.random.default_rng(seed)
    seeds, counts = shares(rng, n_seeds), np.empty((RESAMPLES, n_users), np.uint8)
    for row, chosen in enumerate(_draws(rng, n_users)):
        counts[row] = chosen  # with this number of users, none is drawn 256 times
    return seeds, np.ascontiguousarray(counts.T)


def _draws(rng: np.random.Generator, n_users: int) -> Iterator[np.ndarray]:
    """Yield the counts of users (m,) for each resample."""
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(n_users, size=n_users), minlength=n_users)


def shares(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return (1000, n) the weights of n users or seeds, drawn with replacement, in each resample."""
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
