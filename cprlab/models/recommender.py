"""Recommender: item embeddings, an encoder and a head, and the questions one asks of them."""

import numbers
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from cprlab.errors import ConfigError
from cprlab.models.encoders import EncoderConfig, build_encoder
from cprlab.models.heads import Head
from cprlab.models.names import HeadConfig
from cprlab.models.partitions import Context, Facets


class Recommender(nn.Module):
    """A sequential recommender over items 0 … n − 1; the code n is padding and is never scored.

    Output embeddings are tied to the input embeddings.

    Args:
        encoder: which encoder, and its sizes.
        head: which head.
        n_items: n.

    Raises:
        ConfigError: a reranker of the head is too large for so few items.
    """

    def __init__(self, encoder: EncoderConfig, head: HeadConfig, n_items: int) -> None:
        super().__init__()
        head.check_items(n_items)
        self.n_items = n_items
        self.embedding = nn.Embedding(n_items + 1, encoder.d, padding_idx=n_items)
        nn.init.xavier_normal_(self.embedding.weight)
        with torch.no_grad():
            self.embedding.weight[n_items] = 0
        self.encoder = build_encoder(encoder)
        self.head = Head(head, encoder.d, encoder.layers)

    def forward(self, items: torch.Tensor, at: torch.Tensor) -> Facets:
        """Read histories and return what the head scores with; all the weights are at work here, none in the scoring.

        Args:
            items: (B, L) int64 codes, padded on the right with n.
            at: (B, T) int64, the positions after which to predict.

        Returns:
            The head's facets by name (see `Head.facets`).
        """
        return self.head.facets(self.encoder(self.embedding(items)), at)

    def score(self, items: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities (B, T, n) of the item after each position in `at`; arguments as in `forward`."""
        return self.head.log_probs(self(items, at), self.embedding.weight, Context(items, at, self.n_items))

    @torch.no_grad()
    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """Return log-probabilities (len(histories), n) of the next item, in the weights' precision.

        Args:
            histories: item codes, oldest first, any lengths from 1 up.

        Raises:
            ConfigError: a history is empty or holds a code that is not an item.
        """
        for row, history in enumerate(histories):
            if not len(history):
                raise ConfigError(f"History {row} is empty; a prediction needs at least one item.")
            if min(history) < 0 or max(history) >= self.n_items:
                raise ConfigError(
                    f"History {row} holds an item outside 0 … {self.n_items - 1}; use the codes of the training log."
                )
            if not all(isinstance(item, numbers.Integral) for item in history):
                raise ConfigError(f"History {row} holds something that is not a whole number; use item codes.")
        device = self.embedding.weight.device
        if not len(histories):
            return np.empty((0, self.n_items), dtype=np.float32)
        items = nn.utils.rnn.pad_sequence(
            [torch.as_tensor(np.asarray(history), dtype=torch.int64) for history in histories],
            batch_first=True,
            padding_value=self.n_items,
        ).to(device)
        at = torch.tensor([[len(history) - 1] for history in histories], device=device)
        was_training = self.training
        self.eval()
        scores = self.score(items, at)[:, 0]
        self.train(was_training)
        return scores.cpu().numpy()
