"""Trainings that start from trained weights: what moves and what stays, what a run's name says, what is refused."""

import json

import pandas as pd
import pytest
import torch

from cprlab.data import Sequences
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import evaluate, mean
from cprlab.files import name_of
from cprlab.models import GRU4RecConfig, Recommender
from cprlab.probes import Snapshot
from cprlab.probes.retrofit import Retrofit, fit
from cprlab.results import keep
from cprlab.settings import TrainConfig
from cprlab.training import Run, RunConfig, Start, TrainingConfig, build, loop, run_folder, train
from cprlab.training.runs import RECIPE, _take_over, keep_retrofitted
from tests.conftest import random_log

CONFIG = RunConfig(encoder=GRU4RecConfig(d=8, hidden=8, dropout=0.1), training=TrainingConfig(epochs=2, batch_size=8))


@pytest.fixture(scope="module")
def run(sequences, tmp_path_factory):
    return train(sequences, CONFIG, tmp_path_factory.mktemp("runs"), "cpu")


def fitted(run: Run, sequences: Sequences) -> Retrofit:
    snapshot = Snapshot.from_sequences(run.recommender, sequences, "validation")
    return fit(snapshot, "C + F", sequences.windows("validation").user)


@pytest.fixture(scope="module")
def start(run, sequences):
    return fitted(run, sequences).recommender(run.recommender)


def going_on(start, trained="all", **training):
    how = CONFIG.training.but(**training)
    return CONFIG.but(head=str(start.head.config), start=Start.at(start, trained), training=how)


def changed(one: Recommender, other: Recommender) -> set[str]:
    """The names of the weights that are not bit for bit the same."""
    others = other.state_dict()
    assert one.state_dict().keys() == others.keys()
    return {name for name, weight in one.state_dict().items() if not torch.equal(weight, others[name])}


@pytest.mark.parametrize("trained", ["head", "all"])
def test_the_weights_that_are_trained_move_and_no_others(start, sequences, trained):
    config = going_on(start, trained)
    recommender = build(config, sequences)
    _take_over(recommender, config, start)
    assert changed(recommender, start) == set()
    loop.fit(recommender, sequences, config.training, "cpu")
    names = {name for name, _ in start.named_parameters()}
    head = {name for name in names if name.startswith("head.")}
    assert {"embedding.weight", "encoder.layers.0.weight_hh_l0"} <= names - head
    assert {"head.maps.V.weight", "head.maps.C.bias", "head.learned.F"} <= head
    assert changed(recommender, start) == (head if trained == "head" else names)


def test_the_loss_of_a_head_that_goes_on_from_a_retrofit_does_not_rise(run, start, sequences, tmp_path):
    config = going_on(start, "head", epochs=10, learning_rate=1e-3)
    went_on = train(sequences, config, tmp_path, "cpu", start=start)
    models = {"plain": run.recommender, "start": start, "after": went_on.recommender}
    loss = {name: mean(evaluate(model, sequences, "validation"), "log-loss") for name, model in models.items()}
    assert loss["after"] <= loss["start"] < loss["plain"]
    assert {name.split(".")[0] for name in changed(went_on.recommender, start)} <= {"head"}


def test_a_start_is_kept_if_no_epoch_is_better(start, sequences, tmp_path):
    spoilt = train(sequences, going_on(start, learning_rate=10.0), tmp_path, "cpu", start=start)
    assert spoilt.history["ndcg"].max() < mean(evaluate(start, sequences, "validation"), "NDCG@10")
    assert changed(spoilt.recommender, start) == set()


def test_a_runs_name_depends_on_the_weights_that_it_starts_from_and_the_weights_it_trains(start, run, sequences):
    config = going_on(start)
    folders = {
        run_folder(sequences, one)
        for one in (
            config,
            config.but(start=Start.at(start, "head")),
            config.but(start=Start.at(run.recommender)),
            config.but(start=None),
        )
    }
    assert len(folders) == 4
    assert run_folder(sequences, config.but(start=Start.at(start, origin="elsewhere"))) in folders
    data = f"{sequences.fingerprint} {sequences.n_items} {sequences.n_users} {sequences.max_len}"
    earlier = CONFIG.model_dump_json(include={"encoder", "head", "training"})
    assert CONFIG.identity(sequences) == name_of(f"{RECIPE} {earlier} {data}")  # runs of earlier versions are found


def test_a_start_is_in_the_record_and_not_needed_once_the_run_exists(start, sequences, tmp_path):
    config = going_on(start, "head", epochs=1)
    went_on = train(sequences, config, tmp_path, "cpu", start=start)
    assert json.loads((went_on.folder / "run.json").read_text())["config"]["start"] == {
        "weights": Start.at(start).weights,
        "trained": "head",
        "origin": "",
    }
    assert Run.load(went_on.folder).config == config
    assert train(sequences, config, tmp_path, "cpu").folder == went_on.folder
    with pytest.raises(DataError, match="started from trained weights"):
        keep(went_on, tmp_path / "results")


def test_a_start_that_is_missing_or_unsuitable_is_refused_in_a_sentence(start, run, sequences, tmp_path):
    config = going_on(start)
    with pytest.raises(ConfigError, match="needs both"):
        train(sequences, config, tmp_path, "cpu")
    with pytest.raises(ConfigError, match="needs both"):
        train(sequences, CONFIG, tmp_path, "cpu", start=start)
    with pytest.raises(ConfigError, match="other weights"):
        train(sequences, config, tmp_path, "cpu", start=run.recommender)
    for wrong in (config.but(head="Softmax"), config.but(encoder=GRU4RecConfig(d=16, hidden=8))):
        with pytest.raises(ConfigError, match=r"does not fit .* use its own encoder and head"):
            train(sequences, wrong, tmp_path, "cpu", start=start)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_settings_of_the_command_go_on_from_a_run_and_its_retrofit(tmp_path):
    for seed in (0, 1):
        log = random_log(seed=seed)
        table = pd.DataFrame({"user_id": log.user_ids[log.users], "item_id": log.item_ids[log.items]})
        table.to_csv(tmp_path / f"log{seed}.csv", index=False)
    common = {"data": str(tmp_path / "log0.csv"), "runs": str(tmp_path / "runs"), "epochs": 1, "device": "cpu"}
    before = TrainConfig(**common, head="Softmax", encoder="SASRec").run()
    log_read = TrainConfig(**common).sequences()
    model = fitted(before, log_read).recommender(before.recommender)
    keep_retrofitted(before, model, log_read, {}, tmp_path / "part")
    went_on = TrainConfig(**common, start=str(tmp_path / "part"), trained="head").run()
    assert went_on.config.head == "Softmax + C + F"
    assert went_on.config.encoder == before.config.encoder
    assert went_on.config.start == Start.at(model, "head", "part")
    wrong = {
        "name a run as the start": {"trained": "head"},
        "nowhere is not a whole run": {"start": "nowhere"},
        "was trained on other data": {"start": str(before.folder), "data": str(tmp_path / "log1.csv")},
        "has the head Softmax, not Softmax . C": {"start": str(before.folder), "head": "Softmax + C"},
        "has the encoder SASRec, not MF": {"start": str(before.folder), "encoder": "MF"},
    }
    for sentence, settings in wrong.items():
        with pytest.raises((ConfigError, DataError), match=sentence):
            TrainConfig(**(common | settings)).run()
