"""Free item embeddings and the rank of W, against grids, closed forms and loops."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy.special import expit, log_softmax, rel_entr, xlogy

from cprlab.errors import ConfigError
from cprlab.evaluation import estimate
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, floor_by_width, free_embedding, loss_by_rank


def make(n=30, d=6, m=12, seed=0, biased=True, sizes=(2, 6)):
    rng = np.random.default_rng(seed)
    histories = [rng.choice(n, rng.integers(*sizes)) for _ in range(m)]
    targets = [history[0] if case % 2 else rng.integers(n) for case, history in enumerate(histories)]
    bias = rng.normal(size=n) if biased else None
    return Snapshot(rng.normal(size=(n, d)), rng.normal(size=(m, d)), histories, targets, bias)


def uniform(n, *histories):
    p = np.zeros((len(histories), n))
    for row, history in zip(p, histories, strict=True):
        row[list(history)] = 1 / len(history)
    return p


def divergences(p, found, bias=0.0):
    """KL of each case, from the arrays found."""
    q = np.exp(log_softmax(found.states @ found.item_embeddings.T + bias, axis=1))
    return rel_entr(p, q).sum(1)


def test_three_items_on_a_line_are_placed_as_a_grid_places_them():
    wanted = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    radius, norms = 1.5, np.array([1.0, 0.5, 0.8])
    places = np.array(list(product(np.linspace(-1, 1, 21), repeat=3)))
    log_q = log_softmax(radius * np.linspace(-1, 1, 41)[:, None] * (norms * places)[:, None], axis=2)  # (W, h, item)
    best = min(np.mean([(xlogy(p, p).sum() - log_q @ p).min(1) for p in wanted], axis=0))
    found = free_embedding(wanted, 1, radius, norms, starts=4)
    assert best > 0.05
    assert found.divergence.mean() == pytest.approx(best, abs=5e-4)
    assert found.divergence.mean() <= best + 1e-6  # as the grid's best is one of those allowed
    np.testing.assert_allclose(divergences(wanted, found), found.divergence, atol=1e-9)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_one_history_has_its_closed_form_in_any_width(d, radius):
    """Its items at r, all others at −r and h = ρ: the others keep the odds (n − k) / k · exp(−2 ρ r)."""
    n, k, r = 9, 2, 0.7
    found = free_embedding(uniform(n, range(k)), d, radius, r)
    assert found.divergence[0] == pytest.approx(np.log1p((n - k) / k * np.exp(-2 * radius * r)), abs=1e-4)
    assert np.linalg.norm(found.states) <= radius * (1 + 1e-6)
    assert np.linalg.norm(found.item_embeddings, axis=1).max() <= r * (1 + 1e-6)


def test_no_case_is_below_what_the_norms_allow_one_history_alone():
    """P(history) is at most k e^{ρ r} / (k e^{ρ r} + (n − k) e^{−ρ r}), and −log of it bounds the divergence."""
    rng = np.random.default_rng(0)
    n, radius, r = 12, 1.2, 0.6
    histories = [rng.choice(n, size, replace=False) for size in (1, 2, 3, 5, 8)]
    sizes = np.array([len(history) for history in histories])
    least = -np.log(expit(np.log(sizes / (n - sizes)) + 2 * radius * r))
    for d in (1, 2, 11):
        divergence = free_embedding(uniform(n, *histories), d, radius, r).divergence
        assert (divergence >= least - 1e-9).all()
    assert divergence.mean() < 1.5 * least.mean()  # eleven dimensions come near it


def test_with_one_dimension_less_than_items_the_split_is_reached_as_the_bound_grows():
    rng = np.random.default_rng(1)
    wanted = rng.dirichlet(np.ones(6), 20)
    lost = [free_embedding(wanted, 5, 1.0, norm).divergence.mean() for norm in (0.1, 1.0, 4.0, 20.0)]
    assert all(more > less for more, less in pairwise(lost))
    assert lost[0] > 0.3
    assert lost[-1] < 1e-3
    assert free_embedding(wanted, 1, 1.0, 20.0).divergence.mean() > 0.1  # which one dimension does not


@pytest.mark.slow
def test_more_dimensions_and_longer_embeddings_lose_less():
    snapshot = make()
    table = floor_by_width(snapshot, (1, 3, 8), 1, (0.5, 2))
    assert list(table) == ["embedding", "dimensions", "norms", "value", "low", "high", "n"]
    wide = table[table["embedding"] == "free"].pivot(index="dimensions", columns="norms", values="value")
    assert wide.shape == (3, 2)
    assert (wide.diff(axis=0).iloc[1:] < 0).all(axis=None)
    assert (wide.diff(axis=1).iloc[:, 1:] < 0).all(axis=None)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("varying", [False, True])
def test_the_trained_floor_is_the_dials_and_the_free_one_of_the_same_wanted_shares(biased, varying):
    snapshot = make(biased=biased)
    share = np.linspace(0.1, 0.9, len(snapshot)) if varying else 0.5
    table = floor_by_width(snapshot, (6,), share)
    dial = copy_dial(snapshot, [share])
    assert table["embedding"].tolist() == ["trained", "free"]
    assert table["dimensions"].tolist() == [6, 6]
    trained, free = table.itertuples(index=False)
    assert tuple(trained[3:]) == estimate(dial["floor_ball"].to_numpy())
    wanted = np.zeros((len(snapshot), snapshot.n_items))
    bias = snapshot.bias if biased else np.zeros(snapshot.n_items)
    for case, history in enumerate(snapshot.distinct):
        p = np.exp(snapshot.item_embeddings @ snapshot.states[case] + bias)
        alpha = np.broadcast_to(share, len(snapshot))[case]
        inside = np.isin(np.arange(snapshot.n_items), history)
        wanted[case] = np.where(inside, alpha * p / p[inside].sum(), (1 - alpha) * p / p[~inside].sum())
    np.testing.assert_allclose(bottleneck_gap(snapshot, wanted)["gap_ball"], dial["floor_ball"], atol=2e-6)
    lengths = np.linalg.norm(snapshot.item_embeddings, axis=1)
    found = free_embedding(wanted, 6, snapshot.radius, lengths, snapshot.bias)
    np.testing.assert_allclose(divergences(wanted, found, bias), found.divergence, atol=1e-9)
    assert (np.linalg.norm(found.item_embeddings, axis=1) <= lengths * (1 + 1e-6)).all()
    assert np.linalg.norm(found.states, axis=1).max() <= snapshot.radius * (1 + 1e-6)
    assert free.value == pytest.approx(found.divergence.mean(), abs=1e-4)
    assert free.value < trained.value  # the trained W is among those allowed


def test_the_same_seed_finds_the_same_and_more_starts_find_no_worse():
    wanted = np.random.default_rng(2).dirichlet(np.full(8, 0.3), 10)
    one, again = (free_embedding(wanted, 1, 2.0, 1.5, seed=3) for _ in range(2))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    other = free_embedding(wanted, 1, 2.0, 1.5, seed=4)
    assert one.divergence.mean() != other.divergence.mean()
    best = free_embedding(wanted, 1, 2.0, 1.5, seed=3, starts=2)
    assert best.divergence.mean() == min(one.divergence.mean(), other.divergence.mean())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wanted": np.ones((2, 3))}, "sum to 1"),
        ({"wanted": np.array([[1.5, -0.5, 0.0]])}, "sum to 1"),
        ({"wanted": np.array([[np.nan, 0.5, 0.5]])}, "sum to 1"),
        ({"wanted": np.ones(1)}, "sum to 1"),
        ({"d": 0}, "at least 1"),
        ({"starts": 0}, "at least 1"),
        ({"radius": 0.0}, "positive"),
        ({"radius": np.inf}, "positive"),
        ({"norms": -1.0}, "positive"),
        ({"norms": np.nan}, "positive"),
        ({"norms": 0.0}, "positive"),
    ],
)
def test_what_cannot_be_optimised_is_refused(changes, says):
    given = {"wanted": uniform(3, [0]), "d": 1, "radius": 1.0, "norms": 1.0} | changes
    with pytest.raises(ConfigError, match=says):
        free_embedding(**given)


def losses(snapshot, rank):
    """Log-loss, copy probability and NDCG@10 of each case at a rank, by loops; W − w̄ is cut by its eigenvectors."""
    weight = snapshot.item_embeddings - snapshot.item_embeddings.mean(0)
    values, vectors = np.linalg.eigh(weight.T @ weight)
    basis = vectors[:, np.argsort(values)[::-1][:rank]]
    bias = 0 if snapshot.bias is None else snapshot.bias
    rows = []
    for state, history, target in zip(snapshot.states, snapshot.histories, snapshot.targets, strict=True):
        logits = (weight @ basis) @ (basis.T @ state) + bias
        p = np.exp(logits) / np.exp(logits).sum()
        place = 1 + sum(logits[item] >= logits[target] for item in range(len(p)) if item != target)
        gain = 1 / np.log2(1 + place) if place <= 10 else 0
        rows.append((-np.log(p[target]), sum(p[item] for item in set(history.tolist())), gain))
    return np.array(rows)


@pytest.mark.parametrize("biased", [False, True])
def test_losses_by_rank_are_those_of_plain_loops(biased):
    snapshot = make(biased=biased)
    table = loss_by_rank(snapshot, (1, 3, 6)).query("ranking == 'raw'")
    repeat = np.array([target in history for target, history in zip(snapshot.targets, snapshot.histories, strict=True)])
    assert 2 < repeat.sum() < 10
    assert len(table) == 3 * 3 * 3
    groups = {"all": repeat | True, "repeat": repeat, "new": ~repeat}
    for row in table.itertuples():
        column = ["log-loss", "copy probability", "NDCG@10"].index(row.metric)
        expected = estimate(losses(snapshot, row.kept)[groups[row.cases], column])
        np.testing.assert_allclose([row.value, row.low, row.high, row.n], expected, rtol=1e-9, err_msg=str(row))


def test_the_full_rank_is_the_model_and_rank_0_only_its_bias():
    snapshot = make()
    table = (
        loss_by_rank(snapshot, (0, 6, 9)).query("metric == 'log-loss' and cases == 'all'").set_index("kept")["value"]
    )
    logits = snapshot.states @ snapshot.item_embeddings.T + snapshot.bias
    own = -log_softmax(logits, axis=1)[np.arange(len(snapshot)), snapshot.targets].mean()
    assert table[6] == pytest.approx(own, rel=1e-12)
    assert table[9] == pytest.approx(own, rel=1e-12)
    assert table[0] == pytest.approx(-log_softmax(snapshot.bias)[snapshot.targets].mean(), rel=1e-12)


def test_items_on_a_line_lose_nothing_at_rank_1_wherever_the_line_is():
    """Without centring, the first direction would be that of the mean item."""
    plain = make(d=3, biased=False)
    weight = np.array([0.0, 0.0, 9.0]) + plain.item_embeddings * np.array([1.0, 0.0, 0.0])
    snapshot = Snapshot(weight, plain.states, plain.histories, plain.targets)
    table = loss_by_rank(snapshot, (1, 3)).query("metric == 'log-loss' and cases == 'all'")["value"].tolist()
    assert table[0] == pytest.approx(table[1], rel=1e-9)
    assert table[0] != pytest.approx(np.log(30), rel=1e-3)


def test_a_negative_rank_is_refused():
    with pytest.raises(ConfigError, match="at least 0"):
        loss_by_rank(make(), (2, -1))
