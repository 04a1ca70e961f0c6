"""Diversity against loops, closed forms and simulated coverage of the intervals."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cprlab.data import Sequences
from cprlab.errors import DataError
from cprlab.evaluation import diversity
from cprlab.evaluation.diversity import (
    Lists,
    coverage,
    gini,
    information,
    intra_list_distance,
    item_vectors,
    recommended,
    taken,
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


def test_item_vectors_are_those_of_the_svd_of_who_took_what_in_training(sequences):
    took = np.zeros((sequences.n_items, sequences.n_users))
    for user, items in enumerate(of_users(sequences)):
        took[items[:-2], user] = 1
    u, s, _ = np.linalg.svd(took, full_matrices=False)
    expected = u[:, :8] * s[:8]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = item_vectors(sequences, d=8)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-8)


def test_an_item_only_held_out_has_no_direction(sequences):
    items, last = sequences.items.copy(), sequences.offsets[1] - 1
    items[last] = sequences.n_items
    other = replace(
        sequences,
        items=items,
        item_ids=np.append(sequences.item_ids, -1),
        titles=np.append(sequences.titles, "held out"),
    )
    assert not item_vectors(other)[-1].any()
    assert np.linalg.norm(item_vectors(other)[:-1], axis=1) == pytest.approx(1)
    assert information(other)[-1] == pytest.approx(math.log2(other.training_counts().sum() + other.n_items))


def test_a_log_of_one_user_is_refused():
    one = Sequences.pack(
        np.arange(5, dtype=np.int32), np.array([5]), np.array(["u"]), np.arange(5), np.array(list("abcde")),
        max_len=5, name="lonely", notes=(),
    )  # fmt: skip
    with pytest.raises(DataError, match="lonely: vectors of items take two users"):
        item_vectors(one)


def test_the_distance_in_a_list_is_the_mean_over_its_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[3] = 0
    items = np.array([[0, 1, 3, 7], [5, 6, -1, -1], [9, 8, 2, -1], [4, -1, -1, -1]])
    found = intra_list_distance(items, vectors)
    for row, of_row in zip(items[:3], found[:3], strict=True):
        pairs = itertools.combinations(row[row >= 0], 2)
        assert of_row == pytest.approx(np.mean([1 - vectors[a] @ vectors[b] for a, b in pairs]))
    assert math.isnan(found[3])
    assert intra_list_distance(np.array([0, 1]), np.eye(2)) == 1
    assert intra_list_distance(np.array([0, 1, 2]), np.ones((3, 1))) == 0


def test_gini_and_coverage_in_closed_form():
    n = 7
    assert gini(np.full(n, 3)) == pytest.approx(0)
    assert gini(np.eye(n)[2] * 9) == pytest.approx(1 - 1 / n)
    assert gini(np.arange(1, n + 1)) == pytest.approx((n * n - 1) / (3 * n * (n + 1)))  # Σ (2i − n − 1) i = n(n² − 1)/6
    uneven = np.random.default_rng(0).integers(0, 9, n)
    differences = np.abs(uneven[:, None] - uneven).mean()
    assert gini(uneven) == pytest.approx(differences / (2 * uneven.mean()))  # half the relative mean difference
    assert coverage(np.array([0, 2, 1, 0])) == 0.5


def test_the_table_is_what_loops_find(lists, sequences):
    vectors, bits = item_vectors(sequences, d=8), information(sequences)
    table = diversity(lists, sequences, vectors).set_index(["lists", "metric"])
    for name, of_name in lists.items():
        exposures = [np.bincount(items.ravel(), minlength=sequences.n_items) for items in of_name.items]
        expected = {
            "repeats": of_name.repeats.mean(),
            "novelty": np.mean([bits[item] for item in of_name.items.ravel()]),
            "intra-list distance": intra_list_distance(of_name.items, vectors).mean(),
            "coverage": np.mean([len(set(items.ravel().tolist())) / sequences.n_items for items in of_name.items]),
            "Gini of exposure": np.mean([gini(exposure) for exposure in exposures]),
        }
        assert table.loc[name]["value"].to_dict() == pytest.approx(expected)
        assert (table["low"] < table["value"]).all()
        assert (table["value"] < table["high"]).all()
    assert 2 ** bits.mean() > sequences.n_items / 4  # bits, near log₂ n for items about as popular


def test_differences_are_paired(lists, sequences):
    vectors = item_vectors(sequences, d=8)
    first = lists["MF"]
    shifted = Lists(first.items, np.zeros_like(first.repeats))
    values = diversity({"a": first, "b": shifted}, sequences, vectors).set_index(["lists", "metric"])
    table = diversity({"a": first, "b": shifted}, sequences, vectors, against="a").set_index("metric")
    assert set(table["lists"]) == {"b"}
    alike = table.drop("repeats")
    assert not alike[["value", "low", "high"]].to_numpy().any()
    row = values.loc["a", "repeats"]
    assert table.loc["repeats", ["value", "low", "high"]].tolist() == pytest.approx([-row.value, -row.high, -row.low])


def test_short_lists_count_what_they_hold(sequences):
    items = np.full((1, sequences.n_users, 3), -1)
    items[0, :, 0] = 5
    table = diversity({"one": Lists(items, items == 5)}, sequences, np.eye(sequences.n_items)).set_index("metric")
    assert table["value"]["repeats"] == 1
    assert table["value"]["coverage"] == 1 / sequences.n_items
    assert table["value"]["novelty"] == pytest.approx(information(sequences)[5])
    assert "intra-list distance" not in table.index


def test_intervals_of_coverage_and_gini_hold_what_other_users_give_on_average(sequences, monkeypatch):
    """Two heads with lists drawn from known laws: the truth is the mean over many draws of as many users."""
    monkeypatch.setattr("cprlab.evaluation.tables.RESAMPLES", 2)  # of the other metrics, which are not looked at
    rng, n_users = np.random.default_rng(0), 60
    n_items = 200
    laws = [np.log(1 / np.arange(1, n_items + 1) ** power) for power in (0.7, 1.1)]
    some = replace(
        sequences,
        items=np.tile(np.arange(n_items, dtype=np.int32), 2),
        offsets=np.linspace(0, 2 * n_items, n_users + 1).astype(np.int64),
        item_ids=np.arange(n_items),
    )

    def draw(law):
        items = np.argsort(-(law + rng.gumbel(size=(n_users, n_items))), axis=1)[None, :, :5]
        return Lists(items, items < 0)

    drawn = [{"a": draw(laws[0]), "b": draw(laws[1])} for _ in range(90)]
    for against in ("", "b"):
        tables = [diversity(lists, some, np.zeros((n_items, 1)), against) for lists in drawn]
        for metric in ("coverage", "Gini of exposure"):
            rows = [table[(table["lists"] == "a") & (table["metric"] == metric)].iloc[0] for table in tables]
            truth = np.mean([row.value for row in rows])
            held = np.mean([row.low <= truth <= row.high for row in rows])
            width = np.mean([row.high - row.low for row in rows]) / (2 * 2.01 * np.std([row.value for row in rows]))
            assert held >= 0.92, (metric, against, held)
            assert 0.9 <= width <= 1.6, (metric, against, width)
