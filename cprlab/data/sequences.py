"""Sequences: each user's items in order, packed in one array, and the windows that models are trained and tested on."""

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
AT_ONCE = 2**20  # packed items that are worked on at once, where all could be more than memory holds


@dataclass(frozen=True)
class Sequences:
    """Every user's items in order, and which of them are held out.

    Leave-one-out (the paper's protocol): a user's last item is the test target, the one before it the validation
    target, and all earlier ones but the first are training targets. Temporal: training targets lie before a first
    point in time; a user's validation target is the first item after it, if that lies before a second point, and the
    test target the first item after that. A user without such an item, or with nothing before it, has no such case.
    Next-basket: each item of a user's last basket is a test target, and of the one before it a validation target; items
    of one basket do not see each other, in training neither.

    A model reads at most the last `max_len` items before a target. `items` and `offsets` may be arrays in memory, or
    read-only views of files.

    Attributes:
        items: (m,) int32, item codes 0 … n_items − 1, packed user after user.
        offsets: (n_users + 1,) int64, where each user's items begin.
        user_ids: (n_users,) the log's own user ids.
        item_ids: (n_items,) the log's own item ids.
        titles: (n_items,) str.
        max_len: how many items a model reads at the most.
        name: the log's name.
        fingerprint: 16 hexadecimal digits that change when the users, the items, their order or the split do.
        notes: what was dropped and why, with the log's own notes.
        before: (2, n_users) int64, how many of each user's items lie before the first, and before the second point of
            a temporal split, or before the validation's and the test's basket; None for leave-one-out.
        basket_start: (m,) int64, the packed position at which the basket of each item begins; None but for the
            next-basket split.
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

    @classmethod
    def from_log(
        cls,
        log: InteractionLog,
        *,
        max_len: int = 50,
        min_interactions: int = 5,
        split: SplitBy = "leave-one-out",
    ) -> Self:
        """Keep the users with at least `min_interactions` and the items that any of them consumed.

        Args:
            log: the interactions.
            max_len: how many items a model reads at the most.
            min_interactions: users with fewer are left out.
            split: how to hold interactions out. The points of the temporal one are those before which 80% and 90% of
                the kept users' interactions lie; what happens at a point is behind it.

        Raises:
            DataError: no user has that many interactions, or the log has no times, or no baskets, to be split by.
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
            starts = (np.cumsum(of_kept) - 1)[starts[of_kept]]  # their places among the rows of kept users
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
    ) -> Self:
        """Keep of the catalogue what is consumed, or all of it.

        Args:
            items: (m,) int32, codes into `item_ids`, user after user; they are numbered anew in place.
            lengths: (n_users,) how many items each user has.
            user_ids: (n_users,).
            item_ids: (n,) the ids of these items and maybe others.
            titles: (n,).
            max_len: as in the class; likewise `name` and `notes`.
            name: of the log.
            notes: of the log.
            only_consumed: leave out the items that nobody consumed; otherwise the codes stay as they are.
            before: as in the class; likewise `basket_start`.
            basket_start: of the next-basket split.

        Raises:
            DataError: the split leaves nothing to train on, to validate or to test.
        """
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if before is not None:
            check_cases(lengths, before, name, None if basket_start is None else first_baskets(offsets, basket_start))
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
        fingerprint, titles = digest.hexdigest()[:16], titles[present]
        return cls(items, offsets, user_ids, item_ids, titles, max_len, name, fingerprint, notes, before, basket_start)

    def sample(self, n_users: int, seed: int = 0) -> Self:
        """Return `n_users` of the users, drawn at random, and the items that any of them consumed; all if no more."""
        if n_users >= self.n_users:
            return self
        drawn = np.sort(np.random.default_rng(seed).choice(self.n_users, n_users, replace=False))
        lengths = np.diff(self.offsets)[drawn]
        earlier = np.cumsum(lengths) - lengths  # items of the users drawn before each
        places = np.repeat(self.offsets[drawn] - earlier, lengths) + np.arange(lengths.sum())
        note = f"{n_users:,} of {self.n_users:,} users are drawn at random (seed {seed})."
        before = None if self.before is None else self.before[:, drawn]
        return self._part(places, lengths, self.user_ids[drawn], note, before)

    def recent(self, longest: int) -> Self:
        """Return all users with the last `longest` of their interactions, and the items that any of these consumed.

        Raises:
            DataError: so few cannot be split.
        """
        check_protocol(self.max_len, longest)
        lengths = np.minimum(np.diff(self.offsets), longest)
        kept = np.arange(len(self.items)) >= np.repeat(self.offsets[1:] - lengths, np.diff(self.offsets))
        if kept.all():
            return self
        note = f"Of each user the last {longest:,} interactions are kept, {kept.sum():,} of {len(kept):,}."
        dropped = np.diff(self.offsets) - lengths
        before = None if self.before is None else np.maximum(0, self.before - dropped)
        return self._part(np.flatnonzero(kept), lengths, self.user_ids, note, before)

    def _part(
        self, places: np.ndarray, lengths: np.ndarray, user_ids: np.ndarray, note: str, before: np.ndarray | None
    ) -> Self:
        """Return the interactions at rising packed positions, packed anew, with a note on which."""
        starts = None
        if self.basket_start is not None:  # of a basket that is cut, the part that is left
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
        )

    @property
    def n_items(self) -> int:
        """How many items the catalogue holds; also the code of padding."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.offsets) - 1

    @property
    def split(self) -> SplitBy:
        """How interactions are held out."""
        if self.basket_start is not None:
            return "next-basket"
        return "leave-one-out" if self.before is None else "temporal"

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_users,) int64 each: the packed position from which on a user's items are held out, and that of the test.

        The position is the user's end where nothing is.
        """
        if self.before is None:
            return self.offsets[1:] - 2, self.offsets[1:] - 1
        return self.offsets[:-1] + self.before[0], self.offsets[:-1] + self.before[1]

    def training_counts(self) -> np.ndarray:
        """Return (n_items,) how often each item is consumed, leaving out what is held out for validation and test."""
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
        """Return what is read and scored in a split.

        Training: a user's first window reads up to `max_len` items and has a target at every position; each later one
        moves on by half of `max_len`, and has targets at the positions that are new. So every position is a target
        exactly once, with between max_len / 2 and max_len items of context (fewer only at the start of a sequence).
        The borders of windows may be shifted, so that a position is not always read with the same items before it.
        In the next-basket split a window has the targets that are predicted from these positions: each item of the
        second basket and of later ones exactly once. Validation and test: a window with one target for each user who
        has such a case, or for each item of the user's basket, in order.

        Args:
            split: which.
            shift: by how much less than `max_len` a first window in training reads if others follow, (n_users,) or one
                number, from 0 to `largest_shift`.
        """
        begin, end = self.offsets[:-1], self.offsets[1:]
        validation, test = self.held_out
        if split != "train":
            stop, behind = (test, end) if split == "test" else (validation, test)
            user = np.flatnonzero((begin < stop) & (stop < behind))
            of_user = (behind - stop)[user] if self.basket_start is not None else np.ones_like(user)
            first = np.repeat(stop[user] - np.cumsum(of_user) + of_user, of_user) + np.arange(of_user.sum())
            user = np.repeat(user, of_user)
            stop = stop[user]
            return Windows(user, np.maximum(begin[user], stop - self.max_len), stop, first, np.ones_like(stop))
        n_targets = np.maximum(0, validation - begin - 1)  # all but the first item and those held out
        longest_first = np.where(n_targets > self.max_len, self.max_len - shift, self.max_len)
        if self.basket_start is not None:
            return training_windows_of_baskets(self.offsets, self.basket_start, validation, longest_first, self.max_len)
        return training_windows(begin, n_targets, longest_first, self.max_len)

    @property
    def largest_shift(self) -> int:
        """By how much the borders of training windows can be shifted; one more would be the same borders again."""
        return max(1, self.max_len // 2) - 1

    def batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        """Return the windows with the indices `chosen` (B,) as padded tensors."""
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
