"""Sensitivity in words: ranges over settings, what validation chose, and the verdict once both are tuned."""

import itertools

import pandas as pd
import pytest

from cprlab.studies.sensitivity import sensitivity_answer
from cprlab.sweeps import Results

HEADS, RATES, USERS = ("Softmax", "Softmax + C"), (0.004, 0.001), 400
NDCG = {1: 1.0, 3: 0.5, 20: 0.0}


def results_of(ranks):
    """Runs of `HEADS` at `RATES`, all users at one rank; validation prefers the second rate."""
    rows, cases = [], []
    for (head, rate), rank in zip(itertools.product(HEADS, RATES), ranks, strict=True):
        labels = {"data": "my_log", "encoder": "GRU4Rec", "head": head, "learning_rate": rate, "seed": 0}
        rows.append(labels | {"validation": 0.1 + (rate == 0.001), "best_epoch": 1, "epochs": 2})
        users = pd.DataFrame({"user": range(USERS), "repeat": True, "rank": rank, "rank_post": 1})
        cases.append(pd.concat([pd.DataFrame(labels, index=users.index), users], axis=1))
    return Results(pd.DataFrame(rows), pd.concat(cases, ignore_index=True))


@pytest.mark.parametrize(
    ("ranks", "verdict"),
    [
        ((20, 3, 3, 1), "gains is not tuning alone: +0.5000 [+0.5000, +0.5000], better, once both are tuned."),
        ((20, 1, 3, 1), "tuning may be all of the gain that the usual settings show: +0.0000 [+0.0000, +0.0000], no"),
        ((1, 1, 3, 1), "So no gain is shown once both are tuned: +0.0000 [+0.0000, +0.0000], no difference shown."),
    ],
)
def test_the_answer_gives_gains_by_who_is_tuned_and_a_verdict(ranks, verdict):
    text = sensitivity_answer(results_of(ranks), "Softmax", {"learning_rate": 0.004})
    first, second = ([NDCG[rank] for rank in half] for half in (ranks[:2], ranks[2:]))
    assert f"Softmax reaches {min(first):.4f} to {max(first):.4f}, Softmax + C {min(second):.4f} to" in text
    gains = [b - a for a, b in zip(first, second, strict=True)]
    assert f"At like settings the gain is {min(gains):+.4f} to {max(gains):+.4f}" in text
    above, below = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    assert f"above zero at {above} of 2, below at {below}." in text
    assert "Softmax: learning_rate 0.001; Softmax + C: learning_rate 0.001." in text
    for label, gain in {
        "Neither": second[0] - first[0], "Only Softmax + C": second[1] - first[0],
        "Only Softmax": second[0] - first[1], "Both": second[1] - first[1],
    }.items():  # fmt: skip
        assert f"- **{label} tuned**: {gain:+.4f} [" in text
    assert verdict in text
    assert "In none of 4 runs was the last epoch the best one." in text
    assert "my\\_log" in text
    assert "small sample" not in text
