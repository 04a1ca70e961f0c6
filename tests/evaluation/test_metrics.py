import pandas as pd
import pytest

from cprlab.evaluation import MAIN, METRICS, Estimate, Metric, judge, means


def test_a_metric_in_the_table_is_one_in_the_statistics(monkeypatch):
    """NDCG@20 is an entry, and nothing else."""
    depth = Metric("depth", lambda cases, rank: cases[rank].clip(upper=20), k=20, better="lower")
    monkeypatch.setitem(METRICS, "depth", depth)
    cases = pd.DataFrame({"head": "A", "seed": 0, "user": range(4), "repeat": False, "rank": [1, 3, 15, 90]})
    found = means(cases.assign(rank_post=[1, 2, 5, 60]), ("depth",), groups=("all",)).set_index("ranking")["value"]
    assert found.to_dict() == {"raw": pytest.approx((1 + 3 + 15 + 20) / 4), "post": pytest.approx((1 + 2 + 5 + 20) / 4)}


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        (MAIN, "worse"),
        ("Brier score", "better"),
        ("loss on which", "better"),
        ("log-loss", "better"),
        ("HIT@10", "worse"),
    ]
    + [(name, "less") for name in ("copy excess", "copy probability", "copied in top 10")],
)
def test_the_table_says_which_of_two_values_is_better(metric, verdict):
    assert judge(Estimate(-0.2, -0.3, -0.1, 100), METRICS[metric].better) == verdict


@pytest.mark.parametrize(
    ("low", "high", "n", "verdict"),
    [
        (0.01, 0.03, 20, "better"),
        (-0.03, -0.01, 20, "worse"),
        (0.01, 0.03, 19, "too few users to tell"),
        (-0.01, 0.01, 19, "too few users to tell"),
        (0.0, 0.03, 20, "no difference shown"),
        (-0.03, 0.0, 20, "no difference shown"),
        (0.0, 0.0, 5000, "no difference shown"),
    ],
)
def test_a_difference_is_shown_where_its_interval_holds_no_zero_and_there_are_twenty_users(low, high, n, verdict):
    assert judge(Estimate((low + high) / 2, low, high, n)) == verdict
