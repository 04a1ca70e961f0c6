"""The widget with the models in its page: it shows an edit before the kernel has answered, and then what that says."""

from base64 import b64encode
from contextlib import ExitStack

import numpy as np
import pytest

from cprlab.errors import ConfigError
from cprlab.explorer import page_model, payload
from cprlab.models import ablated, parse_head
from tests.browser import open_page
from tests.explorer import fake
from tests.explorer.test_offline import SITUATIONS, plain
from tests.explorer.test_widget import Page

pytestmark = pytest.mark.slow
CHIPS = ".cx-chips .cx-chip"
DRAWN = "history", "predictions", "states", "scores", "map-marks", "verdict"
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 5))))"
TELL = """([message, buffers]) => emit(message, buffers.map((text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new DataView(bytes.buffer);
}))"""


class Both:
    """A widget on a page, and the kernel that answers only when it is told to."""

    def __init__(self, page, subjects):
        self.page, self.python = page, Page(subjects)
        self.heard = 0
        self.answer()

    def answer(self):
        """Let the kernel answer all that was said; return its messages."""
        answers = []
        while said := self.page.evaluate("(from) => sent.slice(from)", self.heard):
            self.heard += len(said)
            for content in said:
                if content["type"] != "slow":
                    answers += self.tell(content)
        return answers

    def tell(self, content):
        self.python.widget._receive(self.python.widget, content, [])
        heard, self.python.heard = self.python.heard, []
        for message, buffers in heard:
            packed = [b64encode(one).decode() for one in buffers]
            self.page.evaluate(TELL, [plain(message), packed])
        return [message for message, _ in heard]

    def history(self):
        return [int(chip.get_attribute("data-code")) for chip in self.page.locator(CHIPS).all()]

    def bars(self):
        """Return the codes and probabilities of each model's bars."""
        return [
            [(int(bar.get_attribute("data-item")), float(bar.get_attribute("data-p") or "nan")) for bar in bars]
            for bars in (article.locator(".cx-bar").all() for article in self.page.locator(".cx-models article").all())
        ]

    def check(self, history, heads=()):
        """Compare the bars with `log_probs` of the models, with other heads if they are named."""
        assert self.history() == list(history)
        models = [model.recommender for model in self.python.app.shown.models]
        for place, head in enumerate(heads):
            models[place] = ablated(models[place], parse_head(head))
        for bars, model in zip(self.bars(), models, strict=True):
            p = np.exp(model.log_probs([list(history)])[0])
            best = np.argsort(-p, kind="stable")[:10]
            assert [item for item, _ in bars] == best.tolist()
            np.testing.assert_allclose([given for _, given in bars], p[best], rtol=1e-5)

    def shown(self):
        """Return what is on the page once it is drawn, as text and widths of bars."""
        self.page.evaluate(FRAME)
        return {view: self.page.locator(f".cx-{view}").first.evaluate("(node) => node.outerHTML") for view in DRAWN}


@pytest.fixture
def both(browser, tmp_path):
    """Open the widget of some subjects on a page."""
    with ExitStack() as stack:

        def opened(subjects):
            page, complaints = stack.enter_context(open_page(browser))
            stack.callback(lambda: complaints and pytest.fail(str(complaints)))
            fake.open_explorer(page, tmp_path)
            return Both(page, subjects)

        yield opened


@pytest.fixture
def two(both, subject):
    return both(SITUATIONS["two"](subject))


def test_an_edit_is_shown_while_the_kernel_is_silent(two):
    own = two.history()
    two.check(own)
    two.page.locator(CHIPS).nth(1).press("Delete")
    shorter = [*own[:1], *own[2:]]
    two.check(shorter)
    two.page.locator(CHIPS).nth(0).press("Alt+ArrowRight")
    swapped = [shorter[1], shorter[0], *shorter[2:]]
    two.check(swapped)
    two.page.get_by_role("tab").nth(1).click()
    two.page.get_by_role("checkbox", name="C: ").click()
    two.check(swapped, ["Softmax", "Softmax + R:5,10 + Mi"])
    for name, history in (("Undo", swapped), ("Undo", shorter), ("Redo", swapped), ("Reset", own)):
        two.page.get_by_role("button", name=name, exact=True).click()
        two.check(history)
    assert len({act["id"] for act in fake.acts(two.page)}) == 1  # the others wait
    two.answer()
    two.check(own)
    assert two.python.app.shown.history == tuple(own)


def test_what_is_asked_about_an_edit_is_answered_in_the_page(two):
    """Acts that wait become one, and yet the card, and the verdict, are of the last."""
    two.tell({"type": "slow"})
    while not two.python.app.shown.sentence():
        two.tell({"type": "slow"})
    possible = two.page.locator(".cx-possible")
    known = possible.all_inner_texts()
    assert ["single state" in text for text in known] == [True] * 2
    card = two.page.locator(".cx-card li")
    two.page.locator(CHIPS).first.press("Enter")
    code, own = two.history()[0], two.history()
    two.page.get_by_label("Top").select_option("20")
    assert possible.all_inner_texts() == known
    seen = []
    for edit in (1, 2):
        two.page.locator(CHIPS).last.press("Delete")
        assert possible.all_inner_texts() == ["", ""]
        scores = [model.recommender.log_probs([own[:-edit]])[0] for model in two.python.app.shown.models]
        ranks = [int((one >= one[code]).sum()) for one in scores]
        assert [f"rank {rank}," in said for rank, said in zip(ranks, card.all_inner_texts(), strict=True)] == [True] * 2
        seen.append(ranks)
    assert seen[0] != seen[1]
    two.page.get_by_role("button", name="Undo", exact=True).click()
    assert possible.all_inner_texts() == known  # of the history that was judged
    assert len({act["id"] for act in fake.acts(two.page)}) == 1


def test_the_page_says_what_each_item_did_and_the_kernel_looks_for_a_small_edit(two):
    two.page.locator(CHIPS).nth(1).press("Delete")
    history = two.history()
    two.page.wait_for_selector(f"{CHIPS}[data-effect]")
    shown = two.python.app.shown
    edited = shown.at(shown.state.but(history=tuple(history)))
    rows = payload.left_out(edited, {"model": 0, "item": edited.target})["rows"]
    effects = [row["copied"] for row in rows]
    tints = [chip.get_attribute("data-effect") for chip in two.page.locator(CHIPS).all()][-len(rows) :]
    assert tints[np.argmax(np.abs(effects))]  # small effects have none
    told = [(tint, effect > 0) for tint, effect in zip(tints, effects, strict=True) if tint]
    assert set(told) <= {("raised", True), ("lowered", False)}
    two.page.get_by_role("button", name="Smallest edit").click()
    assert [one["type"] for one in two.page.evaluate("sent")].count("ask") == 0  # it is asked after the edit
    two.answer()
    said = two.page.locator(".cx-story").inner_text()
    assert two.page.locator(".cx-target .cx-chip").get_attribute("title") in said
    assert two.python.app.shown.history == tuple(two.history())


def test_another_case_is_shown_while_the_kernel_is_silent(two):
    row = two.page.locator(".cx-cases tbody tr").nth(7)
    case = int(row.locator("td").first.inner_text())
    row.click()
    choices = two.python.app.shown.choices
    two.check(choices.histories[case])
    assert two.page.locator(".cx-target .cx-chip").get_attribute("data-code") == str(choices.targets[case])
    two.page.get_by_role("button", name="Undo", exact=True).click()
    two.answer()
    two.check(two.python.app.shown.history)
    assert two.python.app.state.case != case


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_kernels_answers_are_those_of_the_page(both, subject, situation):
    """After each act the page and the kernel show the same; the kernel's answer draws nothing anew."""
    one = both(SITUATIONS[situation](subject))
    page, app = one.page, one.python.app
    page.get_by_label("Tints").select_option("off")  # they come later
    page.evaluate(
        """() => { window.changes = 0;
        new MutationObserver((records) => {
            changes += records.filter(({ target }) => !target.closest?.('.cx-top, [aria-busy]')).length;
        }).observe(document.querySelector('.cx-models'), { subtree: true, childList: true, attributes: true }) }"""
    )

    def settled():
        before = one.shown()
        page.evaluate("changes = 0")
        answers = one.answer()
        view = [message for message in answers if message["type"] == "view"][-1]
        assert view["error"] == ""
        assert page.evaluate("changes") == 0
        assert one.shown() == before

    page.locator(CHIPS).last.press("Delete")
    settled()
    page.get_by_role("button", name="Pin", exact=True).click()
    settled()
    page.get_by_role("combobox", name="Insert").fill("1")
    page.get_by_role("combobox", name="Insert").press("Enter")
    settled()
    page.get_by_label("Colour").select_option("partition")
    settled()
    page.get_by_label("Top").select_option("20")
    settled()
    page.locator(CHIPS).first.press("Enter")
    settled()
    for place in range(len(app.shown.models)):
        page.get_by_role("tab").nth(place).click()
        number = page.get_by_role("spinbutton", name="norm (factor), number").locator("visible=true")
        number.fill("2")
        number.press("Enter")
        settled()
        for box in (
            page.locator("[role=tabpanel] fieldset:nth-of-type(2) [type=checkbox]").locator("visible=true").all()
        ):
            if box.is_enabled():
                box.click()
                settled()
    assert app.state.history is not None


def test_what_only_the_kernel_knows_waits_for_it(two):
    own = two.history()
    bars = two.bars()
    two.page.get_by_role("checkbox", name="state that best copies").locator("visible=true").click()
    assert two.bars() == bars
    two.page.locator(CHIPS).first.press("Delete")  # still of the state that best copies
    assert two.bars() == bars
    two.answer()
    assert two.bars() != bars
    assert two.history() == own[1:]
    expected = [prediction.top(10).tolist() for prediction in two.python.app.shown.predicted()]
    assert [[item for item, _ in bars] for bars in two.bars()] == expected


def test_what_is_undone_of_what_the_page_has_not_seen_waits_for_the_kernel(two):
    before = list(two.python.app.shown.history)
    two.python.app.patch({"history": [1, 2, 3]})
    for message, _ in two.python.heard:
        two.page.evaluate(TELL, [plain(message), []])
    two.python.heard = []
    two.check([1, 2, 3])
    two.page.get_by_role("button", name="Undo", exact=True).click()
    assert two.history() == [1, 2, 3]
    two.page.locator(CHIPS).first.press("Delete")
    assert two.history() == [1, 2, 3]
    two.answer()
    two.check(before[1:])


def test_a_refused_act_is_taken_back(two, monkeypatch):
    own = two.history()

    def refuse(*_):
        raise ConfigError("It is not possible.")

    monkeypatch.setattr(two.python.app, "patch", refuse)
    two.page.locator(CHIPS).first.press("Delete")
    two.check(own[1:])
    two.answer()
    two.check(own)
    assert "It is not possible." in two.page.get_by_role("alert").inner_text()


def test_a_model_that_only_the_kernel_computes_is_late(both, subject, counting, foreign):
    one = both([counting("Recent"), subject("Softmax + C"), foreign()])
    page, own = one.page, one.history()
    columns = page.locator(".cx-models article")
    before = columns.all_inner_texts()
    assert page.locator(".cx-doing").inner_text() == "After an edit the kernel computes foreign."
    for edit in (1, 2):
        page.locator(CHIPS).first.press("Delete")
        assert one.history() == own[edit:]
        after = columns.all_inner_texts()
        assert [after[place] == before[place] for place in range(3)] == [False, False, True]
        assert [column.get_attribute("aria-busy") for column in columns.all()] == [None, None, "true"]
        (bars,) = [bars for place, bars in enumerate(one.bars()) if place == 1]
        p = np.exp(subject("Softmax + C").recommender.log_probs([own[edit:]])[0])
        np.testing.assert_allclose([given for _, given in bars], np.sort(p)[::-1][:10], rtol=1e-5)
    page.get_by_label("Embeddings of").select_option("2")
    one.answer()
    assert [column.get_attribute("aria-busy") for column in columns.all()] == [None] * 3
    assert columns.all_inner_texts()[2] != before[2]
    page.get_by_role("tab").nth(2).click()
    page.get_by_role("checkbox", name="post: ").locator("visible=true").click()  # only the kernel switches it
    page.locator(CHIPS).first.press("Delete")
    one.answer()
    assert one.history() == own[3:]
    expected = [prediction.top(10).tolist() for prediction in one.python.app.shown.predicted()]
    assert [[item for item, _ in bars] for bars in one.bars()] == expected


def test_models_with_too_many_weights_are_not_sent(subject, monkeypatch):
    page = Page([subject()])
    numbers = sum(weight.numel() for weight in subject().recommender.state_dict().values())
    for largest, sent in ((numbers, 1), (numbers - 1, 0)):
        monkeypatch.setattr(page_model, "LARGEST", largest)
        (message,) = (one for one in page.say(type="hello") if one["type"] == "models")
        assert len(message["models"]) == len(page.buffers["models"]) == sent
        assert bool(message["note"]) == (not sent)
    assert f"{numbers:,} weights are more than {numbers - 1:,}." in message["note"]
