"""Figures: each function turns a tidy table into a plotly Figure, whose name is in `layout.meta`."""

from cprlab.plots.cases import GLYPHS, example, leave_one_out, predictions
from cprlab.plots.evidence import ladder, learning, reliability, waterfall
from cprlab.plots.logs import repeat_curve, repeat_gaps
from cprlab.plots.maps import KINDS, item_map, neighbourhood
from cprlab.plots.planes import plane
from cprlab.plots.probes import dial, floor_by_width, loss_by_rank, loss_parts, retrofit, separable, spectra
from cprlab.plots.reports import by_length, metrics, planted, training
from cprlab.plots.strips import scores
from cprlab.plots.studies import curves, gains, grids, tradeoffs
from cprlab.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "GLYPHS",
    "KINDS",
    "by_length",
    "curves",
    "dial",
    "example",
    "floor_by_width",
    "gains",
    "grids",
    "item_map",
    "ladder",
    "learning",
    "leave_one_out",
    "loss_by_rank",
    "loss_parts",
    "metrics",
    "neighbourhood",
    "plane",
    "planted",
    "predictions",
    "reliability",
    "repeat_curve",
    "repeat_gaps",
    "retrofit",
    "scores",
    "separable",
    "spectra",
    "tradeoffs",
    "training",
    "waterfall",
]
