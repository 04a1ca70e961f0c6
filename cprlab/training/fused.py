"""The kernel's softmax on a GPU, in Triton: each row of logits is read twice and written once."""

from functools import cache

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch's own builds for GPUs bring it along
    triton = None

BLOCK = 4096  # logits of a row that are read at once


@cache
def usable(device: torch.device) -> bool:
    """Say whether Triton is there, and works, on this device; it needs a C compiler too, which nobody promises."""
    if triton is None or device.type != "cuda":
        return False
    try:
        return bool((softmax_(torch.zeros(1, 2, device=device), floor=70.0) - torch.tensor(2.0).log()).abs() < 1e-6)
    except Exception:  # whatever Triton, the compiler or the driver raised: eager PyTorch does without
        return False


def softmax_(z: torch.Tensor, floor: float) -> torch.Tensor:
    """Do what `kernel.softmax_` does; the logits of a row (…, n) are next to each other, and rows equally far apart."""
    rows = z.flatten(0, -2)
    norms = z.new_empty(len(rows))
    _softmax[(len(rows),)](rows, norms, z.shape[-1], rows.stride(0), floor, torch.finfo(z.dtype).min / 2, BLOCK)
    return norms.view(z.shape[:-1])


if triton is not None:

    @triton.jit
    def _softmax(z, norms, n, stride, floor: tl.constexpr, least: tl.constexpr, block: tl.constexpr):
        """A program a row. Each of `block` lanes keeps its largest logit and the sum of exponentials relative to it."""
        row = tl.program_id(0).to(tl.int64)
        place = tl.arange(0, block)
        z += row * stride
        top = tl.full((block,), least, z.dtype.element_ty)  # in the place of −inf
        total = tl.zeros((block,), z.dtype.element_ty)
        for start in range(0, n, block):
            inside = start + place < n
            x = tl.load(z + start + place, mask=inside, other=-float("inf"))
            higher = tl.maximum(top, x, propagate_nan=tl.PropagateNan.ALL)
            here = tl.where(inside, tl.exp(tl.maximum(x - higher, -floor, propagate_nan=tl.PropagateNan.ALL)), 0.0)
            total = total * tl.exp(top - higher) + here
            top = higher
        highest = tl.max(top, 0)
        total = tl.sum(total * tl.exp(top - highest), 0)
        for start in range(0, n, block):
            inside = start + place < n
            x = tl.load(z + start + place, mask=inside, other=-float("inf"))
            tl.store(z + start + place, tl.exp(tl.maximum(x - highest, -floor)) / total, mask=inside)
        nothing = (highest == least) & (total == total)  # all are −inf; a NaN among them is in the total
        tl.store(norms + row, tl.where(nothing, -float("inf"), highest + tl.log(total)))
