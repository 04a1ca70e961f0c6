import numpy as np
import pandas as pd
import pytest

from cprlab.studies.report import against_rivals


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
