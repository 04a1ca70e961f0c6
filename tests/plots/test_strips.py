"""The scores of all items: bars count the others, marks lie where their probability is, lines lead from f_V alone."""

import numpy as np
import pandas as pd
import pytest

from cprlab import plots

NAMES = ["<b>Alien</b>", "Up", "Brazil", "Ran"]


def scored(model, probabilities, alone):
    """Five hundred items, of which the first are marked: two of the history, one that interferes, the next one."""
    rest = np.random.default_rng(0).dirichlet(np.full(500 - len(probabilities), 0.3)) * (1 - sum(probabilities))
    p = np.concatenate([probabilities, rest])
    kinds = ["history", "history", "interfering", "target"] + ["other"] * (500 - len(probabilities))
    with np.errstate(divide="ignore"):
        scores = np.log(p)
    start = np.where(np.arange(500) < len(alone), np.resize(np.log(alone or [1]), 500), scores) if alone else np.nan
    table = pd.DataFrame({"model": model, "item": np.arange(500), "kind": kinds, "log_probability": scores})
    table["title"] = [*NAMES, *[f"item {item}" for item in range(4, 500)]]
    return table.assign(
        alone=start,
        logit=scores + 3 if alone else np.nan,
        probability=p,
        rank=table["log_probability"].rank(ascending=False).astype(int),
    )


@pytest.fixture(scope="module")
def table():
    return pd.concat(
        [scored("CPR", [0.3, 0.1, 0.01, 0.2], [0.001, 1e-30]), scored("mixture", [0.02, 0, 0.1, 0.005], [])],
        ignore_index=True,
    )


def test_marks_lie_at_their_probability_and_bars_count_the_others(table):
    figure = plots.scores(table, "User <i>7</i>")
    assert figure.layout.meta["name"] == "scores"
    assert [note.text for note in figure.layout.annotations] == ["CPR", "mixture"]
    low = figure.layout.xaxis.range[0] + 0.1
    for place, (model, rows) in enumerate(table.groupby("model", sort=False)):
        drawn = [trace for trace in figure.data if trace.xaxis == ("x", "x2")[place]]
        (bars,) = (trace for trace in drawn if trace.type == "bar")
        others = rows[rows["kind"] == "other"]
        assert sum(bars.customdata) == len(others)
        within = (
            np.abs(np.log10(others["probability"].to_numpy())[:, None].clip(low) - bars.x) <= bars.width[0] / 2 + 1e-9
        )
        np.testing.assert_array_equal(within.sum(0), bars.customdata, err_msg=model)
        marks = {trace.name: trace for trace in drawn if trace.type == "scatter" and trace.mode == "markers"}
        assert set(marks) == {"history", "interfering", "target"}
        for kind, trace in marks.items():
            p = rows.loc[rows["kind"] == kind, "probability"].to_numpy()
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(trace.x, np.log10(p).clip(low))
            assert (trace.marker.color, trace.marker.symbol) == plots.KINDS[kind][:2]
        heights = [trace.y[0] for trace in marks.values()]
        assert min(heights) > 1 >= max(bars.y)
        assert len(set(heights)) == 3
        text = marks["history"].hovertext[0]
        assert text.startswith("&lt;b&gt;Alien&lt;/b&gt;: ")
        assert ("logit" in text) == (model == "CPR")
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert sorted(shown) == ["history", "interfering", "other items", "target"]


def test_a_line_leads_from_what_the_state_alone_gives(table):
    figure = plots.scores(table, "")
    lines = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
    starts, ends = np.array(lines[0].x).reshape(-1, 3)[:, :2].T
    np.testing.assert_allclose(starts, [-3, -9])  # 1e-30 lies beyond the axis
    np.testing.assert_allclose(ends, np.log10([0.3, 0.1]))
    assert len(lines[1].x) == 0  # of a mixture, nothing is known
    ticks = dict(zip(figure.layout.xaxis.tickvals, figure.layout.xaxis.ticktext, strict=True))
    assert [ticks[tick] for tick in (0, -1, -2, -3)] == ["100%", "10%", "1%", "0.1%"]
    assert figure.layout.xaxis.ticktext[0].startswith("≤ ")


def test_without_scores_it_says_so():
    figure = plots.scores(pd.DataFrame(columns=["model", "item"]), "Case 3")
    assert figure.layout.annotations[0].text == "No scores"
    assert len(figure.data) == 0
