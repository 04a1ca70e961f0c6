"""The front door: what goes in wrong comes out as one sentence and exit code 2."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cprlab import cli
from cprlab.data.protocol import Reading
from cprlab.errors import ConfigError
from cprlab.explorer import CaseConfig, ExplorerConfig
from cprlab.pages import figures
from cprlab.pages.figures import PLOTLY
from cprlab.settings import ReportConfig, TrainConfig
from cprlab.studies.probe import ProbeConfig
from cprlab.studies.retrofit import RetrofitConfig
from cprlab.training import Run

ROOT = Path(__file__).parent.parent
GOOD = "user_id,item_id\n" + "".join(f"u{n % 9},i{n % 7}\n" for n in range(90))


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cprlab", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "missing.csv"], ["missing.csv is not a file"]),
        (["--data", "empty.csv"], ["empty.csv is empty"]),
        (["--data", "short.csv"], ["short.csv", "no user has 5 interactions"]),
        (["--data", "good.csv", "--out", "good.csv"], ["good.csv is a file"]),
        (["--data", "good.csv", "--item", "product"], ["good.csv", "'product'", "user_id, item_id"]),
        (["--data", "complete-journey-typ"], ["did you mean 'complete-journey-types'"]),
        (["--heads", "Softmax; Softmax + CPQ:100"], ["'CPQ:100'"]),
        (["--heads", "Sofmax; Softmax + C"], ["did you mean 'Softmax'"]),
        (["--heads", "Softmax"], ["'heads'", "two or more"]),
        (["--data", "good.csv", "--heads", "Softmax; Softmax + CPR:8"], ["k = 8", "number of items, 7"]),
        (["--data", "good.csv", "--encoder", "GRU4"], ["did you mean 'GRU4Rec'"]),
        (["--seed", "-1"], ["'seed' cannot be -1"]),
        (["--device", "cuda:9"], ["device", "cuda:9"]),
        (["--precision", "float16"], ["precision", "did you mean 'bfloat16'"]),
        (["--split", "temprol"], ["did you mean 'temporal'"]),
        (["--data", "good.csv", "--split", "temporal"], ["good.csv has no times", "--time"]),
        (["--data", "good.csv", "--basket", "order"], ["good.csv has no column 'order'"]),
        (["--epochs", "three"], ["--epochs"]),
        (["--epoch", "3"], ["--epoch"]),
        (["--data", "good.csv", "--out", "full"], ["full", "other files"]),
        (["--data", "good.csv", "--out", "x" * 300], ["x cannot be used (File name too long)"]),
        (
            ["--data", "good.csv", "--heads", "Softmax; Softmax + C", "--out", "good.csv/report"],
            ["cannot be written"],
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "short.csv").write_text("user_id,item_id\na,1\na,2\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    code, printed = run(monkeypatch, capsys, "report", *arguments)
    assert code == 2
    assert "Traceback" not in printed
    for words in said:
        assert words in printed
    assert (tmp_path / "full" / "keep.txt").read_text() == "mine"


def test_prepare_refuses_a_split_that_is_none_before_it_reads_anything(tmp_path, monkeypatch, capsys):
    code, printed = run(monkeypatch, capsys, "prepare", "log.csv", str(tmp_path / "prepared"), "--split", "temporel")
    assert code == 2
    assert "Unknown split 'temporel': did you mean 'temporal'?" in printed


def test_prepare_says_what_it_holds_and_a_report_takes_the_folder(tmp_path, monkeypatch, capsys):
    rows = GOOD.replace("user_id", "buyer") + "once,i1\n"
    (tmp_path / "log.csv").write_text(rows)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cprlab", "prepare", "log.csv", "prepared", "--user", "buyer", "--memory", "1GB"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 users, 7 items, 90 interactions"
    assert [words in line for words, line in zip(["file order", "1 of 10 users"], lines[1:], strict=True)] == [True] * 2
    for data in (["prepared", "--user", "buyer"], ["log.csv"]):
        code, printed = run(monkeypatch, capsys, "report", "--data", *data)
        assert code == 2
    code, printed = run(monkeypatch, capsys, "report", "--data", "prepared", "--heads", "Softmax; Softmax + CPR:8")
    assert code == 2
    assert "number of items, 7" in printed  # the data were read


def test_train_prints_where_the_run_is_and_reads_it_back(tmp_path, monkeypatch, capsys):
    (tmp_path / "good.csv").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    asked = ["cprlab", "train", "--data", "good.csv", "--head", "Softmax+C", "--encoder", "MF", "--epochs", "1"]
    printed = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", [*asked, "--batch-size", "3", "--learning-rate", "0.01", "--max-len", "4"])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    trained = Run.load(printed[0].strip())
    assert trained.recommender.max_len == trained.record["data"]["max_len"] == 4
    config = trained.config
    assert (config.head, config.encoder.name) == ("Softmax + C", "MF")
    assert (config.training.batch_size, config.training.learning_rate, config.training.epochs) == (3, 0.01, 1)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    code, said = run(monkeypatch, capsys, "train", "--data", "good.csv", "--learning-rate", "-1")
    assert code == 2
    assert said.startswith("cprlab: The setting 'learning_rate' cannot be -1.0")


def test_an_interruption_is_said_in_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "good.csv").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cprlab.pages.run.execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    code, printed = run(monkeypatch, capsys, "report", "--data", "good.csv", "--heads", "Softmax; Softmax + C")
    assert code == 130
    assert "No column is named like a time" in printed
    assert printed.endswith("cprlab: stopped; run it again to continue from what is saved.\n")


@pytest.mark.parametrize(
    "report",
    ["", "{}", "[]", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{"outputs": [{"data": 3}]}]}', "[" * 99_999]
    + [f'{{"cells": [{{"outputs": [{{"data": {{"application/vnd.plotly.v1+json": {no}}}}}]}}]}}' for no in ("3", "{}")],
)
def test_figures_of_no_report_are_refused_in_a_sentence(tmp_path, monkeypatch, capsys, report):
    if report:
        (tmp_path / "report.ipynb").write_text(report)
    code, printed = run(monkeypatch, capsys, "figures", str(tmp_path), str(tmp_path))
    assert code == 2
    assert "is not an executed report" in printed


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/b", "", 3, "n" * 300, "metrics"])
def test_a_figure_of_a_strangers_report_is_written_into_the_folder(tmp_path, monkeypatch, name):
    async def pictures(found, *_):
        return [b"a picture"] * len(found)

    monkeypatch.setattr(figures, "_pictures", pictures)
    cell = {"outputs": [{"data": {PLOTLY: {"data": [], "layout": {"meta": {"name": name}}}}}]}
    (tmp_path / "report.ipynb").write_text(json.dumps({"cells": [cell, cell]}))
    known = name if name == "metrics" else "figure"
    written = figures.write_figures(tmp_path, tmp_path / "figures")
    assert written == [tmp_path / "figures" / f"{known}.png", tmp_path / "figures" / f"{known}-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.ipynb"]
    assert figures.write_figures(tmp_path, tmp_path / "one", [f"{known}-2"]) == [tmp_path / "one" / f"{known}-2.png"]
    assert len(list((tmp_path / "one").iterdir())) == 1
    with pytest.raises(ConfigError, match=f"has no figure 'other': Possible: {known}, {known}-2"):
        figures.write_figures(tmp_path, tmp_path / "one", [known, "other"])


@pytest.mark.slow
def test_the_installed_command_works():
    command = Path(sys.executable).with_name("cprlab")
    done = subprocess.run([command, "report", "--seed", "-1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cprlab: The setting 'seed' cannot be -1")
    assert "report" in subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout


def test_the_catalogue_is_listed_shown_and_imported_from(tmp_path, monkeypatch, capsys):
    (tmp_path / "ratings.dat").write_text("".join(f"{n % 9}::{n % 7}::5::{n}\n" for n in range(90)))
    monkeypatch.chdir(tmp_path)
    said = {}
    asked = (["import", "ml-1m", "ratings.dat"], ["list"], ["show", "ml-1m"], ["check", "ml-1m"])
    for arguments in (*asked, ["fetch", "complete-journey"]):
        monkeypatch.setattr(sys, "argv", ["cprlab", "data", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said[arguments[0]] = (stopped.value.code, capsys.readouterr())
    assert [code for code, _ in said.values()] == [0, 0, 0, 0, 2]
    assert "9 users, 7 items, 90 interactions, 30.0% of them repeats" in said["import"][1].out
    assert "90 interactions" in said["list"][1].out
    assert "Free for research" in said["show"][1].out
    assert "of the user  30.0%" in said["check"][1].out
    assert said["fetch"][1].err.startswith("cprlab: complete-journey comes with cprlab")
    code, printed = run(monkeypatch, capsys, "report", "--data", "ml-1m", "--heads", "Softmax; Softmax + CPR:8")
    assert code == 2
    assert "number of items, 7" in printed  # the data were read


@pytest.mark.slow
def test_help_on_all_commands_waits_for_no_large_library():
    lines = ["import sys", "from cprlab import cli", "try: cli.app(['--help'])"]
    code = "\n".join([*lines, "except SystemExit: print({'numpy', 'pandas', 'pydantic', 'torch'} & set(sys.modules))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "report" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("re", ["report", "retrofit", "results"]), ("report --he", ["--heads", "--help"]), ("data fe", ["fetch"])],
)
@pytest.mark.slow
def test_a_shell_completes_commands_and_their_options(typed, offered):
    words = ["cprlab", *typed.split()]
    asked = {"_CPRLAB_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; sys.argv = ['cprlab']; from cprlab import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.splitlines() == offered, done.stderr


def test_the_version_is_that_of_the_project(monkeypatch, capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    monkeypatch.setattr(sys, "argv", ["cprlab", "--version"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"cprlab {project['version']}\n")


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("report", "papermill", "lab"),
        ("explore", "jupyter_core", "lab"),
        ("explore", "voila", "lab"),
        ("sweep x.yaml", "nbformat", "sweep"),
        ("sweep x.yaml", "distributed", "sweep"),
    ],
)
@pytest.mark.slow
def test_a_missing_extra_is_named_with_the_command_that_installs_it(command, package, extra):
    code = f"import sys; sys.modules[{package!r}] = None; from cprlab import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"cprlab: This needs {package}; install it with: pip install 'cprlab[{extra}]'\n"


def test_a_missing_module_of_no_extra_is_no_sentence(monkeypatch):
    def broken():
        raise ModuleNotFoundError("No module named 'cprlab.nonsense'", name="cprlab.nonsense")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_the_optional_packages_are_those_of_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.match(r"[\w-]+", package)[0].replace("-", "_") for name in ("lab", "sweep") for package in extras[name]}
    assert named - {"cprlab", "jupyterlab"} == set(cli.OPTIONAL)  # JupyterLab is a program, of `make lab`


@pytest.mark.parametrize(
    ("command", "kind", "others"),
    [
        ("train", TrainConfig, {"help"}),
        ("report", ReportConfig, {"help"}),
        ("probe", ProbeConfig, {"help"}),
        ("retrofit", RetrofitConfig, {"help"}),
        ("explore", ExplorerConfig, {"help", "port", "browser", "no-browser", "page", "cases"}),
        ("case", CaseConfig, {"help", "case"}),
    ],
)
def test_each_setting_is_an_option_or_an_argument_with_its_default(monkeypatch, capsys, command, kind, others):
    monkeypatch.setattr(sys, "argv", ["cprlab", command, "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr().out
    listed = re.findall(r"^  --([\w-]+)", printed, re.MULTILINE)
    of_log = [name.replace("_", "-") for name in Reading.model_fields]
    of_page = ["out"] * ("out" in kind.model_fields)
    assert listed[-len(of_page + of_log) - 1 :] == [
        *of_page,
        *of_log,
        "help",
    ]  # before them, those of base classes first
    assert [name for name in listed if name not in others][:3] == ["data", "users", "encoder"]
    options = set(re.findall(r"--([\w-]+)", printed.partition("Options:")[2]))
    arguments = set(re.findall(r"\w+", printed.splitlines()[0].partition("[OPTIONS]")[2]))
    fields = {name.replace("_", "-") for name in kind.model_fields}
    assert fields <= options | arguments
    assert options - fields == others
    shown = re.sub(r"\s", "", printed)
    for name, field in kind.model_fields.items():
        if field.default and not field.is_required() and name not in arguments:
            default = "; ".join(field.default) if isinstance(field.default, tuple) else str(field.default)
            assert f"[default:{default.replace(' ', '')}" in shown, name


def test_what_is_given_fills_the_settings(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("cprlab.pages.run.run_probe", lambda *given: asked.append(given))
    monkeypatch.setattr("cprlab.explorer.run.run_explorer", lambda *given: asked.append(given))
    of_log = ["--heads", "Softmax + C;softmax", "--max-len", "7", "--ties", "file", "--item", "what", "--out", "there"]
    for arguments in (
        ["probe"],
        ["probe", "one.npz", "two.npz", "--cases", "9", *of_log],
        ["explore", "--port", "99", "--no-browser", "--data", "log.csv", "--heads", "softmax"],
    ):
        monkeypatch.setattr(sys, "argv", ["cprlab", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0, capsys.readouterr().err
    filled = ProbeConfig(
        models=["one.npz", "two.npz"], cases=9, heads=["Softmax + C", "Softmax"], max_len=7, ties="file", item="what",
        out="there",
    )  # fmt: skip
    assert asked == [
        (ProbeConfig(), Path("reports/probe-complete-journey-types")),
        (filled, "there"),
        (ExplorerConfig(data="log.csv", heads="Softmax"), 99, False),
    ]
    written = filled.model_dump()  # as papermill and JSON hold it
    assert (written["models"], written["heads"]) == ("one.npz; two.npz", "Softmax + C; Softmax")
    assert ProbeConfig(**written) == filled
    with pytest.raises(ConfigError, match="'heads' cannot be ';': name a head or several"):
        ExplorerConfig(heads=";")
