"""Nothing is replaced that was not promised: every command that writes looks again directly before it does."""

import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest

from cprlab import cli
from cprlab.errors import DataError
from cprlab.pages.run import run_probe, run_report
from cprlab.settings import ReportConfig, TrainConfig
from cprlab.studies.probe import ProbeConfig
from cprlab.sweeps.work import Outcome
from cprlab.training import run_folder

LOG = "user_id,item_id,timestamp\n" + "".join(f"{n % 9},{n % 7},{n}\n" for n in range(90))
SWEEP = "name: two\ndata: log.csv\nencoder: MF\nhead: Softmax\nseeds: 1\nout: out\n"
STATE = '{"models": ["m.npz"], "settings": [{}]}'

# What is called while the command works, the command, and where it writes.
COMMANDS = [
    ("cprlab.pages.run.execute", "report --data log.csv --heads Softmax;Softmax+C --out out", "out"),
    ("cprlab.pages.run.execute", "probe m.npz --out out", "out"),
    ("cprlab.pages.run.execute", "retrofit m.npz --out out", "out"),
    ("cprlab.pages.run.execute", "case STATE m.npz --out out", "out"),
    ("cprlab.pages.sweep.run_all", "sweep grid.yaml", "out"),
    ("cprlab.data.prepared.open_npy", "prepare log.csv out", "out"),
    ("cprlab.training.runs.evaluate", "train --data log.csv --head Counts", "run"),
    ("cprlab.catalogue.to_parquet._write", "data import ml-1m ratings.dat", "data/ml-1m.parquet"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a log, in which commands are given; notebooks and clusters do nothing."""
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "ratings.dat").write_text("".join(f"{n % 9}::{n % 7}::5::{n}\n" for n in range(90)))
    (tmp_path / "grid.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cprlab.pages.run.execute", executed)
    monkeypatch.setattr("cprlab.pages.sweep.open_cluster", lambda *_: nullcontext())
    monkeypatch.setattr("cprlab.pages.sweep.run_all", lambda _, asked, __: [Outcome(error="no") for _ in asked])
    return tmp_path


def executed(name, parameters):
    (Path(parameters["out"]) / {"report.ipynb": "metrics.json", "probe.ipynb": "probe.json"}.get(name, name)).touch()
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["papermill"] = {"parameters": parameters}
    return notebook


def command(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["cprlab", *(STATE if word == "STATE" else word for word in arguments.split())])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


@pytest.mark.parametrize(("called", "arguments", "out"), COMMANDS, ids=[words for _, words, _ in COMMANDS])
def test_what_appears_while_a_command_works_is_not_replaced(place, monkeypatch, capsys, called, arguments, out):
    if out == "run":
        config = TrainConfig(data="log.csv")
        out = run_folder(config.sequences(), config.run_config("Counts"))
    mine = place / out if arguments.startswith("data") else place / out / "mine.txt"
    module, _, name = called.rpartition(".")
    real = getattr(sys.modules[module], name)

    def meanwhile(*given, **named):
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine")
        return real(*given, **named)

    monkeypatch.setattr(called, meanwhile)
    assert command(monkeypatch, arguments) == 2
    assert mine.read_text() == "mine"
    said = capsys.readouterr().err.splitlines()[-1]
    assert "other files" in said or "was put there while" in said or "was not made by an import" in said
    assert not list(place.rglob("*.partial"))


def test_of_two_reports_on_different_data_into_one_folder_the_second_is_refused(place, monkeypatch):
    """Both begin while the folder is missing; the second waits for the first."""
    (place / "other.csv").write_text(LOG.replace(",3,", ",11,"))
    first, second = (ReportConfig(data=name, heads="Softmax; Softmax + C") for name in ("log.csv", "other.csv"))
    refused = []

    def report_too():
        with pytest.raises(DataError, match=r"contains the report on log\.csv") as error:
            run_report(second, place / "out")
        refused.append(error)

    too = threading.Thread(target=report_too)

    def slowly(notebook, parameters):
        assert parameters["data"] == "log.csv"
        too.start()
        too.join(timeout=1)
        assert too.is_alive()
        return executed(notebook, parameters)

    monkeypatch.setattr("cprlab.pages.run.execute", slowly)
    run_report(first, place / "out")
    too.join(timeout=30)
    assert len(refused) == 1
    assert nbformat.read(place / "out" / "report.ipynb", 4).metadata["papermill"]["parameters"]["data"] == "log.csv"


def test_a_page_on_other_histories_or_without_models_on_other_data_is_not_replaced(place):
    run_probe(ProbeConfig(models="m.npz", histories="a.parquet"), place / "one")
    with pytest.raises(DataError, match=r"contains the report on m\.npz, a\.parquet;"):
        run_probe(ProbeConfig(models="m.npz", histories="b.parquet"), place / "one")
    run_probe(ProbeConfig(data="log.csv"), place / "two")
    with pytest.raises(DataError, match=r"contains the report on log\.csv;"):
        run_probe(ProbeConfig(data="other.csv"), place / "two")
    run_probe(ProbeConfig(data="log.csv", cases=7), place / "two")
