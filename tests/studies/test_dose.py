"""Dose and response: thinned logs by name, changes of a gain against loops, planted gains against the known floor."""

import numpy as np
import pandas as pd
import pytest

from cprlab.data import CopyingPlan, count_repeats
from cprlab.errors import DataError
from cprlab.evaluation import METRICS
from cprlab.studies.dose import by_dose, changes, planted_gain, thinned
from cprlab.training import fit_plan, planted_losses
from tests.data.test_sequences import sequences_of

HEADS = ("Softmax", "CPR")
USERS = 40


@pytest.fixture(scope="module")
def facts():
    rows = [
        (f"log, {dose} of {removed}", "log", removed, dose, USERS, 100 - 50 * dose, 0.5 - dose / 2, 0.4 * (1 - dose))
        for removed in ("repeats", "any")
        for dose in (0, 0.5, 1)
    ]
    columns = ["data", "log", "removed", "dose", "users", "interactions", "repeats", "tested"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def cases(facts):
    """Ranks of two seeds; CPR is better than the softmax but where all repeats are removed."""
    rng = np.random.default_rng(0)
    runs = []
    for row in facts.itertuples():
        repeat = rng.random(USERS) < row.tested
        for head in HEADS:
            for seed in (0, 1):
                worst = 4 if head == "CPR" and not (row.removed == "repeats" and row.dose == 1) else 30
                rank = rng.integers(1, worst, USERS)
                labels = {"data": row.data, "encoder": "GRU4Rec", "head": head, "seed": seed}
                of_run = {"user": range(USERS), "repeat": repeat, "rank": rank}
                runs.append(pd.DataFrame(labels | of_run | {"rank_post": rank + 1.0}))
    return pd.concat(runs, ignore_index=True)


def test_logs_are_thinned_by_both_rules_and_known_by_name():
    repeating = sequences_of([[1, 2, 3, 4, 1, 2, 3, 4, user] for user in range(5, 9)], 10)
    logs = {"once": sequences_of([[1, 2, 3, 4, 5]], 10), "again": repeating}
    made, facts = thinned(logs, (0, 0.5, 1))
    assert list(made) == facts["data"].tolist()
    assert facts["log"].unique().tolist() == ["again"]  # there is nothing to remove from the other one
    assert facts[["removed", "dose"]].apply(tuple, axis=1).tolist() == [
        (removed, dose) for removed in ("repeats", "any") for dose in (0, 0.5, 1)
    ]
    for row in facts.itertuples():
        counts = count_repeats(made[row.data])
        assert (row.users, row.interactions) == (4, 36 - 16 * row.dose) == counts[:2]
        assert (row.repeats, row.tested) == (counts.repeats / row.interactions, counts.tested / 4)
    assert facts["repeats"][2] == 0 < facts["repeats"][5]
    assert made[facts["data"][0]].fingerprint == made[facts["data"][3]].fingerprint  # so it is trained on once
    with pytest.raises(DataError, match="Nothing repeats in once"):
        thinned({"once": logs["once"]}, (0, 1))


def test_cases_get_the_dose_as_a_label_in_front(cases, facts):
    labelled = by_dose(cases, facts)
    assert labelled.columns[:6].tolist() == ["data", "removed", "dose", "encoder", "head", "seed"]
    pd.testing.assert_frame_equal(labelled[cases.columns[1:]], cases[cases.columns[1:]])
    for row in facts.itertuples():
        chosen = labelled[(labelled["removed"] == row.removed) & (labelled["dose"] == row.dose)]
        assert cases.loc[chosen.index, "data"].unique().tolist() == [row.data]


def test_changes_are_differences_of_differences_user_by_user(cases, facts):
    labelled = by_dose(cases, facts)
    table = changes(labelled, "Softmax").set_index(["ranking", "removed"])
    assert len(table) == 6
    for ranking, rank in (("raw", "rank"), ("post", "rank_post")):
        score = labelled.assign(score=METRICS["NDCG@10"](labelled, rank)).groupby(["removed", "dose", "head"])["score"]
        mean = score.mean()  # of a full grid: a mean of differences is the difference of means
        change = {
            removed: (mean[removed, 1, "CPR"] - mean[removed, 1, "Softmax"])
            - (mean[removed, 0, "CPR"] - mean[removed, 0, "Softmax"])
            for removed in ("repeats", "any")
        }
        change["repeats, against as many of any"] = change["repeats"] - change["any"]
        for removed, value in change.items():
            row = table.loc[(ranking, removed)]
            assert row["value"] == pytest.approx(value, abs=1e-12)
            assert row["low"] < value < row["high"]
            assert row["n"] == USERS
    raw = table.loc["raw"]
    assert raw.loc["repeats", "high"] < 0
    assert raw.loc["any", "low"] < 0 < raw.loc["any", "high"]
    assert raw.loc["repeats, against as many of any", "high"] < 0


def test_where_all_users_change_alike_the_interval_is_a_point(cases, facts):
    labelled = by_dose(cases, facts)
    best = (labelled["head"] == "CPR") & (labelled["dose"] < 1)
    places = 1 + labelled["user"] % 20  # of the other runs, so the gains differ, and in each control as in its dose
    table = changes(labelled.assign(rank=places.where(~best, 1)), "Softmax").query("ranking == 'raw'")
    assert (table["low"] < table["high"]).tolist() == [True, True, False]
    assert table[["value", "low", "high"]].iloc[2].tolist() == [0, 0, 0]


def test_a_planted_gain_is_the_difference_of_losses_and_lies_between_those_of_its_users():
    rng = np.random.default_rng(0)

    def losses(above):
        return [pd.DataFrame({"best": 1.0, "floor": 0.25, "loss": 1 + above + rng.random(50) / 10}) for _ in range(2)]

    of_heads = {"Softmax": losses(0.4), "Softmax + C": losses(0.1)}
    found = planted_gain(of_heads)
    first, second = (np.mean([of_seed["loss"].mean() for of_seed in of_head]) for of_head in of_heads.values())
    assert (found["best"], found["floor"], found["n"]) == (1, 0.25, 50)
    assert found["Softmax"] == pytest.approx(first - 1)
    assert found["Softmax + C"] == pytest.approx(second - 1)
    assert found["value"] == pytest.approx(first - second)
    assert 0.2 < found["low"] < found["value"] < found["high"] < 0.4


@pytest.mark.parametrize(("conflict", "floor"), [(True, 0.8 * np.log(7 / 4)), (False, 0)])
def test_a_context_partition_gains_the_floor_with_the_conflict_and_next_to_nothing_without(conflict, floor):
    plan = CopyingPlan(users=1200, share=0.8, bottleneck=conflict)
    found = planted_gain({head: [planted_losses(plan, fit_plan(plan, head))] for head in ("Softmax", "Softmax + C")})
    assert found["floor"] == pytest.approx(floor)
    assert floor * 0.85 < found["value"] < floor * 1.15 + 0.05 * (not conflict)
    assert 0 <= found["Softmax + C"] < 0.02
