"""Synthetic logs with a planted bottleneck: item embeddings are part of the plan, and their cost has a closed form.

The softmaxes p(v) ∝ exp(h · w_v) of all states h over given embeddings W (n, d) are an exponential family. The best fit
to target probabilities p* has the same mean embedding Σ p*_v w_v and, among all distributions with this mean, the
largest entropy (Wainwright & Jordan, 2008, section 3.6). So an item between the wanted items, or at the same point as
one, gets as much probability as they do: the bottleneck of Chang & McCallum (ACL 2022). With `bottleneck=False` the log
is the same, but a single state can express the target probabilities over its embeddings.

Freeze the embeddings (`Recommender.freeze_items`) while encoder and head are trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pydantic
from scipy.special import entr

from cprlab.config import Config
from cprlab.data.sequences import Sequences
from cprlab.data.splits import FEWEST
from cprlab.errors import ConfigError, DataError

CORNERS = {"NE": (1, 1), "NW": (-1, 1), "SW": (-1, -1), "SE": (1, -1)}  # of a square in the plane

Histories = Sequence[Sequence[int] | np.ndarray]


class Plan(Config, ABC):
    """Base class of the plans.

    Attributes:
        users: number of users in the log.
        bottleneck: whether the embeddings have the conflict.
        seed: seed of the log.
    """

    users: int = pydantic.Field(1500, ge=1)
    bottleneck: bool = True
    seed: int = pydantic.Field(0, ge=0, lt=2**31)

    @abstractmethod
    def sequences(self) -> Sequences:
        """Return the log; its catalogue includes items that nobody consumes."""

    @abstractmethod
    def embeddings(self) -> np.ndarray:
        """Return W (n, d), float64, in the order of the item codes of `sequences`."""

    @abstractmethod
    def wanted(self, histories: Histories) -> np.ndarray:
        """Return the true probabilities (m, n) of the next item after each of m histories.

        Raises:
            DataError: a history is not from this plan, or is too short to have a unique answer.
        """

    @abstractmethod
    def floor(self, histories: Histories) -> np.ndarray:
        """Return (m,) the infimum, over single states, of the expected loss above the best loss, in nats.

        It is approached by states of growing norm.
        """

    @abstractmethod
    def interfering(self, histories: Histories) -> np.ndarray:
        """Return (m, n) bool: unwanted items that the best single state gives as much probability as wanted ones."""

    def best_loss(self, histories: Histories) -> np.ndarray:
        """Return (m,) the least expected loss in nats: the entropy of the wanted probabilities."""
        return entr(self.wanted(histories)).sum(1)

    def expected_loss(self, histories: Histories, log_probs: np.ndarray) -> np.ndarray:
        """Return (m,) −Σ_v p*_v log p_v in nats, for predictions (m, n) after the histories."""
        wanted = self.wanted(histories)
        return -(wanted * np.where(wanted > 0, log_probs, 0)).sum(1)


class CopyingPlan(Plan):
    """Users copy the four corners of a square, while other items lie in its middle.

    A user belongs to one of G groups and first consumes its corners in random order. Each later item is one of the
    corners with probability s, else one of P pool items, each drawn uniformly. Nobody consumes a middle item.

        corner of group g   (e_g, ±1, ±1, 0)    wanted s / 4
        middle of group g   (e_g,  0,  0, 0)    0
        pool item           (  0,  0,  0, 1)    (1 − s) / P

    with d = G + 3. The mean of the wanted corners is the middle, so a single state gives each of its k items as much
    probability as each corner, s / (4 + k), and misses the best loss by s log((4 + k) / 4). A context partition scores
    the history's items with a separate state, so the middle need not follow the corners. Without the conflict, each of
    the four corners has its own coordinate, shared by the groups, instead of the plane: d = G + 5.

    Attributes:
        groups: G, number of groups.
        middles: k, number of middle items per group.
        pool: P, number of pool items.
        share: s, probability of a repeat.
        length: number of items per user.
    """

    groups: int = pydantic.Field(6, ge=1)
    middles: int = pydantic.Field(3, ge=1)
    pool: int = pydantic.Field(40, ge=1)
    share: float = pydantic.Field(0.7, gt=0, lt=1)
    length: int = pydantic.Field(20, ge=len(CORNERS) + 3)  # the corners, and a target for each split

    def sequences(self) -> Sequences:
        """See `Plan`. Item codes: each group's corners, then its middles; last the pool."""
        rng = np.random.default_rng(self.seed)
        group = rng.integers(self.groups, size=(self.users, 1))
        first = rng.permuted(np.tile(np.arange(len(CORNERS)), (self.users, 1)), axis=1)
        size = (self.users, self.length - len(CORNERS))
        again, new = rng.integers(len(CORNERS), size=size), rng.integers(self.pool, size=size)
        start = group * self._size
        later = np.where(rng.random(size) < self.share, start + again, self.groups * self._size + new)
        within = [f"corner {name}" for name in CORNERS] + [f"middle {place + 1}" for place in range(self.middles)]
        titles = [f"group {group + 1}, {name}" for group in range(self.groups) for name in within]
        titles += [f"pool item {place + 1}" for place in range(self.pool)]
        return _pack("planted-copying", np.hstack([start + first, later]), np.full(self.users, self.length), titles)

    def embeddings(self) -> np.ndarray:
        """See `Plan`."""
        corners = np.array(list(CORNERS.values())) if self.bottleneck else np.eye(len(CORNERS))
        within = np.vstack([corners, np.zeros((self.middles, corners.shape[1]))])
        grouped = _grouped(self.groups, within)
        d = grouped.shape[1] + 1
        return np.vstack([np.pad(grouped, ((0, 0), (0, 1))), np.tile(np.eye(d)[-1], (self.pool, 1))])

    def wanted(self, histories: Histories) -> np.ndarray:
        """See `Plan`; a history has an answer once it holds all four corners of its group."""
        wanted = np.zeros((len(histories), self.groups * self._size + self.pool))
        wanted[:, -self.pool :] = (1 - self.share) / self.pool
        for case, history in enumerate(histories):
            items = np.unique(history)
            group, place = np.divmod(items[items < self.groups * self._size], self._size)
            if len(set(group)) != 1 or place.tolist() != list(range(len(CORNERS))) or items[-1] >= wanted.shape[1]:
                raise DataError(
                    f"The history of case {case} is not the four corners of one group, with or without pool items; use "
                    f"histories of at least {len(CORNERS)} items from this plan's log."
                )
            wanted[case, items[: len(CORNERS)]] = self.share / len(CORNERS)
        return wanted

    def floor(self, histories: Histories) -> np.ndarray:
        """See `Plan`."""
        return np.full(len(histories), self.share * np.log(self._size / len(CORNERS)) if self.bottleneck else 0.0)

    def interfering(self, histories: Histories) -> np.ndarray:
        """See `Plan`: the middle items of the history's group."""
        wanted = self.wanted(histories)
        group = np.any(wanted[:, : -self.pool].reshape(len(wanted), self.groups, self._size), axis=2)
        middle = np.arange(self._size) >= len(CORNERS)
        return np.pad((group[:, :, None] & middle & self.bottleneck).reshape(len(wanted), -1), ((0, 0), (0, self.pool)))

    @property
    def _size(self) -> int:
        """Number of items in a group."""
        return len(CORNERS) + self.middles


class ExcludingPlan(Plan):
    """Users consume items of a cluster, none of them twice, while all of its items have the same embedding.

    A user draws from one of G clusters of c items without replacement and stops before it is empty, after 4 to c − 1
    items. After t items, the c − t that are left are equally likely, so the best loss is log(c − t). All items of
    cluster g have the embedding e_g, d = G, so a single state gives consumed items as much probability as the others
    and misses the best loss by log(c / (c − t)). A context partition scores them separately. Without the conflict, each
    of the c items also has its own coordinate, shared by the clusters: d = G + c.

    Attributes:
        clusters: G, number of clusters.
        size: c, number of items per cluster.
    """

    clusters: int = pydantic.Field(6, ge=1)
    size: int = pydantic.Field(8, gt=FEWEST)

    def sequences(self) -> Sequences:
        """See `Plan`. Item codes: cluster after cluster."""
        rng = np.random.default_rng(self.seed)
        cluster = rng.integers(self.clusters, size=(self.users, 1))
        order = rng.permuted(np.tile(np.arange(self.size), (self.users, 1)), axis=1)
        lengths = rng.integers(FEWEST, self.size, size=self.users)
        titles = [f"cluster {cluster + 1}, item {p + 1}" for cluster in range(self.clusters) for p in range(self.size)]
        return _pack("planted-excluding", cluster * self.size + order, lengths, titles)

    def embeddings(self) -> np.ndarray:
        """See `Plan`."""
        return _grouped(self.clusters, np.zeros((self.size, 0)) if self.bottleneck else np.eye(self.size))

    def wanted(self, histories: Histories) -> np.ndarray:
        """See `Plan`."""
        wanted = np.zeros((len(histories), self.clusters * self.size))
        for case, history in enumerate(histories):
            items = np.unique(history)
            cluster = set(items // self.size)
            if (
                len(cluster) != 1
                or not cluster < set(range(self.clusters))
                or not len(items) == len(history) < self.size
            ):
                raise DataError(
                    f"The history of case {case} is not 1 to {self.size - 1} distinct items of one cluster; use "
                    "histories from this plan's log."
                )
            start = cluster.pop() * self.size
            wanted[case, start : start + self.size] = 1 / (self.size - len(items))
            wanted[case, items] = 0
        return wanted

    def floor(self, histories: Histories) -> np.ndarray:
        """See `Plan`."""
        left = np.count_nonzero(self.wanted(histories), axis=1)
        return np.log(self.size / left) if self.bottleneck else np.zeros(len(left))

    def interfering(self, histories: Histories) -> np.ndarray:
        """See `Plan`: the items consumed."""
        wanted = self.wanted(histories).reshape(-1, self.clusters, self.size) > 0
        return (~wanted & wanted.any(2, keepdims=True) & self.bottleneck).reshape(len(wanted), -1)


def cyclic_polytope(n: int, d: int) -> np.ndarray:
    """Return n items (n, d) of norm 1 of which every set of at most d / 2 can be copied exactly by a single state.

    With k = d / 2, item i has the angle θ = 2π i / n, and w = (cos θ, sin θ, …, cos kθ, sin kθ) / √k. On this moment
    curve the items are the vertices of a cyclic polytope, which is k-neighbourly: at most k items always form a face
    (Gale, 1963; Ziegler, *Lectures on Polytopes*, 1995, chapter 0). The state comes with it. For such a set S,
    −Π_{x∈S} (1 − cos(θ − θ_x)) is a trigonometric polynomial of degree k at most, so it is h · w and a constant; it is
    0 on S and negative elsewhere. Such embeddings guarantee sparse label sets in Grivas et al. (AAAI 2024, 2310.10443).

    So the width d forbids the copying of no history with at most d / 2 distinct items, however many items there are.
    The norm of the state may, as it grows with n, and so may what was learned. A larger S can be ranked above the rest
    if and only if it is made of at most k runs of neighbours, since a polynomial of degree k has at most 2k zeros.

    Raises:
        ConfigError: d is not an even number from 2 to n − 1.
    """
    if d % 2 or not 2 <= d < n:
        raise ConfigError(f"{n} items on the moment curve need an even width from 2 to {n - 1}, not {d}.")
    angles = np.outer(2 * np.pi / n * np.arange(n), np.arange(1, d // 2 + 1))
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(n, d) / np.sqrt(d / 2)


def _grouped(groups: int, within: np.ndarray) -> np.ndarray:
    """Return (groups · size, groups + width): one-hot groups, then the coordinates `within` (size, width) of each."""
    return np.hstack([np.repeat(np.eye(groups), len(within), axis=0), np.tile(within, (groups, 1))])


def _pack(name: str, items: np.ndarray, lengths: np.ndarray, titles: list[str]) -> Sequences:
    """Return sequences of the first `lengths` (users,) of each user's items (users, longest); models read all."""
    consumed = items[np.arange(items.shape[1]) < lengths[:, None]].astype(np.int32)
    return Sequences.pack(
        consumed,
        lengths,
        np.arange(len(items)),
        np.arange(len(titles)),
        np.array(titles, dtype=object),
        max_len=items.shape[1],
        name=name,
        notes=(),
        only_consumed=False,
    )
