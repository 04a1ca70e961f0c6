"""Figures of heads on a log: training, ranking, planted bottlenecks."""

from itertools import cycle

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.evaluation import MAIN, RANKING
from cprlab.plots.style import COLOURS, TRUTH, styled, whiskers


def training(history: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each head's loss and validation NDCG@10 by epoch."""
    figure = make_subplots(1, 2, subplot_titles=("training loss (nats per target)", f"validation {MAIN}"))
    for colour, (head, epochs) in zip(cycle(COLOURS), history.items(), strict=False):
        for column, measure in ((1, "loss"), (2, "ndcg")):
            figure.add_scatter(
                x=epochs["epoch"], y=epochs[measure], name=head, legendgroup=head, showlegend=column == 1,
                mode="lines+markers", line_color=colour, row=1, col=column,
            )  # fmt: skip
    longest = max(len(epochs) for epochs in history.values())
    figure.update_xaxes(title="epoch", tickformat="d", dtick=max(1, longest // 10))
    return styled(figure, "training", "Training")


def metrics(summary: pd.DataFrame) -> go.Figure:
    """Draw the ranking metrics of `evaluation.means` with intervals, for all, repeat and new cases."""
    figure = make_subplots(1, len(RANKING), subplot_titles=RANKING, shared_yaxes=True)
    heads = list(dict.fromkeys(summary["head"]))
    settings = [(head, ranking) for head in heads for ranking in ("raw", "post")]
    for column, metric in enumerate(RANKING, start=1):
        of_metric = summary[summary["metric"] == metric]
        for place, (head, ranking) in enumerate(settings):
            rows = of_metric[(of_metric["head"] == head) & (of_metric["ranking"] == ranking)]
            name = head + " (post)" * (ranking == "post")
            colour = COLOURS[heads.index(head) % len(COLOURS)]
            offset = ((len(settings) - 1) / 2 - place) * 0.7 / len(settings)
            y = rows["cases"].map({"new": 0, "repeat": 1, "all": 2}) + offset
            figure.add_scatter(
                x=rows["value"], y=y, name=name, legendgroup=name, showlegend=column == 1, mode="markers",
                marker={"color": colour, "size": 9, "symbol": "circle" if ranking == "raw" else "circle-open"},
                error_x=whiskers(rows, colour), customdata=rows["n"],
                hovertemplate="%{x:.3f}, %{customdata:,} users", row=1, col=column,
            )  # fmt: skip
    figure.update_yaxes(tickvals=[0, 1, 2], ticktext=["new", "repeat", "all"], range=[-0.5, 2.5], zeroline=False)
    figure.update_xaxes(rangemode="tozero")
    return styled(figure, "metrics", "How well does each head rank the next item? (95% intervals over users)", 430)


def by_length(table: pd.DataFrame) -> go.Figure:
    """Draw `evaluation.by_bins` by `length`: ranking, and predicted and observed repeats, by length of history."""
    figure = make_subplots(1, 2, subplot_titles=(MAIN, "probability on the history, and observed repeats"))
    heads = list(dict.fromkeys(table["head"]))
    observed = table[(table["metric"] == "observed repeats") & (table["head"] == heads[0])]
    panels = [(head, metric, column) for head in heads for metric, column in ((MAIN, 1), ("copy probability", 2))]
    for head, metric, column in panels:
        rows = table[(table["head"] == head) & (table["metric"] == metric)]
        colour = COLOURS[heads.index(head) % len(COLOURS)]
        figure.add_scatter(
            x=rows["length"], y=rows["value"], name=head, legendgroup=head, showlegend=column == 1,
            mode="lines+markers", line_color=colour, error_y=whiskers(rows, colour), row=1, col=column,
        )  # fmt: skip
    figure.add_scatter(
        x=observed["length"], y=observed["value"], name="observed repeats", mode="lines+markers",
        line={"color": TRUTH, "dash": "dot"}, error_y=whiskers(observed, TRUTH), row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(title="items before the target")
    if table["length"].max() > 20 * table["length"].min():
        ticks = [step * 10**power for power in range(7) for step in (1, 2, 5)]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(rangemode="tozero")
    return styled(figure, "by_length", "Short and long histories")


def planted(losses: pd.DataFrame) -> go.Figure:
    """Draw `training.planted_losses` with columns `plan` and `head`: how far each head is above the best loss."""
    mean = losses.assign(above=losses["loss"] - losses["best"]).groupby(["head", "plan"], sort=False)
    mean = mean[["above", "floor"]].mean().reset_index()
    figure = go.Figure()
    for colour, (head, rows) in zip(cycle(COLOURS), mean.groupby("head", sort=False), strict=False):
        figure.add_bar(
            x=rows["plan"], y=rows["above"], name=head, marker_color=colour, hovertemplate="%{x}: %{y:.3f} nats"
        )
    figure.add_scatter(
        x=rows["plan"], y=rows["floor"], name="planted floor of a single state", mode="markers",
        marker={"symbol": "line-ew-open", "size": 60, "line_width": 3, "color": TRUTH},
        hovertemplate="%{x}: %{y:.3f} nats",
    )  # fmt: skip
    figure.update_yaxes(title="expected loss above the best (nats)", rangemode="tozero")
    return styled(figure, "planted", "How close does each head come to the best loss?")
