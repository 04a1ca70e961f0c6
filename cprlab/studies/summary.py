"""Settings of the summary of a sweep."""

import json

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError
from cprlab.sweeps import Grid, Results, finished, run_trials
from cprlab.training.loop import Device


class SummaryConfig(Config):
    """The parameters of `notebooks/pages/summary.ipynb`."""

    grid: str = pydantic.Field(description="The fields of a `Grid`, as JSON.")
    device: Device = pydantic.Field("auto", description="Where to train")
    runs: str = pydantic.Field("runs", description="Folder of trained models, which are not trained again.")
    train: bool = pydantic.Field(True, description="Train missing runs; otherwise only finished runs are used.")

    def asked(self) -> Grid:
        """Return the grid.

        Raises:
            ConfigError: the text is not JSON, or a field of the grid is not valid.
        """
        try:
            fields = json.loads(self.grid)
            return Grid(**fields)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"The setting 'grid' is not JSON with the fields of a grid ({error}).") from None

    def results(self) -> Results:
        """Return the grid's runs.

        Raises:
            CprlabError: a log cannot be read, a run cannot be trained, or no run is finished.
        """
        grid = self.asked()
        logs = grid.logs()
        trials = grid.trials() if self.train else finished(grid.trials(), logs, self.runs)
        if not trials:
            raise ConfigError("None of the sweep's runs is finished, so there is nothing to summarise.")
        return run_trials(trials, logs, self.runs, self.device)
