"""The figure of a retrofit: every part is where its differences put it, and coloured by its verdict."""

import numpy as np
import pandas as pd
import pytest

from cprlab import plots
from cprlab.probes import PARTS, retrofits
from cprlab.studies.retrofit import SHOWN
from tests.probes.test_cheapest import drawn


@pytest.fixture(scope="module")
def tables():
    return {part: found.table for part, found in retrofits(drawn((2.0, 0, 0, 0), m=400)).items()}


def test_points_are_what_parts_reach_and_whiskers_the_paired_interval(tables):
    figure = plots.retrofit(pd.concat(tables.values()), SHOWN, "B", "<title>")
    assert len(figure.data) == len(SHOWN) * len(PARTS)
    drawn_parts = iter(figure.data)
    for metric, cases in SHOWN:
        for part in PARTS:
            trace, rows = next(drawn_parts), tables[part]
            of = rows[(rows["metric"] == metric) & (rows["cases"] == cases)].set_index("model")
            assert trace.y[0] == f"+ {part}"
            assert trace.x[0] == pytest.approx(of.loc["after", "value"])
            change = of.loc["difference"]
            assert trace.error_x.array[0] == pytest.approx(change["high"] - change["value"])
            assert trace.error_x.arrayminus[0] == pytest.approx(change["value"] - change["low"])
            gain = change["value"] * (1 if metric == "NDCG@10" else -1)
            shown = "no difference shown" if change["low"] <= 0 <= change["high"] else "better" if gain > 0 else "worse"
            assert trace.name == shown
    assert {trace.name for trace in figure.data} >= {"better", "no difference shown"}
    assert sum(bool(trace.showlegend) for trace in figure.data) == len({trace.name for trace in figure.data})


def test_the_panels_titles_say_before_and_after_of_the_part_named(tables):
    rows = tables["F"].query("metric == 'loss on whether' and cases == 'all'").set_index("model")["value"]
    figure = plots.retrofit(tables["F"], SHOWN, "F", "")
    assert figure.layout.annotations[1].text == f"loss on whether: {rows['before']:.3f} → {rows['after']:.3f}"
    nothing = plots.retrofit(tables["F"], SHOWN, "nothing", "")
    assert nothing.layout.annotations[1].text == f"loss on whether: {rows['before']:.3f}"


def test_groups_without_cases_have_no_panel_and_all_points_are_in_sight(tables):
    table = tables["F"].query("cases == 'all'")
    figure = plots.retrofit(table, SHOWN, "F", "")
    assert len(figure.data) == 4
    for place, trace in enumerate(figure.data):
        low, high = figure.layout[f"xaxis{place + 1 if place else ''}"].range
        before = table.query("metric == @SHOWN[@place][0] and model == 'before'")["value"].iloc[0]
        points = np.array([before, trace.x[0] - trace.error_x.arrayminus[0], trace.x[0] + trace.error_x.array[0]])
        assert low < points.min()
        assert points.max() < high
