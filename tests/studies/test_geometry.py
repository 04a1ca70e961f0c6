"""What notebook 8 asks of runs: the probes' own numbers, run by run, their paired differences, and the words."""

import numpy as np
import pandas as pd
import pytest

from cprlab.data import Sequences
from cprlab.probes import bottleneck_gap, copy_dial, copyable, geometry, interference, space
from cprlab.studies.geometry import (
    GeometryConfig,
    geometry_answer,
    interferers,
    norms_by_popularity,
    over_epochs,
    probe_runs,
)
from cprlab.studies.probe import picture
from cprlab.subjects import open_subject
from cprlab.sweeps import Grid, run_trials
from tests.conftest import random_log

CASES = 12


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    logs = {"log": Sequences.from_log(random_log(users=60, items=30), max_len=20)}
    settings = {"d": (6,), "batch_size": (8,), "epochs": (1, 3)}
    grid = Grid(data=("log",), head=("Softmax", "Softmax + C"), settings=settings, seeds=2)
    results = run_trials(grid.trials(), logs, tmp_path_factory.mktemp("runs"), "cpu")
    return logs, results, probe_runs(results, logs, CASES)


def test_the_stages_double_up_to_the_epochs_of_the_size():
    assert GeometryConfig(size="smoke").stages() == (1, 2)
    assert GeometryConfig(size="small").stages() == (1, 2, 4, 8, 12)
    assert GeometryConfig(size="full").stages() == (1, 2, 4, 8, 16, 32, 64, 100)


def test_each_run_has_the_numbers_of_its_probes(probed):
    logs, results, found = probed
    assert len(found.cases) == 8 * CASES
    for row in results.table.itertuples():
        whole = open_subject(row.folder, logs["log"])
        snapshot = whole.sample(CASES, 0).snapshot
        labels = "head == @row.head and epochs == @row.epochs and seed == @row.seed"
        cases, shape = found.cases.query(labels), found.space.query(labels)
        gap, places = bottleneck_gap(snapshot), geometry(snapshot)
        expected = {
            "copyable": copyable(snapshot)["outcome"] == "yes",
            "gap": gap["gap_ball"],
            "interfering": gap["interfering"],
            "norm": places["norm"],
            "apart": places["to_history"] / places["spread"],
            "inside": places["inside"],
        }
        pd.testing.assert_frame_equal(cases[list(expected)].reset_index(drop=True), pd.DataFrame(expected))
        pd.testing.assert_frame_equal(shape[["measure", "value"]].reset_index(drop=True), space(whole.snapshot))
    last = results.run(head="Softmax", epochs=3, seed=0).recommender
    np.testing.assert_array_equal(
        found.last["log", "Softmax"].snapshot.item_embeddings, last.embedding.weight[:-1].detach()
    )


def test_measures_and_differences_are_means_over_seeds_and_cases(probed):
    *_, found = probed
    of = found.cases.groupby(["head", "epochs"])["gap"].mean()
    table = over_epochs(found).query("metric == 'lost by the best state (nats)'")
    assert table["epochs"].tolist() == [1, 3, 1, 3]
    for row in table.itertuples():
        assert row.value == pytest.approx(of[row.head, row.epochs])
        assert row.low < row.value < row.high
        assert row.n == CASES
    paired = over_epochs(found, "Softmax").query("metric == 'lost by the best state (nats)'")
    assert set(paired["head"]) == {"Softmax + C"}
    for row in paired.itertuples():
        assert row.value == pytest.approx(of["Softmax + C", row.epochs] - of["Softmax", row.epochs])


def test_norms_are_those_of_the_items_of_each_bin(probed):
    logs, _, found = probed
    table = norms_by_popularity(found, logs, bins=3).query("head == 'Softmax'")
    weight = found.last["log", "Softmax"].snapshot.item_embeddings
    counts = logs["log"].training_counts()
    norms = pd.Series(np.sqrt((weight**2).sum(1)))
    edges = np.quantile(counts, [1 / 3, 2 / 3])
    bins = norms.groupby((counts > edges[0]).astype(int) + (counts > edges[1]))
    assert table["value"].tolist() == pytest.approx((bins.mean() / norms.mean()).tolist())
    assert table["n"].tolist() == bins.size().tolist()
    assert table["popularity"].is_monotonic_increasing


def test_interferers_are_counted_once_a_history(probed):
    *_, found = probed
    subject = found.last["log", "Softmax"]
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
    *_, found = probed
    subject = found.last["log", "Softmax"]
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


def test_the_answer_tells_the_numbers_of_the_last_epochs(probed):
    *_, found = probed
    subject = found.last["log", "Softmax"]
    answer = geometry_answer(found, {("log", "Softmax"): copy_dial(subject.snapshot, (0, 1))})
    assert f"On **log**, after up to 3 epochs, on {CASES} test cases; so few say little:" in answer
    for head, rows in found.cases.groupby("head"):
        last, first = rows[rows["epochs"] == 3], rows[rows["epochs"] == 1]
        line = next(line for line in answer.splitlines() if line.startswith(f"- **{head}**"))
        assert f"can copy {last['copyable'].mean():.0%} [" in line
        assert f"({first['copyable'].mean():.0%} after the first epoch)" in line
        assert f"{np.exp(last['gap'].mean()):,.0f} times less than wanted" in line
        assert ("Copying alone costs it" in line) == (head == "Softmax")
        assert ("Against Softmax that is" in line) == (head == "Softmax + C")
