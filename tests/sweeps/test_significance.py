"""The test of paired differences against all signs tried by hand, the binomial test, and its own level."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cprlab.sweeps import gains, significance
from cprlab.sweeps.statistics import _exchangeable, _holm


def cases(losses):
    """Return cases of runs with these log-losses, by head and seed; no target is a repeat, and all rank 11th."""
    runs = []
    for (head, seed), values in losses.items():
        run = pd.DataFrame({"head": head, "seed": seed, "user": range(len(values)), "log_loss": values})
        runs.append(run.assign(repeat=False, rank=11, rank_post=11.0))
    return pd.concat(runs, ignore_index=True)


def by_hand(differences):
    """Return the share of all ways to set the signs whose mean is at least as far from 0."""
    means = [np.dot(signs, np.abs(differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    return np.mean(np.abs(means) >= abs(np.sum(differences)) - 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_few_differences_get_the_exact_value_whatever_zeros_stand_between(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.4, 1, 9)
    padded = rng.permutation(np.concatenate([differences, np.zeros(40)]))
    assert _exchangeable(padded, 0) == pytest.approx(by_hand(differences), abs=1e-12)


def test_differences_of_one_size_are_the_sign_test():
    differences = np.repeat([1.0, -1.0, 0.0], [35, 18, 100])
    exact = stats.binomtest(35, 53).pvalue
    assert _exchangeable(differences, 0) == pytest.approx(exact, abs=0.006)  # three standard errors of 9,999 draws
    many = np.repeat([1.0, -1.0], [1040, 960])
    assert _exchangeable(many, 0) == pytest.approx(stats.binomtest(1040, 2000).pvalue, abs=0.004)


def test_where_nothing_differs_there_is_no_test_and_one_difference_shows_nothing():
    assert _exchangeable(np.array([0.0, 0.4, 0.0]), 0) == by_hand([0.4]) == 1
    assert np.isnan(_exchangeable(np.zeros(50), 0))


def test_the_level_is_kept_with_many_zeros():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(400, 60)) * (rng.random((400, 60)) < 0.15)
    p = np.array([_exchangeable(draw, 0) for draw in draws])
    assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.4 < np.mean(p <= 0.5) < 0.6  # and it is not merely never small


def test_holms_adjustment_is_the_one_of_its_definition():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(_holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(_holm(np.array([0.6, 0.9])), [1, 1])


def test_a_table_has_the_gains_and_averages_seeds_before_it_tests():
    rng = np.random.default_rng(1)
    base, other = rng.normal(size=(2, 8)), rng.normal(-0.5, 1, size=(2, 8))
    table = cases({(head, seed): run[seed] for head, run in (("A", base), ("B", other)) for seed in (0, 1)})
    found = significance(table, {"head": "A"}, ("log-loss", "NDCG@10"))
    columns = [name for name in found if name not in ("p", "holm")]
    pd.testing.assert_frame_equal(found[columns], gains(table, {"head": "A"}, ("log-loss", "NDCG@10")))
    p = by_hand((other - base).mean(0))
    losses = found[found["metric"] == "log-loss"]
    np.testing.assert_allclose(losses["p"], [p, p])  # all, and new, which are all
    np.testing.assert_allclose(losses["holm"], np.minimum(1, [2 * p, 2 * p]))
    assert found.loc[found["metric"] == "NDCG@10", ["p", "holm"]].isna().all(axis=None)
