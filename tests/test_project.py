"""The project's own promises: the pins agree, and the commands of README and guide run."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pandas as pd
import pytest
import yaml

from cprlab import cli
from tests.jupyter import free_port, wait_for

ROOT = Path(__file__).parent.parent
LOG = "user_id,item_id\n" + "".join(f"u{n % 12},i{n * n % 23}\n" for n in range(90))


def test_environment_yml_and_the_lock_file_pin_the_same_versions():
    lock = (ROOT / "requirements.lock").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", pin) for pin in lock)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (of_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert [pin for pin in of_pip if pin != "--editable ."] == lock
    assert any(str(entry).startswith("python>=3.11") for entry in environment["dependencies"])


SHOWN = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/guide.md"))
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", SHOWN, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
# What each make target is given so that it is quick here: a small report, tests that are only collected, and so on.
QUICK = {
    "make report": "--users 60 --epochs 1 --out {tmp}/report --runs {tmp}/runs",
    "make explore": "--help",
    "make test": "-n 0 --collect-only -q tests/data",
    "make lab": "--version",
}


def test_the_changelog_the_citation_and_the_container_are_of_this_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert re.search(rf"^## {re.escape(project['version'])} ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    (version,) = re.findall(r"python:([\d.]+)", container["image"])
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_links_between_the_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_figure_is_shown_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = {(page.parent / link).resolve() for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text())}
    assert {path for path in (ROOT / "figures").iterdir() if not path.name.startswith(".")} <= links


def test_the_main_commands_are_shown():
    assert set(QUICK) <= set(COMMANDS)
    assert any("cprlab report --data" in command for command in COMMANDS)


def explored(arguments, folder, environment):
    """Serve the explorer until something listens where it says, and ask it to stop."""
    port = free_port()
    command = [*arguments, "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE, text=True)
    try:
        said = process.stdout.readline()
        assert re.fullmatch(rf"http://localhost:{port}/\?token=[0-9a-f]{{32}} \(Ctrl-C ends it\)\n", said)
        wait_for(process, port)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


def called(words, folder, monkeypatch, capfd):
    """Call cprlab here, in another folder, and return its exit code and what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["cprlab", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, *capfd.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_a_command_that_is_shown_runs(command, tmp_path, monkeypatch, capfd):
    """Those of cprlab in this process, which has imported all; that its program can be called, test_cli.py sees."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "MAKE", "MFLAGS"))}
    if command.startswith("make "):
        arguments, folder = ["make", command.split()[1], f"ARGS={QUICK[command].format(tmp=tmp_path)}"], ROOT
    else:
        program, *rest = shlex.split(command)
        assert program.startswith(".venv/bin/")
        arguments = [str(Path(sys.executable).parent / Path(program).name), *rest]
        folder = tmp_path
        (tmp_path / "my_log.csv").write_text(LOG)
        weights, states = np.eye(9, 4), np.ones((12, 4))
        np.savez(tmp_path / "my_model.npz", item_embeddings=weights, states=states)
        state = {"models": ["my_model.npz"], "settings": [{"toward": 1}], "case": 3, "history": [2, 5]}
        (tmp_path / "my_state.json").write_text(json.dumps(state))
        grid = {"name": "my_grid", "data": "my_log.csv", "encoder": "MF", "head": ["Softmax", "Softmax + C"]}
        (tmp_path / "my_grid.yaml").write_text(yaml.safe_dump(grid))
        cases = pd.DataFrame({"history": [[1, 2, 3]] * 12, "target": [2, 4] * 6})
        cases.to_parquet(tmp_path / "my_cases.parquet")
        if rest[0] in ("report", "probe") and "--data" in rest:
            arguments += ["--heads", "Softmax; Softmax + C", "--epochs", "1"]
        if {"train", "retrofit"} & set(rest):
            arguments += ["--epochs", "1"]
    if "explore" in arguments and arguments[0] != "make":
        explored(arguments, folder, environment)
        return
    if Path(arguments[0]).name == "cprlab":
        monkeypatch.setattr("webbrowser.open", lambda url: None)
        code, printed, said = called(arguments[1:], folder, monkeypatch, capfd)
    else:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, env=environment)
        code, printed, said = done.returncode, done.stdout, done.stderr
    assert code == 0, printed + said
    if {"report", "probe", "retrofit", "case", "sweep"} & set(arguments) and "--help" not in arguments:
        assert Path(folder, printed.splitlines()[-1]).is_file()
    if "train" in arguments:
        (run,) = printed.splitlines()
        assert Path(folder, run, "run.json").is_file()


# What stands in the Python of README and guide, and what is put in its place so that it is quick here.
SMALLER = {
    'load_sequences("complete-journey-types")': 'load_sequences("complete-journey-types").sample(60, 0)',
    "RunConfig(head=": "RunConfig(training=TrainingConfig(epochs=1), head=",
    "import RunConfig, train": "import RunConfig, TrainingConfig, train",
    "saved/GRU4RecCPR-Jan-01-2026_12-00-00.pth": str(ROOT / "cprlab" / "adapters" / "recorded" / "GRU4RecCPR.pth"),
}


def test_the_python_that_is_shown_runs(tmp_path, monkeypatch):
    code = "\n".join(re.findall(r"```python\n(.*?)```", SHOWN, re.DOTALL))
    for written, smaller in SMALLER.items():
        assert written in code
        code = code.replace(written, smaller)
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(code, variables)
    assert variables["items"].shape == variables["scores"].shape == (1, 10)
