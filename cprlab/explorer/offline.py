"""The explorer of some cases as one offline page: the models are in it, and no server, kernel or other host is needed.

`static/offline.js` answers the widget there as `widget.py` does here, with predictions of `static/model.js`. What it
does not compute, the verdicts and the states that best copy, is computed before, for the cases' own histories.
"""

import gzip
import json
import sys
from base64 import b64encode
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from tqdm import tqdm

from cprlab.errors import ConfigError, DataError, visible
from cprlab.explorer import payload, stories
from cprlab.explorer.choices import SHOWN, worst
from cprlab.explorer.explorer import MERGES, Explorer, ExplorerConfig
from cprlab.explorer.frontend import joined, style
from cprlab.explorer.page import finish
from cprlab.explorer.page_model import describe
from cprlab.explorer.state import PROJECTIONS, UNCOPYABLE, ExplorerState, Projection, Setting
from cprlab.explorer.stories import Story
from cprlab.files import whole
from cprlab.models import PARTS, SoftmaxConfig, parse_head
from cprlab.models.parts import OPTIONS
from cprlab.subjects import Subject

ENTRY = "page.js"
MAPS: tuple[Projection, ...] = ("local", "pca")  # a t-SNE needs a kernel
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
<div class="cprlab-explorer"><p class="cx-note">{notice}</p></div>
<script type="text/plain" id="cprlab-data">{data}</script>
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
        cases: maximum number of cases in the page: the first of the state's query, and the state's case. Those of the
            stories are added.

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
    """Return the page of `cases` cases, the first of the state's query and the state's case, and of the stories'."""
    if shown.state.query.preset == UNCOPYABLE:
        finish(shown)
    found = shown.choices.find(shown.state.query)["case"].head(cases).tolist()
    return page_of(shown, [shown.state.case, *found[: cases - (shown.state.case not in found)]], told(shown))


def told(shown: Explorer) -> list[Story]:
    """Return the stories of the models shown."""
    return [story for story in stories.found(shown) if story]


def page_of(shown: Explorer, cases: Collection[int], told: Sequence[Story] = (), notice: str = "") -> str:
    """Return the page of some cases, by their indices, among them the state's.

    Args:
        shown: what is shown first.
        cases: the cases.
        told: stories, whose cases are added.
        notice: a line of text below the page.
    """
    data, best = _data(shown, sorted({*cases, *(story.set["case"] for story in told)}))
    data["stories"] = payload.stories(told)["stories"]
    weights = [_weights(shown, place, states) for place, states in enumerate(best)]
    return assembled(_packed(json.dumps(data, allow_nan=False).encode()), weights, notice)


def assembled(data: str, weights: Sequence[str], notice: str) -> str:
    """Return the page of packed data and packed weights, with the present front end."""
    scripts = "\n".join(
        f'<script type="text/plain" id="cprlab-weights-{place}">{packed}</script>'
        for place, packed in enumerate(weights)
    )
    code = {"policy": POLICY, "style": style(), "script": joined(ENTRY), "entry": ENTRY}
    return PAGE.format(data=data, weights=scripts, notice=escape(notice), **code)


def _data(shown: Explorer, chosen: list[int]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what `static/offline.js` reads, and for each model the states (cases, d) that best copy."""
    table = shown.choices.table.loc[chosen].copy()
    cases, best = [], []
    plain = (Setting(),) * len(shown.models)
    copying = tuple(Setting(best=model.has_states) for model in shown.models)
    for case in tqdm(chosen, desc="verdicts", unit=" cases"):
        own = shown.at(shown.state.but(case=case, history=None, settings=plain, pinned=None))
        for _ in own.verdict():
            pass
        for (letter, _), verdict in zip(shown.choices.lettered(), own.verdicts(), strict=True):
            if verdict:
                table.loc[case, f"least {letter}"] = verdict.least_copying
        if known := [verdict for verdict in own.verdicts() if verdict]:
            table.loc[case, "least"] = max(verdict.least_copying for verdict in known)
            table.loc[case, "copyable"] = worst([verdict.copying.outcome for verdict in known])
        moved = own.at(own.state.but(settings=copying)).predicted()
        best.append([prediction.states.get("V", np.empty(0)) for prediction in moved if prediction])
        user = shown.choices.users[case][: payload.CLIPPED]
        cases.append({"history": own.history, "target": own.target, "user": user, "verdict": payload.verdict(own)})
    held = f"The page has {len(chosen):,} of {len(shown.choices.table):,} cases."
    data = {
        "base": payload.base(shown) | {"projections": [(name, PROJECTIONS[name]) for name in MAPS]},
        "state": _possible(shown.state).model_dump(),
        "models": [_model(shown, place) for place in range(len(shown.models))],
        "grammar": _grammar(),
        "table": payload.rows(shown, table),
        "listed": SHOWN,
        "note": f"{held} {payload.legend(shown)} {payload.IN_NATS}",
        "cases": cases,
        "empty": shown.at(shown.state.but(history=(), pinned=None)).unjudged(),
    }
    return data, [np.stack(states).astype(np.float32) for states in zip(*best, strict=True)]


def _possible(state: ExplorerState) -> ExplorerState:
    """Return a state with a projection of the page, and with heads' names as `str()` of the heads writes them."""

    def canonical(settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        return tuple(one.but(head=str(parse_head(one.head))) if one.head else one for one in settings)

    pinned = state.pinned and state.pinned.but(settings=canonical(state.pinned.settings))
    kept = tuple(one.but(settings=canonical(one.settings)) for one in state.kept)
    projection = state.projection if state.projection in MAPS else MAPS[0]
    return state.but(projection=projection, settings=canonical(state.settings), pinned=pinned, kept=kept)


def _grammar() -> dict[str, Any]:
    """Return how heads are named and switched, for `static/heads.js`."""
    fields = SoftmaxConfig.model_fields
    parts = [
        {"letter": part.letter, "field": part.field, "joined": part.joined, "options": part.options}
        | {"off": fields[part.field].default}
        for part in PARTS
    ]
    return {"parts": parts, "defaults": {option: fields[option].default for option in OPTIONS}, "merges": MERGES}


def _model(shown: Explorer, place: int) -> dict[str, Any]:
    """Return what `static/predict.js` needs of a model besides its tensors."""
    message, _ = payload.points(_mapped(shown, place))
    recommender = shown.models[place].recommender
    return {"description": describe(recommender), "name": str(recommender.head.config), "note": message["note"]}


def _mapped(shown: Explorer, place: int) -> Explorer:
    return shown.at(shown.state.but(space=place, projection="pca"))


def _weights(shown: Explorer, place: int, best: np.ndarray) -> str:
    """Return a model's tensors for `static/predict.js`: a .safetensors file, packed.

    First come the first bytes of all groups of four, then the second ones, and so on. Of single-precision numbers these
    are similar, so that the file is a tenth smaller.
    """
    model = shown.models[place]
    arrays = {"axes": model.axes, "best": best} if model.has_states else {}
    if payload.points(_mapped(shown, place))[1]:
        linear = model.plane.linear
        assert linear is not None
        arrays |= {"points": model.plane.points, "mean": linear.mean_, "plane": linear.components_}
    own = {f"page.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    weights = {name: weight.cpu().contiguous() for name, weight in model.recommender.state_dict().items()}
    file = np.frombuffer(save(weights | own), dtype=np.uint8)
    quads = file[: len(file) // 4 * 4].reshape(-1, 4)
    return _packed(quads.T.tobytes() + file[quads.size :].tobytes())


def _packed(content: bytes) -> str:
    """Return the base64 of the gzip, in which no character has a meaning in HTML."""
    return b64encode(gzip.compress(content, mtime=0)).decode()
