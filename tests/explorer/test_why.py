"""Why a prediction is as it is, against predictions of shortened histories and products by hand."""

import numpy as np
import pytest

from cprlab.explorer import App, Explorer, payload
from tests.explorer.conftest import HISTORY, moved


def log_probs(model, history):
    return model.recommender.log_probs([list(history)])[0]


def test_each_item_of_the_history_did_what_is_missing_without_it(app):
    app.patch({"case": 3, "history": HISTORY})
    table = app.table("why")
    assert table["place"].tolist() == [1, 2, 3, 4, 5] * 2
    assert table["item"].tolist() == [*HISTORY] * 2
    for place, model in enumerate(app.shown.models):
        rows, full = table[table["model"] == model.name], log_probs(model, HISTORY)
        asked = payload.left_out(app.shown, {"model": place, "item": 9})["rows"]
        for position in range(5):
            less = log_probs(model, HISTORY[:position] + HISTORY[position + 1 :])
            copied = np.exp(full[[1, 3, 7]]).sum() - np.exp(less[[1, 3, 7]]).sum()
            assert rows["history"].iloc[position] == pytest.approx(copied)
            assert rows["next"].iloc[position] == pytest.approx(full[app.shown.target] - less[app.shown.target])
            told = {"position": position, "copied": copied, "gained": full[9] - less[9]}
            assert asked[position] == pytest.approx(told)


def test_of_a_long_history_only_what_is_read_is_left_out(app):
    longest = app.shown.models[0].max_len
    app.patch({"history": tuple(range(longest + 2))})
    rows = payload.left_out(app.shown, {"model": 0, "item": 0})["rows"]
    assert [row["position"] for row in rows] == list(range(2, longest + 2))


def test_without_an_encoder_or_probabilities_or_another_item_there_is_nothing_to_say(foreign, counting, subject):
    app = App(Explorer([foreign(), counting("Recent"), subject()]))
    app.patch({"history": HISTORY})
    assert set(app.table("why")["model"]) == {subject().name}
    for history in ((3,), ()):
        app.patch({"history": history})
        assert len(app.table("why")) == 0


def test_what_each_partition_gave_an_item_is_its_product_with_the_states_shown(app):
    app.patch({"case": 3, "history": HISTORY} | moved(app, 1, toward=0.5))
    now = app.shown.predicted()[1]
    weights = app.shown.models[1].snapshot.item_embeddings
    card = payload.item(app.shown, 7)["models"]
    (softmax,) = card[1]["softmaxes"]
    assert [step["name"] for step in softmax["steps"]] == ["V", "R:10", "R:5", "C", "P"]
    by_name = {step["name"]: step for step in softmax["steps"]}
    assert by_name["V"]["change"] == by_name["V"]["logit"] == pytest.approx(now.states["V"] @ weights[7])
    assert by_name["V"]["rank"] == (weights @ now.states["V"] >= by_name["V"]["logit"] - 1e-9).sum()
    assert by_name["C"]["logit"] == pytest.approx(now.states["C"] @ weights[7])
    assert sum(step["change"] for step in softmax["steps"]) == pytest.approx(by_name["P"]["logit"])
    assert by_name["P"]["rank"] == card[1]["rank"]
    table = app.table("partitions")
    rows = table[(table["model"] == app.state.models[1]) & (table["item"] == 7)]
    assert rows["logit_change"].tolist() == pytest.approx([step["change"] for step in softmax["steps"]])
    assert set(rows["title"]) == {app.shown.titles[7]}
    assert {app.shown.target, *HISTORY} <= set(table["item"])
    app.patch({"history": ()})
    assert len(app.table("partitions")) == 0
