"""Models with and without the faults of the reference implementation (docs/method.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pydantic
import torch
from torch import nn

from cprlab.adapters.padded import Padded
from cprlab.adapters.recbole import PADDING, Reference
from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.data.splits import FEWEST
from cprlab.files import locked
from cprlab.models import Recommender, SoftmaxConfig, parse_head
from cprlab.models.partitions import Context, Embeddings, Facets, Partition, Reranker, Scored
from cprlab.studies.config import StudyConfig
from cprlab.training import RunConfig, build, fit

SAMPLES = 4  # factor of the batch size if each window has only one target

Models = dict[tuple[str, bool, int], Recommender]  # by head, whether the fault was trained with, and seed


class FaultsConfig(StudyConfig):
    """The parameters of a study, on one log."""

    data: Names = ("complete-journey-types",)
    recent: int = pydantic.Field(
        12,
        ge=FEWEST,
        description="Number of each user's last interactions for training as in RecBole; few, so that there is "
        "padding, and because each target is a sample there.",
    )

    @pydantic.field_validator("data")
    @classmethod
    def _one(cls, data: tuple[str, ...]) -> tuple[str, ...]:
        if len(data) > 1:
            raise ValueError("the faults are measured on one log; run the notebook once for each")
        return data

    def train_padded(self, log: Sequences) -> Models:
        """Train each head on padded histories, with the state read at the last slot (fault 1) and at the last item."""
        models = {}
        for trial in self.grid().trials():
            training = trial.config.training
            config = trial.config.but(training=training.but(batch_size=SAMPLES * training.batch_size))
            rerank = getattr(parse_head(config.head), "rerank", ())[::-1]
            for at_end in (True, False):
                padded = Padded.of(log, at_end)
                model = build(config, padded, partial(Reference, at_end=at_end, rerank=rerank))
                model.embedding.padding_idx = PADDING  # as in RecBole, read but not trained
                models[config.head, at_end, training.seed] = self._fit(model, padded, config, "padded")
        return models

    def train_skipping(self, log: Sequences) -> Models:
        """Train each head with a reranker and a context partition so that its rerankers leave out the history."""
        models = {}
        for trial in self.grid().trials():
            config = trial.config
            head = parse_head(config.head)
            if isinstance(head, SoftmaxConfig) and head.rerank and head.context:
                model = build(config, log)
                skip_history(model)
                models[config.head, False, config.training.seed] = self._fit(model, log, config, "skipping")
        return models

    def _fit(self, model: Recommender, log: Sequences, config: RunConfig, kind: str) -> Recommender:
        """Train a model, or load the weights that an earlier call saved in the folder of the runs."""
        file = Path(self.runs) / f"{kind}-{config.encoder.name.lower()}-{config.identity(log)}.checkpoint"
        with locked(file):
            fit(model, log, config.training, self.device, checkpoint=file)
        return model.cpu()


@dataclass(frozen=True)
class NewItemsReranker(Reranker):
    """R:k with the k items chosen outside the history."""

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        new = z.detach().scatter(2, context.distinct, -torch.inf)
        return super().score(new, facets, outputs, context)


def skip_history(model: Recommender) -> None:
    """Make the rerankers of a model choose their items outside the history."""
    for index, component in enumerate(model.head.components):
        partitions: list[Partition] = [
            NewItemsReranker(partition.k, partition.facet, partition.merge)
            if isinstance(partition, Reranker)
            else partition
            for partition in component.partitions
        ]
        model.head.components[index] = replace(component, partitions=tuple(partitions))


@contextmanager
def without_padding(model: Recommender) -> Iterator[None]:
    """Set the probability of padding to 0 within a `with` block."""
    bias = torch.zeros(model.n_items + 1).to(model.embedding.weight)
    bias[PADDING] = -torch.inf
    model.item_bias = nn.Parameter(bias, requires_grad=False)
    try:
        yield
    finally:
        model.item_bias = None
