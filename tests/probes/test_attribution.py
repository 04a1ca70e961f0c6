"""Attribution against the equations by hand, and leave-one-out against shortened histories."""

import sys

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.probes import attribution, leave_one_out
from tests.models.test_recommender import N_ITEMS, build

HEADS = ["Softmax", "Softmax + CPR:3,8", "MoS:2 + CPR:8", "MoS:3 dynamic + CP", "Softmax + CP (post)", "RepeatNet"]
HISTORIES = [[1, 2, 1, 7], [3], [4, 5, 6, 7, 5], [9] * 3 + [8]]
TARGETS, USERS = [2, 0, 29, 8], [0, 1, 2, 1]


def rank(scores, item):
    return sum(score >= scores[item] for score in scores)


@pytest.mark.parametrize("at_once", [1, 2 * N_ITEMS, 2**18])
@pytest.mark.parametrize("head", HEADS)
def test_rows_are_the_parts_of_the_prediction(head, at_once, monkeypatch):
    monkeypatch.setattr(sys.modules["cprlab.probes.attribution"], "LOGITS_AT_ONCE", at_once)
    recommender = build(head, "MF" if head == "MoS:2 + CPR:8" else "GRU4Rec")
    parts, scores = recommender.parts(HISTORIES, USERS), recommender.log_probs(HISTORIES, users=USERS)
    table = attribution(recommender, HISTORIES, 4, USERS, TARGETS)
    rows = iter(table.itertuples())
    for case, (history, target) in enumerate(zip(HISTORIES, TARGETS, strict=True)):
        best = sorted(range(N_ITEMS), key=lambda item: -scores[case, item])[:4]
        items = sorted({*best, *history, target}, key=lambda item: (-scores[case, item], item))
        for item in items:
            for place, component in enumerate(parts.components):
                for stage, name in enumerate(component.names):
                    row, before = next(rows), component.logits[stage - 1, case]
                    assert (row.case, row.item, row.component, row.partition) == (case, item, place + 1, name)
                    assert (row.in_history, row.is_target) == (item in history, item == target)
                    assert row.rank == rank(scores[case], item)
                    assert row.owner == (component.owner[case, item] == name)
                    assert row.rank_after == rank(component.logits[stage, case], item)
                    np.testing.assert_allclose(row.log_prob, scores[case, item], rtol=0, atol=1e-12)
                    after = component.logits[stage, case, item]
                    weight = np.nan if parts.weights is None else parts.weights[case, place]
                    np.testing.assert_allclose(row.weight, weight, rtol=1e-9)
                    if stage:
                        assert row.rank_before == rank(before, item)
                        np.testing.assert_allclose(row.logit_before, before[item], rtol=0, atol=1e-12)
                    else:
                        assert np.isnan(row.rank_before)
                        assert row.logit_before == 0
                    np.testing.assert_allclose(row.logit_before + row.logit_change, after, rtol=0, atol=1e-12)
    assert next(rows, None) is None


def test_what_the_vocabulary_and_then_the_context_do_by_hand():
    recommender, history = build("Softmax + C"), [1, 2, 1, 7]
    items, at, _ = recommender.collate([history])
    facets = {name: facet[0, 0].detach().numpy() for name, facet in recommender(items, at).items()}
    weight = recommender.embedding.weight.detach().numpy()[:N_ITEMS]
    vocabulary, after = weight @ facets["V"], weight @ facets["V"]
    after[[1, 2, 7]] = weight[[1, 2, 7]] @ facets["C"]
    table = attribution(recommender, [history], N_ITEMS).set_index(["item", "partition"])
    assert not table["is_target"].any()
    for item in range(N_ITEMS):
        v, c = table.loc[(item, "V")], table.loc[(item, "C")]
        np.testing.assert_allclose(v.logit_change, vocabulary[item], rtol=0, atol=1e-12)
        np.testing.assert_allclose(c.logit_change, after[item] - vocabulary[item], rtol=0, atol=1e-12)
        assert (v.rank_after, c.rank_before, c.rank_after) == (rank(vocabulary, item),) * 2 + (rank(after, item),)
        assert (v.owner, c.owner) == (item not in history, item in history)
        assert v["rank"] == c["rank"] == rank(after, item)


def test_of_a_long_history_the_items_read_are_attributed():
    recommender, history = build("Softmax + C"), [29, 28, *range(12)]  # 12 are read
    table = attribution(recommender, [history], 1)
    assert set(table["item"][table["in_history"]]) == set(range(12))
    table = leave_one_out(recommender, [history], [3])
    assert table["position"].tolist() == list(range(2, 14))
    assert table["item"].tolist() == history[2:]


@pytest.mark.parametrize("head", HEADS)
def test_leave_one_out_is_what_shortened_histories_give(head):
    recommender = build(head, "MF" if head == "MoS:2 + CPR:8" else "GRU4Rec")
    table = leave_one_out(recommender, HISTORIES, TARGETS, USERS)
    expected = [(case, place) for case, history in enumerate(HISTORIES) for place in range(len(history)) if case != 1]
    assert list(zip(table["case"], table["position"], strict=True)) == expected
    for row in table.itertuples():
        history, target, user = HISTORIES[row.case], TARGETS[row.case], [USERS[row.case]]
        without = history[: row.position] + history[row.position + 1 :]
        whole, shortened = (recommender.log_probs([one], users=user)[0] for one in (history, without))
        assert row.item == history[row.position]
        change = sum(np.exp(shortened[item]) - np.exp(whole[item]) for item in set(history))
        np.testing.assert_allclose(row.copy_change, change, rtol=0, atol=1e-12)
        with np.errstate(invalid="ignore"):  # under (post) both may be −inf
            np.testing.assert_allclose(row.target_change, shortened[target] - whole[target], rtol=0, atol=1e-12)
    again = leave_one_out(recommender, HISTORIES, users=USERS)
    assert again["target_change"].isna().all()
    np.testing.assert_array_equal(again["copy_change"], table["copy_change"])


def test_a_history_of_one_item_has_no_rows():
    table = leave_one_out(build("Softmax"), [[3]], [4])
    assert table.empty
    assert list(table) == ["case", "position", "item", "copy_change", "target_change"]


@pytest.mark.parametrize("probe", [attribution, leave_one_out])
def test_unusable_questions_are_refused_in_a_sentence(probe):
    recommender = build("Softmax")
    for histories, targets, says in (
        ([], None, "There is no history"),
        ([[1]] * 99 + [[30]], None, "History 99 contains an item outside"),
        ([[1], [2]], [1], "one target, an item code, for each of the 2"),
        ([[1]], [0.5], "one target, an item code"),
        ([[1]], [30], "A target is outside 0 … 29"),
    ):
        with pytest.raises(ConfigError, match=says):
            probe(recommender, histories, targets=targets)
    for k in (0, 31, 2.5):
        with pytest.raises(ConfigError, match=f"k = {k} is not possible"):
            attribution(recommender, [[1]], k)  # type: ignore[arg-type]
