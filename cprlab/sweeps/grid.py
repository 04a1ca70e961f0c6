"""Grid: data × encoders × heads × settings × seeds, and the runs of all combinations."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from cprlab.catalogue import BUILTIN
from cprlab.config import SEVERAL, Config
from cprlab.data import Sequences
from cprlab.data.protocol import Reading
from cprlab.data.readers import called
from cprlab.errors import ConfigError, suggestion
from cprlab.loading import load_sequences
from cprlab.models.encoders import CONFIGS, EncoderName
from cprlab.models.names import canonical
from cprlab.training import RunConfig, TrainingConfig
from cprlab.training.loop import Precision


class Size(NamedTuple):
    """How much of a log is used, and how long training is.

    Attributes:
        users: number of users, drawn at random; 0 means all.
        recent: number of last interactions kept per user; 0 means all.
        epochs: maximum epochs.
        batch_size: windows per step; small for small logs, so that there are enough steps.
        precision: precision of weights and arithmetic.
    """

    users: int
    recent: int
    epochs: int
    batch_size: int
    precision: Precision


SIZES = {
    "smoke": Size(100, 60, 2, 16, "float64"),  # in double precision, all CPUs give the digits shown
    "small": Size(500, 60, 12, 16, "float32"),
    "full": Size(0, 0, 100, 64, "float32"),
}
SizeName = Literal["smoke", "small", "full"]
MOST = 100_000  # runs
FIXED = {"name", "seed"}  # fields of a configuration that are not settings


@dataclass(frozen=True)
class Trial:
    """One run of a grid.

    Attributes:
        labels: labels that identify it: `data`, `encoder`, `head`, each setting, and `seed`.
        config: what to train.
    """

    labels: dict[str, Any]
    config: RunConfig


class Sized(Config):
    """How much of each log is taken, and how long is trained."""

    size: SizeName = pydantic.Field("smoke", description="How much of each log is used, and how long training is")
    users: int = pydantic.Field(0, ge=0, description="Sample this many users of each log (0: as the size says).")
    epochs: int = pydantic.Field(0, ge=0, description="Maximum epochs (0: as the size says).")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _no_own_files(cls, values: Any) -> Any:
        if isinstance(values, dict) and {"test", "validation"} & set(values):
            raise ConfigError(
                "Files that are split already become one folder with `cprlab prepare TRAIN FOLDER --test TEST`; name "
                "that folder as the data."
            )
        return values

    @property
    def sized(self) -> dict[str, Any]:
        """These fields alone."""
        return self.model_dump(include=set(Sized.model_fields))

    @property
    def own(self) -> dict[str, int]:
        """Those that are asked for instead of the size's."""
        return {name: value for name in ("users", "epochs") if (value := getattr(self, name))}

    @property
    def scale(self) -> Size:
        """What the size stands for, with what is asked for instead."""
        return Size(**(SIZES[self.size]._asdict() | self.own))


class Grid(Reading, Sized):
    """The runs of every combination of data, encoders, heads, settings and seeds."""

    data: Annotated[tuple[str, ...], SEVERAL] = pydantic.Field(
        ("complete-journey-types",), description="Built-in logs, imported data sets, files or prepared folders."
    )
    encoder: Annotated[tuple[EncoderName, ...], SEVERAL] = pydantic.Field(("GRU4Rec",), description="Encoders")
    head: Annotated[tuple[str, ...], SEVERAL] = pydantic.Field(
        ("Softmax", "Softmax + CPR:100 + Mi"), description="Heads; the others are compared with the first."
    )
    settings: dict[str, tuple[Any, ...]] = pydantic.Field(
        {}, description="Values by the name of a field of `TrainingConfig` or the encoder; they override the size's."
    )
    seeds: int = pydantic.Field(1, ge=1, description="Number of seeds, from 0.")

    @pydantic.field_validator("head")
    @classmethod
    def _canonical(cls, head: tuple[str, ...]) -> tuple[str, ...]:
        return canonical(head)

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Grid":
        for name, values in [(name, getattr(self, name)) for name in ("data", "encoder", "head")]:
            _refuse_twice(name, values)
        _refuse_twice("data", [_label(name) for name in self.data])
        for name, values in self.settings.items():
            _refuse_twice(name, values)
        runs = math.prod(map(len, (self.data, self.encoder, self.head, *self.settings.values()))) * self.seeds
        if runs > MOST:
            raise ConfigError(f"The grid has {runs:,} runs; the maximum is {MOST:,}.")
        trials = [tuple(trial.labels.items()) for trial in self.trials()]  # refuses unknown settings
        if len(set(trials)) < len(trials):
            raise ConfigError("The grid has the same value twice under settings, spelled in two ways; give each once.")
        return self

    def logs(self) -> dict[str, Sequences]:
        """Load the data by name, and cut them to size.

        Raises:
            DataError: a log cannot be read, or is too short to be split.
        """
        users, recent = self.scale[:2]
        logs = {}
        for name in self.data:
            sequences = load_sequences(name, self.columns, **self.protocol)
            sequences = sequences.sample(users) if users else sequences
            logs[_label(name)] = sequences.recent(recent) if recent else sequences
        return logs

    def trials(self, data: tuple[str, ...] = ()) -> list[Trial]:
        """Return the runs of the grid.

        Args:
            data: names of other logs to use instead of `self.data`.

        Raises:
            ConfigError: a setting is unknown, or a value is invalid.
        """
        data = data or tuple(map(_label, self.data))
        trials = []
        for place in itertools.product(data, self.encoder, self.head, *self.settings.values(), range(self.seeds)):
            labels = dict(zip(("data", "encoder", "head", *self.settings, "seed"), place, strict=True))
            config = self._config(labels)
            taken = dict(config.training) | dict(config.encoder)  # parsed values: the text "1e-3" is a number here
            trials.append(
                Trial({name: taken[name] if name in self.settings else labels[name] for name in labels}, config)
            )
        return trials

    def _config(self, labels: dict[str, Any]) -> RunConfig:
        size = self.scale
        training = {"epochs": size.epochs, "batch_size": size.batch_size, "precision": size.precision}
        encoder: dict[str, Any] = {}
        kind = CONFIGS[labels["encoder"]]
        fields = {
            "training": set(TrainingConfig.model_fields) - set(FIXED),
            "encoder": set(kind.model_fields) - set(FIXED),
        }
        for name in self.settings:
            if name in fields["training"]:
                training[name] = labels[name]
            elif name in fields["encoder"]:
                encoder[name] = labels[name]
            else:
                choices = sorted(fields["training"] | fields["encoder"])
                raise ConfigError(f"{labels['encoder']} has no setting {name!r}: {suggestion(name, choices)}")
        return RunConfig(
            encoder=kind(**encoder), head=labels["head"], training=TrainingConfig(**training, seed=labels["seed"])
        )


def _label(data: str) -> str:
    return data if data in BUILTIN else Path(called(Path(data))).stem


def _refuse_twice(name: str, values: Any) -> None:
    if not len(values):
        raise ConfigError(f"The grid has no {name}; give at least one.")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ConfigError(f"The grid has {twice[0]!r} twice under {name}; give each once.")
