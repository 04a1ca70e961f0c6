"""Messages to the page: the tables of an Explorer as plain values for JSON, with text from data clipped."""

import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cprlab.errors import CprlabError
from cprlab.explorer import tables
from cprlab.explorer.choices import SHOWN
from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import PRESETS, PROJECTIONS, UNCOPYABLE
from cprlab.explorer.verdict import COLUMNS
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
    "apart": "models apart",
    "off": "off the truth",
    "least": "best state loses",
    "copyable": "one state can copy",
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
        "models": [_model(model) for model in shown.models],
        "kinds": {kind: [colour, symbol] for kind, (colour, symbol, _) in KINDS.items()},
        "observed": shown.choices.observed,
        "presets": PRESETS,
        "uncopyable": UNCOPYABLE,
        "projections": list(PROJECTIONS.items()),
        "parts": [{"key": part.letter, "label": part.label, "sentence": part.sentence} for part in PARTS] + [POST],
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
    state, predicted, pinned = shown.state, shown.predicted(), shown.pinned()
    selected = [0.0 if one is None else float(one.probabilities(state.selection).sum()) for one in predicted]
    return {
        "type": "view",
        "state": state.model_dump(),
        "case": _case(shown),
        "history": shown.history,
        "predictions": [_prediction(shown, *one) for one in zip(shown.models, predicted, pinned, strict=True)],
        "heads": [_head(head) for head in shown.heads()],
        "selected": [_number(share) for share in selected],
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


def _prediction(shown: Explorer, model: Model, now: Prediction | None, pinned: Prediction | None) -> dict[str, Any]:
    if now is None:
        return {"rank": None, "copy": None, "target": None, "top": [], "pinned": None, "settled": ""}
    top = {name: column.tolist() for name, column in tables.best(shown, now, pinned).items()}
    none = [None] * len(top["item"])
    was, before = top.get("pinned_probability", none), top.get("pinned_place", none)
    places = now.ranks(top["item"]).tolist()
    moved = none if pinned is None else [old - new for old, new in zip(before, places, strict=True)]
    columns = (top["item"], top["place"], map(_number, top["probability"]), top["kind"], top["partition"], moved)
    names = ("item", "place", "p", "kind", "partition", "moved", "was")
    follows = "" if model.encodes else "These states have no encoder, so the hidden state does not change with edits."
    return outcome(now, shown.target) | {
        "top": [dict(zip(names, values, strict=True)) for values in zip(*columns, map(_number, was), strict=True)],
        "pinned": None if pinned is None else outcome(pinned, shown.target),
        "settled": follows,
    }


def outcome(prediction: Prediction, target: int) -> dict[str, Any]:
    """Return `Prediction.outcome`, with None where there is no probability."""
    return {name: _number(value) for name, value in prediction.outcome(target).items()}


def _number(value: Any) -> Any:
    """Return the value, or None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and np.isnan(value) else value


def _head(head: HeadConfig) -> dict[str, Any]:
    switches = {key: getattr(head, field, OFF[field]) for key, field in SWITCHES.items()}
    merges = {merge: getattr(head, merge, "") for _, merge in MERGES.values()}
    return switches | merges | {"name": str(head)}


def marks(shown: Explorer) -> dict[str, Any]:
    """Return the map's marks and lines."""
    try:
        table = tables.marks(shown)
    except CprlabError as error:
        return {"type": "marks", "marks": [], "lines": [], "note": str(error)}
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
        "note": "",
    }


def points(shown: Explorer) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message with the map's points, and its buffers; no buffers while the points are computed."""
    state = shown.state
    message = {"type": "points", "projection": state.projection, "model": state.space, "note": ""}
    try:
        plane = shown.plane()
    except CprlabError as error:
        return message | {"note": str(error)}, []
    if plane is None:
        note = f"Computing the t-SNE of {len(shown.titles):,} items; about half a minute for each 10,000."
        return message | {"note": note, "pending": True}, []
    return message | {"note": plane.note}, [plane.points.tobytes()]


def cases(shown: Explorer) -> dict[str, Any]:
    """Return the table of the query's cases."""
    found = shown.choices.find(shown.state.query)
    listed = found.head(SHOWN)
    note = legend(shown)
    if shown.state.query.preset == UNCOPYABLE:
        done = (shown.choices.table["copyable"] != "").sum()
        note = f"{done:,} cases have been checked. {IN_NATS} {note}"
    return rows(listed) | {
        "type": "cases",
        "total": len(shown.choices.table),
        "shown": len(listed),
        "found": len(found),
        "note": note,
    }


def own(shown: Explorer, codes: Iterable[int]) -> dict[str, Any]:
    """Return what a page needs to compute predictions of cases: their own histories, and their targets and users."""
    choices = shown.choices
    found = [
        {
            "case": case,
            "user": choices.users[case][:CLIPPED],
            "history": choices.histories[case].tolist(),
            "target": int(choices.targets[case]),
        }
        for case in codes
    ]
    return {"type": "own", "cases": found}


def legend(shown: Explorer) -> str:
    """Return what the columns of the table of cases mean."""
    letters = "; ".join(
        f"{letter} is {model.name}{', which gives no probabilities' * model.ordered}"
        for letter, model in shown.choices.lettered()
    )
    return f"{letters}. copy is the probability of the history's items, rank is the next item's."


def rows(listed: pd.DataFrame) -> dict[str, Any]:
    """Return the columns and the rows of a table of cases."""
    return {
        "columns": [
            {"key": key, "label": LABELS.get(key, key), "format": FORMATS.get(key.split()[0], "text")} for key in listed
        ],
        "rows": [[_number(_clipped(value)) for value in values] for values in listed.itertuples(index=False)],
    }


def _clipped(value: Any) -> Any:
    return value[:CLIPPED] if isinstance(value, str) else value


def verdict(shown: Explorer) -> dict[str, Any]:
    """Return the verdict on the case shown, as far as it is computed."""
    interfering = tables.interfering(shown).groupby("model", sort=False)
    return {
        "type": "verdict",
        "sentence": shown.sentence(),
        "columns": COLUMNS,
        "rows": tables.known_verdict(shown).to_numpy().tolist(),
        "interfering": [
            {
                "model": model,
                "items": [
                    {"item": item, "title": title[:CLIPPED], "takes": takes}
                    for _, item, title, takes in of_model.itertuples(index=False)
                ],
            }
            for model, of_model in interfering
        ],
    }


def item(shown: Explorer, code: int) -> dict[str, Any]:
    """Return an item's card: how many cases' histories have it, and for each model rank, probability and neighbours."""

    def given(model: Model, now: Prediction) -> dict[str, Any]:
        near = (
            [{"item": other, "cosine": cosine} for other, cosine in model.near(code, NEAR)] if model.has_states else []
        )
        return {"rank": int(now.ranks([code])[0]), "p": _number(float(now.probabilities([code])[0])), "near": near}

    return {
        "item": code,
        "count": int(shown.choices.counts[code]),
        "cases": len(shown.choices.targets),
        "models": [now and given(model, now) for model, now in zip(shown.models, shown.predicted(), strict=True)],
    }


ANSWERS: dict[str, Callable[[Explorer, Any], dict[str, Any]]] = {
    "item": item
}  # of the questions that a page asks about what it shows


def notice(shown: Explorer, before: Sequence[dict | None], now: Sequence[dict | None]) -> str:
    """Return a line on the changes of the models' outcomes (`Prediction.outcome`)."""
    said = []
    for model, old, new in zip(shown.models, before, now, strict=True):
        if old and new and old != new:
            copied = "" if model.ordered else f"copy probability {old['copy']:.1%} → {new['copy']:.1%}, "
            said.append(f"{model.name}: {copied}the next item's rank {old['rank']:,} → {new['rank']:,}")
    return "; ".join(said)
