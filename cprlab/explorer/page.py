"""The page on a single case: its title, text, map, and the numbers in `case.json`."""

import time

import numpy as np
import pandas as pd
from tqdm import tqdm

from cprlab.errors import ConfigError
from cprlab.explorer import tables
from cprlab.explorer.explorer import CaseConfig, Explorer
from cprlab.explorer.state import UNCOPYABLE, Setting
from cprlab.numbers import as_text, write_numbers

SHOWN = 10  # cases
OTHERS = 10_000  # items in a map's background; a browser is slow with more
POLL = 0.2  # seconds


def finish(shown: Explorer) -> None:
    """Compute what the widget computes in the background: the verdict, and certificates if the preset needs them."""
    tables.verdict(shown)
    if shown.state.query.preset == UNCOPYABLE:
        with tqdm(total=len(shown.choices.targets), desc="certificates", unit=" cases") as bar:
            for done in shown.choices.certify():
                bar.update(done - bar.n)


def title(shown: Explorer) -> str:
    """Return a figure's title: the user or case, and the next item."""
    user = shown.choices.users[shown.state.case]
    return f"{f'User {user}' if user else f'Case {shown.state.case:,}'} next takes {shown.titles[shown.target]}"


def about(shown: Explorer) -> str:
    """Return a description of the case as Markdown: its user, history, next item, data and verdicts."""
    case, items, length = shown.state.case, shown.titles, len(shown.history)
    user = as_text(shown.choices.users[case])
    said = f"**Case {case:,}{f', user {user}' if user else ''}.** The history has {length:,} items"
    said += " and was edited" if shown.state.history is not None else ""
    said += f". The next item is **{as_text(items[shown.target])}**, which is "
    said += "among them. " if shown.target in shown.history else "new. "
    longest = max(model.max_len for model in shown.models)
    if length > longest:
        said += f"The models read the last {longest} items. "
    said += _changes(shown)
    said += f"The fingerprint of the data is {shown.models[0].fingerprint}. "
    return said + as_text(shown.sentence())


def _changes(shown: Explorer) -> str:
    """Return what was changed in the models: their settings that are not the defaults, by the names of `Setting`."""
    plain = dict(Setting())
    changed = [
        f"{model.name} ({', '.join(f'{name} {value}' for name, value in setting if value != plain[name])})"
        for model, setting in zip(shown.models, shown.state.settings, strict=True)
        if setting != Setting()
    ]
    return f"Models are shown with changes: {as_text('; '.join(changed))}. " if changed else ""


def proofs(shown: Explorer) -> str:
    """Return for each model the items that no hidden state ranks below the history, all of them together, as Markdown.

    See `tables.inseparable`.
    """
    return "\n".join(
        f"- **{as_text(model)}**, {len(rows)} items: {'; '.join(map(as_text, rows['title']))}"
        for model, rows in tables.inseparable(shown).groupby("model", sort=False)
    )


def heads(shown: Explorer) -> dict[str, list[str]]:
    """Return lines of text by model: its name, its head if it was switched, and the outcome of its prediction."""
    lines = {}
    for model, setting, prediction in zip(shown.models, shown.state.settings, shown.predicted(), strict=True):
        lines[model.name] = [model.name, f"now {setting.head}"] if setting.head else [model.name]
        if prediction:
            known = prediction.outcome(shown.target)
            copied = "gives no probabilities" if model.ordered else f"copy probability {known['copy']:.1%}"
            lines[model.name].append(f"{copied}, ★ at rank {known['rank']:,}")
    return lines


def listed(shown: Explorer) -> pd.DataFrame:
    """Return the first cases of the state's query; without the columns of certificates if they were not computed."""
    found = tables.cases(shown)
    if not shown.choices.table["copyable"].any():
        found = found.drop(columns=["copyable", *found.filter(regex="^least")])
    return found.head(SHOWN)


def picture(shown: Explorer) -> tuple[pd.DataFrame, str]:
    """Return the map's items, as for `plots.item_map`, with unmarked items first, and a note.

    Waits for a t-SNE. Of a large vocabulary, some items are left out, evenly by their codes, and the note says so.
    """
    try:
        while (plane := shown.plane()) is None:
            time.sleep(POLL)
        marks = tables.marks(shown)
    except ConfigError as error:
        return pd.DataFrame(columns=["item", "title", "kind", "x", "y"]), str(error)
    others = np.setdiff1d(np.flatnonzero(np.isfinite(plane.points[:, 0])), marks["item"])
    drawn = others[:: -(-len(others) // OTHERS)] if len(others) else others
    x, y = plane.points[drawn].T
    background = pd.DataFrame({"item": drawn, "title": shown.titles[drawn], "kind": "other", "x": x, "y": y})
    left_out = f" {len(drawn):,} of {len(others):,} other items are drawn." if len(drawn) < len(others) else ""
    return pd.concat([background, marks[np.isfinite(marks["x"])]], ignore_index=True), plane.note + left_out


def write_case(shown: Explorer, config: CaseConfig) -> None:
    """Write `case.json` to `config.out`, if it is set: the state, the verdicts, and the page's tables as rows."""
    verdicts = {
        model.name: {
            "least lost where it should copy": verdict.least_copying,
            "least lost where it should exclude": verdict.least_excluding,
            "one state can copy all": verdict.copying.outcome,
            "one state can exclude all": verdict.excluding.outcome,
            "interfering": verdict.interfering,
            "taken": verdict.taken,
        }
        for model, verdict in zip(shown.models, shown.verdicts(), strict=True)
        if verdict
    }
    content = {"fingerprint": shown.models[0].fingerprint, "state": shown.state.model_dump()}
    content |= {"sentence": shown.sentence(), "verdicts": verdicts}
    content |= {view: tables.table(shown, view).to_dict("records") for view in ("history", "predictions", "states")}
    write_numbers("case.json", config, content)
