"""The accuracy that stands beside diversity, and both as text."""

import numpy as np
import pandas as pd
import pytest

from cprlab.models import GRU4RecConfig
from cprlab.studies.diversity import TAKEN, accuracy, measured
from cprlab.sweeps import Trial, run_trials
from cprlab.training import RunConfig, TrainingConfig

HEADS = ("Softmax", "Softmax + C")


@pytest.fixture(scope="module")
def results(sequences, tmp_path_factory):
    trials = [
        Trial(
            {"data": "log", "encoder": "GRU4Rec", "head": head, "seed": seed},
            RunConfig(
                encoder=GRU4RecConfig(d=8, hidden=8),
                head=head,
                training=TrainingConfig(epochs=2, batch_size=8, seed=seed),
            ),
        )
        for head in HEADS
        for seed in (0, 1)
    ]
    return run_trials(trials, {"log": sequences}, tmp_path_factory.mktemp("runs"), "cpu")


def test_accuracy_is_that_of_means_and_gains_and_the_first_head_has_a_twin_without_the_history(results):
    found = accuracy(results.cases, "Softmax", "Softmax (post)").set_index(["against", "lists"])
    assert list(found.index) == [
        ("", "Softmax"), ("", "Softmax (post)"), ("", "Softmax + C"),
        ("Softmax", "Softmax (post)"), ("Softmax", "Softmax + C"),
    ]  # fmt: skip
    ndcg = {}
    for name, head, rank in (
        ("Softmax", "Softmax", "rank"),
        ("Softmax (post)", "Softmax", "rank_post"),
        ("Softmax + C", "Softmax + C", "rank"),
    ):
        ranks = results.cases.loc[results.cases["head"] == head, rank]
        ndcg[name] = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean()
    for (against, name), row in found.iterrows():
        assert row["value"] == pytest.approx(ndcg[name] - (ndcg[against] if against else 0))
        assert row["low"] <= row["value"] <= row["high"]
    same = accuracy(results.cases, "Softmax", "Softmax")  # whose history is left out already
    assert same["lists"].tolist() == ["Softmax", "Softmax + C", "Softmax + C"]


def test_measures_are_read_side_by_side():
    columns = ["data", "against", "lists", "metric", "value", "low", "high", "n"]
    found = pd.DataFrame(
        [
            ("log", "", "Softmax", "NDCG@10", 0.1, 0.05, 0.15, 40),
            ("log", "", "Softmax", "repeats", 0.25, 0.2, 0.3, 40),
            ("log", "", TAKEN, "repeats", 0.5, 0.4, 0.6, 40),
        ],
        columns=columns,
    )
    text = measured(found, 2)
    assert text.loc[("log", "Softmax")].tolist() == ["0.10 [0.05, 0.15]", "0.25 [0.20, 0.30]"]
    assert text.loc[("log", TAKEN)].tolist() == ["", "0.50 [0.40, 0.60]"]
