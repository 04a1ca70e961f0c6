"""The planted logs: their floors against a minimisation over h, and what is drawn against what is wanted."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial import ConvexHull
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import chisquare

from cprlab.data import CopyingPlan, ExcludingPlan, cyclic_polytope
from cprlab.errors import ConfigError, DataError
from cprlab.models import Context, Outputs, SoftmaxConfig
from cprlab.models.heads import build_head

COPYING = CopyingPlan(groups=2, middles=3, pool=5, share=0.6, users=400, length=12)
EXCLUDING = ExcludingPlan(clusters=3, size=6, users=1200)
PLANS = pytest.mark.parametrize("plan", [COPYING, EXCLUDING], ids=lambda plan: type(plan).__name__)


def prefixes(plan, shortest):
    """Every history of the log from so many items up, with the item that came next."""
    sequences = plan.sequences()
    for start, stop in itertools.pairwise(sequences.offsets):
        for place in range(start + shortest, stop):
            yield sequences.items[start:place], sequences.items[place]


def nearest(p, weights):
    """min over h of KL(p ‖ softmax(W h)), by L-BFGS, and the softmax there."""

    def divergence(h):
        z = weights @ h
        return logsumexp(z) - p @ z, weights.T @ (softmax(z) - p)

    found = minimize(divergence, np.zeros(weights.shape[1]), jac=True, method="L-BFGS-B", options={"gtol": 1e-9})
    return found.fun + p[p > 0] @ np.log(p[p > 0]), softmax(weights @ found.x)


@pytest.mark.parametrize("bottleneck", [True, False])
@PLANS
def test_the_floor_is_the_least_divergence_of_a_single_state(plan, bottleneck):
    plan = plan.but(bottleneck=bottleneck)
    histories = [history for history, _ in itertools.islice(prefixes(plan, 4), 12)]
    floors, wanted, interfering = plan.floor(histories), plan.wanted(histories), plan.interfering(histories)
    for floor, p, lifted in zip(floors, wanted, interfering, strict=True):
        least, best = nearest(p, plan.embeddings())
        assert floor - 1e-9 < least < floor + 1e-4  # which is approached as h grows
        assert ((best > 1e-3) & (p == 0)).tolist() == lifted.tolist()
    assert (floors > 0.3).all() if bottleneck else (floors == 0).all()
    assert interfering.any(1).all() if bottleneck else not interfering.any()


def test_floor_and_best_loss_in_numbers():
    history = [[0, 3, 2, 1, 14, 0]]  # the corners of group 1 and a pool item
    assert COPYING.floor(history) == pytest.approx([0.6 * math.log(7 / 4)], rel=1e-12)
    assert COPYING.best_loss(history) == pytest.approx([0.6 * math.log(4 / 0.6) + 0.4 * math.log(5 / 0.4)], rel=1e-12)
    histories = [[6], [6, 11, 8], [17, 12, 13, 14, 15]]
    assert EXCLUDING.floor(histories) == pytest.approx([math.log(6 / left) for left in (5, 3, 1)], rel=1e-12)
    assert EXCLUDING.best_loss(histories) == pytest.approx([math.log(left) for left in (5, 3, 1)], rel=1e-12)


@PLANS
def test_expected_loss_is_the_mean_of_minus_log_p_over_the_wanted_items(plan):
    histories = [history for history, _ in itertools.islice(prefixes(plan, 4), 5)]
    wanted = plan.wanted(histories)
    np.testing.assert_allclose(wanted.sum(1), 1)
    log_probs = log_softmax(np.random.default_rng(0).normal(size=wanted.shape), axis=1)
    log_probs[wanted == 0] = -np.inf  # which costs nothing
    expected = [sum(-p * log_probs[m, v] for v, p in enumerate(row) if p) for m, row in enumerate(wanted)]
    np.testing.assert_allclose(plan.expected_loss(histories, log_probs), expected)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(plan.expected_loss(histories, np.log(wanted)), plan.best_loss(histories))


@PLANS
def test_items_are_drawn_as_wanted(plan):
    cases = list(prefixes(plan, 4 if plan is COPYING else 1))
    wanted = plan.wanted([history for history, _ in cases])
    order = np.argsort(-wanted, axis=1, kind="stable")  # by place in this order, cases of one length are alike
    places = np.argmax(order == np.array([item for _, item in cases])[:, None], axis=1)
    lengths = np.array([len(history) for history, _ in cases])
    for length in set(lengths):
        chosen = lengths == length
        expected = np.sort(wanted[chosen][0])[::-1]
        n_wanted = np.count_nonzero(expected)
        counts = np.bincount(places[chosen], minlength=n_wanted)
        assert len(counts) == n_wanted  # no other item is drawn
        assert chisquare(counts, expected[:n_wanted] * chosen.sum()).pvalue > 0.01


def test_the_corners_come_first_in_any_order_and_the_middles_never():
    sequences = COPYING.but(users=2400).sequences()
    items = sequences.items.reshape(2400, 12)
    group, place = np.divmod(items[:, :4], 7)
    assert (group == group[:, :1]).all()
    assert chisquare(np.bincount(group[:, 0])).pvalue > 0.01
    orders, counts = np.unique(place, axis=0, return_counts=True)
    assert orders.tolist() == [list(order) for order in itertools.permutations(range(4))]
    assert chisquare(counts).pvalue > 0.01
    titles = np.array(sequences.titles)
    assert set(titles) - set(titles[items.flat]) == {f"group {g}, middle {m}" for g in (1, 2) for m in (1, 2, 3)}


def test_clusters_and_lengths_are_drawn_alike():
    sequences = EXCLUDING.sequences()
    lengths = np.diff(sequences.offsets)
    assert set(lengths) == {4, 5}
    assert chisquare(np.bincount(lengths)[4:]).pvalue > 0.01
    assert chisquare(np.bincount(sequences.items[sequences.offsets[:-1]] // 6)).pvalue > 0.01
    assert sequences.titles[[0, 17]].tolist() == ["cluster 1, item 1", "cluster 3, item 6"]


def test_titles_stand_beside_the_embeddings_that_they_name():
    weights, titles = COPYING.embeddings(), COPYING.sequences().titles.tolist()
    assert weights.shape == (len(titles), 2 + 3)
    assert weights[titles.index("group 2, corner NW")].tolist() == [0, 1, -1, 1, 0]
    assert weights[titles.index("group 1, middle 3")].tolist() == [1, 0, 0, 0, 0]
    assert weights[titles.index("pool item 5")].tolist() == [0, 0, 0, 0, 1]
    free = COPYING.but(bottleneck=False).embeddings()
    assert free.shape == (len(titles), 2 + 5)
    assert np.linalg.matrix_rank(free[:4]) == 4
    weights, titles = EXCLUDING.embeddings(), EXCLUDING.sequences().titles.tolist()
    assert (weights[titles.index("cluster 2, item 1")] == weights[titles.index("cluster 2, item 6")]).all()
    assert weights.shape == (18, 3)
    free = EXCLUDING.but(bottleneck=False).embeddings()
    assert free.shape == (18, 9)
    assert len(np.unique(free, axis=0)) == 18


@PLANS
def test_the_seed_decides_the_log_and_the_switch_does_not(plan):
    one = plan.sequences()
    for same in (plan.sequences(), plan.but(bottleneck=False).sequences()):
        np.testing.assert_array_equal(same.items, one.items)
        assert same.fingerprint == one.fingerprint
    assert plan.but(seed=1).sequences().fingerprint != one.fingerprint


@PLANS
def test_a_context_partition_reaches_the_best_loss(plan):
    histories = [history for history, _ in itertools.islice(prefixes(plan, 4), 12)]
    weights, far = plan.embeddings(), 40.0
    for history in histories:
        if plan is COPYING:  # one pair of states for all groups: only the history's items leave −far
            vocabulary = [-far] * 2 + [0, 0, math.log(0.4 / 5)]
            context = [math.log(0.6 / 4)] * 2 + [0, 0, math.log(0.4 / 5)]
        else:
            vocabulary, context = (np.eye(3)[history[0] // 6] * far).tolist(), [-far] * 3
        head = build_head(SoftmaxConfig(context=True), weights.shape[1], 1)
        facets = {"V": torch.tensor(vocabulary)[None, None].double(), "C": torch.tensor(context)[None, None].double()}
        outputs = Outputs(torch.from_numpy(np.pad(weights, ((0, 1), (0, 0)))), None)
        read = Context(torch.tensor(history)[None].long(), torch.tensor([[len(history) - 1]]), len(weights))
        log_probs = head.log_probs(facets, outputs, read)[0].numpy()
        np.testing.assert_allclose(plan.expected_loss([history], log_probs), plan.best_loss([history]), atol=1e-12)


def test_histories_and_settings_that_no_plan_has_are_refused():
    good = [0, 1, 2, 3]
    for wrong in ([0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 7], [14, 15], [0, 1, 2, 3, 19], [-1, *good]):
        with pytest.raises(DataError, match="case 1 is not the four corners"):
            COPYING.wanted([good, wrong])
    for wrong in ([], [0, 6], [0, 0], [0, 1, 2, 3, 4, 5], [18], [-1]):
        with pytest.raises(DataError, match="case 1 is not 1 to 5 distinct items"):
            EXCLUDING.wanted([good, wrong])
    for plan, settings in ((CopyingPlan, {"share": 1.0}), (CopyingPlan, {"length": 6}), (ExcludingPlan, {"size": 4})):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            plan(**settings)


@pytest.mark.parametrize(("n", "d"), [(9, 4), (8, 6)])
def test_all_small_sets_of_the_cyclic_polytope_are_faces(n, d):
    hull = ConvexHull(cyclic_polytope(n, d))
    faces = {face for facet in hull.simplices for face in itertools.combinations(sorted(facet.tolist()), d // 2)}
    assert faces == set(itertools.combinations(range(n), d // 2))
    facets = {tuple(sorted(facet)) for facet in hull.simplices.tolist()}
    even = {  # Gale's evenness condition: between two others lies an even number of the facet's items
        chosen
        for chosen in itertools.combinations(range(n), d)
        if all(
            sum(a < item < b for item in chosen) % 2 == 0
            for a, b in itertools.combinations(set(range(n)) - set(chosen), 2)
        )
    }
    assert facets == even


def test_the_polynomial_that_vanishes_on_a_set_is_the_state_that_copies_it():
    n, d = 40, 10
    weights = cyclic_polytope(n, d)
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1)
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 5, 5):
        chosen = rng.choice(n, size, replace=False)
        between = 2 * np.pi / n * (np.arange(n)[:, None] - chosen)
        wanted = -np.prod(1 - np.cos(between), axis=1)
        h = np.linalg.lstsq(np.column_stack([weights, np.ones(n)]), wanted, rcond=None)[0][:d]
        scores = weights @ h
        np.testing.assert_allclose(scores - scores[chosen[0]], wanted, atol=1e-12 * np.abs(wanted).max())
        assert scores[chosen].min() > np.delete(scores, chosen).max()


@pytest.mark.parametrize("d", [0, 3, 10])
def test_no_moment_curve_has_another_width(d):
    with pytest.raises(ConfigError, match="even width from 2 to 9"):
        cyclic_polytope(10, d)
