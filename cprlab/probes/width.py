"""What could any embedding of this width do? The copy dial with free item embeddings, and the loss by the rank of W.

The other probes hold the item embeddings W fixed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from cprlab.errors import ConfigError
from cprlab.evaluation import estimate, labelled, means
from cprlab.probes.bottleneck import copy_dial
from cprlab.probes.copying import copy_probability
from cprlab.probes.snapshot import Snapshot
from cprlab.probes.states import Items, nearest_states

RATE, FIRST, SECOND = 0.3, 0.9, 0.99  # Adam's; the rate is in units of the norm bounds
STILL, PATIENCE = 1e-4, 20  # nats; number of steps without such an improvement after which the rate is halved
HALVINGS = 4  # of the rate, before the descent ends
STEPS = 5000  # maximum
RANKED = ("log-loss", "copy probability", "NDCG@10")


class FreeEmbedding(NamedTuple):
    """Item embeddings and states found for wanted distributions.

    Attributes:
        item_embeddings: (n, d) float64.
        states: (m, d) float64, the best in the ball for these item embeddings.
        divergence: (m,) nats.
    """

    item_embeddings: np.ndarray
    states: np.ndarray
    divergence: np.ndarray


def free_embedding(
    wanted: np.ndarray,
    d: int,
    radius: float,
    norms: float | np.ndarray,
    bias: np.ndarray | None = None,
    *,
    starts: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> FreeEmbedding:
    """Return item embeddings and states, both free, whose softmaxes come close to the wanted distributions.

    It lowers the mean over cases of KL(p ‖ softmax(W h + b)) over all W and h within norm bounds, as in the free
    embedding optimisation of Weller et al. (arXiv:2508.21038): Adam, with W and h projected onto their
    balls after each step, until the loss stops falling. Then each h is replaced by the best for this W
    (`nearest_states`). The problem is not convex, so the divergence is an upper bound of what the best W could do, not
    a proof. It is also of these cases only; the more there are, the less a W can do for all of them.

    Args:
        wanted: (m, n) wanted distribution p of each case.
        d: number of dimensions.
        radius: maximum of ‖h‖.
        norms: maximum of ‖w‖, one number for all items, or (n,).
        bias: (n,) b, which stays as it is; none if None.
        starts: number of random starts; the best result is kept.
        seed: seed of the first start; the next ones follow.
        progress: whether to show a bar.

    Raises:
        ConfigError: `wanted` is not a distribution over the items for each case, or a bound is not a positive number.
    """
    if wanted.ndim != 2 or not ((wanted >= 0).all() and np.allclose(wanted.sum(1), 1, atol=1e-6)):
        raise ConfigError("wanted must be probabilities (cases, items) that sum to 1 for each case.")
    n = wanted.shape[1]
    limits = np.broadcast_to(np.asarray(norms, dtype=np.float64), n).copy()
    if d < 1 or starts < 1 or not (0 < radius < np.inf and (limits >= 0).all() and 0 < limits.mean() < np.inf):
        raise ConfigError("d and starts must be at least 1, and the bounds of ‖h‖ and ‖w‖ positive numbers.")
    p = torch.from_numpy(np.asarray(wanted, dtype=np.float64))
    b = torch.zeros(n, dtype=torch.float64) if bias is None else torch.from_numpy(np.asarray(bias, dtype=np.float64))
    entropy = torch.xlogy(p, p).sum(1)
    found = []
    with tqdm(desc=f"free embedding, d = {d}", unit="step", disable=not progress) as bar:
        for start in range(seed, seed + starts):
            weight, states = _descend(p, d, radius, torch.from_numpy(limits), b, start, bar)
            best = nearest_states(Items(weight, b), p @ weight, entropy - p @ b, states, radius)
            found.append(FreeEmbedding(weight.numpy(), best.states.numpy(), best.divergence.numpy()))
    return min(found, key=lambda one: one.divergence.mean())


def floor_by_width(
    snapshot: Snapshot,
    dimensions: Sequence[int] = (4, 8, 16, 32, 64, 128),
    share: float | np.ndarray = 1,
    norms: Sequence[float] = (1,),
    *,
    starts: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare the copy dial's floor of a trained model with that of free item embeddings, by their width.

    The wanted distributions are those of `copy_dial`, and so is the ball: ‖h‖ ≤ `snapshot.radius`. Each free w is at
    most as long as the trained model's own w of the same item, or a multiple of that; so W's maximum and root mean
    square norm are bounded by the trained model's too. At norm 1 and the trained width, the trained W is one of those
    allowed. The bias is the trained model's. See `free_embedding`: values are achieved, so they are upper bounds of the
    best, and they are of these cases only.

    Args:
        snapshot: W, b, states and histories.
        dimensions: widths d of the free embeddings.
        share: the wanted share α of probability on the history, one number for all cases, or (m,), for example
            `wanted_share`.
        norms: multiples of the trained ‖w‖.
        starts: as in `free_embedding`, like `seed` and `progress`.

    Returns:
        Rows `embedding ("trained" | "free"), dimensions, norms, value, low, high, n`: the mean over cases of the nats
        lost at the best state in the ball, with its 95% interval over cases. The first row is the trained model's
        `floor_ball`.

    Raises:
        ConfigError: as in `copy_dial` and `free_embedding`.
    """
    floor = copy_dial(snapshot, [share])["floor_ball"].to_numpy()
    rows = [("trained", snapshot.item_embeddings.shape[1], 1.0, *estimate(floor, seed))]
    wanted = _wanted(snapshot, np.broadcast_to(np.asarray(share, dtype=np.float64), len(snapshot)))
    lengths = np.linalg.norm(snapshot.item_embeddings.astype(np.float64), axis=1)
    for times in norms:
        for d in dimensions:
            found = free_embedding(
                wanted, d, snapshot.radius, times * lengths, snapshot.bias, starts=starts, seed=seed, progress=progress
            )
            rows.append(("free", d, float(times), *estimate(found.divergence, seed)))
    return pd.DataFrame(rows, columns=["embedding", "dimensions", "norms", "value", "low", "high", "n"])


def loss_by_rank(snapshot: Snapshot, ranks: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Return what a trained model loses if its item embeddings are cut to a lower rank, without new training.

    W − w̄ is cut to its first r right singular vectors and the states are projected on them; the bias is kept.
    Subtracting the mean item w̄ changes no softmax. The first r directions are those of the items' variance, and
    nothing is trained again, so a model trained at rank r may lose less: Godey et al. (arXiv:2404.07647) train the
    output layer at each rank, for language models.

    Args:
        snapshot: W, b, states, histories and targets.
        ranks: ranks r of at least 0; beyond d, the model is as it is.
        seed: seed of the bootstrap.

    Returns:
        Rows `kept` (r) and the columns of `evaluation.means`, with 95% intervals over cases: the log-loss and NDCG@10
        of all, repeat and new cases, and the copy probability.

    Raises:
        ConfigError: a rank is negative.
    """
    if min(ranks, default=0) < 0:
        raise ConfigError("A rank must be at least 0.")
    weight = snapshot.item_embeddings.astype(np.float64)
    weight -= weight.mean(0)
    directions = np.linalg.svd(weight, full_matrices=False).Vh
    states = snapshot.states.astype(np.float64)
    parts = []
    for rank in ranks:
        kept = directions[:rank].T @ directions[:rank]
        cases = copy_probability(replace(snapshot, item_embeddings=weight @ kept, states=states @ kept))
        parts.append(labelled(cases.rename(columns={"case": "user"}), {"kept": rank, "seed": 0}))
    return means(pd.concat(parts, ignore_index=True), RANKED, seed)


def _wanted(snapshot: Snapshot, share: np.ndarray) -> np.ndarray:
    """Return (m, n) α p_C + (1 − α) p_V, with the model's own softmax on the history and on the other items."""
    log_probs = torch.cat([batch.double() for _, batch in snapshot.log_probs()])
    inside = torch.zeros_like(log_probs, dtype=torch.bool)
    for row, history in zip(inside, snapshot.distinct, strict=True):
        row[torch.from_numpy(history)] = True
    p_history, p_rest = (log_probs.masked_fill(~of, -torch.inf).softmax(1) for of in (inside, ~inside))
    return share[:, None] * p_history.numpy() + (1 - share)[:, None] * p_rest.numpy()


def _descend(
    p: torch.Tensor, d: int, radius: float, limits: torch.Tensor, bias: torch.Tensor, seed: int, bar: tqdm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W (n, d) and h (m, d), in double precision, at which Adam in single precision stops to improve.

    Each row has one second moment. With one for each coordinate, the steps would be of another metric than the
    projection, and the descent would end at points of the balls' surfaces that are not minima.
    """
    generator = torch.Generator().manual_seed(seed)
    bounds = limits.float()[:, None], torch.full((len(p), 1), radius)
    rows = [torch.randn(len(bound), d, generator=generator) for bound in bounds]
    rows = [(x / x.norm(dim=1, keepdim=True) * bound).requires_grad_() for x, bound in zip(rows, bounds, strict=True)]
    weight, states = rows
    first, second = [torch.zeros_like(x) for x in rows], [torch.zeros_like(bound) for bound in bounds]
    wanted, b, tiny = p.float(), bias.float(), torch.finfo(torch.float32).tiny
    best, since, halved = torch.inf, 0, 0
    for step in range(1, STEPS + 1):
        loss = cross_entropy(states @ weight.T + b, wanted)
        gradients = torch.autograd.grad(loss, rows)
        with torch.no_grad():
            for x, bound, gradient, mean, square in zip(rows, bounds, gradients, first, second, strict=True):
                mean.lerp_(gradient, 1 - FIRST)
                square.lerp_(gradient.square().sum(1, keepdim=True), 1 - SECOND)
                scale = ((square / (1 - SECOND**step)).sqrt() * (1 - FIRST**step)).clamp(min=tiny)
                x -= RATE / 2**halved * bound * mean / scale
                x *= (bound / x.norm(dim=1, keepdim=True).clamp(min=tiny)).clamp(max=1)
        bar.update()
        since = 0 if loss < best - STILL else since + 1
        best = min(best, loss.item())
        if since > PATIENCE:
            since, halved = 0, halved + 1
        if halved > HALVINGS:
            break
    return weight.detach().double(), states.detach().double()
