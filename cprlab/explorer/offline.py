"""The explorer of some cases as one offline page: the models are in it, and no server, kernel or other host is needed.

`static/offline.js` answers the widget there as `widget.py` does here, with predictions of `static/model.js`. What it
does not compute, the verdicts and the states that best copy, is computed before, for the cases' own histories.
"""

import gzip
import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cprlab.errors import ConfigError, DataError, visible
from cprlab.explorer import payload
from cprlab.explorer.choices import SHOWN, worst
from cprlab.explorer.explorer import Explorer, ExplorerConfig
from cprlab.explorer.frontend import joined, style
from cprlab.explorer.model import Model
from cprlab.explorer.page import finish
from cprlab.explorer.page_model import describe, described, grammar, packed
from cprlab.explorer.state import PROJECTIONS, UNCOPYABLE, ExplorerState, Setting
from cprlab.files import whole
from cprlab.models import parse_head
from cprlab.subjects import Subject

ENTRY = "page.js"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>cprlab: explorer</title>
<style>
body {{ margin: 0 }}
{style}
</style>
</head>
<body>
<div id="cprlab-place">Opening the models; a browser of 2023 or later is needed.</div>
<script type="application/json" id="cprlab-data">{data}</script>
{weights}
<script type="module">
{script}
modules["{entry}"].open(document.getElementById("cprlab-place"));
</script>
</body>
</html>
"""


def run_page(config: ExplorerConfig, path: Path, cases: int) -> None:
    """Write the explorer of a configuration's models as one offline page; a message names models that are left out.

    Args:
        config: what to open.
        path: the page's file, which is replaced.
        cases: maximum number of cases in the page: the first of the state's query, and the state's case.

    Raises:
        CprlabError: as `opened`, the page can compute none of the models, or the file cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the page's file, such as {path / 'explorer.html'}.")
    with whole(path) as file:  # from the start, so that a place that cannot be written is refused at once
        shown = Explorer(_computed(config.subjects(facet="V")), config.state, Path(config.data).name)
        file.write_text(page(shown, cases), encoding="utf-8")


def _computed(subjects: list[Subject]) -> list[Subject]:
    """Return the models that a page can compute; a message names the others.

    Raises:
        ConfigError: it can compute none.
    """
    computed, refused = [], []
    for subject in subjects:
        try:
            if subject.recommender is None:
                raise ConfigError("A file of states has no encoder, which a page needs to follow the edits.")
            describe(subject.recommender)
            computed.append(subject)
        except ConfigError as error:
            refused.append(f"{subject.name} is left out of the page. {error}")
    if not computed:
        raise ConfigError(f"{' '.join(refused)} So nothing is left; use cprlab explore without --page.")
    print(*map(visible, refused), sep="\n", end="\n" * bool(refused), file=sys.stderr)
    return computed


def page(shown: Explorer, cases: int) -> str:
    """Return the page of at most `cases` cases, the first of the state's query, and the state's case."""
    if shown.state.query.preset == UNCOPYABLE:
        finish(shown)
    found = shown.choices.find(shown.state.query)["case"].head(cases).tolist()
    chosen = sorted({shown.state.case, *found[: cases - (shown.state.case not in found)]})
    data, best = _data(shown, chosen)
    weights = "\n".join(
        f'<script type="text/plain" id="cprlab-weights-{place}">{_embedded(model, states)}</script>'
        for place, (model, states) in enumerate(zip(shown.models, best, strict=True))
    )
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # titles may contain tags
    return PAGE.format(policy=POLICY, style=style(), data=text, weights=weights, script=joined(ENTRY), entry=ENTRY)


def _data(shown: Explorer, chosen: list[int]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what `static/offline.js` reads, and for each model the states (cases, d) that best copy."""
    table = shown.choices.table.loc[chosen].copy()
    cases, best = [], []
    plain, copying = ((Setting(best=best),) * len(shown.models) for best in (False, True))
    for case in tqdm(chosen, desc="verdicts", unit=" cases"):
        own = shown.at(shown.state.but(case=case, history=None, settings=plain, pinned=None))
        for _ in own.verdict():
            pass
        if known := [verdict for verdict in own.verdicts() if verdict]:
            table.loc[case, "least"] = max(verdict.least_copying for verdict in known)
            table.loc[case, "copyable"] = worst([verdict.copying.outcome for verdict in known])
        moved = own.at(own.state.but(settings=copying)).predicted()
        best.append([prediction.states["V"] for prediction in moved if prediction])
        user = shown.choices.users[case][: payload.CLIPPED]
        cases.append({"history": own.history, "target": own.target, "user": user, "verdict": payload.verdict(own)})
    held = f"The page has {len(chosen):,} of {len(shown.choices.table):,} cases."
    data = {
        "base": payload.base(shown) | {"projections": [("pca", PROJECTIONS["pca"])]},
        "state": _possible(shown.state).model_dump(),
        "models": [described(shown, place) for place in range(len(shown.models))],
        "grammar": grammar(),
        "table": payload.rows(table),
        "listed": SHOWN,
        "note": f"{held} {payload.legend(shown)} {payload.IN_NATS}",
        "cases": cases,
        "empty": shown.at(shown.state.but(history=(), pinned=None)).sentence(),
    }
    return data, [np.stack(states).astype(np.float32) for states in zip(*best, strict=True)]


def _possible(state: ExplorerState) -> ExplorerState:
    """Return a state with the page's projection, and with heads' names as `str()` of the heads writes them."""

    def canonical(settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        return tuple(one.but(head=str(parse_head(one.head))) if one.head else one for one in settings)

    pinned = state.pinned and state.pinned.but(settings=canonical(state.pinned.settings))
    return state.but(projection="pca", settings=canonical(state.settings), pinned=pinned)


def _embedded(model: Model, best: np.ndarray) -> str:
    """Return base64 of the gzip of a model's tensors, with the states (cases, d) that best copy."""
    return b64encode(gzip.compress(packed(model, {"best": best}), mtime=0)).decode()
