"""Rivals that count in the explorer: they predict beside the others, and what needs a hidden state says so."""

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cprlab import plots
from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer, page, payload
from cprlab.explorer.widget import ExplorerWidget
from tests.explorer.conftest import HISTORY, moved

HEADS = ("Recent", "Counts", "Softmax")
NONE = "has no hidden state and no item vectors, as it only counts."


@pytest.fixture
def beside(counting, subject):
    """Two rivals that count, beside a softmax."""
    return App(Explorer([counting("Recent"), counting("Counts"), subject("Softmax", name="Softmax")]))


@pytest.fixture
def alone(counting):
    """Rivals that count, alone."""
    return App(Explorer([counting(head) for head in ("Popular", "Frequent")]))


def order(history, sequences, by_count):
    """Return all items: those of the history by how often, or how lately, they were taken, then by popularity."""
    counts, history = sequences.training_counts(), list(history)

    def key(item):
        if item not in history:
            return (1, -counts[item], item)
        return (0, -history.count(item) if by_count else 0, history[::-1].index(item))

    return sorted(range(sequences.n_items), key=key)


@pytest.mark.parametrize(("head", "by_count"), [("Recent", False), ("Frequent", True)])
def test_an_edited_history_is_ordered_anew(counting, sequences, head, by_count):
    app = App(Explorer([counting(head)]))
    for history in (HISTORY, HISTORY[:-1], (9, *HISTORY), tuple(range(25))):
        app.patch({"history": history, "k": 12})
        table = app.predictions()
        assert table["item"].tolist() == order(history[-20:], sequences, by_count)[:12]
        assert table["place"].tolist() == list(range(1, 13))
        assert table["probability"].isna().all()
        rank = app.shown.predicted()[0].outcome(app.shown.target)["rank"]
        assert order(history[-20:], sequences, by_count).index(app.shown.target) + 1 <= rank  # ties count against it


@pytest.mark.parametrize("head", ["Markov", "Counts"])
def test_an_edited_history_has_other_probabilities(counting, head):
    app = App(Explorer([counting(head)]))
    for history in (HISTORY, HISTORY[:-1]):
        app.patch({"history": history, "k": 40})
        p = np.exp(counting(head).recommender.log_probs([list(history)])[0])
        table = app.predictions()
        np.testing.assert_allclose(table["probability"], np.sort(p)[::-1])
        np.testing.assert_allclose(table["probability"], p[table["item"]])
        copied = app.shown.predicted()[0].outcome(app.shown.target)["copy"]
        assert copied == pytest.approx(p[np.unique(history)].sum())
    assert set(table["partition"]) <= {"frequency", "Markov", "popularity", "uniform"}
    assert len(set(table["partition"])) > 1


def test_the_cases_have_all_ranks_and_the_probabilities_that_there_are(beside, counting, subject):
    table = beside.table("cases").sort_values("case")
    for letter, name in zip("ABC", (counting("Recent"), counting("Counts"), subject("Softmax")), strict=True):
        np.testing.assert_array_equal(table[f"rank {letter}"], name.cases["rank"])
    assert "copy A" not in table
    copied = table[["copy B", "copy C"]].to_numpy()
    np.testing.assert_allclose(table["apart"], np.abs(copied[:, 0] - copied[:, 1]))
    assert beside.state.case == table["apart"].argmax()
    note = payload.cases(beside.shown)["note"]
    assert note.startswith("No probabilities: Recent. copy is")


def test_certificates_are_those_of_the_models_with_states(beside, subject):
    both = beside.shown.choices, Explorer([subject("Softmax")]).choices
    found = [list(choices.certify()) and choices.table["copyable"].tolist() for choices in both]
    assert found[0] == found[1]
    assert {"yes", "no"} & set(found[0])
    np.testing.assert_array_equal(both[0].table["least"], both[1].table["least"])


def test_the_verdict_says_of_a_rival_what_it_loses_and_that_it_has_no_state(beside):
    for target_in_it in (True, False):
        others = [item for item in HISTORY if item != beside.shown.target]
        beside.patch({"history": [*others, beside.shown.target] if target_in_it else others})
        table = beside.table("verdict").set_index("model")
        assert table.index.tolist() == ["Counts", "Softmax"]
        p = np.exp(beside.shown.models[1].recommender.log_probs([list(beside.shown.history)])[0])
        copied = p[np.unique(beside.shown.history)].sum()
        told = table.loc["Counts"]
        assert told["P(history)"] == f"{copied:.1%}"
        assert told["lost where it should copy"] == f"{-np.log(copied):.2f} nats"
        assert told["lost where it should exclude"] == f"{-np.log(1 - copied):.2f} nats"
        assert set(told[[column for column in table if "state can" in column or "least" in column]]) == {"–"}
        said = beside.shown.sentence()
        assert "Recent gives no probabilities and " in said
        assert re.search(rf"Counts gives these \d different items {copied:.1%} and [^.]*\. It {re.escape(NONE)}", said)
        assert "Softmax gives" in said


def test_what_needs_a_state_says_that_there_is_none(beside):
    assert beside.state.space == 2  # the first model that a map can show
    assert len(beside.table("map"))
    beside.patch({"space": 1})
    for shown in (lambda: beside.table("map"), beside.shown.plane):
        with pytest.raises(ConfigError, match=f"^Counts {re.escape(NONE)}$"):
            shown()
    assert payload.marks(beside.shown)["note"] == payload.points(beside.shown)[0]["note"] == f"Counts {NONE}"
    assert page.picture(beside.shown)[1] == f"Counts {NONE}"
    assert len(page.picture(beside.shown)[0]) == 0
    before = beside.state
    for changes in ({"toward": 0.5}, {"temperature": 2.0}, {"best": True}):
        with pytest.raises(ConfigError, match=f"^Recent {re.escape(NONE)} So nothing can be moved"):
            beside.patch(moved(beside, 0, **changes))
        with pytest.raises(ConfigError, match="So nothing can be moved"):
            beside.patch({"pinned": {"history": HISTORY, **moved(beside, 0, **changes)}})
    assert beside.state == before


def test_the_history_of_a_rival_is_ruled_out_and_comes_back(beside):
    beside.patch({"history": HISTORY})
    for place in (0, 1):
        before = beside.state
        beside.switch(place, post=True)
        assert str(beside.shown.heads()[place]) == f"{HEADS[place]} (post)"
        assert not set(beside.shown.predicted()[place].top(10)) & set(HISTORY)
        beside.undo()
        assert beside.state == before


def test_rivals_alone_are_ordered_by_rank_and_have_nothing_to_prove(alone):
    assert alone.state.query.sort == "rank A"
    assert list(alone.shown.choices.certify()) == []
    assert len(alone.table("verdict")) == 0
    assert alone.shown.sentence().count(NONE) == 2
    assert [len(alone.table(view)) for view in ("cases", "history", "predictions", "states")] == [
        30,
        len(alone.shown.history),
        20,
        2,
    ]
    assert alone.selection.columns.tolist() == ["item", "id", "title", "Popular", "Frequent"]


@pytest.mark.parametrize("which", ["beside", "alone"])
def test_what_the_page_is_told_is_json_and_tells_what_changed(which, request):
    app, heard = request.getfixturevalue(which), []
    widget = ExplorerWidget(app)
    widget.send = lambda content, buffers=None: heard.append(json.loads(json.dumps(content, allow_nan=False)))
    widget._receive(widget, {"type": "hello"}, [])
    acts: list[dict[str, Any]] = [
        {"set": {"selection": [1, 2]}},
        {"command": "pin"},
        {"set": {"history": [*HISTORY, app.shown.target]}},
    ]
    for number, act in enumerate(acts):
        widget._receive(widget, {"type": "act", "id": number, **act}, [])
    for _ in range(100):
        widget._receive(widget, {"type": "slow"}, [])
    assert not any("went wrong" in one.get("error", "") for one in heard)
    assert not [one for one in heard if one["type"] == "slow"][-1]["more"]
    (told,) = [one["models"] for one in heard if one["type"] == "base"]
    assert [bool(one["ordered"]) for one in told] == [head not in ("Counts", "Softmax") for head in app.state.models]
    assert [bool(one["stateless"]) for one in told] == [head != "Softmax" for head in app.state.models]
    shown = [one for one in heard if one["type"] == "view"]
    for model, prediction, selected in zip(told, shown[-1]["predictions"], shown[-1]["selected"], strict=True):
        numbers = [prediction["copy"], prediction["target"], selected, *(bar["p"] for bar in prediction["top"])]
        assert {number is None for number in numbers} == {bool(model["ordered"])}
        assert [bar["place"] for bar in prediction["top"]] == list(range(1, 11))
    first = app.state.models[0]
    assert f"{first}: copy" not in shown[-1]["notice"]
    assert all(f"{first}: the next item's rank" not in one["notice"] for one in shown[:3])  # nothing had changed


def test_a_page_on_a_case_draws_an_ordering_as_dots(beside):
    beside.patch({"history": HISTORY})
    assert page.heads(beside.shown)["Recent"][-1].startswith("gives no probabilities, ★ at rank")
    assert page.heads(beside.shown)["Counts"][-1].startswith("copy probability")
    figure = plots.predictions(beside.predictions(), page.heads(beside.shown), "a case")
    dots = [trace for trace in figure.data if trace.type == "scatter" and trace.xaxis == "x" and trace.x[0]]
    assert sorted(place for trace in dots for place in trace.y) == list(range(1, 11))
    assert {trace.xaxis for trace in figure.data if trace.type == "bar"} == {"x2", "x3"}
    assert not figure.layout.xaxis.visible
    assert figure.layout.xaxis.range[1] == pytest.approx(
        1.05 * np.nanmax(pd.to_numeric(beside.predictions()["probability"]))
    )
