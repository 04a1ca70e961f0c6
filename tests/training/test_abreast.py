"""Trainings side by side end as one after another, whatever becomes of them; and threads that wait sleep."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock

import cprlab
from cprlab.data import Sequences, save_prepared
from cprlab.errors import ConfigError, CprlabError
from cprlab.models import GRU4RecConfig, MFConfig
from cprlab.training import RunConfig, TrainingConfig, abreast, run_folder, train, train_all

TRAINING = TrainingConfig(epochs=3, batch_size=8)
ENCODER = GRU4RecConfig(d=8, hidden=8, dropout=0.2)
CONFIGS = {
    "plain": RunConfig(encoder=ENCODER, head="Softmax", training=TRAINING),
    "context": RunConfig(encoder=ENCODER, head="Softmax + C", training=TRAINING.but(loss="sampled", negatives=5)),
    "factors": RunConfig(encoder=MFConfig(d=8), head="Softmax + CPR:5 + Mi", training=TRAINING),
}
TWO = {name: CONFIGS[name] for name in ("plain", "context")}
ENDLESS = TRAINING.but(epochs=10**6, patience=10**6)


@pytest.fixture
def started(monkeypatch, slow):
    """Let torch have two threads, and return the workers that are started."""
    workers, start = [], abreast._start

    def recorded(job):
        workers.append(start(job))
        return workers[-1]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(abreast, "_start", recorded)
    return workers


def assert_same(one, other):
    for name in ("model.safetensors", "run.json"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    shared = ["epoch", "loss", "ndcg"]
    pd.testing.assert_frame_equal(one.history[shared], other.history[shared], check_exact=True)
    pd.testing.assert_frame_equal(one.cases, other.cases, check_exact=True)


def test_side_by_side_is_what_one_after_another_is_bit_for_bit(sequences, tmp_path, started, capsys):
    alone = {name: train(sequences, config, tmp_path / "alone", "cpu") for name, config in CONFIGS.items()}
    capsys.readouterr()
    runs = train_all(sequences, CONFIGS, tmp_path / "abreast", "cpu")
    assert list(runs) == list(CONFIGS)
    assert len(started) == 3
    for name, run in runs.items():
        assert run.config == CONFIGS[name]
        assert_same(run, alone[name])
    assert sorted(path.name for path in (tmp_path / "abreast").iterdir()) == sorted(
        run.folder.name for run in runs.values()
    )
    shown = capsys.readouterr().err
    assert "3 trainings: 100%" in shown
    last = shown.split("\r")[-1]
    assert "\n" not in shown.strip()  # one bar
    for name, run in runs.items():
        assert (
            f"{name}: epoch=3, loss={run.history['loss'].iloc[-1]:.3f}, ndcg={run.history['ndcg'].iloc[-1]:.4f}" in last
        )


def test_what_is_there_is_read_back(sequences, tmp_path, started):
    train(sequences, TWO["plain"], tmp_path, "cpu")
    for _ in range(2):
        assert train_all(sequences, TWO, tmp_path, "cpu").keys() == TWO.keys()
        assert len(started) == 1


def test_on_one_thread_and_for_one_run_no_process_is_started(sequences, tmp_path, started, monkeypatch):
    train_all(sequences, {"plain": CONFIGS["plain"]}, tmp_path, "cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert len(train_all(sequences, TWO, tmp_path, "cpu")) == 2
    assert not started


def test_a_split_by_time_and_ids_of_any_kind_reach_the_workers(tmp_path, started):
    frame = pd.DataFrame({"user": [n // 10 for n in range(200)], "item": [n * n % 23 for n in range(200)]})
    frame["time"] = [n % 10 * 100 + n // 10 for n in range(200)]
    sequences = Sequences.from_log(cprlab.data.InteractionLog.from_frame(frame), split="temporal")
    mixed = pd.Series([*range(10), *"abcdefghij"], dtype=object).to_numpy()
    runs = train_all(replace(sequences, user_ids=mixed), TWO, tmp_path, "cpu")
    assert_same(runs["plain"], train(sequences, TWO["plain"], tmp_path / "alone", "cpu"))


def test_an_error_comes_through_in_its_sentence_and_ends_the_others(sequences, tmp_path, started):
    endless = TWO["plain"].but(training=ENDLESS)
    for training, head, error, sentence in (
        (TRAINING.but(learning_rate=1e30), "Softmax", CprlabError, "diverged in epoch 1: the loss is nan"),
        (TRAINING, "Softmax + R:1000", ConfigError, "1000"),
    ):
        wrong = RunConfig(encoder=ENCODER, head=head, training=training)
        with pytest.raises(error, match=sentence):
            train_all(sequences, {"endless": endless, "wrong": wrong}, tmp_path, "cpu")
        assert all(worker.poll() is not None for worker in started)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".checkpoint", ".lock"}  # of the endless one


def test_a_worker_that_is_killed_is_told_and_its_training_goes_on(sequences, tmp_path, started, monkeypatch):
    kill = abreast._Bar.show

    def killing(bar, name, **told):
        if name == "context" and told["state"].startswith("epoch=1"):
            started[0].kill()  # the dearest head is the first
        kill(bar, name, **told)

    monkeypatch.setattr(abreast._Bar, "show", killing)
    with pytest.raises(CprlabError, match="that trained context was killed"):
        train_all(sequences, {name: TWO[name].but(training=ENDLESS) for name in TWO}, tmp_path, "cpu")
    assert all(worker.poll() is not None for worker in started)


def test_an_interrupted_training_goes_on_and_ends_the_same(sequences, tmp_path, started, monkeypatch):
    def interrupted(bar, name, **told):
        if told["state"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(abreast._Bar, "show", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_all(sequences, TWO, tmp_path / "abreast", "cpu")
    assert all(worker.poll() is not None for worker in started)
    assert not list((tmp_path / "abreast").glob(".*.log.*"))
    runs = train_all(sequences, TWO, tmp_path / "abreast", "cpu")
    for name, config in TWO.items():
        assert_same(runs[name], train(sequences, config, tmp_path / "alone", "cpu"))


HEADS = ["Softmax", "Softmax + C"]
SCRIPT = f"""
import torch
from cprlab.data import load_prepared
from cprlab.training import RunConfig, TrainingConfig, train_all

training = TrainingConfig(epochs={ENDLESS.epochs}, patience={ENDLESS.patience}, batch_size={ENDLESS.batch_size})
torch.set_num_threads(2)
configs = {{head: RunConfig(head=head, training=training) for head in {HEADS}}}
train_all(load_prepared("log"), configs, "runs", "cpu")
"""


@pytest.mark.slow
def test_a_plain_script_may_ask_and_its_workers_end_with_it(sequences, tmp_path):
    """Killed, the script can do nothing itself; what is killed leaves its lock, and the living hold theirs."""
    save_prepared(sequences, tmp_path / "log")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "script.py").write_text(SCRIPT)
    (tmp_path / "queue.py").write_text("raise ImportError('the working folder is no place of modules')")
    environment = os.environ | {"PYTHONPATH": str(Path(cprlab.__file__).parents[1])}
    said = tmp_path / "said"
    with said.open("w") as errors:
        script = subprocess.Popen([sys.executable, "scripts/script.py"], cwd=tmp_path, env=environment, stderr=errors)
    folders = [run_folder(sequences, RunConfig(head=head, training=ENDLESS), tmp_path / "runs") for head in HEADS]
    for folder in folders:
        while not folder.with_name(f".{folder.name}.checkpoint").exists():
            assert script.poll() is None, said.read_text()
            time.sleep(0.1)
    script.send_signal(signal.SIGKILL)
    script.wait()
    for folder in folders:
        with FileLock(folder.with_name(f".{folder.name}.lock")).acquire(timeout=20):
            assert "Traceback" not in said.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp tells what it was set to")
@pytest.mark.parametrize(
    ("chosen", "policy"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "1000"}, None)],
)
@pytest.mark.slow
def test_threads_sleep_while_they_wait_unless_the_user_chose_otherwise(chosen, policy):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "import os, cprlab, torch; print(os.environ.get('OMP_WAIT_POLICY'))"],
        env=clean | chosen | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{policy}\n"
    if policy:
        assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr  # as libgomp has it
    else:
        assert "GOMP_SPINCOUNT = '1000'" in done.stderr
