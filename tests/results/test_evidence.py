"""Runs for a notebook: kept ones by their labels, or trained ones that are read in the same way."""

import pytest

from cprlab.errors import ConfigError
from cprlab.results import EvidenceConfig, curves, read_cases
from cprlab.training import Run
from tests.conftest import random_log


def test_kept_runs_are_chosen_by_head_log_encoder_and_split(tiny):
    folder = str(tiny.results)
    heads = "Softmax; Counts"
    runs = EvidenceConfig(results=folder, heads=heads).kept()
    asked = {(run.labels["head"], run.labels["split"]) for run in runs}
    assert asked == {("Softmax", "leave-one-out"), ("Counts", "leave-one-out")}
    assert {run.labels["encoder"] for run in runs} == {"GRU4Rec", "SASRec", ""}
    only = EvidenceConfig(results=folder, heads=heads, encoder="SASRec", data=runs[0].labels["data"]).kept()
    assert {run.labels["encoder"] for run in only} == {"SASRec", ""}
    assert {run.labels["data"] for run in only} == {runs[0].labels["data"]}
    assert all(
        run.labels["split"] == "next-basket" for run in EvidenceConfig(results=folder, split="next-basket").kept()
    )


def test_the_plan_counts_runs_logs_and_hours(tiny):
    study = EvidenceConfig(results=str(tiny.results), heads="Softmax; Counts")
    runs = study.kept()
    trained = [run for run in runs if run.labels["encoder"]]
    hours = sum(sum(run.record["curve"]["seconds"]) for run in trained) / 3600
    logs = len({run.labels["data"] for run in runs})
    expected = f"{len(runs)} kept runs on {logs} logs. {len(trained)} of them were trained, until validation stopped"
    assert study.plan() == f"{expected} rising, in {hours:.1f} hours in all; the others count."


def test_none_kept_is_a_sentence_that_says_how_to_train_some(tiny):
    with pytest.raises(ConfigError, match=r"No run of Softmax \+ C on a\.csv is kept in .*-p epochs 5"):
        EvidenceConfig(results=str(tiny.results), heads="Softmax + C", data="a.csv").kept()


def test_curves_are_those_of_the_runs(tiny):
    runs = EvidenceConfig(results=str(tiny.results), heads="Softmax; Counts").kept()
    table = curves(runs)
    assert set(table["encoder"]) == {"GRU4Rec", "SASRec"}
    of_run = table.groupby(["data", "encoder", "head", "seed"])
    for run in (run for run in runs if run.labels["encoder"]):
        rows = of_run.get_group(tuple(run.labels[name] for name in ("data", "encoder", "head", "seed")))
        assert rows["epoch"].tolist() == list(range(1, len(rows) + 1))
        assert rows["ndcg"].tolist() == run.record["curve"]["ndcg"]
        assert rows["loss"].tolist() == run.record["curve"]["loss"]


def test_users_or_epochs_train_and_each_head_that_counts_is_there_once(tmp_path):
    log = random_log(users=30, items=25, longest=15)
    rows = zip(log.user_ids[log.users], log.item_ids[log.items], strict=True)
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows))
    asked = {"data": str(tmp_path / "log.csv"), "heads": "Softmax; Counts", "runs": str(tmp_path / "runs")}
    study = EvidenceConfig(**asked, epochs=1, users=20, device="cpu")
    assert study.plan() == f"3 runs (size small, 20 users, 1 epochs) are trained now, or read from {tmp_path / 'runs'}."
    runs = study.kept()
    assert [(run.labels["encoder"], run.labels["head"]) for run in runs] == [
        ("GRU4Rec", "Softmax"), ("SASRec", "Softmax"), ("", "Counts"),
    ]  # fmt: skip
    assert {len(read_cases([run])) for run in runs} == {20}
    trained = {Run.load(path.parent).config for path in (tmp_path / "runs").glob("*/run.json")}
    assert {run.config for run in runs} == trained
    assert [run.path for run in study.kept()] == [run.path for run in runs]
    assert len(read_cases(study.but(users=25).kept()[:1])) == 25
