"""The demo that is shipped: the page is opened or copied, is up to date, and opens in Python as well."""

import json
import re
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from cprlab import demo
from cprlab.errors import DataError
from cprlab.explorer import Explorer, read_page
from cprlab.explorer.demo import HEADS, HOUSEHOLDS, NOTICE
from cprlab.explorer.from_page import part
from cprlab.explorer.offline import assembled, page_of, told
from tests.browser import open_page

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "docs" / "demo.html"
AGAIN = "docs/demo.html is out of date: run make demo"


@pytest.fixture(scope="module")
def text():
    return SHIPPED.read_text(encoding="utf-8")


def kinds(value):
    """What a JSON value is made of: the keys of objects, and the kinds of values in lists and at keys."""
    if isinstance(value, dict):
        return {key: kinds(one) for key, one in value.items()}
    return [kinds(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_the_demo_is_opened_or_written(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("webbrowser.open", asked.append)
    assert demo.run_demo() == SHIPPED
    assert asked == [SHIPPED.as_uri()]
    (tmp_path / "mine.html").write_text("before")
    assert demo.run_demo(str(tmp_path / "mine.html")) == tmp_path / "mine.html"
    assert (tmp_path / "mine.html").read_bytes() == SHIPPED.read_bytes()
    with pytest.raises(DataError, match="cannot be written"):
        demo.run_demo(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.html"]
    assert len(asked) == 1


def test_the_demo_is_small_and_names_its_data(text):
    assert SHIPPED.stat().st_size < 3e6
    assert "84.51°" in text
    assert "MIT licence" in NOTICE


def test_the_page_is_what_cprlab_writes_now(text):
    """All of it but what is packed, of which test_the_demo_opens_in_python asks."""
    data, *weights = re.findall(r'id="cprlab-(?:data|weights-\d)">([\w+/=]+)</script>', text)
    assert text == assembled(data, weights, NOTICE), AGAIN


def test_the_demo_opens_in_python(text):
    data, subjects = json.loads(part(text, "data")), read_page(SHIPPED)
    assert [str(subject.recommender.head.config) for subject in subjects] == list(HEADS)
    shown = Explorer(subjects)
    extra = {story["set"]["case"] for story in data["stories"]}
    assert HOUSEHOLDS <= len(set(shown.choices.users)) <= len(shown.choices.targets) <= HOUSEHOLDS + len(extra)
    columns = [column["key"] for column in data["table"]["columns"]]
    shipped = np.array([[row[columns.index(f"copy {letter}")] for letter in "AB"] for row in data["table"]["rows"]])
    np.testing.assert_allclose(shown.choices.table[["copy A", "copy B"]], shipped, atol=1e-6)
    again = json.loads(part(page_of(shown, [shown.state.case], told(shown)), "data"))
    assert kinds(again) == kinds(data), AGAIN
    of_log = {"observed": 0, "cases": 0, "counts": []}  # of all its cases
    assert again["base"] | of_log == data["base"] | of_log, AGAIN


@pytest.mark.slow
def test_the_demo_shows_in_a_browser_what_python_predicts(browser):
    subjects = read_page(SHIPPED)
    with open_page(browser, offline=True) as (page, complaints):
        page.goto(SHIPPED.as_uri())
        page.wait_for_selector(".cx-grid:not([hidden]) .cx-chip")
        page.locator(".cx-chips .cx-chip").first.press("Delete")
        page.wait_for_url(lambda url: quote('"history":[', safe="") in url)
        state = json.loads(unquote(page.evaluate("location.hash"))[1:])
        for place, subject in enumerate(subjects):
            scores = subject.recommender.log_probs([state["history"]])[0]
            told = page.locator(".cx-predictions").inner_text()
            assert subject.held_out.titles[scores.argmax()] in told, place
            assert f"{np.exp(scores.max()):.1%}" in told, place
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_someone_out(browser, scheme):
    with open_page(browser, offline=True) as (page, complaints):
        page.emulate_media(color_scheme=scheme)
        page.goto(SHIPPED.as_uri())
        page.locator(".cx-verdict .cx-chip").first.wait_for()
        page.locator(".cx-chips [data-effect]").first.wait_for()  # the tints, which come last
        page.locator(".cx-cohort[aria-busy=false]").wait_for()
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
        assert complaints == []
