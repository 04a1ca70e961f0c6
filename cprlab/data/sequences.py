"""Sequences: each user's items in order, packed in one array, and the windows that models are trained and tested on."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch

from cprlab.data.log import InteractionLog
from cprlab.errors import DataError

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Windows:
    """Stretches of the packed items that a model reads, each with targets behind its last positions.

    Window i reads `items[start[i]:stop[i]]`; the targets of its last `n_targets[i]` positions are the items one place
    further on. Training windows have many targets; a validation or test case has one.

    Attributes:
        user: (m,) int64, code of the user.
        start: (m,) int64, first packed position read.
        stop: (m,) int64, one past the last packed position read.
        n_targets: (m,) int64, how many of the last positions are scored.
    """

    user: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    n_targets: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        """(m,) how many items each window reads."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch:
    """Windows as tensors, padded on the right with the code `n_items`.

    Attributes:
        items: (B, L) int64, what is read.
        at: (B, T) int64, the positions that are scored.
        targets: (B, T) int64, the item that came next, −1 where there is none (a window with fewer targets).
        users: (B,) int64, code of each window's user.
    """

    items: torch.Tensor
    at: torch.Tensor
    targets: torch.Tensor
    users: torch.Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on another device."""
        return type(self)(*(tensor.to(device) for tensor in (self.items, self.at, self.targets, self.users)))


@dataclass(frozen=True)
class Sequences:
    """Every user's items in order, with the leave-one-out split.

    A user's last item is the test target, the one before it the validation target, and all earlier ones but the first
    are training targets (the paper's protocol). A model reads at most the last `max_len`
    items before a target.

    Attributes:
        items: (m,) int32, item codes 0 … n_items − 1, packed user after user.
        offsets: (n_users + 1,) int64, where each user's items begin.
        user_ids: (n_users,) the log's own user ids.
        item_ids: (n_items,) the log's own item ids.
        titles: (n_items,) str.
        max_len: how many items a model reads at the most.
        name: the log's name.
        fingerprint: what the log's content was.
        notes: what was dropped and why, with the log's own notes.
    """

    items: np.ndarray
    offsets: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    titles: np.ndarray
    max_len: int
    name: str
    fingerprint: str
    notes: tuple[str, ...]

    @classmethod
    def from_log(cls, log: InteractionLog, *, max_len: int = 50, min_interactions: int = 5) -> Self:
        """Keep the users with at least `min_interactions` and the items that any of them consumed.

        Raises:
            DataError: no user has that many interactions.
        """
        if min_interactions < 4 or max_len < 1:
            raise DataError(
                f"The leave-one-out split needs users with at least 4 interactions and histories of at least 1 item; "
                f"asked for {min_interactions} and {max_len}."
            )
        counts = np.bincount(log.users, minlength=len(log.user_ids))
        kept = counts >= min_interactions
        if not kept.any():
            raise DataError(
                f"{log.name}: no user has {min_interactions} interactions (the longest history holds {counts.max()}), "
                "so nothing can be split into training, validation and test; bring longer histories, or more users."
            )
        present, items = np.unique(log.items[kept[log.users]], return_inverse=True)
        notes = log.notes
        short = np.count_nonzero((counts > 0) & ~kept)
        if short:
            notes += (
                f"{short:,} of {np.count_nonzero(counts):,} users have fewer than {min_interactions} interactions "
                "and are left out.",
            )
        return cls(
            items=items.astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(counts[kept])]),
            user_ids=log.user_ids[kept],
            item_ids=log.item_ids[present],
            titles=log.titles[present],
            max_len=max_len,
            name=log.name,
            fingerprint=log.fingerprint(),
            notes=notes,
        )

    @property
    def n_items(self) -> int:
        """How many items the catalogue holds; also the code of padding."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.offsets) - 1

    def training_counts(self) -> np.ndarray:
        """Return (n_items,) how often each item is consumed, leaving out what is held out for validation and test."""
        held_out = np.concatenate([self.offsets[1:] - 1, self.offsets[1:] - 2])
        return np.bincount(np.delete(self.items, held_out), minlength=self.n_items)

    def windows(self, split: Split) -> Windows:
        """Return what is read and scored in a split.

        Training: a user's first window reads up to `max_len` items and has a target at every position; each later one
        moves on by half of `max_len`, and has targets at the positions that are new. So every position is a target
        exactly once, with between max_len / 2 and max_len items of context (fewer only at the start of a sequence).
        Validation and test: a window a user, with one target.
        """
        begin, end = self.offsets[:-1], self.offsets[1:]
        users = np.arange(self.n_users)
        if split != "train":
            stop = end - (1 if split == "test" else 2)
            return Windows(users, np.maximum(begin, stop - self.max_len), stop, np.ones_like(stop))
        stride = max(1, self.max_len // 2)
        n_targets = end - begin - 3  # all but the first item and the two held out
        n_windows = 1 + np.maximum(0, -(-(n_targets - self.max_len) // stride))
        user = np.repeat(users, n_windows)
        index = np.arange(len(user)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        first, total = begin[user], n_targets[user]
        before = np.where(index == 0, 0, self.max_len + (index - 1) * stride)  # targets in earlier windows
        upto = np.minimum(self.max_len + index * stride, total)
        return Windows(user, first + np.maximum(0, upto - self.max_len), first + upto, upto - before)

    def batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        """Return the windows with the indices `chosen` (B,) as padded tensors."""
        start, lengths, n_targets = windows.start[chosen], windows.lengths[chosen], windows.n_targets[chosen]
        read = np.arange(lengths.max())
        inside = read < lengths[:, None]
        items = np.where(inside, self.items[np.where(inside, start[:, None] + read, 0)], self.n_items)
        scored = np.arange(n_targets.max())
        valid = scored < n_targets[:, None]
        at = np.where(valid, (lengths - n_targets)[:, None] + scored, 0)
        targets = np.where(valid, self.items[start[:, None] + at + 1], -1)
        return Batch(
            *(torch.from_numpy(array.astype(np.int64)) for array in (items, at, targets, windows.user[chosen]))
        )
