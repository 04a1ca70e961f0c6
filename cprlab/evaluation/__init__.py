"""Ranking over all items, split into repeats and new items, with intervals; and what a head copies."""

from cprlab.evaluation.cases import describe_cases, evaluate
from cprlab.evaluation.diversity import Lists, diversity, recommended, taken
from cprlab.evaluation.examples import RULE, Example, choose_examples
from cprlab.evaluation.metrics import LOWER_IS_BETTER, MAIN, METRICS, RANKING, SUMMARY, Metric, mean, user_means
from cprlab.evaluation.scaling import Scaling, fit_shift, fit_temperature
from cprlab.evaluation.tables import (
    by_length,
    calibration,
    compare,
    interval,
    readable,
    side_by_side,
    summarise,
)
from cprlab.evaluation.whether import knows_when

__all__ = [
    "LOWER_IS_BETTER",
    "MAIN",
    "METRICS",
    "RANKING",
    "RULE",
    "SUMMARY",
    "Example",
    "Lists",
    "Metric",
    "Scaling",
    "by_length",
    "calibration",
    "choose_examples",
    "compare",
    "describe_cases",
    "diversity",
    "evaluate",
    "fit_shift",
    "fit_temperature",
    "interval",
    "knows_when",
    "mean",
    "readable",
    "recommended",
    "side_by_side",
    "summarise",
    "taken",
    "user_means",
]
