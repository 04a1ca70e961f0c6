"""Evaluation: ranking over all items, split into repeats and new items, with intervals; and how much a head copies."""

from cprlab.evaluation.bootstrap import FEW, FEW_OF_A_KIND, Estimate, estimate, judge
from cprlab.evaluation.cases import describe_cases, evaluate
from cprlab.evaluation.diversity import Lists, diversity, recommended, taken
from cprlab.evaluation.examples import RULE, Example, choose_examples, disagreements
from cprlab.evaluation.metrics import (
    BY_LENGTH,
    MAIN,
    METRICS,
    RANKING,
    SUMMARY,
    Metric,
    mean,
    user_means,
)
from cprlab.evaluation.scaling import Scaling, fit_shift, fit_temperature
from cprlab.evaluation.significance import holm_adjusted, signed_ranks, significance
from cprlab.evaluation.statistics import by_bins, gains, geometric_mean_gains, labelled, means, stacked, trends
from cprlab.evaluation.tables import calibration, overall, readable, side_by_side
from cprlab.evaluation.whether import knows_when

__all__ = [
    "BY_LENGTH",
    "FEW",
    "FEW_OF_A_KIND",
    "MAIN",
    "METRICS",
    "RANKING",
    "RULE",
    "SUMMARY",
    "Estimate",
    "Example",
    "Lists",
    "Metric",
    "Scaling",
    "by_bins",
    "calibration",
    "choose_examples",
    "describe_cases",
    "disagreements",
    "diversity",
    "estimate",
    "evaluate",
    "fit_shift",
    "fit_temperature",
    "gains",
    "geometric_mean_gains",
    "holm_adjusted",
    "judge",
    "knows_when",
    "labelled",
    "mean",
    "means",
    "overall",
    "readable",
    "recommended",
    "side_by_side",
    "signed_ranks",
    "significance",
    "stacked",
    "taken",
    "trends",
    "user_means",
]
