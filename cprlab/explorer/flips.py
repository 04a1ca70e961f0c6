"""flip: a small edit of the history that changes whether the true next item is among a model's best, as shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cprlab.errors import ConfigError
from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Prediction

History = tuple[int, ...]
MOST = 3  # edits
TRIED = 10  # items of each kind that are tried as insertions


@dataclass(frozen=True)
class Flip:
    """An edit of the history after which the next item enters a model's k best items, or leaves them.

    Attributes:
        model: its index.
        k: number of items shown of each prediction.
        edit: whether items were removed or inserted at the end; "" if no edit was found.
        items: their codes, in the order in which they were found.
        history: the edited history.
        before: rank of the next item now.
        after: its rank after the edit.
    """

    model: int
    k: int
    edit: Literal["removed", "inserted", ""]
    items: tuple[int, ...]
    history: tuple[int, ...]
    before: int
    after: int


def flip(shown: Explorer, place: int) -> Flip:
    """Search greedily for the smallest edit that flips HIT@k, with the k of the state; `static/flip.js` does the same.

    Removals are tried first, each of all occurrences of an item: the one that moves the next item's score furthest,
    relative to the k-th best other score. Then insertions at the end: of the model's best items and of those nearest to
    the next item, but not of the next item itself. Of both, the one with fewer edits counts, at most `MOST`.

    Args:
        shown: what is shown.
        place: index of the model.

    Raises:
        ConfigError: the history is empty, or the state that best copies it is shown.
    """
    model, setting = shown.models[place], shown.state.settings[place]
    if setting.best or not shown.history:
        raise ConfigError("This needs a history, and the model's own state: reset the history or the state.")
    target, k = shown.target, shown.state.k

    def predict(history: History) -> Prediction:
        return model.predict(shown.state.case, history, setting)

    now = predict(shown.history)
    hit, before = _margin(now, target, k) > 0, int(now.ranks([target])[0])
    likely = [item for item in now.top(TRIED + 1).tolist() if item != target][:TRIED]
    near = [item for item, _ in model.near(target, TRIED)] if model.has_states else []
    tried = list(dict.fromkeys([*likely, *near]))

    def search(edits: Callable[[History], list[tuple[int, History]]], most: int) -> tuple[tuple[int, ...], History]:
        history, items = shown.history, list[int]()
        while len(items) < most and (possible := edits(history)):
            margins = [_margin(predict(edited), target, k) for _, edited in possible]
            best = int(np.argmin(margins) if hit else np.argmax(margins))
            item, history = possible[best]
            items.append(item)
            if (margins[best] > 0) != hit:
                return tuple(items), history
        return (), shown.history

    def removals(history: History) -> list[tuple[int, History]]:
        items = list(dict.fromkeys(history))
        return [(item, tuple(other for other in history if other != item)) for item in items if len(items) > 1]

    edit: Literal["removed", "inserted", ""] = "removed"
    items, edited = search(removals, MOST)
    inserted = search(lambda history: [(item, (*history, item)) for item in tried], len(items) - 1 if items else MOST)
    if inserted[0]:
        edit, (items, edited) = "inserted", inserted
    after = int(predict(edited).ranks([target])[0])
    return Flip(place, k, edit if items else "", items, edited, before, after)


def _margin(prediction: Prediction, target: int, k: int) -> float:
    """Return how far the target's score is above the k-th best of the others: above 0 if its rank is at most k."""
    scores = prediction.scores
    others = np.delete(scores, target)
    if np.isneginf(scores[target]):
        return -np.inf
    return np.inf if k > len(others) else float(scores[target] - np.partition(others, -k)[-k])
