"""evaluate: a row for each test case, from which every table and figure is made."""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from cprlab.data.sequences import Batch, Sequences, Split
from cprlab.models import Context, Recommender
from cprlab.models.recommender import HISTORIES_AT_ONCE, SCORES_AT_ONCE, inference

TOP = 10


def evaluate(recommender: Recommender, sequences: Sequences, split: Split = "test") -> pd.DataFrame:
    """Rank all items for every user's held-out item.

    No candidates are sampled, and the items of the history stay in; ties count against the target.

    Args:
        recommender: trained on these sequences' items.
        sequences: the log.
        split: "test" or "validation".

    Returns:
        A row a user, in the order of `sequences.user_ids`: `user` (code), `length` (items before the target, of which
        the last `max_len` are read), `target` (code), `repeat` (the target is among the items read), `rank` (1 is
        best), `rank_post` (the same with the history's items removed at inference, the paper's "post"; NaN where that
        removes the target), `log_loss` (nats), `copy_probability` (total probability of the items read), `copied`
        (share of the top 10 that is among the items read).
    """
    windows = sequences.windows(split)
    order = np.argsort(windows.lengths, kind="stable")
    device = recommender.embedding.weight.device
    size = max(1, min(HISTORIES_AT_ONCE, SCORES_AT_ONCE // sequences.n_items))
    parts = []
    with inference(recommender):
        for start in range(0, len(order), size):
            batch = sequences.batch(windows, order[start : start + size]).to(device)
            parts.append(_measure(recommender, batch))
    measured = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    measured.insert(0, "user", windows.user[order])
    measured.insert(1, "length", (windows.stop - sequences.offsets[windows.user])[order])
    return measured.sort_values("user", ignore_index=True)


def _measure(recommender: Recommender, batch: Batch) -> dict[str, np.ndarray]:
    """Return the columns of `evaluate` for a batch of cases with one target each."""
    scores = recommender.score(batch.items, batch.at, batch.users)[:, 0]  # (B, n)
    target = batch.targets  # (B, 1)
    of_target = scores.gather(1, target)
    context = Context(batch.items, batch.at, recommender.n_items)
    history = context.distinct[:, 0]  # (B, L), each item once, n elsewhere
    in_history = F.pad(scores, (0, 1), value=-torch.inf).gather(1, history)
    repeat = (history == target).any(1)
    rank = scores.shape[1] - (scores < of_target).sum(1)  # so a score that is no number counts against the target too
    above = (in_history >= of_target).sum(1)
    best = scores.topk(min(TOP, scores.shape[1])).indices  # (B, 10)
    columns = {
        "target": target[:, 0],
        "repeat": repeat,
        "rank": rank,
        "rank_post": torch.where(repeat, torch.nan, (rank - above).double()),
        "log_loss": -of_target[:, 0],
        "copy_probability": in_history.exp().sum(1),
        "copied": (best[:, :, None] == history[:, None, :]).any(2).double().mean(1),
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}
