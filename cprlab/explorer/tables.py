"""What each view of an Explorer shows, as a table: for Python, for the export menus, and for the page."""

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cprlab.explorer.model import Prediction
from cprlab.explorer.verdict import COLUMNS, row
from cprlab.probes.geometry import NO_ITEM

if TYPE_CHECKING:
    from cprlab.explorer.app import Explorer

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")  # the wide ones are taken alike
NUMBER = re.compile(r"[+-]\d+([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)
NEVER = 12  # items that can never be separated


def cases(app: "Explorer") -> pd.DataFrame:
    """Return the rows of `Cases.table` that the query lists."""
    return app.cases.find(app.state.query)


def history(app: "Explorer") -> pd.DataFrame:
    """Return rows `place` (from 1, oldest first), `item` (code), `id, title, next` (it is the true next item)."""
    items = list(app.history)
    ids = app.models[0].held_out.item_ids[items]
    table = pd.DataFrame({"item": items, "id": ids, "title": app.titles[items]})
    table.insert(0, "place", np.arange(1, len(items) + 1))
    return table.assign(next=table["item"] == app.target)


def predictions(app: "Explorer") -> pd.DataFrame:
    """See `Explorer.predictions`."""
    rows = [
        pd.DataFrame({"model": model.name} | best(app, prediction, pinned))
        for model, prediction, pinned in zip(app.models, app.predicted(), app.pinned(), strict=True)
        if prediction is not None
    ]
    columns = ["model", "place", "item", "title", "probability", "kind", "partition"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def best(app: "Explorer", prediction: Prediction, pinned: Prediction | None) -> dict[str, np.ndarray]:
    """Return columns (k,) of the k best items: those of `Explorer.predictions` but `model`."""
    top = prediction.top(app.state.k)
    columns = {
        "place": np.arange(1, len(top) + 1),
        "item": top,
        "title": app.titles[top],
        "probability": prediction.probabilities(top),
        "kind": app.kinds(top),
        "partition": prediction.partitions[top],
    }
    if pinned is not None:
        columns |= {"pinned_probability": pinned.probabilities(top), "pinned_place": pinned.ranks(top)}
    return columns


def marks(app: "Explorer") -> pd.DataFrame:
    """Return what the map marks.

    Returns:
        Rows `item` (code; −1 for a hidden state), `title` (of a hidden state, the partition), `kind` ("new" among
        the top k, "history", "interfering", "target", "hidden state"), `x`, `y` (NaN where the map has no place
        for it, or is still being made).

    Raises:
        ConfigError: there is no map, as `Explorer.plane` says.
    """
    model, prediction = app.models[app.state.space], app.predicted()[app.state.space]
    rows, plane = app.marked(), app.plane()
    states = {} if prediction is None else prediction.states
    places = np.full((len(rows) + len(states), 2), np.nan)
    if plane is not None:
        vectors = np.reshape([*states.values()], (len(states), model.snapshot.item_embeddings.shape[1]))
        places = np.concatenate([plane.points[list(rows)], plane.place(vectors)])
    return pd.DataFrame(
        {
            "item": [*rows, *[NO_ITEM] * len(states)],
            "title": [*app.titles[list(rows)], *(f"hidden state {name}" for name in states)],
            "kind": [*rows.values(), *["hidden state"] * len(states)],
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )


def states(app: "Explorer") -> pd.DataFrame:
    """Return a row a model: `model`, what was done to it (`Setting`), and what came of it (`Prediction.outcome`)."""
    rows = []
    for model, setting, head, prediction in zip(
        app.models, app.state.settings, app.heads(), app.predicted(), strict=True
    ):
        known = {} if prediction is None else prediction.outcome(app.target)
        rows.append({"model": model.name} | dict(setting) | {"head": str(head)} | known)
    return pd.DataFrame(rows)


def verdict(app: "Explorer") -> pd.DataFrame:
    """Return a row a model by `verdict.COLUMNS`, but for those without states and probabilities; worked out now."""
    for _ in app.verdict():
        pass
    return known_verdict(app)


def known_verdict(app: "Explorer") -> pd.DataFrame:
    """Return `verdict` of the models for which it has been worked out, or that have probabilities but no states."""
    rows = [row(*known) for known in app.known_verdicts() if known[0].has_states or not known[0].ordered]
    return pd.DataFrame(rows, columns=COLUMNS)


def inseparable(app: "Explorer") -> pd.DataFrame:
    """Return the items, `item` and `title`, of which whatever hidden state puts one above some item of the history.

    They are those of the proofs that no state copies the history (`Certificate.below`), those first on which a proof
    rests most; of each model whose verdict has been worked out.
    """
    found = [one for one in app.verdicts() if one is not None]
    blamed = {item: share for one in found for item, share in (one.copying.below or {}).items()}
    items = sorted(blamed, key=lambda item: blamed[item], reverse=True)[:NEVER]
    return pd.DataFrame({"item": items, "title": app.titles[items]})


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, in which a spreadsheet takes no text for a formula.

    Text that a spreadsheet would run has an apostrophe put in front, which shows as text there; numbers, those that are
    written as text too, stay as they are.
    """
    defused = table.map(_defused).rename(columns=_defused)
    return defused.to_csv(index=False, lineterminator="\r\n")  # of RFC 4180: a lone \r in a text is then quoted too


def _defused(value: object) -> object:
    if not isinstance(value, str) or not value.lstrip(" ").startswith(FORMULAS):
        return value
    return value if NUMBER.fullmatch(value) else f"'{value}"


VIEWS = {
    "cases": cases,
    "history": history,
    "predictions": predictions,
    "map": marks,
    "states": states,
    "verdict": verdict,
}
