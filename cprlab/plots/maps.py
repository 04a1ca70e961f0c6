"""Maps of items and hidden states in a plane, with labels where there is room."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cprlab.plots.style import NEW, TRUE_NEXT, short, styled

KINDS = {  # kinds of points, the most important last: colour, symbol and size; distinguishable in grey print
    "other": (NEW, "circle", 5),
    "new": ("#009E73", "diamond", 9),
    "history": ("#0072B2", "circle", 9),
    "interfering": ("#E69F00", "triangle-up", 12),
    "target": (TRUE_NEXT, "star", 17),
    "hidden state": ("#000000", "x", 12),
}
MAP = (900, 520)  # size in pixels at which labels do not overlap; larger maps have more room
LABEL = 11  # font size of labels in pixels
SIDES = {  # positions of a label relative to its point: right and up
    "middle right": (1, 0), "middle left": (-1, 0), "top center": (0, 1), "bottom center": (0, -1),
    "top right": (1, 1), "bottom right": (1, -1), "top left": (-1, 1), "bottom left": (-1, -1),
}  # fmt: skip


def neighbourhood(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw `probes.neighbourhood` as a map: the items that a hidden state must separate to copy its history.

    Items of all kinds but "other" are labelled where there is room; titles of all items show on hover.
    """
    items = table[table["item"] >= 0]
    drawn, missed = (items[["x", "y"]] ** 2).to_numpy().sum(), (items["off_plane"] ** 2).sum()
    note = "these items have the same embedding"
    if drawn + missed:
        note = f"principal components 1 and 2: {drawn / (drawn + missed):.0%} of these items' variance"
    return item_map(table, note, title).update_layout(meta={"name": "neighbourhood"})


def item_map(table: pd.DataFrame, note: str, title: str) -> go.Figure:
    """Draw items and hidden states in a plane, with a colour and a symbol for each kind of `KINDS`.

    Items of all kinds but "other" are labelled where there is room; titles of all items show on hover.

    Args:
        table: rows `item` (code; negative for a hidden state), `title`, `kind`, `x`, `y`; no rows if there is no map.
        note: axis title that explains the plane, or why there is no map.
        title: title of the figure.
    """
    if table.empty:
        figure = go.Figure().update_xaxes(visible=False).update_yaxes(visible=False)
        figure.add_annotation(text=short(note, 140), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
        return styled(figure, "item_map", short(title, 110), 200)
    figure, labelled = go.Figure(), _labelled(table)
    for kind, (colour, symbol, size) in KINDS.items():
        rows = labelled[labelled["kind"] == kind]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["x"], y=rows["y"], name=kind, mode="markers+text" if rows["label"].any() else "markers",
            cliponaxis=False, hoverinfo="text", text=rows["label"], textposition=rows["side"], textfont_size=LABEL,
            hovertext=[short(name, 80) for name in rows["title"]],
            marker={"color": colour, "symbol": symbol, "size": size, "line": {"color": "white", "width": 1}},
        )  # fmt: skip
    figure.update_xaxes(title=short(note, 140), zeroline=False).update_yaxes(scaleanchor="x", zeroline=False)
    return styled(figure, "item_map", short(title, 110), MAP[1] + 170).update_layout(legend_y=-0.13)


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a map's points with a `label` and its `side`, so that labels do not overlap.

    The most important points come first. Points without room, and those of kind "other", have the label "".
    """
    labelled = table.assign(label="", side="middle right")
    marked = table[table["kind"] != "other"]
    low, high = table[["x", "y"]].min(), table[["x", "y"]].max()
    pixels = 0.9 * min(np.array(MAP) / np.maximum(high - low, 1e-12))  # per unit; plotly leaves a margin
    places = (marked[["x", "y"]] - (low + high) / 2) * pixels
    taken = [(x, y, 6.0, 6.0) for x, y in places.to_numpy()]  # middle, half the width, half the height
    for row in marked["kind"].map(list(KINDS).index).sort_values(ascending=False, kind="stable").index:
        label = short(marked.loc[row, "title"], 30)
        width, height = 0.28 * LABEL * len(label), 0.6 * LABEL
        for side, (right, up) in SIDES.items():
            x, y = places.loc[row, "x"] + right * (width + 7), places.loc[row, "y"] + up * (height + 7)
            free = all(abs(x - a) >= width + c or abs(y - b) >= height + d for a, b, c, d in taken)
            if free and abs(x) + width <= MAP[0] / 2:
                labelled.loc[row, ["label", "side"]] = label, side
                taken.append((x, y, width, height))
                break
    return labelled
