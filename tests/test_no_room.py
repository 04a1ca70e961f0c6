"""A disk that is full, or read-only: one sentence, what stood there before stays, and nothing is left half written.

A limit on the size of files stands for a full disk wherever nothing can be mounted, and is moved up byte by byte, as it
were: each file in turn is the first that does not fit.
"""

import hashlib
import os
import resource
import shutil
import subprocess
from functools import partial
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from cprlab.errors import DataError
from cprlab.loading import prepare
from cprlab.models import MFConfig
from cprlab.pages.run import publish
from cprlab.pages.sweep import _write
from cprlab.probes import Snapshot
from cprlab.results import keep
from cprlab.settings import ReportConfig
from cprlab.sweeps.config import SweepConfig
from cprlab.training import RunConfig, TrainingConfig, train

FIRST, SECOND = 0, 1  # what stands there already, and what is to be written then


def run(sequences, folder, which):
    training = TrainingConfig(epochs=2, seed=which)
    train(sequences, RunConfig(encoder=MFConfig(d=8), training=training), folder / "runs", "cpu")


def prepared(sequences, folder, which):
    prepare(folder.parent / "log.csv", folder / "prepared", min_interactions=5 + 10 * which)


def report(sequences, folder, which):
    out = folder / "report"
    publish("report.ipynb", ReportConfig(seed=which), out, f"report {which}", lambda: None)


def sweep(sequences, folder, which):
    config = SweepConfig(name="s", data="complete-journey-types", runs=str(folder / "runs"), out=str(folder / "swept"))
    results = pd.DataFrame({"data": ["log.csv"] * 50, "seed": range(50), "status": "failed", "error": f"no {which}"})
    _write(config, results, {})


def snapshot(sequences, folder, which):
    arrays = np.full((50, 8), which, np.float32)
    Snapshot(arrays, arrays[:3], [[1], [2], [3, 4]], [1, 2, 3]).save(folder / "snapshot.safetensors")


def kept(sequences, folder, which):
    trained = []
    for seed in (FIRST, SECOND):  # elsewhere, and at once, while there is room
        training = TrainingConfig(epochs=1, seed=seed)
        trained.append(
            train(sequences, RunConfig(encoder=MFConfig(d=8), training=training), folder.parent / "runs", "cpu")
        )
    keep(trained[which], folder)


ACTIONS = [run, prepared, report, pytest.param(sweep, marks=pytest.mark.slow), snapshot, kept]  # a sweep asks git


@pytest.fixture(params=ACTIONS)
def act(request, sequences, tmp_path, monkeypatch):
    """Something that writes a result into a folder."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("words " * 500)])
    monkeypatch.setattr("cprlab.pages.run.execute", lambda *_: notebook)
    users, items = np.repeat(sequences.user_ids, np.diff(sequences.offsets)), sequences.item_ids[sequences.items]
    pd.DataFrame({"user_id": users, "item_id": items}).to_csv(tmp_path / "log.csv", index=False)
    return partial(request.param, sequences)


@pytest.fixture
def mounted(tmp_path, slow):
    """A small file system of its own, with ways to fill it and to make it read-only."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(*options):
        return subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)

    if shutil.which("mount") is None or (done := mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")).returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip() if shutil.which('mount') else 'no mount'}")

    def fill():
        room = os.statvfs(place)
        (place / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))

    yield SimpleNamespace(place=place, fill=fill, freeze=lambda: mount("-o", "remount,ro"))
    subprocess.run(["umount", "-l", str(place)], check=True)


def held(folder):
    """Return all that a folder holds, with digests, hidden files too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ballast")
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_whichever_file_does_not_fit_is_told_in_a_sentence(act, tmp_path, capsys):  # capsys: progress bars are no files
    place = tmp_path / "place"
    act(place, FIRST)
    before = held(place)
    largest = max(path.stat().st_size for path in place.rglob("*") if path.is_file())
    limits = [0, 64, *np.geomspace(512, largest, 4, endpoint=False).astype(int)]
    refused = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
        try:
            act(place, SECOND)
        except DataError:
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        now = {path: of_file for path, of_file in held(place).items() if path.suffix != ".checkpoint"}
        assert now == before, limit
    assert refused == len(limits)
    act(place, SECOND)
    assert held(place) != before
    assert not [path for path in held(place) if any(part.startswith(".") for part in path.parts)]


@pytest.mark.parametrize("harm", ["fill", "freeze"])
def test_a_full_or_read_only_disk_is_told_in_a_sentence(act, mounted, harm):
    act(mounted.place, FIRST)
    before = held(mounted.place)
    getattr(mounted, harm)()
    with pytest.raises(DataError, match=r"cannot be (written|sorted)"):
        act(mounted.place, SECOND)
    assert held(mounted.place) == before
