"""Counting heads: baselines that predict the next item from counts, without training and without hidden states."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional as F

from cprlab.models.heads import Component, Head
from cprlab.models.names import CountingConfig
from cprlab.models.partitions import Context, Facets, Outputs

MIXTURES = {"Markov": ("Markov", "popularity", "uniform"), "Counts": ("frequency", "Markov", "popularity", "uniform")}


class Counting(Head):
    """A head that counts in the items read and in the training part of the log; fitted by `training.fit_counting`.

    Markov and Counts are mixtures with weights λ, p = Σ_k λ_k p_k, of

    - frequency: p(x) ∝ Σ over {j : x_j = x} of δ_f^age_j, the decayed frequency in the history;
    - Markov: p(x) ∝ Σ_j δ_m^age_j M(x_j, x), where M(i, ·) is the normalised distribution of what followed item i in
      training; items that nothing followed do not count, and if there are no others, it is the popularity;
    - popularity: p(x) ∝ how often x occurs in training;
    - uniform: p(x) = 1 / n.

    The latest item read has age 0, the one before it age 1. The other heads only rank: Popular by popularity; Recent by
    the item's last position in the history; Frequent by its count in the history, ties by last position. Items outside
    the history follow by popularity.

    Attributes:
        popularity: (n,) float64, how often each item occurs in training.
        starts: (n + 1,) int64, start of each item's row of M in `columns` and `values`.
        columns: (nnz,) int64, items, increasing within a row.
        values: (nnz,) float64, nonzero entries of M.
        weights: (K,) float64, λ.
        decays: (2,) float64, δ_f and δ_m, above 0 and at most 1.
    """

    config: CountingConfig
    states = ()
    popularity: torch.Tensor
    starts: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    weights: torch.Tensor
    decays: torch.Tensor

    def __init__(self, config: CountingConfig, n_items: int) -> None:
        names = MIXTURES.get(config.kind, (config.kind,))
        super().__init__(config, [Component(name, ()) for name in names], width=0)
        self.register_buffer("popularity", torch.zeros(n_items, dtype=torch.float64))
        self.register_buffer("starts", torch.zeros(n_items + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("weights", torch.full((len(names),), 1 / len(names), dtype=torch.float64))
        self.register_buffer("decays", torch.ones(2, dtype=torch.float64))

    @property
    def plain(self) -> bool:
        """False: no hidden state scores items."""
        return False

    @property
    def n_items(self) -> int:
        """Number of items, n."""
        return len(self.popularity)

    @property
    def matrix(self) -> sparse.csr_array:
        """M, (n, n)."""
        arrays = (one.cpu().numpy() for one in (self.values, self.columns, self.starts))
        return sparse.csr_array(tuple(arrays), shape=(self.n_items, self.n_items))

    @matrix.setter
    def matrix(self, matrix: sparse.csr_array) -> None:
        self.values = torch.from_numpy(matrix.data.astype(np.float64))
        self.columns = torch.from_numpy(matrix.indices.astype(np.int64))
        self.starts = torch.from_numpy(matrix.indptr.astype(np.int64))

    def facets(self, states: torch.Tensor, at: torch.Tensor) -> Facets:
        """Return "mixture" (B, T, K), log λ, or nothing for a head that only ranks; see `Head.facets`."""
        return {"mixture": self.weights.log().expand(*at.shape, -1)} if self.config.probabilities else {}

    def log_probs(self, facets: Facets, outputs: Outputs, context: Context) -> torch.Tensor:
        """See `Head.log_probs`; scores of a head that only ranks are not log-probabilities."""
        if self.config.probabilities:
            return super().log_probs(facets, outputs, context)
        return self.logits(facets, outputs, context)

    def stages(
        self, component: Component, facets: Facets, outputs: Outputs, context: Context
    ) -> Iterator[tuple[str, torch.Tensor | None, torch.Tensor]]:
        """Yield the component's name, and log p (B, T, n + 1) or the scores; see `Head.stages`."""
        name = component.vocabulary or ""
        values = self.component(name, context)
        yield name, None, F.pad(values.log() if self.config.probabilities else values, (0, 1), value=-math.inf)

    def component(self, name: str, context: Context) -> torch.Tensor:
        """Return p_k, or the scores of a head that only ranks, (B, T, n)."""
        popular = self.popularity
        match name:
            case "Popular":
                return popular.expand(*context.at.shape, -1)
            case "Recent" | "Frequent":
                return self._ordered(name == "Frequent", context)
            case "popularity":
                return (popular / popular.sum()).expand(*context.at.shape, -1)
            case "uniform":
                return torch.full_like(popular, 1 / len(popular)).expand(*context.at.shape, -1)
            case "frequency":
                weights = _decayed(self.decays[0], context)
                return self._spread(weights / weights.sum(2, keepdim=True), context)
            case _:
                return self._markov(context)

    def _ordered(self, by_count: bool, context: Context) -> torch.Tensor:
        """Return scores (B, T, n): above 1 for the history's items, below 1 by popularity for all others."""
        ages = _ages(context)
        latest = context.visible & (self._last(context) == ages)
        scores = 1 + 1 / (2 + ages.to(self.popularity.dtype))
        if by_count:
            same = context.same.to(scores.dtype)
            scores = scores + context.visible.to(scores.dtype) @ same
        others = (self.popularity / (1 + self.popularity.max())).expand(*context.at.shape, -1)
        owned = torch.where(latest, context.items[:, None, :], context.padding)
        return F.pad(others, (0, 1)).scatter(2, owned, scores)[..., :-1]

    def _last(self, context: Context) -> torch.Tensor:
        """Return the age (B, T, L) of the last occurrence of each position's item."""
        ages = _ages(context).masked_fill(~context.visible, context.items.shape[1])
        return torch.where(context.same[:, None], ages[:, :, None, :], context.items.shape[1]).amin(3)

    def _spread(self, weights: torch.Tensor, context: Context) -> torch.Tensor:
        """Return (B, T, n), the sum of the weights (B, T, L) of each item's positions."""
        items = context.items[:, None, :].expand_as(weights)
        empty = weights.new_zeros(*context.at.shape, self.n_items + 1)
        return empty.scatter_add(2, items, weights)[..., :-1]

    def _markov(self, context: Context) -> torch.Tensor:
        """Return the Markov component (B, T, n)."""
        weights = _decayed(self.decays[1], context)
        followed = F.pad(self.starts.diff() > 0, (0, 1))[context.items]
        weights = weights * followed[:, None, :]
        total = weights.sum(2, keepdim=True)
        rows, places = np.nonzero((weights > 0).flatten(0, 1).cpu().numpy())
        items = context.items.cpu().numpy()[rows // context.at.shape[1], places]
        share = (weights / total).flatten(0, 1).cpu().numpy()[rows, places]
        read = sparse.csr_array((share, (rows, items)), shape=(context.at.numel(), self.n_items))
        dense = torch.from_numpy((read @ self.matrix).toarray()).to(weights)
        return torch.where(total > 0, dense.view(*context.at.shape, -1), self.popularity / self.popularity.sum())

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
        """Load M with the size that it was saved with, and refuse invalid counts."""
        for name in ("columns", "values"):
            if (saved := state_dict.get(prefix + name)) is not None:
                self.register_buffer(name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
        errors: list[str] = args[-1]
        if not errors and not self._whole():
            errors.append("the counts are not valid counts of a log")

    def _whole(self) -> bool:
        n, starts, columns = self.n_items, self.starts, self.columns
        inside = not len(columns) or bool((columns >= 0).all() and (columns < n).all())
        rows = bool(starts[0] == 0 and starts[-1] == len(columns) == len(self.values) and (starts.diff() >= 0).all())
        numbers = all(bool((one.isfinite() & (one >= 0)).all()) for one in (self.popularity, self.values, self.weights))
        return inside and rows and numbers and bool(((self.decays > 0) & (self.decays <= 1)).all())


class Unread(nn.Module):
    """Placeholder for the encoder of a head that reads no states."""

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, L, 1, 0) for the embedded items (B, L, 0)."""
        return embedded[:, :, None]


def empty_items(n_items: int) -> nn.Embedding:
    """Return item embeddings of width 0, for a counting head."""
    return nn.Embedding(n_items + 1, 0, padding_idx=n_items, _weight=torch.zeros(n_items + 1, 0))


def _ages(context: Context) -> torch.Tensor:
    """Return how many items ago each position is, (B, T, L); 0 for the latest and for later positions."""
    places = torch.arange(context.items.shape[1], device=context.items.device)
    return (context.at[:, :, None] - places).clamp(min=0)


def _decayed(decay: torch.Tensor, context: Context) -> torch.Tensor:
    """Return decay^age (B, T, L), 0 for positions that are not visible."""
    return decay ** _ages(context).to(decay.dtype) * context.visible
