import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from cprlab.data import ExcludingPlan
from cprlab.errors import ConfigError, DataError
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, copying_states, interference
from cprlab.probes import bottleneck as module

PROMISED = 1e-6  # nats


def make(n=40, d=5, m=6, seed=0, biased=True, far=1.0, sizes=(2, 7)):
    rng = np.random.default_rng(seed)
    histories = [rng.choice(n, rng.integers(*sizes)) for _ in range(m)]
    bias = rng.normal(size=n) if biased else None
    return Snapshot(rng.normal(size=(n, d)), far * rng.normal(size=(m, d)), histories, rng.integers(0, n, m), bias)


def divergence(p, logits):
    held = p > 0
    return float(np.sum(p[held] * (np.log(p[held]) - (logits - logsumexp(logits))[held])))


def minimise(loss, start, radius=None):
    """The least value of a loss that gives its gradient too: by SLSQP in the ball, or BFGS where there is none."""
    if radius is None:
        return minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-10}).fun
    ball = {"type": "ineq", "fun": lambda h: radius**2 - h @ h, "jac": lambda h: -2 * h}
    options = {"ftol": 1e-14, "maxiter": 500}
    return minimize(loss, start, jac=True, method="SLSQP", constraints=[ball], options=options).fun


def least(p, weight, bias, radius=None):
    """The least divergence from p of any state, or of those in a ball."""

    def loss(h):
        logits = weight @ h + bias
        return divergence(p, logits), weight.T @ (softmax(logits) - p)

    return minimise(loss, np.zeros(weight.shape[1]), radius)


@pytest.mark.parametrize("far", [0.3, 3.0])
@pytest.mark.parametrize("biased", [False, True])
def test_gaps_are_those_that_scipy_finds(biased, far):
    snapshot = make(biased=biased, far=far)
    bias = snapshot.bias if biased else np.zeros(snapshot.n_items)
    table = bottleneck_gap(snapshot)
    assert list(table) == ["case", "gap_free", "gap_ball", "certificate", "interfering"]
    assert table["certificate"].max() <= PROMISED
    inside = 0
    for row, history in zip(table.itertuples(), snapshot.distinct, strict=True):
        p = np.zeros(snapshot.n_items)
        p[history] = 1 / len(history)
        ball = least(p, snapshot.item_embeddings, bias, snapshot.radius)
        assert row.gap_ball <= ball + PROMISED
        assert row.gap_ball == pytest.approx(ball, abs=3e-6)
        if row.gap_free > 1e-3:  # else it is approached at infinity, and BFGS stops on its way
            assert row.gap_free == pytest.approx(least(p, snapshot.item_embeddings, bias), abs=3e-6)
        assert row.gap_free <= row.gap_ball + PROMISED
        inside += row.gap_free > row.gap_ball - 1e-5
    assert inside < 6 if far < 1 else inside >= 4  # the ball matters in one, and hardly in the other


def uniform(snapshot):
    """(m, n) the uniform distributions on the histories."""
    return np.stack([np.isin(np.arange(snapshot.n_items), one) / len(one) for one in snapshot.distinct])


def preferred(snapshot):
    """(m, n) the model's own softmax restricted to the histories."""
    scores = np.exp(snapshot.states @ snapshot.item_embeddings.T + snapshot.bias) * (uniform(snapshot) > 0)
    return scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("m", [1, 6, 70])
@pytest.mark.parametrize("alike", [True, False])
def test_the_states_that_copy_best_have_the_gap_in_the_ball(m, alike):
    snapshot = make(m=m, far=0.3)
    wanted = uniform(snapshot) if alike else preferred(snapshot)
    states = copying_states(snapshot, wanted=wanted if alike else None)
    gaps = bottleneck_gap(snapshot)["gap_ball"] if alike else copy_dial(snapshot, [1])["floor_ball"]
    np.testing.assert_allclose(bottleneck_gap(snapshot, wanted)["gap_ball"], gaps, atol=PROMISED)
    assert states.shape == snapshot.states.shape
    assert np.linalg.norm(states, axis=1).max() <= snapshot.radius * (1 + 1e-9)
    for state, p, gap in zip(states, wanted, gaps, strict=True):
        assert divergence(p, snapshot.item_embeddings @ state + snapshot.bias) == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_no_state_found_by_direct_search_does_better_than_what_is_called_best(alpha):
    """Projected gradient descent from many starts, on the same divergence."""
    snapshot = make(n=30, d=4, m=3, far=0.7)
    weight, bias, rng = snapshot.item_embeddings, snapshot.bias, np.random.default_rng(4)
    inside = uniform(snapshot) > 0
    own = softmax(snapshot.states @ weight.T + bias, axis=1)
    sides = own * inside, own * ~inside
    wanted = sum(
        share * side / side.sum(1, keepdims=True) for share, side in zip((alpha, 1 - alpha), sides, strict=True)
    )
    dial = copy_dial(snapshot, [alpha])
    for p, floor, certificate in zip(wanted, dial["floor_ball"], dial["certificate"], strict=True):
        states = rng.normal(size=(40, 4))
        for _ in range(4000):
            states -= 0.05 * (softmax(states @ weight.T + bias, axis=1) - p) @ weight
            states *= np.minimum(1, snapshot.radius / np.linalg.norm(states, axis=1, keepdims=True))
        found = [divergence(p, weight @ state + bias) for state in states]
        assert min(found) >= floor - certificate
        assert min(found) == pytest.approx(floor, abs=1e-4)


def test_any_wanted_distribution_is_taken_and_what_a_state_says_already_costs_nothing():
    snapshot = make()
    rng = np.random.default_rng(1)
    wanted = rng.dirichlet(np.ones(snapshot.n_items), len(snapshot))
    table = bottleneck_gap(snapshot, wanted)
    for case in range(len(snapshot)):
        expected = least(wanted[case], snapshot.item_embeddings, snapshot.bias)
        assert table["gap_free"][case] == pytest.approx(expected, abs=3e-6)
    own = softmax(snapshot.states @ snapshot.item_embeddings.T + snapshot.bias, axis=1)
    inside = np.linalg.norm(snapshot.states, axis=1) <= snapshot.radius
    assert bottleneck_gap(snapshot, own)["gap_ball"][inside].max() <= PROMISED


def test_a_middle_item_takes_its_share_in_closed_form():
    """Four corners of a square and k items in its middle: the best softmax is uniform over 4 + k."""
    corners = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    for middles in (1, 3):
        weight = np.array(corners + [[0, 0]] * middles, dtype=float)
        snapshot = Snapshot(weight, np.ones((1, 2)), [[0, 1, 2, 3]], [0])
        table = bottleneck_gap(snapshot)
        assert table["gap_free"][0] == pytest.approx(np.log((4 + middles) / 4), abs=PROMISED)
        found = interference(snapshot, wanted=uniform(snapshot))
        assert set(found["item"]) <= set(range(4, 4 + middles))


def test_items_at_the_corners_of_a_simplex_are_copied_exactly_though_at_infinity():
    snapshot = Snapshot(np.eye(8), np.ones((3, 8)), [[0], [1, 2], [3, 4, 5, 6]], [0, 0, 0])
    table = bottleneck_gap(snapshot)
    assert table["gap_free"].max() <= PROMISED
    assert table["certificate"].max() <= PROMISED
    radius, size = snapshot.radius, np.array([1, 2, 4])
    # In the ball, by symmetry, h is a on the history and b elsewhere: size a² + (8 − size) b² = ρ².
    a = radius * np.sqrt((8 - size) / (8 * size))
    b = -radius * np.sqrt(size / (8 * (8 - size)))
    expected = np.log1p((8 - size) / size * np.exp(b - a))
    np.testing.assert_allclose(table["gap_ball"], expected, atol=2e-6)


def test_states_that_are_far_out_and_sure_of_other_items_are_no_worse_a_start():
    plan = ExcludingPlan(users=40)
    sequences = plan.sequences()
    windows = sequences.windows("test")
    histories = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    states = np.random.default_rng(0).normal(size=(40, 6))
    states *= 60 / np.linalg.norm(states, axis=1, keepdims=True)
    snapshot = Snapshot(plan.embeddings(), states, histories, sequences.items[windows.stop])
    table = bottleneck_gap(snapshot, plan.wanted(histories))
    assert table["certificate"].max() <= PROMISED
    np.testing.assert_allclose(table["gap_free"], plan.floor(histories), atol=PROMISED)


@pytest.mark.parametrize(("long", "far"), [(1, 1e4), (1e4, 1), (100, 100)])
def test_softmaxes_that_are_saturated_are_no_dead_end(long, far):
    plain = make(biased=False)
    snapshot = Snapshot(long * plain.item_embeddings, far * plain.states, plain.histories, plain.targets)
    table = bottleneck_gap(snapshot)
    assert table["certificate"].max() <= PROMISED
    for case, history in enumerate(snapshot.distinct):
        p = np.zeros(snapshot.n_items)
        p[history] = 1 / len(history)
        expected = least(p, plain.item_embeddings, 0)  # over all h, so the scale of W does not matter
        if expected > 1e-3:
            assert table["gap_free"][case] == pytest.approx(expected, abs=3e-6)
        else:
            assert table["gap_free"][case] <= expected + PROMISED
    dial = copy_dial(snapshot, (0, 0.5, 1))
    assert dial["certificate"].max() <= PROMISED
    assert dial[["floor_free", "floor_ball", "floor_context"]].min(axis=None) >= 0  # by rounding as well


def test_where_all_states_are_zero_the_ball_holds_no_other():
    plain = make()
    snapshot = Snapshot(plain.item_embeddings, 0 * plain.states, plain.histories, plain.targets, plain.bias)
    table = bottleneck_gap(snapshot)
    p = np.stack([np.isin(np.arange(40), history) / len(history) for history in snapshot.distinct])
    np.testing.assert_allclose(table["gap_ball"], [divergence(row, plain.bias) for row in p], rtol=1e-12)
    assert table["certificate"].max() <= PROMISED
    dial = copy_dial(snapshot, (0, 0.5, 1))
    np.testing.assert_allclose(dial["floor_ball"], dial["stay"], rtol=1e-12)
    np.testing.assert_allclose(dial["floor_context"], dial["stay"], rtol=1e-12)


def test_interfering_items_are_those_above_the_lowest_of_the_history():
    snapshot = make(n=200, d=4, m=8, sizes=(5, 9))
    counts = bottleneck_gap(snapshot)["interfering"]
    found = interference(snapshot, wanted=uniform(snapshot))
    assert list(found) == ["case", "item", "title", "excess", "takes"]
    assert counts.sum() > 0
    np.testing.assert_array_equal(found.groupby("case").size().reindex(range(8), fill_value=0), counts)
    assert (found["excess"] > 0).all()
    assert not any(row.item in snapshot.distinct[row.case] for row in found.itertuples())
    assert found.groupby("case")["excess"].apply(lambda excess: excess.is_monotonic_decreasing).all()
    for states, table in (
        (copying_states(snapshot, wanted=uniform(snapshot)), found),
        (copying_states(snapshot), interference(snapshot)),
    ):
        taken = softmax(states @ snapshot.item_embeddings.T + snapshot.bias, axis=1)
        np.testing.assert_allclose(table["takes"], taken[table["case"], table["item"]])


@pytest.mark.parametrize("seed", range(2))
def test_the_dial_is_what_scipy_finds_for_each_share(seed):
    snapshot = make(seed=seed, far=1.5)
    alphas = (0, 0.3, 1)
    table = copy_dial(snapshot, alphas)
    assert list(table)[:5] == ["case", "alpha", "stay", "floor_free", "floor_ball"]
    assert list(table["alpha"]) == list(alphas) * len(snapshot)
    assert table["certificate"].max() <= PROMISED
    weight, bias = snapshot.item_embeddings, snapshot.bias
    moved = []  # whether the best single state, for both partitions, is better
    for row in table.itertuples():
        history, state = snapshot.distinct[row.case], snapshot.states[row.case]
        q = softmax(weight @ state + bias)
        inside = np.isin(np.arange(snapshot.n_items), history)
        p = (
            row.alpha * np.where(inside, q, 0) / q[inside].sum()
            + (1 - row.alpha) * np.where(inside, 0, q) / q[~inside].sum()
        )
        assert row.stay == pytest.approx(divergence(p, weight @ state + bias), rel=1e-9)
        assert row.floor_ball == pytest.approx(least(p, weight, bias, snapshot.radius), abs=3e-6)
        if row.floor_free > 1e-3:
            assert row.floor_free == pytest.approx(least(p, weight, bias), abs=3e-6)
        if np.linalg.norm(state) <= snapshot.radius:
            assert row.floor_ball <= row.stay + PROMISED

        def with_context(facet, inside=inside, state=state, p=p):
            logits = np.where(inside, weight @ facet, weight @ state) + bias
            return divergence(p, logits), weight.T @ (inside * (softmax(logits) - p))

        if np.isfinite(row.context_norm):  # the least-norm facet reaches the share, and is as short as said
            share = {0: -np.expm1(-0.01), 1: np.exp(-0.01)}.get(row.alpha, row.alpha)
            shift = np.log(share / (1 - share)) - np.log(q[inside].sum() / q[~inside].sum())
            facet = np.linalg.lstsq(weight[history], weight[history] @ state + shift, rcond=None)[0]
            assert row.context_norm == pytest.approx(np.linalg.norm(facet), rel=1e-6)
            lost, _ = with_context(facet)
            assert lost == pytest.approx(0.01 if row.alpha in (0, 1) else 0, abs=1e-9)
            if row.context_norm <= snapshot.radius:
                assert row.floor_context <= lost + PROMISED
        beside = minimise(with_context, state, snapshot.radius)  # the model's own state scores the rest
        assert row.floor_context == pytest.approx(min(beside, row.floor_ball), abs=3e-6)
        moved.append(row.floor_ball < beside - 1e-3)
    assert any(moved)
    assert not all(moved)


def test_a_share_of_its_own_is_taken_for_each_case_and_at_the_models_own_share_nothing_is_lost():
    snapshot = make()
    q = softmax(snapshot.states @ snapshot.item_embeddings.T + snapshot.bias, axis=1)
    own = np.array([row[history].sum() for row, history in zip(q, snapshot.distinct, strict=True)])
    table = copy_dial(snapshot, [own])
    np.testing.assert_allclose(table["alpha"], own)
    inside = np.linalg.norm(snapshot.states, axis=1) <= snapshot.radius
    assert table[["stay", "floor_free", "floor_context"]][inside].max(axis=None) <= PROMISED
    np.testing.assert_allclose(
        table["context_norm"],
        [
            np.linalg.norm(np.linalg.pinv(snapshot.item_embeddings[h]) @ snapshot.item_embeddings[h] @ state)
            for h, state in zip(snapshot.distinct, snapshot.states, strict=True)
        ],
    )


def test_a_context_that_no_state_scores_alike_is_out_of_reach():
    weight = np.array([[1.0], [2.0], [-1.0], [0.5]])
    snapshot = Snapshot(weight, np.ones((1, 1)), [[0, 1]], [0])
    assert np.isinf(copy_dial(snapshot, [0.9])["context_norm"][0])


def test_many_items_and_few_are_solved_alike(monkeypatch):
    snapshot = make(n=60, m=5)
    alike = bottleneck_gap(snapshot)
    monkeypatch.setattr("cprlab.probes.states.PAIRS_HELD", 1)
    monkeypatch.setattr(module, "AT_ONCE", 2)
    other = bottleneck_gap(snapshot)
    np.testing.assert_allclose(other[["gap_free", "gap_ball"]], alike[["gap_free", "gap_ball"]], atol=1e-6)


@pytest.mark.parametrize("wanted", [np.ones((6, 40)), np.full((6, 39), 1 / 39), -np.ones((6, 40)) / 40])
def test_what_is_no_distribution_is_refused(wanted):
    with pytest.raises(ConfigError, match="probabilities"):
        bottleneck_gap(make(), wanted)


def test_scores_that_float64_cannot_tell_apart_are_refused():
    rng = np.random.default_rng(0)
    weights, states = rng.normal(size=(6, 3)), rng.normal(size=(2, 3))
    for scale in (1.0, 1e3):
        copy_dial(Snapshot(weights * scale, states * scale, [[1], [2, 3]], [2, 3]))
    for arrays in ((weights * 1e6, states * 1e6), (weights, states * 1e12)):
        snapshot = Snapshot(*arrays, [[1], [2, 3]], [2, 3])
        for measure in (copy_dial, bottleneck_gap):
            with pytest.raises(DataError, match=r"float64 rounds such a number by more than 0\.0001 nats"):
                measure(snapshot)


def test_a_dial_that_cannot_be_turned_is_refused():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        copy_dial(make(), [1.5])
    with pytest.raises(ConfigError, match="every item"):
        copy_dial(Snapshot(np.eye(2), np.ones((1, 2)), [[0, 1]], [0]))
