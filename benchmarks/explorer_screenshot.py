"""Take the README's screenshot of the explorer in Voilà, with the models of `make report`.

PYTHONPATH=. python benchmarks/explorer_screenshot.py figures/explorer.png
"""

import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import typer

from cprlab.pages.run import parameterised
from tests.browser import open_page
from tests.jupyter import voila


def main(picture: Annotated[Path, typer.Argument(help="Where the PNG file goes.")]) -> None:
    """Open the explorer, remove an item from a history, and save a screenshot of the page."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "explorer.ipynb"
        nbformat.write(parameterised(notebook.name, {"runs": str(Path("runs").absolute())}), notebook)
        with voila(notebook) as address, open_page() as (page, complaints):
            page.set_viewport_size({"width": 1800, "height": 2000})
            page.goto(address)
            page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=600_000)
            page.get_by_role("tab").nth(2).click()  # the two before it count and have no state to move
            page.get_by_role("button", name="Pin", exact=True).click()
            page.locator(".cx-chips .cx-chip").last.focus()
            page.keyboard.press("Delete")
            page.wait_for_timeout(500)
            page.wait_for_function("document.querySelector('.cx-sentence').textContent.includes('nats')")
            page.mouse.move(0, 0)
            page.evaluate("document.activeElement.blur()")
            page.wait_for_timeout(500)
            page.locator(".cprlab-explorer").screenshot(path=picture)
            assert complaints == [], complaints


if __name__ == "__main__":
    typer.run(main)
