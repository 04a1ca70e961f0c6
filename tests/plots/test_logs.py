"""Figures of logs: all of the table is drawn, by log, and names are text."""

import numpy as np
import pandas as pd

from cprlab import plots
from cprlab.data import repeat_curve, repeat_gaps
from tests.data.test_sequences import sequences_of

REPEATING = sequences_of([[1, 2, 1, 3, 1]] * 30 + [[1, 2, 3, 4, 5]] * 20 + [[1, 1, 2, 3, 4]] * 3, 50)
LOGS = {"<b>again</b>": REPEATING, "once": sequences_of([[1, 2, 3, 4, 5]] * 25, 50)}


def test_a_curve_leaves_out_what_too_few_users_say():
    curve = repeat_curve(REPEATING)
    figure = plots.repeat_curve(curve)
    assert figure.layout.meta["name"] == "repeat_curve"
    for trace, prefix in zip(figure.data, ("has repeats", "no repeat yet"), strict=True):
        rows = curve[(curve["prefix"] == prefix) & (curve["n"] >= 20)]
        assert trace.name == f"prefix {prefix}"
        np.testing.assert_array_equal(trace.x, rows["position"])
        np.testing.assert_array_equal(trace.y, rows["share"])
        np.testing.assert_array_equal(trace.customdata, rows[["n", "low", "high"]])
    assert list(figure.data[0].x) == [4, 5]  # three users repeat at once, too few


def test_each_log_has_a_panel_on_one_scale_and_the_legend_names_a_line_once():
    curve = pd.concat([repeat_curve(sequences).assign(data=name) for name, sequences in LOGS.items()])
    figure = plots.repeat_curve(curve, "data")
    assert [note.text for note in figure.layout.annotations] == ["&lt;b&gt;again&lt;/b&gt;", "once"]
    assert [(trace.xaxis, trace.showlegend) for trace in figure.data] == [("x", True)] * 2 + [("x2", False)] * 2
    assert list(figure.data[3].y) == [0, 0, 0, 0]
    assert figure.layout.yaxis2.matches == "y"


def test_gaps_have_a_line_for_each_log_that_repeats_and_one_at_what_is_read():
    gaps = pd.concat([repeat_gaps(sequences).assign(data=name) for name, sequences in LOGS.items()])
    figure = plots.repeat_gaps(gaps, 50)
    assert [trace.name for trace in figure.data] == ["&lt;b&gt;again&lt;/b&gt;", "model input length"]
    assert list(figure.data[0].x) == [1, 2]
    np.testing.assert_allclose(figure.data[0].y, [3 / 63, 1])
    assert list(figure.data[1].x) == [50, 50]
    assert figure.layout.xaxis.type == "log"
    assert [trace.name for trace in plots.repeat_gaps(gaps[:0], 50).data] == ["model input length"]
