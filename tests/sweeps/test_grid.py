import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError, DataError
from cprlab.models import GRU4RecConfig, SASRecConfig
from cprlab.studies import StudyConfig
from cprlab.sweeps import SIZES, Grid
from tests.conftest import random_log

HEADS = ("Softmax", "Softmax + C")


@pytest.fixture
def files(tmp_path):
    """Two logs as files: one as it is, one with few users."""
    for name, users in (("long", 120), ("short", 6)):
        log = random_log(users=users, longest=80)
        rows = zip(log.user_ids[log.users], log.item_ids[log.items], strict=True)
        (tmp_path / f"{name}.csv").write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows))
    return tmp_path


def test_the_trials_are_every_combination_once():
    settings = {"learning_rate": (0.001, 0.004), "dropout": (0.0, 0.5)}
    grid = Grid(
        data=("complete-journey", "a/b.csv"), encoder=("GRU4Rec", "SASRec"), head=HEADS, settings=settings, seeds=3
    )
    loops = [
        {"data": data, "encoder": encoder, "head": head, "learning_rate": rate, "dropout": dropout, "seed": seed}
        for data in ("complete-journey", "b")
        for encoder in ("GRU4Rec", "SASRec")
        for head in HEADS
        for rate in (0.001, 0.004)
        for dropout in (0.0, 0.5)
        for seed in range(3)
    ]
    assert [trial.labels for trial in grid.trials()] == loops
    for trial in grid.trials():
        labels = trial.labels
        assert type(trial.config.encoder) is {"GRU4Rec": GRU4RecConfig, "SASRec": SASRecConfig}[labels["encoder"]]
        assert trial.config.encoder.dropout == labels["dropout"]
        assert trial.config.training.learning_rate == labels["learning_rate"]
        assert trial.config.training.seed == labels["seed"]
        assert trial.config.head == labels["head"]


@pytest.mark.parametrize("size", SIZES)
def test_a_size_decides_how_long_is_trained_and_settings_override_it(size):
    (trial,) = Grid(size=size, head=("Softmax",)).trials()
    training = trial.config.training
    assert (training.epochs, training.batch_size, training.precision) == SIZES[size][2:]
    (trial,) = Grid(size=size, head=("Softmax",), settings={"epochs": (7,), "hidden": (16,)}).trials()
    assert trial.config.training == training.but(epochs=7)
    assert trial.config.encoder == GRU4RecConfig(hidden=16)


def test_users_and_epochs_that_are_asked_for_go_before_the_sizes(files):
    grid = Grid(data=(str(files / "long.csv"),), size="smoke", head=("Softmax",), users=30, epochs=5)
    (trial,), (log,) = grid.trials(), grid.logs().values()
    size = SIZES["smoke"]
    assert (trial.config.training.epochs, trial.config.training.batch_size, log.n_users) == (5, size.batch_size, 30)
    assert np.diff(log.offsets).max() == size.recent


def test_a_setting_in_text_is_the_number_that_it_means():
    (trial,) = Grid(head=("Softmax",), settings={"learning_rate": ("1e-3",)}).trials()
    assert trial.labels["learning_rate"] == 0.001


def test_trials_on_other_logs_take_their_names():
    data = {trial.labels["data"] for trial in Grid(head=HEADS).trials(("half", "none"))}
    assert data == {"half", "none"}


def test_logs_are_named_by_their_files_and_cut_to_size(files):
    paths = (str(files / "long.csv"), str(files / "short.csv"))
    whole, cut = (Grid(data=paths, size=size).logs() for size in ("full", "smoke"))
    assert list(whole) == list(cut) == ["long", "short"]
    assert (whole["long"].n_users, cut["long"].n_users) == (120, SIZES["smoke"].users)
    assert whole["short"].n_users == cut["short"].n_users
    lengths = {name: cut[name].offsets[1:] - cut[name].offsets[:-1] for name in cut}
    assert max(map(max, lengths.values())) == SIZES["smoke"].recent
    with pytest.raises(DataError, match=r"nowhere\.csv is not a file"):
        Grid(data=(str(files / "nowhere.csv"),)).logs()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"head": ()}, "The grid has no head; give at least one."),
        ({"data": ()}, "The grid has no data; give at least one."),
        ({"settings": {"dropout": ()}}, "The grid has no dropout; give at least one."),
        ({"head": ("Softmax", "Softmax + C", "Softmax +C")}, "has 'Softmax + C' twice under head"),
        ({"data": ("a/log.csv", "b/log.csv")}, "has 'log' twice under data"),
        ({"encoder": ("MF", "MF")}, "has 'MF' twice under encoder"),
        ({"settings": {"dropout": (0, 0.0)}}, "twice under dropout"),
        ({"settings": {"dropout": (0.5, "5e-1")}}, "twice under settings"),
        ({"encoder": ("GRU4",)}, "Unknown encoder 'GRU4': did you mean 'GRU4Rec'"),
        ({"head": ("Sofmax",)}, "did you mean 'Softmax'"),
        ({"size": "smal"}, "Unknown size 'smal': did you mean 'small'"),
        ({"seeds": 0}, "'seeds' cannot be 0"),
        ({"settings": {"learning_rte": (0.1,)}}, "GRU4Rec has no setting 'learning_rte': did you mean 'learning_rate'"),
        ({"settings": {"inner": (8,)}}, "GRU4Rec has no setting 'inner'"),
        ({"settings": {"seed": (8,)}}, "GRU4Rec has no setting 'seed'"),
        ({"settings": {"learning_rate": (-1,)}}, "'learning_rate' cannot be -1"),
        ({"settings": {"heads": (3,)}, "encoder": ("SASRec",)}, "3 heads cannot share d = 64"),
        ({"heads": ("Softmax",)}, "Unknown setting 'heads': did you mean 'head'"),
    ],
)
def test_faults_are_said_in_a_sentence(values, said):
    with pytest.raises(ConfigError) as error:
        Grid(**values)
    assert said in str(error.value)


def test_columns_can_be_named_in_grids_and_studies(tmp_path):
    frame = pd.DataFrame({"0": [1] * 6 + [2] * 6, "1": list(range(6)) * 2, "when": range(12, 0, -1)})
    frame.to_csv(tmp_path / "log.csv", index=False)
    named = {"data": (str(tmp_path / "log.csv"),), "user": "0", "item": "1", "time": "when", "size": "full"}
    (log,) = Grid(**named).logs().values()
    assert log.item_ids[log.items].tolist() == ["5", "4", "3", "2", "1", "0"] * 2
    study = StudyConfig(**named)
    assert study.grid().reading == Grid(**named).reading
    (same,) = study.logs().values()
    assert same.fingerprint == log.fingerprint
    with pytest.raises(DataError, match="no column looks like the user"):
        Grid(data=named["data"]).logs()
    with pytest.raises(DataError, match="is built in and its columns are known"):
        Grid(user="0").logs()
