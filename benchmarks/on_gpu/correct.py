"""Check the kernel: the loss and gradients of each head, compared with dense logits in float64."""

import copy

import numpy as np
import torch
from torch.nn import functional as F

from cprlab.models import Context, GRU4RecConfig, Recommender, parse_head
from cprlab.training import kernel
from cprlab.training.loss import CrossEntropy

D = 64
HEADS = ["Softmax", "Softmax + Mi", "Softmax + B", "Softmax + F", "Softmax + C", "Softmax + CP", "Softmax + R:100"]
HEADS += ["Softmax + CPR:100 + Mi", "MoS:3", "Softmax (similarity=cosine)"]
CATALOGUE = 9_001  # items in the check of heads: slightly more than two of Triton's blocks
WITHIN = 1e-5  # relative tolerance; for a gradient, relative to its largest entry


def check(head: str, device: torch.device, n_items: int = CATALOGUE, dtype: torch.dtype = torch.float32) -> dict:
    """Return the errors of a head's loss and gradients from the kernel, compared with dense logits in float64."""
    torch.manual_seed(0)
    recommender = Recommender(GRU4RecConfig(d=D, hidden=D), parse_head(head), n_items)
    items, targets = torch.randint(max(2, n_items // 100), (4, 16)), torch.randint(n_items, (4, 16))
    at = torch.arange(16).expand(4, -1)
    started = {name: facet.detach() for name, facet in recommender(items, at).items()}
    facets = {name: torch.where(x == 0, torch.randn_like(x), 5 * x) for name, x in started.items()}  # B's and F's are 0
    (value, grads), (dense_value, dense_grads) = (
        _differentiated(copy.deepcopy(recommender), facets, items, at, targets, device, kind, dense)
        for kind, dense in ((dtype, False), (torch.float64, True))
    )
    apart = [largest(grad - dense) for grad, dense in zip(grads, dense_grads, strict=True)]
    sizes = [largest(dense) for dense in dense_grads]
    relative = [off / max(size, 1e-5 * max(sizes)) for off, size in zip(apart, sizes, strict=True)]
    row = {
        "loss_off": abs(value - dense_value),
        "loss_off_relative": abs(value / dense_value - 1),
        "gradient_off": worst(apart),
        "gradient_off_relative": worst(relative),
    }
    return row | {"right": worst([row["loss_off_relative"], row["gradient_off_relative"]]) < WITHIN}


def _differentiated(
    recommender: Recommender,
    facets: dict[str, torch.Tensor],
    items: torch.Tensor,
    at: torch.Tensor,
    targets: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype,
    dense: bool,
) -> tuple[float, list[torch.Tensor]]:
    """Return the summed loss, and its gradients for the facets and the output embeddings, as float64 on the CPU."""
    recommender.to(device, dtype)
    leaves = {name: facet.to(device, dtype).requires_grad_() for name, facet in facets.items()}
    weight = (recommender.output_embedding or recommender.embedding).weight
    context, targets, loss = (
        Context(items.to(device), at.to(device), recommender.n_items),
        targets.to(device),
        CrossEntropy(),
    )
    if dense:
        log_p = recommender.distribution(leaves, context)
        value = F.nll_loss(log_p.flatten(0, 1), targets.flatten(), reduction="sum")
    else:
        drawn = loss.draw(targets)
        value = kernel.chunked(loss, recommender.head, leaves, recommender.outputs, context, targets, drawn)
    grads = torch.autograd.grad(value, [*leaves.values(), weight], materialize_grads=True)
    return float(value.detach()), [grad.cpu().double() for grad in grads]


def check_softmax(device: torch.device, n: int = 2 * CATALOGUE) -> dict:
    """Return the error of the kernel's softmax, compared with float64, on logits of all sizes, including −inf."""
    z = torch.randn(6, n, generator=torch.Generator().manual_seed(0)) * 20
    z[1, : n // 2] = z[2, 1:] = -torch.inf
    z[3, 7], z[4, -1] = 1e4, -1e4
    z[5] *= 500
    expected = z.double()
    there = z.to(device)
    norms, weigh = kernel.softmax_(there)
    weigh(torch.ones_like(norms))
    off = worst([largest(norms.cpu() / expected.logsumexp(1) - 1), largest(there.cpu().double() - expected.softmax(1))])
    return {"off_relative": off, "right": off < WITHIN}


def largest(tensor: torch.Tensor) -> float:
    """Return the largest absolute value in a tensor."""
    return float(tensor.abs().max())


def worst(errors: list[float]) -> float:
    """Return the maximum, or NaN if one is NaN; Python's `max` may overlook it."""
    return float(np.max(errors))
