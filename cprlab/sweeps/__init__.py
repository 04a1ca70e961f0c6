"""Sweeps: many runs asked for as one grid, and what they say together."""

from cprlab.sweeps.grid import SIZES, Grid, Size, Trial
from cprlab.sweeps.results import Results, run_trials
from cprlab.sweeps.statistics import by_bins, gains, means

__all__ = ["SIZES", "Grid", "Results", "Size", "Trial", "by_bins", "gains", "means", "run_trials"]
