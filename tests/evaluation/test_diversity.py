"""Diversity against loops, closed forms and simulated coverage of the intervals."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from cprlab.evaluation import diversity
from cprlab.evaluation.diversity import (
    Lists,
    _jackknife,
    _of_all,
    coverage,
    gini,
    information,
    intra_list_distance,
    recommended,
    taken,
    takers,
)
from cprlab.models import GRU4RecConfig, MFConfig, Recommender, parse_head


def of_users(sequences):
    return [sequences.items[a:b].tolist() for a, b in itertools.pairwise(sequences.offsets)]


@pytest.fixture(scope="module")
def recommenders(sequences):
    torch.manual_seed(0)
    made = [Recommender(GRU4RecConfig(d=8, hidden=8), parse_head("Softmax"), sequences.n_items) for _ in range(2)]
    made.append(Recommender(MFConfig(d=8), parse_head("Softmax + C"), sequences.n_items, n_users=sequences.n_users))
    with torch.no_grad():
        for recommender in made:
            recommender.embedding.weight[:-1].normal_()
    return made


@pytest.fixture(scope="module")
def lists(recommenders, sequences):
    return {"GRU4Rec": recommended(recommenders[:2], sequences), "MF": recommended(recommenders[2:], sequences)}


def test_the_recommended_are_the_likeliest_and_repeats_are_those_read(recommenders, lists, sequences):
    for seed, recommender in enumerate(recommenders[:2]):
        for user, items in enumerate(of_users(sequences)):
            read = items[:-1][-sequences.max_len :]
            scores = recommender.log_probs([read])[0]
            best = sorted(range(sequences.n_items), key=lambda item: -scores[item])[:10]
            assert lists["GRU4Rec"].items[seed, user].tolist() == best
            assert lists["GRU4Rec"].repeats[seed, user].tolist() == [item in read for item in best]
    assert 0 < lists["MF"].repeats.mean() < 1


def test_the_taken_are_the_last_different_ones_and_repeats_those_read_before(sequences):
    found = taken(sequences, k=4)
    lengths = set()
    for user, items in enumerate(of_users(sequences)):
        held, place = [], len(items)
        while len(held) < 4 and place - 1 >= (len(items) + 1) // 2:
            place -= 1
            if items[place] not in held:
                held.append(items[place])
        while items[place] in held and items[place] in items[place + 1 :]:  # looked at in vain, so it was before
            place += 1
        read = items[max(0, place - sequences.max_len) : place]
        assert found.items[0, user].tolist() == held + [-1] * (4 - len(held))
        assert found.repeats[0, user].tolist() == [item in read for item in held] + [False] * (4 - len(held))
        lengths.add(len(held))
    assert len(lengths) > 1
    assert 0.1 < found.repeats.mean() < 0.9


def test_takers_are_those_of_the_training_part(sequences):
    took = np.zeros((sequences.n_items, sequences.n_users))
    for user, items in enumerate(of_users(sequences)):
        took[items[:-2], user] = 1
    np.testing.assert_array_equal(takers(sequences).toarray(), took)


def test_the_distance_in_a_list_is_the_mean_over_pairs_of_who_else_took_both(lists, sequences):
    took = takers(sequences)
    items = lists["GRU4Rec"].items.copy()
    items[0, :, 4:] = -1
    items[1, 0, 1:] = -1
    found = intra_list_distance(items, took)
    dense = took.toarray()
    for seed, user in np.ndindex(found.shape):
        others = np.delete(dense, user, axis=1)
        distances = []
        for a, b in itertools.combinations(items[seed, user][items[seed, user] >= 0], 2):
            norms = np.linalg.norm(others[a]) * np.linalg.norm(others[b])
            distances.append(1 - others[a] @ others[b] / norms if norms else 1)
        assert found[seed, user] == pytest.approx(np.mean(distances) if distances else math.nan, nan_ok=True)
    assert math.isnan(found[1, 0])
    assert np.nanstd(found) > 0.001


def test_items_of_the_same_others_are_at_no_distance_and_those_of_nobody_else_at_one():
    took = sparse.csr_array(np.array([[1.0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]]))
    items = np.array([[[0, 1], [0, 1], [2, 3]]])
    assert intra_list_distance(items, took).tolist() == [[pytest.approx(0), pytest.approx(0), 1]]


def test_an_item_that_nobody_took_in_training_is_the_most_novel(sequences):
    items, last = sequences.items.copy(), sequences.offsets[1] - 1
    items[last] = sequences.n_items
    ids, titles = np.append(sequences.item_ids, -1), np.append(sequences.titles, "held out")
    other = replace(sequences, items=items, item_ids=ids, titles=titles)
    bits = information(other)
    assert bits[-1] == bits.max() == pytest.approx(math.log2(other.training_counts().sum() + other.n_items))
    assert (2.0**-bits).sum() == pytest.approx(1)


def test_gini_and_coverage_in_closed_form():
    n = 7
    assert gini(np.full(n, 3)) == pytest.approx(0)
    assert gini(np.zeros(n)) == 0
    assert gini(np.eye(n)[2] * 9) == pytest.approx(1 - 1 / n)
    assert gini(np.arange(1, n + 1)) == pytest.approx((n * n - 1) / (3 * n * (n + 1)))  # Σ (2i − n − 1) i = n(n² − 1)/6
    uneven = np.random.default_rng(0).integers(0, 9, n)
    differences = np.abs(uneven[:, None] - uneven).mean()
    assert gini(uneven) == pytest.approx(differences / (2 * uneven.mean()))  # half the relative mean difference
    assert coverage(np.array([0, 2, 1, 0])) == 0.5


def test_the_table_is_what_loops_find(lists, sequences):
    bits = information(sequences)
    table = diversity(lists, sequences).set_index(["lists", "metric"])
    for name, of_name in lists.items():
        exposures = [np.bincount(items.ravel(), minlength=sequences.n_items) for items in of_name.items]
        expected = {
            "repeats": of_name.repeats.mean(),
            "novelty": np.mean([bits[item] for item in of_name.items.ravel()]),
            "intra-list distance": intra_list_distance(of_name.items, takers(sequences)).mean(),
            "coverage": np.mean([len(set(items.ravel().tolist())) / sequences.n_items for items in of_name.items]),
            "Gini of exposure": np.mean([gini(exposure) for exposure in exposures]),
        }
        assert table.loc[name]["value"].to_dict() == pytest.approx(expected)
    assert (table["against"] == "").all()
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_differences_are_paired(lists, sequences):
    first = lists["MF"]
    shifted = Lists(first.items, np.zeros_like(first.repeats))
    table = diversity({"a": first, "b": shifted}, sequences, ("", "a")).set_index(["against", "lists", "metric"])
    assert set(table.loc["a"].index.get_level_values("lists")) == {"b"}
    alike = table.loc["a", "b"].drop("repeats")
    assert not alike[["value", "low", "high"]].to_numpy().any()
    row, of_b = table.loc[("", "a", "repeats")], table.loc[("a", "b", "repeats")]
    assert of_b[["value", "low", "high"]].tolist() == pytest.approx([-row.value, -row.high, -row.low])


def test_short_lists_count_what_they_hold(sequences):
    items = np.full((1, sequences.n_users, 3), -1)
    items[0, :, 0] = 5
    table = diversity({"one": Lists(items, items == 5)}, sequences).set_index("metric")
    assert table["value"]["repeats"] == 1
    assert table["value"]["coverage"] == 1 / sequences.n_items
    assert table["value"]["novelty"] == pytest.approx(information(sequences)[5])
    assert "intra-list distance" not in table.index


def test_intervals_of_coverage_and_gini_hold_what_other_users_give_on_average():
    """Two heads with lists drawn from known laws: the truth is the mean over many draws of as many users."""
    rng, n_items = np.random.default_rng(0), 200
    laws = [np.log(1 / np.arange(1, n_items + 1) ** power) for power in (0.7, 1.1)]

    def measured(law):
        items = np.argsort(-(law + rng.gumbel(size=(60, n_items))), axis=1)[None, :, :5]
        return _of_all(items, n_items)

    drawn = [[measured(law) for law in laws] for _ in range(200)]
    for metric in ("coverage", "Gini of exposure"):
        for values in ([a[metric] for a, _ in drawn], [a[metric] - b[metric] for a, b in drawn]):
            rows = np.array([_jackknife(of_draw) for of_draw in values])
            value, low, high = rows.T
            assert np.mean((low <= value.mean()) & (value.mean() <= high)) >= 0.93
            assert 0.9 <= np.mean(high - low) / (2 * 2.01 * value.std()) <= 1.6
