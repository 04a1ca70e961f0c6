"""Grids and curves: every value of the table stands at its place, panels are titled, and titles are text."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cprlab import plots

RATES, DROPOUTS = (0.001, 0.004, 0.0005), (0.5, 0.0)


def values(**labels):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(list(itertools.product(*labels.values())), columns=list(labels))
    table = table.assign(value=rng.normal(size=len(table)))
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.3)


@pytest.mark.parametrize("diverging", [False, True])
def test_grids_show_each_value_at_its_pair_in_the_panel_of_its_head(diverging):
    table = values(head=("Softmax", "<b>C</b>"), rate=RATES, dropout=DROPOUTS)
    figure = plots.grids(table, "rate", "dropout", "What is seen", "NDCG@10", "head", diverging=diverging)
    assert [note.text for note in figure.layout.annotations] == ["Softmax", "&lt;b&gt;C&lt;/b&gt;"]
    assert figure.layout.title.text == "What is seen"
    assert figure.layout.coloraxis.colorbar.title.text == "NDCG@10"
    assert figure.layout.coloraxis.cmid == (0 if diverging else None)
    assert [figure.layout[axis].title.text for axis in ("xaxis", "xaxis2", "yaxis")] == ["rate", "rate", "dropout"]
    for trace, (_, rows) in zip(figure.data, table.groupby("head", sort=False), strict=True):
        assert list(trace.x) == ["0.0005", "0.001", "0.004"]
        assert list(trace.y) == ["0.0", "0.5"]
        assert trace.coloraxis == "coloraxis"
        assert "z" in trace.texttemplate
        for row in rows.itertuples():
            drawn = trace.z[list(trace.y).index(str(row.dropout))][list(trace.x).index(str(row.rate))]
            assert drawn == row.value


def test_a_grid_without_panels_is_one_heatmap_and_a_pair_twice_is_refused():
    table = values(rate=RATES, dropout=DROPOUTS)
    assert len(plots.grids(table, "rate", "dropout", "one", "NDCG@10").data) == 1
    with pytest.raises(ValueError, match="duplicate"):
        plots.grids(pd.concat([table, table]), "rate", "dropout", "one", "NDCG@10")


@pytest.mark.parametrize(("panels", "across", "down"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_panels_fill_their_rows(panels, across, down):
    figure = plots.grids(values(head=range(panels), a=(1, 2), b=(1, 2)), "a", "b", "many", "x", "head")
    axes = [figure.layout["xaxis" + (str(place) if place > 1 else "")].domain[0] for place in range(1, panels + 1)]
    rows = {figure.layout["yaxis" + (str(place) if place > 1 else "")].domain[0] for place in range(1, panels + 1)}
    assert (len(set(axes)), len(rows)) == (across, down)


def test_curves_have_a_line_a_head_with_its_intervals_and_one_legend():
    table = values(data=("one", "<i>two</i>"), head=("Softmax", "<b>C</b>"), d=(16, 64, 128))
    figure = plots.curves(table, "d", "head", "What is seen", "NDCG@10", "data", "hidden size d", doubling=True)
    assert [note.text for note in figure.layout.annotations] == ["one", "&lt;i&gt;two&lt;/i&gt;"]
    assert [(trace.name, trace.showlegend) for trace in figure.data] == [
        ("Softmax", True), ("&lt;b&gt;C&lt;/b&gt;", True), ("Softmax", False), ("&lt;b&gt;C&lt;/b&gt;", False),
    ]  # fmt: skip
    for trace, (_, rows) in zip(figure.data, table.groupby(["data", "head"], sort=False), strict=True):
        np.testing.assert_array_equal(trace.x, rows["d"])
        np.testing.assert_array_equal(trace.y, rows["value"])
        np.testing.assert_allclose(trace.y - trace.error_y.arrayminus, rows["low"])
        np.testing.assert_allclose(trace.y + trace.error_y.array, rows["high"])
    assert figure.data[0].line.color == figure.data[2].line.color != figure.data[1].line.color
    for axis in (figure.layout.xaxis, figure.layout.xaxis2):
        assert (axis.title.text, axis.type, list(axis.ticktext)) == ("hidden size d", "log", ["16", "64", "128"])
    assert figure.layout.yaxis.title.text == "NDCG@10"
    assert plots.curves(table, "d", "head", "linear", "NDCG@10", "data").layout.xaxis.type is None


@pytest.mark.parametrize("heads", [1, 9])
def test_gains_in_two_rows_of_panels_leave_room_between_them_for_two_titles_and_the_ticks(heads):
    table = values(head=[f"head {place}" for place in range(heads)], cases=("all", "new"), data=("a", "b", "c", "d"))
    figure = plots.gains(table, "head", "cases", "What is seen", "NDCG@10", "data")
    layout = figure.layout
    pixels = layout.height - layout.margin.t - layout.margin.b
    assert (layout.yaxis.domain[0] - layout.yaxis3.domain[1]) * pixels == pytest.approx(85, abs=1)
    for trace, ((_, _), rows) in zip(figure.data, table.groupby(["data", "cases"]), strict=True):
        assert list(trace.x) == list(rows["value"])
        assert trace.error_x.array == pytest.approx(np.full(heads, 0.3))
        assert trace.error_x.arrayminus == pytest.approx(np.full(heads, 0.1))
        assert np.diff(trace.y) == pytest.approx(np.full(heads - 1, -1))


def test_titles_and_ticks_are_text():
    hostile = "<b>a</b> & <a href='x'>"
    table = pd.DataFrame({"value": [0.1], "low": [0.0], "high": [0.2], "row": [hostile], "of": [hostile], "at": [1]})
    figures = [
        plots.gains(table, "row", "of", hostile, "gain"),
        plots.curves(table, "at", "of", hostile, "gain", "row"),
        plots.grids(table, "row", "of", hostile, "gain"),
    ]
    for figure in figures:
        assert figure.layout.title.text == "&lt;b&gt;a&lt;/b&gt; &amp; &lt;a href='x'&gt;"
        assert "<b>" not in figure.to_json().replace(r"\u003c", "<")
