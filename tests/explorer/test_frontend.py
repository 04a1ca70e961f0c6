"""The explorer's front end in a real browser, with a model object that records what is sent: no kernel."""

import struct
import zlib

import pytest

from tests.browser import open_page
from tests.explorer.fake import (
    DARK,
    HOSTILE,
    acts,
    answer,
    base,
    cases,
    cohort,
    emit,
    marks,
    open_explorer,
    pin,
    scores,
    setting,
    titles,
    verdict,
    view,
)

CHIPS = ".cx-chips .cx-chip"
COLOUR, TOP = (f".cx-predictions label:nth-of-type({place}) select" for place in (1, 2))


@pytest.fixture
def page(browser, tmp_path):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path)
        emit(page, base(titles()), view(), marks(), cases(titles=titles()[:9]), verdict())
        yield page
        assert complaints == []


def focused(page) -> str:
    return page.evaluate("document.activeElement.textContent")


def test_until_the_kernel_speaks_the_widget_says_what_to_do(browser, tmp_path):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path)
        assert "Run All Cells" in page.get_by_role("status").inner_text()
        assert page.evaluate("sent") == [{"type": "hello"}]
        assert complaints == []


@pytest.mark.parametrize(
    ("keys", "history", "then"),
    [
        (["Delete"], [1, 2, 3, 4], "1Film 1"),
        (["ArrowRight", "Backspace"], [0, 2, 3, 4], "2Film 2"),
        (["End", "Delete"], [0, 1, 2, 3], "4Film 3"),
        (["Alt+ArrowRight"], [1, 0, 2, 3, 4], "2Film 0"),
        (["End", "Shift+ArrowLeft"], [0, 1, 2, 4, 3], "4Film 4"),
    ],
)
def test_keys_on_a_chip_edit_the_history_and_keep_the_focus(page, keys, history, then):
    page.locator(CHIPS).first.focus()
    for key in keys:
        page.keyboard.press(key)
    (act,) = acts(page)
    assert act["set"] == {"history": history}
    assert not act["live"]
    answer(page, history=tuple(history))
    assert focused(page).startswith(then)


def test_enter_selects_and_control_adds(page):
    page.locator(CHIPS).first.focus()
    page.keyboard.press("Enter")
    answer(page, selection=[0])
    page.locator(CHIPS).nth(2).click(modifiers=["Control"])
    assert [act["set"] for act in acts(page)] == [{"selection": [0]}, {"selection": [0, 2]}]
    answer(page, selection=[0, 2])
    assert page.locator(".cx-selection").inner_text().startswith("2 items selected: SASRec 3.1%, GRU4Rec 5.2%")
    assert page.locator('[data-code="2"][aria-pressed="true"]').count() >= 3  # a chip, and a bar of each model


def test_the_mouse_removes_and_drags(page):
    page.locator(".cx-chips li").nth(1).hover()
    page.get_by_role("button", name="Remove Film 1").click()
    answer(page, history=(0, 2, 3, 4))
    page.locator(".cx-chips li").nth(0).drag_to(page.locator(".cx-chips li").nth(2))
    assert acts(page)[-1]["set"] == {"history": [2, 3, 0, 4]}


def test_an_item_is_found_and_inserted_at_the_end(page):
    box = page.get_by_role("combobox", name="Insert")
    box.press_sequentially("FILM 99")
    assert page.locator(".cx-box [role=option]:visible").count() == 11  # 99 and 990 to 999
    box.press("ArrowDown")
    box.press("Enter")
    assert acts(page)[0]["set"] == {"history": [0, 1, 2, 3, 4, 990]}
    assert page.locator(".cx-box [role=option]:visible").count() == 0


def test_an_item_is_inserted_at_a_place(page):
    at = page.get_by_role("spinbutton", name="at", exact=True)
    page.locator(CHIPS).nth(2).focus()
    page.keyboard.press("+")
    assert at.input_value() == "3"
    assert page.evaluate("document.activeElement.getAttribute('role')") == "combobox"
    page.keyboard.type("film 99")
    page.keyboard.press("Enter")
    assert acts(page)[-1]["set"] == {"history": [0, 1, 99, 2, 3, 4]}
    answer(page, history=(0, 1, 99, 2, 3, 4))
    assert at.input_value() == "4"  # the next one comes after it
    at.fill("99")
    page.get_by_role("combobox", name="Insert").fill("film 98")
    page.keyboard.press("Enter")
    assert acts(page)[-1]["set"] == {"history": [0, 1, 99, 2, 3, 4, 98]}
    answer(page, case=8)
    assert at.input_value() == ""


def test_a_history_is_cleared_and_looks_edited(page):
    panel = page.locator(".cx-history")
    assert panel.get_attribute("data-edited") is None
    page.get_by_role("button", name="Clear").click()
    assert acts(page)[-1]["set"] == {"history": []}
    answer(page, history=())
    emit(page, view(history=(1, 2), **{"case": 7}) | {"state": view()["state"] | {"history": [1, 2]}})
    assert panel.get_attribute("data-edited") is not None
    assert page.get_by_role("list", name="History, edited, oldest first").count() == 1
    assert "edited" in page.evaluate("getComputedStyle(document.querySelector('.cx-history h3'), '::after').content")


def test_the_crosses_of_chips_are_visible_and_large_enough(page):
    for cross in page.locator(".cx-remove").all():
        box = cross.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert cross.evaluate("(node) => getComputedStyle(node).opacity") == "1"
    heights = [chip.bounding_box()["height"] for chip in page.locator(CHIPS).all()]
    assert min(heights) >= 24


@pytest.mark.parametrize("said", [{"notice": "a " * 300}, {"error": "b " * 400}, {"error": "short"}])
def test_what_is_said_moves_nothing(page, said):
    before = page.locator(".cx-grid").bounding_box()
    emit(page, view(**said))
    assert page.locator(".cx-grid").bounding_box() == before


def test_a_head_is_reset(page):
    reset = page.get_by_role("button", name="Reset the head").first
    assert reset.is_disabled()
    switched = [{**setting(), "head": "Softmax", "toward": 0.5}, setting()]
    emit(page, view(settings=switched))
    reset.click()
    assert acts(page)[-1]["set"]["settings"] == [switched[0] | {"head": ""}, setting()]


def test_a_partition_has_one_colour_whatever_else_is_shown(page):
    def colours(**changes):
        emit(page, view(colour="partition", **changes))
        return page.evaluate("""Object.fromEntries([...document.querySelectorAll('.cx-row')].map((row) =>
            [row.querySelector('.cx-partition').textContent, row.querySelector('.cx-bar').style.background]))""")

    both = colours()
    assert len(set(both.values())) == len(both) == 3
    alone = view()
    for prediction in alone["predictions"]:
        prediction["top"] = [bar | {"partition": "R:5"} for bar in prediction["top"]]
    assert colours(predictions=alone["predictions"]) == {"R:5": both["R:100"]}
    kinds = page.evaluate(
        """(kinds) => Object.values(kinds).map(([colour]) => {
        document.body.style.color = colour;
        return document.body.style.color;
    })""",
        base(titles())["kinds"],
    )
    assert not {*both.values()} & {*kinds}


def test_undo_redo_reset_and_an_edit_behind_an_undo(page):
    for name in ("Undo", "Redo", "Reset"):
        assert page.get_by_role("button", name=name, exact=True).is_disabled()
    emit(page, view(undo=True, history=(0, 1, 2)))
    page.locator(CHIPS).first.focus()
    page.keyboard.press("Control+z")
    page.keyboard.press("Delete")  # of a history that the kernel has yet to send
    assert [act.get("command") for act in acts(page)] == ["undo"]
    answer(page, history=(5, 6, 7))
    assert acts(page)[-1]["set"] == {"history": [6, 7]}


def test_cases_are_asked_for_and_chosen(page):
    page.get_by_role("button", name="copy").click()
    answer(page)
    assert acts(page)[-1]["set"]["query"]["sort"] == "copy"
    page.get_by_role("searchbox").press_sequentially("alien")
    page.wait_for_function("acts().length === 2")
    assert acts(page)[-1]["set"]["query"]["search"] == "alien"
    answer(page)
    page.locator(".cx-cases tr[aria-selected=true]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert acts(page)[-1]["set"] == {"case": 8, "history": None}
    assert "1–50 of 1,234 cases by case, smallest first" in page.locator(".cx-cases").inner_text()
    emit(page, cases(rows=7, found=57, start=50))
    assert "51–57 of 57 found among 1,234 cases" in page.locator(".cx-cases").inner_text()


def test_cases_that_cannot_be_copied_come_by_what_they_cost(page):
    for preset, query in (
        ("repeats", {"sort": "case", "descending": False}),
        ("new items", {"sort": "least", "descending": True}),  # the one that the kernel names
    ):
        page.get_by_label("Preset").select_option(preset)
        assert acts(page)[-1]["set"]["query"] == {"preset": preset, "search": "", "items": [], "page": 0} | query
        answer(page)


def test_pages_are_turned_and_a_case_is_reached(page):
    before, after = (page.get_by_role("button", name=f"{word} 50") for word in ("Previous", "Next"))
    assert before.is_disabled()
    after.click()
    assert acts(page)[-1]["set"]["query"]["page"] == 1
    answer(page)
    emit(page, cases(rows=7, found=57, start=50))
    assert after.is_disabled()
    page.get_by_label("Preset").select_option("repeats")  # begins with the first page again
    assert acts(page)[-1]["set"]["query"]["page"] == 0
    answer(page)
    before.click()
    assert acts(page)[-1]["set"]["query"]["page"] == 0
    answer(page)
    page.get_by_label("Go to").fill("user 7")
    page.get_by_label("Go to").press("Enter")
    assert (acts(page)[-1]["command"], acts(page)[-1]["value"]) == ("go", "user 7")


def test_the_letters_of_the_columns_are_named(page):
    assert page.get_by_label("Models of the letters").inner_text().split() == ["A", "SASRec", "B", "GRU4Rec"]
    assert page.get_by_role("button", name="copy").get_attribute("title") == "copy: the copy"
    assert [cell.get_attribute("title") for cell in page.locator(".cx-cohort thead th").all()][1:] == [
        "SASRec",
        "GRU4Rec",
    ]


def test_the_column_of_the_order_is_scrolled_to(page):
    emit(page, view(query={"preset": "all", "search": "", "items": [], "sort": "copy", "descending": True, "page": 0}))
    header = page.get_by_role("columnheader", name="copy").bounding_box()
    box = page.locator(".cx-cases .cx-scroll").bounding_box()
    assert header["x"] + header["width"] <= box["x"] + box["width"] + 1
    assert page.evaluate("scrollY") == 0


def test_cases_with_a_selected_item_are_asked_for_and_all_again(page):
    filtered = page.locator(".cx-cases > [aria-pressed]")
    assert not filtered.is_visible()
    emit(page, view(selection=[3, 4]))
    assert filtered.inner_text() == "Only cases with one of 2 items"
    filtered.click()
    assert acts(page)[-1]["set"]["query"]["items"] == [3, 4]
    query = {"preset": "all", "search": "", "items": [3], "sort": "case", "descending": False, "page": 0}
    answer(page, query=query)  # also without a selection
    assert filtered.inner_text() == "Cases with Film 3, a title of the usual length (19… ×"
    filtered.click()
    assert acts(page)[-1]["set"]["query"]["items"] == []


def test_the_cases_together_are_shown_by_model(page):
    panel = page.locator(".cx-cohort")
    emit(page, {"type": "cohort", "pending": True, "done": 30, "total": 120})
    assert panel.get_attribute("aria-busy") == "true"
    assert panel.locator("progress").get_attribute("value") == "30"
    emit(page, cohort())
    assert panel.get_attribute("aria-busy") == "false"
    assert not panel.locator("progress").is_visible()
    rows = [row.inner_text().split() for row in panel.locator("tbody tr").all()]
    assert rows[0] == ["NDCG@10", *(["0.120", "[0.110,", "0.130]"] * 2)]
    assert rows[1] == ["P(history)", *(["12.0%", "[11.0%,", "13.0%]"] * 2)]
    assert rows[3] == ["loss", "–", "–"]
    assert "Means over 1,234 cases of 800 users" in panel.inner_text()
    page.get_by_label("Edit all these histories").select_option("reverse the order")
    assert acts(page)[-1]["set"] == {"edit": "reverse the order"}
    answer(page, edit="reverse the order")
    emit(page, cohort("reverse the order", moved=True))
    rows = [row.inner_text().split() for row in panel.locator("tbody tr").all()]
    assert rows[0] == ["NDCG@10", *(["0.120", "→", "0.100", "−0.020", "[−0.030,", "−0.010]"] * 2)]
    assert rows[2] == ["truth", *(["12.0%", "→", "10.0%", "−2.0", "[−3.0,", "−1.0]"] * 2)]
    for said in ("edit changes 900", "3 cases of which it leaves nothing", "as they are set"):
        assert said in panel.inner_text()
    emit(page, cohort(cases=0, users=0, cells=[[None] * 2] * 4))
    assert "No case matches." in panel.inner_text()
    emit(page, {"type": "cohort", "refused": "Only own histories."})
    assert "Only own histories." in panel.inner_text()
    assert not panel.locator("tbody tr").count()


def test_what_interferes_is_named_where_one_state_has_to_copy_and_marked_in_the_bars(page):
    panel = page.locator(".cx-verdict")
    assert panel.locator(".cx-chip:visible").count() == 0  # the next item is new
    copied = view()
    copied["predictions"] = [one | {"repeat": True} for one in copied["predictions"]]
    emit(page, copied)
    named = [one.get_by_role("button").all_inner_texts() for one in panel.locator(".cx-sentences > div").all()]
    assert named == [["▲ Alien (4)", "▲ Up (1,234)"], ["▲ Up (1,234)"]]
    assert "takes 12.5% there" in panel.locator(".cx-chip").first.get_attribute("title")
    copied["heads"][0] = copied["heads"][0] | {"F": True}
    emit(page, copied)
    assert not panel.locator(".cx-sentences > div").first.locator(".cx-chip").count()
    glyphs = [one.locator(".cx-glyph").all_inner_texts() for one in page.locator(".cx-models article").all()]
    assert [["▲" in glyph for glyph in of_model] for of_model in glyphs] == [
        [place in (3, 5) for place in range(10)],
        [place == 5 for place in range(10)],
    ]
    ground = page.locator(".cx-bar").nth(5).evaluate("(bar) => bar.style.background")
    assert ground == "rgb(230, 159, 0)"  # of the kind


def test_while_an_act_is_in_flight_the_rest_become_one(page):
    drag = """(value) => { const slider = document.querySelector('.cx-slider input');
        slider.value = value; slider.dispatchEvent(new Event('input')); }"""
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        page.evaluate(drag, value)
    assert [act["set"]["settings"][0]["toward"] for act in acts(page)] == [0.1]
    answer(page)
    assert [act["set"]["settings"][0]["toward"] for act in acts(page)] == [0.1, 0.5]
    assert acts(page)[1]["live"]
    page.evaluate("document.querySelector('.cx-slider input').dispatchEvent(new Event('change'))")
    emit(page, view(12345))  # of another display of the same model: answers nothing here
    assert len(acts(page)) == 2
    answer(page)
    assert acts(page)[-1]["live"] is False


def test_switches_of_a_head_are_commands(page):
    page.get_by_role("checkbox", name="R: reranker").click()
    answer(page)
    page.get_by_label("merge of C and P").first.select_option("add")
    values = [act["value"] for act in acts(page)]
    assert values == [{"model": 0, "R": []}, {"model": 0, "context_merge": "add"}]
    pointer = page.get_by_role("checkbox", name="P: pointer")
    assert pointer.is_disabled()
    assert "trained without P" in page.locator("label", has=pointer).get_attribute("title")
    context = page.get_by_role("checkbox", name="C: context partition")
    assert "a hidden state of their own" in page.locator("label", has=context).get_attribute("title")


@pytest.mark.parametrize("models", [2, 3, 4])
def test_bars_of_all_models_share_one_scale(page, models):
    emit(page, base(titles(), models), view(models=models, pinned=pin(models)))
    bars = page.evaluate("""[...document.querySelectorAll('.cx-bar')].map((bar) => [Number(bar.dataset.p),
        bar.getBoundingClientRect().width, bar.parentElement.getBoundingClientRect().width])""")
    assert len(bars) == 10 * models
    for p, width, available in bars:
        assert width == pytest.approx(p / 0.21 * available, abs=0.6)
    assert len({round(available) for _, _, available in bars}) == 1
    moves = page.locator("article").first.locator(".cx-moved").all_inner_texts()
    assert moves[:4] == ["new", "=", "▲3", "▼2"]


def test_an_error_is_an_alert_and_the_control_goes_back(page):
    page.locator(TOP).select_option("20")
    answer(page, error="Item 4 is not in the catalogue; remove it.")
    assert "Item 4 is not in the catalogue" in page.get_by_role("alert").inner_text()
    assert page.locator(TOP).input_value() == "10"


def test_a_kernel_that_is_silent_is_told_of_and_nothing_is_lost(browser, tmp_path):
    with open_page(browser) as (page, _):
        page.clock.install()
        open_explorer(page, tmp_path)
        emit(page, base(titles()), view())
        page.locator(CHIPS).first.focus()
        page.keyboard.press("Delete")
        page.locator(TOP).select_option("20")
        page.clock.run_for(9_000)
        assert page.get_by_role("alert").count() == 0
        page.clock.run_for(1_500)
        assert "does not answer" in page.get_by_role("alert").inner_text()
        page.locator(COLOUR).select_option("partition")
        first, again = acts(page)
        assert first == again
        answer(page, history=(1, 2, 3, 4))
        assert acts(page)[-1]["set"] == {"k": 20, "colour": "partition"}


def test_slow_work_is_asked_for_when_idle_until_there_is_no_more(page):
    asked = "sent.filter((content) => content.type === 'slow').length"
    page.wait_for_function(f"{asked} === 1")
    emit(page, {"type": "slow", "more": True, "doing": "certificates: 350 of 2,000"})
    assert page.locator(".cx-doing").inner_text() == "certificates: 350 of 2,000"
    page.wait_for_function(f"{asked} === 2")
    emit(page, {"type": "slow", "more": False, "doing": ""})
    page.wait_for_timeout(400)
    assert page.evaluate(asked) == 2


def test_what_is_given_comes_at_once_and_the_rest_of_an_older_history_is_said_to_be_of_it(page):
    panel = page.locator(".cx-verdict")
    assert panel.get_attribute("aria-busy") == "false"
    assert panel.locator(".cx-sentence").first.inner_text().startswith("SASRec gives these 5 different items 52.0%")
    edited = view(5, history=(0, 1, 2))
    edited["predictions"] = [one | {"repeat": True, "given": "gives all."} for one in edited["predictions"]]
    emit(page, edited)
    assert panel.get_attribute("aria-busy") == "true"
    assert panel.locator(".cx-sentence").first.inner_text().strip() == "SASRec gives all."
    assert "is being computed" in panel.inner_text()
    assert "Of the earlier history" in panel.locator(".cx-interfering").first.inner_text()
    assert page.locator(".cx-glyph").nth(5).inner_text() == "◆△"
    emit(page, verdict(5, history=(0, 1, 2)))
    assert "No single state in reach gives them more than 60.0%" in panel.inner_text()
    assert "Of the earlier" not in panel.inner_text()
    assert panel.get_attribute("aria-busy") == "false"
    emit(page, view(6, history=()), verdict(6, history=(), note="The history is empty."))
    assert panel.locator(".cx-sentences > div").count() == 0
    assert "The history is empty." in panel.inner_text()
    emit(page, view(6, history=(1,)))
    assert "The history is empty." not in panel.inner_text()
    emit(page, view(7, case=8))
    assert "Of the earlier" not in panel.inner_text()


def test_the_numbers_that_apply_come_first(page):
    panel = page.locator(".cx-verdict")
    panel.get_by_text("In numbers").click()
    first, other = panel.locator("table").all()
    assert first.locator("tr").all_inner_texts()[1].split("\t") == ["SASRec", "52.0%", "∞", "0.10 nats", "yes"]
    assert "exclude" in first.inner_text()
    assert not other.is_visible()
    panel.get_by_text("If the next item were in the history").click()
    assert other.locator("tr").all_inner_texts()[1].split("\t") == ["SASRec", "52.0%", "0.65 nats", "0.51 nats", "no"]
    assert "1 nat is a factor of 2.7" in panel.inner_text()


def asked(page, kind):
    return page.evaluate("(kind) => sent.filter((one) => one.type === 'ask' && one.kind === kind)", kind)


def test_chips_are_tinted_by_what_their_items_did_once_it_is_known(page):
    chips = page.locator(CHIPS)
    page.wait_for_function("sent.some((one) => one.kind === 'left_out')")
    assert asked(page, "left_out")[-1]["value"] == {"model": 0, "item": 6}
    effects = [(0, 0.02), (1, -0.01), (2, 0.0), (3, 0.0001), (4, 0.01)]
    rows = [{"position": place, "copied": copied, "gained": -1.0} for place, copied in effects]
    left_out = {"type": "answer", "kind": "left_out", "id": 0, "value": {"model": 0, "item": 6, "rows": rows}}
    emit(page, left_out)
    assert [chip.get_attribute("data-effect") for chip in chips.all()] == ["raised", "lowered", None, None, "raised"]
    strengths = [chip.evaluate("(chip) => chip.style.getPropertyValue('--cx-strength')") for chip in chips.all()]
    assert strengths == ["45%", "23%", "0%", "0%", "23%"]
    for told in (chips.nth(1).get_attribute("title"), chips.nth(1).inner_text()):
        assert "lowered P(history) by 1.00 points" in told
    emit(page, view(1, history=(0, 1, 2)))
    assert page.locator("[data-effect]").count() == 0
    emit(page, left_out)  # of an earlier history
    assert page.locator("[data-effect]").count() == 0
    emit(page, view(2, history=(0, 1, 2), selection=[9]))
    page.wait_for_function("sent.some((one) => one.kind === 'left_out' && one.value.item === 9)")
    emit(page, left_out | {"id": 2, "value": {"model": 0, "item": 9, "rows": rows[:3]}})
    assert "title of the usual length (1959)'s probability 2.72-fold" in chips.first.get_attribute("title")
    assert chips.first.get_attribute("data-effect") == "lowered"
    page.get_by_label("Tints").select_option("off")
    assert page.locator("[data-effect]").count() == 0
    assert page.locator(CHIPS).first.get_attribute("title").count("lowered") == 0


def test_the_card_of_an_item_says_what_each_partition_gave_it(page):
    emit(page, view(1, selection=[9]))
    steps = [("V", 1.5, 1.5, 12), ("R:100", 0, 1.5, 12), ("C", -2.25, -0.75, 40), ("Exclusion", None, None, 1000)]
    names = ("name", "change", "logit", "rank")
    softmax = {"weight": 1, "steps": [dict(zip(names, step, strict=True)) for step in steps]}
    mixed = [softmax | {"weight": 0.25}, softmax | {"weight": None}]
    models = [{"rank": 3, "p": 0.1, "near": [], "softmaxes": one} for one in ([softmax], mixed)]
    value = {"item": 9, "count": 1, "cases": 40, "models": models}
    emit(page, {"type": "answer", "kind": "item", "id": 1, "value": value})
    told = "V 1.50, rank 12; C (context partition) −2.25 to −0.75, rank 40; Exclusion −∞ to −∞, rank 1,000."
    said = [one.inner_text() for one in page.locator(".cx-softmaxes > span").all()]
    assert said == [f"Logit: {told}", f"Softmax of weight 25.0%: {told}", f"Softmax: {told}"]


def test_a_screen_reader_is_told_the_verdict_after_a_pause(page):
    heard = page.locator(".cx-verdict [aria-live=polite]")
    for place in range(3):
        edited = view(place)
        edited["predictions"] = [one | {"given": f"gives {place}."} for one in edited["predictions"]]
        emit(page, edited)
        assert f"gives {place}." not in heard.inner_text()
    page.wait_for_function("document.querySelector('[aria-live=polite]').textContent.includes('gives 2.')")


@pytest.mark.parametrize("width", [850, 1800])
def test_hostile_titles_are_text_and_overflow_nothing(browser, tmp_path, width):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path, width)
        named = base(titles(HOSTILE), 2)
        named["models"][0]["name"] = HOSTILE[3]
        named["models"][1]["trained"] = HOSTILE[0]
        emit(page, named, view(notice=HOSTILE[3], selection=[3]), cases(titles=HOSTILE), verdict(title=HOSTILE[3]))
        assert page.evaluate("window.hacked") is None
        assert page.locator(CHIPS).first.inner_text().endswith(HOSTILE[0])
        assert page.evaluate("document.querySelectorAll('.cprlab-explorer :is(img, script)').length") == 0
        too_wide = """[document.documentElement, ...document.querySelectorAll('.cprlab-explorer, section, article')]
            .filter((node) => node.scrollWidth > node.clientWidth).map((node) => node.className)"""
        assert page.evaluate(too_wide) == []
        assert complaints == []


@pytest.mark.parametrize("name", ["history", "predictions", "states", "scores", "map"])
def test_a_view_is_exported_as_a_picture(browser, tmp_path, name):
    with open_page(browser) as (page, complaints):
        open_explorer(page, tmp_path, head=DARK)
        emit(page, base(titles(HOSTILE)), view(), marks(), cases(titles=HOSTILE))
        page.evaluate("([said, own]) => emit(said, own.map((one) => Float32Array.from(one)))", scores())
        page.locator(".cx-strip g[data-item]").first.wait_for()
        page.locator(f".cx-{name} summary").click()
        with page.expect_download() as download:
            page.locator(f".cx-{name}").get_by_role("button", name="PNG").click()
        pixels = _pixels(download.value.path().read_bytes())
        assert len(set(pixels[:: max(1, len(pixels) // 200_000)])) > 20
        assert complaints == []


def _pixels(png: bytes) -> bytes:
    """The filtered bytes of a PNG: a blank picture has next to no different ones."""
    assert png.startswith(b"\x89PNG")
    place, data = 8, b""
    while place < len(png):
        (size,), kind = struct.unpack(">I", png[place : place + 4]), png[place + 4 : place + 8]
        data += png[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        place += size + 12
    return zlib.decompress(data)


def test_a_view_is_exported_as_a_page_that_stands_alone(page, tmp_path):
    page.locator(".cx-predictions summary").click()
    with page.expect_download() as download:
        page.locator(".cx-predictions").get_by_role("button", name="HTML").click()
    (tmp_path / "alone.html").write_bytes(download.value.path().read_bytes())
    page.goto((tmp_path / "alone.html").as_uri())
    widths = page.evaluate("[...document.querySelectorAll('.cx-bar')].map((bar) => bar.getBoundingClientRect().width)")
    assert len(widths) == 20
    assert widths[1] == pytest.approx(widths[0] / 2, abs=1)


def test_csv_is_the_kernels_and_the_state_is_loaded(page):
    page.locator(".cx-cases summary").click()
    page.locator(".cx-cases").get_by_role("button", name="CSV").click()
    assert page.evaluate("sent.at(-1)") == {"type": "export", "view": "cases", "format": "csv"}
    with page.expect_download() as download:
        emit(page, {"type": "export", "name": "cases.csv", "mime": "text/csv", "text": "case\n7\n"})
    assert download.value.suggested_filename == "cases.csv"
    assert download.value.path().read_text() == "case\n7\n"
    page.get_by_role("button", name="State…").click()
    page.get_by_role("textbox", name="state as JSON").fill('{"case": 3}')
    page.get_by_role("button", name="Load", exact=True).click()
    assert (acts(page)[-1]["command"], acts(page)[-1]["value"]) == ("load", '{"case": 3}')


def test_every_control_is_reached_by_the_keyboard(page):
    """Tab goes through all views; what Tab skips is reached by arrows, or has its key (a chip's cross: Delete)."""
    reached = set()
    for _ in range(150):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('section')?.className ?? ''"))
    assert reached >= {"cx-cases", "cx-history", "cx-predictions", "cx-map", "cx-states", "cx-verdict"}
    unnamed = """[...document.querySelectorAll('.cprlab-explorer :is(button, input, select, textarea, summary)')]
        .filter((node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length)).length"""
    assert page.evaluate(unnamed) == 0


@pytest.mark.parametrize("head", ["", DARK], ids=["light", "dark"])
def test_text_is_read_on_its_ground(browser, tmp_path, head):
    with open_page(browser) as (page, _):
        open_explorer(page, tmp_path, head=head)
        emit(page, base(titles()), view(), marks(), cases(), verdict())
        colours = page.evaluate("""['h3', '.cx-hint', '.cx-p', '.cx-chip', '.cx-number', 'td', 'legend'].map((name) => {
            const node = document.querySelector(`.cprlab-explorer ${name}`);
            let ground = node;
            while (/, 0\\)$/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
            const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
            return [name, numbers(getComputedStyle(node).color), numbers(getComputedStyle(ground).backgroundColor)];
        })""")
        for name, text, ground in colours:
            assert _contrast(text, ground) >= 4.5, name


def _contrast(text: list[float], ground: list[float]) -> float:
    """WCAG 2's contrast ratio of a colour (with its opacity) on an opaque ground."""
    opacity = text[3] if len(text) == 4 else 1
    mixed = [opacity * t + (1 - opacity) * g for t, g in zip(text[:3], ground[:3], strict=True)]

    def luminance(colour):
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(mixed), luminance(ground[:3])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_closed_widget_listens_no_more_and_can_be_opened_twice(page):
    page.evaluate("dispose()")
    assert page.evaluate("[handlers.length, document.querySelectorAll('.cprlab-explorer').length]") == [0, 0]
    page.evaluate("[1, 2].forEach(() => explorer.render({model, el: document.getElementById('place')}))")
    emit(page, base(titles()), view(), marks(), cases())
    assert page.locator(CHIPS).count() == 10
    page.locator(CHIPS).first.press("Delete")
    answer(page, history=(1, 2, 3, 4))
    assert page.locator(CHIPS).count() == 8
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


@pytest.fixture
def counting():
    """What the page is told of two models, the first of which counts and only orders the items."""
    told, shown = base(titles()), view()
    told["models"][0] |= {"stateless": "It has no state.", "ordered": "It gives no probabilities."}
    told["models"][0]["options"] = dict.fromkeys(("C", "P", "B", "F", "Mi"), False)
    told["models"][0]["options"] |= {"R": [], "merges": [], "rerankMerges": []}
    shown["heads"][0] = shown["heads"][0] | {"R": []}
    bars = [bar | {"p": None} for bar in shown["predictions"][0]["top"]]
    shown["predictions"][0] = shown["predictions"][0] | {"copy": None, "target": None, "top": bars}
    return told, shown


def test_of_a_model_that_counts_there_are_places_and_sentences(page, counting):
    told, shown = counting
    emit(page, told, shown)
    ordered, other = page.locator(".cx-models article").all()
    assert ordered.locator(".cx-copy").inner_text() == "It gives no probabilities."
    assert ordered.locator(".cx-truth").inner_text() == "★ true next: rank 7"
    assert ordered.locator(".cx-p").all_inner_texts() == [str(place) for place in range(1, 11)]
    assert not ordered.locator(".cx-track").first.is_visible()
    assert not ordered.locator("[role=meter]").count()
    assert other.locator(".cx-track").first.is_visible()
    assert other.locator("[role=meter]").is_visible()
    panel = page.locator("[role=tabpanel]").locator("visible=true")
    assert "It has no state. So there is nothing to move." in panel.inner_text()
    assert panel.locator("input").count() == 1  # (post) alone
    page.get_by_role("tab").nth(1).click()
    assert panel.locator("input[type=range]").count() == 6
    page.locator(COLOUR).select_option("partition")
    emit(page, {**shown, "state": {**shown["state"], "colour": "partition"}})
    assert set(ordered.locator(".cx-partition").all_inner_texts()) == {""}
    assert "C" in other.locator(".cx-partition").all_inner_texts()


def test_of_models_that_count_alone_there_is_no_map(page, counting):
    told, shown = counting
    space = page.locator(".cx-map select").nth(1)
    emit(page, told, shown, marks())
    assert [one.is_disabled() for one in space.locator("option").all()] == [True, False]
    assert page.locator(".cx-map-stage").is_visible()
    told["models"][1]["stateless"] = "None either."
    emit(page, told, shown, {"type": "marks", "marks": [], "lines": [], "note": "There is no map."})
    page.wait_for_function("document.querySelector('.cx-map-note').textContent === 'There is no map.'")
    assert not page.locator(".cx-map-stage").is_visible()
    assert not space.is_visible()
