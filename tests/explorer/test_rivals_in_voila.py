"""The explorer with its kernel and rivals that count: the history is edited on the page, and their bars follow."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from cprlab.explorer import ExplorerConfig
from cprlab.pages.run import parameterised
from tests.browser import open_page
from tests.conftest import random_log
from tests.jupyter import PATIENCE, voila

SHOWN = """() => [...document.querySelectorAll('.cx-models article')].map((article) =>
    [...article.querySelectorAll('.cx-row')].map((row) => [
        Number(row.dataset.code), row.querySelector('.cx-p').textContent,
        row.querySelector('.cx-track').checkVisibility(),
        row.querySelector('.cx-bar').getBoundingClientRect().width]))"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A log and four models of it, two of which count."""
    folder = tmp_path_factory.mktemp("rivals")
    log = random_log()
    frame = {"user": log.user_ids[log.users], "item": log.item_ids[log.items]}
    pd.DataFrame(frame).to_csv(folder / "log.csv", index=False)
    heads = "Recent; Counts; Softmax; Softmax + CPR:5 + Mi"
    return ExplorerConfig(data=str(folder / "log.csv"), heads=heads, epochs=2, device="cpu", runs=str(folder / "runs"))


def check(page, subjects, history):
    """Compare what is shown of the two rivals with their recommenders, and return it."""
    shown = page.evaluate(SHOWN)
    recent, counts = (subject.recommender for subject in subjects[:2])
    latest = list(dict.fromkeys(reversed(history)))[:10]
    assert [row[0] for row in shown[0]][: len(latest)] == latest
    items, scores = recent.topk([history], recent.n_items)
    of_item = dict(zip(items[0], scores[0], strict=True))
    assert [of_item[row[0]] for row in shown[0]] == scores[0, :10].tolist()  # items taken as often are alike
    assert [row[1:3] for row in shown[0]] == [[str(place), False] for place in range(1, 11)]
    p = np.exp(counts.log_probs([history])[0])
    assert p[[row[0] for row in shown[1]]] == pytest.approx(np.sort(p)[::-1][:10])
    widths = np.array([row[3] for row in shown[1]])
    assert widths / widths[0] == pytest.approx(np.sort(p)[::-1][:10] / p.max(), abs=0.02)
    return shown


def test_the_bars_of_a_rival_follow_the_edits(browser, config, tmp_path):
    subjects = config.subjects(facet="V")
    notebook = tmp_path / "explorer.ipynb"
    nbformat.write(parameterised(notebook.name, config.model_dump()), notebook)
    with voila(notebook) as address, open_page(browser) as (page, complaints):
        page.goto(address)
        page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=1000 * PATIENCE)

        def history():
            return [int(chip.get_attribute("data-code")) for chip in page.locator(".cx-chips .cx-chip").all()]

        before = history()
        first = check(page, subjects, before)
        page.locator(".cx-chips .cx-chip").last.focus()
        page.keyboard.press("Delete")
        page.wait_for_function("document.querySelector('.cx-status').textContent.includes('Counts: copy probability')")
        assert history() == before[:-1]
        second = check(page, subjects, before[:-1])
        assert [first[model] != second[model] for model in (0, 1)] == [True, True]
        page.wait_for_function("document.querySelector('.cx-sentences').textContent.includes('single state')")
        said = page.locator(".cx-sentences").inner_text()
        assert "Recent has no hidden state" in said
        assert "Counts has no hidden state" in said
        assert page.locator(".cx-alert").is_hidden()
        assert complaints == []
