"""A tiny results folder: two logs, with repeats and without, two encoders or none, one seed or two."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cprlab.data import InteractionLog, Sequences
from cprlab.models import GRU4RecConfig, SASRecConfig
from cprlab.results import keep_all, read_results
from cprlab.training import RunConfig, TrainingConfig, train
from tests.conftest import random_log

SMALL = {
    "GRU4Rec": GRU4RecConfig(d=8, hidden=8, dropout=0),
    "SASRec": SASRecConfig(d=8, inner=8, dropout=0, attention_dropout=0),
}
# Of each head, its seeds with each encoder; those that count have neither.
ASKED: dict[str, dict[str, tuple[int, ...]]] = {
    "Softmax": {"GRU4Rec": (0, 1), "SASRec": (0,)},
    "Softmax + B": {"GRU4Rec": (1,)},
    "Softmax + CPR:100 + Mi": {"GRU4Rec": (0, 1), "SASRec": (0,)},
    "Counts": {"GRU4Rec": (0,)},
    "Recent": {"GRU4Rec": (0,)},
}


def new_items_log(users=40, items=120, seed=1):
    """A log in which nobody takes an item twice."""
    rng = np.random.default_rng(seed)
    rows = [(user, int(item)) for user in range(users) for item in rng.permutation(items)[: rng.integers(6, 20)]]
    return InteractionLog.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id"]), "all|new.inter")


def basket_log(users=25, items=110, seed=2):
    """A log of baskets of three, whose times name them."""
    rng = np.random.default_rng(seed)
    rows = [
        (user, int(item), basket)
        for user in range(users)
        for basket in range(5)
        for item in rng.choice(items, 3, replace=False)
    ]
    return InteractionLog.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), "again.parquet")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of runs, the runs in it, the folder of results, and what was kept there."""
    folder = tmp_path_factory.mktemp("kept")
    logs = {
        "again": Sequences.from_log(random_log(users=40, items=110), max_len=20),
        "all|new": Sequences.from_log(new_items_log(), max_len=20),
        "baskets": Sequences.from_log(basket_log(), split="next-basket"),
    }
    runs = []
    for sequences in logs.values():
        for head, encoders in ASKED.items():
            for encoder, seeds in encoders.items():
                for seed in seeds:
                    training = TrainingConfig(epochs=2, batch_size=16, learning_rate=0.02, seed=seed)
                    config = RunConfig(encoder=SMALL[encoder], head=head, training=training)
                    runs.append(train(sequences, config, folder / "runs", "cpu"))
    kept, refused = keep_all(folder / "runs", folder / "results")
    assert not refused
    results = folder / "results"
    return SimpleNamespace(runs=runs, folder=folder / "runs", results=results, kept=read_results(results), files=kept)
