"""Sweeps: a grid of many runs, and their joint results."""

from cprlab.sweeps.ablation import contributions
from cprlab.sweeps.grid import SIZES, Grid, Size, Trial
from cprlab.sweeps.results import Results, finished, run_trials
from cprlab.sweeps.tuning import comparable, tuned, tuning_gains

__all__ = [
    "SIZES",
    "Grid",
    "Results",
    "Size",
    "Trial",
    "comparable",
    "contributions",
    "finished",
    "run_trials",
    "tuned",
    "tuning_gains",
]
