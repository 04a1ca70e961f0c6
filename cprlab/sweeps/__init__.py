"""Sweeps: many runs asked for as one grid, and what they say together."""

from cprlab.sweeps.grid import SIZES, Grid, Size, Trial
from cprlab.sweeps.results import Results, finished, run_trials
from cprlab.sweeps.statistics import gains, geometric_mean_gains, means, signed_ranks

__all__ = [
    "SIZES",
    "Grid",
    "Results",
    "Size",
    "Trial",
    "finished",
    "gains",
    "geometric_mean_gains",
    "means",
    "run_trials",
    "signed_ranks",
]
