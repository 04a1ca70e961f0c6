"""evaluate: one row per test case, the source of all tables and figures."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from cprlab.data.sequences import Sequences, Split
from cprlab.models import Context, Recommender
from cprlab.models.partitions import largest
from cprlab.models.recommender import HISTORIES_AT_ONCE, inference

TOP = 10
NO_PROBABILITIES = {"log_loss": np.nan, "copy_probability": np.nan}  # for a head that only ranks


class Scored(NamedTuple):
    """Some held-out cases and a head's predictions for them.

    Attributes:
        rows: (B,) indices of the split's windows.
        scores: (B, n) log-probabilities, the same for all cases of a user.
        history: (B, L) distinct items read, padded with n.
        target: (B, 1) target items.
    """

    rows: np.ndarray
    scores: torch.Tensor
    history: torch.Tensor
    target: torch.Tensor


Scale = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def evaluate(
    recommender: Recommender, sequences: Sequences, split: Split = "test", scale: Scale | None = None
) -> pd.DataFrame:
    """Rank all items for every user's held-out items.

    Candidates are not sampled, and the items of the history are not removed. Ties count against the target.

    Args:
        recommender: trained on these sequences' items.
        sequences: the log.
        split: "test" or "validation".
        scale: a function such as `Scaling` that transforms the log-probabilities (B, n), given the histories (B, L) as
            in `measure`, before they are measured.

    Returns:
        One row per user with such a case, in the order of `sequences.user_ids`; in the next-basket split, one row per
        item of the user's basket. Columns: `user` (code), `length` (number of items before the target or its basket;
        the last `max_len` are read), `target` (code), `repeat` (the target is among the items read), `rank` (1 is
        best), `rank_post` (the rank after removing the history's items at inference, the paper's "post"; NaN if that
        removes the target), `log_loss` (nats), `copy_probability` (total probability of the items read), `copied`
        (share of the top 10 that is among the items read). `log_loss` and `copy_probability` are NaN for a head that
        only ranks.
    """
    windows = sequences.windows(split)
    order, parts = [], []
    for rows, scores, history, target in score_cases(recommender, sequences, split):
        order.append(rows)
        measured = measure(scores if scale is None else scale(scores, history), history, target)
        parts.append(measured if recommender.head.config.probabilities else measured | NO_PROBABILITIES)
    scored = np.concatenate(order)
    table = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    table.insert(0, "user", windows.user[scored])
    table.insert(1, "length", (windows.stop - sequences.offsets[windows.user])[scored])
    return table.iloc[np.argsort(scored, kind="stable")].reset_index(drop=True)


def score_cases(recommender: Recommender, sequences: Sequences, split: Split) -> Iterator[Scored]:
    """Yield the held-out cases of a split in batches, short histories first."""
    windows = sequences.windows(split)
    first = np.flatnonzero(np.diff(windows.user, prepend=-1))  # first case per user; all have the same history
    cases = np.diff(first, append=len(windows))
    order = np.argsort(windows.lengths[first], kind="stable")
    device = recommender.embedding.weight.device
    with inference(recommender):
        for start in range(0, len(order), HISTORIES_AT_ONCE):
            chosen = order[start : start + HISTORIES_AT_ONCE]
            batch = sequences.batch(windows, first[chosen]).to(device)
            context = Context(batch.items, batch.at, recommender.n_items)
            for part, scores in recommender.scored(batch.items, batch.at, batch.users):
                some = chosen[part]
                again = np.repeat(np.arange(len(some)), cases[some])  # the user of each case
                rows = np.repeat(first[some] - np.cumsum(cases[some]) + cases[some], cases[some]) + np.arange(
                    len(again)
                )
                target = torch.from_numpy(sequences.items[windows.first[rows]].astype(np.int64)).to(device)[:, None]
                yield Scored(rows, scores[again, 0], context.rows(part).distinct[again, 0], target)


def measure(scores: torch.Tensor, history: torch.Tensor, target: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the columns of `evaluate` except `user` and `length`.

    Args:
        scores: (B, n) log-probabilities.
        history: (B, L) distinct items read, padded with n.
        target: (B, 1) target items.
    """
    n_items = scores.shape[1]
    of_target = scores.gather(1, target)
    padding = history == n_items
    in_history = scores.gather(1, history.clamp(max=n_items - 1)).masked_fill(padding, -torch.inf)
    repeat = (history == target).any(1)
    rank = n_items - (scores < of_target).sum(1)  # ties and NaN count against the target
    above = ((in_history >= of_target) & ~padding).sum(1)
    best = largest(scores, min(TOP, n_items))  # (B, 10)
    columns = {
        "target": target[:, 0],
        "repeat": repeat,
        "rank": rank,
        "rank_post": torch.where(repeat.cpu(), torch.nan, (rank - above).cpu().double()),  # not every GPU has doubles
        "log_loss": -of_target[:, 0],
        "copy_probability": in_history.exp().sum(1),
        "copied": (best[:, :, None] == history[:, None, :]).any(2).cpu().double().mean(1),
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}


def describe_cases(sequences: Sequences, split: Split = "test") -> pd.DataFrame:
    """Describe each held-out case independently of any model.

    Returns:
        One row per case, as in `evaluate`: `user` (code), `gap` (how many interactions ago the target was last read, 1
        for the latest; NaN if it is new), `target_popularity` and `history_popularity` (training counts of the target,
        and of the median item read).
    """
    windows, counts = sequences.windows(split), sequences.training_counts()
    rows = []
    for user, start, stop, place in zip(windows.user, windows.start, windows.stop, windows.first, strict=True):
        read, target = sequences.items[start:stop], sequences.items[place]
        ago = np.flatnonzero(read[::-1] == target)
        rows.append((user, ago[0] + 1.0 if len(ago) else np.nan, counts[target], np.median(counts[read])))
    return pd.DataFrame(rows, columns=["user", "gap", "target_popularity", "history_popularity"])
