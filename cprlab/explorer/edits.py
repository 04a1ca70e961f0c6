"""EDITS: edits that can be applied to the histories of many cases at once, by name."""

from collections.abc import Callable, Sequence

LATEST = 10

# Of the item codes of a history, oldest first, at least one, and the code of the true next item: the edited history.
Edit = Callable[[tuple[int, ...], int], Sequence[int]]

EDITS: dict[str, Edit] = {
    "remove the last item": lambda history, target: history[:-1],
    "remove the last item wherever it is": lambda history, target: [one for one in history if one != history[-1]],
    "remove the true next item": lambda history, target: [one for one in history if one != target],
    "repeat the last item": lambda history, target: (*history, history[-1]),
    "add the true next item": lambda history, target: (*history, target),
    "keep each item once, at its last place": lambda history, target: list(dict.fromkeys(history[::-1]))[::-1],
    f"keep the last {LATEST} items": lambda history, target: history[-LATEST:],
    "reverse the order": lambda history, target: history[::-1],
}
