"""Bins of cases against pandas, on two seeds of two heads."""

import numpy as np
import pandas as pd
import pytest

from cprlab.evaluation import by_bins


def test_each_bin_has_the_mean_of_its_users_over_all_seeds():
    rng = np.random.default_rng(0)
    users = np.arange(60)
    gap = np.where(users % 3 == 0, np.nan, users % 7 + 1.0)
    runs = [
        pd.DataFrame({"data": "log", "head": head, "seed": seed, "user": users, "gap": gap}).assign(
            repeat=~np.isnan(gap), copy_probability=rng.uniform(size=60)
        )
        for head in ("A", "B")
        for seed in (0, 1)
    ]
    cases = pd.concat(runs, ignore_index=True)
    table = by_bins(cases, "gap", ("copy probability", "copy excess"), bins=3)
    assert set(table["head"]) == {"A", "B"}
    assert "seed" not in table
    edges = [0, *np.quantile(gap[~np.isnan(gap)], [1 / 3, 2 / 3]), np.inf]
    for head, of_head in table.groupby("head"):
        rows = cases[(cases["head"] == head) & cases["repeat"]]
        expected = rows.groupby(pd.cut(rows["gap"], edges), observed=True)
        copied = of_head[of_head["metric"] == "copy probability"]
        assert copied["value"].tolist() == pytest.approx(expected["copy_probability"].mean().tolist())
        assert copied["gap"].tolist() == expected["gap"].median().tolist()
        assert copied["n"].tolist() == expected["user"].nunique().tolist()
        assert copied["n"].sum() == 40
        assert ((copied["low"] < copied["value"]) & (copied["value"] < copied["high"])).all()
        excess = of_head[of_head["metric"] == "copy excess"]
        assert excess["value"].tolist() == pytest.approx((copied["value"] - 1).tolist())
