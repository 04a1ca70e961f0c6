"""What the notebook on geometry asks of models: the probes' own numbers, and their paired differences."""

import numpy as np
import pandas as pd
import pytest

from cprlab.data import Sequences
from cprlab.probes import bottleneck_gap, copy_dial, copyable, interference
from cprlab.studies.geometry import interferers, measured, norms_by_popularity, of_cases
from cprlab.studies.probe import picture
from cprlab.subjects import open_subject
from cprlab.sweeps import Grid, run_trials
from tests.conftest import random_log

CASES = 12


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Two models of one log, with the same cases."""
    log = Sequences.from_log(random_log(users=60, items=30), max_len=20)
    settings = {"d": (6,), "batch_size": (8,), "epochs": (3,)}
    grid = Grid(data=("log",), head=("Softmax", "Softmax + C"), settings=settings)
    results = run_trials(grid.trials(), {"log": log}, tmp_path_factory.mktemp("runs"), "cpu")
    opened = [open_subject(folder, log).sample(CASES, 0) for folder in results.table["folder"]]
    return dict(zip(results.table["head"], opened, strict=True))


def test_each_case_has_the_numbers_of_its_probes(subjects):
    for subject in subjects.values():
        snapshot, cases = subject.snapshot, of_cases(subject)
        state, vectors = snapshot.states, [snapshot.item_embeddings[history] for history in snapshot.distinct]
        centres = np.array([of_history.mean(0) for of_history in vectors])
        inside = []
        for items, centre in zip(snapshot.distinct, centres, strict=True):
            far = np.linalg.norm(snapshot.item_embeddings - centre, axis=1)
            inside.append(sum(far[item] < far[items].max() for item in range(30) if item not in items))
        gap = bottleneck_gap(snapshot)
        expected = {
            "copyable": copyable(snapshot)["outcome"] == "yes",
            "gap": gap["gap_ball"],
            "interfering": gap["interfering"],
            "norm": np.linalg.norm(state, axis=1),
            "inside": inside,
        }
        for name, values in expected.items():
            np.testing.assert_allclose(cases[name], values, rtol=1e-5, err_msg=name)


def test_measures_and_differences_are_means_over_cases(subjects):
    cases = {head: of_cases(subject) for head, subject in subjects.items()}
    of = {head: rows["gap"].mean() for head, rows in cases.items()}
    table = measured(cases).query("metric == 'lost by the best state (nats)'")
    assert table["head"].tolist() == list(of)
    for row in table.itertuples():
        assert row.value == pytest.approx(of[row.head])
        assert row.low < row.value < row.high
        assert row.n == CASES
    (paired,) = measured(cases, "Softmax").query("metric == 'lost by the best state (nats)'").itertuples()
    assert (paired.head, paired.value) == ("Softmax + C", pytest.approx(of["Softmax + C"] - of["Softmax"]))
    assert paired.high - paired.low < table["high"].sum() - table["low"].sum()


def test_norms_are_those_of_the_items_of_each_bin(subjects):
    table = norms_by_popularity(subjects, bins=3).query("head == 'Softmax'")
    snapshot = subjects["Softmax"].snapshot
    counts = np.array([sum((history == item).sum() for history in snapshot.histories) for item in range(30)])
    norms = pd.Series(np.sqrt((snapshot.item_embeddings**2).sum(1)))
    edges = np.quantile(counts, [1 / 3, 2 / 3])
    bins = norms.groupby((counts > edges[0]).astype(int) + (counts > edges[1]))
    assert table["value"].tolist() == pytest.approx((bins.mean() / norms.mean()).tolist())
    assert table["n"].tolist() == bins.size().tolist()
    assert table["popularity"].is_monotonic_increasing


def test_interferers_are_counted_once_a_history(subjects):
    subject = subjects["Softmax"]
    pairs = interference(subject.snapshot)
    table = interferers(subject, most=4)
    assert len(table) == 4
    assert table["histories"].is_monotonic_decreasing
    for row in table.itertuples():
        rows = pairs[pairs["title"] == row.title]
        assert row.histories == pytest.approx(rows["case"].nunique() / CASES)
        assert row.excess == pytest.approx(rows["excess"].mean())
    assert table["histories"].max() == pytest.approx(pairs.groupby("item")["case"].nunique().max() / CASES)


def test_the_picture_is_the_worst_case_of_its_kind(subjects):
    subject = subjects["Softmax"]
    dial = copy_dial(subject.snapshot, (0, 1))
    repeat = subject.cases["repeat"].to_numpy()
    for kind, alpha, column in (("copy", 1, "floor_ball"), ("exclude", 0, "stay")):
        title, table = picture(subject, dial, kind)
        lost = dial.loc[dial["alpha"] == alpha, column].to_numpy()
        worst = max(lost[repeat == (kind == "copy")])
        assert f"{worst:.1f} nats lost" in title
        case = int(np.flatnonzero(lost == worst)[0])
        assert table.query("kind == 'target'")["item"].tolist() == [subject.snapshot.targets[case]]
    assert picture(subject, None, "copy") is None
