"""run_trials: what is not trained yet is trained, and all runs' test cases come back in one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from cprlab.data import Sequences
from cprlab.errors import ConfigError
from cprlab.sweeps.grid import Trial
from cprlab.training import Run, run_folder, train
from cprlab.training.loop import Device

CHOSEN_FOR = ["data", "encoder", "head"]  # a setting is chosen for each of these


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

    def best(self, base: dict[str, Any]) -> "Results":
        """Return, of each data, encoder and head, the setting whose mean validation over the seeds is the highest.

        A setting counts if it has all seeds that any has, and data and encoder if they have `base` too, so that what is
        left can be compared. Test cases play no part in the choice.

        Args:
            base: the head that others are compared with, as in `{"head": "Softmax"}`.

        Returns:
            The chosen runs; in `cases` the labels are `data, encoder, head, seed`.
        """
        labels = list(self.table.columns[: self.table.columns.get_loc("validation")])
        settings = [name for name in labels if name not in (*CHOSEN_FOR, "seed")]
        by_setting = self.table.groupby([*CHOSEN_FOR, *settings], sort=False, dropna=False)
        whole = by_setting["seed"].transform("nunique") == self.table["seed"].nunique()
        mean = by_setting["validation"].transform("mean").where(whole)
        # Of settings that tie, the first in the grid.
        first = self.table.assign(mean=mean).sort_values("mean", ascending=False, kind="stable")
        first = first.dropna(subset="mean").drop_duplicates(CHOSEN_FOR)[[*CHOSEN_FOR, *settings]]
        based = first.loc[(first[list(base)] == pd.Series(base)).all(axis=1), ["data", "encoder"]]
        chosen = first.merge(based)
        table = self.table.merge(chosen)
        cases = self.cases.merge(table[labels])[[*CHOSEN_FOR, "seed", *self.cases.columns[len(labels) :]]]
        return Results(table, cases)

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
        cases.append(pd.concat([pd.DataFrame(trial.labels, index=run.cases.index), run.cases], axis=1))
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
