"""What a training, or a report, can be asked for; the notebook, the command line and papermill all fill this."""

import sys
from pathlib import Path
from typing import Any

import pydantic

from cprlab.config import Names
from cprlab.data import Columns, Sequences
from cprlab.data.protocol import Protocol
from cprlab.errors import visible
from cprlab.loading import load_sequences
from cprlab.models import CountingConfig, parse_head
from cprlab.models.encoders import CONFIGS, EncoderName
from cprlab.models.names import canonical
from cprlab.training import Run, RunConfig, TrainingConfig, train
from cprlab.training.loop import Device, Precision, open_device
from cprlab.training.processes import is_first


class Reading(Protocol, Columns):
    """How a log's file is read, and what is held out."""


class LogConfig(Reading):
    """A log, and how to train on it."""

    data: str = pydantic.Field(
        "complete-journey-types",
        description="A built-in log, an imported data set, a file, or a prepared folder.",
    )
    users: int = pydantic.Field(0, ge=0, description="Sample this many users (0: all).")
    encoder: EncoderName = pydantic.Field("GRU4Rec", description="Encoder")
    epochs: int = pydantic.Field(100, ge=1, description="Maximum epochs; stops early once validation NDCG@10 stalls.")
    seed: int = pydantic.Field(0, ge=0, lt=2**31, description="Seed of weights, batches, sampled users and intervals.")
    device: Device = pydantic.Field("auto", description="Where to train")
    precision: Precision = pydantic.Field("float32", description="Number format (bfloat16 is for GPUs)")
    runs: str = pydantic.Field("runs", description="Folder where trained models are kept and found again.")

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
    """What `cprlab train` is asked for."""

    head: str = pydantic.Field("Softmax + CPR:100 + Mi", description="The head to train, named as in the paper.")
    batch_size: int = pydantic.Field(TrainingConfig().batch_size, description="Windows per step, over all processes.")
    learning_rate: float = pydantic.Field(TrainingConfig().learning_rate, description="Adam's learning rate.")

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


class RunsConfig(LogConfig):
    """Several heads, trained on one log."""

    heads: Names = pydantic.Field(
        ("Recent", "Counts", "Softmax", "Softmax + CPR:100 + Mi"),
        description="Heads, a semicolon between two. Recent and Counts only count; the first of the others is the "
        "one that all are compared with.",
    )

    @pydantic.field_validator("heads")
    @classmethod
    def _canonical(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        if not heads:
            raise ValueError("name a head or several, with a semicolon between two")
        return canonical(heads)

    def run_configs(self) -> dict[str, RunConfig]:
        """Return what to train, by head."""
        return {head: self.run_config(head) for head in self.heads}


class PageConfig(RunsConfig):
    """What becomes a page."""

    out: str = pydantic.Field(
        "", description="The page's folder (if empty: in reports/, named after the data or model)."
    )


class ReportConfig(PageConfig):
    """The parameters of `notebooks/report.ipynb`."""

    @pydantic.field_validator("heads")
    @classmethod
    def _comparable(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        if len(heads) < 2 or len(set(heads)) < len(heads):
            raise ValueError("a report compares two or more different heads, with a semicolon between")
        if any(parse_head(name).post for name in heads):
            raise ValueError("a report shows every head with the history removed as well; leave (post) out")
        if all(isinstance(parse_head(name), CountingConfig) for name in heads):
            raise ValueError("a report compares heads that are trained; add one, such as Softmax")
        return heads

    @property
    def trained(self) -> list[str]:
        """The heads that are trained; the others only count."""
        return [head for head, config in self.run_configs().items() if not config.counts]

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
