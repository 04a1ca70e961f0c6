"""write_figures: the figures of an executed report as PNG files, for the README and for slides."""

import json
from pathlib import Path

import plotly.io as pio

from cprlab.errors import DataError
from cprlab.files import whole
from cprlab.reports.page import PLOTLY


def write_figures(report: Path | str, folder: Path | str) -> list[Path]:
    """Write every figure of `report`/report.ipynb to `folder` as NAME.png; a second figure of a name is NAME-2.png.

    Raises:
        DataError: there is no executed report, or no browser to draw with.
    """
    notebook = Path(report) / "report.ipynb"
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        drawn = [output["data"][PLOTLY] for output in outputs if PLOTLY in output.get("data", {})]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{notebook} is not an executed report; make one with: cprlab report") from error
    written: list[Path] = []
    for figure in drawn:
        name = figure["layout"].get("meta", {}).get("name", "figure")
        again = sum(path.stem.partition("-")[0] == name for path in written)
        path = Path(folder) / (f"{name}-{again + 1}.png" if again else f"{name}.png")
        with whole(path) as file:
            try:
                file.write_bytes(pio.to_image(figure, format="png", width=1000, scale=1.5, validate=False))
            except RuntimeError as error:  # kaleido's ways of saying that there is no browser
                raise DataError(
                    "No browser to draw the figures with; install Chromium (such as: apt-get install chromium)."
                ) from error
        written.append(path)
    return written
