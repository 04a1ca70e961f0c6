"""Figures of probes: all of the table is drawn, titles are text, and labels stand clear of one another."""

import numpy as np
import pandas as pd
import pytest

from cprlab import plots
from cprlab.probes import Snapshot, loss_by_rank, neighbourhood, spectra

N = 50


@pytest.fixture
def snapshot():
    rng = np.random.default_rng(1)
    titles = ["<b>Bold</b> & sons" if item == 3 else f"Title of item {item}" for item in range(N)]
    return Snapshot(
        rng.normal(size=(N, 6)), 3 * rng.normal(size=(9, 6)), [[3, 4, 5, 6, 7, 8]] * 9, [9] * 9, titles=titles
    )


def test_a_map_draws_all_kinds_and_takes_no_title_for_markup(snapshot):
    table = neighbourhood(snapshot, 0, [10, 11], n=20)
    figure = plots.neighbourhood(table, "Where <i>h</i> lies")
    assert figure.layout.meta["name"] == "neighbourhood"
    assert figure.layout.title.text == "Where &lt;i&gt;h&lt;/i&gt; lies"
    assert {trace.name: len(trace.x) for trace in figure.data} == {
        "other": 20, "history": 6, "interfering": 2, "target": 1, "hidden state": 1,
    }  # fmt: skip
    history = figure.data[1]
    for texts in (history.text, history.hovertext):
        assert "&lt;b&gt;Bold&lt;/b&gt; &amp; sons" in texts
    for trace in figure.data:
        rows = table[table["kind"] == trace.name]
        np.testing.assert_array_equal(np.column_stack([trace.x, trace.y]), rows[["x", "y"]])
    assert not any(figure.data[0].text)  # other items have no label
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == 5
    items = table[table["item"] >= 0]
    share = np.linalg.svd(snapshot.item_embeddings[items["item"]] - snapshot.item_embeddings[items["item"]].mean(0))[1]
    assert f"{(share[:2] ** 2).sum() / (share**2).sum():.0%}" in figure.layout.xaxis.title.text


def test_a_map_of_items_that_are_all_the_same_says_so():
    snapshot = Snapshot(np.ones((5, 2)), np.ones((2, 2)), [[1], [2, 3]], [2, 3])
    figure = plots.neighbourhood(neighbourhood(snapshot, 0, [3], n=5), "a title")
    assert figure.layout.xaxis.title.text == "these items have the same embedding"


def test_of_points_at_one_place_the_most_telling_get_the_labels():
    kinds = ["history"] * 12 + ["interfering", "target", "hidden state", "other", "other"]
    table = pd.DataFrame({"item": range(17), "title": "a title", "kind": kinds, "x": 0.0, "y": 0.0, "off_plane": 0.0})
    table.loc[15:, ["x", "y"]] = [[-1, -1], [1, 1]]
    figure = plots.neighbourhood(table, "crowded")
    labels = {trace.name: [text for text in trace.text if text] for trace in figure.data}
    assert labels["hidden state"] == labels["target"] == labels["interfering"] == ["a title"]
    assert 0 < len(labels["history"]) < 12
    sides = [side for trace in figure.data for text, side in zip(trace.text, trace.textposition, strict=True) if text]
    assert len(set(sides)) == len(sides)


def test_spectra_have_a_panel_a_matrix_and_a_line_a_model(snapshot):
    table = spectra(snapshot)
    figure = plots.spectra({"one": table, "<b>two</b>": table})
    assert [trace.name for trace in figure.data] == ["one"] * 2 + ["&lt;b&gt;two&lt;/b&gt;"] * 2
    assert [note.text for note in figure.layout.annotations] == ["item embeddings", "log-probabilities"]
    np.testing.assert_array_equal(figure.data[0].y, table["share"][table["matrix"] == "item embeddings"])
    assert figure.data[0].line.dash != figure.data[2].line.dash


def test_leave_one_out_has_a_bar_an_item_with_its_title():
    titles = np.array(["<b>Bold</b>", "plain"])
    table = pd.DataFrame({"case": 0, "position": [3, 4, 5], "item": [0, 1, 0], "copy_change": [0.1, -0.2, 0.3]})
    figure = plots.leave_one_out(table.assign(target_change=[1.0, 2.0, -3.0]), titles)
    assert [list(trace.x) for trace in figure.data] == [[0.1, -0.2, 0.3], [1, 2, -3]]
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;Bold&lt;/b&gt;", "plain", "&lt;b&gt;Bold&lt;/b&gt;"]
    assert len(plots.leave_one_out(table.assign(target_change=np.nan), titles).data) == 1


@pytest.fixture
def predicted():
    """Two models' five best: what `Explorer.predictions` returns."""
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"model": ["one"] * 5 + ["<b>two</b>"] * 5, "place": [*range(1, 6)] * 2})
    table["probability"] = [0.3, 0.2, 0.1, 0.05, 0.04, 0.6, 0.1, 0.05, 0.02, 0.01]
    return table.assign(
        item=rng.permutation(10),
        title=["<i>first</i>", *"bcdefghij"],
        kind=["target", "history", "new", "new", "history"] * 2,
        partition=["V", "C", "R:5", "V", "C"] * 2,
    )


HEADS = {"one": ["one", "copy 3%"], "<b>two</b>": ["<b>two</b>"]}


def bars(figure):
    """Return each bar of a figure: its axis, place, length, colour and what it says."""
    return {
        (trace.xaxis, place): (length, trace.marker.color, *said)
        for trace in figure.data
        if trace.type == "bar"
        for place, length, said in zip(trace.y, trace.x, trace.customdata, strict=True)
    }


def test_predictions_are_bars_on_one_scale_with_a_colour_and_a_glyph_a_kind(predicted):
    figure = plots.predictions(predicted, HEADS, "A <u>user</u>")
    drawn = bars(figure)
    assert len(drawn) == len(predicted)
    for row in predicted.itertuples():
        length, colour, title, kind, partition = drawn["x" if row.model == "one" else "x2", row.place]
        assert (length, kind, partition) == (row.probability, row.kind, row.partition)
        assert colour == plots.KINDS[row.kind][0]
        assert title == row.title.replace("<", "&lt;").replace(">", "&gt;")
    assert figure.layout.yaxis.ticktext == ("&lt;i&gt;first&lt;/i&gt; ★", "b ●", "c ◆", "d ◆", "e ●")
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert 0.6 < figure.layout.xaxis.range[1] < 0.7
    assert [note.text for note in figure.layout.annotations] == ["one<br>copy 3%", "&lt;b&gt;two&lt;/b&gt;"]
    assert figure.layout.title.text == "A &lt;u&gt;user&lt;/u&gt;"
    assert [trace.name for trace in figure.data if trace.showlegend is None] == ["◆ new", "● history", "★ target"]


def test_predictions_may_be_coloured_by_partition_and_show_the_pin(predicted):
    table = predicted.assign(pinned_probability=predicted["probability"] + 0.2)
    figure = plots.predictions(table, HEADS, "pinned", "partition")
    colours = {}
    for _, colour, _, _, partition in bars(figure).values():
        colours.setdefault(partition, set()).add(colour)
    assert sorted(colours) == ["C", "R:5", "V"]
    assert len(set().union(*colours.values())) == 3
    assert {len(found) for found in colours.values()} == {1}
    pins = [trace for trace in figure.data if trace.type == "scatter" and trace.x[0] is not None]
    np.testing.assert_allclose(np.concatenate([trace.x for trace in pins]), table["pinned_probability"])
    assert figure.layout.xaxis.range[1] > 0.8


def test_predictions_of_four_models_stand_two_by_two(predicted):
    table = pd.concat([predicted.assign(model=f"{pair}{half}") for pair in "ab" for half in "xy"])
    figure = plots.predictions(
        table.drop_duplicates(["model", "place"]), {name: [name] for name in set(table["model"])}, "four"
    )
    assert {trace.xaxis for trace in figure.data if trace.type == "bar"} == {"x", "x2", "x3", "x4"}
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis3.domain[1]


def test_an_item_map_draws_its_table_and_takes_no_note_for_markup():
    table = pd.DataFrame({"item": [4, 5, -1], "title": ["a", "<b>b</b>", "hidden state V"]})
    table = table.assign(kind=["other", "new", "hidden state"], x=[0.0, 1.0, 2.0], y=[1.0, -1.0, 0.5])
    figure = plots.item_map(table, "a <b>plane</b>", "whose")
    assert figure.layout.meta["name"] == "item_map"
    assert figure.layout.xaxis.title.text == "a &lt;b&gt;plane&lt;/b&gt;"
    drawn = {trace.name: (trace.x[0], trace.y[0], trace.hovertext[0]) for trace in figure.data}
    assert drawn == {
        "other": (0, 1, "a"), "new": (1, -1, "&lt;b&gt;b&lt;/b&gt;"), "hidden state": (2, 0.5, "hidden state V"),
    }  # fmt: skip
    assert len(plots.item_map(table[:0], "There is no map.", "whose").data) == 0


def test_floors_by_width_have_a_panel_a_model_a_line_a_norm_and_the_trained_floor_across():
    columns = ["embedding", "dimensions", "norms", "value", "low", "high", "n"]
    rows = [("trained", 6, 1.0, 0.5, 0.4, 0.6, 9)]
    rows += [("free", d, norm, 1 / d / norm, 0.9 / d / norm, 1.2 / d / norm, 9) for norm in (1.0, 2.0) for d in (4, 8)]
    table = pd.DataFrame(rows, columns=columns)
    figure = plots.floor_by_width({"<b>two</b>": table.iloc[:3], "one": table})
    assert figure.layout.meta["name"] == "floor_by_width"
    assert [note.text for note in figure.layout.annotations] == ["&lt;b&gt;two&lt;/b&gt;", "one"]
    free = "free, norms at most {} × the trained ones"
    names = ["trained embeddings", free.format(1), "trained embeddings", free.format(1), free.format(2)]
    assert [trace.name for trace in figure.data] == names
    assert [trace.name for trace in figure.data if trace.showlegend] == names[:2] + names[-1:]
    np.testing.assert_array_equal(figure.data[-1].x, [4, 8])
    np.testing.assert_allclose(figure.data[-1].y, [1 / 8, 1 / 16])
    np.testing.assert_allclose(figure.data[-1].error_y.array, [0.2 / 8, 0.2 / 16])
    assert [line.y0 for line in figure.layout.shapes] == [0.5, 0.5]


def test_losses_by_rank_have_a_panel_a_metric_and_a_line_a_group():
    rng = np.random.default_rng(0)
    histories = [rng.choice(N, 5) for _ in range(30)]
    targets = [history[0] if case % 2 else 0 for case, history in enumerate(histories)]
    table = loss_by_rank(Snapshot(rng.normal(size=(N, 4)), rng.normal(size=(30, 4)), histories, targets), (1, 4))
    figure = plots.loss_by_rank({"one": table})
    assert figure.layout.meta["name"] == "loss_by_rank"
    assert [note.text for note in figure.layout.annotations] == ["log-loss", "copy probability", "NDCG@10"]
    assert [trace.name for trace in figure.data] == ["all", "repeat", "new"] * 3
    shown = table.query("ranking == 'raw' and metric == 'NDCG@10' and cases == 'new'")
    np.testing.assert_array_equal(figure.data[-1].x, [1, 4])
    np.testing.assert_array_equal(figure.data[-1].y, shown["value"])
    new = table[table["cases"] != "repeat"]
    both = plots.loss_by_rank({"<b>two</b>": new, "one": table})
    assert both.layout.annotations[0].text == "&lt;b&gt;two&lt;/b&gt;: log-loss"
    assert [trace.name for trace in both.data if trace.showlegend] == ["all", "new", "repeat"]
    assert len({(trace.name, trace.line.color) for trace in both.data}) == 3  # one colour a group, in all panels
