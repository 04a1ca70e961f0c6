"""Take the guide's screenshot of the explorer: the demo's page, with an item removed from a history.

PYTHONPATH=. python benchmarks/explorer_screenshot.py figures/explorer.png
"""

from pathlib import Path
from typing import Annotated

import typer

from cprlab.demo import PAGE
from cprlab.shipped import shipped
from tests.browser import open_page


def main(picture: Annotated[Path, typer.Argument(help="Where the PNG file goes.")]) -> None:
    """Open the page, pin its predictions, remove an item, and save a screenshot."""
    with open_page() as (page, complaints):
        page.set_viewport_size({"width": 1800, "height": 1600})
        page.goto(shipped(PAGE).as_uri())
        page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])")
        page.get_by_role("button", name="Close", exact=True).click()  # the tour of a first visit
        page.get_by_role("button", name="Pin", exact=True).click()
        page.locator(".cx-chips .cx-chip").last.focus()
        page.keyboard.press("Delete")
        page.wait_for_timeout(1_500)  # the chips' tints come last
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.locator(".cprlab-explorer").first.screenshot(path=picture)
        assert complaints == [], complaints


if __name__ == "__main__":
    typer.run(main)
