"""The test of paired differences against all signs tried by hand, the binomial test, and its own level."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cprlab.evaluation import gains, holm_adjusted, significance
from cprlab.evaluation.significance import _exchangeable


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


def p_of(*differences):
    """Return the tests of these differences in log-loss, one head for each."""
    table = cases({("A", 0): 0.0 * differences[0]} | {(f"B{place}", 0): row for place, row in enumerate(differences)})
    found = significance(table, {"head": "A"}, ("log-loss",))
    return found[found["cases"] == "all"]


@pytest.mark.parametrize("seed", range(4))
def test_few_differences_get_the_exact_value_whatever_zeros_stand_between(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.4, 1, 9)
    padded = rng.permutation(np.concatenate([differences, np.zeros(40)]))
    assert p_of(padded)["p"].item() == pytest.approx(by_hand(differences), abs=1e-12)


def test_differences_of_one_size_are_the_sign_test():
    differences = np.repeat([1.0, -1.0, 0.0], [35, 18, 100])
    exact = stats.binomtest(35, 53).pvalue
    assert p_of(differences)["p"].item() == pytest.approx(exact, abs=0.006)  # three standard errors of 9,999 draws
    many = np.repeat([1.0, -1.0], [1040, 960])
    assert p_of(many)["p"].item() == pytest.approx(stats.binomtest(1040, 2000).pvalue, abs=0.004)


def test_where_nothing_differs_there_is_no_test_and_one_difference_shows_nothing():
    found = p_of(np.array([0.0, 0.4, 0.0]), np.zeros(3))
    assert found["p"].iloc[0] == by_hand([0.4]) == 1
    assert found[["p", "holm"]].iloc[1].isna().all()


def test_the_level_is_kept_with_many_zeros():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(400, 60)) * (rng.random((400, 60)) < 0.15)
    p = np.array([_exchangeable(draw[draw != 0], 0) for draw in draws])
    assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.4 < np.mean(p <= 0.5) < 0.6  # and it is not merely never small


def test_holms_adjustment_is_the_one_of_its_definition():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm_adjusted(p), [0.03, np.nan, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm_adjusted(np.array([0.6, 0.9])), [1, 1])


def test_what_differs_alike_is_one_test():
    rng = np.random.default_rng(3)
    one, other = rng.normal(0.5, 1, size=(2, 8))
    found = p_of(one, other, one)
    np.testing.assert_allclose(found["holm"], holm_adjusted(found["p"].to_numpy()[:2])[[0, 1, 0]])


def test_a_table_has_the_gains_and_averages_seeds_before_it_tests():
    rng = np.random.default_rng(1)
    base, other = rng.normal(size=(2, 8)), rng.normal(-0.5, 1, size=(2, 8))
    table = cases({(head, seed): run[seed] for head, run in (("A", base), ("B", other)) for seed in (0, 1)})
    found = significance(table, {"head": "A"}, ("log-loss", "NDCG@10"))
    columns = [name for name in found if name not in ("p", "holm")]
    pd.testing.assert_frame_equal(found[columns], gains(table, {"head": "A"}, ("log-loss", "NDCG@10")))
    losses = found[found["metric"] == "log-loss"]  # of all, and of new ones, which are all: one test
    np.testing.assert_allclose(losses[["p", "holm"]], by_hand((other - base).mean(0)))
    assert found.loc[found["metric"] == "NDCG@10", ["p", "holm"]].isna().all(axis=None)


def test_a_quotient_has_an_interval_only_where_no_resampled_base_is_0():
    base, other = np.zeros(40), np.full(40, 2.0)
    base[:2] = 1.0  # in some resamples neither of the two is drawn
    few = gains(cases({("A", 0): base, ("B", 0): other}), {"head": "A"}, ("log-loss",)).iloc[0]
    assert few["ratio"] == 40
    assert np.isnan([few["ratio_low"], few["ratio_high"]]).all()
    many = gains(cases({("A", 0): base + 1, ("B", 0): other}), {"head": "A"}, ("log-loss",)).iloc[0]
    assert many["ratio_low"] < many["ratio"] < many["ratio_high"]
