"""`cprlab probe`: what it opens, what it writes, and what it refuses."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.adapters.recbole import RECORDED, load
from cprlab.data.doubts import CHANGES
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import evaluate
from cprlab.explorer import ExplorerConfig, explore
from cprlab.pages.run import run_probe
from cprlab.probes import (
    NOTHING,
    Snapshot,
    cheapest,
    copy_dial,
    copy_probability,
    copy_scores,
    judge,
    loss_parts,
    retrofits,
    wanted_share,
)
from cprlab.studies.probe import ProbeConfig, examine, origins, rivals, verdicts
from cprlab.studies.probe import probed as probed_subjects
from cprlab.studies.report import behind
from cprlab.subjects import Subject, open_subject
from cprlab.training import Run, train
from tests.probes.test_bottleneck import make
from tests.probes.test_foreign import made_up, write


def read(folder):
    return json.loads((folder / "probe.json").read_text())


def test_the_folder_holds_the_page_the_numbers_and_the_notebook(probed):
    config, folder = probed
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "probe.json", "report.ipynb"]
    content = read(folder)
    assert list(content["models"]) == ["GRU4Rec, Softmax", "GRU4Rec, Softmax + CPR:5 + Mi"]
    assert content["settings"]["cases"] == config.cases
    softmax, cpr = content["models"].values()
    assert softmax["verdict"] in (folder / "index.html").read_text()
    assert {"copying", "parts", "space", "separable", "dial", "gap"} <= set(softmax)
    assert "dial" not in cpr
    assert "retrofit" not in cpr
    assert cpr["gain"] == ""
    assert sum(softmax["copyable"].values()) == softmax["cases"] == config.cases


def test_the_numbers_are_those_of_the_probes(probed):
    config, folder = probed
    run = Run.load(config.models[0])
    sequences = config.sequences()
    told = read(folder)["models"]["GRU4Rec, Softmax"]
    cases = evaluate(run.recommender, sequences)
    scores = copy_scores(cases).set_index("measure")["value"]
    assert {row["measure"]: row["value"] for row in told["copying"]} == pytest.approx(scores.to_dict())
    drawn = np.sort(np.random.default_rng(config.seed).choice(len(cases), config.cases, replace=False))
    snapshot, cases = Snapshot.from_sequences(run.recommender, sequences).take(drawn), cases.iloc[drawn]
    wanted = wanted_share(cases)
    parts = loss_parts(cases.reset_index(drop=True), wanted, copy_dial(snapshot, [wanted]))
    assert {row["part"]: row["value"] for row in told["parts"]} == pytest.approx(
        parts.set_index("part")["value"].to_dict()
    )
    counted = rivals(config.subjects(), config)
    assert list(counted) == ["Counts"]
    pd.testing.assert_frame_equal(counted["Counts"], train(sequences, config.run_config("Counts"), config.runs).cases)
    worse = behind({"This model": run.cases, **counted}, "This model", ["Counts"])
    assert told["verdict"] == judge(parts, cases["repeat"].mean(), behind=worse).words


def test_a_model_behind_a_rival_that_counts_is_said_so_first_and_without_a_log_nothing_is_said(probed, tmp_path):
    config, _ = probed
    subject = config.subjects()[0]
    better = {"Recent": subject.cases.assign(rank=1)}
    said = examine(subject, config, better).verdict.words
    assert said.startswith("This model ranks worse than Recent, which only counts: its NDCG@10 is ")
    others = {"Recent": better["Recent"].iloc[::-1].reset_index(drop=True)}
    assert "Recent" not in examine(subject, config, others).verdict.words  # of other users, or in another order
    make(n=60, m=40).save(tmp_path / "model.safetensors")
    alone = ProbeConfig(models=str(tmp_path / "model.safetensors"))
    assert rivals(alone.subjects(), alone) == {}
    counts: Any = SimpleNamespace(name="Counts", has_states=False, cases=better["Recent"])
    assert rivals([subject, counts], config) == {"Counts": better["Recent"]}


def test_its_advice_ends_with_what_a_part_gains_when_it_is_fitted(probed):
    """On all test cases, although the slower probes see a sample, and fitted on the validation cases."""
    config, folder = probed
    told = read(folder)["models"]["GRU4Rec, Softmax"]
    (subject, _) = config.subjects()
    validation, users = subject.validation()
    found = retrofits(
        subject.snapshot, validation=validation, users=subject.users, validation_users=users, seed=config.seed
    )
    rows = pd.concat([one.table for one in found.values()], ignore_index=True)
    np.testing.assert_allclose([row["value"] for row in told["retrofit"]], rows["value"], rtol=1e-4, atol=1e-6)
    part = cheapest(found, config.seed).part
    assert told["gain"].startswith("Measured: ")
    assert (f"+ {part} (" in told["gain"]) == (part != NOTHING)
    assert "judged on the test cases of 120" in told["gain"]
    assert told["gain"] in (folder / "index.html").read_text()


def test_too_few_users_are_said_and_nothing_is_fitted():
    snapshot = make(n=20, m=12)
    found = examine(Subject("few", snapshot, copy_probability(snapshot), False), ProbeConfig(cases=5))
    assert found.measured is None
    assert found.gain.startswith("No part was fitted: A retrofit is fitted on 10 users or more, and here are 6")


def test_a_second_probe_replaces_the_first_with_the_same_numbers_and_nothing_else_is_replaced(probed, tmp_path):
    config, folder = probed
    before = read(folder)
    run_probe(config, folder)
    assert read(folder) == before
    with pytest.raises(DataError, match="other files"):
        run_probe(config, folder.parent / "out")  # the report's
    with pytest.raises(DataError, match="contains the report on"):
        run_probe(config.but(models=config.models[0]), folder)


ONE_STATE = {"n_facet_context": 0, "n_facet_reranker": 0, "n_facet_emb": 0}


@pytest.mark.parametrize(
    ("changes", "head", "own_state"),
    [
        (ONE_STATE, "Softmax + Mi (depth=1)", False),
        (ONE_STATE | {"use_out_emb": True}, "Softmax + Mi (depth=1, tied=False)", False),
        (ONE_STATE | {"post_remove_context": 1}, "Softmax + Mi (post, depth=1)", True),
        (ONE_STATE | {"n_facet_context": 1}, "Softmax + C + Mi (depth=1)", True),
    ],
)
def test_of_recboles_heads_those_with_one_state_keep_the_copy_dial(tmp_path, changes, head, own_state):
    recorded = read_checkpoint(RECORDED / "GRU4RecCPR.pth")
    config = getattr(recorded["config"], "final_config_dict", recorded["config"]) | changes
    plain = {name: value for name, value in config.items() if isinstance(value, str | int | float)}
    torch.save({"config": plain, "state_dict": recorded["state_dict"]}, tmp_path / "model.pth")
    model = load(tmp_path / "model.pth")
    assert str(model.head.config) == head
    rows, cases = made_up(model)
    log = str(write(tmp_path / "log.inter", rows))
    subject = open_subject(str(tmp_path / "model.pth"), None, log)
    assert subject.own_state == own_state
    scores = model.log_probs([np.array(history) - 1 for history, _ in cases])
    loss = [-row[target - 1] for row, (_, target) in zip(scores, cases, strict=True)]
    np.testing.assert_allclose(subject.cases["log_loss"], loss, rtol=1e-5)
    found = examine(subject, ProbeConfig(models="model.pth", data=log, cases=5))
    assert (found.dial is None) == own_state


@pytest.mark.slow
def test_of_a_recbole_model_the_doubts_about_its_log_are_shown_first(tmp_path):
    model = load(RECORDED / "GRU4Rec.pth")
    rows, _ = made_up(model)
    user, item, time = rows[-10]
    log = write(tmp_path / "log.inter", [*rows, (user, item, time)])
    doubt = next(note for note in open_subject(str(RECORDED / "GRU4Rec.pth"), None, str(log)).notes if "copies" in note)
    copies = pd.read_csv(log, sep="\t").duplicated().sum()
    assert doubt.startswith(f"{CHANGES}{copies} of {len(rows) + 1} rows have the user, item and time of an earlier row")
    config = ProbeConfig(models=str(RECORDED / "GRU4Rec.pth"), data=str(log), cases=3)
    shown = run_probe(config, tmp_path / "page").read_text()
    assert 0 < shown.find("In doubt, and changes results") < shown.find(f"{copies} of {len(rows) + 1} rows")


def test_the_page_says_that_histories_seem_to_be_padded(tmp_path):
    arrays = vars(make(n=60, m=40))
    padded = np.array([[0] * (case % 7) + [5] * (8 - case % 7) for case in range(40)])
    given = {"item_embeddings": arrays["item_embeddings"], "states": arrays["states"], "targets": np.full(40, 5)}
    np.savez(tmp_path / "padded.npz", histories=padded, **given)
    np.savez(tmp_path / "sound.npz", histories=padded + 1, **given)
    with pytest.warns(UserWarning, match="28 of 40 histories begin with item 0 twice or more"):
        subjects = [open_subject(str(tmp_path / name), None) for name in ("padded.npz", "sound.npz")]
    assert origins(subjects).count("28 of 40 histories begin") == 1
    assert origins(subjects[:1]).endswith("subtract 1 from all codes.")
    assert "padding" not in origins(subjects[1:])


def test_a_snapshot_is_probed_as_it_is_and_with_histories_from_a_table(tmp_path):
    snapshot = make(n=60, m=40)
    snapshot.save(tmp_path / "model.safetensors")
    subject = open_subject(str(tmp_path / "model.safetensors"), None)
    assert (subject.name, subject.own_state) == ("model.safetensors", False)
    pd.testing.assert_frame_equal(subject.cases, copy_probability(snapshot))
    np.savez(tmp_path / "bare.npz", item_embeddings=snapshot.item_embeddings, states=snapshot.states)
    table = pd.DataFrame({"history": [history.tolist() for history in snapshot.histories], "target": snapshot.targets})
    table.to_parquet(tmp_path / "cases.parquet")
    config = ProbeConfig(models=str(tmp_path / "bare.npz"), histories=str(tmp_path / "cases.parquet"), cases=20)
    (subject,) = config.subjects()
    found = examine(subject, config)
    assert len(found.copyable) == len(found.gap) == 20
    assert set(found.dial["alpha"]) == {0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0}
    assert found.picture("copy") is None or found.picture("copy")[0].startswith("Should copy")


def test_a_models_name_is_text_on_the_page():
    subject, verdict = SimpleNamespace(name="<i>x_1_*[a](b)`"), SimpleNamespace(words="Words.")
    found: Any = SimpleNamespace(subject=subject, verdict=verdict, gain="<b>")
    assert verdicts([found]) == r"- **&lt;i&gt;x\_1\_\*\[a\](b)\`.** Words. &lt;b&gt;"


def test_histories_that_hold_every_item_are_left_out():
    snapshot = Snapshot(np.eye(3), np.ones((4, 3)), [[0, 1, 2], [0, 1], [2], [1, 2, 0]], [0, 2, 2, 1])
    subject = Subject("small", snapshot, copy_probability(snapshot), False)
    assert list(subject.sample(10, 0).cases["case"]) == [1, 2]
    whole = snapshot.take(np.array([0, 3]))
    with pytest.raises(DataError, match="contains every item"):
        Subject("whole", whole, copy_probability(whole), False).sample(10, 0)


def test_models_of_the_same_name_are_told_apart_by_their_places(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make(n=20, m=5).save(tmp_path / folder / "model.safetensors")
    make(n=20, m=5).save(tmp_path / "other.safetensors")
    paths = [tmp_path / name for name in ("one/model.safetensors", "other.safetensors", "two/model.safetensors")]
    names = [subject.name for subject in ProbeConfig(models="; ".join(map(str, paths))).subjects()]
    assert names == ["model.safetensors (1)", "other.safetensors", "model.safetensors (3)"]


def test_a_model_of_one_dimension_has_findings_but_no_map():
    snapshot = make(n=20, d=1, m=30)
    found = examine(Subject("flat", snapshot, copy_probability(snapshot), False), ProbeConfig())
    assert found.verdict.words
    assert found.picture("exclude") is None


def test_pictures_are_of_the_strongest_cases():
    snapshot = make(n=60, m=40, far=2)
    snapshot = Snapshot(
        snapshot.item_embeddings,
        snapshot.states,
        snapshot.histories,
        [history[0] if case % 2 else (history[0] + 1) % 60 for case, history in enumerate(snapshot.histories)],
    )
    config = ProbeConfig(cases=40)
    found = examine(Subject("made up", snapshot, copy_probability(snapshot), False), config)
    dial = copy_dial(snapshot, [0, 1])
    repeat = found.subject.cases["repeat"].to_numpy()
    for kind, alpha, column, chosen in (("copy", 1, "floor_ball", repeat), ("exclude", 0, "stay", ~repeat)):
        values = dial[dial["alpha"] == alpha].set_index("case")[column][chosen]
        title, table = found.picture(kind)
        assert f"{values.max():.1f} nats" in title
        shown = set(table.loc[table["kind"] == "history", "item"]) | set(table.loc[table["kind"] == "target", "item"])
        assert set(snapshot.distinct[values.idxmax()]) <= shown


def test_models_that_cannot_be_probed_are_refused_in_a_sentence(probed, report, tmp_path):
    config, _ = probed
    run = config.models[0]
    own = config.sequences()
    other = own.sample(50)
    with pytest.raises(DataError, match=rf"other data .*{own.fingerprint}.*{other.fingerprint}"):
        open_subject(run, other)
    with pytest.raises(DataError, match=r"up to 50.*up to 20"):  # the same log, cut elsewhere
        open_subject(run, replace(own, max_len=20))
    with pytest.raises(DataError, match="trained on other data"):
        explore(ExplorerConfig(models=run, data=config.data, users=50))
    with pytest.raises(ConfigError, match="give the log that it was trained on"):
        open_subject(run, None)
    with pytest.raises(DataError, match="not a run's folder"):
        open_subject("missing", None)
    with pytest.raises(ConfigError, match="give the log that RecBole read"):
        open_subject("model.pth", None)
    with pytest.raises(DataError, match="not a whole run"):
        open_subject(str(tmp_path), config.sequences())
    with pytest.raises(ConfigError, match="is given twice"):
        config.but(models=f"{run}; {run}").subjects()
    with pytest.raises(ConfigError, match="'cases'"):
        config.but(cases=1)


def test_rivals_that_count_are_opened_and_left_out_in_a_sentence(report, tmp_path):
    of_report, _ = report
    heads = "Recent; Counts; Softmax"
    config = ProbeConfig(**dict(of_report.but(heads=heads, out="")), cases=5)
    opened = config.subjects()
    assert [subject.name for subject in opened] == ["Recent", "Counts", "GRU4Rec, Softmax"]
    recent, _, softmax = opened
    for own, known in zip(recent.held_out.histories, softmax.snapshot.histories, strict=True):
        np.testing.assert_array_equal(own, known)
    np.testing.assert_array_equal(recent.held_out.targets, softmax.snapshot.targets)
    assert recent.held_out.fingerprint == softmax.snapshot.fingerprint
    assert recent.sample(3, 0).held_out.take(np.array([1])).targets == [softmax.sample(3, 0).snapshot.targets[1]]
    assert probed_subjects(opened) == [softmax]
    assert origins(opened).endswith("Not probed, as what only counts has no hidden state: Recent, Counts.")
    assert "Not probed" not in origins([softmax])
    with pytest.raises(ConfigError, match=r"no hidden state: Recent, Counts\. Give a model that was trained"):
        probed_subjects(opened[:2])
    with pytest.raises(ConfigError, match="Recent has no hidden state and no item vectors"):
        _ = recent.snapshot
    with pytest.raises(ConfigError, match="Counts has no hidden state and no item vectors"):
        Snapshot.from_sequences(opened[1].recommender, config.sequences())
    run_probe(config, tmp_path / "page")
    assert list(read(tmp_path / "page")["models"]) == ["GRU4Rec, Softmax"]
    assert "Not probed, as what only counts" in (tmp_path / "page" / "index.html").read_text()
