"""Figures: one function each, a tidy table in, a plotly Figure out. Each figure carries its name in `layout.meta`."""

import html
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.evaluation import Example

# Okabe and Ito's colours: told apart with any colour vision, and of different lightness in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
IN_HISTORY, NEW, TRUE_NEXT, TRUTH = "#56B4E9", "#BBBBBB", "#D55E00", "#444444"
DASHES = ("solid", "dash", "dot", "dashdot")
KINDS = {  # of a map's points, the most telling last: colour, symbol and size, which grey print keeps apart
    "other": (NEW, "circle", 5),
    "new": ("#009E73", "diamond", 9),
    "history": ("#0072B2", "circle", 9),
    "interfering": ("#E69F00", "triangle-up", 12),
    "target": (TRUE_NEXT, "star", 17),
    "hidden state": ("#000000", "x", 12),
}
GLYPHS = {"history": "●", "new": "◆", "target": "★"}  # of the kinds of items that may come next
MAP = (900, 520)  # pixels within which a map keeps its labels apart; where there are more, there is only more room
LABEL = 11  # pixels, the size of a map's labels
SIDES = {  # on which a label may stand of its point: right and up
    "middle right": (1, 0), "middle left": (-1, 0), "top center": (0, 1), "bottom center": (0, -1),
    "top right": (1, 1), "bottom right": (1, -1), "top left": (-1, 1), "bottom left": (-1, -1),
}  # fmt: skip
ROUNDING = 1e-15  # shares of a variance below are nothing else
SHOWN = 10  # items of a history that are drawn
FEW = 20  # users below which a share is not drawn


def repeat_curve(curve: pd.DataFrame) -> go.Figure:
    """Draw `data.repeat_curve`: the share of repeats at each place of a sequence where at least `FEW` users are."""
    figure = go.Figure()
    for colour, (prefix, rows) in zip(cycle(COLOURS), curve[curve["n"] >= FEW].groupby("prefix"), strict=False):
        figure.add_scatter(
            x=rows["position"], y=rows["share"], name=f"prefix {prefix}", mode="lines+markers", line_color=colour,
            customdata=rows["n"], hovertemplate="position %{x}: %{y:.1%} of %{customdata:,} users",
        )  # fmt: skip
    figure.update_xaxes(title="position in the user's sequence")
    figure.update_yaxes(title="share that repeat an earlier item", tickformat=".0%", rangemode="tozero")
    title = f"Do users repeat, and does one repeat announce the next? (places with {FEW} or more users)"
    return _styled(figure, "repeat_curve", title)


def training(history: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each head's loss and validation NDCG@10 by epoch."""
    figure = make_subplots(1, 2, subplot_titles=("training loss (nats a target)", "validation NDCG@10"))
    for colour, (head, epochs) in zip(cycle(COLOURS), history.items(), strict=False):
        for column, measure in ((1, "loss"), (2, "ndcg")):
            figure.add_scatter(
                x=epochs["epoch"], y=epochs[measure], name=head, legendgroup=head, showlegend=column == 1,
                mode="lines+markers", line_color=colour, row=1, col=column,
            )  # fmt: skip
    longest = max(len(epochs) for epochs in history.values())
    figure.update_xaxes(title="epoch", tickformat="d", dtick=max(1, longest // 10))
    return _styled(figure, "training", "Training")


def metrics(summary: pd.DataFrame) -> go.Figure:
    """Draw `evaluation.summarise`'s ranking metrics with their intervals, for all, repeat and new cases."""
    shown = ("NDCG@10", "HIT@10", "MRR@10")
    figure = make_subplots(1, len(shown), subplot_titles=shown, shared_yaxes=True)
    heads = list(dict.fromkeys(summary["head"]))
    bare = [head for head in heads if not head.endswith(" (post)")]
    for column, metric in enumerate(shown, start=1):
        for place, head in enumerate(heads):
            rows = summary[(summary["head"] == head) & (summary["metric"] == metric)]
            colour = COLOURS[bare.index(head.removesuffix(" (post)")) % len(COLOURS)]
            offset = ((len(heads) - 1) / 2 - place) * 0.7 / len(heads)
            y = rows["cases"].map({"new": 0, "repeat": 1, "all": 2}) + offset
            figure.add_scatter(
                x=rows["value"], y=y, name=head, legendgroup=head, showlegend=column == 1, mode="markers",
                marker={"color": colour, "size": 9, "symbol": "circle" if head in bare else "circle-open"},
                error_x=_whiskers(rows, colour), customdata=rows["n"],
                hovertemplate="%{x:.3f}, %{customdata:,} users", row=1, col=column,
            )  # fmt: skip
    figure.update_yaxes(tickvals=[0, 1, 2], ticktext=["new", "repeat", "all"], range=[-0.5, 2.5], zeroline=False)
    figure.update_xaxes(rangemode="tozero")
    return _styled(figure, "metrics", "How well each head ranks the next item (bars: 95% intervals over users)", 430)


def calibration(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each head's `evaluation.calibration`: predicted copy probability against the observed share of repeats."""
    figure = go.Figure()
    top = max(float(table[["predicted", "high"]].to_numpy().max()) for table in tables.values())
    figure.add_scatter(
        x=[0, top],
        y=[0, top],
        mode="lines",
        name="as often as predicted",
        line={"color": TRUTH, "dash": "dot"},
    )
    for colour, (head, table) in zip(cycle(COLOURS), tables.items(), strict=False):
        figure.add_scatter(
            x=table["predicted"], y=table["observed"], name=head, mode="lines+markers", line_color=colour,
            error_y=_whiskers(table.rename(columns={"observed": "value"}), colour), customdata=table["n"],
            hovertemplate="predicted %{x:.1%}, observed %{y:.1%} of %{customdata:,} users",
        )  # fmt: skip
    figure.update_xaxes(title="predicted probability that the next item is in the history", tickformat=".0%")
    figure.update_yaxes(title="observed share of repeats", tickformat=".0%", rangemode="tozero")
    return _styled(figure, "calibration", "Does the head know when to copy?")


def by_length(table: pd.DataFrame) -> go.Figure:
    """Draw `evaluation.by_length`: ranking, and predicted against observed copying, by length of history."""
    figure = make_subplots(1, 2, subplot_titles=("NDCG@10", "probability on the history, and observed repeats"))
    heads = list(dict.fromkeys(table["head"]))
    observed = table[(table["metric"] == "observed repeats") & (table["head"] == heads[0])]
    panels = [(head, metric, column) for head in heads for metric, column in (("NDCG@10", 1), ("copy probability", 2))]
    for head, metric, column in panels:
        rows = table[(table["head"] == head) & (table["metric"] == metric)]
        colour = COLOURS[heads.index(head) % len(COLOURS)]
        figure.add_scatter(
            x=rows["length"], y=rows["value"], name=head, legendgroup=head, showlegend=column == 1,
            mode="lines+markers", line_color=colour, error_y=_whiskers(rows, colour), row=1, col=column,
        )  # fmt: skip
    figure.add_scatter(
        x=observed["length"], y=observed["value"], name="observed repeats", mode="lines+markers",
        line={"color": TRUTH, "dash": "dot"}, error_y=_whiskers(observed, TRUTH), row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(title="items before the target")
    if table["length"].max() > 20 * table["length"].min():
        ticks = [step * 10**power for power in range(7) for step in (1, 2, 5)]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(rangemode="tozero")
    return _styled(figure, "by_length", "Short and long histories")


def planted(losses: pd.DataFrame) -> go.Figure:
    """Draw `training.planted_losses`, with the columns `plan` and `head`: how far each head is above the best loss."""
    mean = losses.assign(above=losses["loss"] - losses["best"]).groupby(["head", "plan"], sort=False)
    mean = mean[["above", "floor"]].mean().reset_index()
    figure = go.Figure()
    for colour, (head, rows) in zip(cycle(COLOURS), mean.groupby("head", sort=False), strict=False):
        figure.add_bar(
            x=rows["plan"], y=rows["above"], name=head, marker_color=colour, hovertemplate="%{x}: %{y:.3f} nats"
        )
    figure.add_scatter(
        x=rows["plan"], y=rows["floor"], name="least of a single state, as planted", mode="markers",
        marker={"symbol": "line-ew-open", "size": 60, "line_width": 3, "color": TRUTH},
        hovertemplate="%{x}: %{y:.3f} nats",
    )  # fmt: skip
    figure.update_yaxes(title="expected loss above the best (nats)", rangemode="tozero")
    return _styled(figure, "planted", "How near each head comes to the best loss")


def example(case: Example, titles: np.ndarray, top: int = 5) -> go.Figure:
    """Draw a case: the end of the history, and each head's most probable next items, with the true one marked."""
    heads = list(case.log_probs)
    ranks = {head: int((scores >= scores[case.target]).sum()) for head, scores in case.log_probs.items()}
    panels = [f"{head}<br>true item at rank {rank:,}" for head, rank in ranks.items()]
    figure = make_subplots(
        1, 1 + len(heads), subplot_titles=("the history's end, newest last", *panels), horizontal_spacing=0.16
    )
    history = list(case.history[-SHOWN:])
    figure.add_scatter(
        x=[0] * len(history), y=list(range(len(history))), text=[_short(titles[item], 34) for item in history],
        mode="markers+text", textposition="middle right", showlegend=False, cliponaxis=False, hoverinfo="text",
        marker={"size": 9, "color": [TRUE_NEXT if item == case.target else IN_HISTORY for item in history]},
        row=1, col=1,
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.05, 1], row=1, col=1)
    figure.update_yaxes(visible=False, autorange="reversed", row=1, col=1)
    for column, head in enumerate(heads, start=2):
        best = np.argsort(-case.log_probs[head], kind="stable")[:top]
        labels = [f"{place}. {_short(titles[item], 26)}" for place, item in enumerate(best, 1)]
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
    for name, colour in (("the true next item", TRUE_NEXT), ("in the history", IN_HISTORY), ("new", NEW)):
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
    title = f"User {_short(case.user, 20)} next takes {_short(titles[case.target], 40)}{seen}: {case.wrong} {case.kind}"
    figure.update_annotations(font_size=13)
    return _styled(figure, "example", title, 420).update_layout(margin_t=115)


def spectra(tables: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.spectra`: how the variance of its embeddings and of its predictions falls off."""
    panels = list(dict.fromkeys(matrix for table in tables.values() for matrix in table["matrix"]))
    figure = make_subplots(1, len(panels), subplot_titles=panels, shared_yaxes=True)
    for place, (model, table) in enumerate(tables.items()):
        for column, matrix in enumerate(panels, start=1):
            rows = table[(table["matrix"] == matrix) & (table["share"] > ROUNDING)]
            figure.add_scatter(
                x=rows["index"], y=rows["share"], name=_short(model, 40), legendgroup=model, showlegend=column == 1,
                mode="lines", line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)]},
                hovertemplate="direction %{x}: %{y:.2%} of the variance", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="direction, by variance")
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_yaxes(title="share of the variance", col=1)
    return _styled(figure, "spectra", "How many directions do the item embeddings and the predictions use?")


def neighbourhood(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw `probes.neighbourhood` as a map: what a hidden state must tell apart to copy its history.

    All but the other items are labelled, as far as there is room; every title shows under the pointer.
    """
    items = table[table["item"] >= 0]
    drawn, missed = (items[["x", "y"]] ** 2).to_numpy().sum(), (items["off_plane"] ** 2).sum()
    note = f"principal components 1 and 2: {drawn / (drawn + missed):.0%} of these items' variance"
    return item_map(table, note, title).update_layout(meta={"name": "neighbourhood"})


def item_map(table: pd.DataFrame, note: str, title: str) -> go.Figure:
    """Draw items and hidden states on a plane, each kind of `KINDS` with a colour and a symbol of its own.

    All but the other items are labelled, as far as there is room; every title shows under the pointer.

    Args:
        table: rows `item` (code; negative for a hidden state), `title`, `kind`, `x`, `y`.
        note: what the plane is, below the map.
        title: above it.
    """
    figure, labelled = go.Figure(), _labelled(table)
    for kind, (colour, symbol, size) in KINDS.items():
        rows = labelled[labelled["kind"] == kind]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["x"], y=rows["y"], name=kind, mode="markers+text" if rows["label"].any() else "markers",
            cliponaxis=False, hoverinfo="text", text=rows["label"], textposition=rows["side"], textfont_size=LABEL,
            hovertext=[_short(name, 80) for name in rows["title"]],
            marker={"color": colour, "symbol": symbol, "size": size, "line": {"color": "white", "width": 1}},
        )  # fmt: skip
    figure.update_xaxes(title=_short(note, 140), zeroline=False).update_yaxes(scaleanchor="x", zeroline=False)
    return _styled(figure, "item_map", _short(title, 110), MAP[1] + 170).update_layout(legend_y=-0.13)


def predictions(table: pd.DataFrame, heads: dict[str, list[str]], title: str, colour: str = "kind") -> go.Figure:
    """Draw each model's most probable next items as bars, side by side and on one scale.

    Args:
        table: rows as of `Explorer.predictions`; pinned probabilities are drawn as lines across the bars.
        heads: by model, the lines to write above its bars.
        title: above them all.
        colour: what the bars' colours tell: the items' "kind", which a glyph tells as well, or the "partition".
    """
    columns = min(2, len(heads))
    panels = ["<br>".join(_short(line, 60) for line in lines) for lines in heads.values()]
    figure = make_subplots(
        -(-len(heads) // columns), columns, subplot_titles=panels, horizontal_spacing=0.25, vertical_spacing=0.3
    )
    values = [value for value in KINDS if value in set(table["kind"])]
    colours = {kind: KINDS[kind][0] for kind in values}
    if colour == "partition":
        values = sorted(set(table["partition"]))
        colours = dict(zip(values, cycle(COLOURS), strict=False))
    pinned = "pinned_probability" in table.columns
    for place, model in enumerate(heads):
        cell = {"row": 1 + place // columns, "col": 1 + place % columns}
        rows = table[table["model"] == model]
        for value in values:
            bars = rows[rows[colour] == value]
            figure.add_bar(
                x=bars["probability"], y=bars["place"], orientation="h", showlegend=False, marker_color=colours[value],
                customdata=np.column_stack(
                    [[_short(text, 80) for text in bars[column]] for column in ("title", "kind", "partition")]
                ),
                hovertemplate="%{customdata[0]}: %{x:.2%}, %{customdata[1]}, partition %{customdata[2]}<extra></extra>",
                **cell,
            )  # fmt: skip
        if pinned:
            figure.add_scatter(
                x=rows["pinned_probability"], y=rows["place"], mode="markers", showlegend=False,
                marker={"symbol": "line-ns-open", "size": 16, "color": TRUTH, "line_width": 2},
                hovertemplate="at the pin: %{x:.2%}<extra></extra>", **cell,
            )  # fmt: skip
        labels = [f"{_short(row.title, 30)} {GLYPHS[row.kind]}" for row in rows.itertuples()]
        figure.update_yaxes(tickvals=rows["place"], ticktext=labels, autorange="reversed", showgrid=False, **cell)
    largest = table[["probability", *["pinned_probability"] * pinned]].to_numpy().max()
    figure.update_xaxes(title="probability", tickformat=".1~%", range=[0, 1.05 * largest], nticks=5)
    for value in values:  # the legend, the same for all models
        name = f"{GLYPHS[value]} {value}" if colour == "kind" else _short(value, 40)
        marker = {"color": colours[value], "symbol": "square", "size": 11}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    height = (150 + 21 * table["place"].max()) * -(-len(heads) // columns) + 60
    figure = _styled(figure, "predictions", _short(title, 110), height).update_layout(barmode="overlay")
    return figure.update_layout(margin_l=230, margin_t=100).update_annotations(font_size=13)


def leave_one_out(table: pd.DataFrame, titles: np.ndarray) -> go.Figure:
    """Draw one case of `probes.leave_one_out`: what each item of the history, oldest first, did to the prediction."""
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
        ticktext=[_short(titles[item], 34) for item in table["item"]],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(title="change when the item is left out", nticks=6, zerolinecolor="#999999")
    title = "Which items of the history carry the prediction? (oldest first)"
    return _styled(figure, "leave_one_out", title, 190 + 17 * len(table))


def loss_parts(parts: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.loss_parts`: what no single state can remove, what could be learned, and noise."""
    figure = go.Figure()
    models = list(parts)
    for name, colour, pattern in (
        ("bottleneck", "#D55E00", ""),
        ("learning", "#56B4E9", "/"),
        ("noise", "#BBBBBB", "."),
    ):
        rows = pd.concat([table[table["part"] == name] for table in parts.values()])
        figure.add_bar(
            x=rows["value"], y=[_short(model, 50) for model in models], orientation="h", name=name,
            marker={"color": colour, "pattern": {"shape": pattern, "fgcolor": "white"}},
            customdata=rows[["low", "high"]],
            hovertemplate=name + ": %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}] nats",
        )  # fmt: skip
    figure.update_layout(barmode="stack").update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="expected loss on whether the next item is in the history (nats a case)")
    figure = _styled(figure, "loss_parts", "Where is it lost?", 240 + 45 * len(models))
    return figure.update_layout(legend={"traceorder": "normal", "y": -0.5})


def dial(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw each model's `probes.copy_dial`, averaged over cases: the loss by how much is wanted on the history."""
    figure = make_subplots(1, len(curves), subplot_titles=[_short(model, 50) for model in curves], shared_yaxes=True)
    lines = {
        "stay": ("at the model's own state", COLOURS[4], "solid"),
        "floor_ball": ("at the best single state in reach", COLOURS[1], "solid"),
        "floor_free": ("at the best single state of all", COLOURS[1], "dot"),
        "floor_context": ("with a context partition in reach", COLOURS[2], "dash"),
    }
    for column, table in enumerate(curves.values(), start=1):
        mean = table.groupby("alpha").mean()
        for key, (name, colour, dash) in lines.items():
            figure.add_scatter(
                x=mean.index, y=mean[key], name=name, legendgroup=name, showlegend=column == 1, mode="lines+markers",
                line={"color": colour, "dash": dash}, hovertemplate="%{x:.0%} wanted: %{y:.3f} nats", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="wanted share of probability on the history", tickformat=".0%")
    figure.update_yaxes(rangemode="tozero").update_yaxes(title="loss (nats a case)", col=1)
    title = "The copy dial: blue to orange could be learned, below orange is the bottleneck"
    return _styled(figure, "dial", title, 430)


def separable(tables: dict[str, pd.DataFrame], capacities: dict[str, float]) -> go.Figure:
    """Draw each model's `probes.separable_share`; the threshold of random sets, `probes.capacity`, is dotted."""
    figure = go.Figure()
    for colour, (model, table) in zip(cycle(COLOURS), tables.items(), strict=False):
        for sets, dash, symbol in (("histories", "solid", "circle"), ("random", "dash", "circle-open")):
            rows = table[table["sets"] == sets]
            figure.add_scatter(
                x=rows["size"], y=rows["share"], name=f"{_short(model, 40)}: {sets}", mode="lines+markers",
                line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 8}, customdata=rows["n"],
                hovertemplate="%{x} items: %{y:.0%} of %{customdata}",
            )  # fmt: skip
        if capacities[model] <= table["size"].max():
            figure.add_vline(x=capacities[model], line={"color": colour, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title="the last … distinct items of the history (dotted: half of random sets in theory)", type="log"
    )
    ticks = sorted({size for table in tables.values() for size in table["size"]})
    figure.update_xaxes(tickvals=ticks, ticktext=[str(size) for size in ticks])
    figure.update_yaxes(title="share that one state can rank first", tickformat=".0%", range=[-0.03, 1.03])
    return _styled(figure, "separable", "How many items can a single hidden state copy exactly?", 430)


def _styled(figure: go.Figure, name: str, title: str, height: int = 400) -> go.Figure:
    return figure.update_layout(
        meta={"name": name},
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}},
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 80, "b": 90},
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        font={"size": 12},
    )


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a map's points with a `label` and the `side` on which it stands, so that none covers another.

    The most telling points choose first; one whose label finds no room, and every other item, has the label "".
    """
    labelled = table.assign(label="", side="middle right")
    marked = table[table["kind"] != "other"]
    low, high = table[["x", "y"]].min(), table[["x", "y"]].max()
    pixels = 0.9 * min(np.array(MAP) / np.maximum(high - low, 1e-12))  # a unit; plotly leaves a margin
    places = (marked[["x", "y"]] - (low + high) / 2) * pixels
    taken = [(x, y, 6, 6) for x, y in places.to_numpy()]  # middle, half the width, half the height
    for row in marked["kind"].map(list(KINDS).index).sort_values(ascending=False, kind="stable").index:
        label = _short(marked.loc[row, "title"], 30)
        width, height = 0.28 * LABEL * len(label), 0.6 * LABEL
        for side, (right, up) in SIDES.items():
            x, y = places.loc[row, "x"] + right * (width + 7), places.loc[row, "y"] + up * (height + 7)
            free = all(abs(x - a) >= width + c or abs(y - b) >= height + d for a, b, c, d in taken)
            if free and abs(x) + width <= MAP[0] / 2:
                labelled.loc[row, ["label", "side"]] = label, side
                taken.append((x, y, width, height))
                break
    return labelled


def _whiskers(rows: pd.DataFrame, colour: str) -> dict:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["high"] - rows["value"],
        "arrayminus": rows["value"] - rows["low"],
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def _short(title: str, most: int) -> str:
    """Return a title as one line of text that plotly cannot take for markup."""
    line = " ".join(str(title).split())
    return html.escape(line if len(line) <= most else line[: most - 1] + "…", quote=False)
