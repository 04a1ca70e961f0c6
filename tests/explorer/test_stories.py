"""Stories: what each is found by, and that its numbers are those of the state that it sets."""

import json
import re

import numpy as np
import pytest

from cprlab.explorer import Explorer, payload
from cprlab.explorer.state import Setting
from cprlab.explorer.stories import TIMES, found
from cprlab.probes import separable
from tests.explorer.test_widget import Page, only

CPR = "Softmax + CPR:5,10 + F + Mi"
REPEATED, APART, COPIED, UNCOPYABLE = (
    "One item, 50 times",
    "Two items far apart",
    "New, but it copies",
    "No state can copy",
)


def stories(shown):
    return {story.label: story for story in found(shown) if story}


@pytest.fixture(scope="module")
def shown(subject):
    return Explorer([subject("Softmax", name="plain"), subject(CPR, name="parted")])


@pytest.fixture(scope="module")
def told(shown):
    return stories(shown)


def percents(text):
    return re.findall(r"< 0\.01%|\d+\.\d+%", text)


def percent(p):
    return "< 0.01%" if p < 1e-4 else f"{p:.2%}" if p < 0.01 else f"{p:.1%}"


def test_each_story_sets_a_state_in_which_its_numbers_are_shown(shown, told):
    assert set(told) == {REPEATED, APART, COPIED, UNCOPYABLE, "What R does", "What F adds"}
    for story in told.values():
        at = shown.at(shown.state.patched(story.set))
        predictions = [one for one in (*at.predicted(), *at.pinned()) if one]
        known = {percent(p) for one in predictions for p in (*np.exp(one.scores), one.copy)}
        assert len(percents(story.text)) >= 2, story.label
        assert set(percents(story.text)) <= known, story.label
        ranks = set(map(int, re.findall(r"rank (\d+)", story.text)))
        assert ranks <= {int(one.ranks([at.target])[0]) for one in predictions}
        assert at.state.settings == shown.at(shown.state.patched({})).state.settings or story.label == APART


def test_the_repeated_item_is_the_one_on_which_the_models_differ_most(shown, told):
    items = np.unique(shown.choices.targets)
    p = np.array(
        [[np.exp(model.recommender.log_probs([[item] * TIMES])[0, item]) for item in items] for model in shown.models]
    )
    best = items[np.abs(p[0] - p[1]).argmax()]
    history = told[REPEATED].set["history"]
    assert tuple(history) == (best,) * TIMES
    for model in shown.models:
        given = np.exp(model.recommender.log_probs([list(history)])[0])
        assert f"{model.name} gives it {percent(given[best])}, and " in told[REPEATED].text


def test_between_two_items_far_apart_another_one_interferes(shown, told):
    at = shown.at(shown.state.patched(told[APART].set))
    model, (one, other) = at.models[0], at.history
    weights = model.snapshot.item_embeddings
    setting = at.state.settings[0]
    np.testing.assert_allclose(at.predicted()[0].states["V"], setting.scale * weights[[one, other]].mean(0))
    logits = weights @ at.predicted()[0].states["V"]
    cosines = [
        weights @ weights[i] / np.linalg.norm(weights, axis=1) / np.linalg.norm(weights[i]) for i in (one, other)
    ]
    between = [i for i in range(len(weights)) if min(cosines[0][i], cosines[1][i]) > cosines[0][other] + 1e-9]
    between = [i for i in between if i not in (one, other)]
    rival = max(between, key=lambda i: logits[i])
    assert logits[rival] > logits[[one, other]].min()
    p = np.exp(logits) / np.exp(logits).sum()
    assert f"“{at.titles[rival]}”, which is closer to both, gets {percent(p[rival])}" in told[APART].text
    assert f"the two together get {percent(p[[one, other]].sum())}" in told[APART].text
    assert at.state.settings[1] == Setting()


def test_the_wrong_copy_is_the_one_with_the_largest_gap(shown, told):
    table = shown.choices.table[~shown.choices.table["repeat"].astype(bool)]
    case = told[COPIED].set["case"]
    assert (table["copy A"] - table["copy B"]).abs().idxmax() == case
    assert f"{percent(table.loc[case, ['copy A', 'copy B']].max())} to the items" in told[COPIED].text


def test_no_shorter_history_has_a_proof_that_it_cannot_be_copied(shown, told):
    snapshot, case = shown.models[0].snapshot, told[UNCOPYABLE].set["case"]
    outcomes = [one.outcome for one in separable(snapshot, snapshot.distinct)]
    sizes = [len(one) for one in snapshot.distinct]
    repeat = shown.choices.table["repeat"].astype(bool)
    fitting = [i for i, outcome in enumerate(outcomes) if outcome == "no" and repeat[i] and sizes[i] > 1]
    assert case in fitting
    assert sizes[case] == min(sizes[i] for i in fitting)
    assert f"these {sizes[case]} different items" in told[UNCOPYABLE].text


@pytest.mark.parametrize(("label", "part"), [("What R does", "rerank"), ("What F adds", "frequency")])
def test_a_part_is_shown_where_the_next_item_gains_most_by_it(shown, told, label, part):
    story = told[label]
    at = shown.at(shown.state.patched(story.set))
    gains = []
    for case in range(len(shown.choices.targets)):
        of_case = shown.at(shown.state.but(case=case, history=None))
        without = of_case.switched(1, **{part: () if part == "rerank" else False})
        has, lacks = (one.predicted()[1].scores[of_case.target] for one in (of_case, of_case.at(without)))
        gains.append(has - lacks)
    assert at.state.case == int(np.argmax(gains))
    assert at.pinned()[1].scores[at.target] == pytest.approx(at.predicted()[1].scores[at.target] - max(gains))
    assert not getattr(at.at(at.state.but(settings=at.state.pinned.settings)).heads()[1], part)


def test_stories_that_do_not_apply_are_left_out(subject, counting, foreign):
    assert set(stories(Explorer([subject("Softmax")]))) == {APART, COPIED, UNCOPYABLE}
    assert set(stories(Explorer([subject("Softmax + C")]))) <= {COPIED}
    assert stories(Explorer([counting("Recent"), counting("Popular")])) == {}
    assert set(stories(Explorer([counting("Recent"), counting("Counts")]))) <= {COPIED}
    assert REPEATED in stories(Explorer([counting("Counts"), subject("Softmax")]))
    assert set(stories(Explorer([foreign(), counting("Counts")]))) <= {COPIED}
    assert stories(Explorer([subject("Softmax + CPR:5 + F (post)")])) != {}


def test_a_live_explorer_looks_for_them_when_idle_and_tells_them_again(subject):
    subjects = [subject("Softmax", name="plain"), subject(CPR, name="parted")]
    page = Page(subjects)
    assert only(page.say(type="hello"), "stories")["stories"] == []
    page.set(history=[3, 4])  # what is shown does not change what is found
    answers = [one for one in page.work() if one["type"] == "stories"]
    expected = json.loads(json.dumps(payload.stories(list(stories(Explorer(subjects)).values()))))
    assert [len(one["stories"]) for one in answers] == [1, 2, 3, 4, 5, 6]
    assert answers[-1] == expected == only(page.say(type="hello"), "stories")
