"""What a training, or a report, can be asked for; the notebook, the command line and papermill all fill this."""

import sys
from pathlib import Path
from typing import Any

import pydantic

from cprlab.data import Columns, Sequences
from cprlab.data.protocol import Protocol
from cprlab.errors import visible
from cprlab.loading import load_sequences
from cprlab.models import CountingConfig, parse_head
from cprlab.models.encoders import CONFIGS, EncoderName
from cprlab.training import Run, RunConfig, TrainingConfig, train
from cprlab.training.loop import Device, Precision, open_device
from cprlab.training.processes import is_first


class LogConfig(Protocol, Columns):
    """A log, and how to train on it.

    Attributes:
        data: a built-in log, a file or a prepared folder.
        users: how many users to draw at random; 0 takes all.
        encoder: the encoder's name.
        epochs: at most; training stops earlier when the validation NDCG@10 no longer rises.
        seed: of the weights, the order of batches, the draw of users and the bootstrap.
        device: where to train.
        precision: float32, float64, or bfloat16 for the products of matrices.
        runs: the folder in which trained models are kept and found again.
    """

    data: str = "complete-journey-types"
    users: int = pydantic.Field(0, ge=0)
    encoder: EncoderName = "GRU4Rec"
    epochs: int = pydantic.Field(100, ge=1)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)
    device: Device = "auto"
    precision: Precision = "float32"
    runs: str = "runs"

    def sequences(self) -> Sequences:
        """Load the log and pack it.

        Raises:
            DataError: the log cannot be read, or is too short to be split.
        """
        sequences = load_sequences(self.data, self.columns, **self.protocol)
        return sequences.sample(self.users, self.seed) if self.users else sequences

    def run_config(self, head: str, **training: Any) -> RunConfig:
        """Return how to train a head; `training` holds other fields of `TrainingConfig`.

        Raises:
            ConfigError: a value is not possible.
        """
        training |= {"epochs": self.epochs, "seed": self.seed, "precision": self.precision}
        return RunConfig(encoder=CONFIGS[self.encoder](), head=head, training=TrainingConfig(**training))


class TrainConfig(LogConfig):
    """What `cprlab train` is asked for.

    Attributes:
        head: the head's name, as in the paper.
        batch_size: windows a step, over all processes.
        learning_rate: of Adam.
    """

    head: str = "Softmax + CPR:100 + Mi"
    batch_size: int = TrainingConfig().batch_size
    learning_rate: float = TrainingConfig().learning_rate

    def run(self) -> Run:
        """Train, or read the run back, and say on standard error what is to be known of the log.

        Raises:
            CprlabError: a value, the data, the head or the device is not usable, or the training diverged.
        """
        config = self.run_config(self.head, batch_size=self.batch_size, learning_rate=self.learning_rate)
        sequences = self.sequences()
        if is_first():
            print(*map(visible, sequences.notes), sep="\n", end="\n" * bool(sequences.notes), file=sys.stderr)
        return train(sequences, config, self.runs, self.device)


class ReportConfig(LogConfig):
    """The parameters of `notebooks/report.ipynb`.

    Attributes:
        heads: names of heads, a semicolon between two; the first trained one is what others are compared with.
        out: the folder for `metrics.json`; none is written when empty.
    """

    heads: str = "Recent; Counts; Softmax; Softmax + CPR:100 + Mi"
    out: str = ""

    @pydantic.field_validator("heads")
    @classmethod
    def _canonical(cls, heads: str) -> str:
        names = [str(parse_head(name)) for name in heads.split(";") if name.strip()]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("a report compares two or more different heads, with a semicolon between")
        if any(parse_head(name).post for name in names):
            raise ValueError("a report shows every head with the history removed as well; leave (post) out")
        if all(isinstance(parse_head(name), CountingConfig) for name in names):
            raise ValueError("a report compares heads that are trained; add one, such as Softmax")
        return "; ".join(names)

    @property
    def trained(self) -> list[str]:
        """The heads that are trained; the others only count."""
        return [head for head, config in self.run_configs().items() if not config.counts]

    def run_configs(self) -> dict[str, RunConfig]:
        """Return what to train, by head."""
        return {head: self.run_config(head) for head in self.heads.split("; ")}

    def check(self) -> Sequences:
        """Return the data; refuse what could not be trained, before any time is spent on it.

        Raises:
            CprlabError: the data, a head or the device is not usable.
        """
        open_device(self.device)
        sequences = self.sequences()
        for config in self.run_configs().values():
            parse_head(config.head).check_items(sequences.n_items)
        return sequences

    @property
    def folder(self) -> Path:
        """Where the report goes when nobody says where: `reports/` and the name of the data."""
        return Path("reports") / Path(self.data).stem
