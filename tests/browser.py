"""A headless Chromium for the tests, and what to ask of a plotly figure in a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Page, sync_playwright

from cprlab.pages.figures import PLOTLY

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]

# Of each figure on the page: its name and title, how many traces it should draw, how wide it is, and how many of its
# marks have a size on screen.
FIGURES = """() => [...document.querySelectorAll('.js-plotly-plot')].map(figure => {
    const marks = [...figure.querySelectorAll('.trace path, .trace text, .point path, .heatmap-label text')];
    const seen = marks.filter(mark => { const box = mark.getBoundingClientRect(); return box.width + box.height > 1 });
    return {name: figure.layout.meta.name, title: figure.querySelector('.gtitle')?.textContent ?? '',
            traces: figure.data.length, width: figure.getBoundingClientRect().width, marks: seen.length};
})"""


def drawn(page: Page, notebook: Path) -> list[dict]:
    """Wait until a page has drawn all figures of an executed notebook, and return what FIGURES tells of them."""
    outputs = [out for cell in nbformat.read(notebook, as_version=4).cells for out in cell.get("outputs", [])]
    expected = sum(PLOTLY in out.get("data", {}) for out in outputs)
    page.wait_for_function(
        f"document.querySelectorAll('.js-plotly-plot .main-svg .gtitle').length >= {expected}", timeout=90_000
    )
    figures = page.evaluate(FIGURES)
    assert len(figures) == expected > 0
    for figure in figures:
        assert figure["title"]
        assert figure["marks"] >= max(1, figure["traces"] / 2), figure
    return figures


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Give a browser. Until it is closed, nothing else in this thread may run an event loop, nor open another one."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser | None = None, **context) -> Iterator[tuple[Page, list[str]]]:
    """Give a page, and a list to which its console errors and requests to other hosts are added.

    Its browser is new unless one is given; of that one the page shares nothing with others.
    """
    with nullcontext(browser) if browser else open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, **context)
        page.set_default_navigation_timeout(120_000)  # Voilà sends its page once the kernel has run the notebook
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda line: complaints.append(f"console: {line.text}") if line.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:", "http://localhost", "ws://localhost"))
                else complaints.append(f"request: {request.url}")
            ),
        )
        try:
            yield page, complaints
        finally:
            page.close()  # and with it the context, which is its own
