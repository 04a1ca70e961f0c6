"""The explorer as one offline page: in Chromium, without a network, it answers each act as Python's widget does."""

import json
from contextlib import ExitStack

import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import Explorer, ExplorerConfig, offline, payload, tables
from cprlab.explorer.state import PRESETS, Setting
from tests.browser import open_page
from tests.explorer import test_widget
from tests.explorer.test_widget import hostile

SITUATIONS = {
    "two": lambda subject: [subject("Softmax"), subject("Softmax + CPR:5,10 + Mi")],
    "mixtures": lambda subject: [
        subject("MoS:2 dynamic + CPR:5 + F + Mi (context_facets=1, tied=False, similarity=cosine)"),
        subject("RepeatNet"),
        subject("MoS:3 + CR:3,7 + B (context_merge=half, rerank_merge=add, rerank_facets=2)"),
    ],
    "hostile titles": lambda subject: [hostile(subject("Softmax + C"))],
    "one dimension": lambda subject: [subject("Softmax + F (post)", d=1)],
}
ASK = """(said) => new Promise((resolve) => {
    const heard = [];
    const hear = (message, buffers) => {
        heard.push([structuredClone(message), buffers.length ? Array.from(buffers[0]) : null]);
        if (message.type !== "verdict") return;
        kernel.off("msg:custom", hear);
        resolve(heard);
    };
    kernel.on("msg:custom", hear);
    kernel.send(said);
})"""
GIVEN = {"head": "", "temperature": 1, "toward": 0, "axes": [0, 0, 0], "scale": 1, "best": False}


def plain(message):
    return json.loads(json.dumps(message, allow_nan=False))


def same(found, expected, at=""):
    """Numbers agree to 1e-5, and all else is equal."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), at
        for key, value in expected.items():
            same(found[key], value, f"{at}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for place, value in enumerate(expected):
            same(found[place], value, f"{at}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), at
    else:
        assert found == expected, at


class Twins:
    """A page in the browser and Python's widget, which hear the same and must answer the same."""

    def __init__(self, page, subjects):
        self.page, self.python = page, test_widget.Page(subjects)

    def ask(self, **said):
        """Return the page's answers by type."""
        return {message["type"]: (message, buffer) for message, buffer in self.page.evaluate(ASK, said)}

    def compare(self, answers, expected):
        told = {message["type"]: message for message in expected}
        shown = self.python.app.shown
        told.pop("verdict", None)
        if shown.history == tuple(shown.choices.histories[shown.state.case].tolist()):  # judged before, in the page
            tables.verdict(shown)
            told["marks"] = plain(payload.marks(shown))
            if shown.state.settings == (Setting(),) * len(shown.models):
                told["verdict"] = plain(payload.verdict(shown) | {"id": told["view"]["id"]})
        for kind in {"view", "marks", "verdict"} & set(told):
            same(answers[kind][0], told[kind], kind)
        assert ("points" in answers) == ("points" in told)
        if "points" in told:
            same(answers["points"][0], told["points"])
        assert ("cases" in answers) == ("cases" in told)
        if "cases" in told:
            found, table = answers["cases"][0], told["cases"]
            keys = [column["key"] for column in table["columns"]]
            own = [place for place, key in enumerate(keys) if key not in ("least", "copyable")]
            for name in ("columns", "total", "shown", "found"):
                assert found[name] == table[name], name
            same(
                [[row[place] for place in own] for row in found["rows"]],
                [[row[place] for place in own] for row in table["rows"]],
            )
        return answers

    def act(self, live=False, **content):
        expected = self.python.act(live=live, **content)
        return self.compare(self.ask(type="act", id=self.python.id, live=live, **content), expected)

    def set(self, **changes):
        return self.act(set=changes)

    def setting(self, place=0, **changes):
        settings = [GIVEN] * len(self.python.app.shown.models)
        return self.set(settings=[*settings[:place], GIVEN | changes, *settings[place + 1 :]])


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of some subjects, and its twin in Python."""
    with ExitStack() as stack:

        def opened(subjects, cases=30, state=None, address=""):
            shown = Explorer(subjects)
            if state:
                shown = shown.at(shown.state.patched(state))
            text = offline.page(shown, cases)
            spied = text.replace("const known = kernel(", "const known = window.kernel = kernel(")
            assert spied != text
            (tmp_path / "page.html").write_text(spied, encoding="utf-8")
            page, complaints = stack.enter_context(open_page(browser, offline=True))
            page.goto((tmp_path / "page.html").as_uri() + address)
            page.wait_for_selector(".cx-grid:not([hidden])")
            page.complaints = complaints
            twins = Twins(page, subjects)
            twins.compare(twins.ask(type="hello"), twins.python.say(type="hello"))
            return twins

        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_page_answers_as_python_does(opened, subject, situation):
    twins = opened(SITUATIONS[situation](subject))
    models = len(twins.python.app.shown.models)
    options = plain(payload.base(twins.python.app.shown))["models"]
    twins.set(k=7, colour="partition")
    twins.set(history=[3, 3, 7, 1, 7], selection=[3, 9])
    twins.act(command="pin")
    for place in range(models):
        twins.set(space=place)
        twins.setting(place, toward=0.4, axes=[0.5, -1, 0.2], scale=2)
        twins.setting(place, temperature=0.5, scale=0.1)
    for scale in (0.1, 0.2):
        twins.act(live=True, set={"settings": [GIVEN | {"scale": scale}] + [GIVEN] * (models - 1)})
    twins.setting(scale=0.3)
    twins.act(command="undo")
    twins.act(command="redo")
    twins.act(command="undo")
    twins.act(command="unpin")
    twins.set(history=[])
    twins.set(history=list(range(40)))
    twins.set(history=[2, 5] * 30)
    twins.set(history=None)
    for place in range(models):
        own = options[place]["options"]
        sizes = [size - 1 for size in own["R"]]
        wanted = [{"R": sizes}] * bool(sizes) + [{key: False} for key in "CBF" if own[key]] + [{"post": True}]
        wanted += [{"C": True}, {"context_merge": "add"}] * own["C"] + [{"P": True}] * own["P"]
        wanted += [{"rerank_merge": "replace"}, {"R": []}, {"R": own["R"]}] * bool(sizes)
        for switch in [*wanted, {"Mi": False}, {"post": False}] if own["Mi"] else [*wanted, {"post": False}]:
            twins.act(command="head", value={"model": place, **switch})
    twins.set(case=5)
    twins.setting(best=True)
    twins.setting(best=True, toward=0.1)
    twins.setting()
    twins.act(command="load", value=twins.python.app.state.but(case=9, history=(4, 4), k=3).to_json())
    assert twins.page.complaints == []
    assert twins.page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_the_cases_are_found_and_judged_as_in_python(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    for case in (5, 6):
        twins.set(case=case)
        twins.python.work()
        answers = twins.set(k=case)  # a case whose verdict is known is judged at once
        assert "interfering" in {mark["kind"] for mark in answers["marks"][0]["marks"]}
        assert "the head loses" in answers["verdict"][0]["sentence"]
    columns = twins.python.app.table("cases").columns
    for preset in PRESETS:
        twins.set(query={"preset": preset, "search": "", "sort": "rank A", "descending": True})
    for sort in set(columns) - {"least"}:
        for descending in (False, True):
            twins.set(query={"preset": "all", "search": "", "sort": sort, "descending": descending})
    for search in (" 1", "USER", "nothing of this"):
        twins.set(query={"preset": "all", "search": search, "sort": "case", "descending": False})
    twins.page.wait_for_timeout(500)
    assert twins.page.complaints == []
