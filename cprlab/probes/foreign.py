"""Snapshots of models that RecBole or RecTools trained, on the last item of every user of their log.

A model of any other kind needs no function here: make a `Snapshot` of its arrays.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cprlab.data import InteractionLog
from cprlab.data.log import find_columns
from cprlab.data.readers import first_line, item_titles, read_table
from cprlab.data.times import read_times
from cprlab.errors import ConfigError, DataError
from cprlab.loading.load import as_log, check_file
from cprlab.models import Recommender
from cprlab.models.recommender import HISTORIES_AT_ONCE, inference
from cprlab.probes.snapshot import Snapshot

CHECKED = 500  # cases by which a wrong numbering of items is told
FEWEST_NEW = 30  # of them with a new item; fewer tell nothing


def from_recbole(
    recommender: Recommender,
    path: Path | str,
    *,
    user: str = "",
    item: str = "",
    time: str = "",
    title: str = "",
    facet: str = "",
) -> Snapshot:
    """Take the states of a model that RecBole trained, on RecBole's own test cases (its split "LS: valid_and_test").

    RecBole numbers items as they first appear in the log's rows; those that stand in its `.item` file alone come
    after. It reads times in single precision, which tells seconds since 1970 apart by the minute or two, and rows of
    equal times keep the order of the file. So is it done here: by exact times, other items would be held out,
    among them some that the model was trained on.

    Args:
        recommender: of `cprlab.adapters.recbole.load`, corrected.
        path: the log with the rows that RecBole kept. Rows that it was told to drop (`user_inter_num_interval` and
            the like) must be gone.
        user: column of the users, as for `cprlab.loading.load_log`; likewise `item`, `time` and `title`.
        item: column of the items.
        time: column of the times.
        title: column of the items' titles.
        facet: as in `Snapshot.from_recommender`.

    Raises:
        DataError: the log cannot be read, its items are not as many as the model's, or the model tells the users'
            held-out items apart no better than by chance, as it does when the items are numbered otherwise.
        ConfigError: as in `Snapshot.from_recommender`.
    """
    log = _read_as_recbole(Path(path), user=user, item=item, time=time, title=title)
    ids, titles = _all_items(log, Path(path), recommender.n_items)
    histories, targets = _held_out(log, recommender.max_len, fewest=3)
    _check_numbering(recommender, histories[:CHECKED], targets[:CHECKED], log.name)
    return Snapshot.from_recommender(
        recommender,
        histories,
        targets,
        item_ids=ids,
        titles=titles,
        facet=facet,
    )


def from_rectools(model: Any, interactions: pd.DataFrame, *, title: str = "") -> Snapshot:
    """Take the states of a fitted SASRecModel of RecTools (0.19) behind each user's last item.

    Nothing of RecTools is imported, and none of its files is opened: they are pickles. As there, items that the model
    does not know are left out of the histories; users whose last item is one, or who have no other, are left out.
    The scores are those that `recommend` gives, over the temperature of the model's softmax (`logits_t`), if it has
    one. A model that was trained with another loss than "softmax" is read as a softmax all the same.

    Args:
        model: fitted without the users' last interactions.
        interactions: with columns as for `cprlab.loading.load_log`, such as RecTools' own `user_id`, `item_id` and
            `datetime`; each user's last one is held out.
        title: column of the items' titles.

    Raises:
        ConfigError: the model is not such a model, or not fitted.
        DataError: the interactions cannot be read, or no user has a history and a last item that the model knows.
    """
    try:
        lightning, preparator = model.lightning_model, model.data_preparator
        backbone, similarity = lightning.torch_model, lightning.torch_model.similarity_module
        ids, max_len = np.asarray(preparator.item_id_map.external_ids)[1:], int(preparator.session_max_len)
        known = len(preparator.item_extra_tokens) == 1 and not preparator.add_unix_ts  # no mask, no times to read
    except AttributeError as error:
        raise ConfigError(f"from_rectools takes a fitted SASRecModel of RecTools; this has no {error.name}.") from error
    if not known:
        raise ConfigError("Of RecTools' models only SASRecModel can be read, without times; take its arrays yourself.")
    log = InteractionLog.from_frame(interactions, "interactions", title=title, ties="file")
    codes = pd.Index(ids).get_indexer(pd.Index(log.item_ids))  # −1 where the model does not know the item
    histories, targets = _held_out(log, len(log), fewest=2)
    histories = [kept[kept >= 0][-max_len:] for kept in (codes[history] for history in histories)]
    cases = [case for case, history in enumerate(histories) if len(history) and codes[targets[case]] >= 0]
    if not cases:
        raise DataError(
            "No user's last item and history are known to the model; give it the ids that it was fitted on."
        )
    histories, targets = [histories[case] for case in cases], codes[targets[cases]]
    sessions = np.zeros((len(cases), max_len), dtype=np.int64)  # padded at the left with 0
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


def _read_as_recbole(path: Path, **given: str) -> InteractionLog:
    """Return a log in which times are in single precision, and ties in the order of the file."""
    check_file(path)
    frame = read_table(path)
    columns = find_columns(frame.columns, path.name, given)
    if (column := columns["time"]) is not None:
        times, _ = read_times(frame[column], path.name, first_line(path))
        frame[column] = times.astype(np.float32).astype(times.dtype)
    return as_log(frame.drop(columns=columns["order"] or []), path, ties="file", **given)


def _all_items(log: InteractionLog, path: Path, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and titles of the model's items; after the log's come those of its `.item` file, if it has more.

    Raises:
        DataError: they are not as many as the model's.
    """
    if len(log.item_ids) < n_items and (others := item_titles(path)) is not None:
        others = others.drop(log.item_ids, errors="ignore")
        if len(log.item_ids) + len(others) == n_items:
            return np.append(log.item_ids, others.index), np.append(log.titles, others)
    if len(log.item_ids) != n_items:
        raise DataError(
            f"{path} holds {len(log.item_ids):,} items and the model {n_items:,}; give the log that RecBole read, with "
            "the rows that it kept."
        )
    return log.item_ids, log.titles


def _held_out(log: InteractionLog, max_len: int, fewest: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return, for each user with at least `fewest` interactions, the last item's code and up to `max_len` before it.

    Raises:
        DataError: there is no such user.
    """
    lengths = np.bincount(log.users)
    last = np.cumsum(lengths) - 1
    first = np.maximum(last + 1 - lengths, last - max_len)
    long = lengths >= fewest
    if not long.any():
        raise DataError(f"{log.name}: no user has {fewest} interactions, so there is no test case.")
    items = log.items.astype(np.int64)
    return [items[start:stop] for start, stop in zip(first[long], last[long], strict=True)], items[last[long]]


def _check_numbering(recommender: Recommender, histories: list[np.ndarray], targets: np.ndarray, log: str) -> None:
    """Raise a DataError unless a user's target is likelier than other users' targets, by five standard errors.

    That is for its popularity, so that a numbering that is wrong but has popular items first, as most have, is told.
    Items of the history are left out on both sides: heads that copy or exclude do so under any numbering.
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
            f"{log}: the model finds the held-out items of its users no likelier than those of others, so it was "
            "trained on another log, on rows in another order, or too little; give the file that RecBole read."
        )
