"""Tables of an Explorer's views, for Python, the export menus and the page."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cprlab.errors import ConfigError
from cprlab.explorer import why
from cprlab.explorer.cohort import counted
from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Prediction
from cprlab.explorer.verdict import COLUMNS, IN_NATS, figures, row
from cprlab.probes.geometry import NO_ITEM

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")  # full-width signs count too
NUMBER = re.compile(r"[+-]\d+([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)


def table(shown: Explorer, view: str) -> pd.DataFrame:
    """Return what a view shows as a table.

    Args:
        shown: what is shown.
        view: a key of `VIEWS`; the cohort and the verdict are computed, which may take a while.

    Raises:
        ConfigError: the view does not exist.
    """
    if view not in VIEWS:
        raise ConfigError(f"There is no view {view!r}; the views are {', '.join(VIEWS)}.")
    return VIEWS[view](shown)


def cases(shown: Explorer) -> pd.DataFrame:
    """Return the rows of `Choices.table` that match the query."""
    return shown.choices.find(shown.state.query)


def cohort(shown: Explorer) -> pd.DataFrame:
    """Compute how the models do on the query's cases, after the state's edit if there is one; see `Cohort.table`."""
    return counted(shown, shown.state.edit or None).table()


def history(shown: Explorer) -> pd.DataFrame:
    """Return rows `place` (from 1, oldest first), `item` (code), `id, title, next` (whether it is the next item)."""
    items = list(shown.history)
    places = {"place": np.arange(1, len(items) + 1)}
    return pd.DataFrame(places | _named(shown, items) | {"next": np.equal(items, shown.target)})


def selection(shown: Explorer) -> pd.DataFrame:
    """Return rows `item` (code), `id`, `title` of the selected items, and a column of probabilities for each model."""
    items = list(shown.state.selection)
    columns = _named(shown, items)
    for model, prediction in zip(shown.models, shown.predicted(), strict=True):
        columns[model.name] = np.nan if prediction is None else prediction.probabilities(items)
    return pd.DataFrame(columns)


def _named(shown: Explorer, items: list[int]) -> dict[str, Any]:
    return {"item": items, "id": shown.models[0].held_out.item_ids[items], "title": shown.titles[items]}


def predictions(shown: Explorer) -> pd.DataFrame:
    """Return the k best items of each model.

    Returns:
        Rows `model, place` (from 1), `item` (code), `title, probability` (NaN if the model only orders the items),
        `kind` ("history", "new", or "target" for the true next item), `partition` (the one that scored it last), and
        with a pin `pinned_probability, pinned_place`.
    """
    rows = [
        pd.DataFrame({"model": model.name} | best(shown, prediction, pinned))
        for model, prediction, pinned in zip(shown.models, shown.predicted(), shown.pinned(), strict=True)
        if prediction is not None
    ]
    columns = ["model", "place", "item", "title", "probability", "kind", "partition"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def best(shown: Explorer, prediction: Prediction, pinned: Prediction | None) -> dict[str, np.ndarray]:
    """Return columns (k,) of the k best items, as in `predictions` but without `model`."""
    top = prediction.top(shown.state.k)
    columns = {
        "place": np.arange(1, len(top) + 1),
        "item": top,
        "title": shown.titles[top],
        "probability": prediction.probabilities(top),
        "kind": shown.kinds(top),
        "partition": prediction.partitions[top],
    }
    if pinned is not None:
        columns |= {"pinned_probability": pinned.probabilities(top), "pinned_place": pinned.ranks(top)}
    return columns


def scores(shown: Explorer) -> pd.DataFrame:
    """Return the score of each item by each model that gives probabilities, the best first.

    Returns:
        Rows `model, rank, item` (code), `title`, `kind` ("history", "interfering" if the model's verdict is computed,
        "target" or "other"), `log_probability`, `alone` (the score that the vocabulary's hidden state alone would give
        it, with the same normaliser; NaN for mixtures), `logit` (divided by the temperature; NaN for mixtures),
        `probability`.
    """
    rows = []
    for place, (model, prediction) in enumerate(zip(shown.models, shown.predicted(), strict=True)):
        if prediction is None or prediction.ordered:
            continue
        order = np.argsort(-prediction.scores, kind="stable")
        kinds, scores = np.full(len(order), "other", dtype=object), prediction.scores[order]
        for item, kind in scored(shown, place).items():
            kinds[item] = kind
        known = {
            "rank": prediction.ranks(order),
            "item": order,
            "title": shown.titles[order],
            "kind": kinds[order],
            "log_probability": scores,
            "alone": np.nan if prediction.alone is None else prediction.alone[order],
            "logit": scores + prediction.constant,
            "probability": np.exp(scores),
        }
        rows.append(pd.DataFrame({"model": model.name} | known))
    columns = ["model", "rank", "item", "title", "kind", "log_probability", "alone", "logit", "probability"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def scored(shown: Explorer, place: int) -> dict[int, str]:
    """Return the items that a model's scores mark, each with its kind, as `Explorer.marked`, without new ones."""
    return {item: kind for item, kind in shown.marked(place).items() if kind != "new"}


def marks(shown: Explorer) -> pd.DataFrame:
    """Return the marks of the map.

    Returns:
        Rows `item` (code; −1 for a hidden state), `title` (for a hidden state, its partition), `kind` ("new" among
        the top k, "history", "interfering", "target", "hidden state"), `x`, `y` (NaN if the map cannot show it or is
        still computed).

    Raises:
        ConfigError: there is no map, as in `Explorer.plane`.
    """
    model, prediction = shown.models[shown.state.space], shown.predicted()[shown.state.space]
    rows, plane = shown.marked(shown.state.space), shown.plane()
    states = {} if prediction is None else prediction.states
    places = np.full((len(rows) + len(states), 2), np.nan)
    if plane is not None:
        weights = model.snapshot.item_embeddings
        items = plane.points[list(rows)] if plane.linear is None else plane.place(weights[list(rows)])
        places = np.concatenate([items, plane.place(np.reshape([*states.values()], (len(states), weights.shape[1])))])
    return pd.DataFrame(
        {
            "item": [*rows, *[NO_ITEM] * len(states)],
            "title": [*shown.titles[list(rows)], *(f"hidden state {name}" for name in states)],
            "kind": [*rows.values(), *["hidden state"] * len(states)],
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )


def states(shown: Explorer) -> pd.DataFrame:
    """Return a row for each model: `model`, its changes (`Setting`) and their outcome (`Prediction.outcome`)."""
    rows = []
    for model, setting, head, prediction in zip(
        shown.models, shown.state.settings, shown.heads(), shown.predicted(), strict=True
    ):
        known = {} if prediction is None else prediction.outcome(shown.target)
        rows.append({"model": model.name} | dict(setting) | {"head": str(head)} | known)
    return pd.DataFrame(rows)


def verdict(shown: Explorer) -> pd.DataFrame:
    """Compute the verdict; return rows with `verdict.COLUMNS` of the models that have states or probabilities."""
    for _ in shown.verdict():
        pass
    return known_verdict(shown)


def known_verdict(shown: Explorer) -> pd.DataFrame:
    """Return the rows of `verdict` for models whose verdict is computed, or that have probabilities but no states."""
    return pd.DataFrame([row(*known) for known in _judged(shown)], columns=COLUMNS)


def _judged(shown: Explorer) -> Iterator[tuple[Any, ...]]:
    return (known for known in shown.known_verdicts() if known[0].has_states or not known[0].ordered)


def interfering(shown: Explorer) -> pd.DataFrame:
    """Return what takes most of the probability outside the history at the state in reach that copies best.

    Returns:
        Rows `model, item, title, takes` (probability at that model's state), the first of `CaseVerdict.interfering`
        for each model whose verdict is computed.
    """
    return _by_model(
        shown,
        "takes",
        {
            model.name: dict(zip(found.interfering, found.taken, strict=True))
            for model, found in zip(shown.models, shown.verdicts(), strict=True)
            if found
        },
    )


def inseparable(shown: Explorer) -> pd.DataFrame:
    """Return the items that no hidden state of a model ranks below the history, all of them together.

    A part of these items may be possible to rank below it.

    Returns:
        Rows `model, item, title, weight` (in the proof, `Certificate.below`, the largest first), for each model that
        has such a proof, as far as the verdicts are computed.
    """
    return _by_model(
        shown,
        "weight",
        {
            model.name: found.copying.below or {}
            for model, found in zip(shown.models, shown.verdicts(), strict=True)
            if found
        },
    )


def _by_model(shown: Explorer, name: str, numbers: dict[str, dict[int, float]]) -> pd.DataFrame:
    """Return rows `model, item, title` and a number of each item, the largest first within a model."""
    rows = [
        (model, item, shown.titles[item], of_item[item])
        for model, of_item in numbers.items()
        for item in sorted(of_item, key=lambda item: -of_item[item])
    ]
    return pd.DataFrame(rows, columns=["model", "item", "title", name])


def exported(shown: Explorer, view: str) -> pd.DataFrame:
    """Return what a view shows as `table`, to be used elsewhere.

    Each row names its `case`, `user` and, if it is of one, its `model`, as columns of a model do; numbers are numbers,
    not words, and each has a column of its own.
    """
    found = table(shown, view)
    if view == "verdict":
        found = pd.DataFrame([figures(*known) for known in _judged(shown)], columns=COLUMNS)
        found = found.rename(columns={name: f"{name} (nats)" for name in IN_NATS})
    if view == "states":
        place = found.columns.get_loc("axes")
        for axis, moved in enumerate(zip(*found.pop("axes"), strict=True)):
            found.insert(place + axis, f"axis {axis + 1}", moved)
    if view == "map":
        found.insert(0, "model", shown.models[shown.state.space].name)
    if view == "cases":
        for letter, model in shown.choices.lettered():
            found = found.rename(columns={f"{name} {letter}": f"{name}, {model.name}" for name in ("copy", "rank")})
    else:
        found.insert(0, "user", shown.choices.users[shown.state.case])
        found.insert(0, "case", shown.state.case)
    return found


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV in which a spreadsheet does not run any text as a formula.

    Text that looks like a formula gets an apostrophe in front, so that it is shown as text. Numbers, also those written
    as text, are not changed.
    """
    defused = table.map(_defused).rename(columns=_defused)
    return defused.to_csv(index=False, lineterminator="\r\n")  # as in RFC 4180, so that a lone \r is quoted too


def _defused(value: object) -> object:
    if not isinstance(value, str) or not value.lstrip(" ").startswith(FORMULAS):
        return value
    return value if NUMBER.fullmatch(value) else f"'{value}"


VIEWS = {
    "cases": cases,
    "cohort": cohort,
    "history": history,
    "predictions": predictions,
    "scores": scores,
    "map": marks,
    "states": states,
    "verdict": verdict,
    "why": why.table,
    "partitions": why.partitions,
}
