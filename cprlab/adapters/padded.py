"""Padded: a log as RecBole reads it, to train with and without RecBole's faults."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch.nn import functional as F

from cprlab.adapters.recbole import PADDING
from cprlab.data import Batch, Sequences, Windows
from cprlab.data.baskets import refuse_baskets
from cprlab.data.sequences import Split


@dataclass(frozen=True)
class Padded(Sequences):
    """A log with RecBole's item codes: 0 is padding, and every history is padded to `max_len` slots.

    Each training target is a separate sample with its own history.

    Attributes:
        at_end: predict from the last slot, padded or not, as RecBole's CPR models do; otherwise from the last item.
    """

    at_end: bool = True

    @classmethod
    def of(cls, log: Sequences, at_end: bool) -> Self:
        """Return a log in this form.

        Raises:
            DataError: the log is split by baskets, which RecBole does not support.
        """
        refuse_baskets(log.name, "RecBole's padding", log.basket_start)
        return cls(
            log.items + 1,
            log.offsets,
            log.user_ids,
            np.concatenate([np.array(["[PAD]"], dtype=object), log.item_ids.astype(object)]),
            np.concatenate([np.array(["[PAD]"], dtype=object), log.titles]),
            log.max_len,
            log.name,
            f"{log.fingerprint}, padded, read at the last {'slot' if at_end else 'item'}",
            log.notes,
            log.before,
            at_end=at_end,
        )

    def windows(self, split: Split, shift: np.ndarray | int = 0) -> Windows:
        """See `Sequences`; a training window has one target, and there are no borders to shift."""
        if split != "train":
            return super().windows(split)
        begin = self.offsets[:-1]
        n_targets = np.maximum(0, self.held_out[0] - begin - 1)  # all but the first item and those held out
        user = np.repeat(np.arange(self.n_users), n_targets)
        place = np.arange(len(user)) - np.repeat(np.cumsum(n_targets) - n_targets, n_targets)
        stop = begin[user] + 1 + place
        return Windows(user, np.maximum(begin[user], stop - self.max_len), stop, stop, np.ones_like(stop))

    def batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        """See `Sequences`; `items` (B, max_len) is padded with 0."""
        batch = super().batch(windows, chosen)
        items = F.pad(
            batch.items.masked_fill(batch.items == self.n_items, PADDING), (0, self.max_len - batch.items.shape[1])
        )
        at = torch.full_like(batch.at, self.max_len - 1) if self.at_end else batch.at
        return Batch(items, at, batch.targets, batch.users)
