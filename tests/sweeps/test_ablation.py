"""Which heads differ in one part, and that a part's gain is the paired one of these two heads."""

import numpy as np
import pandas as pd
import pytest

from cprlab.sweeps import contributions
from cprlab.sweeps.ablation import steps


def test_all_pairs_that_differ_in_one_part_are_found_and_no_others():
    heads = [
        "Softmax",
        "Softmax + Mi",
        "Softmax + C",
        "Softmax + CP",
        "Softmax + R:100",
        "Softmax + CPR:100",
        "Softmax + CPR:100 + Mi",
        "Softmax + CPR:20,100,500 + Mi",
        "Softmax + C (context_merge=add)",  # another merge is no part
        "MoS:3 + Mi",
        "Softmax + B",
        "Softmax + F",
        "Softmax + CP + F",
        "RepeatNet",
    ]
    assert [tuple(step) for step in steps(heads)] == [
        ("C", "Softmax + C", "Softmax"),
        ("C", "Softmax + C (context_merge=add)", "Softmax"),
        ("P", "Softmax + CP", "Softmax + C"),
        ("R:100", "Softmax + R:100", "Softmax"),
        ("R:100", "Softmax + CPR:100", "Softmax + CP"),
        ("R:20,500", "Softmax + CPR:20,100,500 + Mi", "Softmax + CPR:100 + Mi"),
        ("B", "Softmax + B", "Softmax"),
        ("F", "Softmax + F", "Softmax"),
        ("F", "Softmax + CP + F", "Softmax + CP"),
        ("Mi", "Softmax + Mi", "Softmax"),
        ("Mi", "Softmax + CPR:100 + Mi", "Softmax + CPR:100"),
    ]
    assert steps(["Softmax + R:20", "Softmax + R:100", "Softmax + CP"]) == []


def test_a_part_gains_the_difference_of_its_two_heads_on_each_log():
    rng = np.random.default_rng(0)
    losses = {(data, head): rng.normal(size=30) for data in "xy" for head in ("Softmax", "Softmax + C", "Softmax + CP")}
    cases = pd.concat(
        [
            pd.DataFrame({"data": data, "head": head, "seed": 0, "user": range(30), "log_loss": values})
            for (data, head), values in losses.items()
        ],
        ignore_index=True,
    ).assign(repeat=[user % 3 == 0 for user in range(30)] * 6, rank=1, rank_post=1.0)
    found = contributions(cases, ("log-loss",))
    assert len(found) == 2 * 2 * 3  # parts, logs, groups
    for row in found.itertuples():
        chosen = {"all": slice(None), "repeat": slice(0, None, 3)}.get(row.cases)
        if chosen:
            difference = losses[row.data, row.head] - losses[row.data, row.over]
            assert row.value == pytest.approx(difference[chosen].mean())
        assert (row.part, row.over) in {("C", "Softmax"), ("P", "Softmax + C")}
    assert contributions(cases[cases["head"] == "Softmax"]).empty
