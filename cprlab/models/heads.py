"""Heads: turn encoder states into facets, and facets into log-probabilities over items.

The two steps are separate on purpose. `facets` has all weights and `log_probs` has none, so training can score in
chunks, and an explorer can move a facet and score again.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from cprlab.models.names import HeadConfig, RepeatNetConfig
from cprlab.models.partitions import (
    Attention,
    Context,
    Exclusion,
    Facet,
    Facets,
    Outputs,
    Partition,
    merge,
)
from cprlab.models.parts import SoftmaxConfig

SCALE = 16.0  # initial scale of cosines, as in NISER


@dataclass(frozen=True)
class Component:
    """One softmax of a head: the vocabulary's logits, and the partitions that change them, in order.

    Attributes:
        vocabulary: V, the facet f of z_v = f · w_v + b_v; None if no item has an initial logit.
        partitions: partitions in order of application.
    """

    vocabulary: str | None
    partitions: tuple[Partition, ...]

    @property
    def reads(self) -> list[Facet]:
        """The facets used for scoring."""
        of_vocabulary = [Facet(self.vocabulary)] if self.vocabulary else []
        return of_vocabulary + [facet for partition in self.partitions for facet in partition.reads]


class Head(nn.Module, ABC):
    """Base class of all heads; subclasses compute the facets.

    Attributes:
        config: the head's settings.
        components: one softmax, or the softmaxes of a mixture.
        width: size of the output embeddings.
        states: distinct names of the facets that are hidden states at the scored positions.
        cosine: whether output embeddings are normalised to length 1.
    """

    states: tuple[str, ...] = ("V",)
    cosine = False

    def __init__(self, config: HeadConfig, components: list[Component], width: int) -> None:
        super().__init__()
        self.config = config
        self.components = components
        self.width = width

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names of the states that score the vocabulary: one, or one per softmax of a mixture that scores it."""
        return tuple(component.vocabulary for component in self.components if component.vocabulary)

    @property
    def plain(self) -> bool:
        """Whether one hidden state scores all items by their output embeddings, including those of the history.

        It does not matter what the head reads, or whether output and input embeddings are tied.
        """
        return len(self.components) == 1 and not self.components[0].partitions and not self.config.post

    @abstractmethod
    def facets(self, states: torch.Tensor, at: torch.Tensor) -> Facets:
        """Return the facets that the components read.

        Args:
            states: (B, L, layers, d) encoder states.
            at: (B, T) int64, positions to score.

        Returns:
            Facets by name, of shape (B, T, …), or (B, L, …) for a facet of every position. "mixture" (B, T, K) is the
            logarithm of the mixture weights up to a constant.
        """

    def log_probs(self, facets: Facets, outputs: Outputs, context: Context) -> torch.Tensor:
        """Return log-probabilities (B, T, n) over the real items, without padding.

        All are −inf if no item can be recommended (every item was consumed and is excluded).

        Args:
            facets: result of `facets`.
            outputs: output embeddings.
            context: the items read and the positions scored.
        """
        return _log_softmax(self.logits(facets, outputs, context))

    def logits(self, facets: Facets, outputs: Outputs, context: Context) -> torch.Tensor:
        """Return logits z (B, T, n) over the real items, with p = softmax(z); arguments as in `log_probs`.

        For one softmax, these are the logits after its partitions; for `max_logits`, the largest of the K components.
        For a mixture, z = log p with p = Σ_k π_k softmax(z_k); a component with probability 0 for all items leaves its
        weight to the others. With (post), the history's z are −inf, except in training.
        """
        scores = [self._score(component, facets, outputs, context) for component in self.components]
        if "mixture" not in facets:
            z = reduce(torch.maximum, scores)
        else:
            z = self.mixture(scores, torch.stack([z.logsumexp(2) for z in scores], dim=2), facets)
        if self.config.post and not self.training:
            z = F.pad(z, (0, 1)).scatter(2, context.distinct, -math.inf)[..., :-1]
        return z

    def mixture(self, scores: Sequence[torch.Tensor], norms: torch.Tensor, facets: Facets) -> torch.Tensor:
        """Return log p (B, T, a) of a items, given K logits (B, T, a) of each, and the norms as in `log_weights`."""
        least = torch.finfo(norms.dtype).min / 2
        shift = self.log_weights(facets, norms) - norms.clamp(min=least)
        shifted = [z + shift[:, :, [k]] for k, z in enumerate(scores)]
        if not torch.is_grad_enabled():
            return reduce(torch.logaddexp, shifted)
        z = reduce(torch.logaddexp, [z.clamp(min=least) for z in shifted])  # gradients at −inf are NaN
        return z.masked_fill(z <= least, -math.inf)

    def log_weights(self, facets: Facets, norms: torch.Tensor) -> torch.Tensor:
        """Return log π (B, T, K), given the logsumexp of each component's logits (B, T, K); −inf for norms of −inf."""
        return _log_softmax(facets["mixture"].masked_fill(norms == -math.inf, -math.inf))

    def stages(
        self, component: Component, facets: Facets, outputs: Outputs, context: Context
    ) -> Iterator[tuple[str, torch.Tensor | None, torch.Tensor]]:
        """Yield each partition's name, the items that it owns (None: all), and the logits (B, T, n + 1) after it.

        The next step may change the logits in place.
        """
        if component.vocabulary:
            z = outputs.score_all(facets[component.vocabulary])
            yield "V", None, z
        else:
            z = outputs.weight.new_full((*context.at.shape, len(outputs.weight)), -math.inf)
        for partition in component.partitions:
            owned, scores = partition.score(z, facets, outputs, context)
            z = merge(z, owned, scores, partition.merge)
            yield partition.name, owned, z

    def _score(self, component: Component, facets: Facets, outputs: Outputs, context: Context) -> torch.Tensor:
        *_, (_, _, z) = self.stages(component, facets, outputs, context)
        return z[..., :-1]


class PartitionedSoftmax(Head):
    """Softmax-CPR and its mixtures: the vocabulary, then the head's parts in the order of the table (`parts.PARTS`).

    Each facet is a linear map of what the head reads, q (Chang et al., WSDM 2024, section 3). With several vocabulary
    facets, each has its own reranker and context facet; the pointer, and the numbers of B and F, are shared.
    """

    config: SoftmaxConfig

    def __init__(self, config: SoftmaxConfig, d: int, layers: int) -> None:
        components = []
        for k in range(config.facets):
            suffix = f"_{k + 1}" if k else ""
            partitions: list[Partition] = []
            for part in sorted(config.parts, key=lambda part: not part.early):
                if part.make and k < ((part.limit and getattr(config, part.limit)) or config.facets):
                    partitions += part.make(config, suffix)
            components.append(Component(f"V{suffix}", tuple(partitions)))
        super().__init__(config, components, width=d)
        self.depth = min(config.depth, layers)
        self.mix = nn.Linear(d * self.depth * (config.window + 1), d) if config.inputs else None
        read = 2 * d if config.inputs else d
        self.maps, self.learned = nn.ModuleDict(), nn.ParameterDict()
        self.everywhere: set[str] = set()
        wanted = dict.fromkeys(facet for one in components for facet in one.reads)  # each once
        for facet in sorted(wanted, key=lambda facet: facet.shared):
            if facet.learned:
                self.learned[facet.name] = nn.Parameter(torch.tensor(facet.start))
                continue
            layer = nn.Linear(read, facet.width or d, bias=config.projection_bias or facet.start is not None)
            if facet.start is not None:
                nn.init.zeros_(layer.weight)
                layer.bias = nn.Parameter(torch.tensor(facet.start))
            self.maps[facet.name] = layer
            if facet.everywhere:
                self.everywhere.add(facet.name)
        self.states = tuple(facet.name for facet in wanted if facet.width is None and not facet.everywhere)
        self.cosine = config.similarity == "cosine"
        if self.cosine:
            self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        if config.mixture == "dynamic":
            self.maps["mixture"] = nn.Linear(read, config.facets)
        elif config.mixture == "static":
            self.weights = nn.Parameter(torch.zeros(config.facets))

    def facets(self, states: torch.Tensor, at: torch.Tensor) -> Facets:
        """Return linear maps of q at positions `at`, or at every position, and learned numbers; see `Head.facets`."""
        read = self._query(states)
        chosen = _at(read, at)
        facets = {name: layer(read if name in self.everywhere else chosen) for name, layer in self.maps.items()}
        if self.cosine:
            for name in (*self.states, *self.everywhere):
                facets[name] = F.normalize(facets[name], dim=-1) * (self.log_scale.exp() if name in self.states else 1)
        facets |= {name: numbers.expand(*at.shape, -1) for name, numbers in self.learned.items()}
        if self.config.mixture in ("static", "uniform"):
            weights = self.weights if self.config.mixture == "static" else chosen.new_zeros(self.config.facets)
            facets["mixture"] = weights.expand(*at.shape, -1)
        return facets

    def _query(self, states: torch.Tensor) -> torch.Tensor:
        """Return q (B, L, d), or (B, L, 2d) with Mi: [h_t ; GELU(M · states before and at t)]."""
        top = states[:, :, -1]
        if self.mix is None:
            return top
        around = [
            F.pad(states[:, :, -1 - layer], (0, 0, back, 0))[:, : states.shape[1]]
            for layer in range(self.depth)
            for back in range(self.config.window + 1)
        ]
        return torch.cat([top, F.gelu(self.mix(torch.cat(around, dim=2)), approximate="tanh")], dim=2)


class RepeatNet(Head):
    """RepeatNet: p(x) = p(repeat) · attention over the input's items + p(explore) · softmax over all others.

    Three attentions read the states h_1 … h_t of the encoder's top layer (Ren et al., AAAI 2019). One chooses between
    repeating and exploring, one selects the repeated item, and one computes the state that scores new items by output
    embeddings of width 2d. It is a mixture of two softmaxes over disjoint sets of items.
    """

    def __init__(self, config: RepeatNetConfig, d: int) -> None:
        repeat = Component(None, (Attention(),))
        explore = Component("V", (Exclusion(),))
        super().__init__(config, [repeat, explore], width=2 * d)
        self.gate, self.repeat, self.explore = (AdditiveAttention(d) for _ in range(3))
        self.choice = nn.Linear(d, 2, bias=False)
        self.gate_sees_all = False  # True: the gate also reads positions after the scored one

    def facets(self, states: torch.Tensor, at: torch.Tensor) -> Facets:
        """Return "mixture" (B, T, 2): repeat or explore; "repeat" (B, T, L); "V" (B, T, 2d); see `Head.facets`."""
        top = states[:, :, -1]
        now = _at(top, at)
        seen = torch.arange(top.shape[1], device=at.device) <= at[:, :, None]  # (B, T, L)
        return {
            "mixture": self.choice(self.gate.read(now, top, seen | self.gate_sees_all)),
            "repeat": self.repeat(now, top),
            "V": torch.cat([self.explore.read(now, top, seen), now], dim=2),
        }


class AdditiveAttention(nn.Module):
    """a_j = v · tanh(Q h_t + K h_j + b), as in Bahdanau et al. (ICLR 2015)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, 1, bias=False)

    def forward(self, now: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return a (B, T, L) for query states (B, T, d) and key states (B, L, d)."""
        return self.value(torch.tanh(self.query(now)[:, :, None] + self.key(states)[:, None])).squeeze(3)

    def read(self, now: torch.Tensor, states: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return Σ_j softmax(a)_j h_j over the positions `seen` (B, T, L), as (B, T, d)."""
        return self(now, states).masked_fill(~seen, -math.inf).softmax(2) @ states


def build_head(config: SoftmaxConfig | RepeatNetConfig, d: int, layers: int) -> Head:
    """Return a new, untrained head for an encoder with `layers` states of size d."""
    match config:
        case SoftmaxConfig():
            return PartitionedSoftmax(config, d, layers)
        case RepeatNetConfig():
            return RepeatNet(config, d)


def _at(read: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return the entries of (B, L, d) at the positions (B, T), as (B, T, d)."""
    rows = at + read.shape[1] * torch.arange(len(read), device=at.device)[:, None]
    return read.flatten(0, 1).index_select(0, rows.flatten()).view(*at.shape, -1)  # faster than `gather`


def _log_softmax(z: torch.Tensor) -> torch.Tensor:
    """Return log softmax(z) over the last axis; −inf, not NaN, if all of z is −inf."""
    return z - z.logsumexp(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).min)
