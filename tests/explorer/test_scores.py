"""The score strip in a browser: where items lie, what is counted and said, and what the pointer and the keys choose."""

import re

import numpy as np
import pytest

from tests.browser import open_page
from tests.explorer import fake

HISTORY = (0, 1, 2, 3, 4)
MARKS = {0: "history", 1: "history", 2: "history", 3: "history", 4: "history", 5: "interfering", 6: "target"}
DECADE = np.log(10)


@pytest.fixture(scope="module")
def scores():
    """Log-probabilities of 1,000 items: the first model mixes the history with the others, the second lifts it."""
    rng = np.random.default_rng(6)
    mixed = rng.normal(-8, 1.5, 1000)
    mixed[:7] = [-2.5, -4.5, -6, -7, -9.25, -2.75, -3.5]
    lifted = mixed.copy()
    lifted[:5] = [-0.75, -1.5, -2, -2.25, -2.6]
    return [mixed.astype(np.float32).astype(float), lifted.astype(np.float32).astype(float)]


def message(scores):
    models = []
    for place, one in enumerate(scores):
        marks = [
            {"item": item, "kind": kind, "score": one[item], "alone": one[item] - 2.5 * place, "rank": rank(one, item)}
            for item, kind in MARKS.items()
        ]
        models.append({"marks": marks, "constant": 5.5})
    return {"type": "scores", "models": models}


def rank(scores, item):
    return int((scores >= scores[item]).sum())


@pytest.fixture
def page(browser, tmp_path, scores):
    with open_page(browser) as (page, complaints):
        fake.open_explorer(page, tmp_path, width=1280)
        titles = fake.titles(fake.HOSTILE)
        fake.emit(page, fake.base(titles), fake.view(history=HISTORY))
        feed(page, message(scores), scores)
        yield page
        assert page.evaluate("window.hacked") is None
        assert complaints == []


def feed(page, said, buffers):
    page.evaluate(
        "([said, buffers]) => emit(said, buffers.map((one) => Float32Array.from(one)))",
        [said, [list(one) for one in buffers]],
    )
    page.evaluate("async () => { for (let k = 0; k < 3; k++) await new Promise(requestAnimationFrame) }")


def strips(page):
    return page.locator(".cx-strip:visible")


def places(strip):
    """By item, where its mark is drawn, and whether it is hollow."""
    found = strip.locator("g[data-item]").evaluate_all(
        """(nodes) => nodes.map((node) => [Number(node.dataset.item), node.transform.baseVal[0].matrix.e,
            node.transform.baseVal[0].matrix.f, Boolean(node.querySelector(".cx-strip-hollow"))])"""
    )
    return {item: (x, y, hollow) for item, x, y, hollow in found}


def chosen(page):
    return fake.acts(page)[-1]["set"]["selection"]


def test_items_lie_by_score_on_one_axis_and_the_history_is_hollow_below_another(page, scores):
    ends = []
    for strip, own in zip(strips(page).all(), scores, strict=True):
        found = places(strip)
        assert set(found) == set(MARKS)
        slope, zero = np.polyfit([own[item] for item in MARKS], [found[item][0] for item in MARKS], 1)
        for item, (x, _, hollow) in found.items():
            assert x == pytest.approx(zero + slope * own[item], abs=0.1)
            assert hollow == (item in HISTORY and own[item] < own[5:].max())
        ends.append((slope, zero))
        best = strip.locator("line.cx-strip-best")
        assert float(best.get_attribute("x1")) == pytest.approx(zero + slope * own[5:].max(), abs=0.1)
        width = strip.bounding_box()["width"]
        bins = np.floor((zero + slope * own[7:]) / 4).astype(int)
        counts = np.bincount(bins)
        path = strip.locator(".cx-strip-bars").get_attribute("d")
        bars = re.findall(r"M(\d+) [\d.]+v-([\d.]+)", path)
        tall = {int(x) // 4: float(height) / 44 for x, height in bars}
        most = counts.max() + np.arange(-2, 3)  # a place at the border of a bar is not known well enough
        totals = {one: sum(np.expm1(height * np.log1p(one)) for height in tall.values()) for one in most}
        most = min(totals, key=lambda one: abs(totals[one] - 993))
        assert totals[most] == pytest.approx(993, rel=0.005)
        drawn = {place: np.expm1(height * np.log1p(most)) for place, height in tall.items()}
        wrong = [abs(round(drawn.get(place, 0)) - count) for place, count in enumerate(counts)]
        assert sum(wrong) <= 30  # of the 993 items, some again lie at a border
        assert max(x for x, *_ in found.values()) < width
    np.testing.assert_allclose(ends[0], ends[1], atol=0.2)  # the same axis
    labels = {node.text_content(): float(node.get_attribute("x")) for node in strips(page).first.locator("text").all()}
    slope, zero = ends[0]
    for text, p in {"100%": 1, "1%": 0.01, "0.01%": 1e-4}.items():
        assert labels[text] == pytest.approx(zero + slope * np.log(p), abs=0.3)
    said = page.locator(".cx-strip-said").all_text_contents()
    for text, own in zip(said, scores, strict=True):
        above, higher = sum(own[:5] > own[5:].max()), sum(own[5:] > own[:5].min())
        assert text == (
            f"{above} of the history's 5 different items {'lies' if above == 1 else 'lie'} above all others; "
            f"{higher} others {'lies' if higher == 1 else 'lie'} above the lowest of them."
        )
    assert (strips(page).first.locator(".cx-strip-lift").get_attribute("d"), said[0][0]) == ("", "1")
    lift = strips(page).nth(1).locator(".cx-strip-lift").get_attribute("d")
    found = places(strips(page).nth(1))
    starts = sorted(float(x) for x in re.findall(r"M([\d.]+)", lift))
    assert starts == pytest.approx(sorted(found[item][0] - 2.5 * slope for item in HISTORY), abs=0.2)


def test_pointer_names_an_item_and_a_click_selects_it(page, scores):
    strip, tip = strips(page).first, page.locator(".cx-strip .cx-map-tip").first
    box, found = strip.bounding_box(), places(strip)

    def at(x, y):
        return box["x"] + x, box["y"] + y

    for item in MARKS:
        page.mouse.move(*at(*found[item][:2]))
        own = scores[0][item]
        assert (fake.HOSTILE[item][:100] if item < 5 else f"Film {item}") in tip.text_content().replace(
            "\ufffd", "\x00"
        )
        kinds = {"history": "in the history", "interfering": "interfering", "target": "true next item"}
        assert kinds[MARKS[item]] in tip.text_content()
        assert f"logit {own + 5.5:.2f}, probability" in tip.text_content()
        assert f"rank {rank(scores[0], item)} of 1,000" in tip.text_content()
    page.mouse.click(*at(*found[5][:2]))
    assert chosen(page) == [5]
    fake.answer(page, history=HISTORY, selection=[5])
    slope, zero = np.polyfit([scores[0][item] for item in MARKS], [found[item][0] for item in MARKS], 1)
    right = np.argsort(-scores[0][7:])[0] + 7  # the best of those without a mark
    page.keyboard.down("Control")
    page.mouse.click(*at(zero + slope * scores[0][right], 118))
    page.keyboard.up("Control")
    assert chosen(page) == [5, right]
    assert f"rank {rank(scores[0], right)} of 1,000" in tip.text_content()
    assert "not in the history" in tip.text_content()
    fake.answer(page, history=HISTORY, selection=[5, int(right)])
    ring = strip.locator("g[data-item='5'] circle.cx-strip-chosen")
    page.wait_for_function("(ring) => ring.getAttribute('r') === '8'", arg=ring.element_handle())
    ticks = strip.locator("path.cx-strip-chosen").get_attribute("d")
    assert len(re.findall("M", ticks)) == 2
    page.mouse.move(*at(found[6][0], 80))
    assert not tip.is_visible()  # between the marks and the bars
    other = strips(page).nth(1)
    page.mouse.move(*(other.bounding_box()[side] + places(other)[1][k] for k, side in enumerate("xy")))
    assert "logit 4.00 (1.50 by the hidden state V alone)" in page.locator(".cx-map-tip:visible").text_content()


def test_keys_go_from_item_to_item_and_select(page, scores):
    strip, tip = strips(page).first, page.locator(".cx-strip .cx-map-tip").first
    order = np.argsort(-scores[0]).tolist()
    strip.focus()

    def named(item):
        assert f"rank {rank(scores[0], item):,} of 1,000" in tip.text_content()
        return True

    page.keyboard.press("ArrowLeft")
    assert named(6)  # begins at the next item
    place = order.index(6)
    for key, by in {"ArrowLeft": 1, "ArrowRight": -1}.items():
        page.keyboard.press(key)
        place += by
        assert named(order[place])
    page.keyboard.press("ArrowUp")
    marked = [item for item in order if item in MARKS]
    assert named(marked[marked.index(6) - 1])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert named(marked[marked.index(6) + 1])
    page.keyboard.press("Home")
    assert named(order[0])
    page.keyboard.press("ArrowRight")
    assert named(order[0])
    page.keyboard.press("Enter")
    assert chosen(page) == [order[0]]
    page.keyboard.press("End")
    assert named(order[-1])
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert len(fake.acts(page)) == 1
    assert strip.get_attribute("aria-label").startswith("Scores of all items by SASRec: arrow left and right")
    said = page.locator(f"#{strip.get_attribute('aria-describedby')}")
    assert "of the history's 5 different items" in said.text_content()


def test_what_cannot_be_scored_or_has_no_probability_is_said(page, scores):
    none = {"type": "scores", "models": [{"marks": [], "constant": None}] * 2}
    feed(page, none, [[], []])
    assert strips(page).count() == 0
    assert page.locator(".cx-strip-said").all_text_contents() == ["", ""]
    said = message(scores)
    for mark in said["models"][0]["marks"]:
        mark |= {"score": None, "alone": None} if mark["kind"] == "history" else {"alone": None}
    said["models"][0]["constant"] = None
    ruled = scores[0].copy()
    ruled[:5] = -np.inf
    feed(page, said, [ruled.tolist(), scores[1].tolist()])
    found = places(strips(page).first)
    assert {found[item][0] for item in HISTORY} == {12}
    assert strips(page).first.locator("text", has_text="less").count() == 1
    text = page.locator(".cx-strip-said").first.text_content()
    assert text == "0 of the history's 5 different items lie above all others; 995 others lie above the lowest of them."
    page.mouse.move(*(strips(page).first.bounding_box()[side] + found[0][k] for k, side in enumerate("xy")))
    assert "log-probability −∞, probability 0.00%" in page.locator(".cx-map-tip:visible").text_content()


def test_the_axis_stays_while_a_state_moves_within_a_case(page, scores):
    before = places(strips(page).first)
    moved = [own / 2 - np.log(np.exp(own / 2).sum()) for own in scores]
    feed(page, message(moved), moved)
    after = places(strips(page).first)
    slope, zero = np.polyfit([scores[0][item] for item in MARKS], [before[item][0] for item in MARKS], 1)
    assert after[6][0] == pytest.approx(zero + slope * moved[0][6], abs=0.2)
    assert after[6][0] < before[6][0] - 20
