"""Several hidden states: heads named by what they read, and runs labelled by it."""

import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.models import SoftmaxConfig, parse_head
from cprlab.studies.inputs import by_inputs, readers
from cprlab.sweeps import Results


def results_of(heads):
    rows, cases = [], []
    for head in heads:
        labels = {"data": "my_log", "encoder": "GRU4Rec", "head": head, "d": 8, "seed": 0}
        rows.append(labels | {"validation": 0.1, "best_epoch": 2, "epochs": 2, "folder": head})
        users = pd.DataFrame({"user": range(40), "repeat": False, "rank": 1, "rank_post": 1})
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
    read = by_inputs(results_of(names))
    expected = [("Softmax", 2, 2), ("Softmax", 0, 0), ("Softmax + CP", 0, 1), ("Softmax + CP", 0, 0)]
    labels = ["head", "window", "depth"]
    assert list(read.table[labels].itertuples(index=False, name=None)) == expected
    assert list(read.cases[labels].drop_duplicates().itertuples(index=False, name=None)) == expected
    assert list(read.cases.columns[:7]) == ["data", "encoder", "head", "window", "depth", "d", "seed"]
