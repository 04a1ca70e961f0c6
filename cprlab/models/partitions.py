"""Partitions: each owns some items for an input and says how they are scored; later ones override earlier ones.

A partition has no weights. It reads facets, the hidden states that the head prepared for it, so that a facet can be
moved by hand and everything be scored again. All shapes: B windows, L items read, T positions scored, n items, d.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import torch
from torch.nn import functional as F

Facets = dict[str, torch.Tensor]  # by name


@dataclass(frozen=True)
class Context:
    """What the partitions see of the input: the items read and the positions scored.

    Attributes:
        items: (B, L) int64 codes, padding is n.
        at: (B, T) int64, positions scored; an item is visible from a position at or after its own.
        padding: the code n.
    """

    items: torch.Tensor
    at: torch.Tensor
    padding: int

    @cached_property
    def same(self) -> torch.Tensor:
        """(B, L, L) bool: positions i and j hold the same item."""
        return self.items[:, :, None] == self.items[:, None, :]

    @cached_property
    def visible(self) -> torch.Tensor:
        """(B, T, L) bool: position j holds an item and is not after the position scored."""
        places = torch.arange(self.items.shape[1], device=self.items.device)
        return (places <= self.at[:, :, None]) & (self.items != self.padding)[:, None, :]

    @cached_property
    def distinct(self) -> torch.Tensor:
        """(B, T, L) int64: visible items, each once, at the place of its first occurrence; elsewhere padding.

        Whether j is the first occurrence of its item does not depend on the position scored, so one mask serves all.
        """
        earlier = torch.ones_like(self.same[0]).tril(-1)
        first = ~(self.same & earlier).any(dim=2)
        return torch.where(self.visible & first[:, None, :], self.items[:, None, :], self.padding)

    def rows(self, chosen: slice) -> Self:
        """Return the context of some of the windows."""
        return replace(self, items=self.items[chosen], at=self.at[chosen])


class Partition(Protocol):
    """What a head's partitions have in common: the facets that they read, and how they change the logits."""

    facets: tuple[str, ...]

    def score(self, z: torch.Tensor, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the logits (B, T, n + 1) after this partition, which may change `z` in place.

        Args:
            z: (B, T, n + 1) logits so far. The last column belongs to padding: partitions may write to it, nobody
                reads it.
            facets: by name, (B, T, d) for a facet of the positions scored, (B, L, d) for one of the positions read.
            weight: (n + 1, d) output embeddings, the last row padding's.
            context: what was read.
        """
        ...


class Vocabulary:
    """V: every item v gets f_V · w_v."""

    facets = ("V",)

    def score(self, z: torch.Tensor, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Partition`; here `z` is ignored."""
        return F.linear(facets["V"], weight)


class Reranker:
    """R:k: the k items with the largest logits so far get f_Rk · w_v instead."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.facets = (f"R{k}",)

    def score(self, z: torch.Tensor, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Partition`."""
        top = z[..., :-1].detach().topk(self.k, sorted=False).indices
        return z.scatter_(2, top, _dot(facets[self.facets[0]], F.embedding(top, weight)))


class ContextPartition:
    """C: every distinct item x of the visible input gets f_C · w_x instead; with the pointer P, f_C · w_x + p_x.

    p_x is the mean of f_P · l_j over the visible positions j that hold x.
    """

    def __init__(self, pointer: bool) -> None:
        self.pointer = pointer
        self.facets = ("C", "P", "L") if pointer else ("C",)

    def score(self, z: torch.Tensor, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Partition`."""
        scores = facets["C"] @ F.embedding(context.items, weight).mT  # (B, T, L)
        if self.pointer:
            visible, same = context.visible.to(z.dtype), context.same.to(z.dtype)
            local = facets["P"] @ facets["L"].mT * visible
            scores = scores + (local @ same) / (visible @ same).clamp(min=1)
        return z.scatter_(2, context.distinct, scores)


def _dot(facet: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    """Dot products of (B, T, d) with (B, T, k, d), as (B, T, k)."""
    return (embeddings @ facet[..., None]).squeeze(-1)
