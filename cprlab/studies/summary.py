"""What the summary of a sweep asks for, and its answer in words."""

import json

import pandas as pd
import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError
from cprlab.studies.words import Row
from cprlab.sweeps import Grid, Results, finished, run_trials
from cprlab.sweeps.significance import FEWEST_LOGS
from cprlab.training.loop import Device

FEW_USERS = 300  # in the smallest log, below which a gain of some percent drowns in chance


class SummaryConfig(Config):
    """The parameters of `notebooks/summary.ipynb`."""

    grid: str = pydantic.Field(description="The fields of a `Grid`, as JSON.")
    device: Device = pydantic.Field("auto", description="Where to train")
    runs: str = pydantic.Field("runs", description="Folder where trained models are kept and found again.")
    train: bool = pydantic.Field(True, description="Train what is not there; otherwise only what is there counts.")

    def asked(self) -> Grid:
        """Return the grid.

        Raises:
            ConfigError: the text is not JSON, or a field of the grid is not possible.
        """
        try:
            fields = json.loads(self.grid)
            return Grid(**fields)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"The setting 'grid' is no JSON with the fields of a grid ({error}).") from None

    def results(self) -> Results:
        """Return the grid's runs.

        Raises:
            CprlabError: a log cannot be read or a run not be trained, or nothing is there.
        """
        grid = self.asked()
        logs = grid.logs()
        trials = grid.trials() if self.train else finished(grid.trials(), logs, self.runs)
        if not trials:
            raise ConfigError("None of the sweep's runs is finished, so there is nothing to sum up.")
        return run_trials(trials, logs, self.runs, self.device)


def summary_answer(averaged: pd.DataFrame, tests: pd.DataFrame, users: int) -> str:
    """Return Markdown: what each head gains over the first in the geometric mean over logs, and whether that is shown.

    Args:
        averaged: of `evaluation.geometric_mean_gains`.
        tests: of `sweeps.signed_ranks`.
        users: of the smallest log.
    """
    lines = []
    for (encoder, head), rows in averaged.groupby(["encoder", "head"], sort=False):
        for ranking, title in (("raw", ""), ("post", ", the history removed")):
            of_ranking = rows[rows["ranking"] == ranking]
            said = "; ".join(f"{row.logs} ({row.n}) {_in_words(row)}" for row in of_ranking.itertuples())
            lines.append(f"- {encoder} with **{head}**{title}: {said}.")
    lines.append("")
    logs = int(tests["n"].max())
    if logs < FEWEST_LOGS:
        lines.append(
            f"Over data sets nothing can be tested: there are {logs}, and even a gain on each of them would be "
            f"significant at 5% only from {FEWEST_LOGS} on. The intervals are about these logs alone."
        )
    else:
        shown = tests[tests["p_holm"] < 0.05]
        names = [f"{row.encoder} with {row.head} ({row.ranking}, p = {row.p_holm:.3f})" for row in shown.itertuples()]
        lines.append("Over data sets a difference is shown for: " + ("; ".join(names) if names else "none") + ".")
    if users < FEW_USERS:
        lines.append("")
        lines.append(f"With {users} test users in the smallest log these numbers say little; take a larger size.")
    return "\n".join(lines)


def _in_words(row: Row) -> str:
    """Say one row of `geometric_mean_gains` in words."""
    if row.low != row.low:  # nan
        return "not defined, since the first head scores 0 on a log"
    verdict = "no difference shown" if row.low <= 0 <= row.high else "better" if row.value > 0 else "worse"
    return f"{row.value:+.1%} [{row.low:+.1%}, {row.high:+.1%}], {verdict}"
