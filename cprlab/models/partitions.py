"""Partitions: each owns some items for an input and says how they are scored; later ones override earlier ones.

A partition has no weights. It reads facets, the hidden states that the head prepared for it, so that a facet can be
moved by hand and everything be scored again. All shapes: B windows, L items read, T positions scored, n items, d.
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

GROUP = 8  # a wider group costs more to search, a narrower one more passes
MANY = 4  # times k: fewer groups cost more than they save
TAGGED = 2**17  # numbers of double precision, a megabyte


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
    def first(self) -> torch.Tensor:
        """(B, L) int64: where the item of each position occurs first, visible or not."""
        return self.same.to(torch.uint8).argmax(dim=2)  # of equal ones the first

    @cached_property
    def distinct(self) -> torch.Tensor:
        """(B, T, L) int64: visible items, each once, at the place of its first occurrence; elsewhere padding.

        Whether j is the first occurrence of its item does not depend on the position scored, so one mask serves all.
        """
        first = self.first == torch.arange(self.items.shape[1], device=self.items.device)
        return torch.where(self.visible & first[:, None, :], self.items[:, None, :], self.padding)

    @cached_property
    def occurrences(self) -> torch.Tensor:
        """(B, T, L) int64: the visible items, each as often as it occurs; elsewhere padding."""
        return torch.where(self.visible, self.items[:, None, :], self.padding)

    @cached_property
    def counts(self) -> torch.Tensor:
        """(B, T, L) float: how often the item of `occurrences` is visible; infinity for padding."""
        visible = self.visible.float()
        return (visible @ self.same.float()).masked_fill(~self.visible, math.inf)

    def rows(self, chosen: slice) -> Self:
        """Return the context of some of the windows."""
        return replace(self, items=self.items[chosen], at=self.at[chosen])


class Outputs(NamedTuple):
    """Output embeddings.

    Attributes:
        weight: (n + 1, d), the last row padding's.
        bias: (n + 1,), or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def score_all(self, facet: torch.Tensor) -> torch.Tensor:
        """Return f · w_v + b_v for the facets (B, T, d) and all items, as (B, T, n + 1)."""
        return F.linear(facet, self.weight, self.bias)

    def score(self, facet: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return f · w_v + b_v for the facets (B, T, d) and each one's own items (B, T, k), as (B, T, k)."""
        weight, bias = self.lookup(codes)
        scores = (facet[..., None, :] @ weight.mT).squeeze(-2)
        return scores if bias is None else scores + bias

    def lookup(self, codes: torch.Tensor) -> "Outputs":
        """Return the weight (*codes.shape, d) and the bias (codes.shape), or None, of the items with these codes."""
        return Outputs(F.embedding(codes, self.weight), None if self.bias is None else self.bias[codes])


class Embeddings(Protocol):
    """What partitions read of the output embeddings; training puts one in the place of `Outputs`."""

    def score(self, facet: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """See `Outputs`."""
        ...

    def lookup(self, codes: torch.Tensor) -> Outputs:
        """See `Outputs`."""
        ...


def largest(z: torch.Tensor, k: int) -> torch.Tensor:
    """Return the indices (…, k) of the k largest of (…, n), in no order.

    The k largest lie within the k groups with the largest maxima, for any division into groups; so a long row is
    divided into groups of GROUP, and their maxima are asked first, in the same way.
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
    """Do what `largest` does, without groups; on a processor NumPy takes a fraction of the time that torch does.

    A number of single precision leaves 29 bits free in one of double precision. Its index is put there, so that
    numbers are partitioned and not the indices of numbers; a few rows at a time, which a core's cache holds.
    """
    if z.device.type != "cpu" or z.dtype == torch.bfloat16:  # which NumPy has not
        return z.topk(k, sorted=False).indices
    n = z.shape[-1]
    if z.dtype == torch.float64:
        return torch.from_numpy(np.argpartition(z.numpy(), n - k, axis=-1)[..., n - k :].copy())
    least, places, found = torch.finfo(z.dtype).min, torch.arange(n), []
    for rows in z.flatten(0, -2).split(max(1, TAGGED // n)):
        tagged = rows.double().clamp_(min=least)  # −inf with an index would be no number
        tagged.view(torch.int64).bitwise_or_(places)
        tagged.numpy().partition(n - k, axis=-1)
        found.append(tagged[:, n - k :].contiguous().view(torch.int64) & (2**29 - 1))
    return torch.cat(found).view(*z.shape[:-1], k)


Merge = Literal["replace", "add", "half"]


def merge(z: torch.Tensor, codes: torch.Tensor, scores: torch.Tensor, how: Merge) -> torch.Tensor:
    """Return the logits z (B, T, n + 1) with the scores (B, T, k) of the items (B, T, k); z itself may change.

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
    """What a partition reads of the head: a linear map of q, or a few learned numbers that are the same for all inputs.

    Attributes:
        name: of the facet.
        width: how many numbers it holds; None for a hidden state, of size d.
        everywhere: it is of every position that is read, (B, L, ·), and not of the positions scored, (B, T, ·).
        shared: one for all vocabulary facets of a mixture; its weights are drawn after those of each one's own.
        learned: it does not depend on q.
        start: the numbers before training; of a linear map, its bias beside weights of 0. None: drawn at random.
    """

    name: str
    width: int | None = None
    everywhere: bool = False
    shared: bool = False
    learned: bool = False
    start: tuple[float, ...] | None = None


class Partition(Protocol):
    """What partitions have in common."""

    @property
    def reads(self) -> tuple[Facet, ...]:
        """The facets that a partitioned softmax prepares for it."""
        ...

    @property
    def name(self) -> str:
        """What it is called in the table of a prediction's parts."""
        ...

    @property
    def merge(self) -> Merge:
        """What happens to the logit that an item had so far."""
        ...

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """Return which items the partition owns here (B, T, k), and their scores (B, T, k).

        Args:
            z: (B, T, n + 1) logits so far, not to be changed. The last column belongs to padding: partitions may own
                it any number of times, nobody reads it.
            facets: by name, (B, T, d) for a facet of the positions scored, (B, L, d) for one of the positions read.
            outputs: the output embeddings.
            context: what was read.
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

    It owns an item once for each occurrence j, and each adds its part.
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

    The sum is over the occurrences j of x. The latest item read has the age 1, the one before it 2. It is ACT-R's
    base-level activation (Anderson & Schooler, Psychological Science 1991), with a decay δ > 0 that is learned. The
    facet "F" holds b, w₁, w₂ and softplus⁻¹(δ).

    Attributes:
        linear: these four are linear in q; otherwise they are learned, the same for all inputs.
    """

    linear: bool
    merge: Merge = "add"
    name: str = "F"

    @property
    def reads(self) -> tuple[Facet, ...]:
        """See `Partition`; δ starts at 1/2, as is usual in ACT-R, and all else at 0."""
        start = (0.0, 0.0, 0.0, math.log(math.expm1(0.5)))
        return (Facet("F", width=4, shared=True, learned=not self.linear, start=start),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        b, by_count, by_age, decay = facets["F"].unsqueeze(2).unbind(3)  # (B, T, 1) each
        # From softplus's threshold on its input is its value: at the usual 20 float64 can still tell the two apart.
        visible, same, decay = context.visible.to(z.dtype), context.same.to(z.dtype), F.softplus(decay, threshold=40)
        age = (context.at[:, :, None] - torch.arange(visible.shape[2], device=z.device) + 1).clamp(min=1)
        log_age = age.to(z.dtype).log()
        # Ages relative to the item's last occurrence: its own power is then 1, so that no sum is 0 for a large decay.
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
    """Every distinct item x of the visible input gets log Σ over {j : x_j = x} of exp(a_j); a is the facet "repeat".

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
