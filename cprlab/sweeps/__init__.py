"""Sweeps: many runs asked for as one grid, and what they say together."""

from cprlab.sweeps.ablation import contributions
from cprlab.sweeps.grid import SIZES, Grid, Size, Trial
from cprlab.sweeps.results import Results, finished, run_trials
from cprlab.sweeps.significance import signed_ranks, significance
from cprlab.sweeps.statistics import by_bins, gains, geometric_mean_gains, means, trends
from cprlab.sweeps.tuning import comparable, tuned, tuning_gains

__all__ = [
    "SIZES",
    "Grid",
    "Results",
    "Size",
    "Trial",
    "by_bins",
    "comparable",
    "contributions",
    "finished",
    "gains",
    "geometric_mean_gains",
    "means",
    "run_trials",
    "signed_ranks",
    "significance",
    "trends",
    "tuned",
    "tuning_gains",
]
