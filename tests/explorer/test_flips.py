"""The smallest edit that flips a hit: what is found flips it, and what is smaller does not."""

from itertools import combinations

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import Explorer
from cprlab.explorer.flips import MOST, TRIED, flip

HEADS = ("Softmax", "Softmax + CPR:5,10 + F + Mi")


@pytest.fixture(scope="module")
def shown(subject):
    return Explorer([subject(head, name=head) for head in HEADS])


def rank(shown, place, history):
    scores = shown.models[place].recommender.log_probs([list(history)])[0]
    return int((scores >= scores[shown.target]).sum())


def removals(history, n):
    """All histories without n of their items."""
    for gone in combinations(sorted(set(history)), n):
        if left := [item for item in history if item not in gone]:
            yield left


@pytest.mark.parametrize("place", [0, 1])
def test_an_edit_flips_and_no_single_removal_does_if_it_has_more(shown, place):
    kinds = set()
    for case in range(30):
        at = shown.at(shown.state.but(case=case, k=5))
        found = flip(at, place)
        hit = rank(at, place, at.history) <= 5
        assert found.before == rank(at, place, at.history)
        assert found.after == rank(at, place, found.history)
        kinds.add((found.edit, hit))
        if not found.edit:
            assert (found.items, found.history) == ((), at.history)
            continue
        assert 1 <= len(found.items) <= MOST
        assert (found.after <= 5) != hit
        if found.edit == "removed":
            assert found.history == tuple(item for item in at.history if item not in found.items)
        else:
            assert found.history == (*at.history, *found.items)
            assert at.target not in found.items
        flipped = [left for left in removals(at.history, 1) if (rank(at, place, left) <= 5) != hit]
        assert bool(flipped) == (found.edit == "removed" and len(found.items) == 1)  # removals count first
    assert {("removed", True), ("removed", False), ("inserted", False)} <= kinds


def test_each_step_is_the_one_that_moves_the_next_item_furthest(shown):
    for case in range(30):
        at = shown.at(shown.state.but(case=case, k=3))
        found = flip(at, 1)
        hit = found.before <= 3

        def margin(history, at=at):
            scores = at.models[1].recommender.log_probs([list(history)])[0]
            others = np.sort(np.delete(scores, at.target))[::-1]
            return scores[at.target] - others[2]

        history = at.history
        for item in found.items if found.edit == "removed" else ():
            possible = [[one for one in history if one != gone] for gone in dict.fromkeys(history)]
            history = [one for one in history if one != item]
            assert margin(history) == pytest.approx((min if hit else max)(map(margin, possible)))
        if found.edit == "inserted" and len(found.items) == 1:
            best = at.models[1].predict(case, at.history, at.state.settings[1]).top(TRIED + 1)
            tried = [item for item in best if item != at.target][:TRIED]
            tried += [item for item, _ in at.models[1].near(at.target, TRIED)]
            assert margin(found.history) == pytest.approx((min if hit else max)(margin([*history, i]) for i in tried))


def test_rivals_that_only_order_are_flipped_too(counting):
    at = Explorer([counting("Recent")])
    at = at.at(at.state.but(history=(3, 7, 1), k=3, case=int(np.flatnonzero(at.choices.targets == 7)[0])))
    found = flip(at, 0)
    assert (found.edit, found.items, found.history) == ("removed", (7,), (3, 1))


def test_without_a_history_or_its_own_state_there_is_nothing_to_look_for(shown):
    setting = shown.state.settings[0]
    for changes in ({"history": ()}, {"settings": (setting.but(best=True), setting)}):
        with pytest.raises(ConfigError, match="reset the history or the state"):
            flip(shown.at(shown.state.but(**changes)), 0)
    assert flip(shown.at(shown.state.but(settings=(setting.but(best=True), setting))), 1).model == 1
