"""What comes with cprlab beside its code is found in a checkout and in a wheel, and can be copied."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from cprlab.errors import ConfigError, DataError
from cprlab.shipped import copy_notebooks, find_notebook, shipped

ROOT = Path(__file__).parents[2]


def contents(folder, ending):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob(f"*.{ending}")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_a_notebook_is_found_in_whichever_folder_it_is(tmp_path, monkeypatch):
    assert find_notebook("report.ipynb").name == "report.ipynb"
    monkeypatch.setattr("cprlab.shipped.__file__", str(tmp_path / "cprlab" / "shipped" / "__init__.py"))
    with pytest.raises(ConfigError, match="notebooks does not come with this cprlab"):
        find_notebook("report.ipynb")
    (tmp_path / "notebooks" / "pages").mkdir(parents=True)
    (tmp_path / "notebooks" / "pages" / "mine.ipynb").touch()
    assert find_notebook("mine.ipynb") == tmp_path / "notebooks" / "pages" / "mine.ipynb"
    with pytest.raises(ConfigError, match=r"no notebook yours\.ipynb"):
        find_notebook("yours.ipynb")
    (tmp_path / "cprlab" / "shipped" / "notebooks").mkdir(parents=True)
    assert shipped("notebooks") == tmp_path / "cprlab" / "shipped" / "notebooks"


def test_a_copy_has_all_notebooks_and_replaces_nothing(tmp_path, monkeypatch):
    copy = copy_notebooks(tmp_path / "deep" / "mine")
    assert contents(copy, "*") == contents(ROOT / "notebooks", "ipynb")
    (copy / "report.ipynb").write_text("changed")
    with pytest.raises(ConfigError, match="mine exists; name a new folder"):
        copy_notebooks(copy)
    assert (copy / "report.ipynb").read_text() == "changed"
    with pytest.raises(DataError, match="cannot be written"):
        copy_notebooks(copy / "report.ipynb" / "more")


@pytest.mark.slow
def test_a_wheel_has_notebooks_results_demo_and_types_and_runs_elsewhere(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 20_000_000
    with ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    package = tmp_path / "site" / "cprlab"
    assert (package / "py.typed").is_file()
    assert contents(package / "shipped" / "results", "parquet") == contents(ROOT / "results", "parquet")
    demo = Path("docs", "demo.html")
    assert (package / "shipped" / demo).read_bytes() == (ROOT / demo).read_bytes()
    command = [sys.executable, "-m", "cprlab", "notebooks", "mine"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
    assert contents(tmp_path / "mine", "*") == contents(ROOT / "notebooks", "ipynb") != {}
