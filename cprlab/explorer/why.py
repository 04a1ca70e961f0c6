"""Why a prediction is as it is: what each item of the history did to it, and what each partition gave an item."""

from typing import Any

import numpy as np
import pandas as pd

from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Model
from cprlab.explorer.state import Setting
from cprlab.probes import leave_one_out
from cprlab.probes.attribution import attributed


def effects(model: Model, case: int, history: tuple[int, ...], setting: Setting, item: int) -> pd.DataFrame:
    """Return what each item of a history did: the prediction with it minus the one without it.

    It is of the model's own state and temperature, whatever was moved, with the head as it is switched.

    Returns:
        Rows of `probes.leave_one_out` with `copied` (change of P(history)) and `gained` (nats, change of the item's
        log-probability). None for a history of one item, for a model that only orders the items, and for states without
        an encoder.
    """
    users = None if model.users is None else model.users[[case]]
    able = model.encodes and not model.ordered and len(history) > 0
    table = leave_one_out(model.head(setting.head), [np.asarray(history)] if able else [[0]], [item], users)
    return table.assign(copied=-table["copy_change"], gained=-table["target_change"])


def given(model: Model, case: int, history: tuple[int, ...], setting: Setting, item: int) -> list[dict[str, Any]]:
    """Return what each partition gave an item, in the prediction as it is shown, before the temperature.

    Returns:
        For each softmax of the head its `weight` in the mixture (NaN if the largest logit counts) and `steps`, one for
        each partition: `name, change` (of the logit, from 0), `logit` and `rank` after it.
    """
    parts = model.parts(case, history, setting)
    table = attributed(parts, 0, model.read(history), np.array([item]), 1)
    table = table[table["item"] == item].astype({"logit_before": float, "logit_change": float})
    return [
        {
            "weight": float(rows["weight"].iloc[0]),
            "steps": [
                {"name": name, "change": change, "logit": before + change, "rank": rank}
                for name, change, before, rank in rows[
                    ["partition", "logit_change", "logit_before", "rank_after"]
                ].itertuples(index=False)
            ],
        }
        for _, rows in table.groupby("component")
    ]


def partitions(shown: Explorer) -> pd.DataFrame:
    """Return what each partition gave the k best items, the history's and the next, before the temperature.

    Returns:
        Rows of `probes.attribution` with `model` for `case`, and `title`.
    """
    rows = []
    for model, setting, prediction in zip(shown.models, shown.state.settings, shown.predicted(), strict=True):
        if prediction:
            parts, read = model.parts(shown.state.case, shown.history, setting), model.read(shown.history)
            found = attributed(parts, 0, read, np.array([shown.target]), min(shown.state.k, len(shown.titles)))
            found.insert(0, "model", model.name)
            found.insert(2, "title", shown.titles[found["item"]])
            rows.append(found)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["model", "item", "title"])


def table(shown: Explorer) -> pd.DataFrame:
    """Return what each item of the history did to P(history) and to the next item's log-probability.

    Returns:
        Rows `model, place` (in the history, from 1), `item` (code), `title, history` (P(history) with the item minus
        without it), `next` (nats); see `effects`.
    """
    rows = []
    for model, setting in zip(shown.models, shown.state.settings, strict=True):
        found = effects(model, shown.state.case, shown.history, setting, shown.target)
        names = {"item": found["item"], "title": shown.titles[found["item"]]}
        numbers = {"history": found["copied"], "next": found["gained"]}
        rows.append(pd.DataFrame({"model": model.name, "place": found["position"] + 1} | names | numbers))
    return pd.concat(rows, ignore_index=True)
