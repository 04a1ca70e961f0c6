"""The kernel's softmax on a GPU, in Triton: one pass over the logits for their norms, and one to weight their softmax.

Between the passes, the loss computes the weight of each row's softmax, so the weighting needs no third pass. A long row
is read by several programs, so that even a few rows use all cores of a GPU. Sums are taken in a fixed order: the same
logits always give the same digits.
"""

from collections.abc import Callable
from functools import cache

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch's GPU builds include it
    triton = None

BLOCK = 4096  # logits of a row read at once
SPAN = 8  # blocks that one program reads for the norm
LANES = 16  # minimum number of lanes that join a row's spans


@cache
def usable(device: torch.device) -> bool:
    """Return whether Triton is installed and works on this device; it also needs a C compiler, which may be missing."""
    if triton is None or device.type != "cuda":
        return False
    try:
        z = torch.zeros(1, 2, device=device)
        norms, weigh = softmax_(z, floor=70.0)
        weigh(torch.full_like(norms, 4.0))
        return bool((norms - torch.tensor(2.0).log()).abs() < 1e-6) and z.tolist() == [[2.0, 2.0]]
    except Exception:  # whatever Triton, the compiler or the driver raised: eager PyTorch works without them
        return False


def softmax_(z: torch.Tensor, floor: float) -> tuple[torch.Tensor, Callable[[torch.Tensor], object]]:
    """Do what `kernel.softmax_` does; z (…, n) must be contiguous in its last dimension, with equally spaced rows."""
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
        """Read a span of a row per program; each of `block` lanes keeps its maximum and the sum of exp(z − maximum)."""
        row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
        z += row * stride
        first, place = part * span * block, tl.arange(0, block)
        top = tl.full((block,), least, z.dtype.element_ty)  # instead of −inf
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
        """Join the spans of a row, one program per row."""
        row, place = tl.program_id(0).to(tl.int64), tl.arange(0, lanes)
        inside = place < spans
        of_span = tl.load(tops + row * spans + place, mask=inside, other=least)
        highest = tl.max(of_span, 0)
        summed = tl.sum(tl.load(totals + row * spans + place, mask=inside, other=0.0) * tl.exp(of_span - highest), 0)
        nothing = (highest == least) & (summed == summed)  # all are −inf; a NaN would make the sum NaN
        tl.store(top + row, highest)
        tl.store(total + row, summed)
        tl.store(norms + row, tl.where(nothing, -float("inf"), highest + tl.log(summed)))

    @triton.jit
    def _weigh(z, top, total, weights, n, stride, floor: tl.constexpr, block: tl.constexpr):
        """Write the weighted softmax of a block of a row, one program per block."""
        row = tl.program_id(0).to(tl.int64)
        place = tl.program_id(1) * block + tl.arange(0, block)
        inside = place < n
        z += row * stride + place
        x = tl.load(z, mask=inside, other=-float("inf"))
        share = tl.exp(tl.maximum(x - tl.load(top + row), -floor)) / tl.load(total + row)
        tl.store(z, share * tl.load(weights + row), mask=inside)
