"""Figures of kept runs: a ladder of heads, a waterfall of losses, reliability, learning curves."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.plots.studies import panelled, sized
from cprlab.plots.style import COLOURS, TRUTH, short, styled, whiskers


def ladder(table: pd.DataFrame, title: str, axis: str = "NDCG@10") -> go.Figure:
    """Draw values as dots with intervals: a line for each head, from the top, and a panel for each group of cases.

    Args:
        table: rows `head, colour, panel, value, low, high`; heads are drawn in their order here.
        title: title of the figure.
        axis: what the values are, with unit.
    """
    heads = list(dict.fromkeys(table["head"]))
    figure, panels = panelled(table, "panel", 60 + 24 * len(heads), shared_yaxes=True)
    tints = dict(zip(dict.fromkeys(table["colour"]), cycle(COLOURS), strict=False))
    for place, (of_panel, where) in enumerate(panels):
        for index, (shade, tint) in enumerate(tints.items()):
            rows = of_panel[of_panel["colour"] == shade]
            offset = ((len(tints) - 1) / 2 - index) * 0.3 / len(tints)
            figure.add_scatter(
                x=rows["value"], y=[len(heads) - 1 - heads.index(head) + offset for head in rows["head"]],
                name=short(shade, 40), legendgroup=str(shade), showlegend=place == 0, mode="markers",
                marker={"color": tint, "size": 9}, error_x=whiskers(rows, tint), customdata=rows[["low", "high"]],
                hovertemplate="%{x:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]", **where,
            )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(heads))), ticktext=[short(head, 40) for head in reversed(heads)],
        range=[-0.6, len(heads) - 0.4], zeroline=False, automargin=True,
    )  # fmt: skip
    figure.update_xaxes(title=axis, rangemode="tozero")
    return sized(figure, "ladder", title, len(panels), 60 + 24 * len(heads))


def waterfall(table: pd.DataFrame, title: str, axis: str, base: dict[str, float]) -> go.Figure:
    """Draw how a mean falls or rises from head to head, a panel for each log.

    Args:
        table: rows `panel, head, value, low, high`: the first head's mean, then each head's difference to the head
            before it, with intervals.
        title: title of the figure.
        axis: what the values are, with unit.
        base: by panel, a value to draw as a dashed line, the base rate; panels without one have no line.
    """
    figure, panels = panelled(table, "panel", 300)
    for place, (rows, where) in enumerate(panels):
        changes = rows["value"].iloc[1:]
        places, steps = list(range(len(rows) + 1)), rows["value"].cumsum().tolist()
        figure.add_waterfall(
            x=places, y=[*rows["value"], 0], measure=["absolute", *["relative"] * len(changes), "total"],
            text=[f"{steps[0]:.3f}", *(f"{value:+.3f}" for value in changes), f"{steps[-1]:.3f}"],
            textposition="outside", showlegend=False, cliponaxis=False,
            increasing_marker_color=COLOURS[1], decreasing_marker_color=COLOURS[2], totals_marker_color=COLOURS[0],
            connector={"line": {"color": TRUTH, "width": 1, "dash": "dot"}}, **where,
        )  # fmt: skip
        figure.add_scatter(
            x=[place + 0.32 for place in places[1:-1]], y=steps[1:], mode="markers", showlegend=False, hoverinfo="skip",
            marker={"color": TRUTH, "size": 4}, error_y=whiskers(rows.iloc[1:], TRUTH), **where,
        )  # fmt: skip
        ticks = [*(short(head, 30) for head in rows["head"]), "the last"]
        figure.update_xaxes(tickvals=places, ticktext=ticks, zeroline=False, **where)
        if (floor := base.get(rows["panel"].iloc[0])) is not None:
            line = {"color": TRUTH, "dash": "dash"}
            figure.add_hline(y=floor, line=line, name="base rate", showlegend=place == 0, **where)
            steps.append(floor)
        low, high = min(steps), max(steps)
        room = (high - low) or abs(high) or 1
        figure.update_yaxes(range=[low - 0.6 * room, high + 0.25 * room], **where)
    figure.update_xaxes(tickangle=-30).update_yaxes(title=axis, col=1)
    return sized(figure, "waterfall", title, len(panels), 300)


def reliability(
    tables: dict[str, pd.DataFrame],
    shares: Mapping[str, np.ndarray | pd.Series],
    title: str = "Does the head know when to copy?",
) -> go.Figure:
    """Draw what heads said against what happened, in a square, and below in how many cases they said it.

    Args:
        tables: by head, `evaluation.calibration`: rows `predicted, observed, low, high, n`; a head that only ranks, of
            which there are no rows, is left out.
        shares: by head, the copy probability of each case, (m,).
        title: title of the figure.
    """
    tables = {head: table for head, table in tables.items() if len(table)}
    figure = make_subplots(2, 1, row_heights=[0.78, 0.22], shared_xaxes=True, vertical_spacing=0.04)
    line = {"color": TRUTH, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="as often as said", line=line, row=1, col=1)
    for tint, (head, table) in zip(cycle(COLOURS), tables.items(), strict=False):
        said = {"name": short(head, 40), "legendgroup": head}
        figure.add_scatter(
            x=table["predicted"], y=table["observed"], mode="lines+markers", line_color=tint,
            error_y=whiskers(table.rename(columns={"observed": "value"}), tint), customdata=table["n"],
            hovertemplate="said %{x:.1%}, happened %{y:.1%} of %{customdata:,} users", **said, row=1, col=1,
        )  # fmt: skip
        counts, edges = np.histogram(np.clip(shares[head], 0, 1), bins=25, range=(0, 1))
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1], y=np.repeat(counts, 2), mode="lines", line_color=tint, showlegend=False,
            hovertemplate="%{y:,} cases", **said, row=2, col=1,
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1], tickformat=".0%", constrain="domain")
    figure.update_yaxes(range=[0, 1], tickformat=".0%", title="share that repeated", scaleanchor="x", row=1, col=1)
    figure.update_yaxes(title="cases", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title="probability said to be in the history", row=2, col=1)
    return styled(figure, "reliability", short(title, 140), 640).update_layout(legend_y=-0.12)


def learning(curves: pd.DataFrame, title: str, best: pd.DataFrame) -> go.Figure:
    """Draw validation NDCG@10 by epoch, a line for each head and a panel for each log and encoder.

    Args:
        curves: rows `panel, head, epoch, ndcg`.
        title: title of the figure.
        best: rows `panel, head, epoch, ndcg`: the epochs that were kept, drawn as dots.
    """
    figure, panels = panelled(curves, "panel", 180)
    tints = dict(zip(dict.fromkeys(curves["head"]), cycle(COLOURS), strict=False))
    listed = set()
    for rows, where in panels:
        for head, of_head in rows.groupby("head", sort=False):
            said = {"name": short(head, 40), "legendgroup": head, "showlegend": head not in listed}
            listed.add(head)
            figure.add_scatter(
                x=of_head["epoch"], y=of_head["ndcg"], mode="lines", line_color=tints[head], **said, **where
            )
            kept = best[(best["panel"] == rows["panel"].iloc[0]) & (best["head"] == head)]
            figure.add_scatter(
                x=kept["epoch"], y=kept["ndcg"], mode="markers", marker={"color": tints[head], "size": 8},
                showlegend=False, hovertemplate="epoch %{x}: %{y:.4f}", **where,
            )  # fmt: skip
    figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero").update_yaxes(title="NDCG@10", col=1)
    return sized(figure, "learning", title, len(panels), 180)
