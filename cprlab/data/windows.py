"""Windows: slices of the packed items that a model reads, with their targets."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch


@dataclass(frozen=True)
class Windows:
    """Slices of the packed items that a model reads, each with targets for its last positions.

    Window i reads `items[start[i]:stop[i]]` and has the targets `items[first[i]:first[i] + n_targets[i]]`. A target is
    predicted from the item before it or, in the next-basket split, from the last item before its basket. Training
    windows have many targets; a validation or test case has one.

    Attributes:
        user: (m,) int64, code of the user.
        start: (m,) int64, first packed position read.
        stop: (m,) int64, one past the last packed position read.
        first: (m,) int64, packed position of the first target.
        n_targets: (m,) int64, number of targets.
    """

    user: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    n_targets: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        """(m,) number of items that each window reads."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch:
    """Windows as tensors, padded on the right with the code `n_items`.

    Attributes:
        items: (B, L) int64, items that are read.
        at: (B, T) int64, positions that are scored.
        targets: (B, T) int64, the next item; −1 is padding for windows with fewer targets.
        users: (B,) int64, code of each window's user.
    """

    items: torch.Tensor
    at: torch.Tensor
    targets: torch.Tensor
    users: torch.Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on another device."""
        return type(self)(*(tensor.to(device) for tensor in (self.items, self.at, self.targets, self.users)))


def training_windows(begin: np.ndarray, n_targets: np.ndarray, longest_first: np.ndarray, max_len: int) -> Windows:
    """Return windows in which each of a user's targets is scored once, from the item before it.

    Args:
        begin: (n_users,) packed position of each user's first item, which is not a target.
        n_targets: (n_users,) number of items after it that are targets.
        longest_first: (n_users,) maximum number of items that a user's first window reads.
        max_len: maximum number of items that a window reads; each later one moves on by half of it.
    """
    stride = max(1, max_len // 2)
    n_windows = (n_targets > 0) + np.maximum(0, -(-(n_targets - longest_first) // stride))
    user = np.repeat(np.arange(len(begin)), n_windows)
    index = np.arange(len(user)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    first = begin[user]
    before = np.where(index == 0, 0, longest_first[user] + (index - 1) * stride)  # targets in earlier windows
    upto = np.minimum(longest_first[user] + index * stride, n_targets[user])
    return Windows(user, first + np.maximum(0, upto - max_len), first + upto, first + before + 1, upto - before)
