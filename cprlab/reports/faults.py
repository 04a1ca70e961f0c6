"""The faults of the reference implementation (docs/method.md), each measured by turning it on and off.

With a fault and without it, a model is asked the same test cases. Tables of cases have the columns `fault, head, state`
("with" or "without") and `seed` in front of those of `evaluate`, so that `sweeps.means` and `sweeps.gains` read them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import torch
from torch import nn

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.adapters.padded import Padded
from cprlab.adapters.recbole import CLASSES, PADDING, RECORDED, Reference, from_state_dict, load
from cprlab.data import InteractionLog, Sequences
from cprlab.data.sequences import FEWEST
from cprlab.errors import ConfigError
from cprlab.evaluation import evaluate
from cprlab.evaluation.tables import interval
from cprlab.files import locked, make_folder
from cprlab.models import Recommender, parse_head
from cprlab.models.partitions import Reranker
from cprlab.reports.study import StudyConfig
from cprlab.sweeps import Results
from cprlab.training import RunConfig, fit

EPSILON = 1e-8  # what the reference adds to a probability before it takes the logarithm
HISTORIES = [[1, 2, 3, 3, 4, 5, 6], [7], [8, 9, 8]]  # of which the probabilities are recorded

Models = dict[tuple[str, bool, int], Recommender]  # by head, whether the fault was trained with, and seed


class FaultsConfig(StudyConfig):
    """The parameters of the notebook on the reference: those of a study on one log, and

    Attributes:
        recent: the last interactions of each user that models are trained on as RecBole trains them; few, so that there
            is padding.
    """  # noqa: D400, D415

    data: str = "complete-journey-types"
    recent: int = pydantic.Field(20, ge=FEWEST)

    @pydantic.field_validator("data")
    @classmethod
    def _one(cls, data: str) -> str:
        if ";" in data:
            raise ValueError("the reference is measured on one log; run the notebook once for each")
        return data

    def train_padded(self, log: Sequences) -> Models:
        """Train each head on padded histories, read at the last slot (fault 1) and at the last item."""
        models = {}
        for trial in self.grid().trials():
            for at_end in (True, False):
                config, padded = trial.config, Padded.of(log, at_end)
                torch.manual_seed(config.training.seed)
                head = parse_head(config.head)
                model = Reference(
                    config.encoder, head, padded.n_items, max_len=log.max_len, at_end=at_end, rerank=head.rerank[::-1]
                )
                model.embedding.padding_idx = PADDING  # what is read of it is not trained
                models[config.head, at_end, config.training.seed] = self._fit(model, padded, config, "padded")
        return models

    def train_skipping(self, log: Sequences) -> Models:
        """Train each head that has a reranker and a context partition with rerankers that leave out the history."""
        models = {}
        for trial in self.grid().trials():
            config = trial.config
            head = parse_head(config.head)
            if head.rerank and head.context:
                torch.manual_seed(config.training.seed)
                model = Recommender(config.encoder, head, log.n_items, n_users=log.n_users, max_len=log.max_len)
                skip_history(model)
                models[config.head, False, config.training.seed] = self._fit(model, log, config, "skipping")
        return models

    def _fit(self, model: Recommender, log: Sequences, config: RunConfig, kind: str) -> Recommender:
        """Train a model, or take the weights of the file that an earlier call left among the runs."""
        file = Path(self.runs) / f"{kind}-{config.encoder.name.lower()}-{config.identity(log)}.checkpoint"
        make_folder(file.parent)
        model = model.double() if config.training.precision == "float64" else model
        with locked(file):
            fit(model, log, config.training, self.device, checkpoint=file)
        return model.cpu()


@dataclass(frozen=True)
class NewItemsReranker(Reranker):
    """R:k, where the k items are chosen outside the history."""

    def score(self, z, facets, outputs, context):
        """See `Partition`."""
        new = z.detach().scatter(2, context.distinct, -torch.inf)
        return super().score(new, facets, outputs, context)


def skip_history(model: Recommender) -> None:
    """Make the rerankers of a model choose their items outside the history."""
    for index, component in enumerate(model.head.components):
        partitions = [
            NewItemsReranker(partition.k, partition.facet, partition.merge)
            if isinstance(partition, Reranker)
            else partition
            for partition in component.partitions
        ]
        model.head.components[index] = replace(component, partitions=tuple(partitions))


@contextmanager
def without_padding(model: Reference) -> Iterator[Reference]:
    """Give padding the probability 0 for the length of a `with` block."""
    bias = model.embedding.weight.new_zeros(model.n_items + 1)
    bias[PADDING] = -torch.inf
    model.item_bias = nn.Parameter(bias, requires_grad=False)
    try:
        yield model
    finally:
        model.item_bias = None


def padding_cases(models: Models, log: Sequences) -> pd.DataFrame:
    """Return the test cases with faults 1 and 2 and without, of models that `train_padded` gave.

    Fault 1 is measured where padding is not scored, fault 2 where the state is read at the last slot.
    """
    at_slot, at_item = Padded.of(log, True), Padded.of(log, False)
    tables = []
    for (head, faulty, seed), model in models.items():
        with without_padding(model):
            own = evaluate(model, at_slot if faulty else at_item)
            other = evaluate(model, at_item) if faulty else None
        tables.append(_labelled(own, "1, in training and test", head, "with" if faulty else "without", seed))
        if faulty:
            tables.append(_labelled(own, "1, in the test alone", head, "with", seed))
            tables.append(_labelled(other, "1, in the test alone", head, "without", seed))
            tables.append(_labelled(evaluate(model, at_slot), "2, in the test", head, "with", seed))
            tables.append(_labelled(own, "2, in the test", head, "without", seed))
    return pd.concat(tables, ignore_index=True)


def reranker_cases(results: Results, skipping: Models, log: Sequences) -> pd.DataFrame:
    """Return the test cases with fault 10 and without: without it in the test alone, and in training too."""
    tables = []
    for (head, _, seed), model in skipping.items():
        run = results.run(head=head, seed=seed)
        skip_history(run.recommender)
        for fault, without in (("10, in training and test", model), ("10, in the test alone", run.recommender)):
            tables.append(_labelled(run.cases, fault, head, "with", seed))
            tables.append(_labelled(evaluate(without, log), fault, head, "without", seed))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["fault", "head", "state", "seed"])


def _labelled(cases: pd.DataFrame, fault: str, head: str, state: str, seed: int) -> pd.DataFrame:
    labels = pd.DataFrame({"fault": fault, "head": head, "state": state, "seed": seed}, index=cases.index)
    return pd.concat([labels, cases], axis=1)


def padding_shares(models: Models, log: Sequences, k: int = 10) -> pd.DataFrame:
    """Return what padding takes of models with faults 1 and 2.

    Returns:
        Rows `fault, head, measured, value, low, high`: the probability of padding, whether it is among the top k, and
        the share of the top k that agrees when the same history (its last `max_len` / 2 items) stands in half as many
        slots.
    """
    histories = [(log.items[a:b] + 1).tolist() for a, b in _read(log.windows("test"))]
    rows = []
    for head in dict.fromkeys(head for head, _, _ in models):
        faulty = [model for (name, at_end, _), model in models.items() if name == head and at_end]
        of_padding = np.mean([np.exp(model.log_probs(histories)[:, PADDING]) for model in faulty], axis=0)
        recommended = np.mean([(model.topk(histories, k)[0] == PADDING).any(1) for model in faulty], axis=0)
        agreed = np.mean([agreement(model, histories, k) for model in faulty], axis=0)
        for fault, measured, values in (
            ("2", "probability of padding", of_padding),
            ("2", f"lists of {k} that recommend padding", recommended),
            ("6", f"share of the top {k} that agrees, padded to {log.max_len // 2} or {log.max_len} slots", agreed),
        ):
            low, high = interval(values)
            rows.append((fault, head, measured, values.mean(), low, high))
    return pd.DataFrame(rows, columns=["fault", "head", "measured", "value", "low", "high"])


def agreement(model: Reference, histories: list[list[int]], k: int) -> np.ndarray:
    """Return (m,) the share of the top k that is the same in `max_len` slots and in half of them."""
    slots = model.max_len
    recent = [history[-(slots // 2) :] for history in histories]
    many = model.topk(recent, k)[0]
    model.max_len = slots // 2
    few = model.topk(recent, k)[0]
    model.max_len = slots
    return (many[:, :, None] == few[:, None]).any(2).mean(1)


def _read(windows) -> Iterator[tuple[int, int]]:
    return zip(windows.start, windows.stop, strict=True)


def smoothed(p: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what fault 3 makes of the loss, CrossEntropyLoss(log(p + 1e-8)), at targets of probability p.

    Returns:
        By how many nats the loss is less than −log p, and the share p / (p + 1e-8) of the gradient that is left.
    """
    loss = -np.log(p + EPSILON) + np.log1p(n_items * EPSILON)
    return -np.log(p) - loss, p / (p + EPSILON)


def lost_order(log: InteractionLog) -> pd.DataFrame:
    """Return how much of a log's order is lost when times become float32 (fault 8).

    Returns:
        Rows `measured, of, lost`: neighbouring interactions of one user with different times; and users whose last
        two interactions, the held-out ones, have different times.
    """
    if log.times is None:
        raise ConfigError(f"{log.name} has no times, so that none can be rounded; measure fault 8 on another log.")
    one_user = np.diff(log.users) == 0
    differ = one_user & (np.diff(log.times) != 0)
    lost = differ & (np.diff(log.times.astype(np.float32)) == 0)
    last = one_user & ~np.append(one_user[1:], False)
    rows = [
        ("neighbouring interactions of a user at different times", differ.sum(), lost.sum()),
        ("users whose test item is later than the one before it", (differ & last).sum(), (lost & last).sum()),
    ]
    return pd.DataFrame(rows, columns=["measured", "of", "lost"])


def candidates_of_history(model: Recommender, log: Sequences) -> np.ndarray:
    """Return (users,) how many of the largest reranker's k items are of the history, which C scores anew (fault 10)."""
    histories = [log.items[a:b].tolist() for a, b in _read(log.windows("test"))]
    k = max(model.head.config.rerank)
    first = model.parts(histories).components[0].logits[0]
    chosen = np.argpartition(-first, k - 1, axis=1)[:, :k]
    return np.array([np.isin(items, history).sum() for items, history in zip(chosen, histories, strict=True)])


def parity() -> pd.DataFrame:
    """Return how close the recorded checkpoints of RecBole's come to its own probabilities, a row a class."""
    rows = []
    with np.load(RECORDED / "checkpoints.npz") as recorded:
        for name in CLASSES:
            reference, corrected = (
                np.abs(np.exp(load(RECORDED / f"{name}.pth", fidelity).log_probs(HISTORIES)) - recorded[name]).max()
                for fidelity in ("reference", "corrected")
            )
            rows.append((name, reference, corrected))
    return pd.DataFrame(rows, columns=["class", "reference", "corrected"])


def silent_options() -> pd.DataFrame:
    """Return options that the reference ignores without a word, and what cprlab does (fault 7).

    Returns:
        Rows `class, option, taken_for, difference, cprlab`: what the reference takes the option for, the largest
        difference of its probabilities to those with that (on a recorded checkpoint), and cprlab's answer.
    """
    rows = []
    for name, option, taken_for in (
        ("GRU4RecCPR", {"partition_merging_mode": "average"}, {"n_facet_context": 0}),
        ("SASRecCPR", {"partition_merging_mode": "average"}, {"partition_merging_mode": "add"}),
        ("SASRecCPR", {"partition_merging_mode": "half"}, {"partition_merging_mode": "add"}),
        ("GRU4RecCPR", {"reranker_merging_mode": "average"}, {"reranker_merging_mode": "replace"}),
        ("GRU4RecCPR", {"reranker_CAN_NUM": 1000}, None),
    ):
        checkpoint = read_checkpoint(RECORDED / f"{name}.pth")
        config, state = checkpoint["config"].final_config_dict, checkpoint["state_dict"]

        def probabilities(changes, fidelity, name=name, config=config, state=state):
            return np.exp(from_state_dict(name, config | changes, state, fidelity).log_probs(HISTORIES))

        difference, ours = np.nan, ""
        if taken_for:
            difference = np.abs(probabilities(option, "reference") - probabilities(taken_for, "reference")).max()
        try:
            moved = np.abs(probabilities(option, "corrected") - probabilities(taken_for or {}, "corrected")).max()
            ours = f"does it: probabilities move by up to {moved:.3f}"
        except ConfigError as error:
            ours = str(error)
        rows.append((name, _setting(option), _setting(taken_for) if taken_for else "crashes", difference, ours))
    return pd.DataFrame(rows, columns=["class", "option", "taken_for", "difference", "cprlab"])


def _setting(values: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
