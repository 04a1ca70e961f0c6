"""An Explorer's state: what is done and undone, refused, pinned and switched."""

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer, ExplorerState
from cprlab.explorer.state import Setting
from cprlab.explorer.tables import table as table_of
from tests.explorer.conftest import HISTORY, moved

TRAINED = "Softmax + CPR:10 (context_merge=half, rerank_merge=add)"


def test_it_begins_where_the_models_are_furthest_apart_or_off_the_truth(app, subject):
    copied = [subject(head).cases["copy_probability"] for head in ("Softmax", "Softmax + CPR:5,10 + Mi")]
    assert app.state.case == np.abs(copied[0] - copied[1]).argmax()
    assert app.state.models == ("Softmax, seed 0", "Softmax + CPR:5,10 + Mi, seed 0")
    assert app.state.data == "random"
    assert app.undoable == (False, False)
    repeat = subject().cases["repeat"].to_numpy()
    alone = Explorer([subject()])
    assert alone.state.case == np.abs(copied[0].to_numpy() - repeat).argmax()
    assert alone.history == tuple(subject().snapshot.histories[alone.state.case])
    assert alone.target == subject().snapshot.targets[alone.state.case]


@pytest.mark.parametrize("count", [0, 5])
def test_of_one_to_four_models(subject, count):
    with pytest.raises(ConfigError, match=f"from one to 4 models side by side, not {count}"):
        Explorer([subject()] * count)


def test_an_edit_is_undone_and_done_again(app):
    states = [app.state]
    for changes in (
        {"history": HISTORY},
        {"case": 3},
        moved(app, 1, toward=0.5),
        {"history": ()},
        {"case": 5, "history": (2,)},
    ):
        app.patch(changes)
        states.append(app.state)
    assert states[2].history is None  # the other case's own
    for state in states[-2::-1]:
        app.undo()
        assert app.state == state
    assert app.undoable == (False, True)
    app.undo()
    assert app.state == states[0]
    for state in states[1:]:
        app.redo()
        assert app.state == state
    assert app.undoable == (True, False)
    app.redo()
    assert app.state == states[-1]
    app.undo()
    app.patch({"history": (9,)})
    assert app.undoable == (True, False)  # what was undone is gone


def test_looks_are_neither_undone_nor_lost_by_an_undo(app):
    app.patch({"history": HISTORY})
    app.undo()
    looks = {"selection": (1, 2), "k": 4, "projection": "local", "space": 1, "colour": "partition"}
    looks["query"] = {"preset": "next item is new", "sort": "rank A", "descending": True}
    app.patch(looks)
    assert app.undoable == (False, True)
    app.redo()
    assert app.state.history == HISTORY
    assert (app.state.k, app.state.selection, app.state.query.sort) == (4, (1, 2), "rank A")


def test_a_drag_is_undone_at_once(app):
    before = app.state
    for value in (0.1, 0.2, 0.3):
        app.patch(moved(app, toward=value), live=True)
    app.patch(moved(app, toward=0.3))  # the slider is let go
    dragged = app.state
    for value in (1.5, 2):
        app.patch(moved(app, scale=value), live=True)
    app.patch(moved(app, scale=2.5))
    app.undo()
    assert app.state == dragged
    app.undo()
    assert app.state == before
    app.redo()
    assert app.state == dragged


def test_a_drag_that_begins_with_no_change_or_is_refused_can_be_undone(app):
    before = app.state
    app.patch(moved(app, toward=0), live=True)
    app.patch(moved(app, toward=0.5), live=True)
    with pytest.raises(ConfigError):
        app.patch({"history": (999,)})
    app.patch(moved(app, toward=0.6), live=False)
    dragged = app.state
    app.patch({"history": HISTORY})
    app.undo()
    assert app.state == dragged
    app.undo()
    assert app.state == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"history": (1, 40)}, "no item 40; codes go from 0 to 39"),
        ({"selection": (41,)}, "no item 41"),
        ({"case": 30}, "no case 30; cases go from 0 to 29"),
        ({"pinned": {"history": (40,), "settings": ({}, {})}}, "no item 40"),
        ({"pinned": {"history": (1,), "settings": ({"head": "Softmax + C"}, {})}}, "needs C"),
        ({"settings": ({"head": "Softmax + CP"}, {})}, "needs C, P"),
        ({"settings": ({"head": "Hardmax"}, {})}, "Unknown head 'Hardmax'"),
        ({"settings": ({},)}, "a setting for each of the 2 models"),
        ({"query": {"sort": "copy D"}}, "no column 'copy D'"),
        ({"models": ("one", "two")}, "The state is of one and two, but these models are Softmax, seed 0 and"),
        ({"cases": 3}, "Unknown setting 'cases'"),
    ],
)
def test_what_cannot_be_shown_changes_nothing(app, changes, sentence):
    app.patch({"history": HISTORY})
    app.patch({"history": (5,)})
    app.undo()
    before, undoable = app.state, app.undoable
    with pytest.raises(ConfigError, match=sentence):
        app.patch(changes)
    assert app.state == before
    assert app.undoable == undoable == (True, True)
    app.redo()
    assert app.shown.history == (5,)


def test_cases_are_looked_for_only_where_others_are_asked_for(app, monkeypatch):
    asked = []
    monkeypatch.setattr(app.shown.choices, "find", asked.append)
    app.patch({"history": HISTORY, "case": 5})
    assert asked == []
    app.patch({"query": {"search": "1"}})
    assert asked == [app.state.query]


def test_an_error_of_another_kind_changes_nothing_either(app, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    before = app.state
    monkeypatch.setattr(app.shown.models[1], "predict", fail)
    with pytest.raises(RuntimeError):
        app.patch({"history": HISTORY})
    assert app.state == before
    assert app.undoable == (False, False)


def test_a_saved_state_is_shown_by_another_explorer(app, subject):
    app.patch({"case": 4})
    app.patch({"history": HISTORY} | moved(app, 1, head="Softmax + C", temperature=2))
    app.pin()
    subjects = [subject(), subject("Softmax + CPR:5,10 + Mi")]
    other = App(Explorer(subjects, app.state.to_json()))
    assert other.state == app.state
    pd.testing.assert_frame_equal(other.predictions(), app.predictions())
    with pytest.raises(ConfigError, match="Softmax, seed 1 and"):
        Explorer([subject(seed=1), subjects[1]], app.state.to_json())
    with pytest.raises(ConfigError, match="needs C"):
        Explorer(subjects, app.state.but(**moved(app, 0, head="Softmax + C")).to_json())
    pinned = {"history": HISTORY, "settings": moved(app, 0, head="Softmax + C")["settings"]}
    with pytest.raises(ConfigError, match="needs C"):
        Explorer(subjects, app.state.but(pinned=pinned).to_json())


def switched(subject, trained, *options):
    app = App(Explorer([subject(trained)]))
    for option in options:
        app.switch(0, **option)
    return app.state.settings[0].head


def test_partitions_are_switched_off_and_on_as_they_were_trained(subject):
    def names(*options):
        return switched(subject, TRAINED, *options)

    no_c = "Softmax + R:10 (rerank_merge=add)"
    assert names({"context": False}) == no_c
    assert names({"context": False}, {"context": True}) == "Softmax + CR:10 (context_merge=half, rerank_merge=add)"
    assert names({"context": False}, {"pointer": True}) == ""
    assert names({"rerank": []}) == "Softmax + CP (context_merge=half)"
    assert names({"rerank": []}, {"rerank": [10]}) == ""
    assert names({"rerank": []}, {"rerank": [4]}) == "Softmax + CPR:4 (context_merge=half, rerank_merge=add)"
    assert names({"context": False}, {"context": True, "context_merge": "add"}).startswith("Softmax + CR:10 (context_")
    assert "context_merge=add" in names({"context": False}, {"context": True, "context_merge": "add"})
    assert names({"context_merge": "add"}, {"context": False}, {"pointer": True}) == ""
    assert names({"post": True}) == TRAINED.replace("(", "(post, ")
    assert names({"post": True}, {"post": False}) == ""
    assert switched(subject, "MoS:2 dynamic + CP (context_facets=1)", {"context": False}) == "MoS:2 dynamic"
    back = switched(subject, "MoS:2 dynamic + CP (context_facets=1)", {"context": False}, {"pointer": True})
    assert back == ""
    assert switched(subject, "RepeatNet", {"post": True}) == "RepeatNet (post)"
    linear = "Softmax + C + F (coefficients=linear)"
    assert switched(subject, linear, {"frequency": False}) == "Softmax + C"
    assert switched(subject, linear, {"frequency": False}, {"frequency": True}) == ""
    assert switched(subject, "MoS:2 + B", {"shift": False}) == "MoS:2"


def test_a_switch_is_undone_and_an_impossible_one_refused(subject):
    app = App(Explorer([subject("RepeatNet"), subject("Softmax + C")]))
    app.switch(1, context=False)
    assert str(app.shown.heads()[1]) == "Softmax"
    app.undo()
    assert app.state.settings == (Setting(), Setting())
    refused: list[tuple[int, dict, str]] = [
        (0, {"context": True}, "RepeatNet is a head of its own"),
        (1, {"pointer": True}, "needs P"),
        (1, {"frequency": True}, "needs F"),
        (1, {"rerank": [41]}, "must not be above the number of items, 40"),
        (1, {"rerank": [0]}, "at least 1"),
        (1, {"facets": 2}, "facets"),
        (1, {"contexts": True}, "contexts"),
    ]
    for model, options, sentence in refused:
        with pytest.raises(ConfigError, match=sentence):
            app.switch(model, **options)
    assert app.state.settings == (Setting(), Setting())


VIEWS = ("cases", "history", "predictions", "scores", "map", "states", "verdict")


def test_an_empty_history_has_no_prediction_and_breaks_no_view(app):
    app.patch({"history": ()})
    assert app.shown.predicted() == [None, None]
    assert {view: len(app.table(view)) for view in VIEWS} == {
        "cases": 30, "history": 0, "predictions": 0, "scores": 0, "map": 1, "states": 2, "verdict": 0,
    }  # fmt: skip
    assert app.table("map")["kind"].tolist() == ["target"]
    assert "history is empty" in app.shown.sentence()
    app.pin()
    app.patch({"history": HISTORY})
    assert app.shown.pinned() == [None, None]
    app.undo()
    app.undo()
    assert app.state.history == ()
    assert app.state.pinned is None


def test_a_history_of_every_item_has_no_verdict(subject, monkeypatch):
    every = tuple(range(40))
    app = App(Explorer([subject("Softmax (post)"), subject("RepeatNet")]))
    app.patch({"history": every})
    assert len(app.table("verdict")) == 2  # the models read the last 20 of them
    for model in app.shown.models:
        monkeypatch.setattr(model.recommender, "max_len", 40)
    app = App(Explorer([subject("Softmax (post)"), subject("RepeatNet")]))
    app.patch({"history": every})
    assert app.table("verdict").empty
    assert list(app.shown.verdict()) == []
    assert "contains every item" in app.shown.sentence()
    assert len(app.table("predictions")) == 20
    assert len(app.table("history")) == 40


def test_a_state_set_from_python_is_told_and_can_be_undone(app):
    told, before = [], app.state
    app.changed.append(lambda: told.append(app.state))
    app.state = app.state.but(history=HISTORY)
    assert told == [app.state]
    assert app.shown.history == HISTORY
    with pytest.raises(ConfigError):
        app.state = app.state.but(history=(99,))
    assert len(told) == 1
    app.undo()
    assert told[1:] == [app.state] == [before]
    app.pin()
    assert len(told) == 3


def test_an_explorer_never_changes(app):
    before = app.shown
    app.table("verdict")  # what is known of a case is kept, and the map then marks more
    tables = {view: app.table(view) for view in VIEWS}
    app.patch({"case": 5, "history": HISTORY, "k": 3, "projection": "local"})
    app.pin()
    assert before.state != app.state
    assert before.models is app.shown.models
    for view, table in tables.items():
        pd.testing.assert_frame_equal(table_of(before, view), table)


def test_states_are_values(app):
    assert ExplorerState.from_json(app.state.to_json()) == app.state
    with pytest.raises(ValueError, match="frozen"):
        app.state.case = 3
