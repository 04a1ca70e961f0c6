"""Losses, computed from a head's logits in the memory of one chunk.

All shapes: B windows, T targets each (−1 where there is none), n items, m negatives. z are the logits of the whole head
(`Head.logits`): what a reranker owns is decided among all n items and what the context owns by the history, also where
only a sample is compared, so that z_v does not depend on what was sampled. For a mixture and for RepeatNet z = log p.
A full pass over the items is therefore needed for each of these losses; no sample makes it cheaper.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from cprlab.errors import ConfigError
from cprlab.models import Context, Head, Outputs
from cprlab.models.partitions import Facets

CHUNK_ROWS = 256  # positions scored at once, at the most,
CHUNK_LOGITS = 3 * 2**20  # and logits, 12 MB of them: what the processor's caches hold

LossName = Literal["CE", "BPR", "BCE", "gBCE", "sampled"]


class Loss(Protocol):
    """A loss, as a sum over targets; y is a target, N its m negatives, drawn with replacement."""

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """Return negatives (B, T, m) for the targets (B, T), from torch's generator on the CPU; m may be 0."""
        ...

    def total(self, z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        """Return the sum over the targets that are not −1, given the logits (B, T, n)."""
        ...


class CrossEntropy:
    """Full cross-entropy: −log softmax(z)_y over all items."""

    def draw(self, targets: torch.Tensor) -> torch.Tensor:
        """See `Loss`; there are none."""
        return targets.new_empty((*targets.shape, 0))

    def total(self, z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        return F.cross_entropy(z.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")


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

    def total(self, z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        of_targets, of_negatives = _pick(z, targets, negatives)
        return -_sum(F.logsigmoid(of_targets - of_negatives).mean(2), targets)


@dataclass(frozen=True)
class BinaryCrossEntropy(_Uniform):
    """gBCE: −1/(m + 1) · [β log σ(z_y) + Σ_{v∈N} log(1 − σ(z_v))] (Petrov & Macdonald, RecSys 2023).

    β = 1 − t (1 − m / (n − 1)) undoes the overconfidence that sampling brings; t = 0 is plain BCE.
    """

    t: float

    def total(self, z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        beta = 1 - self.t * (1 - self.negatives / (self.n_items - 1))
        of_targets, of_negatives = _pick(z, targets, negatives)
        both = beta * F.logsigmoid(of_targets).squeeze(2) + F.logsigmoid(-of_negatives).sum(2)
        return -_sum(both / (self.negatives + 1), targets)


class SampledSoftmax:
    """Softmax over the target and m negatives, corrected for how they are drawn (Jean et al., ACL 2015).

    −log [exp(z_y − log q_y) / Σ_{v ∈ {y} ∪ N, v ≠ y in N} exp(z_v − log q_v)]: each negative that is the target is left
    out. q is log-uniform in the rank r = 0, 1, … of the item's popularity in training: q = log((r + 2) / (r + 1)) /
    log(n + 1).
    """

    def __init__(self, counts: np.ndarray, negatives: int) -> None:
        """Take how often each item is a training interaction (n,), and m."""
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

    def total(self, z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        """See `Loss`."""
        both = torch.cat(_pick(z - self.log_q.to(z), targets, negatives), dim=2)
        hits = F.pad(negatives == targets[:, :, None], (1, 0))
        return -_sum(both.masked_fill(hits, -math.inf).log_softmax(2)[:, :, 0], targets)


def build_loss(name: LossName, counts: np.ndarray, negatives: int, t: float) -> Loss:
    """Return a loss by its name.

    Args:
        name: which.
        counts: (n,) how often each item is a training interaction.
        negatives: m.
        t: gBCE's calibration, from 0 (BCE) to 1.

    Raises:
        ConfigError: there is but one item, so that there are no negatives.
    """
    if len(counts) < 2 and name != "CE":
        raise ConfigError(f"The loss {name} compares items, and there is but one; use CE, or a log with more items.")
    match name:
        case "CE":
            return CrossEntropy()
        case "BPR":
            return BPR(len(counts), negatives)
        case "BCE" | "gBCE":
            return BinaryCrossEntropy(len(counts), negatives, t if name == "gBCE" else 0.0)
        case "sampled":
            return SampledSoftmax(counts, negatives)


def chunked(
    loss: Loss,
    head: Head,
    facets: Facets,
    outputs: Outputs,
    context: Context,
    targets: torch.Tensor,
    negatives: torch.Tensor,
) -> torch.Tensor:
    """Return `loss.total` of the head's logits, holding one chunk's logits at a time.

    The gradients of a chunk are formed while its logits are there, so a batch never holds (B · T, n) numbers.

    Args:
        loss: what is summed.
        head: scores facets.
        facets: by name; each has B first.
        outputs: output embeddings.
        context: the items read and the positions scored.
        targets: (B, T) int64, −1 where there is none.
        negatives: (B, T, m) int64, what `loss.draw` gave.
    """
    return _Chunked.apply(loss, head, context, targets, negatives, tuple(facets), *outputs, *facets.values())


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss, head, context, targets, negatives, names, *inputs):
        shared, facets = inputs[: len(Outputs._fields)], inputs[len(Outputs._fields) :]
        total = facets[0].new_zeros(())
        wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]
        grads = [torch.zeros_like(tensor) if want else None for tensor, want in zip(inputs, wanted, strict=True)]
        rows_at_once = min(CHUNK_ROWS, CHUNK_LOGITS // (len(shared[0]) * len(head.components)))
        step = max(1, rows_at_once // targets.shape[1])  # in windows
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            leaves = [None if tensor is None else tensor.detach() for tensor in shared]
            leaves += [facet.detach()[rows] for facet in facets]
            for leaf, want in zip(leaves, wanted, strict=True):
                if want:
                    leaf.requires_grad_()
            with torch.set_grad_enabled(any(wanted)):
                outputs = Outputs(*leaves[: len(shared)])
                z = head.logits(dict(zip(names, leaves[len(shared) :], strict=True)), outputs, context.rows(rows))
                value = loss.total(z, targets[rows], negatives[rows])
            total += value.detach()
            differentiated = [index for index, want in enumerate(wanted) if want]
            if differentiated:
                found = torch.autograd.grad(value, [leaves[index] for index in differentiated])
                for index, grad in zip(differentiated, found, strict=True):
                    where = slice(None) if index < len(shared) else rows
                    grads[index][where] += grad
        ctx.grads = grads
        return total

    @staticmethod
    def backward(ctx, of_total):
        return *[None] * 6, *(None if grad is None else of_total * grad for grad in ctx.grads)


def _pick(z: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of the targets, (B, T, 1), and of the negatives, (B, T, m)."""
    return z.gather(2, targets.clamp(min=0)[:, :, None]), z.gather(2, negatives)


def _sum(values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return values.masked_fill(targets < 0, 0).sum()
