"""Figures of logs: how often users repeat, and how soon."""

from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from cprlab.evaluation import FEW
from cprlab.plots.studies import panelled, sized
from cprlab.plots.style import COLOURS, TRUTH, short, styled

PANEL = 230  # height of a panel in pixels


def repeat_curve(curve: pd.DataFrame, panel: str = "") -> go.Figure:
    """Draw `data.repeat_curve`: the share of repeats at each position that at least `FEW` users reach.

    Args:
        curve: its rows for one or more logs.
        panel: column with the log's name, one panel each; a single panel if empty.
    """
    figure, panels = panelled(curve, panel, shared_yaxes="all")
    prefixes = sorted(set(curve["prefix"]))
    for place, (of_panel, where) in enumerate(panels):
        for colour, prefix in zip(cycle(COLOURS), prefixes, strict=False):
            rows = of_panel[(of_panel["prefix"] == prefix) & (of_panel["n"] >= FEW)]
            figure.add_scatter(
                x=rows["position"], y=rows["share"], name=f"prefix {prefix}", legendgroup=prefix,
                showlegend=place == 0, mode="lines+markers", line_color=colour, customdata=rows[["n", "low", "high"]],
                hovertemplate="position %{x}: %{y:.1%} of %{customdata[0]:,} users "
                "[%{customdata[1]:.1%}, %{customdata[2]:.1%}]", **where,
            )  # fmt: skip
    figure.update_xaxes(title="position in the user's sequence")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title="share that repeat an earlier item", col=1)
    title = f"Do users repeat, and does one repeat predict the next? (positions with at least {FEW} users)"
    return sized(figure, "repeat_curve", title, len(panels), PANEL)


def repeat_gaps(gaps: pd.DataFrame, max_len: int) -> go.Figure:
    """Draw `data.repeat_gaps` with one line per log.

    Args:
        gaps: its rows, with the log's name in the column `data`.
        max_len: maximum number of items that a model reads, drawn as a vertical line.
    """
    figure = go.Figure()
    for colour, (name, rows) in zip(cycle(COLOURS), gaps.groupby("data", sort=False), strict=False):
        figure.add_scatter(
            x=rows["gap"], y=rows["share"], name=short(name, 40), mode="lines+markers", line_color=colour,
            customdata=rows["n"], hovertemplate="within %{x:,}: %{y:.1%}, %{customdata:,} repeats",
        )  # fmt: skip
    figure.add_scatter(
        x=[max_len] * 2, y=[0, 1], name="model input length", mode="lines", line={"color": TRUTH, "dash": "dot"}
    )
    ticks = [step * 10**power for power in range(7) for step in (1, 2, 5)]
    figure.update_xaxes(title="maximum number of interactions since the user last had the item (log scale)", type="log")
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(title="share of all repeats", tickformat=".0%", range=[0, 1.03])
    return styled(figure, "repeat_gaps", "How soon do items come back?").update_layout(showlegend=True)
