"""Messages to the page: the tables of an Explorer as plain values for JSON, with text from data clipped."""

import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from cprlab.errors import CprlabError
from cprlab.evaluation import FEW
from cprlab.explorer import tables, why
from cprlab.explorer.choices import SHOWN
from cprlab.explorer.cohort import COUNTED, Cohort
from cprlab.explorer.edits import EDITS
from cprlab.explorer.explorer import Explorer
from cprlab.explorer.flips import flip
from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import PRESETS, UNCOPYABLE, Setting
from cprlab.explorer.stories import Story
from cprlab.explorer.verdict import REMEDIES, given, losses, possible
from cprlab.models import PARTS, HeadConfig, SoftmaxConfig
from cprlab.plots import KINDS
from cprlab.probes import NO_STATES

CLIPPED = 200  # characters of a title
NEAR = 5  # items on an item's card
SWITCHES = {part.letter: part.field for part in PARTS} | {"post": "post"}  # the page's names of fields
MERGES = {"merges": ("context", "context_merge"), "rerankMerges": ("rerank", "rerank_merge")}  # name: (part, field)
OFF = {field: SoftmaxConfig.model_fields[field].default for field in SWITCHES.values()}  # for heads without the field
POST = {"key": "post", "label": "history's items ruled out", "sentence": "the items of the history get probability 0"}
LABELS = {
    "next": "next item",
    "length": "items",
    "off": "off the truth",
    "least": "best state loses",
    "copyable": "one state can copy",
}
MEANINGS = {  # of columns of cases; {model} is the model of the letter
    "case": "number of the case",
    "next": "the true next item",
    "repeat": "whether the next item is in the history",
    "copy": "P(history), the probability that {model} gives the history's items",
    "apart": "largest minus smallest P(history) of the models",
    "off": "largest distance of a P(history) from the truth, which is 100% if the next item is in the history, else 0%",
    "rank": "rank of the next item by {model}",
    "length": "number of items read",
    "user": "the user's id",
    "least": "nats that the best single hidden state of {model} loses where it should copy",
    "copyable": "whether one hidden state can rank the history above all other items, in every model",
}
IN_NATS = "best state loses is in nats, where it should copy."
FORMATS = {
    "case": "int",
    "length": "int",
    "rank": "int",
    "repeat": "flag",
    "copy": "percent",
    "apart": "percent",
    "off": "percent",
    "least": "nats",
}


def base(shown: Explorer) -> dict[str, Any]:
    """Return the constant parts of the page: titles, models, and the choices of its controls."""
    return {
        "type": "base",
        "counts": shown.choices.counts.tolist(),
        "cases": len(shown.choices.targets),
        "titles": [title[:CLIPPED] for title in shown.titles],
        "models": [{"letter": letter} | _model(model) for letter, model in shown.choices.lettered()],
        "kinds": {kind: [colour, symbol] for kind, (colour, symbol, _) in KINDS.items()},
        "observed": shown.choices.observed,
        "presets": PRESETS,
        "edits": list(EDITS),
        "few": FEW,
        "uncopyable": UNCOPYABLE,
        "projections": list(shown.projections.items()),
        "parts": [{"key": part.letter, "label": part.label, "sentence": part.sentence} for part in PARTS] + [POST],
        "remedies": [[part.letter, REMEDIES[field]] for field in REMEDIES for part in PARTS if part.field == field],
    }


def _model(model: Model) -> dict[str, Any]:
    head = model.recommender.head.config
    options = {key: getattr(head, field, OFF[field]) for key, field in SWITCHES.items() if key != "post"}
    for name, (part, merge) in MERGES.items():
        choices = typing.get_args(SoftmaxConfig.model_fields[merge].annotation)
        options[name] = choices if getattr(head, part, ()) else ()
    return {
        "name": model.name,
        "encodes": model.encodes,
        "trained": str(head),
        "options": options,
        "stateless": "" if model.has_states else NO_STATES.format(model.name),
        "ordered": f"{model.name} orders the items and gives no probabilities." if model.ordered else "",
    }


def view(shown: Explorer) -> dict[str, Any]:
    """Return what all views show, except the table of cases, the map and the verdict."""
    state, predicted, models = shown.state, shown.predicted(), range(len(shown.models))
    selected = [0.0 if one is None else float(one.probabilities(state.selection).sum()) for one in predicted]
    return {
        "type": "view",
        "state": state.model_dump(),
        "case": _case(shown),
        "history": shown.history,
        "predictions": [_prediction(shown, place) for place in models],
        "heads": [_head(head) for head in shown.heads()],
        "selected": [_number(share) for share in selected],
        "kept": [[one and outcome(one, shown.target) for one in predictions] for predictions in shown.kept()],
    }


def _case(shown: Explorer) -> dict[str, Any]:
    state, length, longest = shown.state, len(shown.history), max(model.max_len for model in shown.models)
    note = ""
    if not length:
        note = "The history is empty, so nothing can be predicted: insert an item, undo or reset."
    elif length > longest:
        note = f"The models read the last {longest} of these {length} items."
    return {
        "user": shown.choices.users[state.case][:CLIPPED],
        "target": shown.target,
        "edited": state.history is not None,
        "note": note,
    }


def _prediction(shown: Explorer, place: int) -> dict[str, Any]:
    model, now, pinned = shown.models[place], shown.predicted()[place], shown.pinned()[place]
    if now is None:
        unknown: dict[str, Any] = {"rank": None, "copy": None, "target": None, "top": [], "pinned": None, "settled": ""}
        return unknown | {"given": "", "repeat": None, "lost": [None, None]}
    top = {name: column.tolist() for name, column in tables.best(shown, now, pinned).items()}
    none = [None] * len(top["item"])
    was, before = top.get("pinned_probability", none), top.get("pinned_place", none)
    places = now.ranks(top["item"]).tolist()
    moved = none if pinned is None else [old - new for old, new in zip(before, places, strict=True)]
    columns = (top["item"], top["place"], map(_number, top["probability"]), top["kind"], top["partition"], moved)
    names = ("item", "place", "p", "kind", "partition", "moved", "was")
    follows = "" if model.encodes else "These states have no encoder, so the hidden state does not change with edits."
    own, head = shown.trained()[place], shown.heads()[place]
    lost = (np.nan, np.nan) if own is None or now.ordered else losses(own, now)
    return outcome(now, shown.target) | {
        "top": [dict(zip(names, values, strict=True)) for values in zip(*columns, map(_number, was), strict=True)],
        "pinned": None if pinned is None else outcome(pinned, shown.target),
        "settled": follows,
        "given": given(now, head, shown.target, shown.state.k),
        "repeat": shown.target in now.history,
        "lost": [_number(nats) for nats in lost],
    }


def outcome(prediction: Prediction, target: int) -> dict[str, Any]:
    """Return `Prediction.outcome`, with None where there is no probability."""
    return {name: _number(value) for name, value in prediction.outcome(target).items()}


def _number(value: Any) -> Any:
    """Return the value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _head(head: HeadConfig) -> dict[str, Any]:
    switches = {key: getattr(head, field, OFF[field]) for key, field in SWITCHES.items()}
    merges = {merge: getattr(head, merge, "") for _, merge in MERGES.values()}
    return switches | merges | {"name": str(head)}


def marks(shown: Explorer) -> dict[str, Any]:
    """Return the map's marks and lines."""
    try:
        table = tables.marks(shown)
    except CprlabError as error:
        return {"type": "marks", "marks": [], "lines": [], "levels": None, "note": str(error)}
    table = table[np.isfinite(table["x"])]
    found = [
        {"item": item, "kind": kind, "label": title[:CLIPPED], "x": x, "y": y}
        for item, title, kind, x, y in table.itertuples(index=False)
    ]
    places = {mark["item"]: [mark["x"], mark["y"]] for mark in found if mark["item"] >= 0}
    lines = {
        "history": [places[item] for item in shown.history if item in places],
        "states": [[mark["x"], mark["y"]] for mark in found if mark["item"] < 0],
    }
    return {
        "type": "marks",
        "marks": found,
        "lines": [{"kind": kind, "points": points} for kind, points in lines.items() if len(points) > 1],
        "levels": _levels(shown),
        "note": "",
    }


def _levels(shown: Explorer) -> dict[str, Any] | None:
    """Return the map's slope of the first vocabulary facet's scores, as `Plane.slope`."""
    place = shown.state.space
    plane, prediction = shown.plane(), shown.predicted()[place]
    state = None if prediction is None else prediction.states.get("V")
    if plane is None or state is None:
        return None
    slope = plane.slope(shown.models[place].snapshot.item_embeddings, state)
    return slope and {"gradient": slope[0].tolist(), "share": float(slope[1])}


def scores(shown: Explorer) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message of the scores of all items, and a buffer for each model: (n,) float32 log-probabilities.

    The message has, by model, the marked items (log-probabilities are None for −inf) and `Prediction.constant`. Without
    a prediction, or if the model only orders the items, there are none, and its buffer is empty.
    """
    models: list[dict[str, Any]] = []
    buffers = []
    for place, prediction in enumerate(shown.predicted()):
        if prediction is None or prediction.ordered:
            models.append({"marks": [], "constant": None})
            buffers.append(b"")
        else:
            models.append(_scored(shown, place, prediction))
            buffers.append(prediction.scores.astype(np.float32).tobytes())
    return {"type": "scores", "models": models}, buffers


def _scored(shown: Explorer, place: int, prediction: Prediction) -> dict[str, Any]:
    kinds = tables.scored(shown, place)
    items = list(kinds)
    alone = np.full(len(items), np.nan) if prediction.alone is None else prediction.alone[items]
    columns = items, kinds.values(), prediction.scores[items].tolist(), alone.tolist(), prediction.ranks(items).tolist()
    return {
        "marks": [
            {"item": item, "kind": kind, "score": _finite(score), "alone": _finite(own), "rank": rank}
            for item, kind, score, own, rank in zip(*columns, strict=True)
        ],
        "constant": _finite(prediction.constant),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def points(shown: Explorer) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message with the map's points, and its buffers; no buffers while the points are computed."""
    state = shown.state
    message = {"type": "points", "projection": state.projection, "model": state.space, "note": ""}
    try:
        plane = shown.plane()
    except CprlabError as error:
        return message | {"note": str(error)}, []
    if plane is None:
        note = f"Computing the t-SNE of {len(shown.titles):,} items; up to a minute for 10,000."
        return message | {"note": note, "pending": True}, []
    return message | {"note": plane.note}, [plane.points.tobytes()]


def cases(shown: Explorer) -> dict[str, Any]:
    """Return the table of the query's cases."""
    found = shown.choices.find(shown.state.query)
    last = max(0, len(found) - 1) // SHOWN
    start = SHOWN * min(shown.state.query.page, last)
    listed = found.iloc[start : start + SHOWN]
    note = legend(shown)
    if shown.state.query.preset == UNCOPYABLE:
        done = (shown.choices.table["copyable"] != "").sum()
        note = f"{done:,} cases have been checked. {IN_NATS} {note}"
    return rows(shown, listed) | {
        "type": "cases",
        "total": len(shown.choices.table),
        "start": start,
        "size": SHOWN,
        "found": len(found),
        "note": note,
    }


def legend(shown: Explorer) -> str:
    """Return what the columns of the table of cases mean."""
    ordered = [model.name for model in shown.models if model.ordered]
    without = f"No probabilities: {'; '.join(ordered)}. " if ordered else ""
    return f"{without}copy is the probability of the history's items, rank is the next item's."


def rows(shown: Explorer, listed: pd.DataFrame) -> dict[str, Any]:
    """Return the columns and the rows of a table of cases."""
    names = {letter: model.name for letter, model in shown.choices.lettered()}
    columns = []
    for key in listed:
        kind, _, letter = key.partition(" ")
        label = LABELS.get(key) or key.replace("least", "best state")
        meaning = MEANINGS[kind].format(model=names.get(letter, "any model"))
        columns.append({"key": key, "label": label, "format": FORMATS.get(kind, "text"), "meaning": meaning})
    return {
        "columns": columns,
        "rows": [[_number(_clipped(value)) for value in values] for values in listed.itertuples(index=False)],
    }


def _clipped(value: Any) -> Any:
    return value[:CLIPPED] if isinstance(value, str) else value


def cohort(shown: Explorer, found: Cohort) -> dict[str, Any]:
    """Return what is shown of the query's cases together.

    Returns:
        `cells[i][j]` is of metric i and model j: the mean `value`, the mean `after` the edit and their difference, the
        `change` (None without an edit), and `low` and `high`, the interval of the change, or else of the value (None
        for few users).
    """
    table = found.table()
    cells: dict[tuple[str, str], dict[str, float | None]] = {}
    for row in table.to_dict("records"):
        edited, known = found.after is not None, row["n"] >= FEW
        cells[row["metric"], row["model"]] = {
            "value": row["before" if edited else "value"],
            "after": row["after"] if edited else None,
            "change": row["value"] if edited else None,
            "low": row["low"] if known else None,
            "high": row["high"] if known else None,
        }
    return {
        "type": "cohort",
        "edit": shown.state.edit,
        "cases": len(found.before[0]),
        "users": found.users,
        "changed": found.changed,
        "left_out": found.left_out,
        "moved": any(setting != Setting() for setting in shown.state.settings),
        "cells": [[cells.get((metric, model.name)) for model in shown.models] for metric in COUNTED],
    }


def verdict(shown: Explorer) -> dict[str, Any]:
    """Return the verdict on the history shown, as far as it is computed, or a note why there is none.

    Of each model, null if it has no states: what a single state could do in words, the least losses in nats, and
    whether a state can rank all items of the history above, and below, all others. These are of the model as it was
    trained; the ranks of the interfering items are those shown.
    """
    judged: list[dict[str, Any] | None] = []
    interfering: list[dict[str, Any]] = []
    known = zip(shown.models, shown.verdicts(), shown.trained(), shown.predicted(), strict=True)
    for model, found, own, now in known:
        if not found or own is None or now is None:
            judged.append(None)
            continue
        judged.append(
            {
                "possible": possible(model, found, own, shown.target in own.history),
                "least": [found.least_copying, found.least_excluding],
                "can": [found.copying.outcome, found.excluding.outcome],
            }
        )
        taken = zip(found.interfering, found.taken, now.ranks(found.interfering).tolist(), strict=True)
        items = [
            {"item": item, "title": shown.titles[item][:CLIPPED], "takes": takes, "rank": rank}
            for item, takes, rank in taken
        ]
        interfering.append({"model": model.name, "items": items})
    return {
        "type": "verdict",
        "case": shown.state.case,
        "history": shown.history,
        "note": shown.unjudged(),
        "models": judged,
        "interfering": interfering,
    }


def item(shown: Explorer, code: int) -> dict[str, Any]:
    """Return an item's card: how many cases' histories have it, and for each model its rank there, and more."""

    def of(place: int, model: Model, now: Prediction) -> dict[str, Any]:
        near = (
            [{"item": other, "cosine": cosine} for other, cosine in model.near(code, NEAR)] if model.has_states else []
        )
        softmaxes = why.given(model, shown.state.case, shown.history, shown.state.settings[place], code)
        for softmax in softmaxes:
            softmax["weight"] = _number(softmax["weight"])
            softmax["steps"] = [{name: _number(value) for name, value in step.items()} for step in softmax["steps"]]
        rank, p = int(now.ranks([code])[0]), _number(float(now.probabilities([code])[0]))
        logit = float(now.scores[code] + now.constant)
        known = {"rank": rank, "p": p, "logit": logit if np.isfinite(logit) else None}
        return known | {"near": near, "softmaxes": softmaxes}

    return {
        "item": code,
        "count": int(shown.choices.counts[code]),
        "cases": len(shown.choices.targets),
        "models": [
            now and of(place, model, now)
            for place, (model, now) in enumerate(zip(shown.models, shown.predicted(), strict=True))
        ],
    }


def left_out(shown: Explorer, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what each item read of the history did to P(history), and to an item, by a model; see `why.effects`.

    Args:
        shown: what is shown.
        asked: the index of a `model`, and the code of an `item`.
    """
    state, place, code = shown.state, asked["model"], asked["item"]
    found = why.effects(shown.models[place], state.case, shown.history, state.settings[place], code)
    rows = [
        {"position": position, "copied": copied, "gained": _number(gained)}
        for position, copied, gained in found[["position", "copied", "gained"]].itertuples(index=False)
    ]
    return {"model": place, "item": code, "rows": rows}


ANSWERS: dict[str, Callable[[Explorer, Any], dict[str, Any]]] = {
    "item": item,
    "left_out": left_out,
    "flip": lambda shown, place: asdict(flip(shown, place)),
}  # of the questions that a page asks about what it shows


def stories(known: Sequence[Story]) -> dict[str, Any]:
    """Return the stories found so far."""
    return {"type": "stories", "stories": [asdict(story) for story in known]}


def notice(shown: Explorer, before: Sequence[dict | None], now: Sequence[dict | None]) -> str:
    """Return a line on the changes of the models' outcomes (`Prediction.outcome`)."""
    said = []
    for model, old, new in zip(shown.models, before, now, strict=True):
        if old and new and old != new:
            copied = "" if model.ordered else f"copy probability {old['copy']:.1%} → {new['copy']:.1%}, "
            said.append(f"{model.name}: {copied}the next item's rank {old['rank']:,} → {new['rank']:,}")
    return "; ".join(said)
