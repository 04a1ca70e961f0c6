"""from_files: sequences whose training, validation and test rows are files of their own, checked for leaks."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from cprlab.data.doubts import CHANGES, changes
from cprlab.data.log import InteractionLog, as_text
from cprlab.data.sequences import Sequences
from cprlab.data.splits import check_cases, check_protocol, keep_users
from cprlab.data.times import show_time
from cprlab.errors import DataError

TRAINING, VALIDATION, TEST = range(3)


def from_files(
    training: InteractionLog,
    validation: InteractionLog | None,
    test: InteractionLog,
    *,
    max_len: int = 50,
    min_interactions: int = 5,
) -> Sequences:
    """Join the rows of each user: those of training, of validation and of test, each sorted by time.

    A user's validation and test targets are the first rows in these files, if earlier files have rows of the user;
    later rows of the test file are not used. Without a validation log, it is the last row of training.

    Args:
        training: the rows to train on.
        validation: the rows that choose the epoch; None for none.
        test: the rows to predict.
        max_len: maximum number of items that a model reads.
        min_interactions: users with fewer, in all files together, are left out.

    Returns:
        The sequences, with doubts about leaks as their first notes.

    Raises:
        DataError: ids are numbers in one log and text in another, or nothing is left for training or a split.
    """
    check_protocol(max_len, min_interactions)
    logs = {place: log for place, log in enumerate((training, validation, test)) if log is not None}
    user_ids, of_users = _joined("user", logs, [(log.user_ids, log.users) for log in logs.values()])
    item_ids, of_items = _joined("item", logs, [(log.item_ids, log.items) for log in logs.values()])
    users, items = np.concatenate(of_users), np.concatenate(of_items)
    part = np.repeat(list(logs), [len(log) for log in logs.values()])
    titles = as_text(pd.Series(item_ids, dtype=object)).to_numpy(dtype=object)
    for log, codes in zip(reversed(logs.values()), reversed(of_items), strict=True):
        titled = log.titles != as_text(pd.Series(log.item_ids, dtype=object)).to_numpy(dtype=object)
        chosen = titled[log.items]
        titles[codes[chosen]] = log.titles[log.items[chosen]]
    n = np.stack([np.bincount(users[part == place], minlength=len(user_ids)) for place in range(3)])
    lengths = n.sum(axis=0)
    kept, short = keep_users(lengths, training.name, min_interactions)
    own = n[TRAINING] if validation is not None else np.maximum(0, n[TRAINING] - 1)
    before = np.stack([own, n[TRAINING] + n[VALIDATION]])[:, kept]
    cases = check_cases(lengths[kept], before, training.name, own=True)
    order = np.argsort(users, kind="stable")  # rows are in the order of the files
    order = order[kept[users[order]]]
    held_out = f"each user's last row of it for validation, {test.name} for test"
    if validation is not None:
        held_out = f"{validation.name} for validation, {test.name} for test"
    note = (
        f"Own files: {training.name} for training, {held_out}. A user's first row in each is the case, if the user has "
        f"earlier rows: {cases[0]:,} validation and {cases[1]:,} test cases of {np.count_nonzero(kept):,} users; "
        f"{np.maximum(0, n[TEST][kept] - 1).sum():,} later rows of {test.name} are not used."
    )
    rows = pd.DataFrame({"user": users, "item": items, "part": part})
    times = [log.times for log in logs.values() if log.times is not None]
    rows["time"] = np.concatenate(times) if len(times) == len(logs) else 0
    of_logs = (_of_log(log, said) for log in logs.values() for said in log.notes)
    return Sequences.pack(
        items[order].astype(np.int32),
        lengths[kept],
        user_ids[kept],
        item_ids,
        titles,
        max_len=max_len,
        name=training.name,
        notes=(*_leaks(logs, rows, user_ids, item_ids), *of_logs, note, *short),
        before=before,
        own=True,
    )


def _of_log(log: InteractionLog, note: str) -> str:
    """Return a log's note with its name, and with its grade first."""
    grade = CHANGES if note.startswith(CHANGES) else ""
    return f"{grade}{log.name}: {note.removeprefix(CHANGES)}"


def _joined(
    kind: str, logs: dict[int, InteractionLog], coded: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the ids of all logs by first appearance, and each log's rows as codes into them."""
    numeric = [pd.api.types.is_numeric_dtype(ids) for ids, _ in coded]
    if len(set(numeric)) > 1:
        one, other = (list(logs.values())[numeric.index(are)].name for are in (True, False))
        raise DataError(f"The {kind} ids are numbers in {one} and text in {other}; write them in one way.")
    codes, ids = pd.factorize(pd.concat([pd.Series(ids) for ids, _ in coded], ignore_index=True))
    ends = np.cumsum([len(ids) for ids, _ in coded])
    return np.asarray(ids), [codes[end - len(own) : end][rows] for end, (own, rows) in zip(ends, coded, strict=True)]


def _leaks(
    logs: dict[int, InteractionLog], rows: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray
) -> Iterator[str]:
    """Yield the doubts about rows of a file that an earlier file gives away, and about users and items only in test.

    Args:
        logs: by file: training, validation, test.
        rows: `user, item` as codes, `part`, `time`.
        user_ids: by code.
        item_ids: by code.
    """
    parts = {place: rows[rows["part"] == place] for place in logs}
    units = {log.unit for log in logs.values()}
    if any(log.times is None for log in logs.values()) or len(units) > 1:
        yield "The files do not all have times in the same unit, so whether the test comes after training is not known."
    else:
        (unit,) = units
        for first, second in combinations(logs, 2):
            earlier, later = parts[first], parts[second]
            one, other = logs[first].name, logs[second].name
            copies = later.merge(earlier[["user", "item", "time"]].drop_duplicates())
            if len(copies):
                user, item, time = copies.loc[0, ["user", "item", "time"]]
                yield changes(
                    f"Leak: {len(copies):,} of {len(later):,} rows of {other} have the user, item and time of a row of "
                    f"{one}, such as user {str(user_ids[user])!r}, item {str(item_ids[item])!r}, "
                    f"{show_time(time, unit)}. Remove them from {one}."
                )
            ends, begins = earlier.groupby("user")["time"].max(), later.groupby("user")["time"].min()
            late = (ends.reindex(begins.index) > begins).to_numpy()
            if late.any():
                yield changes(
                    f"Leak: {np.count_nonzero(late):,} of {len(late):,} users of {other} have later rows in {one}, "
                    f"such as user {str(user_ids[begins.index[late][0]])!r}, so they are tested on what lies before."
                )
    tested, known = parts[TEST], rows[rows["part"] != TEST]
    for kind, ids, what in (("user", user_ids, "give no case"), ("item", item_ids, "cannot be learned")):
        new = np.setdiff1d(tested[kind], known[kind])
        if len(new):
            yield (
                f"{len(new):,} of {tested[kind].nunique():,} {kind}s of {logs[TEST].name} are in no other file, such "
                f"as {str(ids[new[0]])!r}; they {what}."
            )
