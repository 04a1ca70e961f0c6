"""The common style of all figures."""

import html

import pandas as pd
import plotly.graph_objects as go

# Okabe and Ito's colours: distinguishable with any colour vision, and different in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
IN_HISTORY, NEW, TRUE_NEXT, TRUTH = "#56B4E9", "#BBBBBB", "#D55E00", "#444444"
DASHES = ("solid", "dash", "dot", "dashdot")


def styled(figure: go.Figure, name: str, title: str, height: int = 400) -> go.Figure:
    """Return the figure with its name, title and the common layout; height in pixels."""
    return figure.update_layout(
        meta={"name": name},
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}},
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 80, "b": 90},
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        font={"size": 12},
    )


def whiskers(rows: pd.DataFrame, colour: str) -> dict:
    """Return error bars from `low` to `high` for rows drawn at `value`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["high"] - rows["value"],
        "arrayminus": rows["value"] - rows["low"],
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def short(title: str, most: int) -> str:
    """Return a title as one line of text, cut to length, with markup escaped for plotly."""
    line = " ".join(str(title).split())
    return html.escape(line if len(line) <= most else line[: most - 1] + "…", quote=False)
