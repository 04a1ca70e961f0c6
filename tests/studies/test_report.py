from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cprlab.studies.report import against_rivals, behind, cautions, guessing


def cases_of(*ranks):
    """One user a rank."""
    return pd.DataFrame({"user": range(len(ranks)), "repeat": False, "rank": ranks, "rank_post": 1})


def test_the_first_trained_head_meets_recent_and_the_best_one_counts():
    cases = {"Counts": cases_of(3, 3), "A": cases_of(20, 3), "B": cases_of(1, 3), "Recent": cases_of(20, 1)}
    found = against_rivals(cases, ["A", "B"])
    assert list(zip(found["head"], found["against"], strict=True)) == [("A", "Recent"), ("B", "Counts")]
    ndcg = {head: np.mean([1 / np.log2(1 + rank) * (rank <= 10) for rank in of["rank"]]) for head, of in cases.items()}
    for row in found.itertuples():
        assert row.value == pytest.approx(ndcg[row.head] - ndcg[row.against])
    assert set(found["cases"]) == {"all"}
    assert against_rivals({"A": cases["A"]}, ["A"]).empty


def test_the_best_rival_that_ranks_better_beyond_doubt_is_named():
    rng = np.random.default_rng(0)
    cases = {name: cases_of(*rng.integers(1, most, 300)) for name, most in (("A", 30), ("Recent", 12), ("Counts", 6))}
    ndcg = {head: np.mean([1 / np.log2(1 + rank) * (rank <= 10) for rank in of["rank"]]) for head, of in cases.items()}
    said = behind(cases, "A", ["Recent", "Counts"])
    assert said.startswith("A ranks worse than Counts, which only counts: its NDCG@10 is ")
    assert f"{ndcg['A']:.4f} against {ndcg['Counts']:.4f} ({ndcg['A'] - ndcg['Counts']:+.4f} [" in said
    assert "than Recent" in behind(cases, "A", ["Recent"])
    assert behind(cases, "Counts", ["Recent"]) == ""
    same = cases | {"B": cases["A"]}
    assert behind(same, "B", ["A"]) == ""  # no difference
    few = {name: of.head(10) for name, of in cases.items()}
    assert behind(few, "A", ["Counts"]) == ""  # too few users to tell


def run_of(ranks, *ndcg) -> Any:
    record = {"data": {"items": 100}}
    cases = cases_of(*ranks).assign(log_loss=np.log(50))
    return SimpleNamespace(cases=cases, history=pd.DataFrame({"ndcg": ndcg}), record=record)


def test_heads_that_still_rise_are_named_and_others_are_not():
    ranks = [1, 2, 3] * 20
    runs = {
        "Counts": run_of(ranks, 0.3),
        "A": run_of(ranks, 0.1, 0.2),
        "B": run_of(ranks, 0.2, 0.1),
        "C": run_of(ranks, 0.1),
    }
    said = cautions(runs, ["A", "B", "C"])
    assert said == (
        "The validation NDCG@10 was still rising in the last epoch for A, C: what is reported here may change with "
        "more epochs."
    )
    assert cautions(runs, ["B"]) == ""
    worse = runs | {"D": run_of([11] * 60, 0.2, 0.1)}
    said = cautions(worse, ["B", "D"])
    assert said.startswith("D is no better than a uniform guess among the items in this: its NDCG@10 is 0.0000, and ")
    assert "D ranks worse than Counts, which only counts: its NDCG@10 is 0.0000" in said
    worse["B"].record["data"]["items"] = 10
    assert "HIT@10 is always 1 with 10 items or fewer." in cautions(worse, ["B"])
    worse["B"].cases["log_loss"] = 800.0
    assert "its log-loss is 800.00 nats, and that of a guess 2.30." in cautions(worse, ["B"])


@pytest.mark.parametrize("n", [1, 4, 10, 11, 200])
def test_a_model_is_a_guess_from_where_a_uniform_one_is(n):
    ranks = cases_of(*range(1, n + 1))  # each rank as often: the mean of a random order
    assert "NDCG" in guessing("A", ranks.assign(log_loss=0.9 * np.log(n)), n)
    if n > 1:
        better = cases_of(1, *range(1, n))
        assert guessing("A", better.assign(log_loss=0.9 * np.log(n)), n) == ""
        assert "log-loss" in guessing("A", better.assign(log_loss=1.1 * np.log(n)), n)
