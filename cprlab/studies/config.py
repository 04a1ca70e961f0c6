"""What the numbered notebooks have in common: their parameters, and the runs on logs that these ask for."""

import pydantic

from cprlab.config import Config
from cprlab.data import Sequences
from cprlab.data.protocol import Protocol
from cprlab.models.encoders import EncoderName
from cprlab.sweeps import Grid, Results, run_trials
from cprlab.sweeps.grid import SizeName
from cprlab.training.loop import Device


class HeadsConfig(Config):
    """The parameters that all numbered notebooks have: which heads to train, how thoroughly, and where.

    Attributes:
        size: "smoke", "small" or "full".
        encoder: the encoder's name.
        heads: names of heads, a semicolon between two; the first is the one that others are compared with.
        seeds: how many seeds, from 0.
        device: where to train.
        runs: the folder in which what has been trained is kept and found again.
    """

    size: SizeName = "smoke"
    encoder: EncoderName = "GRU4Rec"
    heads: str = "Softmax; Softmax + CPR:100 + Mi"
    seeds: int = pydantic.Field(1, ge=1)
    device: Device = "auto"
    runs: str = "runs"


class StudyConfig(HeadsConfig, Protocol):
    """The parameters of a notebook on logs; all runs that it needs are asked for as grids, see `sweeps.SIZES`.

    Attributes:
        data: built-in logs, files or prepared folders, a semicolon between two.
    """

    data: str = "complete-journey-types; complete-journey-first"

    def grid(self, **changes: object) -> Grid:
        """Return the grid of these logs and heads; `changes` are fields of `Grid`.

        Raises:
            ConfigError: a value is not possible.
        """
        names = {"data": names_in(self.data), "head": names_in(self.heads), "encoder": (self.encoder,)}
        values = self.protocol | {"size": self.size, "seeds": self.seeds}
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


def names_in(joined: str) -> tuple[str, ...]:
    """Return the names in a parameter that holds several, a semicolon between two."""
    return tuple(name.strip() for name in joined.split(";") if name.strip())
