"""The report's page in a real browser without a network: its figures are drawn and no title is run."""

import json

import numpy as np
import pandas as pd
import pytest

from cprlab import plots
from cprlab.errors import DataError
from cprlab.pages.figures import PLOTLY, write_figures
from tests.browser import drawn, open_page
from tests.pages.conftest import HOSTILE

pytestmark = pytest.mark.usefixtures("chromium")


@pytest.mark.parametrize(
    ("page_of", "said", "titled", "least"),
    [
        ("report", "of the items that 120 test users", "example", 8),
        ("probed", "The rule.", "neighbourhood", 8),
        ("retrofitted", "The rule.", "example", 2),
    ],
)
def test_every_figure_is_drawn_and_no_title_is_run(page_of, said, titled, least, request):
    _, folder = request.getfixturevalue(page_of)
    with open_page(offline=True) as (page, complaints):
        page.goto((folder / "index.html").as_uri())
        figures = drawn(page, folder / "report.ipynb")
        assert len(figures) >= least
        assert all(figure["width"] > 600 for figure in figures)
        assert page.evaluate("window.hacked") is None
        examples = [figure for figure in figures if figure["name"] == titled]
        assert examples
        assert all(HOSTILE[:20] in figure["title"] for figure in examples)
        assert page.locator(f"text={said}").count() == 1
        assert complaints == []


@pytest.mark.parametrize("colour", ["kind", "partition"])
def test_the_bars_of_predictions_hide_no_others(colour, tmp_path):
    """Neither kind is at neighbouring places, of which plotly would make the width of its bars."""
    table = pd.DataFrame({"model": "one", "place": range(1, 8), "item": range(7), "title": [*"abcdefg"]})
    table["kind"] = table["partition"] = ["history", "new", "target", "new", "history", "new", "history"]
    table["probability"] = np.geomspace(0.4, 0.05, 7)
    figure = plots.predictions(table, {"one": ["one"]}, "whose", colour)
    figure.write_html(tmp_path / "figure.html", include_plotlyjs=True)
    with open_page(offline=True) as (page, complaints):
        page.goto((tmp_path / "figure.html").as_uri())
        page.locator(".barlayer .point path").nth(6).wait_for()
        boxes = page.locator(".barlayer .point path").evaluate_all(
            "bars => bars.map(bar => { const {top, bottom} = bar.getBoundingClientRect(); return [top, bottom] })"
        )
        assert complaints == []
    tops, bottoms = np.array(sorted(boxes)).T
    assert len(tops) == 7
    assert (bottoms - tops > 5).all()
    assert (bottoms[:-1] < tops[1:]).all()


def test_figures_are_written_as_pictures(report, tmp_path):
    written = write_figures(report[1], tmp_path)
    assert {"metrics.png", "reliability.png", "example.png", "example-2.png"} <= {path.name for path in written}
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 15_000


def test_what_is_no_figure_is_refused_in_a_sentence(tmp_path):
    cell = {"outputs": [{"data": {PLOTLY: {"data": "no traces", "layout": {}}}}]}
    (tmp_path / "report.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(DataError, match=r"A figure of .* cannot be drawn"):
        write_figures(tmp_path, tmp_path / "figures")
    assert not list((tmp_path / "figures").glob("*"))


def test_a_machine_without_a_browser_is_told_what_to_install(report, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"No browser to draw the figures with; install Chromium"):
        write_figures(report[1], tmp_path)
    assert not list(tmp_path.glob("*.png"))
