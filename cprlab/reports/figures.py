"""write_figures: the figures of an executed report as PNG files, for the README and for slides."""

import json
import re
from pathlib import Path

import plotly.io as pio

from cprlab.errors import DataError
from cprlab.files import whole
from cprlab.reports.page import PLOTLY


def write_figures(report: Path | str, folder: Path | str) -> list[Path]:
    """Write every figure of `report`/report.ipynb to `folder` as NAME.png; a second figure of a name is NAME-2.png.

    Raises:
        DataError: there is no executed report, one of its figures is none, or there is no browser to draw with.
    """
    notebook = Path(report) / "report.ipynb"
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        drawn = [output["data"][PLOTLY] for output in outputs if PLOTLY in output.get("data", {})]
        names = [_name(figure["layout"].get("meta", {}).get("name")) for figure in drawn]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{notebook} is not an executed report; make one with: cprlab report") from error
    written: list[Path] = []
    for name, figure in zip(names, drawn, strict=True):
        again = sum(path.stem.partition("-")[0] == name for path in written)
        path = Path(folder) / (f"{name}-{again + 1}.png" if again else f"{name}.png")
        picture = _picture(figure, notebook)
        with whole(path) as file:
            file.write_bytes(picture)
        written.append(path)
    return written


def _name(told: object) -> str:
    """Return the name that a figure has, if it is a word: it becomes a file's, and the report may be a stranger's."""
    return told if isinstance(told, str) and re.fullmatch(r"\w{1,80}", told, re.ASCII) else "figure"


def _picture(figure: dict, notebook: Path) -> bytes:
    try:
        return pio.to_image(figure, format="png", width=1000, scale=1.5, validate=False)
    except RuntimeError as error:  # kaleido's ways of saying that there is no browser
        raise DataError(
            "No browser to draw the figures with; install Chromium (such as: apt-get install chromium)."
        ) from error
    except Exception as error:  # its errors for what is no figure have no kind of their own
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"A figure of {notebook} cannot be drawn ({detail}); make the report anew.") from error
