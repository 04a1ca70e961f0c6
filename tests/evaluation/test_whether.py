"""Whether a head knows when to copy: against scikit-learn's AUC and the entropy, and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from cprlab.evaluation import knows_when
from cprlab.evaluation.whether import area


def cases(seed=0, users=200, tied=False):
    rng = np.random.default_rng(seed)
    repeat = rng.random(users) < 0.4
    copied = rng.beta(2 + repeat, 2.5)
    copied = copied.round(1) if tied else copied
    return pd.DataFrame(
        {"user": np.arange(users), "repeat": repeat, "copy_probability": copied, "log_loss": np.full(users, 50.0)}
    )


@pytest.mark.parametrize("tied", [False, True])
def test_the_area_is_scikit_learns_for_any_weights(tied):
    one = cases(1, tied=tied)
    weights = np.random.default_rng(2).integers(0, 4, (5, len(one)))
    found = area(one["copy_probability"].to_numpy(), one["repeat"].to_numpy(float), weights)
    expected = [roc_auc_score(one["repeat"], one["copy_probability"], sample_weight=row) for row in weights]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_losses_are_the_log_loss_and_the_entropy():
    one = cases()
    table = knows_when({"a": one}).set_index("metric")
    share = one["repeat"].mean()
    assert table.loc["loss on whether", "value"] == pytest.approx(log_loss(one["repeat"], one["copy_probability"]))
    assert table.loc["base rate", "value"] == pytest.approx(log_loss(one["repeat"], np.full(len(one), share)))
    assert table.loc["AUC", "value"] == pytest.approx(roc_auc_score(one["repeat"], one["copy_probability"]))
    against = table.loc["against the base rate"]
    assert against["value"] == pytest.approx(table.loc["loss on whether", "value"] - table.loc["base rate", "value"])
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert (table["n"] == 200).all()


def test_the_interval_is_as_wide_as_the_standard_error_says():
    """Hanley and McNeil's standard error of an area (Radiology 1982)."""
    one = cases(3, users=2000)
    row = knows_when({"a": one}).set_index("metric").loc["AUC"]
    area_, positive = row["value"], one["repeat"].sum()
    negative, q1, q2 = len(one) - positive, area_ / (2 - area_), 2 * area_**2 / (1 + area_)
    variance = area_ * (1 - area_) + (positive - 1) * (q1 - area_**2) + (negative - 1) * (q2 - area_**2)
    error = np.sqrt(variance / (positive * negative))
    assert (row["high"] - row["low"]) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)


def test_a_user_counts_once_however_many_cases_there_are():
    one = cases()
    many = one.loc[one.index.repeat(np.where(one["user"] < 50, 7, 1))].reset_index(drop=True)
    pd.testing.assert_frame_equal(knows_when({"a": many}), knows_when({"a": one}))


def test_heads_without_probabilities_and_cases_of_one_kind():
    one = cases()
    assert knows_when({"Recent": one.assign(copy_probability=np.nan)}).empty
    table = knows_when({"a": one.assign(repeat=False)})
    assert list(table["metric"]) == ["loss on whether", "base rate", "against the base rate"]
    assert table.set_index("metric").loc["base rate", "value"] == 0
