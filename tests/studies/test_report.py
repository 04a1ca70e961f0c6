from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cprlab.studies.report import against_rivals, behind, cautions


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
    return SimpleNamespace(cases=cases_of(*ranks), history=pd.DataFrame({"ndcg": ndcg}))


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
    assert cautions(worse, ["B", "D"]).startswith("D ranks worse than Counts, which only counts: its NDCG@10 is 0.0000")
