"""The scores of all items on one axis."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.plots.maps import KINDS
from cprlab.plots.style import short, styled

DECADES = 9  # of probability, at most, on the axis
BINS = 120  # bars
LANES = {"history": 1.2, "interfering": 1.45, "target": 1.7}  # above the bars, whose height is at most 1


def scores(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw the scores of all items by each model on one axis, with the items of the case marked.

    Args:
        table: rows as in `explorer.tables.scores`. Where `alone` is not the log-probability, a line leads from what the
            vocabulary's hidden state alone would give an item of the history.
        title: title of the figure.
    """
    models = list(dict.fromkeys(table["model"]))
    if not models:
        figure = go.Figure().update_xaxes(visible=False).update_yaxes(visible=False)
        figure.add_annotation(text="No scores", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
        return styled(figure, "scores", short(title, 110), 200)
    panels = [short(model, 80) for model in models]
    figure = make_subplots(len(models), 1, subplot_titles=panels, shared_xaxes=True, vertical_spacing=0.14)
    finite = table["log_probability"].where(np.isfinite(table["log_probability"])) / np.log(10)
    low = max(-DECADES, np.floor(finite.min()))
    table = table.assign(x=(table["log_probability"] / np.log(10)).clip(lower=low))
    bins = np.linspace(low, 0, BINS + 1)
    shown = set()
    for place, model in enumerate(models, start=1):
        rows = table[table["model"] == model]
        counts, _ = np.histogram(rows["x"][rows["kind"] == "other"], bins)
        figure.add_bar(
            x=(bins[1:] + bins[:-1]) / 2, y=np.log1p(counts) / np.log1p(counts.max(initial=1)), width=np.diff(bins),
            customdata=counts, hovertemplate="%{customdata} other items<extra></extra>", name="other items",
            marker_color=KINDS["other"][0], showlegend="other" not in shown, legendgroup="other", row=place, col=1,
        )  # fmt: skip
        shown.add("other")
        lifted = rows[(rows["kind"] == "history") & rows["alone"].notna() & (rows["alone"] != rows["log_probability"])]
        start = (lifted["alone"] / np.log(10)).clip(lower=low)
        ends = np.column_stack([start, lifted["x"], np.full(len(lifted), np.nan)]).ravel()
        height = LANES["history"]
        figure.add_scatter(
            x=ends, y=np.full(len(ends), height), mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": KINDS["history"][0], "width": 1}, row=place, col=1,
        )  # fmt: skip
        for kind, height in LANES.items():
            marked = rows[rows["kind"] == kind]
            if marked.empty:
                continue
            colour, symbol, size = KINDS[kind]
            says = [
                f"{short(row.title, 80)}: {row.probability:.2%}, rank {row.rank:,}"
                + ("" if np.isnan(row.logit) else f", logit {row.logit:.2f}")
                for row in marked.itertuples()
            ]
            figure.add_scatter(
                x=marked["x"], y=np.full(len(marked), height), mode="markers", name=kind, legendgroup=kind,
                showlegend=kind not in shown, hovertext=says, hoverinfo="text", cliponaxis=False,
                marker={"color": colour, "symbol": symbol, "size": size, "line": {"color": "white", "width": 1}},
                row=place, col=1,
            )  # fmt: skip
            shown.add(kind)
    ticks = np.arange(int(low), 1)
    names = [f"{100 * 10.0**tick:g}%" if tick > -5 else f"10<sup>{tick}</sup>" for tick in ticks]
    if (table["log_probability"] < low * np.log(10)).any():
        names[0] = f"≤ {names[0]}"
    figure.update_xaxes(tickvals=ticks, ticktext=names, range=[low - 0.1, 0.1], showticklabels=True)
    figure.update_xaxes(title="probability (log scale; for one softmax, the logit minus a constant)", row=len(models))
    figure.update_yaxes(visible=False, range=[0, max(LANES.values()) + 0.2])
    figure = styled(figure, "scores", short(title, 110), 120 + 190 * len(models)).update_layout(bargap=0)
    return figure.update_layout(legend_y=-0.28 / len(models), margin_t=90).update_annotations(font_size=13)
