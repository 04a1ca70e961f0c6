"""plane: items in a plane, a hidden state as an arrow with lines of equal score, and the softmax that it gives."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.special import softmax

from cprlab.plots.style import IN_HISTORY, NEW, TRUTH, short, styled

LINES = 5  # of equal score


def plane(
    items: np.ndarray,
    titles: Sequence[str],
    history: Sequence[int],
    states: Sequence[Sequence[float]],
    title: str,
    start: int = 0,
    note: str = "",
) -> go.Figure:
    """Draw items, a hidden state with lines of equal score, and its softmax; a slider chooses among several states.

    Args:
        items: (n, 2) positions of the items.
        titles: (n,) titles of the items.
        history: codes of the items of the history.
        states: (m, 2) hidden states. An arrow has the state's direction, and half the plane's width.
        title: title of the figure.
        start: index of the state that is shown first.
        note: axis title of the plane.
    """
    items = np.asarray(items, dtype=float)
    low, high = items.min(0), items.max(0)
    middle, reach = (low + high) / 2, 0.75 * max(float((high - low).max()), 1e-12)
    colours = [IN_HISTORY if code in history else NEW for code in range(len(items))]
    names = [short(name, 30) for name in titles]
    figure = make_subplots(1, 2, subplot_titles=("embeddings, and the state h", "softmax"), column_widths=[0.6, 0.4])
    figure.add_scatter(
        x=items[:, 0], y=items[:, 1], mode="markers+text", text=names, textposition="top center", showlegend=False,
        marker={"color": colours, "size": 14, "line": {"color": TRUTH, "width": 1}}, hoverinfo="text", row=1, col=1,
    )  # fmt: skip
    drawn = [_drawn(items, names, colours, np.asarray(state, dtype=float), middle, reach) for state in states]
    for trace, column in zip(drawn[start], (1, 1, 2), strict=True):
        figure.add_trace(trace, row=1, col=column)
    if len(states) > 1:
        figure.frames = [go.Frame(name=str(place), data=data, traces=[1, 2, 3]) for place, data in enumerate(drawn)]
        steps = [
            {"method": "animate", "label": f"{np.degrees(np.arctan2(state[1], state[0])):.0f}°",
             "args": [[str(place)], {"mode": "immediate", "frame": {"duration": 0}, "transition": {"duration": 0}}]}
            for place, state in enumerate(states)
        ]  # fmt: skip
        slider = {"active": start, "steps": steps, "currentvalue": {"prefix": "direction of h: "}, "y": -0.12}
        figure.update_layout(sliders=[slider])
    around = [[centre - 1.3 * reach, centre + 1.3 * reach] for centre in middle]
    figure.update_xaxes(range=around[0], zeroline=False, title=short(note, 140), row=1, col=1)
    figure.update_yaxes(range=around[1], zeroline=False, scaleanchor="x", row=1, col=1)
    figure.update_xaxes(range=[0, 1], tickformat=".0%", title="probability", row=1, col=2)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    return styled(figure, "plane", short(title, 110), 520).update_layout(showlegend=False)


def _drawn(
    items: np.ndarray, names: list[str], colours: list[str], state: np.ndarray, middle: np.ndarray, reach: float
) -> list[go.Scatter | go.Bar]:
    """Return the arrow of a state, its lines of equal score, and the bars of its softmax."""
    along = state / max(float(np.linalg.norm(state)), 1e-12)
    across = np.array([-along[1], along[0]])
    tip = middle + reach * along
    head = [tip - 0.12 * reach * (along + side * 0.5 * across) for side in (1, -1)]
    arrow = np.stack([middle, tip, head[0], tip, head[1]])
    lines = []
    for step in np.linspace(-1, 1, LINES):
        centre = middle + step * reach * along
        lines += [centre - 2 * reach * across, centre + 2 * reach * across, [np.nan, np.nan]]
    places = np.array(lines, dtype=float)
    return [
        go.Scatter(x=places[:, 0], y=places[:, 1], mode="lines", name="equal score", hoverinfo="skip",
                   line={"color": TRUTH, "width": 1, "dash": "dot"}),
        go.Scatter(x=arrow[:, 0], y=arrow[:, 1], mode="lines", name="h", line={"color": "#000000", "width": 3},
                   hoverinfo="skip"),
        go.Bar(x=softmax(items @ state), y=names, orientation="h", marker_color=colours, showlegend=False,
               hovertemplate="%{y}: %{x:.1%}"),
    ]  # fmt: skip
