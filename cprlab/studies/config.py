"""What the numbered notebooks have in common: their parameters, and the runs on logs that these ask for."""

import pydantic

from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.data.protocol import Protocol
from cprlab.models.encoders import EncoderName
from cprlab.sweeps import Grid, Results, run_trials
from cprlab.sweeps.grid import Sized
from cprlab.training.loop import Device


class HeadsConfig(Sized):
    """The parameters that all numbered notebooks have: which heads to train, how thoroughly, and where."""

    encoder: EncoderName = pydantic.Field("GRU4Rec", description="Encoder")
    heads: Names = pydantic.Field(
        ("Softmax", "Softmax + CPR:100 + Mi"), description="Heads; the others are compared with the first."
    )
    seeds: int = pydantic.Field(1, ge=1, description="Number of seeds, from 0.")
    device: Device = pydantic.Field("auto", description="Where to train")
    runs: str = pydantic.Field("runs", description="Folder where trained models are kept and found again.")


class StudyConfig(HeadsConfig, Protocol):
    """The parameters of a notebook on logs; all runs that it needs are asked for as grids, see `sweeps.SIZES`."""

    data: Names = pydantic.Field(
        ("complete-journey-types", "complete-journey-first"),
        description="Built-in logs, imported data sets, files or prepared folders.",
    )

    def grid(self, **changes: object) -> Grid:
        """Return the grid of these logs and heads; `changes` are fields of `Grid`.

        Raises:
            ConfigError: a value is not possible.
        """
        names = {"data": self.data, "head": self.heads, "encoder": (self.encoder,)}
        values = self.protocol | self.sized | {"seeds": self.seeds}
        return Grid(**(names | values | changes))

    def logs(self) -> dict[str, Sequences]:
        """Load the logs, cut to size, by their names.

        Raises:
            DataError: one cannot be read, or is too short to be split.
        """
        return self.grid().logs()

    def run(self, logs: dict[str, Sequences], **changes: object) -> Results:
        """Train on `logs` what `grid(**changes)` asks for, or read it back.

        Raises:
            CprlabError: a value is not possible, a head does not fit a log, or a training diverged.
        """
        return run_trials(self.grid(**changes).trials(tuple(logs)), logs, self.runs, self.device)
