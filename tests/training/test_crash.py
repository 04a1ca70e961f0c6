"""Trainings that are killed while they write, and two at once: all end as one that nobody disturbs."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cprlab.evaluation import evaluate
from cprlab.models import GRU4RecConfig
from cprlab.training import RunConfig, TrainingConfig, loop, run_folder, runs, train

FORKS = multiprocessing.get_context("forkserver")  # which imports torch once, and never computes before it forks
FORKS.set_forkserver_preload(["cprlab.training"])
CONFIG = RunConfig(
    encoder=GRU4RecConfig(d=8, hidden=8, dropout=0.2),
    head="Softmax + CP",
    training=TrainingConfig(epochs=3, batch_size=8),
)


def die_in_the_second_write(sequences, folder):
    """Train, and be killed with half of the second file written."""
    written = []

    def half(write):
        def writing(content, file):
            write(content, file)
            written.append(file)
            if len(written) == 2:
                path = file
                if not isinstance(file, Path):
                    file.flush()
                    path = Path(file.name)
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        return writing

    with patch.object(torch, "save", half(torch.save)), patch.object(runs, "save_file", half(save_file)):
        train(sequences, CONFIG, folder, "cpu")


def train_slowly(sequences, folder):
    def slow(*args):
        time.sleep(0.5)
        return evaluate(*args)

    with patch.object(loop, "evaluate", slow):
        train(sequences, CONFIG, folder, "cpu")


def assert_same(one, other):
    for name in ("model.safetensors", "run.json"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    shared = ["epoch", "loss", "ndcg"]
    pd.testing.assert_frame_equal(one.history[shared], other.history[shared], check_exact=True)
    pd.testing.assert_frame_equal(one.cases, other.cases, check_exact=True)


@pytest.fixture
def undisturbed(sequences, tmp_path):
    return train(sequences, CONFIG, tmp_path / "undisturbed", "cpu")


@pytest.mark.slow
def test_a_training_killed_in_each_kind_of_write_ends_as_one_that_nobody_disturbs(sequences, tmp_path, undisturbed):
    """Killed in the checkpoint of the second epoch, in that of the third, and in the run's folder."""
    folder = tmp_path / "killed"
    for left in (".checkpoint.", ".checkpoint.", "-cp-"):
        process = FORKS.Process(target=die_in_the_second_write, args=(sequences, folder))
        process.start()
        process.join(timeout=120)
        assert process.exitcode == -signal.SIGKILL
        (partial,) = folder.glob(".*.partial")  # and none of an earlier time
        assert left in partial.name
        assert not run_folder(sequences, CONFIG, folder).exists()
    assert_same(train(sequences, CONFIG, folder, "cpu"), undisturbed)
    assert [path.name for path in folder.iterdir()] == [undisturbed.folder.name]


@pytest.mark.parametrize("left", [["checkpoint", "lock"], ["lock"], [], ["checkpoint"]])
@pytest.mark.parametrize("its_lock", [True, False])
def test_what_a_training_left_that_was_killed_at_its_very_end_is_removed(sequences, undisturbed, left, its_lock):
    """The checkpoint, the run's lock, and the lock of the checkpoint."""
    folder = undisturbed.folder
    for name in [*(f".{folder.name}.{ending}" for ending in left), *[f"..{folder.name}.checkpoint.lock"] * its_lock]:
        folder.with_name(name).touch()
    train(sequences, CONFIG, folder.parent, "cpu")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_lock_of_a_last_checkpoint_whose_writer_was_killed_is_removed_when_the_run_is_there(
    sequences, tmp_path, undisturbed, monkeypatch
):
    folder = tmp_path / "killed"
    with monkeypatch.context() as killed:
        killed.setattr(runs, "_keep", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(sequences, CONFIG, folder, "cpu")
    (folder / f"..{undisturbed.folder.name}.checkpoint.lock").touch()
    train(sequences, CONFIG, folder, "cpu")
    assert [path.name for path in folder.iterdir()] == [undisturbed.folder.name]


@pytest.mark.slow
def test_of_two_trainings_of_one_run_the_second_waits_and_reads_it(
    sequences, tmp_path, undisturbed, monkeypatch, capsys
):
    folder = run_folder(sequences, CONFIG, tmp_path / "both")
    first = FORKS.Process(target=train_slowly, args=(sequences, folder.parent))
    first.start()
    while not list(folder.parent.glob(".*.checkpoint")):
        assert first.is_alive()
        time.sleep(0.01)
    monkeypatch.setattr(runs, "fit", None)  # the second does not train
    second = train(sequences, CONFIG, folder.parent, "cpu")
    first.join(timeout=60)
    assert first.exitcode == 0
    assert f"Another process is writing {folder}; waiting for it." in capsys.readouterr().err
    assert_same(second, undisturbed)
