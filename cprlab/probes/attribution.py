"""Attribution: the effect of each partition of the head, and of each item of the history, on a prediction."""

import numbers

import numpy as np
import pandas as pd

from cprlab.errors import ConfigError
from cprlab.models import Recommender
from cprlab.models.recommender import Codes, ComponentParts, Histories, Parts

LOGITS_AT_ONCE = 2**18  # 2 MB of doubles after each partition
LEFT_OUT = ["case", "position", "item", "copy_change", "target_change"]


def attribution(
    recommender: Recommender,
    histories: Histories,
    k: int = 10,
    users: Codes | None = None,
    targets: Codes | None = None,
) -> pd.DataFrame:
    """Return what each partition of the head changed in the logits and ranks of a case's relevant items.

    These are the k most probable items, the items of the history that are read, and the target.

    Args:
        recommender: the model, with any head.
        histories: as in `Recommender.log_probs`, at least one.
        k: from 1 to n.
        users: as in `Recommender.log_probs`.
        targets: the item that came after each history, if known.

    Returns:
        One row per case, item (best first), component and partition (in order of application).

        - For the prediction: `case`, `item`, `in_history`, `is_target`, `log_prob`, `rank` (1 is best; ties count
          against the item).
        - For the component, one of the softmaxes of a mixture: `component` (from 1), `weight` (in the mixture; 1 if it
          is the only one; NaN if the largest logit among the components counts).
        - For the partition: `partition` (V, R:k, C, P, …), `owner` (whether it scored the item last; C for C and P
          together), `logit_before` (0 before the first), `logit_change`, `rank_before` (NaN before the first) and
          `rank_after`, among the component's logits so far.

        (post) removes the history after all components, so only `log_prob` and `rank` show it.

    Raises:
        ConfigError: as in `Recommender.log_probs`; or there is no history, or k or the targets are invalid.
    """
    if not isinstance(k, numbers.Integral) or not 1 <= k <= recommender.n_items:
        raise ConfigError(f"k = {k!r} is not possible; there are {recommender.n_items} items.")
    read, known = _check(recommender, histories, users, targets)
    tables = []
    at_once = max(1, LOGITS_AT_ONCE // recommender.n_items)
    for start in range(0, len(read), at_once):
        cases = slice(start, start + at_once)
        parts = recommender.parts(read[cases], None if users is None else users[cases])
        for row, (history, target) in enumerate(zip(read[cases], known[cases], strict=True)):
            table = attributed(parts, row, history, target, k)
            table.insert(0, "case", start + row)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def leave_one_out(
    recommender: Recommender,
    histories: Histories,
    targets: Codes | None = None,
    users: Codes | None = None,
) -> pd.DataFrame:
    """Return how the prediction changes when one item of the history is left out and the rest is read again.

    A history of one item has no rows. If a history is longer than the model reads, only the items read are left out,
    and no earlier item takes their place.

    Args:
        recommender: the model, with any head.
        histories: as in `Recommender.log_probs`, at least one.
        targets: the item that came after each history, if known.
        users: as in `Recommender.log_probs`.

    Returns:
        One row per case and position that is read: `case`, `position` (in the given history, from 0, oldest first),
        `item` (its code; other occurrences of it stay), `copy_change` (change of the copy probability, summed over the
        distinct items of the full history), `target_change` (change of the target's log-probability in nats; NaN if the
        target is unknown, or excluded by (post) both times). Changes are shortened minus full history: negative if the
        item had raised the value.

    Raises:
        ConfigError: as in `Recommender.log_probs`; or there is no history, or the targets are invalid.
    """
    read, known = _check(recommender, histories, users, targets)
    tables = [pd.DataFrame({name: np.empty(0, np.int64 if name in LEFT_OUT[:3] else np.float64) for name in LEFT_OUT})]
    for case, (history, target) in enumerate(zip(read, known, strict=True)):
        if len(history) == 1:
            continue
        asked = [history, *(np.delete(history, position) for position in range(len(history)))]
        candidates = np.concatenate([np.unique(history), target])
        of_user = None if users is None else [users[case]] * len(asked)
        scores = recommender.log_probs(asked, candidates, of_user).astype(np.float64)
        copied = np.exp(scores[:, : len(candidates) - len(target)]).sum(1)
        of_target = scores[:, -1] if len(target) else np.full(len(asked), np.nan)
        with np.errstate(invalid="ignore"):  # −inf − −inf
            changes = copied[1:] - copied[0], of_target[1:] - of_target[0]
        positions = np.arange(len(history)) + len(histories[case]) - len(history)
        columns = (case, positions, history, *changes)
        tables.append(pd.DataFrame(dict(zip(LEFT_OUT, columns, strict=True))))
    return pd.concat(tables, ignore_index=True)


def attributed(parts: Parts, row: int, history: np.ndarray, target: np.ndarray, k: int) -> pd.DataFrame:
    """Return the rows of `attribution` for one case, without `case`.

    Args:
        parts: of the predictions, as `Recommender.explain` returns them.
        row: index of the case among them.
        history: codes of the items read.
        target: the item that came next, (1,), or (0,) if it is unknown.
        k: as in `attribution`.
    """
    log_probs = parts.log_probs[row]
    best = np.argsort(-log_probs, kind="stable")[:k]
    items = np.unique(np.concatenate([best, history, target]))
    items = items[np.argsort(-log_probs[items], kind="stable")]
    applied = []
    for place, component in enumerate(parts.components):
        names = np.array(component.names)[:, None]
        logits, owner = component.logits[:, [row]][..., items], component.owner[[row]][:, items]
        chosen = ComponentParts(component.names, logits, owner)
        ranks = np.stack([_ranks(scores, items) for scores in component.logits[:, row]])  # (S, items), as all below
        applied.append(
            {
                "component": np.full(ranks.shape, place + 1),
                "weight": np.full(ranks.shape, np.nan if parts.weights is None else parts.weights[row, place]),
                "partition": np.broadcast_to(names.astype(object), ranks.shape),
                "owner": owner == names,
                "logit_before": _before(logits[:, 0], 0),
                "logit_change": chosen.contributions[:, 0],
                "rank_before": _before(ranks.astype(float), np.nan),
                "rank_after": ranks,
            }
        )
    prediction = {
        "item": items,
        "in_history": np.isin(items, history),
        "is_target": np.isin(items, target),
        "log_prob": log_probs[items],
        "rank": _ranks(log_probs, items),
    }
    stages = sum(len(component.names) for component in parts.components)
    columns = {name: np.repeat(values, stages) for name, values in prediction.items()}
    columns |= {name: np.concatenate([part[name] for part in applied]).T.ravel() for name in applied[0]}
    return pd.DataFrame(columns)


def _ranks(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return each item's rank among all scores (n,); ties count against the item."""
    return len(scores) - np.searchsorted(np.sort(scores), scores[items], side="left")


def _before(after: np.ndarray, first: float) -> np.ndarray:
    """Return the values before each stage, given the values after it (S, items)."""
    return np.concatenate([np.full_like(after[:1], first), after[:-1]])


def _check(
    recommender: Recommender, histories: Histories, users: Codes | None, targets: Codes | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the items read of each history, and the targets (cases, 1), or (cases, 0) if there are none."""
    items, at, _ = recommender.collate(histories, users)
    if not len(items):
        raise ConfigError("There is no history; a prediction needs at least one.")
    read = [row[: last + 1] for row, last in zip(items.cpu().numpy(), at[:, 0].tolist(), strict=True)]
    if targets is None:
        return read, np.empty((len(read), 0), dtype=np.int64)
    known = np.asarray(targets)
    if known.shape != (len(read),) or known.dtype.kind not in "iu":
        raise ConfigError(f"There must be one target, an item code, for each of the {len(read)} histories.")
    if known.min() < 0 or known.max() >= recommender.n_items:
        raise ConfigError(f"A target is outside 0 … {recommender.n_items - 1}; use the codes of the training log.")
    return read, known[:, None]
