"""Ranking over all items, split into repeats and new items, with intervals; and what a head copies."""

from cprlab.evaluation.cases import evaluate
from cprlab.evaluation.tables import METRICS, calibration, compare, summarise

__all__ = ["METRICS", "calibration", "compare", "evaluate", "summarise"]
