"""The exact loss over all items, in the memory of one chunk."""

import torch

from cprlab.models import Context, Head
from cprlab.models.partitions import Facets

CHUNK_ROWS = 256  # positions scored at once, at the most,
CHUNK_LOGITS = 3 * 2**20  # and logits, 12 MB of them: what the processor's caches hold


def exact_nll(
    head: Head, facets: Facets, weight: torch.Tensor, context: Context, targets: torch.Tensor
) -> torch.Tensor:
    """Return the sum of −log p(target), the same as `head.nll`, holding one chunk's logits at a time.

    The gradients of a chunk are formed while its logits are there, so a batch never holds (B · T, n) numbers.

    Args:
        head: scores facets.
        facets: by name, (B, T, d) or (B, L, d).
        weight: (n + 1, d) output embeddings.
        context: the items read and the positions scored.
        targets: (B, T) int64, −1 where there is none.
    """
    return _ExactNLL.apply(head, context, targets, tuple(facets), weight, *facets.values())


class _ExactNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx, head, context, targets, names, weight, *facets):
        total = weight.new_zeros(())
        inputs = (weight, *facets)
        wanted = any(tensor.requires_grad for tensor in inputs)
        grads = [torch.zeros_like(tensor) for tensor in inputs] if wanted else []
        rows_at_once = min(CHUNK_ROWS, CHUNK_LOGITS // len(weight))
        step = max(1, rows_at_once // targets.shape[1])  # in windows
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            leaves = [weight.detach()] + [facet.detach()[rows] for facet in facets]
            for leaf in leaves:
                leaf.requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                loss = head.nll(dict(zip(names, leaves[1:], strict=True)), leaves[0], context.rows(rows), targets[rows])
            total += loss.detach()
            if wanted:
                of_weight, *of_facets = torch.autograd.grad(loss, leaves)
                grads[0] += of_weight
                for whole, part in zip(grads[1:], of_facets, strict=True):
                    whole[rows] = part
        ctx.grads = grads
        return total

    @staticmethod
    def backward(ctx, of_total):
        return None, None, None, None, *(of_total * grad for grad in ctx.grads)
