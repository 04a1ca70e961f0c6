"""Partitions: each owns some items for an input and scores them; later partitions override earlier ones.

A partition has no weights. It reads facets, hidden states prepared by the head, so that a facet can be moved by hand
and everything scored again. Shapes: B windows, L items read, T positions scored, n items, hidden size d.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch.nn import functional as F

Facets = dict[str, torch.Tensor]  # by name
Scored = tuple[torch.Tensor, torch.Tensor]  # the items that a partition owns (B, T, k), and their scores (B, T, k)

GROUP = 8  # wider groups cost more to search, narrower ones more passes
MANY = 4  # times k; with fewer groups, grouping costs more than it saves
TAGGED = 2**17  # double-precision numbers per block, a megabyte


@dataclass(frozen=True)
class Context:
    """The input of partitions: the items read and the positions scored.

    Attributes:
        items: (B, L) int64 codes, padded with n.
        at: (B, T) int64, positions scored; an item is visible from its own and later positions.
        padding: the code n.
    """

    items: torch.Tensor
    at: torch.Tensor
    padding: int

    @cached_property
    def same(self) -> torch.Tensor:
        """(B, L, L) bool: whether positions i and j have the same item."""
        return self.items[:, :, None] == self.items[:, None, :]

    @cached_property
    def visible(self) -> torch.Tensor:
        """(B, T, L) bool: whether position j has an item and is not after the position scored."""
        places = torch.arange(self.items.shape[1], device=self.items.device)
        return (places <= self.at[:, :, None]) & (self.items != self.padding)[:, None, :]

    @cached_property
    def first(self) -> torch.Tensor:
        """(B, L) int64: position of the first occurrence of each position's item, visible or not."""
        return self.same.to(torch.uint8).argmax(dim=2)  # argmax returns the first maximum

    @cached_property
    def distinct(self) -> torch.Tensor:
        """(B, T, L) int64: distinct visible items at their first occurrence, padding elsewhere.

        Whether j is the first occurrence of its item does not depend on the position scored, so one mask is enough.
        """
        first = self.first == torch.arange(self.items.shape[1], device=self.items.device)
        return torch.where(self.visible & first[:, None, :], self.items[:, None, :], self.padding)

    @cached_property
    def occurrences(self) -> torch.Tensor:
        """(B, T, L) int64: all occurrences of visible items, padding elsewhere."""
        return torch.where(self.visible, self.items[:, None, :], self.padding)

    @cached_property
    def counts(self) -> torch.Tensor:
        """(B, T, L) float: visible count of each item of `occurrences`; infinity for padding."""
        visible = self.visible.float()
        return (visible @ self.same.float()).masked_fill(~self.visible, math.inf)

    def rows(self, chosen: slice) -> Self:
        """Return the context of the chosen windows."""
        return replace(self, items=self.items[chosen], at=self.at[chosen])


class Outputs(NamedTuple):
    """Output embeddings.

    Attributes:
        weight: (n + 1, d), the last row for padding.
        bias: (n + 1,), or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def score_all(self, facet: torch.Tensor) -> torch.Tensor:
        """Return f · w_v + b_v for facets (B, T, d) and all items, as (B, T, n + 1)."""
        return F.linear(facet, self.weight, self.bias)

    def score(self, facet: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return f · w_v + b_v for facets (B, T, d) and items (B, T, k) chosen for each, as (B, T, k)."""
        weight, bias = self.lookup(codes)
        scores = (facet[..., None, :] @ weight.mT).squeeze(-2)
        return scores if bias is None else scores + bias

    def lookup(self, codes: torch.Tensor) -> "Outputs":
        """Return the weight (*codes.shape, d) and the bias (codes.shape), or None, of the items with these codes."""
        return Outputs(F.embedding(codes, self.weight), None if self.bias is None else self.bias[codes])


class Embeddings(Protocol):
    """The interface of output embeddings that partitions use; training replaces `Outputs` by another implementation."""

    def score(self, facet: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """See `Outputs`."""
        ...

    def lookup(self, codes: torch.Tensor) -> Outputs:
        """See `Outputs`."""
        ...


def largest(z: torch.Tensor, k: int) -> torch.Tensor:
    """Return the indices (…, k) of the k largest of (…, n), in any order.

    For any division into groups, the k largest are within the k groups with the largest maxima. So a long row is
    divided into groups of GROUP, and the largest maxima are found first, recursively.
    """
    n = z.shape[-1]
    groups = n // GROUP
    if groups <= MANY * k:
        return _largest(z, k)
    first = largest(z[..., : groups * GROUP].unflatten(-1, (GROUP, groups)).amax(-2), k)
    members = (first[..., None, :] + groups * torch.arange(GROUP, device=z.device)[:, None]).flatten(-2)
    rest = torch.arange(groups * GROUP, n, device=z.device).expand(*z.shape[:-1], -1)
    members = torch.cat([members, rest], dim=-1)
    return members.gather(-1, _largest(z.gather(-1, members), k))


def _largest(z: torch.Tensor, k: int) -> torch.Tensor:
    """See `largest`, without groups; on a CPU, NumPy needs a fraction of torch's time.

    A single-precision number leaves 29 bits free in a double. Its index is stored there, so that numbers are
    partitioned instead of indices, a few rows at a time to stay in a core's cache.
    """
    if z.device.type != "cpu" or z.dtype == torch.bfloat16:  # NumPy has no bfloat16
        return z.topk(k, sorted=False).indices
    n = z.shape[-1]
    if z.dtype == torch.float64:
        return torch.from_numpy(np.argpartition(z.numpy(), n - k, axis=-1)[..., n - k :].copy())
    least, places, found = torch.finfo(z.dtype).min, torch.arange(n), []
    for rows in z.flatten(0, -2).split(max(1, TAGGED // n)):
        tagged = rows.double().clamp_(min=least)  # −inf with an index would be NaN
        tagged.view(torch.int64).bitwise_or_(places)
        tagged.numpy().partition(n - k, axis=-1)
        found.append(tagged[:, n - k :].contiguous().view(torch.int64) & (2**29 - 1))
    return torch.cat(found).view(*z.shape[:-1], k)


Merge = Literal["replace", "add", "half"]


def merge(z: torch.Tensor, codes: torch.Tensor, scores: torch.Tensor, how: Merge) -> torch.Tensor:
    """Merge the scores (B, T, k) of items (B, T, k) into the logits z (B, T, n + 1); z may change in place.

    `replace`: z_x ← s_x; `add`: z_x ← z_x + s_x; `half`: z_x ← z_x / 2 + s_x.
    """
    match how:
        case "replace":
            return z.scatter_(2, codes, scores)
        case "add":
            return z.scatter_add_(2, codes, scores)
        case "half":
            return z.scatter(2, codes, z.gather(2, codes) / 2 + scores)


@dataclass(frozen=True)
class Facet:
    """A partition's input from the head: a linear map of q, or learned numbers that are the same for all inputs.

    Attributes:
        name: name of the facet.
        width: number of values; None for a hidden state of size d.
        everywhere: whether it is computed at every position read, (B, L, ·), instead of the scored ones, (B, T, ·).
        shared: whether all vocabulary facets of a mixture share it; shared weights are drawn after the others.
        learned: whether it is independent of q.
        start: initial values; for a linear map, its initial bias with weights of 0. None: random.
    """

    name: str
    width: int | None = None
    everywhere: bool = False
    shared: bool = False
    learned: bool = False
    start: tuple[float, ...] | None = None


class Partition(Protocol):
    """The interface of partitions.

    All but `Reranker` own items of the history only; `Recommender.topk` relies on it when an index lists the items.
    """

    @property
    def reads(self) -> tuple[Facet, ...]:
        """The facets that a partitioned softmax prepares for it."""
        ...

    @property
    def name(self) -> str:
        """Its name in the table of a prediction's parts."""
        ...

    @property
    def merge(self) -> Merge:
        """How scores are merged into the logits so far."""
        ...

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """Return the items that the partition owns (B, T, k), and their scores (B, T, k).

        Args:
            z: (B, T, n + 1) logits so far; must not be changed. The last column is padding: partitions may own it any
                number of times, and it is never read.
            facets: facets by name, (B, T, d) at the positions scored, or (B, L, d) at the positions read.
            outputs: the output embeddings.
            context: the items read and the positions scored.
        """
        ...


@dataclass(frozen=True)
class Reranker:
    """R:k: the k items with the largest logits so far are scored by f_Rk."""

    k: int
    facet: str
    merge: Merge

    @property
    def name(self) -> str:
        """See `Partition`."""
        return f"R:{self.k}"

    @property
    def reads(self) -> tuple[Facet, ...]:
        """See `Partition`."""
        return (Facet(self.facet),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        owned = largest(z[..., :-1].detach(), self.k)
        return owned, outputs.score(facets[self.facet], owned)


@dataclass(frozen=True)
class ContextPartition:
    """C: every distinct item of the visible input is scored by f_C."""

    facet: str
    merge: Merge
    name: str = "C"

    @property
    def reads(self) -> tuple[Facet, ...]:
        """See `Partition`."""
        return (Facet(self.facet),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        weight, bias = outputs.lookup(context.items)
        scores = facets[self.facet] @ weight.mT  # (B, T, L)
        return context.distinct, scores if bias is None else scores + bias[:, None]


@dataclass(frozen=True)
class Pointer:
    """P: every distinct item x of the visible input gains the mean over {j : x_j = x} of f_P · l_j, or the sum.

    It owns an item once per occurrence j, and each occurrence adds its part.
    """

    mean: bool
    merge: Merge = "add"
    name: str = "P"
    reads: tuple[Facet, ...] = (Facet("P", shared=True), Facet("L", everywhere=True, shared=True))

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        local = facets["P"] @ facets["L"].mT  # (B, T, L)
        return context.occurrences, local / context.counts if self.mean else local * context.visible


@dataclass(frozen=True)
class Shift:
    """B: one learned number is added to the logit of every distinct item of the visible input."""

    merge: Merge = "add"
    name: str = "B"
    reads: tuple[Facet, ...] = (Facet("B", width=1, shared=True, learned=True, start=(0.0,)),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        return context.distinct, facets["B"].expand(context.distinct.shape)


@dataclass(frozen=True)
class Frequency:
    """F: every distinct item x of the visible input gains b + w₁ log(1 + count of x) + w₂ log Σ_j age_j^−δ.

    The sum is over the occurrences j of x. The latest item read has age 1, the one before it age 2. The last term is
    ACT-R's base-level activation (Anderson & Schooler, Psychological Science 1991) with a learned decay δ > 0. The
    facet "F" has the values b, w₁, w₂ and softplus⁻¹(δ).

    Attributes:
        linear: whether these four are linear in q; otherwise they are learned and the same for all inputs.
    """

    linear: bool
    merge: Merge = "add"
    name: str = "F"

    @property
    def reads(self) -> tuple[Facet, ...]:
        """See `Partition`; δ starts at 1/2, as is usual in ACT-R, and the others at 0."""
        start = (0.0, 0.0, 0.0, math.log(math.expm1(0.5)))
        return (Facet("F", width=4, shared=True, learned=not self.linear, start=start),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        b, by_count, by_age, decay = facets["F"].unsqueeze(2).unbind(3)  # (B, T, 1) each
        # Above the threshold, softplus(x) = x; at the default of 20, float64 still resolves the difference.
        visible, same, decay = context.visible.to(z.dtype), context.same.to(z.dtype), F.softplus(decay, threshold=40)
        age = (context.at[:, :, None] - torch.arange(visible.shape[2], device=z.device) + 1).clamp(min=1)
        log_age = age.to(z.dtype).log()
        # Relative to the item's last occurrence, whose power is then 1, so no sum underflows to 0 for a large decay.
        first = context.first[:, None].expand_as(log_age)
        last = torch.full_like(log_age, math.inf).scatter_reduce_(
            2, first, log_age.masked_fill(~context.visible, math.inf), "amin"
        )
        last = last.gather(2, first).masked_fill(~context.visible, 0)
        powers = (-decay * (log_age - last)).exp() * visible @ same
        activation = powers.clamp(min=1).log() - decay * last
        return context.distinct, b + by_count * (visible @ same).log1p() + by_age * activation


@dataclass(frozen=True)
class Attention:
    """Every distinct item x of the visible input gets log Σ over {j : x_j = x} of exp(a_j), with a the facet "repeat".

    So the softmax over items is the softmax of a over positions, summed over an item's occurrences.
    """

    merge: Merge = "replace"
    name: str = "repeat"
    reads: tuple[Facet, ...] = ()

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        of_same = context.visible[:, :, None] & context.same[:, None]  # (B, T, L, L): position, and one of its item
        attention = facets["repeat"][:, :, None].masked_fill(~of_same, torch.finfo(z.dtype).min / 2)
        return context.distinct, attention.logsumexp(3)


@dataclass(frozen=True)
class Exclusion:
    """Every item of the visible input gets probability 0."""

    merge: Merge = "replace"
    name: str = "excluded"
    reads: tuple[Facet, ...] = ()

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        owned = context.distinct
        return owned, z.new_full((), -math.inf).expand(owned.shape)
