"""What each view of an Explorer shows, as a table, and the selection."""

import csv
import io
import re
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer, page, tables
from cprlab.explorer.tables import to_csv
from cprlab.explorer.verdict import COLUMNS
from cprlab.numbers import as_text
from tests.explorer.conftest import HISTORY, log_probs, moved


def test_predictions_with_a_pin_say_what_was(app, subject):
    app.patch({"history": HISTORY, "k": 6})
    app.patch(moved(app, 0, temperature=0.5))
    app.pin()
    app.patch({"history": (8,)} | moved(app, 0, temperature=1))
    table, before, now = app.predictions(), log_probs(app), log_probs(app, (8,))
    before[0] = before[0] / 0.5 - np.log(np.exp(before[0] / 0.5).sum())
    assert table.columns.tolist() == [
        "model", "place", "item", "title", "probability", "kind", "partition", "pinned_probability", "pinned_place",
    ]  # fmt: skip
    assert len(table) == 12
    for place, (model, rows) in enumerate(table.groupby("model", sort=False)):
        assert model == app.state.models[place]
        assert rows["place"].tolist() == list(range(1, 7))
        assert rows["item"].tolist() == sorted(range(40), key=lambda code: -now[place][code])[:6]
        for row in rows.itertuples():
            assert row.probability == pytest.approx(np.exp(now[place][row.item]))
            assert row.pinned_probability == pytest.approx(np.exp(before[place][row.item]))
            assert row.pinned_place == (before[place] >= before[place][row.item] - 1e-12).sum()
            assert row.kind == ("target" if row.item == app.shown.target else "history" if row.item == 8 else "new")
            assert row.title == str(app.shown.titles[row.item])
    assert "pinned_place" not in App(Explorer([subject()])).predictions()
    app.patch({"case": 1 if app.state.case != 1 else 2})
    assert app.state.pinned is None
    assert app.shown.pinned() == [None, None]


def test_the_scores_are_of_all_items_and_say_what_the_state_alone_gives(app, counting, subject):
    app.patch({"case": 3, "history": HISTORY} | moved(app, 1, temperature=2))
    assert "interfering" not in set(app.table("scores")["kind"])
    app.table("verdict")
    table = app.table("scores")
    assert table.columns.tolist() == [
        "model", "rank", "item", "title", "kind", "log_probability", "alone", "logit", "probability",
    ]  # fmt: skip
    assert len(table) == 80
    known, target = log_probs(app), app.shown.target
    known[1] = known[1] / 2 - np.log(np.exp(known[1] / 2).sum())
    for place, (model, rows) in enumerate(table.groupby("model", sort=False)):
        assert model == app.state.models[place]
        assert rows["rank"].tolist() == list(range(1, 41))
        np.testing.assert_allclose(rows["log_probability"], known[place][rows["item"]], rtol=1e-9)
        np.testing.assert_allclose(rows["probability"], np.exp(known[place][rows["item"]]), rtol=1e-9)
        component = app.shown.models[place].recommender.parts([list(HISTORY)]).components[0]
        logits = component.logits[:, 0] / (1 + place)
        np.testing.assert_allclose(rows["logit"], logits[-1, rows["item"]], rtol=1e-6)
        lifted = (logits[0] - logits[-1])[rows["item"]]
        np.testing.assert_allclose(rows["alone"] - rows["log_probability"], lifted, atol=1e-12)
        kinds = dict(zip(rows["item"], rows["kind"], strict=True))
        assert kinds[target] == "target"
        assert {item for item, kind in kinds.items() if kind == "history"} == {*HISTORY} - {target}
        assert set(app.shown.verdicts()[place].interfering) - {target, *HISTORY} == {
            item for item, kind in kinds.items() if kind == "interfering"
        }
    other = App(Explorer([counting("Recent"), subject("RepeatNet")])).table("scores")
    assert set(other["model"]) == {"RepeatNet, seed 0"}
    assert other["alone"].isna().all()
    assert other["logit"].isna().all()


def test_selected_items_have_each_models_probability(app):
    app.patch({"history": HISTORY, "selection": (7, 0)})
    table, known = app.selection, log_probs(app)
    assert table["item"].tolist() == [7, 0]
    assert table["id"].tolist() == [app.shown.models[0].snapshot.item_ids[7], app.shown.models[0].snapshot.item_ids[0]]
    for name, one in zip(app.state.models, known, strict=True):
        np.testing.assert_allclose(table[name], np.exp(one[[7, 0]]), rtol=1e-9)
    app.patch({"history": ()})
    assert app.selection[list(app.state.models)].isna().all(axis=None)
    app.patch({"selection": ()})
    assert len(app.selection) == 0


def test_the_tables_of_history_and_states(app):
    target = int(app.shown.choices.targets[2])
    app.patch({"case": 2, "history": (5, target, 5)} | moved(app, 1, head="Softmax + C", axes=(0, 1, 0)))
    history = app.table("history")
    assert history["place"].tolist() == [1, 2, 3]
    assert history["item"].tolist() == [5, target, 5]
    assert history["next"].tolist() == [target == 5, True, target == 5]
    states = app.table("states")
    assert states["head"].tolist() == ["Softmax", "Softmax + C"]
    assert states["axes"].tolist() == [(0, 0, 0), (0, 1, 0)]
    p = np.exp(log_probs(app, (5, target, 5))[0])
    assert states.loc[0, "copy"] == pytest.approx(p[[5, target]].sum())
    assert states.loc[0, "target"] == pytest.approx(p[target])
    assert states.loc[0, "rank"] == (p >= p[target]).sum()


def test_the_table_of_cases_is_the_querys(app):
    app.patch({"query": {"preset": "next item is new", "sort": "off", "descending": True}})
    table = app.table("cases")
    assert not table["repeat"].any()
    assert table["off"].is_monotonic_decreasing
    with pytest.raises(ConfigError, match="no view 'maps'; the views are cases, cohort, history"):
        app.table("maps")


def test_the_map_marks_what_matters_and_what_interferes_once_it_is_known(app, monkeypatch):
    app.patch({"history": HISTORY, "k": 5, "space": 1})
    before = app.table("map")
    model, p = app.shown.models[1], log_probs(app)[1]
    top = {item for item in np.argsort(-p)[:5].tolist() if item not in HISTORY}
    assert dict(zip(before["item"], before["kind"], strict=True)) == (
        dict.fromkeys(top, "new")
        | dict.fromkeys({1, 3, 7}, "history")
        | {app.shown.target: "target", -1: "hidden state"}
    )
    table = app.table("verdict")
    assert table["model"].tolist() == list(app.state.models)
    assert table.columns.tolist() == list(COLUMNS)
    marks = app.table("map")
    interfering = set(app.shown.verdicts()[1].interfering) - {app.shown.target}
    assert interfering
    assert set(marks[marks["kind"] == "interfering"]["item"]) == interfering
    weights = model.snapshot.item_embeddings
    mean = weights.mean(0)
    axes = np.linalg.svd(weights - mean, full_matrices=False)[2][:2]
    states = marks[marks["item"] < 0]
    assert states["title"].tolist() == [f"hidden state {name}" for name in app.shown.predicted()[1].states]
    vectors = np.stack([*weights[marks["item"][marks["item"] >= 0]], *app.shown.predicted()[1].states.values()])
    np.testing.assert_allclose(np.abs(marks[["x", "y"]]), np.abs((vectors - mean) @ axes.T), atol=1e-5)
    app.patch({"projection": "local"})
    assert np.isfinite(app.table("map")[["x", "y"]]).all(axis=None)
    monkeypatch.setattr(app.shown._tsne, "plane", lambda *_: None)
    app.patch({"projection": "tsne"})
    assert app.table("map")["x"].isna().all()  # it is being made


def test_the_verdict_is_on_the_models_own_state_whatever_was_moved(app, subject):
    app.patch({"case": 3, "history": HISTORY})
    app.table("verdict")
    plain = app.shown.verdicts()
    before = app.shown.sentence()
    app.patch(moved(app, 0, toward=1, temperature=3))
    assert app.shown.verdicts() == plain  # known already
    said = [
        re.findall(r"items ([\d.]+)% .*?in reach \w+ them .*?([\d.]+)%", one) for one in (before, app.shown.sentence())
    ]
    assert said[0][0][0] != said[1][0][0]
    assert (said[0][0][1], said[0][1]) == (said[1][0][1], said[1][1])
    assert list(app.shown.verdict()) == []
    app.patch({"history": (3,)})
    assert app.shown.verdicts() == [None, None]
    assert app.shown.sentence() == ""
    other = App(Explorer([replace(subject(), name=name) for name in ("one", "two")]))
    other.patch({"case": 3, "history": HISTORY} | moved(other, 0, toward=1))
    other.table("verdict")
    assert [one.least_excluding for one in other.shown.verdicts()] == [plain[0].least_excluding] * 2


def test_what_no_model_reads_is_not_in_the_history(app):
    app.patch({"case": 3})
    others = [item for item in range(40) if item != app.shown.target]
    app.patch({"history": (app.shown.target, *others[:19])})
    app.table("verdict")
    assert app.shown.sentence().count("the next item, one of them") == 2
    app.patch({"history": (app.shown.target, *others[:20])})  # of which the last 20 are read
    app.table("verdict")
    assert app.shown.sentence().count("the next item, which is new") == 2


def test_of_a_model_that_does_not_read_the_next_item_it_is_new(subject):
    one = subject()
    short = copy(one.recommender)
    short.max_len = 3
    app = App(Explorer([one, replace(one, name="short", recommender=short)]))
    app.patch({"case": 3})
    app.patch({"history": (app.shown.target, *(item for item in HISTORY if item != app.shown.target))})
    app.table("verdict")
    first, second = app.shown.sentence().split(" short ")
    assert "the next item, one of them" in first
    assert "the next item, which is new" in second


def test_what_is_said_to_interfere_takes_what_it_takes_where_the_model_best_copies(app):
    app.patch({"case": 3, "history": HISTORY})
    app.table("verdict")
    app.patch({"settings": [{"best": True}, {"best": True, "head": "Softmax"}]})
    table = tables.interfering(app.shown)
    assert list(table) == ["model", "item", "title", "takes"]
    assert set(table["model"]) == set(app.state.models)
    for model, prediction in zip(app.shown.models, app.shown.predicted(), strict=True):
        rows = table[table["model"] == model.name]
        p = np.exp(prediction.scores)
        np.testing.assert_allclose(rows["takes"], p[rows["item"]], rtol=0.01, atol=1e-5)
        others = np.setdiff1d(np.arange(len(p)), HISTORY)
        assert rows["takes"].is_monotonic_decreasing
        assert p[rows["item"]].min() >= np.sort(p[others])[-len(rows)] - 1e-5
        assert rows["takes"].iloc[-1] > p[list(HISTORY)].min()
        assert rows["title"].tolist() == app.shown.titles[rows["item"]].tolist()


def separated(weights, above, below):
    """Whether a state scores all items of one set above all of another: a linear program in h and a level."""
    sides = np.vstack([np.insert(-weights[above], 0, 1, axis=1), np.insert(weights[below], 0, -1, axis=1)])
    free = [(None, None)] * sides.shape[1]
    return linprog(np.zeros(sides.shape[1]), sides, np.full(len(sides), -1e-3), bounds=free).status == 0


def test_no_state_ranks_the_history_above_all_that_is_listed_of_its_model(app):
    apart = []
    for case in range(6):
        app.patch({"case": case, "history": None})
        app.table("verdict")
        table = tables.inseparable(app.shown)
        assert list(table) == ["model", "item", "title", "weight"]
        told = page.proofs(app.shown).splitlines()
        for line, (model, rows) in zip(told, table.groupby("model", sort=False), strict=True):
            assert line == f"- **{model}**, {len(rows)} items: {'; '.join(map(as_text, rows['title']))}"
        for model, verdict in zip(app.shown.models, app.shown.verdicts(), strict=True):
            listed = table[table["model"] == model.name]
            assert len(listed) == len(verdict.copying.below or {})
            if len(listed):
                weights, history = model.snapshot.item_embeddings, np.unique(app.shown.history)
                assert listed["weight"].sum() == pytest.approx(1)
                assert not separated(weights, history, listed["item"].to_numpy())
                apart.append(separated(weights, history, listed["item"].to_numpy()[: len(listed) // 2]))
    assert sum(apart) > 3  # a part of what is listed can be separated


def test_a_map_needs_two_items_and_two_dimensions(subject):
    app = App(Explorer([subject(d=1)]))
    with pytest.raises(ConfigError, match="two or more dimensions"):
        app.table("map")
    app.patch({"history": HISTORY} | moved(app, axes=(1, 0, 0)))
    assert len(app.predictions()) == 10


def test_in_csv_a_spreadsheet_takes_no_text_for_a_formula_and_numbers_stay():
    texts = ["=cmd()", "+1+1", "-2+3", "@SUM(A1)", "\tx", "\rx", " =1", "＝1", "-5", "+3.5e-4", "a=b", "x", "", None]
    table = pd.DataFrame({"=title": texts, "n": np.arange(len(texts)) - 3.5})
    header, *rows = csv.reader(io.StringIO(to_csv(table), newline=""))
    assert header == ["'=title", "n"]
    kept = ["-5", "+3.5e-4", "a=b", "x", "", ""]
    assert [row[0] for row in rows] == [f"'{text}" for text in texts[:8]] + kept
    assert [float(row[1]) for row in rows] == table["n"].tolist()


@pytest.mark.parametrize("view", tables.VIEWS)
def test_what_is_exported_has_numbers_and_names_model_case_and_user(app, view):
    app.patch({"case": 3, "history": HISTORY, "space": 1, "query": {"sort": "off", "descending": True}})
    app.patch(moved(app, 1, axes=(0.5, -1, 2), temperature=2))
    shown, names, user = app.shown, list(app.state.models), app.shown.choices.users[3]
    table = app.table(view)
    read = pd.read_csv(io.StringIO(to_csv(tables.exported(shown, view))), dtype={"user": str})
    assert len(read) == len(table)
    assert read.columns.is_unique
    if view == "cases":
        assert read["user"].tolist() == table["user"].tolist()
        for letter, name in zip("AB", names, strict=True):
            np.testing.assert_allclose(read[f"copy, {name}"], table[f"copy {letter}"])
            assert read[f"rank, {name}"].tolist() == table[f"rank {letter}"].tolist()
        return
    assert set(read["case"]) == {3}
    assert set(read["user"]) == {user}
    if view == "map":
        assert set(read["model"]) == {names[1]}
    elif view != "history":
        assert read["model"].tolist() == table["model"].tolist()
    if view == "states":
        assert read[["axis 1", "axis 2", "axis 3"]].to_numpy().tolist() == [[0, 0, 0], [0.5, -1, 2]]
        np.testing.assert_allclose(read["copy"], table["copy"])
    if view == "verdict":
        copied = [np.exp(one[[1, 3, 7]]).sum() for one in log_probs(app)]
        assert read["P(history)"][0] == pytest.approx(copied[0])
        np.testing.assert_allclose(read["lost where it should copy (nats)"][0], -np.log(copied[0]))
        np.testing.assert_allclose(read["lost where it should exclude (nats)"][0], -np.log1p(-copied[0]))
        least = [one.least_copying for one in shown.verdicts()]
        np.testing.assert_allclose(read["least where it should copy (nats)"], least)
        shares, losses = table["P(history)"], table["lost where it should copy"]
        assert shares.tolist() == [f"{share:.1%}" for share in read["P(history)"]]
        assert losses.tolist() == [f"{nats:.2f} nats" for nats in read["lost where it should copy (nats)"]]
        assert set(read["one state can copy all"]) <= {"yes", "no", "undecided"}
