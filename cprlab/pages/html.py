"""to_page: an executed notebook as one self-contained HTML page that shows its figures offline."""

from base64 import b64encode

import nbformat
import plotly.io as pio
import plotly.offline
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from cprlab.pages.figures import PLOTLY, pictures


def to_page(notebook: NotebookNode, title: str) -> str:
    """Return the page with text, tables and figures, without code; it contains plotly.js once and downloads nothing."""
    exporter = HTMLExporter(
        config=Config(
            HTMLExporter={
                "exclude_input": True,
                "exclude_input_prompt": True,
                "exclude_output_prompt": True,
                "mathjax_url": "",
                "require_js_url": "",
                "jquery_url": "",
                "mermaid_js_url": "",
                "widget_renderer_url": "",
            }
        ),
        preprocessors=[WithoutProgress, Drawn],
    )
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    script = f"<script>window.PlotlyConfig = {{MathJaxConfig: 'local'}};{plotly.offline.get_plotlyjs()}</script>"
    return page.replace("</head>", script + "</head>", 1)


class WithoutProgress(Preprocessor):
    """Preprocessor that removes the output of progress bars."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Return the cell without its output to standard error."""
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        return cell, resources


class WithPictures(Preprocessor):
    """Preprocessor that adds a PNG file to each plotly figure, for pages that run no scripts, and for print."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Return the notebook with pictures; all are drawn by one browser."""
        outputs = [
            output for cell in nb.cells for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})
        ]
        drawn = pictures([output.data[PLOTLY] for output in outputs], "of this notebook", scale=1)
        for output, picture in zip(outputs, drawn, strict=True):
            output.data["image/png"] = b64encode(picture).decode()
        return nb, resources


class Drawn(Preprocessor):
    """Preprocessor that turns plotly's JSON outputs into HTML figures."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Return the cell with HTML figures, which a page's plotly.js draws."""
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                figure = output.data[PLOTLY]
                drawn = pio.to_html(
                    figure,
                    validate=False,
                    full_html=False,
                    include_plotlyjs=False,
                    include_mathjax=False,
                    default_height=f"{figure['layout']['height']}px",
                    config={"displaylogo": False, "responsive": True},
                )
                output.data = nbformat.from_dict({"text/html": drawn})
        return cell, resources
