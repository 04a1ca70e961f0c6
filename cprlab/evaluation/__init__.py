"""Ranking over all items, split into repeats and new items, with intervals; and what a head copies."""

from cprlab.evaluation.cases import evaluate
from cprlab.evaluation.diversity import Lists, diversity, recommended, taken
from cprlab.evaluation.examples import RULE, Example, choose_examples
from cprlab.evaluation.tables import (
    METRICS,
    by_length,
    calibration,
    compare,
    interval,
    readable,
    side_by_side,
    summarise,
)

__all__ = [
    "METRICS",
    "RULE",
    "Example",
    "Lists",
    "by_length",
    "calibration",
    "choose_examples",
    "compare",
    "diversity",
    "evaluate",
    "interval",
    "readable",
    "recommended",
    "side_by_side",
    "summarise",
    "taken",
]
