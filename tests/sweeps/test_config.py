"""Sweeps as YAML files: what is wrong is one sentence that names the file."""

import os

import pytest

from cprlab.errors import ConfigError
from cprlab.sweeps import Grid
from cprlab.sweeps.config import read_sweep
from tests.test_cli import GOOD, run

MANY = """
name: ablation
data: [complete-journey-types, my_log.csv]
size: small
encoder: [GRU4Rec, SASRec]
head: [Softmax, Softmax + C, "Softmax + CPR:100 + Mi"]
settings: {learning_rate: [0.001, 4e-3]}
seeds: 3
notebooks: [04_baselines, 06_ablation.ipynb]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_log.csv").write_text(GOOD)
    return tmp_path


def read(text, name="grid.yaml"):
    with open(name, "w") as file:
        file.write(text)
    return read_sweep(name)


def test_a_sweep_is_read_with_absolute_paths(folder):
    config = read(MANY)
    assert config.data == ("complete-journey-types", str(folder / "my_log.csv"))
    assert config.notebooks == ("04_baselines", "06_ablation")
    assert config.runs == str(folder / "runs")
    assert str(config.folder) == os.path.join("reports", "ablation")
    assert [trial.labels["learning_rate"] for trial in config.trials()][::3][:2] == [0.001, 0.004]
    assert len(config.trials()) == 2 * 2 * 3 * 2 * 3
    assert type(config.grid) is Grid
    assert config.grid.trials() == config.trials()


def test_one_value_needs_no_brackets():
    config = read("name: one\ndata: my_log.csv\nencoder: MF\nhead: Softmax\nsettings: {dropout: 0.1}\n")
    assert config.encoder == ("MF",)
    assert [trial.labels for trial in config.trials()] == [
        {"data": "my_log", "encoder": "MF", "head": "Softmax", "dropout": 0.1, "seed": 0}
    ]


FAULTS = [
    ("name: [", "cannot be read as YAML in line"),
    ("name: a\nname: b", "cannot be read as YAML in line 2: 'name' is there twice"),
    ("name: a\nsettings: {d: 8, d: 9}", "'d' is there twice"),
    ("name: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
    ("- name", "does not contain names with values"),
    ("", "does not contain names with values"),
    ("1: name", "does not contain names with values"),
    ("data: my_log.csv", "The setting 'name' is missing"),
    ("name: ''", "a sweep's name must be a folder name"),
    ("name: a\nhed: Softmax", "Unknown setting 'hed': did you mean 'head'"),
    ("name: a\nseeds: three", "'seeds' cannot be 'three'"),
    ("name: a\nseeds: 1.5", "'seeds' cannot be 1.5"),
    ("name: 3", "'name' cannot be 3"),
    ("name: a/b", "'name' cannot be 'a/b': a sweep's name must be a folder name"),
    ("name: ..", "a sweep's name must be a folder name"),
    ("name: a\nencoder: [GRU4]", "Unknown encoder 'GRU4': did you mean 'GRU4Rec'"),
    ("name: a\nhead: [3]", "'head.0' cannot be 3"),
    ("name: a\nsettings: [3]", "'settings' cannot be a value of type list"),
    ("name: a\nsettings: {learning_rate: fast}", "'learning_rate' cannot be 'fast'"),
    ("name: a\ndata: nowhere.csv", "nowhere.csv is not a file"),
    ("name: a\ndata: complete-journey-typ", "did you mean 'complete-journey-types'"),
    ("name: a\nnotebooks: [06_ablation, 06_ablation.ipynb]", "a notebook is named twice"),
    ("name: a\nnotebooks: 99_nothing", "There is no notebook 99_nothing.ipynb"),
    ("name: a\nnotebooks: report", "report does not take a size"),
    ("name: a\nsplit: temprol", "Unknown split 'temprol': did you mean 'temporal'"),
    ("name: a\ndevice: tpu", "Unknown device 'tpu': did you mean 'cpu'"),
    ("name: a\nruns: reports", "must not be in each other"),
    ("name: a\nout: my_log.csv", "my_log.csv is a file"),
    ("name: &a [*a]", "grid.yaml"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_is_one_sentence_and_exit_code_2(folder, monkeypatch, capsys, text, said):
    (folder / "grid.yaml").write_text(text)
    code, printed = run(monkeypatch, capsys, "sweep", "grid.yaml")
    assert code == 2
    assert said in printed
    assert printed.startswith("cprlab: ")
    assert printed.count("\n") == 1
    assert not (folder / "reports" / "a").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing.yaml", None, "nothing.yaml cannot be read (No such file or directory)"),
        (".", None, ". cannot be read (Is a directory)"),
        ("latin.yaml", "name: ü".encode("latin-1"), "latin.yaml is not UTF-8 text"),
        ("deep.yaml", b"name: " + b"[" * 5000, "deep.yaml cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder, name, content, said):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_sweep(name)
    assert said in str(error.value)


def test_a_cluster_that_is_not_there_and_options_that_contradict_are_refused(folder, monkeypatch, capsys):
    (folder / "grid.yaml").write_text("name: a\ndata: my_log.csv\nhead: Softmax\n")
    (folder / "slurm.yaml").write_text("cores: 1\nmemory: 1GB\nqueu: fast\n")
    (folder / "short.yaml").write_text("queue: fast\n")
    monkeypatch.setattr("cprlab.sweeps.cluster.SECONDS_TO_FIND_A_SCHEDULER", 0.5)
    for arguments, said in (
        (["--scheduler", "tcp://127.0.0.1:9"], "There is no Dask scheduler at tcp://127.0.0.1:9"),
        (["--scheduler", "nonsense://"], "There is no Dask scheduler at nonsense://"),
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "remove --workers"),
        (["--slurm", "slurm.yaml"], "slurm.yaml: SLURMCluster has no argument 'queu': did you mean 'queue'"),
        (["--slurm", "short.yaml"], "short.yaml does not say how much a job gets; add a line such as `cores: 1`."),
        (["--slurm", "none.yaml"], "none.yaml cannot be read"),
    ):
        code, printed = run(monkeypatch, capsys, "sweep", "grid.yaml", *arguments)
        assert code == 2
        assert said in printed
