"""nearest_states: the single hidden states whose softmaxes are closest to wanted distributions, with certificates.

For wanted p, the divergence of a state is KL(p ‖ softmax(W h + b)) = logsumexp(W h + b) − p̄ · h + Σ p (log p − b), with
p̄ = Σ p w. It is convex in h and depends on p only through p̄ and a constant. It is minimised over a ball ‖h‖ ≤ R.

If Newton's method does not converge from its start, it follows the minimum through growing balls, starting from one in
which no softmax is saturated.

The certificate is a duality gap. With q = softmax(W h + b) and the gradient g = Σ q w − p̄ at h, convexity implies that
no state in the ball has a divergence below that of h by more than g · h + R ‖g‖; and no divergence is below 0.
"""

import math
from functools import cached_property
from typing import NamedTuple, Self

import torch

GAP = 5e-7  # nats; half of the documented tolerance
ITERATIONS = 300
EXACT_AFTER = 12  # iterations with single-precision curvature, which takes half the time and nearly always suffices
RIDGE = 1e-7, 1e-13  # share of the trace added to the curvature, in single and double precision
DAMPED = 1e-5  # times the norms of gradient and longest item, also added: a saturated softmax has no curvature
ALIKE = 0.5  # nats; a step that changes differences of logits by less changes the curvature by less than exp(½) < 2
DOUBLINGS, HALVINGS, SHIFTS = 10, 40, 30
TINY = 1e-300  # replaces 0 in denominators
WIDER = 4  # factor from one ball of the path to the next
FEW = 8  # for fewer cases, computing covariances one by one is faster than from products of coordinates
PAIRS_HELD = 2**28  # maximum number of cached products of coordinates, 1 GiB in single precision


class Nearest(NamedTuple):
    """The best states found.

    Attributes:
        states: (B, d) float64.
        divergence: (B,) nats.
        certificate: (B,) nats by which the divergence may exceed the minimum.
    """

    states: torch.Tensor
    divergence: torch.Tensor
    certificate: torch.Tensor


class Items:
    """Item embeddings and biases for the minimiser, in float64.

    Args:
        weight: (n, d).
        bias: (n,).
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.centred = weight - weight.mean(0)  # same covariances, but accurate in single precision
        self.reach = self.centred.norm(dim=1).max()
        self.upper = torch.triu_indices(weight.shape[1], weight.shape[1])
        self.held = len(weight) * self.upper.shape[1] <= PAIRS_HELD

    @cached_property
    def single(self) -> torch.Tensor:
        """The centred embeddings in single precision, (n, d)."""
        return self.centred.float()

    @cached_property
    def pairs(self) -> torch.Tensor:
        """Products of coordinates i ≤ j of each item, (d (d + 1) / 2, n); not computed for only a few cases."""
        columns = self.single.T.contiguous()
        return torch.cat([row * columns[i:] for i, row in enumerate(columns)])

    def rows(self, chosen: torch.Tensor) -> Self:
        """Return the items of the chosen cases; all cases have the same items."""
        return self

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        """Return w · h without the bias, (B, n)."""
        return states @ self.weight.T

    def mean(self, q: torch.Tensor) -> torch.Tensor:
        """Return Σ q w, (B, d)."""
        return q @ self.weight

    def curvature(self, q: torch.Tensor, exact: bool) -> torch.Tensor:
        """Return the covariance of w under q, (B, d, d), in double precision if `exact`, else from single precision.

        In single precision, the covariances of many cases come from one matrix product of the probabilities and the
        products of coordinates i ≤ j.
        """
        mean = q @ self.centred
        if exact or not self.held or len(q) < FEW:
            w = self.centred if exact or not self.held else self.single
            second = torch.stack([(w * row[:, None]).T @ w for row in q.to(w.dtype)]).to(q.dtype)
        else:
            second = q.new_empty(*mean.shape, mean.shape[1])
            products = (q.float() @ self.pairs.T).to(q.dtype)
            second[:, self.upper[0], self.upper[1]] = second[:, self.upper[1], self.upper[0]] = products
        return second - mean[:, :, None] * mean[:, None, :]


class OwnItems:
    """Different items for each case, with the same methods as `Items`.

    Args:
        weight: (B, k, d).
        bias: (B, k); −∞ for padding.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.reach = weight.norm(dim=2).max()

    def rows(self, chosen: torch.Tensor) -> Self:
        """Return the items of the chosen cases."""
        return type(self)(self.weight[chosen], self.bias[chosen])

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        """See `Items`."""
        return (self.weight @ states[:, :, None])[:, :, 0]

    def mean(self, q: torch.Tensor) -> torch.Tensor:
        """See `Items`."""
        return (q[:, None] @ self.weight)[:, 0]

    def curvature(self, q: torch.Tensor, exact: bool) -> torch.Tensor:
        """See `Items`; always in double precision."""
        mean = self.mean(q)
        return self.weight.mT @ (self.weight * q[:, :, None]) - mean[:, :, None] * mean[:, None, :]


def nearest_states(
    items: Items | OwnItems, mean: torch.Tensor, constant: torch.Tensor, start: torch.Tensor, radius: float
) -> Nearest:
    """Return the states in a ball whose softmaxes have the least divergence from wanted distributions.

    Args:
        items: W and b.
        mean: (B, d) float64, p̄ = Σ p w of each wanted distribution.
        constant: (B,) float64, Σ p (log p − b).
        start: (B, d) float64, starting points.
        radius: R; if 0, the only state is 0.
    """
    result = _newton(items, mean, constant, start, radius)
    hard = (result.certificate > GAP).nonzero()[:, 0]
    if not len(hard):
        return result
    items, mean, constant, states = items.rows(hard), mean[hard], constant[hard], torch.zeros_like(mean[hard])
    wider = math.ceil(math.log(max(1.0, radius * float(items.reach)), WIDER))  # the first ball has logits of about 1
    for times in range(wider, -1, -1):
        found = _newton(items, mean, constant, states, radius / WIDER**times)
        states = found.states * WIDER
    better = found.certificate < result.certificate[hard]
    for kept, value in zip(result, found, strict=True):
        kept[hard[better]] = value[better]
    return result


def _newton(
    items: Items | OwnItems, mean: torch.Tensor, constant: torch.Tensor, start: torch.Tensor, radius: float
) -> Nearest:
    """Return what Newton's method finds from the start; see `nearest_states`.

    Each step goes to the minimum of the quadratic model over the ball, with a line search on the divergence.
    """
    result = Nearest(start.clone(), torch.full_like(constant, math.inf), torch.full_like(constant, math.inf))
    active = torch.arange(len(start))
    states = start * (radius / start.norm(dim=1, keepdim=True).clamp(min=max(radius, TINY)))
    logits = items.scores(states) + items.bias
    model = torch.zeros(*states.shape, states.shape[1], dtype=states.dtype)
    shift, near = torch.zeros_like(constant), torch.zeros(len(start), dtype=torch.bool)
    for iteration in range(ITERATIONS):
        norm = logits.logsumexp(1)
        q = (logits - norm[:, None]).exp()
        gradient = items.mean(q) - mean
        divergence = (norm - (mean * states).sum(1) + constant).clamp(min=0)
        certificate = torch.minimum((gradient * states).sum(1) + radius * gradient.norm(dim=1), divergence).clamp(min=0)
        better = certificate < result.certificate[active]
        for kept, value in zip(result, (states, divergence, certificate), strict=True):
            kept[active[better]] = value[better]
        more = certificate > GAP
        if not more.any():
            break
        if not more.all():
            items = items.rows(more)
            active, mean, constant, states, logits, norm, q, gradient, model, shift, near = (
                x[more] for x in (active, mean, constant, states, logits, norm, q, gradient, model, shift, near)
            )
        exact = iteration >= EXACT_AFTER
        if not near.all():
            model[~near] = items.rows(~near).curvature(q[~near], exact)
            diagonal = model.diagonal(dim1=1, dim2=2)
            steep = DAMPED * items.reach * gradient.norm(dim=1)
            diagonal[~near] += (RIDGE[exact] * diagonal.sum(1) + steep).clamp(min=TINY)[~near, None]
        step, shift = _best_in_ball(model, gradient, states, radius, shift)
        step -= states
        change = items.scores(step)
        length, alike = _length(logits, norm, change, (mean * step).sum(1), (gradient * step).sum(1))
        near = alike & ~near  # reuse the curvature for one step, since it costs more than a step
        length = torch.minimum(length, _room(states, step, radius))[:, None]
        states = states + length * step
        logits = logits + length * change if iteration % 4 else items.scores(states) + items.bias
    return result


def _best_in_ball(
    model: torch.Tensor, gradient: torch.Tensor, states: torch.Tensor, radius: float, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return argmin over ‖x‖ ≤ R of g · (x − h) + ½ (x − h)ᵀ H (x − h), (B, d), and the shifts μ (B,).

    It is (H + μ)⁻¹ (H h − g) with the least μ ≥ 0 for which it is in the ball, found by Newton's method on 1 / ‖x‖ as a
    function of μ, with Cholesky factors (Moré & Sorensen, 1983).

    Args:
        model: H, (B, d, d) positive definite.
        gradient: g, (B, d).
        states: h, (B, d).
        radius: R.
        shift: (B,) starting values of μ.
    """
    right = (model @ states[:, :, None]) - gradient[:, :, None]
    best, shift = torch.empty_like(states), shift.clone()
    waiting = torch.arange(len(states))
    for _ in range(SHIFTS):
        shifted = model[waiting].clone()
        shifted.diagonal(dim1=1, dim2=2).add_(shift[waiting, None])
        factor, _ = torch.linalg.cholesky_ex(shifted)
        half = torch.linalg.solve_triangular(factor, right[waiting], upper=False)
        x = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        best[waiting] = x[:, :, 0]
        norm = x.norm(dim=(1, 2))
        slope = torch.linalg.solve_triangular(factor, x, upper=False).square().sum((1, 2))
        better = (shift[waiting] + norm**2 / slope * (norm / radius - 1)).clamp(min=0)
        more = ((norm / radius - 1).abs() > 1e-9) & ((better > 0) | (shift[waiting] > 0))
        waiting, better = waiting[more], better[more]
        if not len(waiting):
            break
        shift[waiting] = better
    return best * (radius / best.norm(dim=1, keepdim=True).clamp(min=radius)), shift


def _length(
    logits: torch.Tensor, norm: torch.Tensor, change: torch.Tensor, along: torch.Tensor, slope: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Line search: return (B,) step lengths, and (B,) whether the step is so short that the curvature hardly changes.

    A short step always lowers the divergence, as the curvature stays below twice the model's. Longer steps are doubled
    (1, 2, 4 …) while the divergence falls, or halved (½, ¼ …) until it does. Doubling helps if the minimum is at
    infinity, as with items that can be copied exactly: there a whole step only adds a constant to a margin.

    Args:
        logits: (B, n).
        norm: (B,) logsumexp of the logits.
        change: (B, n) change of the logits by a whole step.
        along: (B,) p̄ · step.
        slope: (B,) g · step.
    """

    def rise(chosen: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        moved = (logits[chosen] + length[:, None] * change[chosen]).logsumexp(1)
        return moved - norm[chosen] - length * along[chosen]

    length = torch.ones_like(norm)
    alike = change.amax(1) - change.amin(1) <= ALIKE
    far = (~alike).nonzero()[:, 0]
    whole = rise(far, length[far])
    more = whole < 0.55 * slope[far]  # a quadratic function would fall by half of its slope
    waiting, least = far[more], whole[more]
    for _ in range(DOUBLINGS):
        if not len(waiting):
            break
        now = rise(waiting, 2 * length[waiting])
        less = now < 1.1 * least
        waiting, least = waiting[less], now[less]
        length[waiting] *= 2
    waiting = far[whole > 0.1 * slope[far]]
    for _ in range(HALVINGS):
        if not len(waiting):
            break
        length[waiting] /= 2
        waiting = waiting[rise(waiting, length[waiting]) > 0.1 * length[waiting] * slope[waiting]]
    return length, alike


def _room(states: torch.Tensor, step: torch.Tensor, radius: float) -> torch.Tensor:
    """Return (B,) the largest multiple of a step that stays in the ball, at least 1: t with ‖h + t · step‖ = R."""
    square = step.square().sum(1).clamp(min=TINY)
    half = (states * step).sum(1) / square
    rest = (radius**2 - states.square().sum(1)).clamp(min=0) / square
    return (((half**2 + rest).sqrt() - half) * (1 - 1e-12)).clamp(min=1)
