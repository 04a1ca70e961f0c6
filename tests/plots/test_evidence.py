"""Figures of kept runs: what is drawn is the table, and titles are text."""

import numpy as np
import pandas as pd
import pytest

from cprlab import plots


def test_a_ladder_has_a_line_for_each_head_and_a_panel_for_each_group():
    rows = [
        (head, colour, panel, place / 10, place / 10 - 0.01, place / 10 + 0.02)
        for place, head in enumerate(["Popular", "Softmax", "<b>CPR</b>"])
        for colour in ("GRU4Rec", "SASRec")
        for panel in ("all", "new")
    ]
    table = pd.DataFrame(rows, columns=["head", "colour", "panel", "value", "low", "high"])
    figure = plots.ladder(table, "A <i>title</i>")
    assert figure.layout.title.text == "A &lt;i&gt;title&lt;/i&gt;"
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;CPR&lt;/b&gt;", "Softmax", "Popular"]
    assert [note.text for note in figure.layout.annotations] == ["all", "new"]
    assert [trace.name for trace in figure.data] == ["GRU4Rec", "SASRec"] * 2
    for trace in figure.data:
        assert list(trace.x) == [0, 0.1, 0.2]
        assert np.argsort(trace.y).tolist() == [2, 1, 0]  # the first head is on top
        np.testing.assert_allclose(trace.error_x.array, 0.02)
        np.testing.assert_allclose(trace.error_x.arrayminus, 0.01)


def test_a_waterfall_ends_at_the_sum_of_its_steps():
    values = [0.7, -0.05, 0.01]
    table = pd.DataFrame({"panel": "log", "head": ["Softmax", "+ B", "CPR"], "value": values, "low": -0.1, "high": 0.8})
    figure = plots.waterfall(table, "nats", "nats", {"log": 0.65})
    bars, dots = figure.data
    assert list(bars.measure) == ["absolute", "relative", "relative", "total"]
    assert list(bars.text) == ["0.700", "-0.050", "+0.010", "0.660"]
    assert list(dots.y) == pytest.approx([0.65, 0.66])
    assert figure.layout.shapes[0].y0 == 0.65
    low, high = figure.layout.yaxis.range
    assert low < 0.65
    assert high > 0.7
    assert not plots.waterfall(table, "nats", "nats", {}).layout.shapes


def test_reliability_draws_bins_and_how_many_were_told_what():
    bins = pd.DataFrame({"predicted": [0.1, 0.6], "observed": [0.2, 0.5], "low": 0.05, "high": 0.7, "n": [3, 4]})
    shares = np.array([0.01, 0.05, 0.13, 0.6, 0.61, 0.99, 1.0])
    tables = {"Softmax": bins, "Recent": bins[:0]}  # what only ranks says nothing
    figure = plots.reliability(tables, {"Softmax": shares, "Recent": shares * np.nan}, "title")
    diagonal, curve, counts = figure.data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert (list(curve.x), list(curve.y)) == ([0.1, 0.6], [0.2, 0.5])
    steps = np.array(counts.y)[::2]
    assert (steps == np.histogram(shares, 25, (0, 1))[0]).all()
    assert steps.sum() == 7


def test_learning_draws_each_run_and_the_epoch_that_was_kept():
    curves = pd.DataFrame({"panel": "log, GRU4Rec", "head": "Softmax", "epoch": [1, 2, 3], "ndcg": [0.1, 0.3, 0.2]})
    line, dot = plots.learning(curves, "title", curves.iloc[[1]]).data
    assert (list(line.x), list(line.y)) == ([1, 2, 3], [0.1, 0.3, 0.2])
    assert (list(dot.x), list(dot.y)) == ([2], [0.3])


def test_a_plane_draws_the_state_at_a_right_angle_to_lines_of_equal_score():
    items = np.array([[0.0, 0.0], [4.0, 2.0], [1.0, 3.0]])
    states = [(1.0, 2.0), (-3.0, 0.5)]
    figure = plots.plane(items, ["<b>a</b>", "b", "c"], [0], states, "title")
    points, lines, arrow, bars = figure.data
    assert points.text[0] == "&lt;b&gt;a&lt;/b&gt;"
    assert len(figure.frames) == len(figure.layout.sliders[0].steps) == 2
    drawn = [(figure.data[1], figure.data[2], figure.data[3], states[0])]
    drawn += [(*frame.data, state) for frame, state in zip(figure.frames, states, strict=True)]
    for lines, arrow, bars, state in drawn:
        along = np.array([arrow.x[1] - arrow.x[0], arrow.y[1] - arrow.y[0]])
        assert along @ np.array([-state[1], state[0]]) == pytest.approx(0, abs=1e-9)
        assert along @ state > 0
        scores = np.column_stack([lines.x, lines.y]) @ np.array(state)
        for start in range(0, len(scores), 3):
            assert scores[start] == pytest.approx(scores[start + 1])
        logits = items @ np.array(state)
        np.testing.assert_allclose(bars.x, np.exp(logits) / np.exp(logits).sum())
