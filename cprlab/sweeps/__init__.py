"""Sweeps: many runs asked for as one grid, and what they say together."""

from cprlab.sweeps.ablation import contributions
from cprlab.sweeps.grid import SIZES, Grid, Size, Trial
from cprlab.sweeps.results import Results, run_trials
from cprlab.sweeps.statistics import gains, means, significance, trends
from cprlab.sweeps.tuning import tuned, tuning_gains

__all__ = [
    "SIZES",
    "Grid",
    "Results",
    "Size",
    "Trial",
    "contributions",
    "gains",
    "means",
    "run_trials",
    "significance",
    "trends",
    "tuned",
    "tuning_gains",
]
