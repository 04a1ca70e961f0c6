"""Sequences: each user's items in order, packed in one array, and the windows for training and testing models."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch

from cprlab.data.baskets import (
    first_baskets,
    group_baskets,
    last_baskets,
    note_baskets_held_out,
    training_windows_of_baskets,
)
from cprlab.data.log import InteractionLog
from cprlab.data.splits import (
    OWN,
    SplitBy,
    check_cases,
    check_protocol,
    held_out_places,
    keep_users,
    note_temporal,
    refuse_no_times,
)
from cprlab.data.windows import Batch, Windows, training_windows

Split = Literal["train", "validation", "test"]
USERS_AT_ONCE = 2**16
AT_ONCE = 2**20  # packed items processed at once; all of them may not fit in memory


@dataclass(frozen=True)
class Sequences:
    """Every user's items in order, and which of them are held out.

    - Leave-one-out (the paper's protocol): a user's last item is the test target, the one before it the validation
      target, and all earlier ones except the first are training targets.
    - Temporal: training targets come before a first point in time. A user's validation target is the first item after
      it, if that comes before a second point; the test target is the first item after the second point. A user without
      such an item, or with nothing before it, has no such case.
    - Files: training, validation and test rows come from files of their own; targets are as in the temporal split.
    - Next-basket: each item of a user's last basket is a test target, each item of the basket before it a validation
      target. Items of the same basket do not see each other, in training either.

    A model reads at most the last `max_len` items before a target. `items` and `offsets` may be arrays in memory or
    read-only memory maps.

    Attributes:
        items: (m,) int32, item codes 0 … n_items − 1, packed user after user.
        offsets: (n_users + 1,) int64, start of each user's items.
        user_ids: (n_users,) the log's own user ids.
        item_ids: (n_items,) the log's own item ids.
        titles: (n_items,) str.
        max_len: maximum number of items that a model reads.
        name: the log's name.
        fingerprint: 16 hexadecimal digits that change with the users, the items, their order and the split.
        notes: the log's notes, and what was dropped and why.
        before: (2, n_users) int64, number of each user's items before the first and before the second point of a
            temporal split, or before the validation and before the test basket; None for leave-one-out.
        basket_start: (m,) int64, packed position where each item's basket begins; None except for the next-basket
            split.
        own: whether training, validation and test are files of their own.
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
    before: np.ndarray | None = None
    basket_start: np.ndarray | None = None
    own: bool = False

    @classmethod
    def from_log(
        cls,
        log: InteractionLog,
        *,
        max_len: int = 50,
        min_interactions: int = 5,
        split: SplitBy = "leave-one-out",
    ) -> Self:
        """Keep the users with at least `min_interactions` and the items that they consumed.

        Args:
            log: the interactions.
            max_len: maximum number of items that a model reads.
            min_interactions: users with fewer are left out.
            split: how to hold interactions out. 80% and 90% of the kept users' interactions come before the two points
                of the temporal split; an interaction at a point counts as after it.

        Raises:
            DataError: no user has enough interactions, or the log lacks the times or baskets that the split needs.
        """
        check_protocol(max_len, min_interactions)
        users, items, starts = log.users, log.items, None
        if split == "next-basket":
            once, starts = group_baskets(users, items, log.times, log.baskets, log.name)
            users, items = users[once], items[once]
        lengths = np.bincount(users, minlength=len(log.user_ids))
        kept, notes = keep_users(lengths, log.name, min_interactions)
        of_kept = kept[users]
        before = None
        if starts is not None:
            starts = (np.cumsum(of_kept) - 1)[starts[of_kept]]  # positions among the rows of kept users
            offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
            before = last_baskets(offsets, starts)
            cases = check_cases(lengths[kept], before, log.name, first_baskets(offsets, starts))
            n_baskets = int(np.count_nonzero(starts == np.arange(len(starts))))
            notes += note_baskets_held_out(len(log), len(log) - len(items), n_baskets, cases, before.shape[1])
        if split == "temporal":
            if log.times is None:
                refuse_no_times(log.name)
            times = log.times[of_kept]
            places = held_out_places(len(times))
            points = np.partition(times, places)[places]
            users = log.users[of_kept]
            before = np.stack([np.bincount(users[times < point], minlength=len(kept))[kept] for point in points])
            cases = check_cases(lengths[kept], before, log.name)
            notes += note_temporal(points.tolist(), log.unit, cases, before.shape[1])
        return cls.pack(
            items[of_kept],
            lengths[kept],
            log.user_ids[kept],
            log.item_ids,
            log.titles,
            max_len=max_len,
            name=log.name,
            notes=log.notes + notes,
            before=before,
            basket_start=starts,
        )

    @classmethod
    def pack(
        cls,
        items: np.ndarray,
        lengths: np.ndarray,
        user_ids: np.ndarray,
        item_ids: np.ndarray,
        titles: np.ndarray,
        *,
        max_len: int,
        name: str,
        notes: tuple[str, ...],
        only_consumed: bool = True,
        before: np.ndarray | None = None,
        basket_start: np.ndarray | None = None,
        own: bool = False,
    ) -> Self:
        """Build sequences from packed item codes, with the consumed items or the whole catalogue.

        Args:
            items: (m,) int32, codes into `item_ids`, user after user; renumbered in place.
            lengths: (n_users,) number of items per user.
            user_ids: (n_users,).
            item_ids: (n,) ids of these items and maybe others.
            titles: (n,).
            max_len: see the class, as for `name`, `notes`, `before` and `basket_start`.
            name: of the log.
            notes: of the log.
            only_consumed: leave out items that nobody consumed; otherwise codes do not change.
            before: of the temporal and the next-basket split.
            basket_start: of the next-basket split.
            own: see the class.

        Raises:
            DataError: the split leaves nothing for training, validation or test.
        """
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if before is not None:
            first = None if basket_start is None else first_baskets(offsets, basket_start)
            check_cases(lengths, before, name, first, own=own)
        parts = [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
        present = np.full(len(item_ids), not only_consumed)
        for part in parts:
            present[part] = True
        codes = np.cumsum(present, dtype=np.int32) - 1
        for part in parts:
            part[:] = codes[part]
        item_ids = item_ids[present]
        digest = hashlib.sha256()
        for array in (items, offsets):
            digest.update(array.data)
        for ids in (user_ids, item_ids):
            for start in range(0, len(ids), AT_ONCE):
                digest.update("".join(f"{one}\0" for one in ids[start : start + AT_ONCE]).encode())
        if before is not None:
            digest.update(before.tobytes())
        if basket_start is not None:
            digest.update(basket_start.tobytes())
        if own:
            digest.update(OWN.encode())
        fingerprint, titles = digest.hexdigest()[:16], titles[present]
        return cls(
            items, offsets, user_ids, item_ids, titles, max_len, name, fingerprint, notes, before, basket_start, own
        )

    def sample(self, n_users: int, seed: int = 0) -> Self:
        """Return a random sample of `n_users` users (all if there are no more), with the items that they consumed."""
        if n_users >= self.n_users:
            return self
        drawn = np.sort(np.random.default_rng(seed).choice(self.n_users, n_users, replace=False))
        lengths = np.diff(self.offsets)[drawn]
        earlier = np.cumsum(lengths) - lengths
        places = np.repeat(self.offsets[drawn] - earlier, lengths) + np.arange(lengths.sum())
        note = f"{n_users:,} of {self.n_users:,} users are drawn at random (seed {seed})."
        before = None if self.before is None else self.before[:, drawn]
        return self._part(places, lengths, self.user_ids[drawn], note, before)

    def recent(self, longest: int) -> Self:
        """Return all users with their last `longest` interactions, and the items that these contain.

        Raises:
            DataError: too few interactions are left to split.
        """
        check_protocol(self.max_len, longest)
        lengths = np.minimum(np.diff(self.offsets), longest)
        kept = np.arange(len(self.items)) >= np.repeat(self.offsets[1:] - lengths, np.diff(self.offsets))
        if kept.all():
            return self
        note = f"Each user's last {longest:,} interactions are kept, {kept.sum():,} of {len(kept):,} in all."
        dropped = np.diff(self.offsets) - lengths
        before = None if self.before is None else np.maximum(0, self.before - dropped)
        return self._part(np.flatnonzero(kept), lengths, self.user_ids, note, before)

    def _part(
        self, places: np.ndarray, lengths: np.ndarray, user_ids: np.ndarray, note: str, before: np.ndarray | None
    ) -> Self:
        """Return the interactions at increasing packed positions as new sequences, with a note on which they are."""
        starts = None
        if self.basket_start is not None:  # a basket that is cut keeps the part that is left
            starts = np.searchsorted(places, self.basket_start[places])
        return self.pack(
            self.items[places],
            lengths,
            user_ids,
            self.item_ids,
            self.titles,
            max_len=self.max_len,
            name=self.name,
            notes=(*self.notes, note),
            before=before,
            basket_start=starts,
            own=self.own,
        )

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue; also the padding code."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def split(self) -> SplitBy | Literal["files"]:
        """How interactions are held out."""
        if self.own:
            return OWN
        if self.basket_start is not None:
            return "next-basket"
        return "leave-one-out" if self.before is None else "temporal"

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_users,) int64 each: packed position of each user's first held-out item, and of the test.

        It is the end of the user's items if nothing is held out.
        """
        if self.before is None:
            return self.offsets[1:] - 2, self.offsets[1:] - 1
        return self.offsets[:-1] + self.before[0], self.offsets[:-1] + self.before[1]

    def training_counts(self) -> np.ndarray:
        """Return (n_items,) how often each item is consumed, without what is held out for validation and test."""
        counts = np.zeros(self.n_items, dtype=np.int64)
        for start in range(0, len(self.items), AT_ONCE):
            counts += np.bincount(self.items[start : start + AT_ONCE], minlength=self.n_items)
        begin, end = self.held_out[0], self.offsets[1:]
        for start in range(0, self.n_users, USERS_AT_ONCE):
            some = slice(start, start + USERS_AT_ONCE)
            lengths = end[some] - begin[some]
            places = np.repeat(end[some] - np.cumsum(lengths), lengths) + np.arange(lengths.sum())
            counts -= np.bincount(self.items[places], minlength=self.n_items)
        return counts

    def windows(self, split: Split, shift: np.ndarray | int = 0) -> Windows:
        """Return the windows of a split: what is read, and which targets are scored.

        Training: a user's first window reads up to `max_len` items and has a target at every position. Each later
        window moves on by half of `max_len` and has targets at the new positions only. So every position is a target
        exactly once, with max_len / 2 to max_len items of context (fewer only at the start of a sequence). Window
        borders may be shifted, so that a position is not always read with the same context. In the next-basket split
        a window has the targets that are predicted from these positions: each item from the second basket on, exactly
        once.

        Validation and test: one window with one target for each user who has such a case, or for each item of the
        user's basket, in order.

        Args:
            split: "train", "validation" or "test".
            shift: how many items fewer than `max_len` a user's first training window reads if others follow,
                (n_users,) or one number, from 0 to `largest_shift`.
        """
        begin, end = self.offsets[:-1], self.offsets[1:]
        validation, test = self.held_out
        if split != "train":
            stop, after = (test, end) if split == "test" else (validation, test)
            user = np.flatnonzero((begin < stop) & (stop < after))
            of_user = (after - stop)[user] if self.basket_start is not None else np.ones_like(user)
            first = np.repeat(stop[user] - np.cumsum(of_user) + of_user, of_user) + np.arange(of_user.sum())
            user = np.repeat(user, of_user)
            stop = stop[user]
            return Windows(user, np.maximum(begin[user], stop - self.max_len), stop, first, np.ones_like(stop))
        n_targets = np.maximum(0, validation - begin - 1)  # all except the first item and the held-out ones
        longest_first = np.where(n_targets > self.max_len, self.max_len - shift, self.max_len)
        if self.basket_start is not None:
            return training_windows_of_baskets(self.offsets, self.basket_start, validation, longest_first, self.max_len)
        return training_windows(begin, n_targets, longest_first, self.max_len)

    @property
    def largest_shift(self) -> int:
        """Largest shift of the borders of training windows; one more would give the same borders again."""
        return max(1, self.max_len // 2) - 1

    def batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        """Return the windows at indices `chosen` (B,) as padded tensors."""
        start, lengths, n_targets = windows.start[chosen], windows.lengths[chosen], windows.n_targets[chosen]
        first = windows.first[chosen]
        read = np.arange(lengths.max())
        inside = read < lengths[:, None]
        items = np.where(inside, self.items[np.where(inside, start[:, None] + read, 0)], self.n_items)
        scored = np.arange(n_targets.max())
        valid = scored < n_targets[:, None]
        place = np.where(valid, first[:, None] + scored, first[:, None])
        before = (place if self.basket_start is None else self.basket_start[place]) - 1
        at = np.where(valid, before - start[:, None], 0)
        targets = np.where(valid, self.items[place], -1)
        return Batch(
            *(torch.from_numpy(array.astype(np.int64)) for array in (items, at, targets, windows.user[chosen]))
        )
