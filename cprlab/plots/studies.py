"""Figures of many runs: gains, curves over a setting, grids of two settings, and trade-offs."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cprlab.plots.style import COLOURS, TRUTH, short, styled, whiskers

ACROSS = 3  # panels per row
PANEL = 260  # height of a panel in pixels
GAP = 85  # pixels between rows of panels, for ticks, axis title and the title of the panel below


def gains(table: pd.DataFrame, row: str, colour: str, title: str, axis: str, panel: str = "") -> go.Figure:
    """Draw values with their intervals, one below the other, and a line at zero.

    Args:
        table: rows with `value, low, high`, as from `evaluation.gains`.
        row: column of the row names.
        colour: column shown by colour.
        title: title of the figure.
        axis: what the values are, with unit.
        panel: column with one panel per value; a single panel if empty.
    """
    names, shades = list(dict.fromkeys(table[row])), list(dict.fromkeys(table[colour]))
    height = 60 + 24 * len(names) * max(1, len(shades) / 2)
    figure, panels = panelled(table, panel, height, shared_yaxes=True)
    for place, (of_panel, where) in enumerate(panels):
        for index, shade in enumerate(shades):
            rows = of_panel[of_panel[colour] == shade]
            offset = ((len(shades) - 1) / 2 - index) * 0.7 / len(shades)
            figure.add_scatter(
                x=rows["value"], y=[len(names) - 1 - names.index(name) + offset for name in rows[row]],
                name=short(shade, 40), legendgroup=str(shade), showlegend=place == 0, mode="markers",
                marker={"color": COLOURS[index % len(COLOURS)], "size": 9},
                error_x=whiskers(rows, COLOURS[index % len(COLOURS)]), customdata=rows[["low", "high"]],
                hovertemplate="%{x:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]", **where,
            )  # fmt: skip
    figure.add_vline(x=0, line={"color": "#444444", "width": 1, "dash": "dot"})
    ticks = [short(name, 40) for name in reversed(names)]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=ticks, range=[-0.6, len(names) - 0.4], zeroline=False
    )
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(title=axis)
    return sized(figure, "gains", title, len(panels), height)


def curves(
    table: pd.DataFrame,
    x: str,
    colour: str,
    title: str,
    axis: str,
    panel: str = "",
    label: str = "",
    *,
    doubling: bool = False,
) -> go.Figure:
    """Draw values with their intervals over a setting, one line per `colour`.

    Args:
        table: rows with `value, low, high`, as from `evaluation.means` and `evaluation.gains`.
        x: column of the setting.
        colour: column with one line per value.
        title: title of the figure.
        axis: what the values are, with unit.
        panel: column with one panel per value; a single panel if empty.
        label: what the setting is, with unit; its column's name if empty.
        doubling: whether the setting's values have equal ratios; uses a logarithmic axis with a tick at each value.
    """
    figure, panels = panelled(table, panel)
    shades, listed = list(dict.fromkeys(table[colour])), set()
    for of_panel, where in panels:
        for shade, rows in of_panel.groupby(colour, sort=False):
            tint = COLOURS[shades.index(shade) % len(COLOURS)]
            figure.add_scatter(
                x=rows[x], y=rows["value"], name=short(shade, 40), legendgroup=str(shade),
                showlegend=shade not in listed, mode="lines+markers", line_color=tint, error_y=whiskers(rows, tint),
                customdata=rows[["low", "high"]],
                hovertemplate="%{x}: %{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]", **where,
            )  # fmt: skip
            listed.add(shade)
    figure.update_xaxes(title=label or x)
    if doubling:
        tried = sorted(table[x].unique())
        figure.update_xaxes(type="log", tickvals=tried, ticktext=list(map(str, tried)), minor_ticks="")
    figure.update_yaxes(title=axis, col=1)
    return sized(figure, "curves", title, len(panels), PANEL)


def grids(
    table: pd.DataFrame, x: str, y: str, title: str, axis: str, panel: str = "", *, diverging: bool = False
) -> go.Figure:
    """Draw a heatmap with numbers: a value for each pair of two settings.

    Args:
        table: rows with `value`, one for each pair and panel.
        x: column of one setting; its name is the axis title.
        y: column of the other; its name is the axis title.
        title: title of the figure.
        axis: what the values are, with unit.
        panel: column with one panel per value; a single panel if empty.
        diverging: whether the values are differences, so that 0 has no colour.
    """
    figure, panels = panelled(table, panel)
    for of_panel, where in panels:
        wide = of_panel.pivot(index=y, columns=x, values="value")
        ticks = ([short(one, 40) for one in axis_of] for axis_of in (wide.columns, wide.index))
        figure.add_heatmap(
            **dict(zip("xy", ticks, strict=True)), z=wide, coloraxis="coloraxis",
            texttemplate="%{z:.4f}", hovertemplate=f"{x} %{{x}}, {y} %{{y}}: %{{z:.4f}}", name="", showlegend=False,
            xgap=2, ygap=2, **where,
        )  # fmt: skip
    figure.update_xaxes(title=x, type="category")
    figure.update_yaxes(type="category")
    figure.update_yaxes(title=y, col=1)
    scale = {"colorscale": "PuOr", "cmid": 0} if diverging else {"colorscale": "Blues"}
    figure.update_layout(coloraxis={**scale, "colorbar": {"title": {"text": axis, "side": "right"}}})
    return sized(figure, "grids", title, len(panels), PANEL)


def tradeoffs(table: pd.DataFrame, against: str, units: dict[str, str], title: str) -> go.Figure:
    """Draw one metric of several lists against each of the others, with both intervals.

    Args:
        table: rows `lists, metric, value, low, high`, as from `evaluation.diversity`; lists without the metric
            `against` are drawn as a line.
        against: metric on the vertical axis.
        units: axis titles of the other metrics, by name.
        title: title of the figure.
    """
    of_metric = dict(iter(table.groupby("metric")))
    upright = of_metric[against].set_index("lists")
    tints = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(dict.fromkeys(table["lists"]))}
    figure, panels = panelled(table[table["metric"] != against], "metric", shared_yaxes=True)
    for place, (of_panel, where) in enumerate(panels):
        for row in of_panel.itertuples():
            said = {"name": short(row.lists, 40), "legendgroup": row.lists, "showlegend": place == 0}
            if row.lists not in upright.index:
                line = {"color": TRUTH, "width": 1.5, "dash": "dash"}
                figure.add_vline(x=row.value, line=line, **said, **where)
                continue
            chosen = of_panel[of_panel["lists"] == row.lists]
            figure.add_scatter(
                x=chosen["value"], y=upright.loc[[row.lists], "value"], mode="markers",
                marker={"color": tints[row.lists], "size": 10}, error_x=whiskers(chosen, tints[row.lists]),
                error_y=whiskers(upright.loc[[row.lists]], tints[row.lists]),
                hovertemplate=f"{against} %{{y:.4f}}, {row.metric} %{{x:.4f}}", **said, **where,
            )  # fmt: skip
        figure.update_xaxes(title=units[of_panel["metric"].iloc[0]], **where)
    figure.update_yaxes(title=against, col=1)
    return sized(figure, "tradeoffs", title, len(panels), PANEL)


def panelled(
    table: pd.DataFrame, panel: str, height: float = PANEL, **shared: bool | str
) -> tuple[go.Figure, list[tuple[pd.DataFrame, dict]]]:
    """Return an empty figure with a panel for each value of a column, and each panel's rows and position."""
    names = list(dict.fromkeys(table[panel])) if panel else [""]
    down = -(-len(names) // ACROSS)
    across = -(-len(names) // down)  # four panels are two by two
    titles = [short(name, 40) for name in names] if panel else None
    gap = GAP / (down * height + GAP * (down - 1)) if down > 1 else 0
    figure = make_subplots(down, across, subplot_titles=titles, vertical_spacing=gap, **shared)
    rows = [table[table[panel] == name] if panel else table for name in names]
    return figure, [
        (of_panel, {"row": place // across + 1, "col": place % across + 1}) for place, of_panel in enumerate(rows)
    ]


def sized(figure: go.Figure, name: str, title: str, panels: int, height: float) -> go.Figure:
    """Return the figure with its name, title, and room for a number of panels with a height in pixels."""
    down = -(-panels // ACROSS)
    figure = styled(figure, name, short(title, 200), int(170 + down * height + GAP * (down - 1)))
    return figure.update_layout(legend_y=-70 / (down * height + GAP * (down - 1)))
