"""Planes against a singular value decomposition, and t-SNEs that are made elsewhere."""

import time

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer.maps import AROUND, Plane, Tsne, local, pca


@pytest.fixture(scope="module")
def weights():
    return (np.random.default_rng(4).normal(size=(200, 5)) * [5, 4, 3, 2, 1] + 7).astype(np.float32)


def svd_plane(vectors):
    """The mean, two principal axes, and the share of the variance along them."""
    mean = vectors.astype(float).mean(0)
    _, sizes, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean, axes[:2], (sizes[:2] ** 2).sum() / (sizes**2).sum()


def assert_on_plane(points, vectors, mean, axes, atol=1e-4):
    """Up to the axes' signs."""
    expected = (vectors - mean) @ axes.T
    signs = np.sign((points * expected).sum(0))
    np.testing.assert_allclose(points * signs, expected, atol=atol)
    return signs


def test_all_items_lie_on_their_principal_plane_and_other_vectors_too(weights):
    plane = pca(weights)
    mean, axes, share = svd_plane(weights)
    assert plane.points.dtype == np.float32
    signs = assert_on_plane(plane.points, weights, mean, axes)
    others = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(plane.place(others) * signs, (others - mean) @ axes.T, atol=1e-4)
    assert plane.place(np.empty((0, 5))).shape == (0, 2)
    assert f"{share:.0%} of the variance of all items" in plane.note
    assert 0.5 < share < 0.9


def test_a_neighbourhood_is_the_history_and_the_nearest_to_its_mean(weights):
    history = [3, 17, 17, 40]
    plane = local(weights, history)
    away = [np.linalg.norm(row - weights[history].mean(0)) for row in weights]
    shown = {*np.argsort(away)[: AROUND + 4].tolist(), *history}
    assert len(shown) < 70
    known = np.isfinite(plane.points).all(1)
    assert set(np.flatnonzero(known)) == shown
    assert np.isnan(plane.points[~known]).all()
    inside = weights[known]
    mean, axes, share = svd_plane(inside)
    signs = assert_on_plane(plane.points[known], inside, mean, axes)
    np.testing.assert_allclose(plane.place(weights[:9]) * signs, (weights[:9] - mean) @ axes.T, atol=1e-4)
    assert f"{share:.0%} of the variance of these {len(shown)} items" in plane.note


def test_a_neighbourhood_of_few_items_is_all_of_them(weights):
    assert np.isfinite(local(weights[:2], [0]).points).all()


@pytest.mark.parametrize("plane", [pca, lambda weights: local(weights, [3, 17, 17, 40])])
def test_along_the_slope_of_a_plane_a_states_scores_grow_as_far_as_the_plane_holds_them(weights, plane):
    plane, state = plane(weights), np.random.default_rng(5).normal(size=5)
    gradient, share = plane.slope(weights, state)
    shown = np.flatnonzero(np.isfinite(plane.points[:, 0]))
    scores, points = weights[shown] @ state, plane.points[shown]
    known = np.column_stack([points, np.ones(len(points))])
    slopes, *_ = np.linalg.lstsq(known, scores, rcond=None)  # the best linear description of scores by places
    np.testing.assert_allclose(gradient, slopes[:2], rtol=1e-4)
    left = scores - known @ slopes
    assert share == pytest.approx(1 - left.var() / scores.var(), abs=1e-5)
    assert 0.05 < share < 0.95
    assert plane.slope(weights, np.zeros(5)) is None
    assert Plane(plane.points, None, "").slope(weights, state) is None


def finished(tsne, place, weights):
    end = time.monotonic() + 60
    while (plane := tsne.plane(place, weights)) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return plane


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(1)
    return rng.normal(size=(60, 5)) * 0.1 + np.repeat(np.eye(5)[:3] * 20, 20, axis=0)


@pytest.fixture(scope="module")
def tsne(clusters, slow):
    """Two that are made at once: in place 0 none that can be."""
    tsne = Tsne()
    assert tsne.plane(1, clusters) is None
    assert tsne.plane(0, np.full((60, 5), np.nan)) is None
    return tsne


def test_a_tsne_is_awaited_and_keeps_neighbours_together(tsne, clusters):
    plane = finished(tsne, 1, clusters)
    assert plane.points.shape == (60, 2)
    assert plane.points.dtype == np.float32
    away = np.linalg.norm(plane.points[:, None] - plane.points, axis=2)
    nearest = np.argsort(away, axis=1)[:, 1:6]
    assert (nearest // 20 == np.arange(60)[:, None] // 20).all()
    assert np.isnan(plane.place(clusters)).all()
    assert "distances mean little" in plane.note
    assert len(tsne.asked) == 2


def test_a_tsne_that_cannot_be_made_says_why_in_a_sentence(tsne, clusters):
    with pytest.raises(ConfigError, match=r"^The t-SNE failed \(.*NaN.*\); choose another projection\.$"):
        finished(tsne, 0, clusters)


def test_a_plane_without_axes_places_nothing():
    placed = Plane(np.zeros((2, 2), dtype=np.float32), None, "").place(np.ones((3, 5)))
    assert placed.shape == (3, 2)
    assert np.isnan(placed).all()
