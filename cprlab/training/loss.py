"""Losses: functions of the logits of a target and its negatives, and of the norm over all items.

Shapes: B windows, T targets each (−1 where there is none), n items, m negatives. z are the logits of the whole head
(`Head.logits`); for a mixture and for RepeatNet z = log p. Even if a loss compares only a sample, rerankers choose
their items among all n and the context by the history, so z_v does not depend on the sample. Therefore every loss needs
a full pass over the items, and sampling does not make it cheaper.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from cprlab.errors import ConfigError

LossName = Literal["CE", "BPR", "BCE", "gBCE", "sampled"]


class Loss(Protocol):
    """A loss, summed over targets; y is a target, N its m negatives, drawn with replacement."""

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """Draw negatives (B, T, m) for targets (B, T), with torch's generator on the CPU; m may be 0."""
        ...

    def total(
        self, z: torch.Tensor, norm: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss, summed over the targets that are not −1.

        Args:
            z: (B, T, 1 + m) logits of the target and its negatives.
            norm: (B, T) log Σ_v exp(z_v) over all items.
            targets: (B, T).
            negatives: (B, T, m).
        """
        ...


class CrossEntropy:
    """Full cross-entropy over all items: −log softmax(z)_y."""

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`; there are no negatives."""
        return targets.new_empty((*targets.shape, 0))

    def total(
        self, z: torch.Tensor, norm: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """See `Loss`."""
        return _sum(norm - z[:, :, 0], targets)


@dataclass(frozen=True)
class _Uniform:
    """Negatives drawn uniformly from the n − 1 items that are not the target."""

    n_items: int
    negatives: int

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        drawn = torch.randint(self.n_items - 1, (*targets.shape, self.negatives))
        return drawn + (drawn >= targets[:, :, None])


class BPR(_Uniform):
    """Bayesian personalised ranking: −(1/m) Σ_{v∈N} log σ(z_y − z_v) (Rendle et al., UAI 2009)."""

    def total(
        self, z: torch.Tensor, norm: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """See `Loss`."""
        return -_sum(F.logsigmoid(z[:, :, :1] - z[:, :, 1:]).mean(2), targets)


@dataclass(frozen=True)
class BinaryCrossEntropy(_Uniform):
    """gBCE: −1/(m + 1) · [β log σ(z_y) + Σ_{v∈N} log(1 − σ(z_v))] (Petrov & Macdonald, RecSys 2023).

    β = 1 − t (1 − m / (n − 1)) corrects the overconfidence caused by sampling; t = 0 is plain BCE.
    """

    t: float

    def total(
        self, z: torch.Tensor, norm: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """See `Loss`."""
        beta = 1 - self.t * (1 - self.negatives / (self.n_items - 1))
        both = beta * F.logsigmoid(z[:, :, 0]) + F.logsigmoid(-z[:, :, 1:]).sum(2)
        return -_sum(both / (self.negatives + 1), targets)


class SampledSoftmax:
    """Softmax over the target and m negatives, corrected for the sampling distribution q (Jean et al., ACL 2015).

    −log [exp(z_y − log q_y) / Σ_{v ∈ {y} ∪ N, v ≠ y in N} exp(z_v − log q_v)]: negatives equal to the target are left
    out. q is log-uniform in the rank r = 0, 1, … of an item's popularity in training: q = log((r + 2) / (r + 1)) /
    log(n + 1).
    """

    def __init__(self, counts: np.ndarray, negatives: int) -> None:
        """Set up q from each item's number of training interactions, `counts` (n,); `negatives` is m."""
        self.negatives = negatives
        self.by_rank = torch.from_numpy(np.argsort(-counts, kind="stable"))
        rank = torch.arange(len(counts), dtype=torch.float64)
        self.log_q = torch.empty(len(counts), dtype=torch.float64)
        self.log_q[self.by_rank] = (torch.log((rank + 2) / (rank + 1)) / math.log(len(counts) + 1)).log()

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        n_items = len(self.by_rank)
        uniform = torch.rand((*targets.shape, self.negatives), dtype=torch.float64)
        rank = ((uniform * math.log(n_items + 1)).exp() - 1).long().clamp(max=n_items - 1)
        return self.by_rank[rank]

    def total(
        self, z: torch.Tensor, norm: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """See `Loss`."""
        hits = F.pad(negatives == targets[:, :, None], (1, 0))
        corrected = (z - self.log_q.to(z)[compared(targets, negatives)]).masked_fill(hits, -math.inf)
        return -_sum(corrected.log_softmax(2)[:, :, 0], targets)


def build_loss(name: LossName, counts: np.ndarray, negatives: int, t: float) -> Loss:
    """Return a loss by its name.

    Args:
        name: name of the loss.
        counts: (n,) number of training interactions of each item.
        negatives: m.
        t: calibration of gBCE, from 0 (BCE) to 1.

    Raises:
        ConfigError: the log has only one item, so there are no negatives.
    """
    if len(counts) < 2 and name != "CE":
        raise ConfigError(f"The loss {name} compares items, and there is only one; use CE, or a log with more items.")
    match name:
        case "CE":
            return CrossEntropy()
        case "BPR":
            return BPR(len(counts), negatives)
        case "BCE" | "gBCE":
            return BinaryCrossEntropy(len(counts), negatives, t if name == "gBCE" else 0.0)
        case "sampled":
            return SampledSoftmax(counts, negatives)


def compared(targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return the items whose logits a loss reads (B, T, 1 + m): the target (any item where there is none), then N."""
    return torch.cat([targets.clamp(min=0)[:, :, None], negatives], dim=2)


def _sum(values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return values.masked_fill(targets < 0, 0).sum()
