"""Cohorts against a loop over the cases, one prediction at a time, and edits against lists by hand."""

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import App, Explorer
from cprlab.explorer.cohort import AT_ONCE, cohort
from cprlab.explorer.edits import EDITS
from cprlab.explorer.model import Model
from cprlab.explorer.state import Query, Setting
from tests.explorer.conftest import moved

MOVED = [
    Setting(toward=0.4, axes=(0.5, -1, 0.2), scale=2),
    Setting(temperature=0.5),
    Setting(head="Softmax + CPR:5,10 + Mi (post)", temperature=2),
    Setting(best=True),
]


def run(steps):
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value, seen


def by_hand(model, case, history, target, setting=Setting()):
    """NDCG@10, P(history), whether it is a repeat, and the loss, of a prediction of one case alone."""
    one = model.predict(case, history, setting)
    rank = (one.scores >= one.scores[target]).sum()
    p = np.exp(one.scores)
    return (
        1 / np.log2(1 + rank) if rank <= 10 else 0,
        sum(p[item] for item in set(model.read(history).tolist())),
        float(target in model.read(history)),
        -np.log(p[target]),
    )


def numbers(table, name, column="value"):
    of_model = table[table["model"] == name].set_index("metric")[column]
    return of_model.reindex(["NDCG@10", "copy probability", "observed repeats", "log-loss"]).tolist()


def mean_of(model, pairs, targets, setting=Setting()):
    return np.mean([by_hand(model, case, history, targets[case], setting) for case, history in pairs], axis=0)


def test_edits_by_hand():
    history = (4, 2, 7, 2, 9, 2)
    expected = {
        "remove the last item": [4, 2, 7, 2, 9],
        "remove the last item wherever it is": [4, 7, 9],
        "remove the true next item": [4, 2, 2, 9, 2],
        "repeat the last item": [4, 2, 7, 2, 9, 2, 2],
        "add the true next item": [4, 2, 7, 2, 9, 2, 7],
        "keep each item once, at its last place": [4, 7, 9, 2],
        "keep the last 10 items": [4, 2, 7, 2, 9, 2],
        "reverse the order": [2, 9, 2, 7, 2, 4],
    }
    assert {name: list(edit(history, 7)) for name, edit in EDITS.items()} == expected
    assert list(EDITS["keep the last 10 items"](tuple(range(30)), 7)) == list(range(20, 30))


def test_the_cases_of_a_query_are_counted_as_one_by_one(app):
    app.patch({"query": Query(preset="next item is in the history", search="1")})
    cases = app.table("cases")["case"].tolist()
    assert 5 < len(cases) < 30
    found = app.cohort
    choices = app.shown.choices
    for model in app.shown.models:
        pairs = [(case, choices.histories[case].tolist()) for case in cases]
        assert numbers(found, model.name) == pytest.approx(mean_of(model, pairs, choices.targets))
    assert set(found["n"]) == {len(cases)}
    inside = found[found["metric"] != "observed repeats"]
    assert (inside["low"] < inside["value"]).all()
    assert (inside["value"] < inside["high"]).all()
    assert app.table("cohort").equals(found)


@pytest.mark.parametrize("place", range(len(MOVED)))
def test_models_are_counted_as_they_are_set(app, place):
    setting = MOVED[place]
    app.patch(moved(app, 1, **setting.model_dump()) | {"query": Query(preset="next item is new")})
    cases = app.table("cases")["case"].tolist()[:3]
    app.patch({"query": app.state.query.but(items=tuple(app.shown.choices.targets[cases].tolist()))})
    cases = app.table("cases")["case"].tolist()
    choices, (trained, model) = app.shown.choices, app.shown.models
    found = app.cohort
    pairs = [(case, choices.histories[case].tolist()) for case in cases]
    assert numbers(found, trained.name) == pytest.approx(mean_of(trained, pairs, choices.targets))
    assert numbers(found, model.name) == pytest.approx(mean_of(model, pairs, choices.targets, setting), rel=1e-6)


def test_what_is_known_of_a_trained_model_is_what_it_predicts(app):
    choices = app.shown.choices
    cases = list(range(30))
    for model in app.shown.models:
        computed = model.outcomes(cases, [choices.histories[case] for case in cases], Setting())
        known = model.cases[computed.columns]
        np.testing.assert_allclose(computed.to_numpy(float), known.to_numpy(float), rtol=1e-12)


def test_an_edit_of_all_is_compared_by_pairs(app):
    found = app.cohort_after("remove the true next item")
    choices = app.shown.choices
    kept = {
        case: [item for item in history.tolist() if item != choices.targets[case]]
        for case, history in enumerate(choices.histories)
    }
    assert all(kept.values())
    for model in app.shown.models:
        before = mean_of(model, enumerate(map(list, choices.histories)), choices.targets)
        after = mean_of(model, kept.items(), choices.targets)
        assert numbers(found, model.name, "before") == pytest.approx(before)
        assert numbers(found, model.name, "after") == pytest.approx(after)
        assert numbers(found, model.name) == pytest.approx(after - before)
        assert numbers(found, model.name, "after")[2] == 0
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()
    app.patch({"edit": "remove the true next item"})
    assert app.table("cohort").equals(found)


def test_what_an_edit_leaves_alone_is_not_predicted_again_and_what_it_empties_is_left_out(app):
    choices = app.shown.choices
    lengths = np.array([len(history) for history in choices.histories])
    short = int(lengths.min())
    found, steps = run(cohort(app.shown, lambda history, target: [] if len(history) == short else history[-9:]))
    kept, changed = (lengths > short).sum(), (lengths > max(9, short)).sum()
    assert 0 < kept < 30
    assert 0 < changed < kept
    assert (len(found.before[0]), found.changed, found.left_out) == (kept, changed, 30 - kept)
    assert steps[-1] == (2 * changed, 2 * changed)
    assert found.users == kept
    nothing, steps = run(cohort(app.shown, lambda history, target: []))
    assert (nothing.left_out, steps, len(nothing.table())) == (30, [], 0)


def test_long_work_is_in_steps(app, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.cohort.AT_ONCE", 7)
    whole, steps = run(cohort(app.shown, EDITS["reverse the order"]))
    assert len(steps) == 2 * -(-whole.changed // 7)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    monkeypatch.setattr("cprlab.explorer.cohort.AT_ONCE", AT_ONCE)
    np.testing.assert_allclose(app.cohort_after("reverse the order")["after"], whole.table()["after"], rtol=1e-12)


def test_a_user_counts_once(subject, monkeypatch):
    app = App(Explorer([subject()]))
    users = np.array(["u1"] * 28 + ["u2", "u3"], dtype=object)
    monkeypatch.setattr(app.shown.choices, "users", users)
    found = app.cohort.set_index("metric")
    losses = app.shown.models[0].cases["log_loss"].to_numpy()
    assert found.loc["log-loss", "value"] == pytest.approx(np.mean([losses[:28].mean(), *losses[28:]]))
    assert found.loc["log-loss", "n"] == 3
    assert set(app.cohort_after("reverse the order")["verdict"]) == {"too few users to tell"}


def test_of_models_that_count_or_rule_out_there_are_no_losses(subject, counting, foreign):
    app = App(Explorer([counting("Recent"), subject("Softmax (post)"), foreign()]))
    found = app.cohort.groupby("model")["metric"].agg(list)
    assert found["Recent"] == ["NDCG@10", "observed repeats"]
    assert found["Softmax (post), seed 0"] == ["NDCG@10", "copy probability", "observed repeats"]
    assert "log-loss" in found["foreign"]
    after = app.cohort_after("reverse the order")
    of_foreign = after[after["model"] == "foreign"].set_index("metric")
    assert of_foreign.loc["log-loss", "value"] == pytest.approx(0, abs=1e-12)  # it has no encoder


def test_an_edit_that_does_not_exist_is_refused(app):
    with pytest.raises(ConfigError, match=r"no edit 'remove the last' ?: did you mean 'remove the last item'"):
        app.cohort_after("remove the last")
    with pytest.raises(ConfigError, match="no edit 'reverse'"):
        app.patch({"edit": "reverse"})
    with pytest.raises(ConfigError, match="item outside 0"):
        app.cohort_after(lambda history, target: (*history, 40))
    with pytest.raises(ConfigError, match="There is no item 40"):
        app.patch({"query": Query(items=(40,))})


def test_cases_with_one_of_some_items_are_found(app):
    choices = app.shown.choices
    found = app.shown.at(app.state.but(query=Query(items=(3, 17)))).choices.find(Query(items=(3, 17)))["case"].tolist()
    expected = [case for case in range(30) if {3, 17} & {*choices.histories[case].tolist(), int(choices.targets[case])}]
    assert found == expected
    assert 0 < len(found) < 30


def test_a_case_is_reached_by_its_number_or_its_user(app):
    users = app.shown.choices.users
    app.patch({"query": Query(sort="rank A", descending=True, page=3)})
    for text, case in (("7", 7), (f" {users[12]} ", 12), (f"user {users[3]}", 3)):
        app.go(text)
        assert app.state.case == case
        assert app.state.query.page == 0
    for text in ("30", "nobody", "", "user"):
        with pytest.raises(ConfigError, match=r"give a number from 0 to 29, or a user's whole id\."):
            app.go(text)


def test_the_page_of_the_table_with_the_case_is_shown(app, monkeypatch):
    monkeypatch.setattr("cprlab.explorer.choices.SHOWN", 4)
    app.patch({"query": Query(sort="rank A", preset="next item is new")})
    order = app.table("cases")["case"].tolist()
    for place in (0, 3, 4, len(order) - 1):
        app.go(str(order[place]))
        assert app.state.query.page == place // 4
    absent = next(case for case in range(30) if case not in order)
    app.go(str(absent))
    assert (app.state.case, app.state.query.page) == (absent, 0)


def test_a_history_of_several_cases_is_read_once(subject, foreign, monkeypatch):
    for one in (subject("Softmax + CPR:5,10 + Mi"), foreign()):
        model = Model(one)
        cases, histories = [4, 5, 6, 4, 7], [[1, 2], [1, 2], [3], [1, 2], [1, 2]]
        read = []
        monkeypatch.setattr(model, "_moved", lambda *row, read=read, model=model: read.append(row[1:3]) or row[0])
        found = model.outcomes(cases, histories, Setting())
        assert len(read) == (2 if one.recommender else 4)  # recorded states are of a case
        monkeypatch.undo()
        for place, (case, history) in enumerate(zip(cases, histories, strict=True)):
            expected = by_hand(model, case, history, model.held_out.targets[case])
            assert found["log_loss"][place] == pytest.approx(expected[3])
            assert found["copy_probability"][place] == pytest.approx(expected[1])


def test_batches_read_what_single_predictions_read(subject):
    """Histories longer than the model reads, and of different lengths."""
    model = Model(subject("Softmax + CPR:5,10 + Mi"))
    histories = [[1, 2], list(range(40)), [5] * 25 + [6]]
    found = model.outcomes([0, 1, 2], histories, Setting(scale=1.5))
    for place, history in enumerate(histories):
        target = model.held_out.targets[place]
        ndcg, copied, repeat, loss = by_hand(model, place, history, target, Setting(scale=1.5))
        row = found.iloc[place]
        assert (row["copy_probability"], row["log_loss"]) == pytest.approx((copied, loss))
        assert row["repeat"] == repeat
        assert (1 / np.log2(1 + row["rank"]) if row["rank"] <= 10 else 0) == pytest.approx(ndcg)
