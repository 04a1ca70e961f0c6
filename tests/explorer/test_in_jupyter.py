"""The explorer with its kernel, in JupyterLab and partly in Voilà: what is clicked, and what the page then shows."""

import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import TimeoutError
from scipy.special import log_softmax

from cprlab.explorer import ExplorerConfig
from cprlab.models import ablated, parse_head
from cprlab.shipped import find_notebook
from tests.browser import open_page
from tests.conftest import random_log
from tests.explorer.fake import HOSTILE
from tests.jupyter import PATIENCE, jupyterlab, run_all, voila

IN_VOILA_TOO = {  # which opens a page, sends it bytes and loads it again in its own ways
    "test_it_opens_on_a_case_with_the_models_bars",
    "test_points_are_lassoed_and_their_share_is_told",
    "test_a_page_that_is_loaded_again_shows_the_same_state",
}
HEADS = ("Softmax", "Softmax + CPR:5 + Mi")
CHIPS = ".cx-chips .cx-chip"
BARS = """() => [...document.querySelectorAll('.cx-models article')].map((article) =>
    [...article.querySelectorAll('.cx-bar')].map((bar) => {
        const track = bar.parentElement.getBoundingClientRect().width;
        return [Number(bar.dataset.item), bar.getBoundingClientRect().width / track];
    }))"""


class Explored:
    """An explorer on a page, and the same models here, to compare with."""

    def __init__(self, page, config):
        self.page = page
        self.subjects = config.subjects()
        self.titles = list(self.subjects[0].snapshot.titles)

    def settle(self):
        """Wait until the kernel has answered all acts, and say what the explorer says."""
        self.page.wait_for_function("document.querySelector('.cx-grid').ariaBusy === 'false'")
        assert self.page.locator(".cx-alert").is_hidden(), self.page.locator(".cx-alert").inner_text()
        return self.page.locator(".cx-status").inner_text()

    def begin(self, **state):
        """Load a state, the first case's own if nothing is said, through the page's dialog."""
        names = [subject.name for subject in self.subjects]
        self.load(json.dumps({"models": names, "settings": [{}] * len(names)} | state))
        return self.settle()

    def load(self, text):
        self.page.get_by_role("button", name="State…").click()
        self.page.get_by_label("The explorer's state as JSON").fill(text)
        self.page.get_by_role("button", name="Load", exact=True).click()

    def state(self):
        self.page.get_by_role("button", name="State…").click()
        text = self.page.get_by_label("The explorer's state as JSON").input_value()
        self.page.get_by_role("dialog").get_by_role("button", name="Close").click()
        return json.loads(text)

    def history(self):
        return [int(chip.get_attribute("data-code")) for chip in self.page.locator(CHIPS).all()]

    def check_bars(self, log_probs):
        """Compare the bars on the page with log-probabilities (n,) of each model: items, order and heights."""
        probabilities = [np.exp(one) for one in log_probs]
        best = [np.sort(one)[::-1][:10] for one in probabilities]
        for bars, p, highest in zip(self.page.evaluate(BARS), probabilities, best, strict=True):
            items = [item for item, _ in bars]
            assert len(set(items)) == 10
            assert p[items] == pytest.approx(highest, rel=1e-4)
            heights = np.array([height for _, height in bars])
            assert heights == pytest.approx(highest / max(one[0] for one in best), abs=0.01)

    def log_probs(self, history, heads=HEADS):
        models = [ablated(one.recommender, parse_head(head)) for one, head in zip(self.subjects, heads, strict=True)]
        return [model.log_probs([history])[0] for model in models]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A log whose titles are as bad as titles can be, and two models of it, trained."""
    folder = tmp_path_factory.mktemp("explorer")
    log = random_log()
    rows = pd.DataFrame({"user": log.user_ids[log.users], "item": log.item_ids[log.items]})
    titles = {
        item: (HOSTILE[place] if place < len(HOSTILE) else f"Film {item}") for place, item in enumerate(log.item_ids)
    }
    rows["title"] = rows["item"].map(titles)
    rows.to_csv(folder / "log.csv", index=False)
    config = ExplorerConfig(
        data=str(folder / "log.csv"), heads="; ".join(HEADS), epochs=3, device="cpu", runs=str(folder / "runs")
    )
    config.subjects()
    return config


@pytest.fixture(scope="module")
def notebook(config, tmp_path_factory):
    """The committed notebook with other parameters, in a folder of its own."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    source = find_notebook("explorer.ipynb")
    cells = nbformat.read(source, as_version=4)
    parameters = next(cell for cell in cells.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = "\n".join(f"{name} = {value!r}" for name, value in config.model_dump().items())
    nbformat.write(cells, folder / source.name)
    return folder / source.name


def pytest_generate_tests(metafunc):
    if "explored" in metafunc.fixturenames:
        places = ["JupyterLab", "Voilà"] if metafunc.function.__name__ in IN_VOILA_TOO else ["JupyterLab"]
        metafunc.parametrize("explored", places, indirect=True, scope="module")


@pytest.fixture(scope="module")
def explored(request, browser, config, notebook):
    """The explorer as opened by a user; nothing in it may complain or ask another host, whatever the tests do."""
    lab = request.param == "JupyterLab"
    shown = jupyterlab(notebook.parent.parent) if lab else voila(notebook)
    with shown as address, open_page(browser) as (page, complaints):
        page.goto(address.format(notebook.name))
        if lab:
            run_all(page)
        try:
            page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=1000 * PATIENCE)
        except TimeoutError:
            raise AssertionError(f"no explorer: {complaints}, {page.inner_text('body')[-3000:]}") from None
        page.set_default_timeout(10_000)
        yield Explored(page, config)
        assert complaints == []
        assert page.evaluate("window.hacked") is None


def test_it_opens_on_a_case_with_the_models_bars(explored):
    explored.settle()
    chosen = explored.page.locator(".cx-cases tr[aria-selected=true]")
    assert chosen.count() == 1
    explored.check_bars(explored.log_probs(explored.history()))


def test_a_case_is_chosen(explored):
    explored.begin(case=3)
    explored.page.locator(".cx-cases tbody tr").nth(5).click()
    explored.settle()
    snapshot = explored.subjects[0].snapshot
    assert explored.history() == snapshot.histories[5].tolist()
    assert explored.page.locator(".cx-target .cx-chip").get_attribute("data-code") == str(snapshot.targets[5])
    explored.check_bars(explored.log_probs(snapshot.histories[5]))


def test_cases_are_searched_and_sorted_by_a_preset(explored):
    explored.begin()
    repeats = explored.subjects[0].cases["repeat"]
    explored.page.get_by_label("Preset").select_option("next item is in the history")
    explored.settle()
    said = f" of {repeats.sum()} found among {len(repeats)} cases"
    counted = "(text) => document.querySelector('.cx-count').textContent.includes(text)"
    explored.page.wait_for_function(counted, arg=said)
    explored.page.get_by_label("Preset").select_option("all")
    explored.page.get_by_role("searchbox").fill("U17")
    explored.page.wait_for_function("document.querySelector('.cx-count').textContent.startsWith('1–1 of 1 ')")
    cells = explored.page.locator(".cx-cases tbody td").all_inner_texts()
    assert cells[0] == "17"
    assert "u17" in cells


def test_the_history_is_edited_undone_and_redone(explored):
    explored.begin(case=4)
    before = explored.history()
    explored.page.locator(CHIPS).nth(1).focus()
    explored.page.keyboard.press("Delete")
    assert "copy probability" in explored.settle()
    shorter = [*before[:1], *before[2:]]
    assert explored.history() == shorter
    explored.check_bars(explored.log_probs(shorter))

    box = explored.page.get_by_role("combobox", name="Insert")
    box.fill("film")
    box.press("Enter")
    explored.settle()
    longer = explored.history()
    assert longer[:-1] == shorter
    assert explored.titles[longer[-1]].startswith("Film")
    explored.check_bars(explored.log_probs(longer))

    explored.page.get_by_role("button", name="Undo", exact=True).click()
    explored.settle()
    assert explored.history() == shorter
    explored.page.get_by_role("button", name="Redo", exact=True).click()
    explored.settle()
    assert explored.history() == longer
    explored.page.get_by_role("button", name="Reset", exact=True).click()
    explored.settle()
    assert explored.history() == before
    explored.check_bars(explored.log_probs(before))


@pytest.mark.parametrize(
    ("switch", "head"),
    [
        ("C", "Softmax + R:5 + Mi"),
        ("P", "Softmax + CR:5 + Mi"),
        ("R", "Softmax + CP + Mi"),
        ("Mi", "Softmax + CPR:5"),
        ("post", "Softmax + CPR:5 + Mi (post)"),
    ],
)
def test_each_partition_is_switched(explored, switch, head):
    explored.begin(case=2)
    explored.page.locator(".cx-tabs button").nth(1).click()
    explored.page.get_by_role("checkbox", name=f"{switch}: ").click()
    explored.settle()
    explored.check_bars(explored.log_probs(explored.history(), (HEADS[0], head)))
    explored.page.get_by_role("button", name="Undo", exact=True).click()
    explored.settle()
    explored.check_bars(explored.log_probs(explored.history()))


def test_a_reranker_takes_other_items(explored):
    explored.begin(case=2)
    explored.page.locator(".cx-tabs button").nth(1).click()
    size = explored.page.get_by_label("k of reranker 1")
    size.fill("8")
    size.press("Enter")
    explored.settle()
    explored.check_bars(explored.log_probs(explored.history(), (HEADS[0], "Softmax + CPR:8 + Mi")))


def test_the_hidden_state_is_moved_to_the_mean_of_the_history(explored):
    explored.begin(case=2)
    explored.page.locator(".cx-tabs button").nth(0).click()
    number = explored.page.get_by_role("spinbutton", name="toward the history's mean, number")
    number.fill("1")
    number.press("Enter")
    explored.settle()
    history = explored.history()
    weights = explored.subjects[0].snapshot.item_embeddings
    at_mean = log_softmax(weights @ weights[np.unique(history)].mean(0))
    explored.check_bars([at_mean, explored.log_probs(history)[1]])


def test_a_slider_that_is_dragged_shows_its_latest_place_and_is_undone_at_once(explored):
    explored.begin(case=2)
    explored.page.locator(".cx-tabs button").nth(0).click()
    slider = explored.page.get_by_role("slider", name="norm (factor)")
    box = slider.bounding_box()
    explored.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    explored.page.mouse.down()
    for step in range(30):
        explored.page.mouse.move(box["x"] + box["width"] * (1 / 3 + step / 60), box["y"] + box["height"] / 2)
    explored.page.mouse.up()
    explored.settle()
    scale = explored.state()["settings"][0]["scale"]
    assert 2 < scale < 3
    history = explored.history()
    subject = explored.subjects[0]
    plain = explored.log_probs(history)
    longer = log_softmax(scale * (plain[0] - plain[0].mean()))  # without biases logits scale as the state does
    explored.check_bars([longer, plain[1]])
    assert subject.snapshot.bias is None
    explored.page.get_by_role("button", name="Undo", exact=True).click()
    explored.settle()
    assert explored.state()["settings"][0]["scale"] == 1


def test_points_are_lassoed_and_their_share_is_told(explored):
    explored.begin(case=2)
    explored.page.get_by_label("Projection").select_option("pca")
    explored.settle()
    explored.page.get_by_role("button", name="Lasso").click()
    canvas = explored.page.locator(".cx-map canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    explored.page.mouse.move(*places[0])
    explored.page.mouse.down()
    for place in [*places[1:], places[0]]:
        explored.page.mouse.move(*place, steps=5)
    explored.page.mouse.up()
    explored.settle()
    explored.page.get_by_role("button", name="Lasso").click()
    n = len(explored.titles)
    assert explored.page.locator(".cx-selection").inner_text().startswith(f"{n} items selected")
    assert "100.0%" in explored.page.locator(".cx-selection").inner_text()
    assert sorted(explored.state()["selection"]) == list(range(n))


def test_a_prediction_is_pinned_and_compared(explored):
    explored.begin(case=2)
    explored.page.get_by_role("button", name="Pin", exact=True).click()
    explored.settle()
    explored.page.locator(CHIPS).last.focus()
    explored.page.keyboard.press("Delete")
    explored.settle()
    assert explored.page.locator(".cx-truth").first.inner_text().count("(was ") == 1
    moves = explored.page.locator(".cx-moved").all_inner_texts()
    assert set("".join(moves)) & set("▲▼")
    explored.page.get_by_role("button", name="Unpin").click()
    explored.settle()
    assert explored.page.locator(".cx-moved").all_inner_texts() == [""] * 20


def test_the_verdict_comes_in_and_titles_are_text(explored):
    explored.begin(case=2)
    explored.page.wait_for_function("document.querySelector('.cx-possible').textContent.includes('single state')")
    explored.page.get_by_text("In numbers").click()
    rows = explored.page.get_by_label("Losses and certificates", exact=True).locator("tbody tr")
    assert rows.count() == 2
    assert rows.first.inner_text().startswith("GRU4Rec, Softmax\t")
    explored.page.get_by_role("combobox", name="Insert").fill("onerror")
    assert explored.page.locator(".cx-box [role=option]:visible").inner_text() == HOSTILE[0]
    explored.page.keyboard.press("Escape")


def test_a_view_is_exported_as_the_table_it_shows(explored, tmp_path):
    explored.begin(case=2)
    for view, rows in (("Predictions", 20), ("History", len(explored.history())), ("Cases", 30), ("Verdict", 2)):
        explored.page.get_by_label(f"Export {view}", exact=True).click()
        with explored.page.expect_download() as download:
            explored.page.get_by_role("button", name="CSV").locator("visible=true").click()
        download.value.save_as(tmp_path / "view.csv")
        assert len(pd.read_csv(tmp_path / "view.csv")) == rows
    explored.settle()


def test_a_state_that_cannot_be_is_refused_in_a_sentence_and_changes_nothing(explored):
    explored.begin(case=2)
    before = explored.state()
    explored.load('{"case": ')
    explored.page.wait_for_function("!document.querySelector('.cx-alert').hidden")
    assert "not JSON" in explored.page.locator(".cx-alert").inner_text()
    assert explored.state() == before
    explored.begin(case=2)


def test_an_empty_history_says_what_to_do(explored):
    explored.begin(case=2, history=[])
    assert "insert an item" in explored.page.locator(".cx-case-note").inner_text()
    assert explored.page.locator(".cx-bar").count() == 0
    explored.begin(case=2)


def test_a_page_that_is_loaded_again_shows_the_same_state(explored, notebook):
    explored.begin(case=6, k=5, history=[5, 9, 5])
    before = explored.state()
    lab = "/lab/" in explored.page.url
    if lab:
        explored.page.locator(".jp-MarkdownCell").first.click()
        explored.page.keyboard.press("Control+s")
        explored.page.wait_for_selector(
            ".jp-mod-current:not(.jp-mod-dirty)[data-type=document-title]", state="attached"
        )
        assert 5_000 < notebook.stat().st_size < 1_000_000
    else:
        explored.page.wait_for_function("decodeURIComponent(location.hash).includes('[5,9,5]')")
    explored.page.reload(timeout=60_000)  # Voilà sends a page when its cells have run
    explored.page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=60_000)
    explored.settle()
    assert explored.state() == before
    assert explored.history() == [5, 9, 5]
