"""What the kernel answers to the page: every message a test's page gets is JSON, and shaped like those of fake.py."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer, payload, tables
from cprlab.explorer.maps import Plane
from cprlab.explorer.widget import ExplorerWidget
from cprlab.models import PARTS
from tests.explorer import fake

EVERY = list(range(40))
VIEWS = ("cases", "history", "predictions", "map", "states", "why", "partitions", "verdict")
HEADS = ["Softmax", "Softmax + CPR:10 + Mi"]


class Page:
    """The other side of a widget: says something, and returns what is answered, by type."""

    def __init__(self, subjects, **options):
        self.app = App(Explorer(subjects, **options))
        self.widget = ExplorerWidget(self.app)
        self.heard = []
        self.widget.send = lambda content, buffers=None: self.heard.append((content, buffers or []))
        self.id = 100

    def say(self, **content):
        self.widget._receive(self.widget, content, [])
        return self.listen()

    def listen(self):
        heard, self.heard = self.heard, []
        answers = [json.loads(json.dumps(content, allow_nan=False)) for content, _ in heard]
        assert not [one for one in answers if one["type"] == "view" and "went wrong" in one["error"]]
        self.buffers = {content["type"]: buffers for content, buffers in heard}
        return answers

    def act(self, live=False, **content):
        self.id += 1
        answers = self.say(type="act", id=self.id, live=live, **content)
        assert views(answers)[-1]["id"] == self.id
        return answers

    def set(self, **changes):
        return views(self.act(set=changes))[-1]

    def work(self):
        """Ask for slow work until there is no more."""
        answers = []
        for _ in range(200):
            answers += self.say(type="slow")
            assert answers[-1]["type"] == "slow"
            if not answers[-1]["more"]:
                return answers
        raise AssertionError("the slow work has no end")


def types(answers):
    return [one["type"] for one in answers]


def views(answers):
    return [one for one in answers if one["type"] == "view"]


def last_marks(answers):
    return [one for one in answers if one["type"] == "marks"][-1]


def only(answers, kind):
    (one,) = (one for one in answers if one["type"] == kind)
    return one


@pytest.fixture
def page(subject):
    page = Page([subject(head) for head in HEADS], data="random")
    page.say(type="hello")
    return page


def test_a_page_that_says_hello_is_told_all_and_again(subject):
    page = Page([subject(head) for head in HEADS])
    for _ in range(2):
        answers = page.say(type="hello")
        assert sorted(types(answers)) == ["base", "cases", "cohort", "marks", "points", "scores", "stories", "view"]
        assert answers[0]["type"] == "base"
        base = answers[0]
        assert base["titles"] == [str(title) for title in page.app.shown.titles]
        assert [model["trained"] for model in base["models"]] == HEADS
        assert base["models"][0]["options"] == {
            "C": False, "P": False, "R": [], "B": False, "F": False, "Mi": False, "merges": [], "rerankMerges": [],
        }  # fmt: skip
        assert base["models"][1]["options"] == {
            "C": True, "P": True, "R": [10], "B": False, "F": False, "Mi": True,
            "merges": ["replace", "add", "half"], "rerankMerges": ["replace", "add"],
        }  # fmt: skip
        told = {part["key"]: (part["label"], part["sentence"]) for part in base["parts"]}
        assert told.pop("post")[0] == "history's items ruled out"
        assert told == {part.letter: (part.label, part.sentence) for part in PARTS}
        (points,) = page.buffers["points"]
        np.testing.assert_array_equal(
            np.frombuffer(points, np.float32).reshape(40, 2), page.app.shown.models[0].plane.points
        )
        cases = only(answers, "cases")
        assert cases["columns"][0]["key"] == "case"
        assert (cases["total"], cases["start"], cases["size"], len(cases["rows"])) == (30, 0, 50, 30)
        (view,) = views(answers)
        assert view["history"] == list(page.app.shown.history)
        assert view["case"]["user"] == page.app.shown.choices.users[page.app.state.case]
        assert (view["id"], view["notice"], view["error"]) == (None, "", "")
    assert page.widget._msg_callbacks.callbacks == [page.widget._receive]


def test_an_edit_is_answered_with_what_came_of_it(page):
    before = page.set(case=3)
    view = page.set(history=[7, 1, 1], selection=[7, 2], k=4)
    assert view["history"] == [7, 1, 1]
    assert (view["undo"], view["redo"], view["case"]["edited"]) == (True, False, True)
    for place, model in enumerate(page.app.shown.models):
        p, prediction = np.exp(model.recommender.log_probs([[7, 1, 1]])[0]), view["predictions"][place]
        target = page.app.shown.target
        assert prediction["rank"] == (p >= p[target]).sum()
        assert prediction["copy"] == pytest.approx(p[[7, 1]].sum())
        assert prediction["target"] == pytest.approx(p[target])
        assert [bar["item"] for bar in prediction["top"]] == np.argsort(-p)[:4].tolist()
        assert [bar["p"] for bar in prediction["top"]] == pytest.approx(np.sort(p)[:-5:-1])
        assert view["selected"][place] == pytest.approx(p[[7, 2]].sum())
        was = before["predictions"][place]
        assert (
            f"copy probability {was['copy']:.1%} → {prediction['copy']:.1%}, the next item's rank {was['rank']} → "
            f"{prediction['rank']}"
        ) in view["notice"]
    assert page.set(case=4)["notice"] == ""
    assert page.set(k=5)["notice"] == ""


def test_commands(page):
    view = page.set(history=[7, 1])
    view = views(page.act(command="undo"))[-1]
    assert (view["state"]["history"], view["undo"], view["redo"]) == (None, False, True)
    view = views(page.act(command="redo"))[-1]
    assert view["history"] == [7, 1]
    view = views(page.act(command="pin"))[-1]
    assert view["state"]["pinned"]["history"] == [7, 1]
    view = page.set(history=[1])
    pinned = [np.exp(model.recommender.log_probs([[7, 1]])[0]) for model in page.app.shown.models]
    now = [np.exp(model.recommender.log_probs([[1]])[0]) for model in page.app.shown.models]
    for p, q, prediction in zip(now, pinned, view["predictions"], strict=True):
        for bar in prediction["top"]:
            place, was = (sum(one >= one[bar["item"]]) for one in (p, q))
            assert bar["moved"] == was - place
            assert bar["was"] == pytest.approx(q[bar["item"]])
        assert prediction["pinned"]["copy"] == pytest.approx(q[[7, 1]].sum())
    assert views(page.act(command="unpin"))[-1]["state"]["pinned"] is None
    view = views(page.act(command="head", value={"model": 1, "R": [4], "Mi": False, "context_merge": "add"}))[-1]
    assert view["heads"][1] == {
        "C": True, "P": True, "R": [4], "B": False, "F": False, "Mi": False, "post": False, "context_merge": "add",
        "rerank_merge": "replace", "name": "Softmax + CPR:4 (context_merge=add)",
    }  # fmt: skip
    saved = page.app.state.but(case=9, history=None).to_json()
    view = views(page.act(command="load", value=saved))[-1]
    assert (view["state"]["case"], view["heads"][1]["name"]) == (9, "Softmax + CPR:4 (context_merge=add)")
    assert "is not JSON" in views(page.act(command="load", value="{"))[-1]["error"]


def test_a_drag_is_undone_at_once(page):
    setting = page.app.state.settings[0].model_dump()
    for toward in (0.1, 0.2):
        page.act(live=True, set={"settings": [setting | {"toward": toward}, setting]})
    page.act(live=False, set={"settings": [setting | {"toward": 0.3}, setting]})
    assert views(page.act(command="undo"))[-1]["state"]["settings"][0]["toward"] == 0


def test_an_act_that_comes_twice_is_done_once(page):
    page.set(history=[7, 1, 2])
    page.set(history=[7, 1])
    for _ in range(2):
        answers = page.say(type="act", id=7, command="undo")
        assert views(answers)[-1]["history"] == [7, 1, 2]
        assert views(answers)[-1]["id"] == 7
    page.say(type="act", id=8, command="undo")
    assert page.app.state.history is None


def test_what_is_refused_is_said_and_changes_nothing(page):
    page.set(history=[7])
    before = page.app.state
    refused: list[tuple[dict, str]] = [
        ({"set": {"history": [7, 40]}}, "There is no item 40"),
        ({"set": {"colours": "kind"}}, "Unknown setting 'colours'"),
        ({"set": {"query": {"sort": "copy C"}}}, "no column 'copy C'"),
        ({"command": "head", "value": {"model": 0, "C": True}}, "needs C"),
        ({"command": "head", "value": {"model": 0, "R": [99]}}, "number of items"),
    ]
    for content, sentence in refused:
        view = views(page.act(**content))[-1]
        assert sentence in view["error"]
        assert view["history"] == [7]
        assert view["undo"]
        assert page.app.state == before
    assert page.set(k=3)["error"] == ""


@pytest.mark.parametrize("content", [{"set": {"k": 3}}, {"command": "undo"}, {"command": "none"}, {}])
def test_a_fault_is_a_sentence_and_changes_nothing(page, monkeypatch, content):
    def fail(*_):
        raise RuntimeError("out of memory")

    before = page.app.state
    monkeypatch.setattr(page.app, "patch", fail)
    monkeypatch.setattr(page.app, "undo", fail)
    page.widget._receive(page.widget, {"type": "act", "id": 5} | content, [])
    view = views([one for one, _ in page.heard])[-1]
    assert view["id"] == 5
    assert "There was an unexpected error" in view["error"]
    assert "nothing was changed" in view["error"]
    assert page.app.state == before


def test_slow_work_ends_with_all_certificates_and_a_verdict(page, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.widget.TABLE_EVERY", 1e9)
    page.set(case=5)
    answers = page.work()
    doings = [one["doing"] for one in answers if one["type"] == "slow"]
    assert doings[0] == "the verdict on this case"
    assert "certificates: 4 of 30 cases" in doings
    assert doings[-1] == ""
    verdict = only(answers, "verdict")
    assert verdict["id"] == page.id
    assert verdict["history"] == list(page.app.shown.history)
    shown = views(answers)[-1]["predictions"]
    for name, one, now, judged in zip(
        page.app.state.models, page.app.shown.verdicts(), shown, verdict["models"], strict=True
    ):
        assert f"{name} {now['given']} {judged['possible']}" in page.app.shown.sentence()
        assert judged["least"] == [one.least_copying, one.least_excluding]
        assert judged["can"] == [one.copying.outcome, one.excluding.outcome]
    assert [one["model"] for one in verdict["interfering"]] == list(page.app.state.models)
    for one, found in zip(verdict["interfering"], page.app.shown.verdicts(), strict=True):
        assert [(item["item"], item["takes"]) for item in one["items"]] == list(
            zip(found.interfering, found.taken, strict=True)
        )
    assert views(answers)[-1]["id"] == page.id
    assert "interfering" in {mark["kind"] for mark in last_marks(answers)["marks"]}
    tables = [one for one in answers if one["type"] == "cases"]
    assert len(tables) == 2  # after the first certificates and after the last; no other was due
    last = tables[-1]
    column = [one["key"] for one in last["columns"]].index("copyable")
    assert {row[column] for row in last["rows"]} <= {"yes", "no", "undecided"}
    assert types(page.say(type="slow")) == ["slow"]
    known = page.act(set={"history": page.app.shown.history[:3], "k": 3})
    assert "verdict" not in types(known)
    assert "verdict" in types(page.work())
    assert only(page.act(command="undo"), "verdict")["id"] == page.id  # of a case that is known at once


def test_the_cases_together_are_counted_again_when_the_last_certificate_is_known(page):
    page.set(query={"preset": "cannot be copied by one hidden state"})
    counted = [one["cases"] for one in page.work() if one["type"] == "cohort" and "cases" in one]
    assert counted == [0, (page.app.table("cases")["copyable"] == "no").sum()]
    assert counted[1] > 0


def test_an_edit_amid_the_certificates_brings_no_other_table(page):
    page.set(case=5)
    while "certificates" not in page.say(type="slow")[-1]["doing"]:
        pass
    assert "cases" not in types(page.act(set={"history": [7, 1]}))


def test_another_case_amid_the_verdict_on_one_has_its_own(page, subject):
    page.set(case=5)
    page.say(type="slow")
    page.set(case=6)
    verdict = only(page.work(), "verdict")
    other = App(Explorer([subject(head) for head in HEADS]))
    other.patch({"case": 6})
    other.table("verdict")
    assert verdict["interfering"] == payload.verdict(other.shown)["interfering"]


def test_a_fault_in_slow_work_is_said_once_and_ends_it(page, monkeypatch):
    def fail(*_):
        raise RuntimeError("no memory")
        yield

    monkeypatch.setattr("cprlab.explorer.explorer.case_verdict", fail)
    page.widget._receive(page.widget, {"type": "slow"}, [])
    errors = [content["error"] for content, _ in page.heard if content["type"] == "view"]
    assert "no memory" in errors[0]
    page.heard.clear()
    assert page.work()[-1]["doing"] == ""


def test_points_are_sent_where_they_are_others(page):
    assert "points" in types(page.act(set={"history": [7, 2]}))  # of another neighbourhood
    setting = page.app.state.settings[0].model_dump()
    assert "points" not in types(page.act(set={"settings": [setting | {"toward": 0.5}, setting], "k": 20}))
    assert "points" in types(page.act(set={"projection": "pca"}))
    assert "points" not in types(page.act(set={"history": [7, 1]}))
    assert only(page.act(set={"space": 1}), "points")["model"] == 1
    assert only(page.act(set={"projection": "local"}), "points")["projection"] == "local"
    first = np.frombuffer(page.buffers["points"][0], np.float32)
    assert len(first) == 80
    assert "points" not in types(page.act(set={"colour": "partition"}))
    assert "points" in types(page.act(set={"history": [7, 2]}))
    assert "points" in types(page.act(set={"projection": "pca"}))


def test_the_scores_are_the_models_and_marked_by_kind(page):
    page.act(set={"history": [7, 1, 7], "k": 3})
    page.work()
    history, target = {7, 1}, page.app.shown.target
    message = only(page.act(set={"k": 4}), "scores")  # after the verdict
    for place, (one, buffer) in enumerate(zip(message["models"], page.buffers["scores"], strict=True)):
        model = page.app.shown.models[place].recommender
        expected = model.log_probs([[7, 1, 7]])[0]
        np.testing.assert_allclose(np.frombuffer(buffer, np.float32), expected, rtol=1e-6)
        logits = model.parts([[7, 1, 7]]).components[0].logits[:, 0]
        interfering = set(page.app.shown.verdicts()[place].interfering)
        kinds = {mark["item"]: mark["kind"] for mark in one["marks"]}
        assert kinds == (
            dict.fromkeys(interfering, "interfering") | dict.fromkeys(history, "history") | {target: "target"}
        )
        for mark in one["marks"]:
            item = mark["item"]
            assert mark["score"] == pytest.approx(expected[item])
            assert mark["score"] + one["constant"] == pytest.approx(logits[-1, item])
            assert mark["alone"] + one["constant"] == pytest.approx(logits[0, item])
            assert mark["rank"] == (expected >= expected[item]).sum()
    first, second = (
        {mark["item"]: mark["alone"] - mark["score"] for mark in one["marks"]} for one in message["models"]
    )
    assert max(map(abs, first.values())) < 1e-9  # of a plain softmax
    assert min(abs(second[item]) for item in history) > 1e-3  # of one with a context partition


def test_what_has_no_scores_has_no_marks(subject, counting):
    page = Page([counting("Recent"), subject("Softmax (post)"), subject("RepeatNet")])
    message = only(page.act(set={"history": [7, 1]}), "scores")
    recent, post, repeats = message["models"]
    assert recent == {"marks": [], "constant": None}
    assert [len(buffer) for buffer in page.buffers["scores"]] == [0, 160, 160]
    assert {mark["item"] for mark in post["marks"] if mark["score"] is None} == {7, 1}
    assert all(mark["alone"] is not None for mark in post["marks"])
    assert repeats["constant"] is None
    assert all(mark["alone"] is None for mark in repeats["marks"])
    empty = only(page.act(set={"history": []}), "scores")
    assert empty["models"] == [{"marks": [], "constant": None}] * 3
    assert page.buffers["scores"] == [b""] * 3


def test_scores_of_another_temperature_have_the_same_order_and_another_constant(page):
    setting = page.app.state.settings[0].model_dump()
    page.act(set={"history": [7, 1], "settings": [setting | {"temperature": 0.5}, setting]})
    expected = page.app.shown.models[0].recommender.log_probs([[7, 1]])[0] / 0.5
    expected -= np.log(np.exp(expected).sum())
    np.testing.assert_allclose(np.frombuffer(page.buffers["scores"][0], np.float32), expected, rtol=1e-5)
    prediction = page.app.shown.predicted()[0]
    np.testing.assert_allclose(prediction.alone, prediction.scores, rtol=1e-9)


def test_a_tsne_of_too_many_items_is_not_offered_and_says_so(page, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.explorer.MOST_OF_TSNE", 39)
    assert [name for name, _ in page.say(type="hello")[0]["projections"]] == ["local", "pca"]
    answers = page.act(set={"projection": "tsne"})
    assert "A t-SNE of 40 items would take too long; it is made of at most 39." in only(answers, "points")["note"]
    assert last_marks(answers)["marks"] == []
    assert "t-SNE" not in "".join(one["doing"] for one in page.work() if one["type"] == "slow")


def test_a_tsne_is_awaited(page, monkeypatch):
    planes = {}
    monkeypatch.setattr(page.app.shown._tsne, "plane", lambda place, _: planes.get(place))
    answers = page.act(set={"projection": "tsne", "history": [7, 1]})
    assert only(answers, "points")["pending"]
    assert page.buffers["points"] == []
    assert last_marks(answers)["marks"] == []
    for _ in range(10):
        answers = page.say(type="slow")
    assert (answers[-1]["more"], answers[-1]["doing"]) == (True, "t-SNE of 40 items")
    planes[0] = Plane(np.arange(80, dtype=np.float32).reshape(40, 2), None, "A note.")
    answers = page.say(type="slow")
    points = only(answers, "points")
    assert "pending" not in points
    assert points["note"] == "A note."
    assert len(page.buffers["points"][0]) == 320
    marks = {mark["item"]: (mark["x"], mark["y"]) for mark in last_marks(answers)["marks"]}
    assert marks[7] == (14, 15)
    assert -1 not in marks  # hidden states have no place there
    page.work()


def test_a_tsne_that_fails_is_a_note(page, monkeypatch):
    def fail(*_):
        raise ConfigError("The t-SNE failed (x); choose another projection.")

    monkeypatch.setattr(page.app.shown._tsne, "plane", fail)
    answers = page.act(set={"projection": "tsne"})
    assert "t-SNE failed" in only(answers, "points")["note"]
    assert "t-SNE failed" in last_marks(answers)["note"]
    page.work()


def test_a_query_is_answered_with_its_cases(page):
    query = {"preset": "next item is new", "search": "", "sort": "rank A", "descending": True}
    cases = only(page.act(set={"query": query}), "cases")
    expected = page.app.table("cases")
    assert [row[0] for row in cases["rows"]] == expected["case"].tolist()
    assert cases["found"] == len(expected) < 30
    meanings = {column["key"]: column["meaning"] for column in cases["columns"]}
    assert meanings["copy A"] == "P(history), the probability that Softmax, seed 0 gives the history's items"
    assert meanings["rank B"] == "rank of the next item by Softmax + CPR:10 + Mi, seed 0"
    assert [model["letter"] for model in only(page.say(type="hello"), "base")["models"]] == ["A", "B"]
    assert "cases" not in types(page.act(set={"k": 5}))


def test_the_table_is_sent_by_pages(page, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.payload.SHOWN", 8)
    monkeypatch.setattr("cprlab.explorer.choices.SHOWN", 8)
    order = page.app.table("cases")["case"].tolist()
    query = page.app.state.query.model_dump()
    for number, start, stop in ((1, 8, 16), (3, 24, 30), (9, 24, 30), (0, 0, 8)):
        cases = only(page.act(set={"query": query | {"page": number}}), "cases")
        assert [row[0] for row in cases["rows"]] == order[start:stop]
        assert (cases["start"], cases["size"], cases["found"]) == (start, 8, 30)
    answers = page.act(command="go", value=str(order[27]))
    assert views(answers)[-1]["state"]["case"] == order[27]
    assert order[27] in [row[0] for row in only(answers, "cases")["rows"]]
    assert "There is no case 'me'" in views(page.act(command="go", value="me"))[-1]["error"]


def test_the_cases_together_are_sent_when_idle_and_again_if_they_are_others(page, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.cohort.AT_ONCE", 8)
    assert "cohort" not in types(page.act(set={"k": 3}))
    first = page.work()
    done = [one for one in first if one["type"] == "cohort"]
    assert [one.get("pending") for one in done] == [None]  # of trained models all is known
    found = page.app.cohort.set_index(["metric", "model"])
    models = [model.name for model in page.app.shown.models]
    cells = done[-1]["cells"]
    for row, metric in zip(cells, ("NDCG@10", "copy probability", "observed repeats", "log-loss"), strict=True):
        for cell, model in zip(row, models, strict=True):
            expected = found.loc[(metric, model), ["value", "low", "high"]].astype(float).tolist()
            assert [cell["value"], cell["low"], cell["high"]] == pytest.approx(expected)
            assert cell["after"] is cell["change"] is None
    pending = only(page.act(set={"edit": "remove the last item"}), "cohort")
    assert (pending["pending"], pending["done"]) == (True, 0)
    answers = [one for one in page.work() if one["type"] == "cohort"]
    assert [one["done"] for one in answers[:-1]] == [8, 16, 24, 30, 38, 46, 54, 60]
    assert {one["total"] for one in answers[:-1]} == {60}
    edited = answers[-1]
    assert (edited["edit"], edited["cases"], edited["users"], edited["changed"]) == ("remove the last item", 30, 30, 30)
    after = page.app.cohort_after("remove the last item").set_index(["metric", "model"])
    cell = edited["cells"][3][1]
    expected = after.loc[("log-loss", models[1]), ["before", "after", "value", "low", "high"]].astype(float).tolist()
    assert [cell[name] for name in ("value", "after", "change", "low", "high")] == pytest.approx(expected)
    assert "cohort" not in types(page.work())
    query = page.app.state.query.model_dump()
    for changes, again in (
        ({"query": query | {"sort": "case", "page": 2}}, False),
        ({"query": query | {"search": "user", "items": [3]}}, True),
        ({"query": query | {"search": "nothing of this"}}, True),
        ({"edit": ""}, True),
    ):
        assert ("cohort" in types(page.act(set=changes))) == again
    nothing = [one for one in page.work() if one["type"] == "cohort"][-1]
    assert (nothing["cases"], nothing["cells"]) == (0, [[None, None]] * 4)
    page.set(query=query, settings=[{"temperature": 2}, {}])
    few = [one for one in page.work() if one["type"] == "cohort"][-1]
    assert few["moved"]
    page.set(query=query | {"preset": "next item is in the history", "items": [3]})
    few = [one for one in page.work() if one["type"] == "cohort"][-1]
    assert 0 < few["users"] < 20
    assert few["cells"][0][0]["low"] is None


def test_an_items_card_has_its_count_ranks_and_neighbours(page):
    page.say(type="hello")
    (answer,) = page.say(type="ask", kind="item", value=3)
    shown, card = page.app.shown, answer["value"]
    assert card["count"] == sum(3 in history for history in shown.choices.histories)
    for model, prediction, found in zip(shown.models, shown.predicted(), card["models"], strict=True):
        assert found["rank"] == 1 + (prediction.scores > prediction.scores[3]).sum()
        parts = model.recommender.parts([list(shown.history)])
        assert found["logit"] == pytest.approx(parts.components[0].logits[-1, 0, 3])
        w = model.snapshot.item_embeddings
        cosines = {item: w[item] @ w[3] / np.linalg.norm(w[item]) / np.linalg.norm(w[3]) for item in range(len(w))}
        nearest = sorted(cosines.keys() - {3}, key=lambda item: -cosines[item])[:5]
        assert [one["item"] for one in found["near"]] == nearest
        assert [one["cosine"] for one in found["near"]] == pytest.approx([cosines[item] for item in nearest], rel=1e-5)


def test_a_state_set_from_python_is_shown(page):
    page.set(k=3)
    page.app.state = page.app.state.but(history=(9, 8))
    (view,) = views(page.listen())
    assert view["history"] == [9, 8]
    assert view["id"] == page.id


def test_an_explorer_shows_one_widget_however_often(subject):
    app = App(Explorer([subject()]))
    shown = [app._repr_mimebundle_() for _ in range(2)]
    assert "application/vnd.jupyter.widget-view+json" in str(shown[0])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_exported_as_its_table(page, name):
    page.set(history=[7, 1, 7])
    (answer,) = page.say(type="export", view=name, format="csv")
    assert (answer["name"], answer["mime"]) == (f"explorer-{name}.csv", "text/csv")
    page.app.table(name)
    assert answer["text"] == tables.to_csv(tables.exported(page.app.shown, name))
    assert answer["text"].count("\r\n") == 1 + len(page.app.table(name))


def hostile(one):
    titles = [fake.HOSTILE[item % len(fake.HOSTILE)] + "W" * 10_000 for item in range(one.snapshot.n_items)]
    named = replace(one.snapshot, titles=np.array(titles, dtype=object))
    ids = np.array([fake.HOSTILE[user % len(fake.HOSTILE)] for user in range(len(one.snapshot))], dtype=object)
    return replace(one, held_out=named, user_ids=ids, name=f"<b>{one.name}</b>")


SITUATIONS = {
    "hostile titles": lambda subject, _: [hostile(subject("Softmax + C"))],
    "post": lambda subject, _: [subject("Softmax (post)"), subject("Softmax + CP (post)")],
    "repeats alone": lambda subject, _: [subject("RepeatNet"), subject("MoS:2 dynamic + CP")],
    "four": lambda subject, foreign: [foreign(), foreign(False, name="plain"), subject(), subject("RepeatNet")],
    "one dimension": lambda subject, _: [subject(d=1)],
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_all_that_is_said_is_json_whatever_is_shown(subject, foreign, monkeypatch, situation):
    page = Page(SITUATIONS[situation](subject, foreign))
    monkeypatch.setattr(page.app.shown._tsne, "plane", lambda *_: None)
    answers = page.say(type="hello")
    models = len(page.app.shown.models)
    settings = [{"temperature": 0.01, "toward": 50, "axes": [9, 0, 0], "scale": 100, "best": True}] * models
    for changes in (
        {"history": [7, 1], "selection": [7]},
        {"projection": "local"},
        {"settings": settings},
        {"history": []},
        {"history": EVERY},
        {"settings": [{"temperature": 100, "scale": 0}] * models},
        {"history": [3] * 60, "projection": "tsne"},
        {"case": 3},
    ):
        answers += page.act(set=changes)
        answers += page.act(command="pin")
        for _ in range(2):
            answers += page.say(type="slow")
        for name in VIEWS[:-1]:  # the verdict takes its time
            page.say(type="export", view=name, format="csv")
    page.act(set={"projection": "pca"})
    answers += page.work()
    said = views(answers)
    assert {one["error"] for one in said} <= {
        "",
        "A map needs two or more items, with embeddings of two or more dimensions.",
    }
    empty = [one for one in said if not one["history"]]
    assert empty[-1]["predictions"][0]["rank"] is None
    assert empty[-1]["predictions"][0]["top"] == []
    assert "nothing can be predicted" in empty[-1]["case"]["note"]
    assert "read the last" in "".join(one["case"]["note"] for one in said)
    assert longest({"answers": answers}) <= 1500  # four verdicts are as long


def longest(value):
    if isinstance(value, dict):
        return max(map(longest, value.values()), default=0)
    if isinstance(value, list):
        return max(map(longest, value), default=0)
    return len(value) if isinstance(value, str) else 0


def test_what_does_not_follow_the_edits_is_said(foreign):
    page = Page([foreign()])
    assert page.say(type="hello")[0]["models"][0]["encodes"] is False
    assert "does not change with edits" in page.set(history=[3])["predictions"][0]["settled"]


def keys(value):
    """The shape of a message: of dictionaries their keys, of a list that of all its values together."""
    if isinstance(value, dict):
        return {key: keys(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return merged([keys(one) for one in value])
    return None


def merged(shapes):
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    return {key: merged([shape.get(key) for shape in known]) for key in {key for shape in known for key in shape}}


def test_the_messages_of_fake_py_are_shaped_like_the_kernels(page):
    page.set(case=3)
    page.act(command="pin")
    pinned = page.app.state.pinned.model_dump()
    page.act(set={"history": [7, 1, 2], "kept": [pinned | {"name": "before"}]})
    answers = {one["type"]: one for one in page.say(type="hello")}
    answers |= {one["type"]: one for one in page.work()}
    titles = fake.titles()
    made = {
        "base": fake.base(titles),
        "view": fake.view(pinned=fake.pin(), kept=[fake.pin() | {"name": "before"}]),
        "stories": fake.stories(),
        "marks": fake.marks(),
        "scores": fake.scores()[0],
        "cases": fake.cases(),
        "cohort": fake.cohort(),
        "verdict": fake.verdict(),
    }
    for kind, message in made.items():
        assert keys(message) == keys(answers[kind]), kind
