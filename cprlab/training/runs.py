"""Runs: one training, kept in one folder, found again by its configuration and data."""

import hashlib
import json
import math
import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from cprlab.config import Config
from cprlab.data import Sequences
from cprlab.errors import ConfigError, CprlabError, DataError, PlaceError, visible
from cprlab.evaluation import METRICS, evaluate, mean
from cprlab.files import discard, missing, name_of, read_parquet, refuse_unreadable, whole
from cprlab.models import CountingConfig, EncoderConfig, GRU4RecConfig, Recommender, parse_head
from cprlab.models.recommender import not_finite, unallocated
from cprlab.training.counting import fit_counting
from cprlab.training.loop import Device, TrainingConfig, fit, open_device
from cprlab.training.processes import by_first, count, open_fabric, several

# The columns of a run's tables, and their NumPy kinds (`dtype.kind`).
TABLES = {
    "history": {"epoch": "iu", "loss": "f", "ndcg": "f", "seconds": "f", "targets_per_second": "f"},
    "cases": {"user": "iu", "length": "iu", "target": "iu", "repeat": "b", "rank": "iu", "rank_post": "f"}
    | dict.fromkeys(("log_loss", "copy_probability", "copied"), "f"),
}


RECIPE = 4  # increased when the same configuration starts to give other weights


Trained = Literal["all", "head"]


class Start(Config):
    """The weights that a training starts from, instead of random ones.

    Attributes:
        weights: 12 hexadecimal digits that identify them; see `at`.
        trained: "all" weights, or those of the "head" alone: the encoder and the item embeddings stay as they are.
        origin: where the weights are from, in words; a run's identity does not depend on it.
    """

    weights: str
    trained: Trained = "all"
    origin: str = ""

    @classmethod
    def at(cls, recommender: Recommender, trained: Trained = "all", origin: str = "") -> Self:
        """Return the start at a recommender's weights."""
        digest = hashlib.sha256()
        for name, weight in sorted(recommender.state_dict().items()):
            values = weight.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode() + values.numpy().tobytes())
        return cls(weights=digest.hexdigest()[:12], trained=trained, origin=origin)


class RunConfig(Config):
    """Everything that, with the data, determines the weights of a run.

    A counting head has no encoder and is not trained. For it, `encoder` and `training` are reset to their defaults, in
    float64, so that it has only one run on a log.

    Attributes:
        encoder: the encoder and its sizes.
        head: name of the head, as in the paper.
        training: how to train.
        start: the weights to start from; None for random ones.
    """

    encoder: EncoderConfig = GRU4RecConfig()
    head: str = "Softmax"
    training: TrainingConfig = TrainingConfig()
    start: Start | None = None

    @pydantic.field_validator("head")
    @classmethod
    def _canonical(cls, head: str) -> str:
        return str(parse_head(head))

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _only_counted(cls, values: Any, make: pydantic.ModelWrapValidatorHandler[Self]) -> Self:
        config = make(values)
        return make({"head": config.head, "training": {"precision": "float64"}}) if config.counts else config

    @property
    def counts(self) -> bool:
        """Whether the head only counts, so there is no encoder and nothing to train."""
        return isinstance(parse_head(self.head), CountingConfig)

    @property
    def name(self) -> str:
        """The model's name: its encoder, if it has one, and its head."""
        return self.head if self.counts else f"{self.encoder.name}, {self.head}"

    def identity(self, sequences: Sequences) -> str:
        """Return 12 hexadecimal digits that identify this configuration on these data."""
        data = f"{sequences.fingerprint} {sequences.n_items} {sequences.n_users} {sequences.max_len}"
        settings = self.model_dump_json(exclude={"start": {"origin"} if self.start else True})
        return name_of(f"{RECIPE} {settings} {data}")


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, and the contents.

    Attributes:
        folder: contains `run.json`, `model.safetensors`, `history.parquet` and `cases.parquet`.
        config: the configuration.
        recommender: recommender with the weights of the best epoch, on the CPU.
        history: one row per epoch, from `fit`; for a counting head one row, from `fit_counting`.
        record: the content of `run.json`.
        cases: one row per test case, from `evaluate`.
    """

    folder: Path
    config: RunConfig
    recommender: Recommender
    history: pd.DataFrame
    record: dict
    cases: pd.DataFrame

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Load a run; it gives the same scores as when it was written.

        Raises:
            DataError: the folder is not a whole run, or a weight is not finite; the message names its tensor.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            config = RunConfig(**_with_earlier_defaults(record["config"]))
            data = record["data"]
            if not all(type(data[name]) is int and data[name] > 0 for name in ("items", "users", "max_len")):
                raise ValueError("its data have no items, no users or no histories")
            with unallocated():  # allocates nothing until the weights fit, whatever sizes the file claims
                recommender = _drawn(config, data["items"], data["users"], data["max_len"])
            weights = load_file(folder / "model.safetensors")
            if wrong := [name for name, one in recommender.state_dict().items() if weights[name].dtype != one.dtype]:
                raise ValueError(f"its weights {wrong[0]!r} are of type {weights[wrong[0]].dtype}")
            recommender.load_state_dict(weights, assign=True)
            history, cases = (read_parquet(folder / f"{name}.parquet") for name in TABLES)
            _check_tables(history, cases, data["users"])
            scores, recorded = _scores(cases), dict(record["test"])  # other versions may have other metrics
            other = any(recorded[metric] != scores[metric] for metric in scores.keys() & recorded.keys())
            if not isinstance(data["fingerprint"], str) or not recorded or other:
                raise ValueError("its record has no fingerprint of the data, or metrics that do not match its cases")
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, CprlabError, SafetensorError) as error:
            refuse_unreadable(folder, error)
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{folder} is not a whole run ({detail}); if it was one, remove it to train again."
            ) from error
        if broken := not_finite(recommender.state_dict()):
            raise DataError(
                f"{folder}: the training of this run diverged: {broken}. Remove the folder and train again."
            )
        return cls(folder, config, recommender.eval(), history, record, cases)

    def check_data(self, sequences: Sequences) -> None:
        """Check that the run was trained on this log.

        Raises:
            DataError: the log, the sample of users or the length of histories is different.
        """
        own, given = self.record["data"], _described(sequences)
        if any(own.get(fact) != given[fact] for fact in ("fingerprint", "items", "users", "max_len")):
            raise DataError(
                f"{self.folder} was trained on other data ({_in_words(own)}) than these ({_in_words(given)}); use "
                "that log, with the same --users."
            )


def _with_earlier_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Add settings of later versions to a run's configuration, with the values that earlier versions used."""
    norm = {"norm_first": False} if config["encoder"]["name"] == "SASRec" else {}
    return config | {
        "encoder": norm | config["encoder"],
        "training": {"averaging": 0.0} | config["training"],
    }


def train(
    sequences: Sequences,
    config: RunConfig,
    runs: Path | str = "runs",
    device: Device = "auto",
    bar: Callable[..., tqdm] = tqdm,
    start: Recommender | None = None,
) -> Run:
    """Return the run of a configuration on a log: load it if it exists, otherwise train and save it.

    An interrupted training continues after its last whole epoch. If another process is training the same run, this one
    waits and then loads it. Processes started by torchrun train one run together (see `fit`); they share the folder,
    and all return the run.

    Args:
        sequences: the log.
        config: what to train.
        runs: folder that contains the run folders.
        device: where to train; a counting head is fitted on the CPU.
        bar: opens the progress bar.
        start: a model with the weights of `config.start`, for a run that does not exist yet.

    Raises:
        ConfigError: the head does not fit the data, the device is not available, or the start is missing or not the
            configuration's.
        DataError: the folder cannot be written, or its run cannot be read.
        CprlabError: the training diverged.
    """
    folder = run_folder(sequences, config, runs)
    unfinished = folder.with_name(f".{folder.name}.checkpoint")
    if several():
        open_fabric(open_device(device).type)
    with ExitStack() as held:
        if by_first(lambda: held.enter_context(missing(folder, unfinished))):
            by_first(partial(_say_other_epochs, sequences, config, folder))
            _train(sequences, config, folder, device, unfinished, bar, start)
    run = Run.load(folder)
    run.check_data(sequences)
    return run


def build(config: RunConfig, sequences: Sequences, make: Callable[..., Recommender] = Recommender) -> Recommender:
    """Return an untrained recommender for a log, with the configuration's seed and precision.

    Args:
        config: what to build.
        sequences: the log.
        make: class or function that takes the arguments of `Recommender`.

    Raises:
        ConfigError: the head does not fit the data.
    """
    torch.manual_seed(config.training.seed)
    return _drawn(config, sequences.n_items, sequences.n_users, sequences.max_len, make)


def run_folder(sequences: Sequences, config: RunConfig, runs: Path | str = "runs") -> Path:
    """Return the folder in which `train` keeps the run, whether it exists or not."""
    return Path(runs) / f"{slug(f'{sequences.name}-{config.name}')}-{config.identity(sequences)}"


def slug(words: str) -> str:
    """Return words as a file name: lower-case letters and digits, separated by hyphens, at most 80 bytes."""
    letters = "".join(c if c.isalnum() else "-" for c in words.lower())
    return "-".join(part for part in letters.split("-") if part).encode()[:80].decode(errors="ignore")


def _say_other_epochs(sequences: Sequences, config: RunConfig, folder: Path) -> None:
    """Print which run differs from the one to be trained in its maximum of epochs alone, if there is one."""
    for other in sorted(folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*")):
        with suppress(OSError, ValueError, LookupError, TypeError, CprlabError):  # not a whole run
            epochs = json.loads((other / "run.json").read_text(encoding="utf-8"))["config"]["training"]["epochs"]
            same = config.but(training=config.training.but(epochs=epochs))
            if other.name == run_folder(sequences, same).name:
                print(
                    f"{visible(str(other))} is the same run with --epochs {epochs}. Another maximum trains again from "
                    "the start.",
                    file=sys.stderr,
                )


def _train(
    sequences: Sequences,
    config: RunConfig,
    folder: Path,
    device: Device,
    unfinished: Path,
    bar: Callable[..., tqdm],
    start: Recommender | None,
) -> None:
    recommender = build(config, sequences)
    if config.start or start:
        _take_over(recommender, config, start)
    if config.counts:
        history = fit_counting(recommender, sequences)
    else:
        history = fit(recommender, sequences, config.training, device, unfinished, bar, config.start is not None)
    by_first(partial(_keep, recommender, sequences, config, history, folder))
    by_first(partial(discard, unfinished))


def _take_over(recommender: Recommender, config: RunConfig, start: Recommender | None) -> None:
    """Give a recommender the weights of its start, and exclude from training those that stay as they are."""
    if config.start is None or start is None:
        raise ConfigError("A start needs both: Start.at(model) in the configuration, and the model as `start`.")
    if (found := Start.at(start).weights) != config.start.weights:
        raise ConfigError(
            f"The start has other weights ({found}) than the configuration says ({config.start.weights})."
        )
    try:
        recommender.load_state_dict(start.state_dict())
    except RuntimeError as error:  # other names or shapes
        raise ConfigError(
            f"The start, a model with the head {start.head.config}, does not fit {config.name} on these data "
            f"({str(error).splitlines()[1].strip()}); use its own encoder and head, and the log that it was trained on."
        ) from None
    for name, weight in recommender.named_parameters():
        weight.requires_grad_(config.start.trained == "all" or name.startswith("head."))


def _keep(
    recommender: Recommender, sequences: Sequences, config: RunConfig, history: pd.DataFrame, folder: Path
) -> None:
    record = {
        "recipe": RECIPE,
        "config": config.model_dump(),
        "data": _described(sequences),
        "trained_on": recommender.embedding.weight.device.type,
        "processes": count(),
        "versions": {package: metadata.version(package) for package in ("cprlab", "torch", "numpy")}
        | {"python": platform.python_version()},
    }
    _write(recommender, sequences, record, history, folder)


def keep_retrofitted(
    run: Run, recommender: Recommender, sequences: Sequences, fitted: dict[str, Any], folder: Path
) -> None:
    """Write a run whose head has a part that was fitted after its training, for `Run.load`.

    The configuration and training history are the run's own, but for the name of the head. So a training never finds
    this folder, whatever its head.

    Args:
        run: the trained run.
        recommender: its model with the part.
        sequences: its log.
        fitted: what was fitted to which cases, kept as "retrofit" in `run.json`, with the trained head and folder.
        folder: the new folder.

    Raises:
        DataError: the folder cannot be written.
    """
    config = run.config.but(head=str(recommender.head.config))
    about = {"trained_head": run.config.head, "trained_run": run.folder.name} | fitted
    record = run.record | {"config": config.model_dump(), "retrofit": about}
    _write(recommender, sequences, record, run.history, folder)


def _write(
    recommender: Recommender, sequences: Sequences, record: dict[str, Any], history: pd.DataFrame, folder: Path
) -> None:
    cases = evaluate(recommender, sequences, "test")
    record = record | {"test": _scores(cases)}
    with whole(folder, partial(_refuse_other_run, folder)) as new:
        new.mkdir()
        save_file(recommender.cpu().state_dict(), new / "model.safetensors")
        history.to_parquet(new / "history.parquet")
        cases.to_parquet(new / "cases.parquet")
        (new / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _refuse_other_run(folder: Path) -> None:
    if folder.exists():
        raise PlaceError(f"{folder} was put there while its run was trained; start again to load it, or move it away.")


def _scores(cases: pd.DataFrame) -> dict[str, float | None]:
    """Return each metric's mean over the test cases; None if it is not finite."""
    means = {metric: mean(cases, metric) for metric in METRICS}
    return {metric: value if math.isfinite(value) else None for metric, value in means.items()}


def _described(sequences: Sequences) -> dict[str, Any]:
    """Return the description of the data in `run.json`."""
    return {
        "name": sequences.name,
        "fingerprint": sequences.fingerprint,
        "items": sequences.n_items,
        "users": sequences.n_users,
        "max_len": sequences.max_len,
        "split": sequences.split,
        "notes": list(sequences.notes),
    }


def _in_words(data: dict[str, Any]) -> str:
    name, users, items, read, fingerprint = (
        data.get(fact) for fact in ("name", "users", "items", "max_len", "fingerprint")
    )
    return f"{name} with {users} users and {items} items, histories of up to {read}, fingerprint {fingerprint}"


def _check_tables(history: pd.DataFrame, cases: pd.DataFrame, n_users: int) -> None:
    """Raise a ValueError if these cannot be the tables of a run with `n_users` users."""
    for name, table in (("history", history), ("cases", cases)):
        for column, kinds in TABLES[name].items():
            if column not in table or table[column].dtype.kind not in kinds:
                raise ValueError(f"{name}.parquet has no column {column!r} of the right type")
    if not len(history) or not 0 < cases["user"].nunique() <= n_users:
        raise ValueError(f"its tables have {len(history):,} epochs, and {len(cases):,} cases for {n_users:,} users")


def _drawn(
    config: RunConfig, n_items: int, n_users: int, max_len: int, make: Callable[..., Recommender] = Recommender
) -> Recommender:
    callers = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        recommender = make(config.encoder, parse_head(config.head), n_items, n_users=n_users, max_len=max_len)
    finally:
        torch.set_default_dtype(callers)
    return recommender.double() if config.training.precision == "float64" else recommender
