"""Two processes, as torchrun starts them, end where one does."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cprlab.errors import ConfigError
from cprlab.models import Recommender, parse_head
from cprlab.training import Run, loop, processes, train
from cprlab.training.loss import build_loss
from tests.conftest import random_log
from tests.training import together

RTOL, ATOL = 1e-9, 1e-11  # what only rounding moves, such as the biases of keys, has no true digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny log, and in `alone` what one process made of it."""
    folder = tmp_path_factory.mktemp("distributed")
    log = random_log(users=8, longest=30)
    rows = {"user_id": log.user_ids[log.users], "item_id": log.item_ids[log.items]}
    pd.DataFrame(rows).to_csv(folder / "log.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sequences = together.read()
        assert len(sequences.windows("train")) % together.BATCH == 1  # a process is left without a row
        for config in [*together.CONFIGS, together.INTERRUPTED]:
            train(sequences, config, "alone", "cpu")
    return folder


@pytest.fixture(scope="module")
def said(folder, slow):
    """What torchrun said, the first time and the second; in `runs` is what two processes made of the log."""
    first = torchrun(folder)
    left = sorted(path.suffix for path in (folder / "runs").glob(".*"))
    assert ".checkpoint" in left, first  # of the training whose process was killed
    assert set(left) <= {".checkpoint", ".lock"}, first  # the other one may have had the time to let go
    second = torchrun(folder)
    assert not list((folder / "runs").glob(".*.checkpoint")), second
    return first, second


def torchrun(folder):
    """Start together.py, which fails in the end each time."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command.append(str(Path(together.__file__).resolve()))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode != 0, done.stderr
    return done.stderr


def seen(folder, rank):
    return json.loads((folder / f"seen-{rank}.json").read_text())


def assert_same(one, other):
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(weight.numpy(), theirs[name].numpy(), RTOL, ATOL, err_msg=name)
    shared = ["epoch", "loss", "ndcg"]
    pd.testing.assert_frame_equal(one.history[shared], other.history[shared], rtol=1e-9)
    pd.testing.assert_frame_equal(one.cases, other.cases, rtol=1e-9)


@pytest.mark.parametrize("place", range(len(together.CONFIGS)))
def test_two_processes_train_what_one_does(folder, said, place):
    name = list(seen(folder, 0))[place]
    one, two = (Run.load(folder / where / name) for where in ("alone", "runs"))
    assert two.config == together.CONFIGS[place]
    assert [run.record["processes"] for run in (one, two)] == [1, 2]
    assert_same(two, one)


def test_all_processes_return_the_same_runs(folder, said):
    assert len(seen(folder, 0)) == len(together.CONFIGS)
    assert seen(folder, 0) == seen(folder, 1)


def test_a_training_whose_process_was_killed_goes_on_and_ends_the_same(folder, said):
    assert re.search(r"exitcode *: -9", said[0])
    assert [json.loads((folder / f"epochs-{rank}.json").read_text()) for rank in (0, 1)] == [1, 1]  # the third alone
    (name,) = {path.name for path in (folder / "alone").iterdir()} - set(seen(folder, 0))
    assert_same(Run.load(folder / "runs" / name), Run.load(folder / "alone" / name))


def test_a_training_that_diverges_ends_in_a_sentence(said):
    last = said[1]
    assert "\ncprlab: Training diverged in epoch 1: the loss is nan, the validation NDCG@10 nan; lower the" in last
    assert "Traceback" not in last.split("cprlab: ")[0]  # torchrun's own comes behind
    assert "exitcode  : 2" in last


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_shares_of_a_batch_add_up_to_it(sequences, world):
    recommender = Recommender(together.GRU, parse_head("Softmax + CP"), sequences.n_items).double()
    loss = build_loss("BPR", sequences.training_counts(), 4, 0.0)
    scored = loop._Scored(recommender, loss)
    batch = sequences.batch(sequences.windows("train"), np.arange(3))
    negatives = loss.draw(batch.targets)
    whole, *parts = (
        scored(*loop._share(batch, negatives, *place)) for place in [(0, 1), *((r, world) for r in range(world))]
    )
    torch.testing.assert_close(sum(parts), whole)
    assert [float(part.detach()) == 0 for part in parts] == [rank >= 3 for rank in range(world)]


def test_devices_are_counted_by_machine(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    opened = []
    launched = SimpleNamespace(launch=lambda: None)

    def opening(**given):
        opened.append(given)
        return launched

    monkeypatch.setattr("lightning_fabric.Fabric", opening)
    processes.open_fabric("cuda")
    assert (opened[0]["accelerator"], opened[0]["devices"], opened[0]["num_nodes"]) == ("cuda", 2, 2)
    assert not processes.is_first()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"started 2 processes here for 1 GPUs; give it --nproc-per-node 1"):
        processes.open_fabric("cuda")
    with pytest.raises(ConfigError, match="mps trains in one process"):
        processes.open_fabric("mps")
