"""Several hidden states: heads named by what they read, and answers that say what the ranks say."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.models import SoftmaxConfig, parse_head
from cprlab.studies.inputs import by_inputs, inputs_answer, readers
from cprlab.sweeps import Results

USERS = 40


def results_of(models, rank, validation):
    """Runs of the (head, d) in `models`; `rank(head, d)` gives each user's rank, `validation(head, d)` the NDCG@10."""
    rows, cases = [], []
    for head, d in models:
        labels = {"data": "my_log", "encoder": "GRU4Rec", "head": head, "d": d, "seed": 0}
        found = {"validation": validation(head, d), "best_epoch": 2, "epochs": 2 + (d == 16), "folder": f"{head} {d}"}
        rows.append(labels | found)
        users = pd.DataFrame({"user": range(USERS), "repeat": False, "rank": rank(head, d), "rank_post": 1})
        cases.append(pd.concat([pd.DataFrame(labels, index=users.index), users], axis=1))
    return Results(pd.DataFrame(rows), pd.concat(cases, ignore_index=True))


def test_readers_are_the_head_without_mi_and_with_it_at_each_window_and_depth():
    names = readers("Softmax + CP + Mi (window=5, context_merge=add)", (0, 2), (1, 2))
    heads = [head for head in map(parse_head, names) if isinstance(head, SoftmaxConfig)]
    assert [str(head) for head in heads] == names
    assert names[0] == "Softmax + CP (context_merge=add)"
    assert [(head.inputs, head.window, head.depth) for head in heads[1:]] == [
        (True, window, depth) for depth in (1, 2) for window in (0, 2)
    ]
    assert all(head.context_merge == "add" for head in heads)
    assert readers("Softmax") == ["Softmax", "Softmax + Mi"]
    with pytest.raises(ConfigError):
        readers("Softmax", (-1,))


def test_runs_are_labelled_by_what_their_heads_read():
    names = ["Softmax + Mi", "Softmax", "Softmax + CP + Mi (window=0, depth=1)", "Softmax + CP"]
    read = by_inputs(results_of([(name, 8) for name in names], lambda head, d: 1, lambda head, d: 0.1))
    expected = [("Softmax", 2, 2), ("Softmax", 0, 0), ("Softmax + CP", 0, 1), ("Softmax + CP", 0, 0)]
    labels = ["head", "window", "depth"]
    assert list(read.table[labels].itertuples(index=False, name=None)) == expected
    assert list(read.cases[labels].drop_duplicates().itertuples(index=False, name=None)) == expected
    assert list(read.cases.columns[:7]) == ["data", "encoder", "head", "window", "depth", "d", "seed"]


READ = readers("Softmax", (0, 2), (1,)) + readers("Softmax + C", (0, 2), (1,))


@pytest.fixture
def read():
    """Softmax: validation chooses W = 2, which moves all from rank 3 (NDCG .5) to 1. C: it chooses one state."""
    ranks = {"Softmax": 3, "Softmax + Mi (window=0, depth=1)": 3, "Softmax + Mi (depth=1)": 1}
    best = {"Softmax + Mi (depth=1)": 0.3, "Softmax + C": 0.3}
    assert set(ranks) | set(best) <= set(READ)
    return by_inputs(
        results_of(
            [(name, 64) for name in READ], lambda head, d: ranks.get(head, 3), lambda head, d: best.get(head, 0.2)
        )
    )


def sizes_where(rank):
    return results_of(itertools.product(("Softmax", "Softmax + C"), (16, 64)), rank, lambda head, d: 0.1)


def test_the_answer_says_what_validation_chose_and_what_it_gains(read):
    sizes = sizes_where(lambda head, d: 3 if head == "Softmax" else 1)
    text = inputs_answer(read, sizes, "Softmax")
    assert "Of 2 heads, validation chooses further states for 1; they are shown to help 1." in text
    softmax, context = (line for line in text.splitlines() if "choices of W and H" in line)
    assert "of 2 choices of W and H, 1 gain over one state with an interval above zero, 0 lose" in softmax
    assert softmax.count("+0.5000 [+0.5000, +0.5000], better (+100% [+100%, +100%])") == 2
    assert "chooses W = 2, H = 1" in softmax
    assert context.endswith("Validation chooses to read one state.")
    assert "my\\_log" in text
    assert "In 6 of 8 runs the last epoch was the best one" in text  # two of the ten stand in both tables
    assert "small sample, of 40 test users" in text


@pytest.mark.parametrize(
    ("gain_at", "change", "verdict"),
    [
        ({16: 3, 64: 1}, "+0.2500", "grows"),
        ({16: 1, 64: 3}, "-0.2500", "shrinks"),
        ({16: 1, 64: 1}, "+0.0000", "change"),
    ],
)
def test_the_answer_says_how_the_gain_goes_with_the_hidden_size(read, gain_at, change, verdict):
    sizes = sizes_where(lambda head, d: 3 if head == "Softmax" else gain_at[d])
    text = inputs_answer(read, sizes, "Softmax")
    (line,) = (line for line in text.splitlines() if "each doubling" in line)
    assert f"changes by {change} [{change}, {change}]: it" in line
    assert verdict in line.split("]: it ")[1].split(".")[0]
    assert f"{verdict} for 1 of 1 heads." in text
    narrow = np.log2(2) / np.log2(1 + gain_at[16]) - 0.5
    assert f"against Softmax at d = 64: {narrow:+.4f}" in line
