import pandas as pd
import pytest

from cprlab.evaluation import MAIN, METRICS, Metric, means
from cprlab.studies.words import judgement


def test_a_metric_in_the_table_is_one_in_the_statistics(monkeypatch):
    """NDCG@20 is an entry, and nothing else."""
    depth = Metric("depth", lambda cases, rank: cases[rank].clip(upper=20), k=20, better="lower")
    monkeypatch.setitem(METRICS, "depth", depth)
    cases = pd.DataFrame({"head": "A", "seed": 0, "user": range(4), "repeat": False, "rank": [1, 3, 15, 90]})
    found = means(cases.assign(rank_post=[1, 2, 5, 60]), ("depth",), groups=("all",)).set_index("ranking")["value"]
    assert found.to_dict() == {"raw": pytest.approx((1 + 3 + 15 + 20) / 4), "post": pytest.approx((1 + 2 + 5 + 20) / 4)}


@pytest.mark.parametrize(
    ("metric", "verdict"), [(MAIN, "worse"), ("Brier score", "better"), ("loss on which", "better")]
)
def test_the_table_says_which_of_two_values_is_better(metric, verdict):
    row = pd.DataFrame([{"metric": metric, "value": -0.2, "low": -0.3, "high": -0.1, "n": 100}])
    assert judgement(next(row.itertuples())) == verdict
