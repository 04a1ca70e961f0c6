"""What benchmarks/retrofit.py measures on a small model, and the table of docs/retrofit.md."""

import json

import pandas as pd
import pytest

from benchmarks.against_recbole import ROOT
from benchmarks.retrofit import finished, measured, own, section, stamped
from benchmarks.tables import filled
from cprlab.evaluation import mean
from cprlab.loading import load_sequences
from cprlab.models import GRU4RecConfig
from cprlab.training import RunConfig, TrainingConfig, train
from tests.conftest import random_log


@pytest.fixture(scope="module")
def measure(tmp_path_factory):
    """Return a run of a small log, and the rows of its softmax."""
    folder, log = tmp_path_factory.mktemp("logs"), random_log()
    table = pd.DataFrame({"user_id": log.user_ids[log.users], "item_id": log.item_ids[log.items]})
    table.to_csv(folder / "small.csv", index=False)
    config = RunConfig(encoder=GRU4RecConfig(d=8, hidden=8), training=TrainingConfig(epochs=1))
    run = train(load_sequences(str(folder / "small.csv")), config, folder / "runs", "cpu")
    return run, list(measured(own(str(run.folder), finished([folder / "runs"]), folder)))


def test_rows_are_of_the_models_own_test_cases(measure):
    run, rows = measure
    assert [row["part"] for row in rows] == ["+ B", "+ F", "+ C", "+ C + F"]
    assert [row["numbers"] for row in rows] == [1, 4, 1 + 8 * 8 + 8, 3 + 8 * 8 + 8]
    for row in rows:
        assert row["before"]["log-loss"] == pytest.approx(mean(run.cases, "log-loss"), abs=1e-6)
        assert row["repeats"] == pytest.approx(mean(run.cases, "observed repeats"))
        value, low, high = row["difference"]["log-loss"]
        assert value == pytest.approx(row["after"]["log-loss"] - row["before"]["log-loss"])
        assert low <= value <= high
        assert value < 0  # users repeat more than a model of one epoch expects


def test_the_page_has_a_line_for_the_model_and_each_part(measure):
    _, rows = measure
    block = section(rows)
    assert "(cprlab 1, 2026-01-01)" in stamped([row | {"day": "2026-01-01", "versions": "cprlab 1"} for row in rows])
    lines = [line for line in block.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == 1 + len(rows)
    assert f"{rows[0]['difference']['log-loss'][0]:+.3f} [" in lines[1]


def test_the_table_of_the_page_is_made_of_the_kept_rows():
    page = (ROOT / "docs" / "retrofit.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "results" / "retrofit.json").read_text(encoding="utf-8"))
    assert filled(page, "retrofit", f"{section(rows)}\n\n{stamped(rows)}") == page
