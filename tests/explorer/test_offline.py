"""The explorer as one offline page: in Chromium, without a network, it answers each act as Python's widget does."""

import json
from contextlib import ExitStack
from urllib.parse import quote, unquote

import numpy as np
import pytest

from cprlab.errors import ConfigError, DataError
from cprlab.explorer import Explorer, ExplorerConfig, offline, page_model, payload, stories, tables
from cprlab.explorer.edits import EDITS
from cprlab.explorer.from_page import part, read_page
from cprlab.explorer.state import PRESETS
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
    "rivals that count": lambda subject: [subject("Softmax + F")],
    "one dimension": lambda subject: [subject("Softmax + F (post)", d=1)],
}
ASK = """(said) => new Promise((resolve) => {
    const heard = [];
    const hear = (message, buffers) => {
        heard.push([structuredClone(message), buffers.map((one) => Array.from(one))]);
        if (message.type !== (said.type === "ask" ? "answer" : "marks")) return;
        kernel.off("msg:custom", hear);
        resolve(heard);
    };
    kernel.on("msg:custom", hear);
    kernel.send(said);
})"""
SPY = """() => new Promise((drawn) => {
    window.heard = [];
    kernel.on("msg:custom", (message) => {
        if (message.type === "cohort") heard.push(structuredClone(message));
        if (message.type === "marks") drawn(); // the last of what is said of a state
    });
    kernel.send({type: "hello"});
})"""
TOGETHER = """() => new Promise((resolve) => {
    kernel.send({type: "slow"});
    const look = () => (heard.at(-1).pending ? setTimeout(look, 20) : resolve(structuredClone(heard.at(-1))));
    look();
})"""
QUERY = {"preset": "all", "search": "", "items": [], "sort": "case", "descending": False, "page": 0}
GIVEN = {"head": "", "temperature": 1, "toward": 0, "axes": [0, 0, 0], "scale": 1, "best": False}


def switches(own):
    """All kinds of switches of a model with these options, one after another."""
    found: list[dict] = [{key: False} for key in "CBF" if own[key]]
    found += [{"post": True}]
    if own["R"]:
        found += [{"R": [size - 1 for size in own["R"]]}, {"rerank_merge": "replace"}, {"R": []}, {"R": own["R"]}]
    if own["C"]:
        found += [{"C": True}, {"context_merge": "add"}]
    if own["P"]:
        found += [{"P": True}]
    if own["Mi"]:
        found += [{"Mi": False}]
    return [*found, {"post": False}]


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

    def __init__(self, page, complaints, subjects):
        self.page, self.complaints, self.python = page, complaints, test_widget.Page(subjects)

    def ask(self, **said):
        """Return the page's answers, each with its buffers, by type."""
        return {message["type"]: (message, buffers) for message, buffers in self.page.evaluate(ASK, said)}

    def compare(self, answers, expected):
        told = {message["type"]: message for message in expected}
        shown = self.python.app.shown
        told.pop("verdict", None)
        if shown.history == tuple(shown.choices.histories[shown.state.case].tolist()):  # judged before, in the page
            tables.verdict(shown)
            told |= {"marks": plain(payload.marks(shown)), "scores": plain(payload.scores(shown)[0])}
            told["verdict"] = plain(payload.verdict(shown) | {"id": told["view"]["id"]})
        for kind in {"view", "scores", "marks", "verdict"} & set(told):
            same(answers[kind][0], told[kind], kind)
        for kind in {"scores", "points"} & set(told):
            for found, known in zip(answers[kind][1], self.python.buffers[kind], strict=True):
                np.testing.assert_allclose(found, np.frombuffer(known, np.float32), rtol=1e-5, atol=1e-5)
        assert ("points" in answers) == ("points" in told)
        if "points" in told:
            same(answers["points"][0], told["points"])
        assert ("cases" in answers) == ("cases" in told)
        if "cases" in told:
            found, table = answers["cases"][0], told["cases"]
            keys = [column["key"] for column in table["columns"]]
            own = [place for place, key in enumerate(keys) if key != "copyable" and "least" not in key]
            for name in ("columns", "total", "start", "size", "found"):
                assert found[name] == table[name], name
            same(
                [[row[place] for place in own] for row in found["rows"]],
                [[row[place] for place in own] for row in table["rows"]],
            )
        return answers

    def greet(self):
        self.compare(self.ask(type="hello"), self.python.say(type="hello"))

    def act(self, live=False, **content):
        expected = self.python.act(live=live, **content)
        return self.compare(self.ask(type="act", id=self.python.id, live=live, **content), expected)

    def question(self, kind, value=None):
        """Ask both the same about what they show; return the answer."""
        (expected,) = self.python.say(type="ask", kind=kind, value=value)
        answer, _ = self.ask(type="ask", kind=kind, value=value)["answer"]
        same(answer, expected, kind)
        return answer["value"]

    def set(self, **changes):
        return self.act(set=changes)

    def setting(self, place=0, **changes):
        settings = [GIVEN] * len(self.python.app.shown.models)
        return self.set(settings=[*settings[:place], GIVEN | changes, *settings[place + 1 :]])


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of some subjects, and its twin in Python."""
    with ExitStack() as stack:

        def opened(subjects, cases=30, address=""):
            text = offline.page(Explorer(subjects), cases)
            spied = text.replace("const known = kernel(", "const known = window.kernel = kernel(")
            assert spied != text
            (tmp_path / "page.html").write_text(spied, encoding="utf-8")
            page, complaints = stack.enter_context(open_page(browser, offline=True))
            page.goto((tmp_path / "page.html").as_uri() + address)
            page.wait_for_selector(".cx-grid:not([hidden])")
            twins = Twins(page, complaints, subjects)
            twins.greet()
            return twins

        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_page_answers_as_python_does(opened, subject, counting, situation):
    rivals = map(counting, ("Counts", "Recent", "Frequent") if "count" in situation else ())
    twins = opened([*SITUATIONS[situation](subject), *rivals])
    models = len(twins.python.app.shown.models)
    options = plain(payload.base(twins.python.app.shown))["models"]
    twins.set(k=7, colour="partition", lines=True, levels=False, shaded=True)
    twins.set(history=[3, 3, 7, 1, 7], selection=[3, 9])
    assert twins.question("item", 7)["models"][0]["rank"] > 0
    rows = [len(twins.question("left_out", {"model": place, "item": 9})["rows"]) for place in range(models)]
    assert rows == [0 if one["ordered"] else 5 for one in options]
    for place in range(models):
        assert twins.question("flip", place)["model"] == place
    twins.act(command="pin")
    kept = [{"name": "as it was", "history": [3, 1], "settings": [GIVEN] * models}]
    kept += [{"name": "<b>", "history": [], "settings": [GIVEN | {"scale": 2}, *[GIVEN] * (models - 1)]}]
    assert len(twins.set(kept=kept)["view"][0]["kept"]) == 2
    for place, told in enumerate(options):
        twins.set(space=place)
        if told["stateless"]:
            moved = [GIVEN] * place + [GIVEN | {"toward": 1}] + [GIVEN] * (models - place - 1)
            view = twins.ask(type="act", id=-place, set={"settings": moved})["view"][0]
            assert "has no hidden state. So nothing can be moved." in view["error"]
            continue
        twins.set(projection="pca")
        twins.set(projection="local")
        twins.setting(place, toward=0.4, axes=[0.5, -1, 0.2], scale=2)
        twins.question("item", 3)
        twins.setting(place, temperature=0.5, scale=0.1)
    for scale in (0.1, 0.2):
        twins.act(live=True, set={"settings": [GIVEN | {"scale": scale}] + [GIVEN] * (models - 1)})
    twins.setting(scale=0.3)
    twins.act(command="undo")
    twins.act(command="redo")
    twins.act(command="undo")
    twins.act(command="unpin")
    twins.set(history=[])
    assert twins.question("left_out", {"model": 0, "item": 9})["rows"] == []
    twins.set(history=list(range(40)))
    assert twins.question("left_out", {"model": 0, "item": 9})["rows"][0]["position"] == 20
    twins.set(history=[2, 5] * 30)
    twins.set(history=None)
    for place in range(models):
        for switch in switches(options[place]["options"]):
            twins.act(command="head", value={"model": place, **switch})
        twins.question("item", 7)
        twins.question("left_out", {"model": place, "item": 1})
    twins.set(case=5)
    twins.setting(best=True)
    twins.setting(best=True, toward=0.1)
    twins.setting()
    twins.act(command="load", value=twins.python.app.state.but(case=9, history=(4, 4), k=3).to_json())
    assert twins.complaints == []
    assert twins.page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_the_cases_are_found_and_judged_as_in_python(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    for case in (5, 6):
        twins.set(case=case)
        twins.python.work()
        answers = twins.set(k=case)  # a case whose verdict is known is judged at once
        assert "interfering" in {mark["kind"] for mark in answers["marks"][0]["marks"]}
        assert "single state in reach" in answers["verdict"][0]["models"][0]["possible"]
    columns = twins.python.app.table("cases").columns
    for preset in PRESETS:
        twins.set(query=QUERY | {"preset": preset, "sort": "rank A", "descending": True})
    for sort in {column for column in columns if "least" not in column}:
        for descending in (False, True):
            twins.set(query=QUERY | {"sort": sort, "descending": descending})
    for search in (" 1", "USER", "nothing of this"):
        twins.set(query=QUERY | {"search": search})
    for items in ([3], [3, 17]):
        assert twins.set(query=QUERY | {"items": items})["cases"][0]["found"] < 30
    twins.set(query=QUERY | {"items": [3], "search": "1", "preset": "next item is new"})
    assert twins.complaints == []


@pytest.mark.slow
def test_pages_are_turned_and_cases_reached_as_in_python(opened, subject, monkeypatch):
    monkeypatch.setattr(offline, "SHOWN", 8)
    monkeypatch.setattr(payload, "SHOWN", 8)
    monkeypatch.setattr("cprlab.explorer.choices.SHOWN", 8)
    twins = opened(SITUATIONS["two"](subject))
    for number in (1, 3, 9, 0):
        assert twins.set(query=QUERY | {"page": number})["cases"][0]["start"] == 8 * min(number, 3)
    for text in ("20", "user u7", " u29 "):
        assert twins.act(command="go", value=text)["view"][0]["state"]["query"]["page"] > 0 or text == "user u7"
    refused = twins.ask(type="act", id=10**6, command="go", value="nobody")["view"][0]["error"]
    assert "There is no case “nobody” in this page" in refused
    assert twins.complaints == []


@pytest.mark.slow
def test_cases_together_and_their_edits_are_computed_as_in_python(opened, subject):
    twins = opened([subject("Softmax"), subject("Softmax + CPR:5,10 + Mi (post)")])
    others: list[dict] = [
        {"query": QUERY | {"preset": "next item is new", "items": [3, 17, 5]}},
        {"query": QUERY | {"search": "nothing of this"}},
        {"query": QUERY, "settings": [GIVEN | {"toward": 0.3, "temperature": 2}, GIVEN | {"head": "Softmax + CP"}]},
        {"query": QUERY | {"search": "u1"}, "settings": [GIVEN | {"best": True}, GIVEN]},
    ]
    twins.page.evaluate(SPY)
    for changes in [{}, *({"edit": name} for name in EDITS), {"edit": ""}, *others]:
        twins.set(**changes)
        heard = twins.page.evaluate(TOGETHER)
        expected = [one for one in twins.python.work() if one["type"] == "cohort"][-1]
        for row, known in zip(heard.pop("cells"), expected.pop("cells"), strict=True):
            for found, python in zip(row or [None, None], known, strict=True):
                if python is None:
                    assert found is None
                    continue
                width = (python["high"] or 0) - (python["low"] or 0)
                for name in ("low", "high"):  # of other resamples
                    bounds = found.pop(name), python.pop(name)
                    assert bounds == (None, None) or bounds[0] == pytest.approx(bounds[1], abs=0.15 * width + 1e-6)
                same(found, python)
        assert heard == expected
    twins.set(edit="reverse the order")
    assert "cases' own histories only" in twins.page.evaluate(TOGETHER)["refused"]
    assert twins.complaints == []


@pytest.mark.slow
def test_an_act_amid_the_cases_together_is_answered_and_ends_them(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    twins.page.evaluate(SPY)
    twins.page.evaluate("performance.now = () => (window.ticks = (window.ticks ?? 0) + 6)")  # two predictions a step
    twins.page.evaluate("kernel.send({type: 'slow'}), kernel.send({type: 'slow'})")
    amid = """() => new Promise((resolve) => {
        const look = () => {
            if (!(heard.at(-1).done > 2)) return setTimeout(look);
            kernel.on("msg:custom", (message) => message.type === "marks" && resolve());
            return kernel.send({type: "act", id: 5, live: false, set: {edit: "remove the last item"}});
        };
        look();
    })"""
    twins.page.evaluate(amid)
    twins.page.evaluate(TOGETHER)
    done = [one for one in twins.page.evaluate("heard") if not one.get("pending")]
    assert [one["edit"] for one in done] in (["remove the last item"], ["", "remove the last item"])
    steps = [one["done"] for one in twins.page.evaluate("heard") if one.get("pending")]
    restart = steps.index(0, 2)
    assert steps[:restart] == sorted(steps[:restart])
    counted = [done for done in steps[restart:] if done < 60]
    assert counted == sorted(set(counted))  # one at a time
    assert max(steps[:restart]) < 30  # the first was ended
    assert twins.complaints == []


@pytest.mark.slow
def test_what_is_refused_is_said_and_changes_nothing(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    twins.set(history=[7])
    before = twins.ask(type="hello")["view"][0]
    state = before["state"]
    refused: list[tuple[dict, str]] = [
        ({"set": {"history": [7, 40]}}, "value of history"),
        ({"set": {"colours": "kind"}}, "Unknown value colours"),
        ({"set": {"query": state["query"] | {"sort": "copy C"}}}, "value of sort of the query"),
        ({"set": {"settings": [GIVEN | {"temperature": 0}, GIVEN]}}, "value of temperature of a model's settings"),
        ({"set": {"settings": [GIVEN | {"best": True}, GIVEN]}}, "cases' own histories only"),
        ({"set": {"settings": [GIVEN | {"head": "Softmax + C"}, GIVEN]}}, "Softmax was trained without C."),
        ({"set": {"settings": [GIVEN, GIVEN | {"head": "Softmax + RC:5"}]}}, "cannot make Softmax + RC:5"),
        ({"set": {"settings": [GIVEN, GIVEN | {"head": "Softmax + CPR:5"}]}}, "keeps all rerankers"),
        ({"set": {"projection": "tsne"}}, "value of projection"),
        ({"set": {"kept": [{"history": [1], "settings": [GIVEN, GIVEN]}]}}, "value of name of a snapshot"),
        ({"set": {"kept": 9 * [{"name": "", "history": [1], "settings": [GIVEN, GIVEN]}]}}, "value of kept"),
        ({"set": {"case": 30}}, "Case 30 is not in this page"),
        ({"command": "head", "value": {"model": 0, "C": True}}, "was trained without C"),
        ({"command": "head", "value": {"model": 1, "R": [5, 99]}}, "number of items, 40"),
        ({"command": "head", "value": {"model": 1, "R": [5, 5]}}, "given once"),
        ({"command": "load", "value": "{"}, "is not JSON"),
        ({"command": "load", "value": "7"}, "must be a JSON object"),
        ({"command": "load", "value": json.dumps(state | {"models": ["another"]})}, "value of models"),
    ]
    for place, (content, sentence) in enumerate(refused):
        view = twins.ask(type="act", id=10**6 + place, **content)["view"][0]
        assert sentence in view["error"]
        same(view | {"id": before["id"], "error": "", "notice": ""}, before | {"notice": ""})
    assert "cprlab explore" in twins.ask(type="export", view="cases", format="csv")["view"][0]["error"]
    assert twins.complaints == []


@pytest.mark.slow
def test_the_stories_set_what_they_tell(opened, subject):
    twins = opened([subject("Softmax"), subject("Softmax + CPR:5,10 + F + Mi")])
    shown = twins.python.app.shown
    told = [story for story in stories.found(shown) if story]
    buttons = twins.page.locator(".cx-stories .cx-buttons button")
    assert buttons.all_inner_texts() == [story.label for story in told]
    assert len(told) == 6
    for place, story in enumerate(told):
        twins.page.get_by_role("button", name="Take a snapshot").click()
        buttons.nth(place).click()
        twins.page.locator(".cx-story").get_by_text(story.text, exact=True).wait_for()
        (view,) = test_widget.views(twins.python.act(set=story.set))
        shown_there = twins.ask(type="hello")["view"][0]
        same(shown_there["predictions"], view["predictions"])
        same({name: shown_there["state"][name] for name in story.set}, plain(story.set))
        assert buttons.nth(place).get_attribute("aria-pressed") == "true"
    assert twins.complaints == []


@pytest.mark.slow
def test_of_an_edited_history_the_page_says_who_has_the_verdict(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    own = twins.set(case=5)["verdict"][0]
    assert own["note"] == ""
    assert len(own["models"]) == len(own["interfering"]) == 2
    moved = twins.setting(toward=0.3)["verdict"][0]
    assert moved["models"] == own["models"]
    assert moved["interfering"][0] != own["interfering"][0]  # the ranks shown
    for history, note in (([1, 2], "is computed by cprlab explore"), ([], "The history is empty,")):
        edited = twins.set(history=history)["verdict"][0]
        assert note in edited["note"]
        assert (edited["models"], edited["interfering"]) == ([None, None], [])
    copy = list(twins.python.app.shown.choices.histories[5])  # edited, and yet the case's own
    assert twins.set(history=plain(list(map(int, copy))))["verdict"][0]["models"] == own["models"]


@pytest.mark.slow
def test_the_address_holds_the_state(opened, subject):
    twins = opened(SITUATIONS["two"](subject))
    page = twins.page
    page.locator(".cx-chips .cx-chip").first.press("Delete")
    page.wait_for_url(lambda url: quote('"history":[', safe="") in url)
    first = json.loads(unquote(page.evaluate("location.hash"))[1:])
    assert first == plain(twins.python.app.state.but(history=twins.python.app.shown.history[1:]).model_dump())
    page.reload()
    page.wait_for_selector(".cx-grid:not([hidden])")
    assert page.locator(".cx-chips li").count() == len(first["history"])
    assert page.get_by_role("button", name="Undo").is_disabled()
    page.evaluate("(hash) => { location.hash = hash }", quote(json.dumps(first | {"history": [4, 2], "case": 3})))
    page.locator(".cx-chips li").nth(2).wait_for(state="detached")
    page.evaluate("location.hash = '%E0%A4%A'")  # is no text
    page.locator(".cx-alert:not([hidden])").wait_for()
    assert "is not JSON" in page.locator(".cx-alert").inner_text()
    assert page.locator(".cx-chips li").count() == 2
    assert twins.complaints == []


def test_the_page_has_the_first_cases_of_the_query_and_the_one_shown(subject):
    shown = Explorer([subject("Softmax + CPR:5,10 + Mi")])
    query = shown.state.query
    first = shown.choices.find(query)["case"].tolist()
    told = [story.set["case"] for story in stories.found(shown) if story]
    assert len(told) == 2
    for case, cases, own in ((first[0], 4, first[:4]), (first[9], 4, [*first[:3], first[9]]), (7, 1, [7])):
        expected = {*own, *told}
        text = offline.page(shown.at(shown.state.but(case=case)), cases)
        data = json.loads(part(text, "data"))
        assert [row[0] for row in data["table"]["rows"]] == sorted(expected)
        assert f"The page has {len(expected)} of 30 cases." in data["note"]
    assert "Content-Security-Policy" in text
    assert text.count("<script") == text.count("</script>") == 3


def test_models_that_a_page_cannot_compute_are_left_out_with_a_sentence(
    subject, foreign, counting, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(page_model, "MOST_COUNTS", 10)
    given = [counting("Counts"), subject(), foreign()]
    monkeypatch.setattr(ExplorerConfig, "subjects", lambda self, facet: given)
    offline.run_page(ExplorerConfig(), tmp_path / "page.html", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    said = capsys.readouterr().err
    found = len(counting("Counts").recommender.head.values)
    assert f"Counts is left out of the page. Counts has {found} counts, and a page takes at most 10." in said
    assert "foreign is left out of the page. A file of states has no encoder" in said
    (read,) = read_page(tmp_path / "page.html")
    assert read.name == "Softmax, seed 0"
    del given[1]
    with pytest.raises(ConfigError, match=r"So nothing is left; use cprlab explore without --page\."):
        offline.run_page(ExplorerConfig(), tmp_path / "other.html", 2)
    with pytest.raises(DataError, match="is a folder; name the page's file"):
        offline.run_page(ExplorerConfig(), tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
