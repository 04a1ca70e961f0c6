"""The explorer's map in a browser: what it draws, what the pointer and the keys choose, and titles that are text."""

import re
from itertools import combinations

import numpy as np
import pytest

from tests.browser import open_page
from tests.explorer.fake import MODULES, STATIC, serve_modules

APP = (
    f"import {{ mapView }} from '{MODULES}/map.js';"
    """
window.calls = {select: [], set: []};
const state = {case: 0, selection: [], projection: "pca", space: 0, lines: false, levels: true, shaded: false};
const app = {
  draft: () => state, title: code => app.base.titles[code], status() {},
  set(patch) { calls.set.push(patch); Object.assign(state, patch) },
  select(codes, options) {
    calls.select.push([codes, Boolean(options?.add)]);
    state.selection = codes;
    map.onSelect(codes);
  },
};
const root = document.querySelector(".cx-map");
const map = mapView(root, app);
window.show = ({n, titles, marks, lines, levels, note}) => {
  app.base = {
    titles: Array.from({length: n}, (_, code) => titles[code] ?? `Item ${code}`),
    models: [{name: "one"}, {name: "two"}], projections: [["pca", "all items: PCA"], ["local", "neighbourhood: PCA"]],
    kinds: {
      history: ["#0072B2", "circle"], target: ["#D55E00", "star"], interfering: ["#E69F00", "triangle-up"],
      "hidden state": ["#000000", "x"], new: ["#CC79A7", "diamond"], other: ["#BBBBBB", "circle"],
    },
  };
  map.onBase(app.base);
  window.render = () => map.render({state: {...state}, map: {marks, lines, levels, note}});
  render();
};
window.feed = (message, places) => {
  const bytes = new DataView(new ArrayBuffer(4 * places.length + 3), 3);  // not at a multiple of four
  places.forEach((c, k) => bytes.setFloat32(4 * k, c, true));
  map.onPoints({type: "points", projection: "pca", model: 0, note: "", ...message}, places.length ? bytes : undefined);
};
window.score = (scores) => map.onScores({type: "scores"}, scores.map((one) => Float32Array.from(one)));
window.tick = (name) => {
  [...root.querySelectorAll(".cx-check")].find((label) => label.textContent === name).firstChild.click();
  render();
};
window.settled = async () => { for (let k = 0; k < 3; k++) await new Promise(requestAnimationFrame) };
window.ink = () => {  // the opacity of each of the canvas's pixels
  const canvas = root.querySelector("canvas"), flat = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  flat.drawImage(canvas, 0, 0);
  const data = flat.getImageData(0, 0, canvas.width, canvas.height).data;
  const alpha = [], red = [];
  for (let k = 3; k < data.length; k += 4) {
    alpha.push(String.fromCharCode(data[k]));
    red.push(String.fromCharCode(data[k] ? Math.max(0, data[k - 3] - data[k - 2]) : 0));
  }
  return {width: canvas.width, alpha: alpha.join(""), red: red.join("")};
};
"""
)
FLAT = (  # without WebGL
    "const get = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext ="
    " function (kind, ...rest) { return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest) };"
)
CENTRES = """() => [...document.querySelectorAll(".cx-map-marks g[data-kind]")].map(node => {
  const place = node.transform.baseVal[0].matrix;
  return [node.dataset.kind, place.e, place.f, node.getAttribute("display"), node.firstChild.getAttribute("display")];
})"""


@pytest.fixture(scope="module")
def places():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(13_000, 2)) * [3, 1]).astype(np.float32)


@pytest.fixture
def page(browser):
    with open_page(browser) as (page, complaints):
        yield page
        assert complaints == []


class Map:
    """The map on a page, with two marks at points 0 and 1 by which a place in the data is found on the screen."""

    def __init__(self, page, places, *, marks=(), titles=None, lines=(), levels=None, before="", style=""):
        self.page, self.places = page, places
        serve_modules(page)
        page.set_content(
            f"<style>{(STATIC / 'map.css').read_text()} body {{margin: 13px; {style}}}</style>"
            '<div class="cprlab-explorer" style="width: 900px"><section class="cx-map" aria-label="map"></section>'
            f'</div><script type="module">{before}{APP}</script>'
        )
        page.wait_for_function("Boolean(window.feed)")
        anchors = [
            {"item": k, "kind": "history", "label": "", "x": float(places[k, 0]), "y": float(places[k, 1]), "model": 0}
            for k in (0, 1)
        ]
        page.evaluate(
            "given => show(given)",
            {
                "n": len(places),
                "titles": titles or {},
                "marks": anchors + list(marks),
                "lines": list(lines),
                "levels": levels,
                "note": "A note.",
            },
        )
        self.feed(places)

    def feed(self, places, **message):
        self.page.evaluate("([message, places]) => feed(message, places)", [message, places.ravel().tolist()])
        self.settle()

    def settle(self):
        self.page.evaluate("settled()")

    def box(self):
        box = self.page.locator("canvas").bounding_box()
        return np.array([box["x"], box["y"]]), np.array([box["width"], box["height"]])

    def marks(self, kind="history"):
        return np.array([[x, y] for name, x, y, *_ in self.page.evaluate(CENTRES) if name == kind])

    def on_screen(self, places):
        """Where places in the data are on the canvas, in pixels, by the two marks."""
        a, b = self.marks()[:2]
        return a + (places - self.places[0]) * (b - a) / (self.places[1] - self.places[0])

    def ink(self, what="alpha"):
        """The opacity of each pixel, or by how much it is more red than green."""
        ink = self.page.evaluate("ink()")
        return np.frombuffer(ink[what].encode("latin-1"), np.uint8).reshape(-1, ink["width"])

    def click(self, place, **keys):
        self.page.mouse.click(*(self.box()[0] + place))
        return self.selected()

    def selected(self):
        return self.page.evaluate("calls.select")

    def lasso(self, corners):
        corners = self.box()[0] + corners
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*corner)
        self.page.mouse.up()
        return self.selected()[-1]


@pytest.fixture(scope="module")
def spread(places):
    """The points, of which the first two, the marks, are far apart: a pixel is then known to a thousandth."""
    spread = places.copy()
    spread[0], spread[1] = places.min(0), places.max(0)
    return spread


def assert_drawn(shown, dot=6):
    """Check that all points within the view have ink, and that nothing else has."""
    ink, at = shown.ink() > 0, shown.on_screen(shown.places)
    at = at[np.all((at > 1) & (at < shown.box()[1] - 1), axis=1)]
    column, row = np.floor(at).astype(int).T
    assert len(at) > 100
    assert ink[row, column].all()
    allowed = np.zeros_like(ink)
    for right in range(-dot, dot + 1):
        for down in range(-dot, dot + 1):
            allowed[np.clip(row + down, 0, len(ink) - 1), np.clip(column + right, 0, ink.shape[1] - 1)] = True
    border = np.zeros_like(ink)
    border[dot:-dot, dot:-dot] = True  # a point beyond the border may reach in
    assert not (ink & ~allowed & border).any()
    assert (~ink & border).sum() > 1000


def test_all_points_are_drawn_and_zoom_and_keys_move_them(page, spread):
    shown = Map(page, spread)
    assert_drawn(shown)
    first = shown.marks()
    np.testing.assert_allclose(np.sort(first, axis=0).mean(0), shown.box()[1] / 2, atol=1.1)  # all in the middle
    assert (np.abs(first[1] - first[0]) <= shown.box()[1] - 40).all()
    page.locator("canvas").focus()
    for key, expected in {
        "ArrowRight": first - [60, 0],
        "ArrowLeft": first,
        "ArrowDown": first - [0, 60],
        "0": first,
    }.items():
        page.keyboard.press(key)
        shown.settle()
        np.testing.assert_allclose(shown.marks(), expected, atol=0.11, err_msg=key)
    page.keyboard.press("+")
    shown.settle()
    np.testing.assert_allclose(np.diff(shown.marks(), axis=0), 1.5 * np.diff(first, axis=0), atol=0.21)
    assert_drawn(shown)
    page.keyboard.press("-")
    shown.settle()
    np.testing.assert_allclose(shown.marks(), first, atol=0.11)
    page.get_by_role("button", name="Zoom in").click()
    shown.settle()
    np.testing.assert_allclose(np.diff(shown.marks(), axis=0), 1.5 * np.diff(first, axis=0), atol=0.21)
    page.get_by_role("button", name="Fit all").click()
    page.mouse.move(*(shown.box()[0] + first[1]))
    page.mouse.wheel(0, -400)
    shown.settle()
    np.testing.assert_allclose(shown.marks()[1], first[1], atol=0.5)  # the wheel zooms at the pointer
    assert np.ptp(shown.marks(), axis=0)[0] > 1.5 * np.ptp(first, axis=0)[0]
    corner = shown.box()[0] + [300, 200]
    before = shown.marks()
    page.mouse.move(*corner)
    page.mouse.down()
    page.mouse.move(*np.add(corner, [30, -45]))
    page.mouse.up()
    shown.settle()
    np.testing.assert_allclose(shown.marks() - before, [[30, -45]] * 2, atol=0.21)
    assert shown.selected() == []


def test_a_click_selects_the_nearest_point_within_reach(page, spread):
    shown, rng = Map(page, spread), np.random.default_rng(1)
    at, hits, misses = shown.on_screen(spread), 0, 0
    for place in np.floor(rng.uniform([0.05, 0.05], [0.95, 0.95], (40, 2)) * shown.box()[1]):
        away = np.hypot(*(at - place).T)
        near = np.sort(away)[:2]
        if near[1] - near[0] < 0.2 or abs(near[0] - 8) < 0.2:
            continue  # too close to call from the marks' rounded places
        before = len(shown.selected())
        chosen = shown.click(place)[before:]
        assert chosen == ([[[int(away.argmin())], False]] if near[0] < 8 else [])
        hits, misses = hits + bool(chosen), misses + (not chosen)
    assert hits > 5
    assert misses > 5
    alone = np.argsort([np.sort(np.hypot(*(at - place).T))[1] for place in at[:300]])[-1]
    page.keyboard.down("Control")
    assert shown.click(at[alone])[-1] == [[int(alone)], True]


def test_a_lasso_selects_what_lies_inside(page, spread):
    shown = Map(page, spread)
    size = shown.box()[1]
    corners = np.round(np.array([[0.2, 0.3], [0.8, 0.2], [0.55, 0.5], [0.75, 0.85], [0.3, 0.7], [0.45, 0.45]]) * size)
    at = shown.on_screen(spread)
    inside, edge = np.zeros(len(at), bool), np.full(len(at), np.inf)
    for (a, b), (c, d) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (b > at[:, 1]) != (d > at[:, 1])
        inside ^= crosses & (at[:, 0] < a + (c - a) * (at[:, 1] - b) / (d - b))
        along = np.clip(((at - [a, b]) @ [c - a, d - b]) / ((c - a) ** 2 + (d - b) ** 2), 0, 1)
        edge = np.minimum(edge, np.hypot(*(at - [a, b] - along[:, None] * [c - a, d - b]).T))
    page.keyboard.down("Shift")
    chosen, add = shown.lasso(corners)
    page.keyboard.up("Shift")
    assert not add
    assert 500 < len(chosen) == len(set(chosen))
    differs = set(chosen) ^ set(np.flatnonzero(inside))
    assert len(differs) < 20
    assert all(edge[code] < 0.2 for code in differs)
    shown.settle()
    outlined = shown.ink() > 250  # a ring is opaque, a point never is where it stands alone
    deep = np.floor(at[[code for code in chosen if edge[code] > 12]]).astype(int)
    assert np.mean([outlined[y - 4 : y + 5, x - 4 : x + 5].any() for x, y in deep]) == 1

    toggle = page.get_by_role("button", name="Lasso")
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "true"
    page.keyboard.down("Control")
    again, add = shown.lasso(corners)
    assert add
    assert again == chosen
    page.keyboard.up("Control")
    count = len(shown.selected())
    page.mouse.move(*(shown.box()[0] + corners[0]))
    page.mouse.down()
    page.mouse.move(*(shown.box()[0] + corners[1]))
    page.mouse.move(*(shown.box()[0] + corners[2]))
    page.keyboard.press("Escape")
    page.mouse.up()
    assert len(shown.selected()) == count


def test_titles_are_text_and_labels_stand_clear(page, spread):
    hostile = [
        "<img src=x onerror=alert(1)><b>Bold</b>",
        "🎬🎬 film 🎬" * 9,
        "\u202eكتاب عن البحر הספר",
        "long " * 2000,
    ]
    marks = [
        {"item": 2 + k, "kind": kind, "label": hostile[k % 4], "model": 0}
        | dict(zip("xy", map(float, spread[2 + k]), strict=True))
        for k, kind in enumerate(["new"] * 10 + ["interfering"] * 3 + ["target"] + ["history"] * 12)
    ]
    far = 40 * np.abs(spread).max()
    marks.append({"item": -1, "kind": "hidden state", "label": hostile[0], "x": float(far), "y": 0.0, "model": 0})
    shown = Map(page, spread, marks=marks, titles={k: hostile[k % 4] for k in range(2, 400)})
    assert page.evaluate("document.querySelectorAll('.cx-map img, .cx-map b').length") == 0
    boxes = page.evaluate(
        "[...document.querySelectorAll('.cx-map-marks > g:nth-of-type(3) > text')]"
        ".filter(t => t.getAttribute('display') !== 'none')"
        ".map(t => t.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    )
    assert len(boxes) > 5
    for a, b in combinations(boxes, 2):
        assert min(a[2], b[2]) - max(a[0], b[0]) < 1 or min(a[3], b[3]) - max(a[1], b[1]) < 1
    assert max(box[2] - box[0] for box in boxes) < 320
    at, hovered = shown.on_screen(spread), 0
    for item in range(30, 400):
        if np.sort(np.hypot(*(at - at[item]).T))[1] > 3 and np.hypot(*(shown.marks()[:2] - at[item]).T).min() > 20:
            page.mouse.move(*(shown.box()[0] + at[item]))
            hovered += 1
            tip = page.locator(".cx-map-tip")
            title = hostile[item % 4]
            assert tip.is_visible()
            assert title[:300] in tip.text_content()
            box, (corner, size) = tip.bounding_box(), shown.box()
            assert box["width"] <= 345
            assert box["height"] < 90
            assert corner[0] <= box["x"]
            assert box["x"] + box["width"] <= corner[0] + size[0]

    assert hovered > 5
    (state,) = (mark for mark in page.evaluate(CENTRES) if mark[0] == "hidden state")
    width, height = shown.box()[1]
    assert state[3:] == ["inline", "inline"]  # at the border, with an arrow
    assert width - 30 < state[1] < width
    assert abs(state[2] - height / 2) < 20
    page.get_by_role("button", name="Fit the case").click()
    shown.settle()
    (state,) = (mark for mark in page.evaluate(CENTRES) if mark[0] == "hidden state")
    assert state[3:] == ["inline", "none"]
    legend = page.locator(".cx-map-legend").inner_text().split("\n")
    assert {"other items", "history", "true next item", "interfering", "new among the top k", "hidden state"} < set(
        legend
    )


def test_controls_ask_for_another_projection_which_is_fitted_when_it_comes(page, spread):
    shown = Map(page, spread)
    page.get_by_label("Projection").select_option("local")
    page.get_by_label("Embeddings of").select_option("two")
    assert page.evaluate("calls.set") == [{"projection": "local"}, {"space": 1}]
    page.evaluate("render()")
    shown.feed(np.zeros((0, 2)), projection="local", model=1, pending=True, note="A minute.")
    assert page.locator("progress").is_visible()
    assert page.locator(".cx-map-note").inner_text() == "A note. A minute."
    assert (shown.ink() == 0).all()  # points of other coordinates would lie
    sparse = np.full_like(spread, np.nan)
    sparse[[0, 1, 7, 9]] = spread[[0, 1, 7, 9]]
    shown.feed(sparse, projection="local", model=1)
    assert not page.locator("progress").is_visible()
    at = shown.on_screen(spread)[[0, 1, 7, 9]]
    column, row = np.floor(at).astype(int).T
    assert (shown.ink()[row, column] > 0).all()
    assert 20 < (shown.ink() > 0).sum() < 4 * 81
    assert shown.click(at[2])[-1] == [[7], False]


def test_lines_of_equal_score_are_at_round_distances_and_rise_along_the_arrow(page, spread):
    gradient = np.array([0.7, -1.1])
    shown = Map(page, spread, levels={"gradient": gradient.tolist(), "share": 0.374})
    assert "the same as far as the plane holds it: 37% of its variance" in page.locator(".cx-map-note").inner_text()
    for key in ("0", "+", "ArrowRight"):
        page.locator("canvas").press(key)
        shown.settle()
        a, b = shown.marks()[:2]
        unit = (spread[1] - spread[0]) / (b - a)
        path = page.locator(".cx-map-levels").get_attribute("d")
        ends = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path), dtype=float).reshape(-1, 2, 2)
        score = ((ends - a) * unit + spread[0]) @ gradient
        np.testing.assert_allclose(score[:, 0], score[:, 1], atol=0.05 * np.ptp(score.mean(1)))
        score = score.mean(1)
        text = page.locator(".cx-map-marks text", has_text="higher score").text_content()
        step = float(re.search(r"lines ([\d.]+) apart", text)[1])
        assert f"{step:e}"[:8] in ("1.000000", "2.000000", "5.000000")
        np.testing.assert_allclose(np.diff(score), step, rtol=0.05)
        np.testing.assert_allclose(score / step, np.round(score / step), atol=0.05)
        corners = (np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * shown.box()[1] - a) * unit + spread[0]
        seen = corners @ gradient
        assert len(score) == np.floor(seen.max() / step + 1e-3) - np.ceil(seen.min() / step - 1e-3) + 1
        assert 3 <= len(score) <= 9
    turned = page.locator(".cx-map-rise").get_attribute("transform")
    angle = np.radians(float(re.search(r"rotate\((.*)\)", turned)[1]))
    np.testing.assert_allclose([np.cos(angle), -np.sin(angle)], gradient / np.linalg.norm(gradient), atol=1e-3)
    page.evaluate("tick('Score lines')")
    shown.settle()
    assert page.evaluate("calls.set") == [{"levels": False}]
    assert page.locator(".cx-map-levels").get_attribute("d") == ""
    assert page.locator(".cx-map-rise").count() == 0
    assert page.locator(".cx-map-note").inner_text() == "A note."


def test_the_order_is_drawn_if_it_is_asked_for(page, spread):
    shown = Map(page, spread, lines=[{"kind": "history", "points": spread[:4].tolist()}])
    assert page.locator(".cx-map-marks polyline").count() == 0
    page.evaluate("tick('Order')")
    shown.settle()
    assert page.evaluate("calls.set") == [{"lines": True}]
    drawn = page.locator(".cx-map-marks polyline").get_attribute("points").split()
    expected = shown.on_screen(spread[:4])
    np.testing.assert_allclose([[float(c) for c in place.split(",")] for place in drawn], expected, atol=1)


@pytest.mark.parametrize("flat", [False, True])
def test_probable_items_are_red_if_it_is_asked_for(page, spread, flat):
    rng = np.random.default_rng(2)
    scores = np.log(rng.choice([0.5, 1e-7], len(spread), p=[0.01, 0.99]))
    shown = Map(page, spread, before=FLAT if flat else "")
    page.evaluate("(scores) => score([scores])", scores.tolist())
    shown.settle()
    assert (shown.ink("red") == 0).all()
    page.evaluate("tick('Probability')")
    shown.settle()
    red, at = shown.ink("red") > 60, np.floor(shown.on_screen(spread)).astype(int)
    column, row = at[2:].T
    probable = scores[2:] > -1
    alone = np.array([(np.abs(at[2:][probable] - place).max(1) < 6).sum() == 0 for place in at[2:]])
    assert red[row[probable], column[probable]].all()  # none lies above them
    assert not red[row[alone], column[alone]].any()
    assert alone.sum() > 1000
    assert "the more probable the redder" in page.locator(".cx-map-legend").inner_text()


def test_the_true_next_item_has_its_label_also_where_there_is_no_room(page, spread):
    crowd = [
        {
            "item": 10 + k,
            "kind": "interfering",
            "label": f"an item with a title {k}",
            "x": 0.02 * k,
            "y": 0.01 * (k % 7),
        }
        for k in range(60)
    ]
    target = {"item": 9, "kind": "target", "label": "The next one", "x": 0.6, "y": 0.03}
    Map(page, spread, marks=[*crowd, target])
    assert page.locator(".cx-map-marks text", has_text="The next one").get_attribute("display") == "inline"
    hidden = page.locator(".cx-map-marks text[display='none']", has_text="an item with")
    assert hidden.count() > 30


def test_the_picture_comes_back_with_a_lost_context_and_without_webgl_is_flat(page, spread):
    shown = Map(page, spread)
    page.evaluate("window.gl = document.querySelector('canvas').getContext('webgl').getExtension('WEBGL_lose_context')")
    page.evaluate("gl.loseContext()")
    page.wait_for_timeout(100)
    page.evaluate("gl.restoreContext()")
    page.wait_for_timeout(100)
    shown.settle()
    assert_drawn(shown)
    flat = Map(page, spread, before=FLAT)
    assert_drawn(flat)
    assert page.evaluate("document.querySelector('canvas').getContext('2d') !== null")
