"""Geometry against loops, closed forms and dense matrices."""

import sys

import numpy as np
import pytest
from scipy import stats

from cprlab.errors import DataError
from cprlab.probes import Snapshot, facet_distances, geometry, neighbourhood, space, spectra
from tests.models.test_recommender import build

N, D, CASES = 70, 5, 23
MODULE = sys.modules["cprlab.probes.geometry"]  # the package gives the function


@pytest.fixture
def snapshot():
    rng = np.random.default_rng(3)
    favourites = rng.choice(N, 12, replace=False)
    return Snapshot(
        rng.normal(size=(N, D)) * [4, 2, 1, 1, 0.5] + [3, 0, 0, 0, 0],
        rng.normal(size=(CASES, D)) + 1,
        [rng.choice(favourites, size) for size in rng.integers(1, 15, CASES)],
        rng.integers(0, N, CASES),
        rng.normal(size=N),
        titles=[f"title {item}" for item in range(N)],
    )


def value(snapshot, measure):
    table = space(snapshot)
    return table.set_index("measure")["value"][measure]


def dense_log_probs(snapshot):
    """Centred over the items, then over the cases."""
    z = snapshot.states @ snapshot.item_embeddings.T + snapshot.bias
    log_probs = z - np.log(np.exp(z).sum(1, keepdims=True))
    log_probs = log_probs - log_probs.mean(1, keepdims=True)
    return log_probs - log_probs.mean(0)


@pytest.mark.parametrize("at_once", [1, 4 * N, 10**6])
def test_geometry_is_what_loops_measure(snapshot, at_once, monkeypatch):
    monkeypatch.setattr(MODULE, "DISTANCES_AT_ONCE", at_once)
    table = geometry(snapshot)
    assert table["case"].tolist() == list(range(CASES))
    for case, row in enumerate(table.itertuples()):
        history, h = set(snapshot.histories[case].tolist()), snapshot.states[case]
        mean = sum(snapshot.item_embeddings[item] for item in history) / len(history)
        away = [float(np.sqrt(((w - mean) ** 2).sum())) for w in snapshot.item_embeddings]
        farthest = max(away[item] for item in history)
        assert row.size == len(history)
        assert row.inside == sum(away[item] < farthest for item in range(N) if item not in history)
        expected = [
            np.sqrt((h**2).sum()),
            np.sqrt(((h - mean) ** 2).sum()),
            np.sqrt(((h - snapshot.item_embeddings[snapshot.targets[case]]) ** 2).sum()),
            np.sqrt(np.mean([away[item] ** 2 for item in history])),
        ]
        np.testing.assert_allclose([row.norm, row.to_history, row.to_target, row.spread], expected, atol=1e-12)
    assert table["inside"].max() > 0


def test_a_history_of_one_item_has_no_spread_and_nothing_inside():
    table = geometry(Snapshot(np.eye(3), [[1.0, 0, 0]], [[0, 0]], [2]))
    assert table.iloc[0].tolist() == [0, 1, 1, 0, np.sqrt(2), 0, 0]


def test_the_spectrum_of_embeddings_is_the_one_they_were_made_with():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(N), rng.normal(size=(N, 3))]))  # orthogonal to 1, so centred
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    weights = 7 + basis[:, 1:] * [1, 3, 2] @ rotation
    snapshot = Snapshot(weights, rng.normal(size=(4, 3)), [[0]] * 4, [1] * 4)
    table = spectra(snapshot)
    items = table[table["matrix"] == "item embeddings"]
    assert items["index"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(items["share"], np.array([9, 4, 1]) / 14, rtol=1e-9)
    np.testing.assert_allclose(value(snapshot, "participation ratio"), 14**2 / (81 + 16 + 1), rtol=1e-9)
    assert value(snapshot, "dimensions") == 3


def test_the_spectrum_of_log_probabilities_is_that_of_the_dense_matrix(snapshot):
    singular = np.linalg.svd(dense_log_probs(snapshot), compute_uv=False)
    assert (singular[D:] < 1e-12 * singular[0]).all()
    assert singular[D - 1] > 1e-3 * singular[0]
    table = spectra(snapshot)
    shares = table[table["matrix"] == "log-probabilities"]["share"]
    np.testing.assert_allclose(shares, singular[:D] ** 2 / (singular**2).sum(), rtol=1e-9)
    shares = singular[:D] / singular[:D].sum()
    expected = np.exp(-sum(share * np.log(share) for share in shares))
    np.testing.assert_allclose(value(snapshot, "effective rank"), expected, rtol=1e-9)


def test_log_probabilities_have_rank_d_and_one_for_the_normaliser_and_one_for_the_bias(snapshot):
    with_bias = np.concatenate([part.numpy() for _, part in snapshot.log_probs()])
    unbiased = Snapshot(snapshot.item_embeddings, snapshot.states, snapshot.histories, snapshot.targets)
    without = np.concatenate([part.numpy() for _, part in unbiased.log_probs()])
    assert np.linalg.matrix_rank(with_bias) == D + 2
    assert np.linalg.matrix_rank(without) == D + 1
    assert np.linalg.matrix_rank(without - without.mean(1, keepdims=True)) == D


def test_mean_cosine_and_correlations_and_hubness_are_what_loops_count(snapshot):
    w, pairs, occurrences = snapshot.item_embeddings, [], np.zeros(N)
    for i in range(N):
        pairs += [w[i] @ w[j] / np.linalg.norm(w[i]) / np.linalg.norm(w[j]) for j in range(N) if i != j]
        nearest = sorted((j for j in range(N) if j != i), key=lambda j: ((w[i] - w[j]) ** 2).sum())
        occurrences[nearest[:10]] += 1
    popularity = [0] * N
    for history, target in zip(snapshot.histories, snapshot.targets, strict=True):
        for item in [*history, target]:
            popularity[item] += 1
    np.testing.assert_allclose(value(snapshot, "mean cosine"), np.mean(pairs), rtol=1e-9)
    np.testing.assert_allclose(value(snapshot, "hubness"), stats.skew(occurrences), rtol=1e-9)
    ranks = [stats.rankdata(values) for values in (popularity, np.linalg.norm(w, axis=1), snapshot.bias)]
    for measure, of_measure in (("norm and popularity", ranks[1]), ("bias and popularity", ranks[2])):
        np.testing.assert_allclose(value(snapshot, measure), np.corrcoef(ranks[0], of_measure)[0, 1], rtol=1e-9)


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_no_number():
    same = Snapshot(np.eye(3) + 0.1, np.full((3, 3), 0.1), [[0]] * 3, [1] * 3)
    assert (same.states.mean(0) != 0.1).all()  # rounded, so that centring alone leaves no zeros
    assert np.isnan(value(same, "effective rank"))
    assert spectra(same)["share"].isna().sum() == 3
    assert np.isnan(value(same, "norm and popularity"))
    assert "bias and popularity" not in set(space(same)["measure"])
    one_is_zero = Snapshot([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], [[1.0, 1.0]], [[0]], [1])
    assert value(one_is_zero, "mean cosine") == 0


@pytest.mark.parametrize("head", ["Softmax + CPR:3,8", "MoS:2 + CPR:8"])
def test_facet_distances_are_between_the_states_that_score_items(head):
    recommender, histories = build(head), [[1, 2, 1], [3], [4, 5, 6, 7]]
    table = facet_distances(recommender, histories)
    names = {
        "Softmax + CPR:3,8": ["V", "R8", "R3", "C"],
        "MoS:2 + CPR:8": ["V", "R8", "C", "V_2", "R8_2", "C_2"],
    }[head]
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    assert list(zip(table["case"], table["facet"], table["other"], strict=True)) == [
        (case, *pair) for case in range(3) for pair in pairs
    ]
    for row in table.itertuples():
        items, at, _ = recommender.collate([histories[row.case]])
        facets = recommender(items, at)
        a, b = (facets[name][0, 0].detach().numpy() for name in (row.facet, row.other))
        np.testing.assert_allclose(row.distance, np.sqrt(((a - b) ** 2).sum()), rtol=1e-9)
        np.testing.assert_allclose(row.cosine, a @ b / np.sqrt((a @ a) * (b @ b)), rtol=1e-9)


def test_many_histories_are_read_a_few_at_a_time(monkeypatch):
    recommender, histories = build("Softmax + C", "MF"), [[1, 2], [3], [4, 5], [6], [7]]
    table = facet_distances(recommender, histories, users=[0, 1, 2, 0, 1])
    monkeypatch.setattr(MODULE, "HISTORIES_AT_ONCE", 2)
    again = facet_distances(recommender, histories, users=[0, 1, 2, 0, 1])
    np.testing.assert_allclose(again["distance"], table["distance"], rtol=1e-12)
    assert table["distance"].nunique() == 3  # of the users


@pytest.mark.parametrize("head", ["Softmax", "RepeatNet"])
def test_a_single_hidden_state_is_far_from_no_other(head):
    table = facet_distances(build(head), [[1, 2]])
    assert list(table) == ["case", "facet", "other", "distance", "cosine"]
    assert table.empty


def test_the_map_shows_the_plane_of_most_variance(snapshot):
    case = int(np.argmax([len(items) for items in snapshot.distinct]))
    history = set(snapshot.distinct[case].tolist())
    target = int(snapshot.targets[case])
    marked = [item for item in range(N) if item not in history | {target}][:3]
    table = neighbourhood(snapshot, case, [*marked, next(iter(history))], n=9)
    by_kind = table.groupby("kind")["item"].agg(set)
    assert by_kind["history"] == history - {target}
    assert by_kind["interfering"] == set(marked)
    assert by_kind["target"] == {target}
    mean = snapshot.item_embeddings[sorted(history)].mean(0)
    rest = [item for item in range(N) if item not in history | {target, *marked}]
    nearest = sorted(rest, key=lambda item: ((snapshot.item_embeddings[item] - mean) ** 2).sum())
    assert by_kind["other"] == set(nearest[:9])
    assert table["title"].tolist() == [f"title {item}" for item in table["item"][:-1]] + ["hidden state"]
    items = table.iloc[:-1]
    points = snapshot.item_embeddings[items["item"]]
    variances = np.linalg.eigvalsh(np.cov(points.T, bias=True))[::-1]
    np.testing.assert_allclose(np.cov(items[["x", "y"]].T, bias=True), np.diag(variances[:2]), atol=1e-9)
    np.testing.assert_allclose((items["off_plane"] ** 2).mean(), variances[2:].sum(), rtol=1e-9)
    hidden = table.iloc[-1]
    assert hidden["kind"] == "hidden state"
    assert hidden["item"] == -1
    to_mean = ((snapshot.states[case] - points.mean(0)) ** 2).sum()
    np.testing.assert_allclose(hidden["x"] ** 2 + hidden["y"] ** 2 + hidden["off_plane"] ** 2, to_mean, rtol=1e-9)


def test_a_map_needs_no_marks_and_refuses_what_is_not_there(snapshot):
    assert "interfering" not in set(neighbourhood(snapshot, 0, [])["kind"])
    for case, marked, says in ((CASES, [], f"no case {CASES}"), (-1, [], "no case -1"), (0, [2, N], f"no item {N}")):
        with pytest.raises(DataError, match=says):
            neighbourhood(snapshot, case, marked)
    with pytest.raises(DataError, match="two or more dimensions"):
        neighbourhood(Snapshot([[1.0], [2.0]], [[1.0]], [[0]], [1]), 0, [])
