import time

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

from cprlab.errors import ConfigError
from cprlab.probes import Snapshot, argmaxable, capacity, copyable, separable, separable_share


def make(n=300, d=8, m=60, sizes=(1, 5), biased=False, seed=0):
    rng = np.random.default_rng(seed)
    sets = [rng.choice(n, size, replace=False) for size in rng.integers(sizes[0], sizes[1], m)]
    weight, bias = rng.normal(size=(n, d)), rng.normal(size=n) if biased else None
    return Snapshot(weight, rng.normal(size=(m, d)), sets, rng.integers(0, n, m), bias)


def highest_margin(weight, bias, above, below):
    """The largest t with w · h + b τ ≥ c + t on one side and ≤ c − t on the other, |h| ≤ 1, 0 ≤ τ ≤ 1, by HiGHS."""
    d = weight.shape[1]
    sides = [(above, -1.0), (below, 1.0)]
    rows = [
        np.column_stack([sign * weight[items], sign * bias[items], -sign * np.ones(len(items)), np.ones(len(items))])
        for items, sign in sides
    ]
    matrix = np.concatenate(rows)
    bounds = [(-1, 1)] * d + [(0, 1), (None, None), (None, 1)]
    return -linprog(np.append(np.zeros(d + 2), -1.0), matrix, np.zeros(len(matrix)), bounds=bounds).fun


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_a_linear_program_and_their_proofs_hold(biased, seed):
    snapshot = make(biased=biased, seed=seed)
    weight, bias = snapshot.item_embeddings, snapshot.bias if biased else np.zeros(snapshot.n_items)
    began = time.perf_counter()
    certificates = separable(snapshot, snapshot.distinct)
    assert 0 < sum(found.seconds for found in certificates) <= time.perf_counter() - began
    outcomes = [found.outcome for found in certificates]
    assert 5 < outcomes.count("yes") < 55  # so the sets lie around the transition
    for history, found in zip(snapshot.distinct, certificates, strict=True):
        others = np.setdiff1d(np.arange(snapshot.n_items), history)
        margin = highest_margin(weight, bias, history, others)
        assert (margin > 1e-7) == (found.outcome == "yes")
        if found.outcome == "yes":
            scores = weight @ found.witness + bias
            assert scores[history].min() > scores[others].max()
            norm = np.linalg.norm(np.append(found.witness, 1.0 if biased else 0.0))
            assert found.margin == pytest.approx((scores[history].min() - scores[others].max()) / norm, rel=1e-9)
        else:
            assert set(found.above) <= set(history)
            assert set(found.below) <= set(others)
            assert min(*found.above.values(), *found.below.values()) >= 0
            assert sum(found.above.values()) == pytest.approx(1, abs=1e-12)
            assert sum(found.below.values()) == pytest.approx(1, abs=1e-12)
            above, below = (
                np.sum([share * np.append(weight[item], bias[item]) for item, share in side.items()], axis=0)
                for side in (found.above, found.below)
            )
            np.testing.assert_allclose(above[:-1], below[:-1], atol=1e-8)
            assert above[-1] <= below[-1] + 1e-8


def test_the_middle_of_a_parallelogram_cannot_be_left_out_and_without_it_it_can():
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    states, target = np.zeros((1, 2)), [0]
    without = Snapshot(corners, states, [[1, 2]], target)
    (found,) = separable(without, [[1, 2]])
    assert found.outcome == "no"  # the diagonals meet
    assert found.above == pytest.approx({1: 0.5, 2: 0.5})
    assert found.below == pytest.approx({0: 0.5, 3: 0.5})
    (found,) = separable(without, [[0, 1]])
    assert found.outcome == "yes"  # an edge
    (found,) = separable(without, [[1, 2]], [[0]])
    assert found.outcome == "yes"
    with_middle = Snapshot(np.concatenate([corners, [[0.5, 0.5]]]), states, [[0, 1, 2, 3]], target)
    (found,) = separable(with_middle, [[0, 1, 2, 3]])
    assert (found.outcome, found.below) == ("no", pytest.approx({4: 1.0}))


@pytest.mark.parametrize(("bias", "outcome"), [(0.6, "yes"), (0.5, "no"), (0.4, "no")])
def test_of_two_equal_embeddings_the_bias_decides(bias, outcome):
    weight, biases = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), [bias, 0.5, 0.0, 0.0]
    (found,) = separable(Snapshot(weight, np.array([[5.0, 0.0]]), [[0]], [0], biases), [[0]])
    assert found.outcome == outcome


@pytest.mark.parametrize("bias", [-2.0, 0.5, 1e4])
def test_equal_biases_change_nothing(bias):
    plain = make()
    biased = Snapshot(plain.item_embeddings, plain.states, plain.histories, plain.targets, np.full(300, bias))
    expected = [found.outcome for found in separable(plain, plain.distinct)]
    assert [found.outcome for found in separable(biased, biased.distinct)] == expected
    assert {"yes", "no"} == set(expected)


@pytest.mark.parametrize("seed", range(4))
def test_where_all_embeddings_are_equal_only_the_biases_are_compared(seed):
    rng = np.random.default_rng(seed)
    weight, biases = np.tile(rng.normal(size=(1, 3)), (20, 1)), rng.normal(size=20)
    order = np.argsort(biases)
    snapshot = Snapshot(weight, np.zeros((2, 3)), [order[:2], order[-2:]], [0, 0], biases)
    assert [found.outcome for found in separable(snapshot, snapshot.distinct)] == ["no", "yes"]


def test_no_margin_is_larger_than_what_a_no_says_and_a_tiny_gap_is_seen():
    gap = 1e-5
    weight = np.array([[1.0, 1.0], [1.0, -1.0], [1.0 - gap, 0.0], [-3.0, 0.0]])
    snapshot = Snapshot(weight, np.zeros((1, 2)), [[0, 1]], [0])
    assert copyable(snapshot)["outcome"][0] == "yes"
    weight[2, 0] = 1.0
    table = copyable(Snapshot(weight, np.zeros((1, 2)), [[0, 1]], [0]))
    assert table["outcome"][0] == "no"
    assert table["margin"][0] < 1e-8
    assert list(table) == ["case", "size", "outcome", "margin", "seconds"]


def test_a_margin_below_the_tolerance_is_a_no_that_does_not_rule_it_out():
    weight = np.array([[1.0, 1.0], [1.0, -1.0], [1.0 - 1e-11, 0.0], [-3.0, 0.0]])
    (found,) = separable(Snapshot(weight, np.zeros((1, 2)), [[0, 1]], [0]), [[0, 1]])
    assert found.outcome == "no"
    assert 1e-11 / 2 <= found.margin <= 1e-8


def test_cases_are_answered_alike_a_few_at_a_time(monkeypatch):
    snapshot = make(m=11)
    together = separable(snapshot, snapshot.distinct)
    monkeypatch.setattr("cprlab.probes.certificates.AT_ONCE", 4)
    a_few = separable(snapshot, snapshot.distinct)
    assert [(found.outcome, found.margin) for found in a_few] == [(found.outcome, found.margin) for found in together]


def test_a_search_that_is_cut_short_is_undecided_and_bounds_the_margin(monkeypatch):
    snapshot = make(n=2000, d=16, m=20, sizes=(5, 7))
    whole = separable(snapshot, snapshot.distinct)
    monkeypatch.setattr("cprlab.probes.certificates.ROUNDS", 1)
    short = separable(snapshot, snapshot.distinct)
    assert any(found.outcome == "undecided" for found in short)
    for found, known in zip(short, whole, strict=True):
        if found.outcome == "undecided":
            assert found.witness is found.above is None
            assert found.margin >= known.margin if known.outcome == "yes" else found.margin > 0
        else:
            assert found.outcome == known.outcome


def items_alone(weight, bias=None):
    """A Snapshot for probes of the items only."""
    return Snapshot(weight, np.zeros((1, weight.shape[1])), [[0]], [0], bias)


def assert_proved(snapshot, table, certificates):
    """The witness scores its item strictly highest, and the weights make the item of others, in plain float64."""
    weight = snapshot.item_embeddings.astype(np.float64)
    bias = np.zeros(len(weight)) if snapshot.bias is None else snapshot.bias
    assert list(table) == ["item", "title", "argmaxable", "how", "margin", "seconds"]
    assert list(table["item"]) == list(range(len(weight)))
    assert list(table["argmaxable"]) == [found.outcome for found in certificates]
    assert list(table["margin"]) == [found.margin for found in certificates]
    for item, found in enumerate(certificates):
        others = np.delete(np.arange(len(weight)), item)
        if found.outcome == "yes":
            scores = weight @ found.witness + bias
            assert scores[item] > scores[others].max()
        else:
            assert found.outcome == "no"
            assert found.above == {item: 1.0}
            assert set(found.below) <= set(others)
            assert min(found.below.values()) >= 0
            assert sum(found.below.values()) == pytest.approx(1, abs=1e-12)
            mean, mean_bias = (
                sum(share * values[other] for other, share in found.below.items()) for values in (weight, bias)
            )
            np.testing.assert_allclose(mean, weight[item], atol=1e-8)
            assert mean_bias >= bias[item] - 1e-8


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_items_that_a_state_ranks_first_are_the_vertices_of_the_hull(d, biased, seed):
    """With biases: the upper hull of (w, b), as the bias has the coefficient 1."""
    rng = np.random.default_rng(seed)
    weight = 0.1 * rng.normal(size=(150, d)) + 3  # far from the origin, which no item surrounds
    bias = rng.normal(size=150) if biased else None
    hull = ConvexHull(weight if bias is None else np.column_stack([weight, bias]))
    facets = hull.simplices if bias is None else hull.simplices[hull.equations[:, d] > 0]
    snapshot = items_alone(weight, bias)
    table, certificates = argmaxable(snapshot)
    assert_proved(snapshot, table, certificates)
    assert set(table["item"][table["argmaxable"] == "yes"]) == set(facets.flat)
    assert set(table["how"]) == {"screen", "certificate"}
    assert (table["argmaxable"][table["how"] == "screen"] == "yes").all()
    for item in rng.choice(150, 20, replace=False):
        margin = highest_margin(
            weight - 3, np.zeros(150) if bias is None else bias, [item], np.delete(np.arange(150), item)
        )
        assert (margin > 1e-9) == (table["argmaxable"][item] == "yes")


@pytest.mark.parametrize("biased", [False, True])
def test_planted_items_between_others_are_found_among_many(biased):
    rng = np.random.default_rng(5)
    outer = rng.normal(size=(400, 24))
    outer /= np.linalg.norm(outer, axis=1, keepdims=True)  # on a sphere, so each is a vertex
    between = np.stack([rng.dirichlet(np.ones(k)) @ outer[rng.choice(400, k, replace=False)] for k in (2, 3, 9, 20)])
    weight = np.concatenate([outer, between, outer[[7]]])  # 7 and 404 are the same point
    bias = np.full(405, 0.5) if biased else None
    snapshot = items_alone(weight, bias)
    table, certificates = argmaxable(snapshot)
    assert_proved(snapshot, table, certificates)
    assert list(table["item"][table["argmaxable"] == "no"]) == [7, 400, 401, 402, 403, 404]
    assert certificates[7].below == pytest.approx({404: 1.0})
    if biased:
        bias[7] += 1e-6  # of two equal embeddings the bias decides
        table, certificates = argmaxable(items_alone(weight, bias))
        assert list(table["argmaxable"][[7, 404]]) == ["yes", "no"]


def test_items_of_a_search_cut_short_are_undecided_and_one_item_is_no_question(monkeypatch):
    monkeypatch.setattr("cprlab.probes.certificates.ROUNDS", 1)
    table, certificates = argmaxable(items_alone(np.random.default_rng(0).normal(size=(800, 8))))
    left = table["argmaxable"] == "undecided"
    assert left.any()
    assert (table["how"][left] == "certificate").all()
    assert all(certificates[item].witness is certificates[item].above is None for item in table["item"][left])
    with pytest.raises(ConfigError, match="only one item"):
        argmaxable(items_alone(np.ones((1, 2))))


@pytest.mark.parametrize(
    ("above", "below", "word"),
    [
        ([[0], []], None, "S of case 1"),
        ([[0], [99]], None, "S of case 1"),
        ([[0], [1.5]], None, "S of case 1"),
        ([[0], [5]], None, "S of case 1"),
        ([[0]], None, "each of the 2 cases"),
        ([[0], [1]], [[2], [1, 3]], "both sets of case 1"),
        ([[0], [0, 1, 2, 3, 4]], None, "every item"),
    ],
)
def test_sets_that_make_no_question_are_refused(above, below, word):
    snapshot = make(n=5, d=2, m=2, sizes=(1, 3))
    with pytest.raises(ConfigError, match=word):
        separable(snapshot, above, below)


def test_the_capacity_is_what_a_trial_measured_and_random_sets_split_there():
    known = {(3000, 64): 9.47, (13000, 64): 6.82, (13000, 32): 3.00, (13000, 128): 15.74}
    assert {sizes: round(capacity(*sizes), 2) for sizes in known} == known
    assert capacity(60, 64) == np.inf
    snapshot = make(n=1000, d=24, m=60, sizes=(9, 10))
    threshold = capacity(1000, 24)
    assert 2 < threshold < 6
    table = separable_share(snapshot, [int(threshold) - 2, int(threshold) + 4, 50])
    assert list(table["sets"]) == ["histories", "random"] * 2  # no history has 50 items
    assert (table["undecided"] == 0).all()
    below, above = table["share"][1], table["share"][3]
    assert below > 0.8
    assert above < 0.2


def test_the_last_items_are_asked_for():
    weight = np.concatenate([np.eye(4), [[0.5, 0.5, 0, 0]]])  # the last lies between 0 and 1
    snapshot = Snapshot(weight, np.zeros((1, 4)), [[0, 1, 2, 3, 3]], [0])
    table = separable_share(snapshot, [2, 4]).query("sets == 'histories'")
    assert list(table["share"]) == [1.0, 0.0]
