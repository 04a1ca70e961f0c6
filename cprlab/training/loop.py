"""The training loop: every position of every sequence is a target."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import pandas as pd
import pydantic
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from cprlab.config import Config
from cprlab.data import Batch, Sequences, Windows
from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.evaluation import MAIN, evaluate, mean
from cprlab.files import refuse_unreadable, whole
from cprlab.models import Context, Recommender
from cprlab.models.recommender import not_finite
from cprlab.training.kernel import chunked
from cprlab.training.loss import Loss, LossName, build_loss
from cprlab.training.processes import by_first, is_first, open_fabric, total

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "float64", "bfloat16"]
BATCHES_SORTED_TOGETHER = 20  # with more there is less padding, but short and long windows share fewer batches


class TrainingConfig(Config):
    """How to train: Adam on the summed loss of a batch's targets, divided by the mean number of targets per batch.

    Attributes:
        epochs: maximum number of epochs; an epoch scores every training position once.
        batch_size: windows per step; a full window has up to 50 targets.
        learning_rate: learning rate of Adam.
        averaging: decay per step of the exponential moving average of the weights, which is validated and kept; 0 keeps
            the weights themselves.
        patience: stop after this number of epochs without a better NDCG@10 on the validation items.
        loss: full cross-entropy over all items (CE), BPR, BCE, gBCE or sampled softmax (see `training.loss`).
        negatives: m, the number of items drawn for each target, for losses that compare with a sample.
        calibration: t of gBCE.
        seed: seed of weights, order of batches, dropout and negatives.
        precision: precision of weights and arithmetic; "bfloat16" keeps weights, logits and losses in float32 and
            multiplies matrices in bfloat16 (autocast).
    """

    epochs: int = pydantic.Field(100, ge=1)
    batch_size: int = pydantic.Field(64, ge=1)
    learning_rate: float = pydantic.Field(4e-3, gt=0, le=1e30)
    averaging: float = pydantic.Field(0.99, ge=0, lt=1)
    patience: int = pydantic.Field(10, ge=1)
    loss: LossName = "CE"
    negatives: int = pydantic.Field(256, ge=1)
    calibration: float = pydantic.Field(0.75, ge=0, le=1)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)
    precision: Precision = "float32"


def open_device(device: Device) -> torch.device:
    """Return the requested device; "auto" is an NVIDIA GPU if there is one, else the CPU.

    Raises:
        ConfigError: the device is not available.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if device not in there:
        raise ConfigError(f"Unknown device {device!r}; possible: auto, {', '.join(there)}.")
    if not there[device]:
        raise ConfigError(
            f"There is no device {device!r} here; use one of auto, {', '.join(d for d in there if there[d])}."
        )
    return torch.device(device)


def fit(
    recommender: Recommender,
    sequences: Sequences,
    config: TrainingConfig,
    device: Device = "auto",
    checkpoint: Path | None = None,
    bar: Callable[..., tqdm] = tqdm,
    trained: bool = False,
) -> pd.DataFrame:
    """Train a recommender in place, and give it the averaged weights of its best epoch.

    If torchrun started several processes, each scores its part of every batch. Batches, negatives and gradients are the
    same as with one process, and so are the weights, except for rounding and dropout, which draws other numbers.

    Args:
        recommender: recommender with initial weights, in float64 if that is the precision.
        sequences: the log.
        config: how to train.
        device: where to train.
        checkpoint: file for the state after each epoch; if it exists, training continues from it.
        bar: opens the progress bar.
        trained: whether the initial weights are of a trained model, which is kept if no epoch is better.

    Returns:
        One row per epoch: `epoch`, `loss` (mean over targets; nats for CE), `ndcg` (validation NDCG@10), `seconds`,
        `targets_per_second`.

    Raises:
        ConfigError: the device is not available, or does not support the precision.
        CprlabError: the training diverged.
        DataError: the checkpoint cannot be read or written.
    """
    training = Training(recommender, sequences, config, device)
    fabric, averaged = training.fabric, training.average.module
    assert isinstance(averaged, Recommender)
    state: _State = {"epochs": [], "best": -1.0, "weights": copy.deepcopy(recommender.state_dict())}
    going_on = {"now": recommender, "average": training.average, "optimizer": training.optimizer}
    if checkpoint is not None and by_first(checkpoint.exists):
        state = _resume(checkpoint, going_on, fabric.device)
    elif trained:
        state["best"] = by_first(partial(_validate, recommender, sequences))
    targets = int(training.windows.n_targets.sum())
    done = len(state["epochs"])
    with bar(
        total=targets * config.epochs,
        initial=targets * done,
        unit=" targets",
        unit_scale=True,
        mininterval=1.0,
        leave=None,  # under a bar over many trainings, this one disappears when done
        disable=not is_first(),
        desc=f"{recommender.head.config}",
    ) as shown:
        for epoch in range(done, config.epochs):
            if _stale(state["epochs"], config.patience):
                break
            began = time.perf_counter()
            summed = 0.0
            for n_targets, value in training.epoch(epoch):
                summed += value
                shown.update(n_targets)
            summed = total(fabric, summed)
            seconds = time.perf_counter() - began
            ndcg = by_first(partial(_validate, averaged, sequences)) if math.isfinite(summed) else math.nan
            if math.isnan(ndcg):
                raise CprlabError(
                    f"Training diverged in epoch {epoch + 1}: the loss is {summed / targets:.4g}, "
                    f"the validation NDCG@10 {ndcg}; lower the learning rate."
                )
            shown.set_postfix(epoch=epoch + 1, loss=f"{summed / targets:.3f}", ndcg=f"{ndcg:.4f}")
            state["epochs"].append(
                {
                    "epoch": epoch + 1,
                    "loss": summed / targets,
                    "ndcg": ndcg,
                    "seconds": seconds,
                    "targets_per_second": targets / seconds,
                }
            )
            if ndcg > state["best"]:
                state["best"], state["weights"] = ndcg, copy.deepcopy(averaged.state_dict())
            if checkpoint is not None:
                now = {name: part.state_dict() for name, part in going_on.items()}
                by_first(partial(_save, {**state, **now}, checkpoint))
    recommender.load_state_dict(state["weights"])
    recommender.eval()
    return pd.DataFrame(state["epochs"])


class Training:
    """A training, step by step: `fit` runs it between validations, benchmarks run it alone.

    Attributes:
        windows: the training windows of the epoch; their borders move from epoch to epoch.
        fabric: device and precision, of this process and possibly others.
        optimizer: Adam, wrapped by Fabric.
        average: the averaged weights, in its `module`.
    """

    def __init__(
        self, recommender: Recommender, sequences: Sequences, config: TrainingConfig, device: Device = "auto"
    ) -> None:
        """Set up the model, the loss and Adam; arguments as in `fit`.

        Raises:
            ConfigError: the device is not available, or does not support the precision.
        """
        accelerator = open_device(device).type
        if accelerator == "mps" and config.precision == "float64":
            raise ConfigError("The device mps has no float64; use the precision float32, or the device cpu.")
        self.recommender, self.sequences = recommender, sequences
        self.config, self.windows = config, sequences.windows("train")
        self.fabric = open_fabric(accelerator, "bf16-mixed" if config.precision == "bfloat16" else None)
        self.loss = build_loss(config.loss, sequences.training_counts(), config.negatives, config.calibration)
        optimizer = torch.optim.Adam(recommender.parameters(), lr=config.learning_rate)
        self.model, self.optimizer = self.fabric.setup(_Scored(recommender, self.loss), optimizer)
        self.average = AveragedModel(recommender, multi_avg_fn=partial(_average, config.averaging))

    def epoch(self, number: int) -> Iterator[tuple[int, float]]:
        """Train on every position once; after each step, yield its number of targets and their summed loss.

        If several processes train, targets are counted over all of them, and the loss is summed over this one's part.

        Args:
            number: the epoch, from 0; with the seed, it determines the order of batches, dropout and negatives.
        """
        fabric, loss = self.fabric, self.loss
        torch.manual_seed(self.config.seed + 1_000_003 * (number + 1))  # the same after a restart
        self.model.train()
        rng = np.random.default_rng((self.config.seed, number))
        shift = rng.integers(self.sequences.largest_shift + 1, size=self.sequences.n_users)
        self.windows = self.sequences.windows("train", shift)
        batches = _batches(self.windows, self.config.batch_size, rng)
        mean = self.windows.n_targets.sum() / len(batches)  # one divisor for all, so every target has the same weight
        for chosen in batches:
            batch = self.sequences.batch(self.windows, chosen)
            share = _share(batch, loss.draw(batch.targets), fabric.global_rank, fabric.world_size)
            value = self.model(*(tensor.to(fabric.device) for tensor in share))
            self.optimizer.zero_grad()
            fabric.backward(fabric.world_size * value / mean)  # gradients are averaged over the processes
            self.optimizer.step()
            self.average.update_parameters(self.recommender)
            yield int(self.windows.n_targets[chosen].sum()), float(value.detach())


class _State(TypedDict):
    """What training continues from: a row per epoch, the best validation NDCG@10, and the weights that reached it."""

    epochs: list[dict[str, float]]
    best: float
    weights: dict[str, torch.Tensor]


class _Scored(nn.Module):
    """A recommender with its loss: DDP needs one module for all that gradients pass through."""

    def __init__(self, recommender: Recommender, loss: Loss) -> None:
        super().__init__()
        self.recommender, self.loss = recommender, loss

    def forward(
        self,
        items: torch.Tensor,
        at: torch.Tensor,
        users: torch.Tensor,
        targets: torch.Tensor,
        negatives: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss, summed over the batch's targets; see `Batch` for shapes, and `Loss` for the negatives."""
        facets = self.recommender(items, at, users)
        context = Context(items, at, self.recommender.n_items)
        return chunked(self.loss, self.recommender.head, facets, self.recommender.outputs, context, targets, negatives)


def _average(
    decay: float, averages: Iterable[torch.Tensor], weights: Iterable[torch.Tensor], steps: torch.Tensor | int
) -> None:
    """Move the averages one step towards the weights.

    The decay at step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage: the first steps
    count for more, so that the initial weights are forgotten.
    """
    now = min(decay, (1 + float(steps)) / (10 + float(steps)))  # once for all: a GPU waits for each such number
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - now)


def _share(batch: Batch, negatives: torch.Tensor, rank: int, world: int) -> list[torch.Tensor]:
    """Return the rows of a batch that a process scores, as arguments of `_Scored`: every `world`-th row.

    A batch may have fewer rows than there are processes. A process without a row gets the first one without targets,
    since all processes must take part in averaging the gradients.
    """
    own = slice(rank, None, world) if rank < len(batch.items) else slice(1)
    targets = batch.targets if rank < len(batch.items) else torch.full_like(batch.targets, -1)
    return [tensor[own] for tensor in (batch.items, batch.at, batch.users, targets, negatives)]


def _batches(windows: Windows, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return all windows in random batches, each with similar lengths and targets, so that there is little padding."""
    order = rng.permutation(len(windows))
    block = size * BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(order), block):
        chosen = order[start : start + block]
        chosen = chosen[np.lexsort((-windows.n_targets[chosen], windows.lengths[chosen]))]
        batches += np.split(chosen, range(size, len(chosen), size))
    return [batches[index] for index in rng.permutation(len(batches))]


def _stale(epochs: list[dict[str, float]], patience: int) -> bool:
    """Return whether the last `patience` epochs gave no better NDCG@10."""
    scores = [epoch["ndcg"] for epoch in epochs]
    return len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience])


def _validate(recommender: Recommender, sequences: Sequences) -> float:
    """Return the validation NDCG@10; NaN if any score is NaN."""
    cases = evaluate(recommender, sequences, "validation")
    return math.nan if cases["log_loss"].isna().any() else mean(cases, MAIN)


def _save(state: dict, checkpoint: Path) -> None:
    with whole(checkpoint) as new, new.open("wb") as file:
        torch.save(state, file)  # given a name, it would hide why it cannot write


def _resume(checkpoint: Path, going_on: dict[str, nn.Module | torch.optim.Optimizer], device: torch.device) -> _State:
    try:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        tensors = {f"{part}.{name}": one for part in ("weights", "now", "average") for name, one in state[part].items()}
        for place, kept in state["optimizer"]["state"].items():
            tensors |= {f"optimizer.{place}.{name}": moment for name, moment in kept.items()}
        if wrong := not_finite(tensors):  # a training that diverges is not kept
            raise ValueError(wrong)
        for name, part in going_on.items():
            part.load_state_dict(state.pop(name))
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        refuse_unreadable(checkpoint, error)
        detail = f" ({error})" if isinstance(error, ValueError) else ""
        raise DataError(
            f"{checkpoint} cannot be read as a checkpoint of this run{detail}; remove it to train again from the start."
        ) from error
    return state
