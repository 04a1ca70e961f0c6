"""Exported views look as they are shown: of the demo's page, with all its items, in a browser."""

import base64

import numpy as np
import pytest

from cprlab.demo import PAGE
from cprlab.shipped import shipped
from tests.browser import open_page

pytestmark = pytest.mark.slow

# The grey values of a picture, drawn to a width and a height.
READ = """async ([png, width, height]) => {
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const flat = new OffscreenCanvas(width, height).getContext("2d");
    flat.drawImage(picture, 0, 0, width, height);
    let grey = "";
    const data = flat.getImageData(0, 0, width, height).data;
    for (let k = 0; k < data.length; k += 4) grey += String.fromCharCode((data[k] + data[k + 1] + data[k + 2]) / 3);
    return [picture.width, picture.height, btoa(grey)];
}"""
BOX = "node => { const {x, y, width, height} = node.getBoundingClientRect(); return [x, y, width, height] }"
MARGIN = 8


def read(page, png, width, height):
    *size, grey = page.evaluate(READ, [base64.b64encode(png).decode(), width, height])
    return size, np.frombuffer(base64.b64decode(grey), dtype=np.uint8).reshape(height, width).astype(float)


def exported(page, name, kind):
    page.locator(f".cx-{name} .cx-export summary").click()
    with page.expect_download() as download:
        page.locator(f".cx-{name}").get_by_role("button", name=kind).click()
    return download.value.path().read_bytes()


@pytest.fixture(params=[850, 1920])
def demo(browser, request):
    with open_page(browser, offline=True) as (page, complaints):
        page.set_viewport_size({"width": request.param, "height": 1000})
        page.goto(shipped(PAGE).as_uri())
        page.locator(".cx-verdict td").first.wait_for(state="attached")  # in its fold
        page.locator(".cx-map-marks g[data-kind]").first.wait_for(state="attached")
        page.get_by_role("button", name="Close", exact=True).click()  # the tour, which marks a view
        yield page
        assert complaints == []


@pytest.mark.parametrize("name", ["cases", "history", "predictions", "map", "states", "verdict"])
def test_a_picture_has_all_of_the_view_and_a_margin(demo, name):
    _, _, wide, high = demo.locator(f".cx-{name}").evaluate(BOX)
    wide, high = round(wide), round(high)
    size, drawn = read(demo, exported(demo, name, "PNG"), wide + 2 * MARGIN, high + 2 * MARGIN)
    np.testing.assert_allclose(size, [2 * (wide + 2 * MARGIN), 2 * (high + 2 * MARGIN)], atol=2)
    middle, ends = drawn[:, MARGIN + wide // 2], drawn[MARGIN + high // 2]
    for border in (middle[:MARGIN], middle[-MARGIN:], ends[:MARGIN], ends[-MARGIN:]):
        assert (border > 250).all()
    for border in (middle[MARGIN:], middle[::-1][MARGIN:], ends[MARGIN:], ends[::-1][MARGIN:]):
        assert border[:2].min() < 240


def test_on_a_picture_points_and_marks_are_where_they_are_shown(demo):
    section = demo.locator(".cx-map").evaluate(BOX)
    x, y, wide, high = map(round, np.array(demo.locator(".cx-map-marks").evaluate(BOX)) - [*section[:2], 0, 0])
    picture, screen = exported(demo, "map", "PNG"), demo.locator(".cx-map").screenshot()
    _, drawn = read(demo, picture, *(round(size) + 2 * MARGIN for size in section[2:]))
    _, shown = read(demo, screen, *map(round, section[2:]))
    drawn, shown = drawn[MARGIN:-MARGIN, MARGIN:-MARGIN][y : y + high, x : x + wide], shown[y : y + high, x : x + wide]
    assert shown.std() > 20

    def difference(right, down):
        return np.abs(np.roll(drawn, (down, right), (0, 1)) - shown).mean()

    assert difference(0, 0) < 0.6 * min(difference(*away) for away in ((2, 0), (-2, 0), (0, 2), (0, -2)))


def test_on_an_exported_page_points_and_marks_have_one_frame(demo, tmp_path):
    before = demo.locator(".cx-map-marks").evaluate(BOX)
    (tmp_path / "map.html").write_bytes(exported(demo, "map", "HTML"))
    size = demo.viewport_size["width"]
    for width in (size, 500, 2000):
        demo.set_viewport_size({"width": width, "height": 1000})
        demo.goto((tmp_path / "map.html").as_uri())
        marks, points = demo.locator(".cx-map-marks").evaluate(BOX), demo.locator(".cx-map-stage img").evaluate(BOX)
        np.testing.assert_allclose(marks, points, atol=0.5)
        np.testing.assert_allclose(marks[2:], before[2:], atol=0.5)
        low = demo.locator(".cx-map-legend").evaluate(BOX)
        assert low[1] > marks[1] + marks[3]
        assert demo.locator(".cx-export summary").is_hidden()
