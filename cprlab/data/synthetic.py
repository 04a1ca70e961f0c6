"""Logs with a planted bottleneck: item embeddings are part of the plan, and what they cost is known in closed form.

The softmaxes p(v) ∝ exp(h · w_v) of all states h over given embeddings W (n, d) are an exponential family. The best fit
among them to wanted probabilities p* has the same mean embedding Σ p*_v w_v as these and, of all that do, the largest
entropy (Wainwright & Jordan, 2008, section 3.6). So an item that lies in the middle of wanted ones, or where one lies,
gets as much as they do: the bottleneck of Chang & McCallum (ACL 2022). With `bottleneck=False` the log is the same, and
the embeddings are such that a single state can have the wanted probabilities.

The embeddings must be kept as they are (`Recommender.freeze_items`) while encoder and head are trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pydantic
from scipy.special import entr

from cprlab.config import Config
from cprlab.data.sequences import Sequences
from cprlab.data.splits import FEWEST
from cprlab.errors import DataError

CORNERS = {"NE": (1, 1), "NW": (-1, 1), "SW": (-1, -1), "SE": (1, -1)}  # of a square in the plane

Histories = Sequence[Sequence[int] | np.ndarray]


class Plan(Config, ABC):
    """What the plans have in common.

    Attributes:
        users: how many there are in the log.
        bottleneck: whether the embeddings have the conflict.
        seed: of the log.
    """

    users: int = pydantic.Field(1500, ge=1)
    bottleneck: bool = True
    seed: int = pydantic.Field(0, ge=0, lt=2**31)

    @abstractmethod
    def sequences(self) -> Sequences:
        """Return the log; its catalogue also holds the items that nobody consumes."""

    @abstractmethod
    def embeddings(self) -> np.ndarray:
        """Return W (n, d), float64, in the order of the item codes of `sequences`."""

    @abstractmethod
    def wanted(self, histories: Histories) -> np.ndarray:
        """Return the probabilities (m, n) from which the log's next item is drawn after each of m histories.

        Raises:
            DataError: a history is none of this plan's, or has no one answer yet.
        """

    @abstractmethod
    def floor(self, histories: Histories) -> np.ndarray:
        """Return (m,) by how many nats the expected loss of any single state is above the best, at the least.

        States that grow without bound approach it.
        """

    @abstractmethod
    def interfering(self, histories: Histories) -> np.ndarray:
        """Return (m, n) bool: items not wanted, to which the best single state gives as much as to wanted ones."""

    def best_loss(self, histories: Histories) -> np.ndarray:
        """Return (m,) the least expected loss, nats: the entropy of the wanted probabilities."""
        return entr(self.wanted(histories)).sum(1)

    def expected_loss(self, histories: Histories, log_probs: np.ndarray) -> np.ndarray:
        """Return (m,) −Σ_v p*_v log p_v, nats, for predictions (m, n) after the histories."""
        wanted = self.wanted(histories)
        return -(wanted * np.where(wanted > 0, log_probs, 0)).sum(1)


class CopyingPlan(Plan):
    """Users copy the four corners of a square in whose middle other items lie.

    A user belongs to one of G groups, and first consumes its corners in random order. Each later item is one of these
    again with probability s, all alike, and else one of P pool items, all alike; nobody consumes a middle item.

        corner of group g   (e_g, ±1, ±1, 0)    wanted s / 4
        middle of group g   (e_g,  0,  0, 0)    0
        pool item           (  0,  0,  0, 1)    (1 − s) / P

    in d = G + 3. The mean of the wanted corners is the middle, so a single state gives its k items as much as each
    corner, s / (4 + k), and misses the best loss by s log((4 + k) / 4). A context partition scores the history's items
    by a state of its own, so that the middle need not follow the corners. Without the conflict each of the four corners
    has a coordinate, shared by the groups, in the place of the plane: d = G + 5.

    Attributes:
        groups: G.
        middles: k, of each group.
        pool: P.
        share: s, of repeats.
        length: items of each user.
    """

    groups: int = pydantic.Field(6, ge=1)
    middles: int = pydantic.Field(3, ge=1)
    pool: int = pydantic.Field(40, ge=1)
    share: float = pydantic.Field(0.7, gt=0, lt=1)
    length: int = pydantic.Field(20, ge=len(CORNERS) + 3)  # the corners, and a target for each split

    def sequences(self) -> Sequences:
        """See `Plan`. Codes: group by group the corners and the middles, then the pool."""
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
                    f"The history of case {case} is not the four corners of one group, and pool items; take histories "
                    f"of {len(CORNERS)} items and more from the log of this plan."
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
        """Items of a group."""
        return len(CORNERS) + self.middles


class ExcludingPlan(Plan):
    """Users consume items of a cluster, none of them twice, and all in the same place.

    A user draws from one of G clusters of c items without replacement, and stops before it is empty, after 4 to c − 1
    items. After t of them each of the c − t that are left is wanted alike: the best loss is log(c − t). All items of
    cluster g have the embedding e_g, d = G, so that a single state gives those consumed as much as the others, and
    misses the best loss by log(c / (c − t)). A context partition gives them scores of their own. Without the conflict
    each of the c items has a coordinate, shared by the clusters, as well: d = G + c.

    Attributes:
        clusters: G.
        size: c.
    """

    clusters: int = pydantic.Field(6, ge=1)
    size: int = pydantic.Field(8, gt=FEWEST)

    def sequences(self) -> Sequences:
        """See `Plan`. Codes: cluster by cluster."""
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
                    f"The history of case {case} is not 1 to {self.size - 1} different items of one cluster; take "
                    "histories from the log of this plan."
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


def _grouped(groups: int, within: np.ndarray) -> np.ndarray:
    """Return (groups · size, groups + width): a one-hot of the group beside the places (size, width) that all share."""
    return np.hstack([np.repeat(np.eye(groups), len(within), axis=0), np.tile(within, (groups, 1))])


def _pack(name: str, items: np.ndarray, lengths: np.ndarray, titles: list[str]) -> Sequences:
    """Return sequences of the first `lengths` (users,) of each user's items (users, longest), which are read whole."""
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
