"""The explorer as one offline page: in Chromium, without a network, it tells what Python does."""

import json

import pytest

from cprlab.explorer import App, Explorer, payload
from cprlab.explorer.offline import page as page_of
from tests.browser import open_page

HEADS = ["Softmax", "Softmax + CPR:5,10 + Mi"]


def plain(value):
    """A value as the page gets it, but with all numbers as they are."""
    return json.loads(json.dumps(value))


def same(found, expected, at="view"):
    """Numbers agree to 1e-5, all else is equal."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), at
        for key, value in expected.items():
            same(found[key], value, f"{at}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for place, value in enumerate(expected):
            same(found[place], value, f"{at}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), at
    else:
        assert found == expected, at


class Offline:
    """A page in the browser beside the App that it is compared with."""

    def __init__(self, page, app):
        self.page, self.app, self.id = page, app, 0

    def act(self, **content):
        """Say something to the page's kernel, and return its answers by type."""
        self.id += 1
        said = {"type": "act", "id": self.id, **content}
        heard = self.page.evaluate(
            """(said) => new Promise((resolve) => {
                const heard = [];
                const hear = (message) => {
                    heard.push(JSON.parse(JSON.stringify(message)));
                    if (message.type === "verdict") resolve(heard);
                };
                kernel.on("msg:custom", hear);
                kernel.send(said);
            })""",
            said,
        )
        return {message["type"]: message for message in heard}

    def compare(self, answers):
        view = answers["view"]
        assert view["error"] == ""
        for name in ("id", "undo", "redo", "notice", "error"):
            view.pop(name)
        same(view, plain(payload.view(self.app.shown)))
        same(answers["marks"], plain(payload.marks(self.app.shown)))

    def patch(self, **changes):
        self.app.patch(changes)
        answers = self.act(set=plain(changes))
        self.compare(answers)
        return answers


@pytest.fixture
def build(browser, tmp_path):
    """Open the page of an App in the browser, without a network."""
    opened = []

    def build(app, cases=30):
        text = page_of(app.shown, cases)
        marker = 'modules["page.js"].open('
        assert text.count(marker) == 1
        spied = text.replace("const known = kernel(", "const known = window.kernel = kernel(")
        assert spied != text
        (tmp_path / "page.html").write_text(spied, encoding="utf-8")
        manager = open_page(browser, offline=True)
        page, complaints = manager.__enter__()
        opened.append(manager)
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector(".cx-grid:not([hidden])")
        return Offline(page, app), complaints

    yield build
    for manager in opened:
        manager.__exit__(None, None, None)


def test_the_page_tells_what_python_does(build, subject):
    app = App(Explorer([subject(head) for head in HEADS], data="random"))
    offline, complaints = build(app)
    setting = {"head": "", "temperature": 1, "toward": 0, "axes": (0, 0, 0), "scale": 1, "best": False}
    offline.patch(k=7)
    offline.patch(history=(3, 3, 7, 1, 7), selection=(3, 9))
    offline.patch(settings=[setting | {"toward": 0.4, "axes": (0.5, -1, 0.2), "scale": 2}, setting])
    offline.patch(settings=[setting, setting | {"temperature": 0.5, "scale": 0.3}], space=1)
    for switch in ({"R": [2, 4], "post": True}, {"C": False}, {"P": True, "context_merge": "add"}, {"Mi": False}):
        options = {payload.SWITCHES.get(key, key): value for key, value in switch.items()}
        app.switch(1, **options)
        offline.compare(offline.act(command="head", value={"model": 1, **switch}))
    assert complaints == []
