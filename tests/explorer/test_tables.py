"""What each view of an Explorer shows, as a table, and the selection."""

import csv
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer
from cprlab.explorer.tables import to_csv
from cprlab.explorer.verdict import COLUMNS
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
    with pytest.raises(ConfigError, match="no view 'maps'; the views are cases, history"):
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
    assert app.shown.sentence().count("The next item is") == 2
    app.patch(moved(app, 0, toward=1, temperature=3))
    assert app.shown.verdicts() == plain  # known already
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
    assert app.shown.sentence().count("The next item is in the history") == 2
    app.patch({"history": (app.shown.target, *others[:20])})  # of which the last 20 are read
    app.table("verdict")
    assert app.shown.sentence().count("The next item is new") == 2


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
