"""Trends: the slope of gains over the logarithm of a setting."""

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.evaluation import gains, trends

WIDTHS, USERS = (16, 32, 128), 40


def cases_of(widths=WIDTHS, n_seeds=2):
    rng = np.random.default_rng(3)
    tables = []
    for head in ("Softmax", "Softmax + C"):
        for width in widths:
            for seed in range(n_seeds):
                users = pd.DataFrame({"user": range(USERS), "repeat": np.arange(USERS) % 2 == 0})
                users = users.assign(rank=rng.integers(1, 20, USERS), rank_post=rng.integers(1, 20, USERS))
                labels = pd.DataFrame({"head": head, "d": width, "seed": seed}, index=users.index)
                tables.append(pd.concat([labels, users], axis=1))
    return pd.concat(tables, ignore_index=True)


def test_the_trend_is_the_line_through_the_gains():
    cases = cases_of()
    found = trends(cases, {"head": "Softmax"}, "d")
    assert list(found.columns) == ["head", "ranking", "cases", "metric", "value", "low", "high", "n"]
    assert len(found) == 2 * 3
    points = gains(cases, {"head": "Softmax"})
    for row in found.itertuples():
        of_line = points.query("ranking == @row.ranking and cases == @row.cases")
        assert row.value == pytest.approx(np.polyfit(np.log2(of_line["d"]), of_line["value"], 1)[0], abs=1e-12)
        assert row.low < row.value < row.high


def test_a_gain_that_grows_alike_for_all_users_has_no_spread():
    cases = cases_of((16, 64), n_seeds=1)
    cases["rank"] = np.where((cases["head"] == "Softmax") & (cases["d"] == 64), 3, 1)  # gains of 0 and of 1 − 0.5
    row = next(trends(cases, {"head": "Softmax"}, "d").query("ranking == 'raw' and cases == 'all'").itertuples())
    assert (row.value, row.low, row.high) == pytest.approx((0.25, 0.25, 0.25))


def test_one_value_has_no_trend():
    with pytest.raises(ConfigError, match="two values of 'd'"):
        trends(cases_of((16,)), {"head": "Softmax"}, "d")
