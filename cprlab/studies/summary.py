"""What the summary of a sweep asks for."""

import json

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError
from cprlab.sweeps import Grid, Results, finished, run_trials
from cprlab.training.loop import Device


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
