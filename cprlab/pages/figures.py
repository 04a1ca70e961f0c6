"""write_figures: the figures of an executed report as PNG files, for the README and for slides."""

import asyncio
import json
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cprlab.errors import ConfigError, DataError, suggestion
from cprlab.files import refuse_unreadable, whole

PLOTLY = "application/vnd.plotly.v1+json"


def write_figures(report: Path | str, folder: Path | str, only: Collection[str] = ()) -> list[Path]:
    """Write the figures of `report`/report.ipynb to `folder` as NAME.png, or NAME-2.png if the name is used twice.

    Args:
        report: the report's folder.
        folder: folder for the files.
        only: names of the figures to write; all if empty.

    Returns:
        The paths of the files.

    Raises:
        DataError: there is no executed report, one of its figures is invalid, or there is no browser to draw with.
        ConfigError: the report has no figure of a given name.
    """
    notebook = Path(report) / "report.ipynb"
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        drawn = [output["data"][PLOTLY] for output in outputs if PLOTLY in output.get("data", {})]
        found: dict[str, dict] = {}
        for figure in drawn:
            name = _name(figure["layout"].get("meta", {}).get("name"))
            again = sum(other.partition("-")[0] == name for other in found)
            found[f"{name}-{again + 1}" if again else name] = figure
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refuse_unreadable(notebook, error)
        raise DataError(f"{notebook} is not an executed report; make one with: cprlab report") from error
    if unknown := [name for name in only if name not in found]:
        raise ConfigError(f"{notebook} has no figure {unknown[0]!r}: {suggestion(unknown[0], found)}")
    chosen = {name: figure for name, figure in found.items() if name in only or not only}
    paths = [Path(folder) / f"{name}.png" for name in chosen]
    for path, picture in zip(paths, pictures(list(chosen.values()), f"of {notebook}"), strict=True):
        with whole(path) as file:
            file.write_bytes(picture)
    return paths


def pictures(figures: list[dict], origin: str, scale: float = 1.5) -> list[bytes]:
    """Return figures, given as plotly's JSON, as the bytes of PNG files, all drawn by one browser.

    Args:
        figures: the figures.
        origin: where they are from, for the error message about one that cannot be drawn.
        scale: device pixels per pixel of the figure.

    Raises:
        DataError: a figure is invalid, or there is no browser to draw with.
    """
    with ThreadPoolExecutor(1) as alone:  # a notebook's thread already has an event loop
        return alone.submit(asyncio.run, _pictures(figures, origin, scale)).result()


def _name(given: object) -> str:
    """Return the name of a figure if it is a word, else "figure": it becomes a file name, and may not be trusted."""
    return given if isinstance(given, str) and re.fullmatch(r"\w{1,80}", given, re.ASCII) else "figure"


async def _pictures(figures: list[dict], origin: str, scale: float) -> list[bytes]:
    """Return the figures as PNG files; the browser, which is slow to start, is started once."""
    try:
        from kaleido import Kaleido
        from kaleido.errors import ChromeNotFoundError
    except ImportError as error:
        raise DataError("Figures are drawn by kaleido; install it with: pip install kaleido") from error
    options = {"format": "png", "width": 1000, "scale": scale}
    try:
        async with Kaleido() as browser:
            return [await browser.calc_fig(figure, opts=options) for figure in figures]
    except ChromeNotFoundError as error:
        raise DataError(
            "No browser to draw the figures with; install Chromium (such as: apt-get install chromium)."
        ) from error
    except Exception as error:  # kaleido has no error class for an invalid figure
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"A figure {origin} cannot be drawn ({detail}); make the report again.") from error
