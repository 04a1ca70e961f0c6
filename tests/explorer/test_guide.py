"""Stories, the smallest edit, snapshots and the tour in a real browser, without a kernel."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest

from tests.browser import open_page
from tests.explorer.fake import HOSTILE, acts, answer, base, cases, emit, marks, open_explorer, stories, view
from tests.explorer.fake import setting as plain_setting
from tests.explorer.test_modules import TEXTS, node

FILMS = [f"Film {code}" for code in range(12)]


@pytest.fixture
def page(browser, tmp_path):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path)
        emit(page, base(FILMS), stories(), view(), marks(), cases(titles=FILMS[:9]))
        page.get_by_role("button", name="Close", exact=True).click()
        yield page
        assert complaints == []


def told(page):
    return page.locator(".cx-story").inner_text()


def test_a_story_sets_its_state_and_says_when_it_is_left(page):
    page.get_by_role("button", name="Story 4").click()
    assert acts(page)[0]["set"] == {"case": 4, "history": None, "settings": [plain_setting()] * 2, "pinned": None}
    answer(page, case=4)
    assert "Look at case 4. Here it is." in told(page)
    assert "has changed since" not in told(page)
    assert page.get_by_role("button", name="Story 4").get_attribute("aria-pressed") == "true"
    page.locator(".cx-chips .cx-chip").first.press("Delete")
    answer(page, case=3)
    assert "(What is shown has changed since.)" in told(page)
    assert page.get_by_role("button", name="Story 4").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Close the story").click()
    assert not page.locator(".cx-story").is_visible()


def flipped(page, **changes):
    found = {"model": 1, "k": 10, "edit": "removed", "items": [3, 0], "history": [1, 2, 4], "before": 7, "after": 30}
    message = {"type": "answer", "kind": "flip", "id": 0, "value": found | changes}
    emit(page, message)


def test_the_smallest_edit_is_made_told_and_undone(page):
    flipped(page)
    assert acts(page) == []  # it was not asked for here
    page.get_by_label("Model of the smallest edit").select_option("1")
    page.get_by_role("button", name="Smallest edit after which ★ leaves the 10 best of").click()
    assert page.evaluate("sent.at(-1)") == {"type": "ask", "kind": "flip", "value": 1}
    flipped(page)
    assert acts(page)[-1]["set"] == {"history": [1, 2, 4]}
    assert told(page).startswith(
        "Without “Film 3” and “Film 0”, ★ Film 6 leaves the 10 best items of GRU4Rec: rank 7 → 30."
    )
    page.get_by_role("button", name="Undo this edit").click()
    answer(page, history=(1, 2, 4))
    assert acts(page)[-1]["command"] == "undo"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"edit": "inserted", "items": [5], "history": [0, 1, 2, 3, 4, 5], "before": 12, "after": 3},
         "With “Film 5” inserted at the end, ★ Film 6 enters the 10 best items of GRU4Rec: rank 12 → 3."),
        ({"edit": "", "items": [], "history": [0, 1, 2, 3, 4]},
         "No removal or insertion of up to three items was found after which ★ Film 6 leaves the 10 best items of "
         "GRU4Rec, where it has rank 7."),
    ],
)  # fmt: skip
def test_insertions_and_no_edit_are_told(page, changes, sentence):
    page.get_by_role("button", name="Smallest edit").click()
    flipped(page, **changes)
    assert told(page).startswith(sentence)
    assert bool(acts(page)) == bool(changes["edit"])


def test_snapshots_are_taken_named_compared_returned_to_and_dropped(page):
    page.get_by_role("button", name="Take a snapshot").click()
    kept = [{"name": "Snapshot 1", "history": [0, 1, 2, 3, 4], "settings": [plain_setting()] * 2}]
    assert acts(page)[-1]["set"] == {"kept": kept}
    answer(page, kept=kept, history=(0, 2, 9, 3, 4))
    row = page.locator(".cx-snapshots tbody tr")
    assert row.locator(".cx-percent").all_inner_texts() == ["52.0%, rank 7"] * 2
    assert row.locator("li").all_text_contents() == ["1 the same", "removed: Film 1", "1 the same", "inserted: Film 9",
                                                     "2 the same"]  # fmt: skip
    heads = page.locator(".cx-snapshots th")
    assert heads.all_inner_texts() == ["its history → the one shown", "A", "B", ""]
    assert heads.nth(2).get_attribute("title") == heads.nth(2).get_attribute("aria-label") == "GRU4Rec"
    decorated = [
        row.locator(f".cx-{kind} > :last-child").evaluate("(node) => getComputedStyle(node).textDecorationLine")
        for kind in ("removed", "inserted")
    ]
    assert decorated == ["line-through", "underline"]
    page.get_by_label("Name of snapshot 1").fill(HOSTILE[0][:60])
    page.get_by_label("Name of snapshot 1").press("Enter")
    named = [kept[0] | {"name": HOSTILE[0][:60]}]
    assert acts(page)[-1]["set"] == {"kept": named}
    answer(page, kept=named, history=(0, 2, 9, 3, 4))
    page.get_by_role("button", name="Return to").click()
    assert acts(page)[-1]["set"] == {"history": [0, 1, 2, 3, 4], "settings": kept[0]["settings"]}
    answer(page, kept=named)
    assert row.locator("li").all_text_contents() == ["5 the same"]
    page.get_by_role("button", name="Take a snapshot").click()
    assert [one["name"] for one in acts(page)[-1]["set"]["kept"]] == [HOSTILE[0][:60], "Snapshot 1"]
    answer(page, kept=named * 8)
    assert page.get_by_role("button", name="Take a snapshot").is_disabled()
    page.get_by_role("button", name="Remove <img").first.click()
    assert acts(page)[-1]["set"] == {"kept": named * 7}
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_differences_are_the_fewest_removals_and_insertions(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [[rng.integers(0, 4, rng.integers(0, 8)).tolist() for _ in range(2)] for _ in range(200)]
    for name in ("base.js", "snapshots.js"):
        (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.mjs").write_text(
        'import { differences } from "./snapshots.js";\n'
        f"console.log(JSON.stringify({json.dumps(pairs)}.map((pair) => differences(...pair))));"
    )
    done = node(str(tmp_path / "run.mjs"))
    assert done.stderr == ""
    for (before, after), runs in zip(pairs, json.loads(done.stdout), strict=True):

        def of(*kinds, runs=runs):
            return [item for run in runs if run["kind"] in kinds for item in run["items"]]

        assert of("same", "removed") == before
        assert of("same", "inserted") == after
        assert all(one["kind"] != two["kind"] for one, two in pairwise(runs))
        common = max(
            size
            for size in range(len(before) + 1)
            for chosen in combinations(before, size)
            if any(list(chosen) == list(other) for other in combinations(after, size))
        )
        assert len(of("same")) == common


def where(page, selector):
    return page.locator(selector).bounding_box()


def apart(one, other):
    """Whether two boxes do not overlap."""
    return any(
        first[start] + first[size] <= second[start] + 0.5
        for start, size in (("x", "width"), ("y", "height"))
        for first, second in ((one, other), (other, one))
    )


@pytest.mark.parametrize("width", [500, 1000, 1280, 1920])
def test_the_tour_covers_nothing_is_walked_by_keys_and_comes_once(browser, tmp_path, width):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path, width)
        emit(page, base(FILMS), stories(), view(), marks(), cases(titles=FILMS[:9]))
        assert page.evaluate("document.activeElement.tagName") == "BODY"  # the focus stays where it was
        for step, name in enumerate(("history", "predictions", "verdict"), 1):
            assert f"{step} of 3" in page.get_by_role("region", name="Tour").inner_text()
            assert page.locator("[data-toured]").get_attribute("class") == f"cx-{name}"
            for section in page.locator("section").all():
                assert apart(where(page, ".cx-tour"), section.bounding_box())
            button = page.get_by_role("region", name="Tour").get_by_role("button").nth(1)
            button.focus()
            page.keyboard.press("Enter")
        assert page.locator(".cx-tour, [data-toured]").count() == 0
        assert page.evaluate("document.activeElement.textContent") == "Tour"
        emit(page, base(FILMS), view())
        assert page.locator(".cx-tour").count() == 0
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert "2 of 3" in page.locator(".cx-tour").inner_text()
        page.get_by_role("button", name="Back", exact=True).press("Enter")
        assert "1 of 3" in page.locator(".cx-tour").inner_text()
        page.keyboard.press("Escape")
        assert page.locator(".cx-tour").count() == 0
        assert acts(page) == []
        assert complaints == []


def test_where_nothing_can_be_kept_the_tour_waits_for_its_button(browser, tmp_path):
    with open_page(browser) as (page, complaints):
        page.add_init_script("""Object.defineProperty(window, "localStorage", { get() { throw Error("no") } })""")
        open_explorer(page, tmp_path)
        emit(page, base(FILMS), stories(), view(), marks(), cases(titles=FILMS[:9]))
        assert page.locator(".cx-tour").count() == 0
        page.get_by_role("button", name="Tour", exact=True).click()
        page.get_by_role("button", name="Close", exact=True).click()
        assert page.locator(".cx-tour").count() == 0
        assert complaints == []
