"""The kernel's softmax on a GPU, in Triton: logits are read once for their norms, and once more to be weighed.

Between the two the loss says what it wants of each row's softmax, so that this costs no pass of its own. A long row is
read by several programs, so that a few of them keep all of a GPU's cores busy. They add in a fixed order: the same
logits give the same digits.
"""

from collections.abc import Callable
from functools import cache

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch's own builds for GPUs bring it along
    triton = None

BLOCK = 4096  # logits of a row that are read at once
SPAN = 8  # blocks that one program reads for the norm
LANES = 16  # that join a row's spans, at the least


@cache
def usable(device: torch.device) -> bool:
    """Say whether Triton is there, and works, on this device; it needs a C compiler too, which nobody promises."""
    if triton is None or device.type != "cuda":
        return False
    try:
        z = torch.zeros(1, 2, device=device)
        norms, weigh = softmax_(z, floor=70.0)
        weigh(torch.full_like(norms, 4.0))
        return bool((norms - torch.tensor(2.0).log()).abs() < 1e-6) and z.tolist() == [[2.0, 2.0]]
    except Exception:  # whatever Triton, the compiler or the driver raised: eager PyTorch does without
        return False


def softmax_(z: torch.Tensor, floor: float) -> tuple[torch.Tensor, Callable[[torch.Tensor], object]]:
    """Do what `kernel.softmax_` does; the logits of a row (…, n) are next to each other, and rows equally far apart."""
    rows, n = z.flatten(0, -2), z.shape[-1]
    spans, least = triton.cdiv(n, SPAN * BLOCK), torch.finfo(z.dtype).min / 2
    tops, totals = z.new_empty(len(rows), spans), z.new_empty(len(rows), spans)
    top, total, norms = z.new_empty(3, len(rows))
    _read[(len(rows), spans)](rows, tops, totals, n, rows.stride(0), floor, least, BLOCK, SPAN)
    _join[(len(rows),)](tops, totals, top, total, norms, spans, least, max(LANES, triton.next_power_of_2(spans)))

    def weigh(weights: torch.Tensor) -> None:
        grid = (len(rows), triton.cdiv(n, BLOCK))
        _weigh[grid](rows, top, total, weights.contiguous(), n, rows.stride(0), floor, BLOCK)

    return norms.view(z.shape[:-1]), weigh


if triton is not None:

    @triton.jit
    def _read(
        z, tops, totals, n, stride, floor: tl.constexpr, least: tl.constexpr, block: tl.constexpr, span: tl.constexpr
    ):
        """A program a span of a row. Each of `block` lanes keeps its largest logit and a sum of exponentials to it."""
        row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
        z += row * stride
        first, place = part * span * block, tl.arange(0, block)
        top = tl.full((block,), least, z.dtype.element_ty)  # in the place of −inf
        total = tl.zeros((block,), z.dtype.element_ty)
        for start in range(first, tl.minimum(first + span * block, n), block):
            inside = start + place < n
            x = tl.load(z + start + place, mask=inside, other=-float("inf"))
            higher = tl.maximum(top, x, propagate_nan=tl.PropagateNan.ALL)
            here = tl.where(inside, tl.exp(tl.maximum(x - higher, -floor, propagate_nan=tl.PropagateNan.ALL)), 0.0)
            total = total * tl.exp(top - higher) + here
            top = higher
        highest = tl.max(top, 0)
        place = row * tl.num_programs(1) + part
        tl.store(tops + place, highest)
        tl.store(totals + place, tl.sum(total * tl.exp(top - highest), 0))

    @triton.jit
    def _join(tops, totals, top, total, norms, spans, least: tl.constexpr, lanes: tl.constexpr):
        """A program a row: what its spans come to together."""
        row, place = tl.program_id(0).to(tl.int64), tl.arange(0, lanes)
        inside = place < spans
        of_span = tl.load(tops + row * spans + place, mask=inside, other=least)
        highest = tl.max(of_span, 0)
        summed = tl.sum(tl.load(totals + row * spans + place, mask=inside, other=0.0) * tl.exp(of_span - highest), 0)
        nothing = (highest == least) & (summed == summed)  # all are −inf; a NaN among them is in the sum
        tl.store(top + row, highest)
        tl.store(total + row, summed)
        tl.store(norms + row, tl.where(nothing, -float("inf"), highest + tl.log(summed)))

    @triton.jit
    def _weigh(z, top, total, weights, n, stride, floor: tl.constexpr, block: tl.constexpr):
        """A program a block of a row."""
        row = tl.program_id(0).to(tl.int64)
        place = tl.program_id(1) * block + tl.arange(0, block)
        inside = place < n
        z += row * stride + place
        x = tl.load(z, mask=inside, other=-float("inf"))
        share = tl.exp(tl.maximum(x - tl.load(top + row), -floor)) / tl.load(total + row)
        tl.store(z, share * tl.load(weights + row), mask=inside)
