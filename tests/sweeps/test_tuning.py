"""Tuning: settings are chosen by validation alone, and heads with different settings are compared user by user."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.evaluation import METRICS
from cprlab.sweeps import Results, tuned, tuning_gains

HEADS, RATES, DROPOUTS, USERS = ("Softmax", "Softmax + C"), (0.004, 0.001), (0.0, 0.5), 30
BEST = {"Softmax": (0.001, 0.5), "Softmax + C": (0.004, 0.5)}


def grid_of_results(n_seeds=2):
    """Runs whose validation is best at `BEST` on average over seeds, but not with seed 0; test ranks are random."""
    rng = np.random.default_rng(0)
    rows, cases = [], []
    for head, rate, dropout, seed in itertools.product(HEADS, RATES, DROPOUTS, range(n_seeds)):
        labels = {"data": "log", "encoder": "GRU4Rec", "head": head, "learning_rate": rate, "dropout": dropout}
        best = BEST[head] == (rate, dropout)
        rows.append(labels | {"seed": seed, "validation": (0.1, 0.5)[seed] if best else 0.2, "folder": str(len(rows))})
        of_run = pd.DataFrame({"user": range(USERS), "repeat": np.arange(USERS) % 3 == 0})
        of_run = of_run.assign(rank=rng.integers(1, 20, USERS), rank_post=rng.integers(1, 20, USERS))
        cases.append(pd.concat([pd.DataFrame(labels | {"seed": seed}, index=of_run.index), of_run], axis=1))
    return Results(pd.DataFrame(rows), pd.concat(cases, ignore_index=True))


def ndcg(results, head, rate, dropout):
    """NDCG@10 of each seed and user, from the ranks."""
    runs = results.cases.query("head == @head and learning_rate == @rate and dropout == @dropout")
    return METRICS["NDCG@10"](runs, "rank").to_numpy()


def test_the_best_values_by_validation_are_kept_for_each_head():
    results = grid_of_results()
    best = tuned(results, ["learning_rate", "dropout"])
    chosen = {row.head: (row.learning_rate, row.dropout) for row in best.table.itertuples()}
    assert chosen == BEST
    assert len(best.table) == len(HEADS) * 2
    assert list(best.cases.columns[:5]) == ["data", "encoder", "head", "seed", "user"]
    for head, values in BEST.items():
        mine = METRICS["NDCG@10"](best.cases[best.cases["head"] == head], "rank")
        np.testing.assert_array_equal(mine, ndcg(results, head, *values))


def test_a_setting_that_is_not_tuned_stays_a_label():
    best = tuned(grid_of_results(), ["learning_rate"])
    assert list(best.cases.columns[:5]) == ["data", "encoder", "head", "dropout", "seed"]
    assert len(best.table) == len(HEADS) * len(DROPOUTS) * 2


def test_of_equals_the_first_is_kept():
    results = grid_of_results()
    results.table["validation"] = 0.3
    assert set(tuned(results, ["learning_rate", "dropout"]).table["learning_rate"]) == {RATES[0]}


def test_gains_are_those_of_the_chosen_and_of_the_usual_values():
    results = grid_of_results()
    usual = {"learning_rate": 0.004, "dropout": 0.0}
    found = tuning_gains(results, "Softmax", usual).query("ranking == 'raw' and cases == 'all'").set_index("tuned")
    values: dict[bool, dict] = {True: BEST, False: dict.fromkeys(HEADS, tuple(usual.values()))}
    expected = {
        "neither": (False, False), "only Softmax + C": (False, True), "only Softmax": (True, False),
        "both": (True, True),
    }  # fmt: skip
    assert set(found.index) == set(expected)
    for name, (of_first, of_other) in expected.items():
        other, first = (
            ndcg(results, head, *values[which][head])
            for head, which in zip(HEADS[::-1], (of_other, of_first), strict=True)
        )
        assert found.loc[name, "value"] == pytest.approx((other - first).mean(), abs=1e-12)
        assert found.loc[name, "low"] < found.loc[name, "value"] < found.loc[name, "high"]


def test_unknown_settings_and_usual_values_that_nobody_tried_are_refused():
    results = grid_of_results()
    with pytest.raises(ConfigError, match="no setting 'rate'"):
        tuned(results, ["rate"])
    with pytest.raises(ConfigError, match="no runs with the usual values"):
        tuning_gains(results, "Softmax", {"learning_rate": 0.5})
