"""Settings of a training and of a report, filled by notebooks, the command line and papermill."""

import os
import sys
from pathlib import Path
from typing import Any

import pydantic

from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.data.protocol import Reading
from cprlab.data.readers import called
from cprlab.errors import ConfigError, visible
from cprlab.loading import load_sequences
from cprlab.models import CountingConfig, parse_head
from cprlab.models.encoders import CONFIGS, EncoderName
from cprlab.models.names import canonical
from cprlab.training import Run, RunConfig, Start, TrainingConfig, train
from cprlab.training.loop import Device, Precision, open_device
from cprlab.training.processes import is_first
from cprlab.training.runs import Trained


class LogConfig(Reading):
    """A log, and how to train on it."""

    data: str = pydantic.Field(
        "complete-journey-types",
        description="A built-in log, an imported data set, a file, or a prepared folder.",
    )
    users: int = pydantic.Field(0, ge=0, description="Sample this many users (0: all).")
    encoder: EncoderName = pydantic.Field("GRU4Rec", description="Encoder")
    epochs: int = pydantic.Field(
        100,
        ge=1,
        description="Maximum epochs; stops early when validation NDCG@10 no longer rises. Another maximum trains "
        "again from the start.",
    )
    seed: int = pydantic.Field(0, ge=0, lt=2**31, description="Seed of weights, batches, sampled users and intervals.")
    device: Device = pydantic.Field("auto", description="Where to train")
    precision: Precision = pydantic.Field("float32", description="Number format (bfloat16 is for GPUs)")
    runs: str = pydantic.Field("runs", description="Folder of trained models, which are not trained again.")
    validation: str = pydantic.Field("", description="A file of its own with the validation rows, with --test.")
    test: str = pydantic.Field(
        "", description="A file of its own with the test rows; --data then has those to train on."
    )

    @pydantic.field_validator("validation", "test")
    @classmethod
    def _absolute(cls, path: str) -> str:  # notebooks may run in other folders
        return os.path.abspath(path) if path else ""

    def sequences(self) -> Sequences:
        """Return the log as Sequences, with a sample of its users if `users` is set.

        Raises:
            DataError: the log cannot be read, or is too short to be split.
        """
        sequences = load_sequences(self.data, self.columns, validation=self.validation, test=self.test, **self.protocol)
        return sequences.sample(self.users, self.seed) if self.users else sequences

    def run_config(self, head: str, **training: Any) -> RunConfig:
        """Return the settings of a head's run; `training` contains other fields of `TrainingConfig`.

        Raises:
            ConfigError: a value is not valid.
        """
        training |= {"epochs": self.epochs, "seed": self.seed, "precision": self.precision}
        return RunConfig(encoder=CONFIGS[self.encoder](), head=head, training=TrainingConfig(**training))


class TrainConfig(LogConfig):
    """The settings of `cprlab train`."""

    head: str = pydantic.Field("Softmax + CPR:100 + Mi", description="The head to train, named as in the paper.")
    batch_size: int = pydantic.Field(TrainingConfig().batch_size, description="Windows per step, over all processes.")
    learning_rate: float = pydantic.Field(TrainingConfig().learning_rate, description="Adam's learning rate.")
    start: str = pydantic.Field(
        "",
        description="Folder of a run on this log, trained or written by cprlab retrofit, whose training goes on with "
        "its own encoder and head.",
    )
    trained: Trained = pydantic.Field("all", description="With --start, the weights to train")

    def run(self) -> Run:
        """Train the head, or load it if trained, and print the notes on the log to standard error.

        Raises:
            CprlabError: a value, the data, the head, the start or the device is not usable, or the training diverged.
        """
        config = self.run_config(self.head, batch_size=self.batch_size, learning_rate=self.learning_rate)
        sequences = self.sequences()
        if is_first():
            print(*map(visible, sequences.notes), sep="\n", end="\n" * bool(sequences.notes), file=sys.stderr)
        if not self.start:
            if self.trained != "all":
                raise ConfigError("Only the head can be trained of a model that is trained; name a run as the start.")
            return train(sequences, config, self.runs, self.device)
        before = Run.load(self.start)
        before.check_data(sequences)
        for name, asked, own in (
            ("head", self.head, before.config.head),
            ("encoder", self.encoder, before.config.encoder.name),
        ):
            if asked not in (own, type(self).model_fields[name].default):
                raise ConfigError(f"The start has the {name} {own}, not {asked}; leave out the setting {name!r}.")
        start = Start.at(before.recommender, self.trained, before.folder.name)
        config = config.but(head=before.config.head, encoder=before.config.encoder, start=start)
        return train(sequences, config, self.runs, self.device, start=before.recommender)


class RunsConfig(LogConfig):
    """Several heads, trained on one log."""

    heads: Names = pydantic.Field(
        ("Recent", "Counts", "Softmax", "Softmax + CPR:100 + Mi"),
        description="Heads, separated by semicolons. Recent and Counts only count; all are compared with the first "
        "of the others.",
    )

    @pydantic.field_validator("heads")
    @classmethod
    def _canonical(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        if not heads:
            raise ValueError("name a head or several, with a semicolon between two")
        return canonical(heads)

    def run_configs(self) -> dict[str, RunConfig]:
        """Return the settings of each head's run, by head."""
        return {head: self.run_config(head) for head in self.heads}


class PageConfig(RunsConfig):
    """Settings of what is written as a page."""

    out: str = pydantic.Field(
        "", description="The page's folder (if empty: in reports/, named after the data or model)."
    )


class ReportConfig(PageConfig):
    """The parameters of `notebooks/pages/report.ipynb`."""

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
        """Return the data, after checking that all heads can be trained on it.

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
        """Default folder of the report: `reports/` and the name of the data."""
        return Path("reports") / Path(called(Path(self.data))).stem
