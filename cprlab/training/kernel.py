"""The exact loss of any head, and its gradients, in the memory of a few rows of logits.

A batch's logits are (B, T, n) numbers, and for large n they dominate the cost of training. Here one buffer holds them,
a few windows at a time, and every step works in place: products with the item embeddings, partitions, softmax, and then
the gradients, back through the same partitions to the same products. Autograd handles only small tensors, (B, T, k) or
(B, T, L).

A loss reads the logits z_v of a few items and the norm log Σ_v exp z_v over all items. So ∂loss/∂z = g · softmax(z) +
the gradients of these few logits, where g = ∂loss/∂norm. For a mixture this holds for each of its softmaxes.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional as F

from cprlab.models import Context, Head, Outputs
from cprlab.models.heads import Component
from cprlab.models.partitions import Facets, Merge, merge
from cprlab.training import fused
from cprlab.training.loss import Loss, compared

# How much is scored at once, by device: (cached, positions, most). A chunk has at least one window, and as many
# positions as give `cached` logits, but not fewer than `positions`, and not more than give `most` logits.
# - cached: logits that fit in the caches of a CPU.
# - positions: each chunk reads the item embeddings twice and adds to their gradient, which is too slow for fewer
#   positions; on a GPU, fewer would also leave cores idle.
# - most: logits that memory should hold; on a GPU 1 GB in single precision.
CHUNK = {"cpu": (2**21, 256, 20 * 2**20), "cuda": (0, 2**14, 2**28)}
ALIGNED = 16  # row lengths are a multiple of this: with unaligned rows, products take a third longer

# Logits further than this below the row's maximum count as if they were this far below: e^−70 of the largest
# probability. Smaller numbers would be denormal in single precision, and slow to compute with.
FLOOR = 70.0

# Maps over the two halves of a batch. A thread pool's `map` gives the same digits if each operation uses one thread.
in_turn: Callable[..., Iterable[Any]] = map

Merged = list[tuple[torch.Tensor, torch.Tensor, Merge]]  # items and scores of each partition, and how it was merged


def chunked(
    loss: Loss,
    head: Head,
    facets: Facets,
    outputs: Outputs,
    context: Context,
    targets: torch.Tensor,
    negatives: torch.Tensor,
) -> torch.Tensor:
    """Return `loss.total` of the head's training logits; during training, (post) excludes no items.

    Under autocast, only the products with all items, forward and backward, are in lower precision.

    Args:
        loss: the loss to sum.
        head: scores the facets.
        facets: tensors by name; the first dimension of each is B.
        outputs: output embeddings.
        context: the items read and the positions scored.
        targets: (B, T) int64, −1 where there is none.
        negatives: (B, T, m) int64, as drawn by `loss.draw`.
    """
    inputs = (*outputs, *facets.values())
    differentiated = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs)
    return _Chunked.apply(differentiated, loss, head, context, targets, negatives, tuple(facets), *inputs)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        differentiated: bool,
        loss: Loss,
        head: Head,
        context: Context,
        targets: torch.Tensor,
        negatives: torch.Tensor,
        names: tuple[str, ...],
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *facets: torch.Tensor,
    ) -> torch.Tensor:
        device = weight.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        cached, positions, most = CHUNK.get(device, CHUNK["cpu"])
        logits = len(weight) * len(head.components)  # per position
        rows_at_once = min(max(positions, cached // logits), most // logits)
        step = max(1, rows_at_once // targets.shape[1])  # in windows
        width = -(-len(weight) // ALIGNED) * ALIGNED
        grads = [torch.zeros_like(facet) for facet in facets]

        def sum_up(own: range) -> tuple[torch.Tensor, _Shared]:
            """Set the gradients of some windows' facets; return their loss, and the gradients of the embeddings."""
            total, shared = weight.new_zeros(()), _Shared(weight, bias, low)
            buffers = [weight.new_empty(min(step, len(own)), targets.shape[1], width) for _ in head.components]
            with torch.autocast(device, enabled=False), torch.set_grad_enabled(differentiated):
                for start in own[::step]:
                    rows = slice(start, min(start + step, own.stop))
                    leaves = [facet.detach()[rows].to(weight.dtype).requires_grad_(differentiated) for facet in facets]
                    chunk = _Chunk(head, dict(zip(names, leaves, strict=True)), shared, context.rows(rows))
                    spaces = [z[: len(targets[rows])] for z in buffers]
                    total += chunk.total(loss, targets[rows], negatives[rows], spaces)
                    for grad, leaf in zip(grads, leaves, strict=True):
                        if leaf.grad is not None:
                            grad[rows] = leaf.grad
            return total, shared

        # Halved if two buffers together fit in the limit of one. This does not depend on `in_turn`, so digits do not.
        windows, halved = range(len(targets)), device == "cpu" and 2 * rows_at_once * logits <= most
        middle = -(-len(targets) // 2)
        (total, shared), *others = in_turn(sum_up, [windows[:middle], windows[middle:]] if halved else [windows])
        for value, other in others:
            total += value
            shared.grad_weight += other.grad_weight
            if shared.grad_bias is not None:
                shared.grad_bias += other.grad_bias
        ctx.grads = (shared.grad_weight, shared.grad_bias, *grads)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        wanted = ctx.needs_input_grad[-len(ctx.grads) :]
        return *[None] * 7, *(grad_total * grad if want else None for grad, want in zip(ctx.grads, wanted, strict=True))


class _Shared:
    """What chunks share, used like `Outputs`: the output embeddings, and their gradients so far."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, low: torch.dtype) -> None:
        self.outputs = Outputs(weight.detach(), None if bias is None else bias.detach())
        self.low = self.outputs.weight.to(low)  # for the products with all items
        self.grad_weight = torch.zeros_like(weight)
        self.grad_bias = None if bias is None else torch.zeros_like(bias)
        self.looked_up: list[tuple[torch.Tensor, Outputs]] = []

    def lookup(self, codes: torch.Tensor) -> Outputs:
        """Return what `Outputs.lookup` does, as leaf tensors whose gradients `collect` adds to the total."""
        found = self.outputs.lookup(codes)
        if torch.is_grad_enabled():
            for tensor in found:
                if tensor is not None:
                    tensor.requires_grad_()
            self.looked_up.append((codes, found))
        return found

    def score(self, facet: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return what `Outputs.score` does; its backward adds the gradients of the embeddings to the total."""
        return _Score.apply(facet, codes, self)

    def differentiate(self, facet: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the gradient (B, T, d) of a facet, and add those of the embeddings to the total.

        Args:
            facet: (B, T, d).
            grad: (B·T, n + 1) gradients of its products with all items.
            weight: (n + 1, d) output embeddings, in the precision of the products.
        """
        if self.grad_bias is not None:
            self.grad_bias += grad.sum(0)
        rows = facet.flatten(0, 1)
        if weight.dtype == grad.dtype:
            self.grad_weight.addmm_(grad.T, rows)
        else:
            grad = grad.to(weight.dtype)
            self.grad_weight += grad.T @ rows.to(grad.dtype)
        return (grad @ weight).to(facet.dtype).view_as(facet)

    def collect(self) -> None:
        """Add the gradients of the looked-up embeddings."""
        for codes, (weight, bias) in self.looked_up:
            self.add(codes, weight.grad, None if bias is None else bias.grad)
        self.looked_up.clear()

    def add(self, codes: torch.Tensor, grad_weight: torch.Tensor | None, grad_bias: torch.Tensor | None) -> None:
        """Add gradients (*codes.shape, d) and (codes.shape) to the rows of the items with these codes."""
        codes = codes.flatten()
        for total, grad in ((self.grad_weight, grad_weight), (self.grad_bias, grad_bias)):
            if total is not None and grad is not None:
                rows = grad.reshape(len(codes), *total.shape[1:])
                total.scatter_add_(0, codes.view(-1, *[1] * (rows.dim() - 1)).expand_as(rows), rows)


class _Score(torch.autograd.Function):
    """`Outputs.score` of facets (B, T, d) and items (B, T, k), whose backward adds to `_Shared`'s gradients.

    On a CPU, scores and their gradients are the entries of a sparse matrix (B·T, n + 1), so that embeddings are not
    copied for each score; except with more items than scores, when the product with its transpose would be larger.
    """

    @staticmethod
    def forward(ctx: Any, facet: torch.Tensor, codes: torch.Tensor, shared: _Shared) -> torch.Tensor:
        ctx.save_for_backward(facet, codes)
        ctx.shared, (weight, bias) = shared, shared.outputs
        ctx.sparse = codes.device.type == "cpu" and codes.numel() >= len(weight)
        if not ctx.sparse:
            return shared.outputs.score(facet, codes)
        rows, begins = facet.flatten(0, 1), torch.arange(0, codes.numel() + 1, codes.shape[2])
        entries, size = torch.zeros_like(codes, dtype=facet.dtype).flatten(), (len(rows), len(weight))
        matrix = torch.sparse_csr_tensor(begins, codes.flatten(), entries, size, check_invariants=False)
        scores = torch.sparse.sampled_addmm(matrix, rows, weight.T).values().view_as(codes)
        return scores if bias is None else scores + bias[codes]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (facet, codes), shared = ctx.saved_tensors, ctx.shared
        rows, codes, grad = facet.flatten(0, 1), codes.flatten(0, 1), grad.flatten(0, 1)
        if ctx.sparse:  # SciPy's product with a transpose; torch would sort the entries first
            begins, size = np.arange(0, codes.numel() + 1, codes.shape[1]), (len(rows), len(shared.grad_weight))
            matrix = csr_array((grad.numpy().ravel(), codes.numpy().ravel(), begins), shape=size)
            shared.grad_weight += torch.from_numpy(matrix.T @ rows.numpy())
        shared.add(codes, None if ctx.sparse else grad[..., None] * rows[:, None], grad)
        weighted = F.embedding_bag(codes, shared.outputs.weight, per_sample_weights=grad, mode="sum")
        return weighted.view_as(facet), None, None


with warnings.catch_warnings():  # torch warns once, at the first such tensor, that they are in beta state
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0], [], [], (0, 1))


@dataclass(frozen=True)
class _Chunk:
    """A few windows."""

    head: Head
    facets: Facets
    shared: _Shared
    context: Context

    def total(
        self, loss: Loss, targets: torch.Tensor, negatives: torch.Tensor, logits: list[torch.Tensor]
    ) -> torch.Tensor:
        """Return the loss; if gradients are enabled, add its gradients to those of the facets and of `shared`.

        Args:
            loss: see `chunked`.
            targets: (B, T).
            negatives: (B, T, m).
            logits: a buffer (B, T, n + 1 or more) for each component; overwritten.
        """
        differentiated, mixes = torch.is_grad_enabled(), "mixture" in self.facets
        merged = [self._score(component, z) for component, z in zip(self.head.components, logits, strict=True)]
        softmaxes, winners = logits, None
        if not mixes and len(logits) > 1:
            softmaxes = [reduce(torch.maximum, logits)]
            winners = _first_equal(logits, softmaxes[0])
        codes = compared(targets, negatives)
        read = [z.gather(2, codes).requires_grad_(differentiated) for z in softmaxes]
        norms, weighers = zip(*map(softmax_, softmaxes), strict=True)
        for norm in norms:
            norm.requires_grad_(differentiated)
        if mixes:
            log_p = self.head.mixture(read, torch.stack(norms, dim=2), self.facets)
            value = loss.total(log_p, torch.zeros_like(norms[0]), targets, negatives)
        else:
            value = loss.total(read[0], norms[0], targets, negatives)
        if differentiated:
            value.backward()
            with torch.no_grad():
                for z, few, norm, weigh in zip(softmaxes, read, norms, weighers, strict=True):
                    weigh(torch.zeros_like(norm) if norm.grad is None else norm.grad)
                    assert few.grad is not None  # every loss reads the compared items
                    z.scatter_add_(2, codes, few.grad)
                for index, (z, steps) in enumerate(zip(logits, merged, strict=True)):
                    if winners is not None:
                        torch.mul(softmaxes[0], winners[index], out=z)
                    z[..., len(self.shared.low) - 1 :] = 0  # gradients of padding
                    self._differentiate(self.head.components[index], z, steps)
            self.shared.collect()
        return value.detach()

    def _score(self, component: Component, z: torch.Tensor) -> Merged:
        """Write the component's logits into z, and −inf after those of the n items."""
        row, z = z, z[..., : len(self.shared.low)]
        with torch.no_grad():
            self._fill(component, z)
        merged = []
        for partition in component.partitions:
            owned, scores = partition.score(z, self.facets, self.shared, self.context)
            with torch.no_grad():
                z.copy_(merge(z, owned, scores, partition.merge))
            merged.append((owned, scores, partition.merge))
        row[..., len(self.shared.low) - 1 :] = -math.inf
        return merged

    def _fill(self, component: Component, z: torch.Tensor) -> None:
        """Write the vocabulary's logits into z."""
        if not component.vocabulary:
            z.fill_(-math.inf)
            return
        rows, facet, low = z.flatten(0, 1), self.facets[component.vocabulary].flatten(0, 1), self.shared.low
        if low.dtype == z.dtype:
            torch.mm(facet, low.T, out=rows)
        else:
            rows.copy_(facet.to(low.dtype) @ low.T)
        if self.shared.outputs.bias is not None:
            rows += self.shared.outputs.bias

    def _differentiate(self, component: Component, grad: torch.Tensor, merged: Merged) -> None:
        """Add a component's gradients to those of the facets and of `shared`.

        Args:
            component: the component.
            grad: (B, T, n + 1 or more) gradients of its logits; the partitions' share is removed in place.
            merged: the return value of `_score`.
        """
        scored, grad_scored = [], []
        for owned, scores, how in reversed(merged):
            grad_owned = grad.gather(2, owned)
            if how == "replace":
                grad.scatter_(2, owned, 0.0)
            elif how == "half":
                grad.scatter_(2, owned, grad_owned / 2)
            if scores.requires_grad:
                scored.append(scores)
                grad_scored.append(grad_owned)
        torch.autograd.backward(scored, grad_scored)
        if component.vocabulary:
            leaf, low = self.facets[component.vocabulary], self.shared.low
            rows = grad.flatten(0, 1)[:, : len(low)]
            leaf.backward(self.shared.differentiate(leaf.detach(), rows, low))


def softmax_(z: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], object]]:
    """Return the logsumexp (…) of logits z (…, n), and a function that overwrites z by softmax(z) times weights (…).

    Until this function is called, the content of z has no meaning. If a row is all −inf, so is its logsumexp, and its
    softmax is uniform.
    """
    if fused.usable(z.device):
        return fused.softmax_(z, FLOOR)
    top = z.amax(-1)
    z.clamp_(min=(top - FLOOR).clamp(min=torch.finfo(z.dtype).min / 2)[..., None])
    torch.softmax(z, dim=-1, out=z)
    return top - z.amax(-1).log(), lambda weights: z.mul_(weights[..., None])


def _first_equal(several: list[torch.Tensor], one: torch.Tensor) -> list[torch.Tensor]:
    """Return a mask for each tensor: where it is the first that equals `one`."""
    found, taken = [], torch.zeros_like(one, dtype=torch.bool)
    for tensor in several:
        found.append((tensor == one) & ~taken)
        taken |= found[-1]
    return found
