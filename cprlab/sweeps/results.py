"""run_trials: what is not trained yet is trained, and all runs' test cases come back in one table."""

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
    """What came of a grid.

    Attributes:
        table: a row a run: its labels (`data, encoder, head`, each setting, `seed`), `validation` (NDCG@10 of the best
            epoch, by which settings are chosen), `best_epoch`, `epochs` (how many were trained, unless it is a label),
            `seconds` (of training), `folder`.
        cases: a row a run and test user: the labels, then the columns of `evaluation.evaluate`.
    """

    table: pd.DataFrame
    cases: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """What tells the runs from one another: `data, encoder, head`, each setting, `seed`."""
        return list(self.table.columns[: self.table.columns.get_loc("validation")])

    def run(self, **labels: Any) -> Run:
        """Return the one run that has these labels.

        Raises:
            ConfigError: there is none, or there are several.
        """
        chosen = self.table
        for name, value in labels.items():
            chosen = chosen[chosen[name] == value]
        if len(chosen) != 1:
            raise ConfigError(f"{len(chosen)} runs have the labels {labels}; name all that tells one from the others.")
        return Run.load(chosen["folder"].item())


def run_trials(
    trials: Sequence[Trial], logs: dict[str, Sequences], runs: Path | str = "runs", device: Device = "auto"
) -> Results:
    """Train what is not in `runs` yet, one run after the other, and read the rest.

    Args:
        trials: of `Grid.trials`.
        logs: by the trials' label `data`.
        runs: the folder of run folders.
        device: where to train.

    Raises:
        CprlabError: a head does not fit its data, a training diverged, or the folder cannot be written.
    """
    rows, cases = [], []
    for trial in tqdm(trials, desc="runs", unit=" runs"):
        run = train(logs[trial.labels["data"]], trial.config, runs, device)
        rows.append(trial.labels | described(run) | trial.labels)  # a setting may be called `epochs`
        cases.append(labelled(run.cases, trial.labels))
    return Results(pd.DataFrame(rows), pd.concat(cases, ignore_index=True))


def finished(trials: Sequence[Trial], logs: dict[str, Sequences], runs: Path | str = "runs") -> list[Trial]:
    """Return those trials whose runs are in the folder `runs`; the arguments are as for `run_trials`."""
    return [trial for trial in trials if run_folder(logs[trial.labels["data"]], trial.config, runs).is_dir()]


def described(run: Run) -> dict[str, Any]:
    """Return the columns of `Results.table` behind the labels."""
    return {
        "validation": run.history["ndcg"].max(),
        "best_epoch": run.history["ndcg"].argmax() + 1,
        "epochs": len(run.history),
        "seconds": run.history["seconds"].sum(),
        "folder": str(run.folder),
    }
