"""run_trials: train the runs that do not exist yet, and return all runs' test cases in one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from cprlab.data import Sequences
from cprlab.errors import ConfigError
from cprlab.evaluation import labelled
from cprlab.sweeps.grid import Trial
from cprlab.training import Run, run_folder, train
from cprlab.training.loop import Device


@dataclass(frozen=True)
class Results:
    """Results of a grid.

    Attributes:
        table: one row per run: its labels (`data, encoder, head`, each setting, `seed`), `validation` (NDCG@10 of the
            best epoch, used to choose settings), `best_epoch`, `epochs` (number trained, unless it is a label),
            `seconds` (of training), `folder`.
        cases: one row per run and test user: the labels, then the columns of `evaluation.evaluate`.
    """

    table: pd.DataFrame
    cases: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """Labels that identify a run: `data, encoder, head`, each setting, `seed`."""
        return list(self.table.columns[: self.table.columns.get_loc("validation")])

    def run(self, **labels: Any) -> Run:
        """Return the run with these labels.

        Raises:
            ConfigError: there is no such run, or more than one.
        """
        chosen = self.table
        for name, value in labels.items():
            chosen = chosen[chosen[name] == value]
        if len(chosen) != 1:
            raise ConfigError(f"{len(chosen)} runs have the labels {labels}; name labels that fit exactly one.")
        return Run.load(chosen["folder"].item())


def run_trials(
    trials: Sequence[Trial], logs: dict[str, Sequences], runs: Path | str = "runs", device: Device = "auto"
) -> Results:
    """Train the trials that are not in `runs` yet, one after the other, and load the others.

    Args:
        trials: from `Grid.trials`.
        logs: logs by the trials' label `data`.
        runs: folder of run folders.
        device: where to train.

    Raises:
        CprlabError: a head does not fit its data, training diverged, or the folder cannot be written.
    """
    rows, cases = [], []
    for trial in tqdm(trials, desc="runs", unit=" runs"):
        run = train(logs[trial.labels["data"]], trial.config, runs, device)
        rows.append(trial.labels | described(run) | trial.labels)  # a setting may be called `epochs`
        cases.append(labelled(run.cases, trial.labels))
    return Results(pd.DataFrame(rows), pd.concat(cases, ignore_index=True))


def finished(trials: Sequence[Trial], logs: dict[str, Sequences], runs: Path | str = "runs") -> list[Trial]:
    """Return the trials whose runs are in the folder `runs`; arguments as for `run_trials`."""
    return [trial for trial in trials if run_folder(logs[trial.labels["data"]], trial.config, runs).is_dir()]


def described(run: Run) -> dict[str, Any]:
    """Return the columns of `Results.table` after the labels."""
    return {
        "validation": run.history["ndcg"].max(),
        "best_epoch": run.history["ndcg"].argmax() + 1,
        "epochs": len(run.history),
        "seconds": run.history["seconds"].sum(),
        "folder": str(run.folder),
    }
