"""The committed notebooks: executed, small, run again, and shown by a browser and a real JupyterLab.

nbval runs them as they are. Those that train for minutes are not run again: a copy that trains for seconds is, see
`tests.smoke`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cprlab.explorer import ExplorerConfig
from cprlab.pages.figures import PLOTLY
from cprlab.pages.html import to_page
from cprlab.pages.run import execute
from tests.browser import drawn, open_page
from tests.jupyter import jupyterlab
from tests.smoke import IGNORED, KEPT, SMOKE, texts

ROOT = Path(__file__).parent.parent
EXPLORER = ROOT / "notebooks" / "pages" / "explorer.ipynb"  # not executed: its widget would be kept
NOTEBOOKS = sorted(set((ROOT / "notebooks").rglob("*.ipynb")) - {EXPLORER})
AGAIN = [path for path in NOTEBOOKS if not (path.parent.name == "appendix" and path.stem in SMOKE)]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def nbval(notebook: Path) -> subprocess.CompletedProcess:
    """Run nbval on a notebook."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "nbval.plugin",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "-rA",
        "-vv",  # or long outputs are cut short
    ]
    command += ["-c", os.devnull, "--rootdir", str(notebook.parent), str(notebook)]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other plugins only take time
    return subprocess.run(command, capture_output=True, text=True, check=False, env=alone)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_committed_executed_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "parameters" in code_cells(notebook)[0].metadata.get("tags", [])
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert all(output.output_type != "error" for cell in code_cells(notebook) for output in cell.outputs)
    assert path.stat().st_size < 1_000_000
    text = path.read_text()
    assert str(ROOT) not in text
    assert not re.search(r"/(home|root|tmp|Users)/", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the copies are run: what one trains, others read back."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("path", AGAIN, ids=lambda path: path.name)
@pytest.mark.slow
def test_nbval_finds_all_committed_outputs_again_and_one_that_was_changed_wrong(path, folder):
    """The last digit of the last compared output is changed; nbval must object to it, and to nothing else."""
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    compared = [
        (cell, output)
        for cell in cells
        if IGNORED not in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.get("data", {}).keys() & {"text/html", "text/plain", "text/markdown"}
    ]
    assert len(compared) >= 2
    cell, output = compared[-1]
    kind = "text/markdown" if "text/markdown" in output.data else "text/html"
    found = output.data[kind]
    output.data[kind] = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), found)
    nbformat.write(notebook, folder / path.name)
    done = nbval(folder / path.name)
    assert f"1 failed, {len(cells) - 1} passed" in done.stdout, done.stdout[-3000:]
    assert re.search(rf"FAILED \S*{path.name}::Cell {cells.index(cell)} -", done.stdout), done.stdout[-3000:]
    told = done.stdout.partition("short test summary")[0]
    differing = re.findall(r"^  ([-+]) (.+)$", re.sub("\x1b.*?m", "", told), re.MULTILINE)
    was, said = ([line.rstrip() for line in text.splitlines()] for text in (found, output.data[kind]))
    (place,) = [number for number, line in enumerate(was) if line != said[number]]
    assert [(sign, line.rstrip()) for sign, line in differing] == [("-", was[place]), ("+", said[place])]


@pytest.mark.parametrize("name", SMOKE)
@pytest.mark.slow
def test_a_copy_that_trains_for_seconds_finds_the_kept_numbers_again(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert texts(execute(f"{name}.ipynb", SMOKE[name])) == json.loads((KEPT / f"{name}.json").read_text("utf-8"))


def test_the_explorers_notebook_is_committed_without_outputs_and_opens_what_make_report_trains():
    notebook = nbformat.read(EXPLORER, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert all(cell.execution_count is None and cell.outputs == [] for cell in cells)
    assert cells[0].metadata["tags"] == ["parameters"]
    parameters = {}
    exec(cells[0].source, parameters)
    config = ExplorerConfig.of(parameters)
    makefile = (ROOT / "Makefile").read_text().replace("\t$(BIN)/", "")
    recipe = re.search(r"\ncprlab report (.*)", makefile).group(1)
    trained = re.search(r"\nHEADS := (.*)", makefile).group(1)
    epochs = int(re.search(r"--epochs (\d+)", recipe).group(1))
    assert config == ExplorerConfig(epochs=epochs, split="next-basket", runs="../../runs")  # all else as in any report
    assert set(config.heads) < set(trained.split("; "))
    shared = f"--split next-basket --epochs {epochs}"
    assert recipe == f'--heads "$(HEADS)" {shared} --out reports/quickstart $(ARGS)'
    assert f"\ncprlab explore {shared} $(ARGS)\n" in makefile


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if PLOTLY in path.read_text()], ids=lambda path: path.name)
def test_the_page_of_a_notebook_has_its_figures_drawn(browser, path, tmp_path):
    (tmp_path / "index.html").write_text(to_page(nbformat.read(path, as_version=4), path.stem), encoding="utf-8")
    with open_page(browser, offline=True) as (page, complaints):
        page.goto((tmp_path / "index.html").as_uri())
        assert drawn(page, path)
        assert complaints == []


def test_a_notebook_opens_in_jupyterlab_with_its_figures_drawn(browser, tmp_path):
    """One for all, as the plotly.js that draws there is the pages' own."""
    (tmp_path / "notebooks").mkdir()
    path = Path(shutil.copy(ROOT / "notebooks" / "pages" / "report.ipynb", tmp_path / "notebooks"))
    with jupyterlab(tmp_path) as address, open_page(browser) as (page, complaints):
        page.goto(address.format(path.name))
        assert drawn(page, path)
        assert complaints == []
