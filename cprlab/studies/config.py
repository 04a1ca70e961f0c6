"""Shared settings of the numbered notebooks, and the runs that they need."""

import pydantic

from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.data.protocol import Reading
from cprlab.models.encoders import EncoderName
from cprlab.sweeps import Grid, Results, run_trials
from cprlab.sweeps.grid import Sized
from cprlab.training.loop import Device


class HeadsConfig(Sized):
    """Parameters of all numbered notebooks: which heads to train, at which size, and where."""

    encoder: EncoderName = pydantic.Field("GRU4Rec", description="Encoder")
    heads: Names = pydantic.Field(
        ("Softmax", "Softmax + CPR:100 + Mi"), description="Heads; the others are compared with the first."
    )
    seeds: int = pydantic.Field(1, ge=1, description="Number of seeds, from 0.")
    device: Device = pydantic.Field("auto", description="Where to train")
    runs: str = pydantic.Field("runs", description="Folder of trained models, which are not trained again.")


class StudyConfig(HeadsConfig, Reading):
    """Parameters of a notebook on logs; it specifies its runs as grids, with the sizes of `sweeps.SIZES`."""

    data: Names = pydantic.Field(
        ("complete-journey-types", "complete-journey-first"),
        description="Built-in logs, imported data sets, files or prepared folders.",
    )

    def grid(self, **changes: object) -> Grid:
        """Return the grid of these logs and heads; `changes` are fields of `Grid`.

        Raises:
            ConfigError: a value is not valid.
        """
        names = {"data": self.data, "head": self.heads, "encoder": (self.encoder,)}
        values = self.reading | self.sized | {"seeds": self.seeds}
        return Grid(**(names | values | changes))

    def logs(self) -> dict[str, Sequences]:
        """Return the logs by name, cut to the size.

        Raises:
            DataError: a log cannot be read, or is too short to be split.
        """
        return self.grid().logs()

    def run(self, logs: dict[str, Sequences], **changes: object) -> Results:
        """Train the runs of `grid(**changes)` on `logs`, or load those already trained.

        Raises:
            CprlabError: a value is not valid, a head does not fit a log, or a training diverged.
        """
        return run_trials(self.grid(**changes).trials(tuple(logs)), logs, self.runs, self.device)
