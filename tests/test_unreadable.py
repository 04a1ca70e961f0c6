"""A file that its owner closed to others is not called damaged or missing, and nobody is told to remove it."""

import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.catalogue import import_data, list_catalogue
from cprlab.data.prepared import load_prepared, save_prepared
from cprlab.errors import CprlabError, PlaceError
from cprlab.loading import load_log
from cprlab.models import MFConfig
from cprlab.pages.figures import write_figures
from cprlab.pages.run import refuse_to_overwrite
from cprlab.probes import Snapshot
from cprlab.results import keep, read_results
from cprlab.results.page import write_page
from cprlab.settings import ReportConfig
from cprlab.sweeps.config import read_sweep
from cprlab.training import Run, RunConfig, TrainingConfig, train
from cprlab.training.loop import _resume
from tests.fuzz.doubtful import nobody


@pytest.fixture(scope="module")
def place(sequences):
    """A folder that every user can reach, with a file of each kind."""
    with tempfile.TemporaryDirectory(prefix="cprlab-test-") as folder, pytest.MonkeyPatch.context() as patch:
        place = Path(folder)
        place.chmod(0o755)
        patch.chdir(place)
        config = RunConfig(encoder=MFConfig(d=8), training=TrainingConfig(epochs=1))
        train(sequences, config, "runs", "cpu").folder.rename("run")
        kept = keep(Run.load("run"), "results")
        kept.rename(kept.with_name("kept.parquet"))
        save_prepared(sequences, "prepared")
        arrays: dict[str, Any] = {
            "item_embeddings": np.ones((5, 2)),
            "states": np.ones((2, 2)),
            "targets": np.array([2, 3]),
        }
        np.savez("model.npz", histories=np.array([[1], [2]]), **arrays)
        Snapshot(**arrays, histories=[[1], [2]]).save("model.safetensors")
        for name in ("model.pth", "state.checkpoint"):
            torch.save({"epoch": 1}, name)
        users = sequences.user_ids.repeat(np.diff(sequences.offsets))
        log = pd.DataFrame({"user_id": users, "item_id": sequences.item_ids[sequences.items]})
        log.to_csv("log.csv", index=False)
        log.to_parquet("log.parquet")
        Path("ratings.dat").write_text("".join(f"{n % 9}::{n % 7}::5::{n}\n" for n in range(90)))
        import_data("ml-1m", "ratings.dat")
        Path("grid.yaml").write_text("name: grid\ndata: log.csv\n")
        Path("page.md").write_text("<!-- results: logs -->\n<!-- end -->\n")
        Path("drawn").mkdir()
        Path("drawn", "report.ipynb").write_text("{}")
        Path("out").mkdir()
        for name in ("index.html", "metrics.json", "report.ipynb"):
            Path("out", name).write_text("{}")
        yield place


@contextmanager
def closed(path):
    """Close a file or folder to all but its owner, and be another user, if this one may become one."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with nobody():
            yield
    finally:
        path.chmod(mode)


READ = {
    "run/model.safetensors": lambda: Run.load("run"),
    "run/cases.parquet": lambda: Run.load("run"),
    "run/run.json": lambda: Run.load("run"),
    "run": lambda: Run.load("run"),
    "results/random/leave-one-out/kept.parquet": lambda: read_results("results"),
    "prepared/items.npy": lambda: load_prepared("prepared"),
    "prepared/users.parquet": lambda: load_prepared("prepared"),
    "prepared": lambda: load_prepared("prepared"),
    "model.npz": lambda: Snapshot.load("model.npz"),
    "model.safetensors": lambda: Snapshot.load("model.safetensors"),
    "model.pth": lambda: read_checkpoint("model.pth"),
    "state.checkpoint": lambda: _resume(Path("state.checkpoint"), {}, torch.device("cpu")),
    "log.csv": lambda: load_log("log.csv"),
    "log.parquet": lambda: load_log("log.parquet"),
    "data/ml-1m.parquet": lambda: load_log("ml-1m"),
    "ratings.dat": lambda: import_data("ml-1m", "ratings.dat"),
    "grid.yaml": lambda: read_sweep("grid.yaml"),
    "page.md": lambda: write_page([], "page.md"),
    "drawn/report.ipynb": lambda: write_figures("drawn", "figures"),
    "out/report.ipynb": lambda: refuse_to_overwrite(Path("out"), ReportConfig(), "metrics.json"),
}


@pytest.mark.parametrize("name", READ)
def test_what_may_not_be_read_is_said_to_be_that(place, monkeypatch, name):
    monkeypatch.chdir(place)
    with suppress(CprlabError):  # some are no more than a file of the right name
        READ[name]()  # which imports what it needs, while that can be read
    with closed(place / name), pytest.raises(PlaceError, match="cannot be read: permission denied") as refused:
        READ[name]()
    assert "remove" not in str(refused.value)
    assert name in str(refused.value)


def test_an_import_that_may_not_be_read_does_not_hide_the_others(place, monkeypatch):
    monkeypatch.chdir(place)
    assert list_catalogue().loc["ml-1m", "here"] == "90 interactions"
    with closed(place / "data" / "ml-1m.parquet"):
        assert list_catalogue().loc["ml-1m", "here"] == "cannot be read"
