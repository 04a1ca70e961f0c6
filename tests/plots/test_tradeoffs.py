"""Trade-offs: each list's two values and intervals stand in the panel of their metric, the reference is a line."""

import pandas as pd
import pytest

from cprlab import plots

UNITS = {"repeats": "share", "novelty": "bits", "coverage": "of all", "Gini": "0: alike"}


def test_a_point_for_each_head_in_each_panel_and_a_line_for_lists_without_accuracy():
    rows = [
        (name, metric, place + column / 10)
        for place, name in enumerate(("Softmax", "<b>C</b>", "taken"))
        for column, metric in enumerate(("NDCG@10", *UNITS))
        if (name, metric) != ("taken", "NDCG@10")
    ]
    table = pd.DataFrame(rows, columns=["lists", "metric", "value"])
    table = table.assign(low=table["value"] - 0.01, high=table["value"] + 0.03)
    figure = plots.tradeoffs(table, "NDCG@10", UNITS, "What is seen")
    assert figure.layout.meta["name"] == "tradeoffs"
    assert [note.text for note in figure.layout.annotations] == list(UNITS)
    assert [axis.title.text for axis in figure.select_xaxes()] == list(UNITS.values())
    assert figure.layout.yaxis.title.text == "NDCG@10"
    value = table.set_index(["lists", "metric"])["value"]
    drawn = {(trace.name, trace.xaxis): trace for trace in figure.data}
    assert len(drawn) == len(figure.data) == 2 * len(UNITS)
    for panel, metric in enumerate(UNITS):
        axis = "x" if panel == 0 else f"x{panel + 1}"
        for name, shown in (("Softmax", "Softmax"), ("<b>C</b>", "&lt;b&gt;C&lt;/b&gt;")):
            trace = drawn[shown, axis]
            assert (trace.x[0], trace.y[0]) == (value[name, metric], value[name, "NDCG@10"])
            for bars in (trace.error_x, trace.error_y):
                assert (bars.array[0], bars.arrayminus[0]) == pytest.approx((0.03, 0.01))
            assert trace.showlegend == (panel == 0)
    lines = [(shape.x0, shape.x1, shape.xref, shape.name) for shape in figure.layout.shapes]
    assert lines == [
        (value["taken", metric],) * 2 + ("x" if panel == 0 else f"x{panel + 1}", "taken")
        for panel, metric in enumerate(UNITS)
    ]
    assert len({trace.marker.color for trace in figure.data}) == 2
