"""The state of an explorer: a line of text and back, and what is none."""

import json

import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import ExplorerState
from cprlab.explorer.state import Kept, Pin, Query, Setting

PLAIN = ExplorerState(models=("one", "two"), settings=(Setting(), Setting()))
FULL = ExplorerState(
    data="log.csv",
    models=("Softmax, 1", "‮שלום <b>"),
    case=7,
    history=(3, 3, 0),
    settings=(
        Setting(head="Softmax + CP", temperature=0.25, toward=-0.5, axes=(1e-9, 2, -3), scale=0, best=True),
        Setting(),
    ),
    pinned=Pin(history=(1,), settings=(Setting(best=True), Setting(scale=3))),
    kept=(Kept(name="<b>", history=(2, 2), settings=(Setting(), Setting(toward=1))),),
    selection=(5, 6),
    query=Query(preset="next item is new", search="“Alien” \n", sort="rank A", descending=True),
    projection="local",
    space=1,
    lines=True,
    levels=False,
    shaded=True,
    colour="partition",
    k=50,
)


@pytest.mark.parametrize("state", [PLAIN, FULL], ids=["plain", "full"])
def test_a_line_of_text_holds_a_state(state):
    text = state.to_json()
    assert "\n" not in text
    assert ExplorerState.from_json(text) == state
    assert json.loads(text)["settings"][0]["axes"] == list(state.settings[0].axes)


def test_a_state_saved_before_the_map_had_its_lines_is_read():
    saved = json.loads(PLAIN.but(projection="pca").to_json())
    for field in ("lines", "levels", "shaded"):
        del saved[field]
    state = ExplorerState.from_json(json.dumps(saved))
    assert (state.projection, state.lines, state.levels, state.shaded) == ("pca", False, True, False)
    assert PLAIN.projection == "local"


def test_a_state_saved_before_there_were_snapshots_is_opened():
    saved = json.loads(PLAIN.to_json())
    assert saved.pop("kept") == []
    assert ExplorerState.from_json(json.dumps(saved)) == PLAIN


def changed(**changes):
    return json.dumps(json.loads(FULL.to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The explorer's state is not JSON"),
        ('{"models": ["one"]', "is not JSON .*; paste the whole text that was saved"),
        ("[1, 2]", "must be a JSON object"),
        ("{}", "'models' is missing"),
        (changed(settings=[{}]), "a setting for each of the 2 models"),
        (changed(pinned={"history": [1], "settings": [{}]}), "the pin must have a setting for each of the 2 models"),
        (changed(kept=[{"name": "a", "history": [1], "settings": [{}]}]), "each snapshot must have a setting for each"),
        (changed(kept=9 * [{"name": "a", "history": [1], "settings": [{}, {}]}]), "'kept'"),
        (changed(space=2), "the index of one of the 2 models"),
        (changed(space=-1), "'space' cannot be -1"),
        (
            changed(query={"preset": "next item is old"}),
            "Unknown preset 'next item is old': did you mean 'next item is new'",
        ),
        (changed(projection="umap"), "Unknown projection 'umap': .*local, pca, tsne"),
        (changed(colour="blue"), "Unknown colour 'blue'"),
        (changed(settings=[{"toward": float("nan")}, {}]), "'toward' cannot be nan"),
        (changed(settings=[{"axes": [0, float("inf"), 0]}, {}]), "'axes.1' cannot be inf"),
        (changed(settings=[{"axes": [0, 0]}, {}]), "'axes.2' is missing"),
        (changed(settings=[{"temperature": 0}, {}]), "'temperature' cannot be 0"),
        (changed(settings=[{"scale": -0.1}, {}]), "'scale' cannot be -0.1"),
        (changed(history=[1, -2]), "'history.1' cannot be -2"),
        (changed(k=51), "'k' cannot be 51"),
        (changed(self=1), "Unknown setting 'self'"),
        (changed(colours="kind"), "Unknown setting 'colours': did you mean 'colour'"),
    ],
)
def test_what_is_no_state_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ExplorerState.from_json(text)


def test_another_case_starts_with_its_own_history_and_nothing_kept():
    assert FULL.patched({"case": 8}) == FULL.but(case=8, history=None, pinned=None, kept=())
    assert FULL.patched({"case": 8, "history": [2]}).history == (2,)
    assert FULL.patched({"case": 7, "k": 3}) == FULL.but(k=3)
    assert FULL.patched({"history": []}) == FULL.but(history=())
    with pytest.raises(ConfigError, match="Unknown setting 'cases'"):
        FULL.patched({"cases": 8})
