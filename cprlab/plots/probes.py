"""Figures of the probes: spectra, parts of the loss, the copy dial, separable sets, floors by width and rank."""

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.evaluation import METRICS, RANKING, Estimate, judge
from cprlab.plots.studies import curves, panelled, sized
from cprlab.plots.style import COLOURS, DASHES, TRUTH, short, styled, whiskers

VERDICTS = {
    "better": (COLOURS[2], "circle"),
    "worse": (COLOURS[1], "x"),
    "no difference shown": ("#888888", "circle-open"),
    "too few users to tell": ("#888888", "circle-open"),
}
ROUNDING = 1e-15  # smaller shares of a variance are rounding errors


def spectra(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.spectra`: how the variance of embeddings and predictions is spread over directions."""
    panels = list(dict.fromkeys(matrix for table in tables.values() for matrix in table["matrix"]))
    figure = make_subplots(1, len(panels), subplot_titles=panels, shared_yaxes=True)
    for place, (model, table) in enumerate(tables.items()):
        for column, matrix in enumerate(panels, start=1):
            rows = table[(table["matrix"] == matrix) & (table["share"] > ROUNDING)]
            figure.add_scatter(
                x=rows["index"], y=rows["share"], name=short(model, 40), legendgroup=model, showlegend=column == 1,
                mode="lines", line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)]},
                hovertemplate="direction %{x}: %{y:.2%} of the variance", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="direction, by variance")
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_yaxes(title="share of the variance", col=1)
    return styled(figure, "spectra", "How many directions do the item embeddings and the predictions use?")


def loss_parts(parts: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.loss_parts`: bottleneck, learning and noise."""
    figure = go.Figure()
    models = list(parts)
    for name, colour, pattern in (
        ("bottleneck", "#D55E00", ""),
        ("learning", "#56B4E9", "/"),
        ("noise", "#BBBBBB", "."),
    ):
        rows = pd.concat([table[table["part"] == name] for table in parts.values()])
        figure.add_bar(
            x=rows["value"], y=[short(model, 50) for model in models], orientation="h", name=name,
            marker={"color": colour, "pattern": {"shape": pattern, "fgcolor": "white"}},
            customdata=rows[["low", "high"]],
            hovertemplate=name + ": %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}] nats",
        )  # fmt: skip
    figure.update_layout(barmode="stack").update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="expected loss on whether the next item is in the history (nats per case)")
    figure = styled(figure, "loss_parts", "Why does the model lose?", 240 + 45 * len(models))
    return figure.update_layout(legend={"traceorder": "normal", "y": -0.5})


def dial(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.copy_dial`: the mean loss over cases by wanted share of probability on the history."""
    figure = make_subplots(1, len(curves), subplot_titles=[short(model, 50) for model in curves], shared_yaxes=True)
    lines = {
        "stay": ("model's own state", COLOURS[4], "solid"),
        "floor_ball": ("best single state in reach", COLOURS[1], "solid"),
        "floor_free": ("best single state of any length", COLOURS[1], "dot"),
        "floor_context": ("context partition in reach, at most", COLOURS[2], "dash"),
    }
    for column, table in enumerate(curves.values(), start=1):
        mean = table.groupby("alpha").mean()
        for key, (name, colour, dash) in lines.items():
            figure.add_scatter(
                x=mean.index, y=mean[key], name=name, legendgroup=name, showlegend=column == 1, mode="lines+markers",
                line={"color": colour, "dash": dash}, hovertemplate="%{x:.0%} wanted: %{y:.3f} nats", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="wanted share of probability on the history", tickformat=".0%")
    figure.update_yaxes(rangemode="tozero").update_yaxes(title="loss (nats per case)", col=1)
    title = "The copy dial: from blue to orange could be learned, below orange is the bottleneck"
    return styled(figure, "dial", title, 430)


def separable(tables: dict[str, pd.DataFrame], capacities: dict[str, float]) -> go.Figure:
    """Draw each model's `probes.separable_share`; dotted: `probes.capacity`, the threshold of random sets."""
    figure = go.Figure()
    for colour, (model, table) in zip(cycle(COLOURS), tables.items(), strict=False):
        for sets, dash, symbol in (("histories", "solid", "circle"), ("random", "dash", "circle-open")):
            rows = table[table["sets"] == sets]
            figure.add_scatter(
                x=rows["size"], y=rows["share"], name=f"{short(model, 40)}: {sets}", mode="lines+markers",
                line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 8}, customdata=rows["n"],
                hovertemplate="%{x} items: %{y:.0%} of %{customdata}",
            )  # fmt: skip
        if capacities[model] <= table["size"].max():
            figure.add_vline(x=capacities[model], line={"color": colour, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title="number of last distinct items of the history (dotted: theory for half of random sets)", type="log"
    )
    ticks = sorted({size for table in tables.values() for size in table["size"]})
    figure.update_xaxes(tickvals=ticks, ticktext=[str(size) for size in ticks])
    figure.update_yaxes(title="share that a single state can rank first", tickformat=".0%", range=[-0.03, 1.03])
    return styled(figure, "separable", "How many items can a single hidden state copy exactly?", 430)


def retrofit(table: pd.DataFrame, shown: Sequence[tuple[str, str]], named: str, title: str) -> go.Figure:
    """Draw what each part fitted to a frozen model reaches, with the interval of its paired difference to the model.

    Args:
        table: rows of `Retrofit.table` of one part or several.
        shown: metric and cases of each panel; those without rows are left out.
        named: the part named, which is marked and whose values are in the panels' titles.
        title: title of the figure.
    """
    of_panel = dict(iter(table.groupby(["metric", "cases"])))
    panels = [panel for panel in shown if panel in of_panel]
    parts = list(dict.fromkeys(table["part"]))
    names = [metric if cases == "all" else f"{metric}, {cases}" for metric, cases in panels]
    down = -(-len(panels) // 3)
    figure = make_subplots(down, 3, subplot_titles=names, shared_yaxes=True, vertical_spacing=0.3 if down > 1 else 0)
    seen = set()
    for place, (panel, name) in enumerate(zip(panels, names, strict=True)):
        where = {"row": place // 3 + 1, "col": place % 3 + 1}
        rows = of_panel[panel]
        before = rows.loc[rows["model"] == "before", "value"].iloc[0]
        reached = rows.loc[(rows["model"] == "after") & (rows["part"] == named), "value"]
        figure.layout.annotations[place].text = " → ".join([f"{name}: {before:.3f}", *map("{:.3f}".format, reached)])
        for row in rows[rows["model"] == "difference"].itertuples():
            verdict = judge(Estimate(row.value, row.low, row.high, row.n), METRICS[panel[0]].better)
            colour, symbol = VERDICTS[verdict]
            one = pd.DataFrame({"value": [row.value], "low": [row.low], "high": [row.high]}) + before
            figure.add_scatter(
                x=one["value"], y=[f"+ {row.part}"], mode="markers", name=verdict, legendgroup=verdict,
                showlegend=verdict not in seen, marker={"color": colour, "symbol": symbol, "size": 9},
                error_x=whiskers(one, colour), customdata=[[row.value, row.low, row.high]],
                hovertemplate="%{x:.4f}: %{customdata[0]:+.4f} [%{customdata[1]:+.4f}, %{customdata[2]:+.4f}]", **where,
            )  # fmt: skip
            seen.add(verdict)
        figure.add_vline(x=before, line={"color": TRUTH, "width": 1, "dash": "dot"}, **where)
        bounds = rows.loc[rows["model"] == "difference", ["low", "high"]].to_numpy()
        low, high = before + min(0, bounds.min()), before + max(0, bounds.max())
        margin = 0.08 * (high - low) or 1
        axis = "" if panel[0] in RANKING else "nats per case"
        figure.update_xaxes(title=axis, nticks=5, range=[low - margin, high + margin], **where)
    order = [f"+ {part}" for part in reversed(parts)]
    ticks = [f"<b>{part}</b>" if part == f"+ {named}" else part for part in order]
    figure.update_yaxes(categoryorder="array", categoryarray=order, tickvals=order, ticktext=ticks)
    return styled(figure, "retrofit", title, 150 + 190 * down).update_layout(legend_y=-0.17, margin_b=80)


def floor_by_width(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.floor_by_width`: the best losses found with free embeddings, beside its own floor."""
    whole = pd.concat(tables, names=["model"]).reset_index("model")
    figure, panels = panelled(whole, "model", shared_yaxes=True)
    widths = sorted(whole["dimensions"].unique())
    listed = set()
    for rows, where in panels:
        lines = [("trained embeddings", rows[rows["embedding"] == "trained"], "star")]
        for times, of_norm in rows[rows["embedding"] == "free"].groupby("norms"):
            lines.append((f"free, norms at most {times:g} × the trained ones", of_norm, "circle"))
        for index, (name, line, symbol) in enumerate(lines):
            tint = COLOURS[index % len(COLOURS)]
            figure.add_scatter(
                x=line["dimensions"], y=line["value"], name=name, legendgroup=name, showlegend=name not in listed,
                mode="lines+markers", line_color=tint, marker={"symbol": symbol, "size": 13 if index == 0 else 7},
                error_y=whiskers(line, tint), customdata=line[["low", "high"]],
                hovertemplate="d = %{x}: %{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}] nats", **where,
            )  # fmt: skip
            listed.add(name)
        trained = {"color": COLOURS[0], "dash": "dot", "width": 1.5}
        figure.add_hline(y=rows["value"].iloc[0], line=trained, **where)
    figure.update_xaxes(
        title="dimensions of h and w", type="log", tickvals=widths, ticktext=list(map(str, widths)), minor_ticks=""
    )
    figure.update_yaxes(rangemode="tozero").update_yaxes(title="best loss found (nats per case)", col=1)
    title = "Is it this W, or any W of this width? Best losses found: a better W may exist"
    return sized(figure, "floor_by_width", title, len(panels), 260)


def loss_by_rank(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.loss_by_rank`: log-loss, copy probability and NDCG@10 by the rank of W."""
    rows = pd.concat(
        table[table["ranking"] == "raw"].assign(panel=f"{model}: " * (len(tables) > 1) + table["metric"])
        for model, table in tables.items()
    )
    title = "What is lost if W is cut to a lower rank, without new training?"
    figure = curves(rows, "kept", "cases", title, "nats, or a number from 0 to 1", "panel", "rank of W", doubling=True)
    return figure.update_layout(meta={"name": "loss_by_rank"})
