"""Figures of single cases: a history, and each head's predictions."""

from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.evaluation import Example
from cprlab.plots.maps import KINDS
from cprlab.plots.style import COLOURS, IN_HISTORY, NEW, TRUE_NEXT, TRUTH, short, styled

BAR = 0.8  # width of a bar, in places; by default it depends on how far apart the places of its colour are
GLYPHS = {"history": "●", "new": "◆", "target": "★"}  # by kind of predicted item
SHOWN = 10  # number of items drawn of a history


def example(case: Example, titles: np.ndarray, top: int = 5) -> go.Figure:
    """Draw a case: the end of the history, and each head's most probable next items, with the true one marked."""
    heads = list(case.log_probs)
    ranks = {head: int((scores >= scores[case.target]).sum()) for head, scores in case.log_probs.items()}
    panels = [f"{head}<br>true item at rank {rank:,}" for head, rank in ranks.items()]
    figure = make_subplots(
        1, 1 + len(heads), subplot_titles=("end of the history, newest last", *panels), horizontal_spacing=0.16
    )
    history = list(case.history[-SHOWN:])
    figure.add_scatter(
        x=[0] * len(history), y=list(range(len(history))), text=[short(titles[item], 34) for item in history],
        mode="markers+text", textposition="middle right", showlegend=False, cliponaxis=False, hoverinfo="text",
        marker={"size": 9, "color": [TRUE_NEXT if item == case.target else IN_HISTORY for item in history]},
        row=1, col=1,
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.05, 1], row=1, col=1)
    figure.update_yaxes(visible=False, autorange="reversed", row=1, col=1)
    for column, head in enumerate(heads, start=2):
        best = np.argsort(-case.log_probs[head], kind="stable")[:top]
        labels = [f"{place}. {short(titles[item], 26)}" for place, item in enumerate(best, 1)]
        kinds = np.where(best == case.target, TRUE_NEXT, np.where(np.isin(best, case.history), IN_HISTORY, NEW))
        figure.add_bar(
            x=np.exp(case.log_probs[head][best]), y=labels,
            orientation="h", marker_color=kinds, showlegend=False, hovertemplate="%{y}: %{x:.2%}", row=1, col=column,
        )  # fmt: skip
        figure.update_yaxes(autorange="reversed", row=1, col=column)
        figure.update_xaxes(title="probability", tickformat=".0%", rangemode="tozero", row=1, col=column)
    widest = max(float(np.exp(scores.max())) for scores in case.log_probs.values())
    for column in range(2, 2 + len(heads)):
        figure.update_xaxes(range=[0, 1.05 * widest], nticks=4, row=1, col=column)
    for name, colour in (("true next item", TRUE_NEXT), ("in the history", IN_HISTORY), ("new", NEW)):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": "square", "size": 11},
            row=1,
            col=1,
        )
    ago = np.flatnonzero(case.history[::-1] == case.target)
    seen = f" (last taken {ago[0] + 1} items ago)" if len(ago) else ""
    title = f"User {short(case.user, 20)} next takes {short(titles[case.target], 40)}{seen}: {case.wrong} {case.kind}"
    figure.update_annotations(font_size=13)
    return styled(figure, "example", title, 420).update_layout(margin_t=115)


def predictions(table: pd.DataFrame, heads: dict[str, list[str]], title: str, colour: str = "kind") -> go.Figure:
    """Draw each model's most probable next items as bars, side by side on the same scale.

    Args:
        table: rows as in `Explorer.predictions`; pinned probabilities are drawn as lines across the bars. A model that
            only ranks has a dot for each place.
        heads: title lines of each model's panel.
        title: title of the figure.
        colour: what colours mean: the items' "kind", also shown by a glyph, or the "partition".
    """
    columns = min(2, len(heads))
    panels = ["<br>".join(short(line, 60) for line in lines) for lines in heads.values()]
    figure = make_subplots(
        -(-len(heads) // columns), columns, subplot_titles=panels, horizontal_spacing=0.25, vertical_spacing=0.3
    )
    values = [value for value in KINDS if value in set(table["kind"])]
    colours = {kind: KINDS[kind][0] for kind in values}
    if colour == "partition":
        values = sorted(set(table["partition"]))
        colours = dict(zip(values, cycle(COLOURS), strict=False))
    pinned = "pinned_probability" in table.columns
    largest = np.nanmax(table[["probability", *["pinned_probability"] * pinned]].to_numpy(), initial=0) or 1
    for place, model in enumerate(heads):
        cell = {"row": 1 + place // columns, "col": 1 + place % columns}
        rows = table[table["model"] == model]
        ordered = rows["probability"].isna().all()
        for value in values:
            bars = rows[rows[colour] == value]
            drawn = {
                "y": bars["place"], "showlegend": False, "marker_color": colours[value],
                "customdata": np.column_stack(
                    [[short(text, 80) for text in bars[column]] for column in ("title", "kind", "partition")]
                ),
            }  # fmt: skip
            says = "%{{customdata[0]}}: {}, %{{customdata[1]}}, partition %{{customdata[2]}}<extra></extra>"
            if ordered:  # no probabilities: one dot per place
                hover = says.format("place %{y}")
                figure.add_scatter(
                    x=[0.02 * largest] * len(bars), mode="markers", marker_size=9, hovertemplate=hover, **drawn, **cell
                )
            else:
                hover = says.format("%{x:.2%}")
                figure.add_bar(x=bars["probability"], width=BAR, orientation="h", hovertemplate=hover, **drawn, **cell)
        if pinned:
            figure.add_scatter(
                x=rows["pinned_probability"], y=rows["place"], mode="markers", showlegend=False,
                marker={"symbol": "line-ns-open", "size": 16, "color": TRUTH, "line_width": 2},
                hovertemplate="pinned: %{x:.2%}<extra></extra>", **cell,
            )  # fmt: skip
        labels = [f"{short(row.title, 30)} {GLYPHS[row.kind]}" for row in rows.itertuples()]
        figure.update_yaxes(tickvals=rows["place"], ticktext=labels, autorange="reversed", showgrid=False, **cell)
        figure.update_xaxes(visible=not ordered, **cell)
    figure.update_xaxes(title="probability", tickformat=".1~%", range=[0, 1.05 * largest], nticks=5)
    for value in values:  # the legend, the same for all models
        name = f"{GLYPHS[value]} {value}" if colour == "kind" else short(value, 40)
        marker = {"color": colours[value], "symbol": "square", "size": 11}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    height = (150 + 21 * table["place"].max()) * -(-len(heads) // columns) + 60
    figure = styled(figure, "predictions", short(title, 110), height).update_layout(barmode="overlay")
    return figure.update_layout(margin_l=230, margin_t=100).update_annotations(font_size=13)


def leave_one_out(table: pd.DataFrame, titles: np.ndarray) -> go.Figure:
    """Draw one case of `probes.leave_one_out`: the effect of each item of the history, oldest first."""
    panels = {"copy_change": "copy probability", "target_change": "log-probability of the true item (nats)"}
    panels = {column: name for column, name in panels.items() if table[column].notna().any()}
    figure = make_subplots(1, len(panels), subplot_titles=list(panels.values()), shared_yaxes=True)
    places = np.arange(len(table))
    for column, name in enumerate(panels, start=1):
        figure.add_bar(
            x=table[name], y=places, orientation="h", showlegend=False, marker_color=COLOURS[column - 1],
            customdata=table["position"] + 1, hovertemplate="item %{customdata} of the history: %{x:+.4f}",
            row=1, col=column,
        )  # fmt: skip
    figure.update_yaxes(
        tickvals=places,
        ticktext=[short(titles[item], 34) for item in table["item"]],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(title="change when the item is left out", nticks=6, zerolinecolor="#999999")
    title = "Which items of the history does the prediction depend on? (oldest first)"
    return styled(figure, "leave_one_out", title, 190 + 17 * len(table))
