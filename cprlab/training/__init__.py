"""Losses, the training loop, and run folders."""

from cprlab.training.abreast import train_all
from cprlab.training.loop import Training, TrainingConfig, fit
from cprlab.training.planted import fit_plan, planted_losses
from cprlab.training.runs import Run, RunConfig, Start, build, run_folder, train

__all__ = [
    "Run",
    "RunConfig",
    "Start",
    "Training",
    "TrainingConfig",
    "build",
    "fit",
    "fit_plan",
    "planted_losses",
    "run_folder",
    "train",
    "train_all",
]
