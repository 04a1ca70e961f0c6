"""The documentation site has all pages and figures, and asks no other host for anything."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import cprlab
from cprlab.pages.figures import PLOTLY

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory, slow):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_menu_has_the_demo_and_all_guides_notebooks_and_packages(site):
    pages = [path for folder in ("docs", "notebooks") for path in (ROOT / folder).rglob("[!.]*")]
    shown = {str(path.relative_to(ROOT).with_suffix("")) for path in pages if path.suffix in (".md", ".ipynb")}
    shown |= {f"reference/{name}" for name in cprlab.__all__} | {"docs/demo", "CONTRIBUTING", "CHANGELOG"}
    menu = re.findall(r'<a href="?([^"# ]+)\.html"? class="?md-nav__link', (site / "index.html").read_text())
    assert set(menu) - {"index"} == shown


def test_guides_and_notebooks_have_pages_with_all_their_figures(site):
    for guide in [*ROOT.glob("docs/*.md"), ROOT / "CHANGELOG.md"]:
        assert (site / guide.relative_to(ROOT).with_suffix(".html")).is_file()
    for path in (ROOT / "notebooks").rglob("[!.]*.ipynb"):
        page = (site / path.relative_to(ROOT).with_suffix(".html")).read_text()
        cells = nbformat.read(path, as_version=4).cells
        figures = [output for cell in cells for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})]
        assert page.count("Plotly.newPlot(") == len(figures)
        assert ("plotly.js" in page) == bool(figures)


def test_the_reference_has_the_classes_and_functions_that_each_package_exports(site):
    for name in cprlab.__all__:
        package, page = getattr(cprlab, name), (site / "reference" / f"{name}.html").read_text()
        for exported in getattr(package, "__all__", ["simulate"]):
            kind = getattr(package, exported)
            if inspect.isclass(kind) or inspect.isfunction(kind):
                assert re.search(rf'id="cprlab\.{name}\.({exported}\.)?{exported}"', page), f"cprlab.{name}.{exported}"


def test_pages_load_nothing_from_other_hosts(site):
    for page in site.rglob("*.html"):
        assert (
            re.findall(r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//|<link[^>]* href="?//', page.read_text()) == []
        )
