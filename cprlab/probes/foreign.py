"""Snapshots of models trained by RecBole or RecTools, on the last item of every user of their log.

For any other model, make a `Snapshot` of its arrays.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from cprlab.adapters.recbole import FromRecBole
from cprlab.adapters.recbole_rows import filters, rows_kept
from cprlab.data import Columns, InteractionLog
from cprlab.data.log import name_items
from cprlab.data.readers import item_titles
from cprlab.errors import ConfigError, DataError
from cprlab.loading.load import as_log, check_file
from cprlab.models import Recommender
from cprlab.models.recommender import HISTORIES_AT_ONCE, inference
from cprlab.probes.snapshot import Snapshot

CHECKED = 500  # cases used to detect a wrong numbering of items
FEWEST_NEW = 30  # minimum number of these with a new item


def from_recbole(
    recommender: FromRecBole,
    path: Path | str,
    columns: Columns = Columns(),
    *,
    facet: str = "",
    split: Literal["validation", "test"] = "test",
) -> Snapshot:
    """Take the states of a model trained by RecBole, on RecBole's own held-out cases (its split "LS: valid_and_test").

    RecBole numbers items by first appearance in the rows that it keeps; items that are only in its `.item` file come
    after. Its configuration says which rows it keeps, and is applied to the log (`rows_kept`). It reads times in single
    precision, and keeps file order within equal times. This function does the same: with exact times, other items would
    be held out, including some that the model was trained on.

    Args:
        recommender: from `cprlab.adapters.recbole.load`, corrected.
        path: the log that RecBole read, with its `.item` and `.user` files next to it, if it read them.
        columns: which column holds what.
        facet: as in `Snapshot.from_recommender`.
        split: "test" for each user's last item, "validation" for the one before.

    Raises:
        DataError: the log cannot be read, the number of items differs from the model's, or the model predicts the
            users' held-out items no better than chance, as with a different numbering of items.
        ConfigError: a setting of RecBole cannot be followed, or as in `Snapshot.from_recommender`.
    """
    path = Path(path)
    check_file(path)
    rows = rows_kept(path, columns, recommender.settings)
    log = as_log(rows.frame, path, rows.columns, "file")
    ids, titles = _all_items(log, rows.more, path)
    if len(ids) != recommender.n_items:
        raise DataError(
            f"{path} has {len(ids):,} items that RecBole's configuration keeps{filters(recommender.settings)}, and the "
            f"model {recommender.n_items:,}; use the log that RecBole read, and the .item file next to it if there was "
            "one."
        )
    histories, targets = _held_out(log, recommender.max_len, fewest=3, later=int(split == "validation"))
    _check_numbering(recommender, histories[:CHECKED], targets[:CHECKED], log.name)
    return Snapshot.from_recommender(
        recommender,
        histories,
        targets,
        item_ids=ids,
        titles=titles,
        facet=facet,
    )


def notes_of_recbole(recommender: FromRecBole, path: Path | str) -> tuple[str, ...]:
    """Return the notes on a log, with its doubts, of which RecBole kept the rows that its configuration says.

    Raises:
        DataError: the log cannot be read.
        ConfigError: a setting of RecBole cannot be followed.
    """
    rows = rows_kept(Path(path), Columns(), recommender.settings)
    return as_log(rows.own, Path(path), rows.columns, "file").notes


def from_rectools(model: Any, interactions: pd.DataFrame, *, title: str = "") -> Snapshot:
    """Take the states of a fitted SASRecModel of RecTools (0.19) before each user's last item.

    RecTools is not imported, and none of its files is opened, since they are pickles. As in RecTools, unknown items are
    left out of the histories, and users are left out if their last item is unknown or no other item is known. Scores
    equal those of `recommend`, divided by the temperature of the model's softmax (`logits_t`), if it has one. A model
    trained with a loss other than "softmax" is still read as a softmax.

    Args:
        model: fitted without the users' last interactions.
        interactions: a table with columns as for `cprlab.loading.load_log`, such as RecTools' own `user_id`, `item_id`
            and `datetime`; each user's last interaction is held out.
        title: item title column.

    Raises:
        ConfigError: the model is not a SASRecModel, or not fitted.
        DataError: the interactions cannot be read, or no user has a history and a last item that the model knows.
    """
    try:
        lightning, preparator = model.lightning_model, model.data_preparator
        backbone, similarity = lightning.torch_model, lightning.torch_model.similarity_module
        ids, max_len = np.asarray(preparator.item_id_map.external_ids)[1:], int(preparator.session_max_len)
        known = len(preparator.item_extra_tokens) == 1 and not preparator.add_unix_ts  # no mask token, no times
    except AttributeError as error:
        raise ConfigError(f"from_rectools needs a fitted SASRecModel of RecTools; this has no {error.name}.") from error
    if not known:
        raise ConfigError("Only RecTools' SASRecModel without times can be read; make a Snapshot of its arrays.")
    log = InteractionLog.from_frame(interactions, "interactions", Columns(title=title), ties="file")
    codes = pd.Index(ids).get_indexer(pd.Index(log.item_ids))  # −1 for items unknown to the model
    histories, targets = _held_out(log, len(log), fewest=2)
    histories = [kept[kept >= 0][-max_len:] for kept in (codes[history] for history in histories)]
    cases = [case for case, history in enumerate(histories) if len(history) and codes[targets[case]] >= 0]
    if not cases:
        raise DataError("The model knows no user's last item and history; use the ids that it was fitted on.")
    histories, targets = [histories[case] for case in cases], codes[targets[cases]]
    sessions = np.zeros((len(cases), max_len), dtype=np.int64)  # padded on the left with 0
    for row, history in zip(sessions, histories, strict=True):
        row[-len(history) :] = history + 1
    with inference(backbone):
        embeddings = backbone.item_model.get_all_embeddings()
        read = torch.from_numpy(sessions).to(embeddings.device).split(HISTORIES_AT_ONCE)
        states = torch.cat([backbone.encode_sessions({"x": x}, embeddings)[:, -1] for x in read])
        embeddings, states = similarity.item_tower_forward(embeddings), similarity.session_tower_forward(states)
        if similarity.distance.value == "cosine":
            embeddings, states = (table / table.norm(dim=1, keepdim=True) for table in (embeddings, states))
    named = pd.Series(log.titles, index=log.item_ids).reindex(ids)
    return Snapshot(
        embeddings[1:],
        states / lightning.logits_t,
        histories,
        targets,
        item_ids=ids,
        titles=named.where(named.notna(), ids).to_numpy(),
    )


def _all_items(log: InteractionLog, more: list[str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and titles of the model's items: the log's, then those that only the `.item` file has."""
    ids = np.append(log.item_ids, np.array(more, dtype=object)) if more else log.item_ids
    titles = item_titles(path) if more else None
    return ids, np.append(log.titles, name_items(pd.Index(more), titles)) if more else log.titles


def _held_out(log: InteractionLog, max_len: int, fewest: int, later: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return, for each user with at least `fewest` interactions, up to `max_len` items and the item after them.

    This item is the last, or has `later` items after it.

    Raises:
        DataError: there is no such user.
    """
    lengths = np.bincount(log.users)
    end = np.cumsum(lengths)
    last = end - 1 - later
    first = np.maximum(end - lengths, last - max_len)
    long = lengths >= fewest
    if not long.any():
        raise DataError(f"{log.name}: no user has {fewest} interactions, so there is no test case.")
    items = log.items.astype(np.int64)
    return [items[start:stop] for start, stop in zip(first[long], last[long], strict=True)], items[last[long]]


def _check_numbering(recommender: Recommender, histories: list[np.ndarray], targets: np.ndarray, log: str) -> None:
    """Raise a DataError unless users' own targets are more likely than other users' targets, by five standard errors.

    Scores are corrected for popularity, since a wrong numbering often still has popular items first. Items of the
    history are left out on both sides, since heads copy or exclude them under any numbering.
    """
    new = np.array([~np.isin(targets, history) for history in histories])  # (m, m): user by target
    fresh = np.diag(new)
    if fresh.sum() < FEWEST_NEW:
        return
    scores = np.where(new, recommender.log_probs(histories, targets), np.nan)[np.ix_(fresh, fresh)]
    scores -= np.nanmean(scores, axis=0)
    own = np.diag(scores) - np.nanmean(scores, axis=1)
    if not own.mean() > 5 * own.std() / np.sqrt(len(own)):
        raise DataError(
            f"{log}: for the model, users' held-out items are no more likely than those of other users. It was trained "
            "on another log, on rows in another order, or too little; use the file that RecBole read."
        )
