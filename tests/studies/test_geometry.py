"""What the notebook on geometry asks of runs: the probes' own numbers, and their paired differences over runs."""

import numpy as np
import pandas as pd
import pytest

from cprlab.data import Sequences
from cprlab.probes import bottleneck_gap, copy_dial, copyable, interference
from cprlab.studies.geometry import GeometryConfig, interferers, norms_by_popularity, of_cases, over_epochs
from cprlab.studies.probe import picture
from cprlab.subjects import open_subject
from cprlab.sweeps import Grid, run_trials
from tests.conftest import random_log

CASES = 12


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """A log, the probes' numbers of each run, and the models of the first seed after the most epochs."""
    log = Sequences.from_log(random_log(users=60, items=30), max_len=20)
    settings = {"d": (6,), "batch_size": (8,), "epochs": (1, 3)}
    grid = Grid(data=("log",), head=("Softmax", "Softmax + C"), settings=settings, seeds=2)
    results = run_trials(grid.trials(), {"log": log}, tmp_path_factory.mktemp("runs"), "cpu")
    tables, last = [], {}
    for row in results.table.to_dict("records"):
        subject = open_subject(row["folder"], log).sample(CASES, 0)
        tables.append(of_cases(subject).assign(**{name: row[name] for name in ("data", "head", "epochs", "seed")}))
        if row["seed"] == 0:
            last["log", row["head"]] = subject
    return log, pd.concat(tables, ignore_index=True), last


def test_the_stages_double_up_to_the_epochs_of_the_size():
    assert GeometryConfig(size="smoke").stages() == (1, 2)
    assert GeometryConfig(size="small").stages() == (1, 2, 4, 8, 12)
    assert GeometryConfig(size="full").stages() == (1, 2, 4, 8, 16, 32, 64, 100)


def test_each_case_has_the_numbers_of_its_probes(probed):
    *_, last = probed
    for subject in last.values():
        snapshot, cases = subject.snapshot, of_cases(subject)
        state, vectors = snapshot.states, [snapshot.item_embeddings[history] for history in snapshot.distinct]
        centres = np.array([of_history.mean(0) for of_history in vectors])
        spread = [np.sqrt(((v - c) ** 2).sum(1).mean()) for v, c in zip(vectors, centres, strict=True)]
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
            "apart": np.linalg.norm(state - centres, axis=1) / spread,
            "inside": inside,
        }
        for name, values in expected.items():
            np.testing.assert_allclose(cases[name], values, rtol=1e-5, err_msg=name)


def test_measures_and_differences_are_means_over_seeds_and_cases(probed):
    _, cases, _ = probed
    of = cases.groupby(["head", "epochs"])["gap"].mean()
    table = over_epochs(cases).query("metric == 'lost by the best state (nats)'")
    assert table["epochs"].tolist() == [1, 3, 1, 3]
    for row in table.itertuples():
        assert row.value == pytest.approx(of[row.head, row.epochs])
        assert row.low < row.value < row.high
        assert row.n == CASES
    paired = over_epochs(cases, "Softmax").query("metric == 'lost by the best state (nats)'")
    assert set(paired["head"]) == {"Softmax + C"}
    for row in paired.itertuples():
        assert row.value == pytest.approx(of["Softmax + C", row.epochs] - of["Softmax", row.epochs])


def test_norms_are_those_of_the_items_of_each_bin(probed):
    log, _, last = probed
    table = norms_by_popularity(last, {"log": log}, bins=3).query("head == 'Softmax'")
    weight = last["log", "Softmax"].snapshot.item_embeddings
    counts = log.training_counts()
    norms = pd.Series(np.sqrt((weight**2).sum(1)))
    edges = np.quantile(counts, [1 / 3, 2 / 3])
    bins = norms.groupby((counts > edges[0]).astype(int) + (counts > edges[1]))
    assert table["value"].tolist() == pytest.approx((bins.mean() / norms.mean()).tolist())
    assert table["n"].tolist() == bins.size().tolist()
    assert table["popularity"].is_monotonic_increasing


def test_interferers_are_counted_once_a_history(probed):
    *_, last = probed
    subject = last["log", "Softmax"]
    pairs = interference(subject.snapshot)
    table = interferers(subject, most=4)
    assert len(table) == 4
    assert table["histories"].is_monotonic_decreasing
    for row in table.itertuples():
        rows = pairs[pairs["title"] == row.title]
        assert row.histories == pytest.approx(rows["case"].nunique() / CASES)
        assert row.excess == pytest.approx(rows["excess"].mean())
    assert table["histories"].max() == pytest.approx(pairs.groupby("item")["case"].nunique().max() / CASES)


def test_the_picture_is_the_worst_case_of_its_kind(probed):
    *_, last = probed
    subject = last["log", "Softmax"]
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
