"""nearest_states: the single hidden states whose softmaxes come nearest to wanted distributions, with certificates.

For wanted p the divergence of a state is KL(p ‖ softmax(W h + b)) = logsumexp(W h + b) − p̄ · h + Σ p (log p − b), with
p̄ = Σ p w: convex in h, and p matters through p̄ and a constant alone. It is minimised over a ball ‖h‖ ≤ R.

Where Newton's method does not get there from the start that it is given, it follows the least divergence through wider
and wider balls, from one in which no softmax is saturated.

The certificate is a duality gap. With q = softmax(W h + b) and g = Σ q w − p̄, the gradient at h, no state in the ball
has a divergence below that of h by more than g · h + R ‖g‖, as the function is convex; nor is any divergence below 0.
"""

import math
from functools import cached_property
from typing import NamedTuple, Self

import torch

GAP = 5e-7  # nats; half of what is promised
ITERATIONS = 300
EXACT_AFTER = 12  # iterations with single-precision curvature, which takes half the time and nearly always does
RIDGE = 1e-7, 1e-13  # added to the curvature, of its trace: what single and double precision can tell from 0
DAMPED = 1e-5  # times the gradient's and the longest item's norm, added as well: a saturated softmax has no curvature
ALIKE = 0.5  # nats: a step that moves no difference of two logits by more keeps the curvature within exp(½) < 2 times
DOUBLINGS, HALVINGS, SHIFTS = 10, 40, 30
TINY = 1e-300  # stands for 0 below a fraction
WIDER = 4  # times, from one ball of the path to the next
FEW = 8  # cases; fewer have their covariances sooner one by one than from products of coordinates
PAIRS_HELD = 2**28  # products of coordinates that are kept, 1 GiB in single precision


class Nearest(NamedTuple):
    """The best states found.

    Attributes:
        states: (B, d) float64.
        divergence: (B,) nats.
        certificate: (B,) nats by which the divergence may exceed the least one.
    """

    states: torch.Tensor
    divergence: torch.Tensor
    certificate: torch.Tensor


class Items:
    """Item embeddings and biases as the minimiser needs them, in float64.

    Args:
        weight: (n, d).
        bias: (n,).
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.centred = weight - weight.mean(0)  # has the same covariances, and single precision keeps them
        self.reach = self.centred.norm(dim=1).max()
        self.upper = torch.triu_indices(weight.shape[1], weight.shape[1])
        self.held = len(weight) * self.upper.shape[1] <= PAIRS_HELD

    @cached_property
    def single(self) -> torch.Tensor:
        """The centred embeddings in single precision, (n, d)."""
        return self.centred.float()

    @cached_property
    def pairs(self) -> torch.Tensor:
        """Products of the coordinates i ≤ j of each item, (d (d + 1) / 2, n); a few cases never need them."""
        columns = self.single.T.contiguous()
        return torch.cat([row * columns[i:] for i, row in enumerate(columns)])

    def rows(self, chosen: torch.Tensor) -> Self:
        """Return the items of some of the cases: all cases have the same."""
        return self

    def scores(self, states: torch.Tensor) -> torch.Tensor:
        """Return w · h without the bias, (B, n)."""
        return states @ self.weight.T

    def mean(self, q: torch.Tensor) -> torch.Tensor:
        """Return Σ q w, (B, d)."""
        return q @ self.weight

    def curvature(self, q: torch.Tensor, exact: bool) -> torch.Tensor:
        """Return the covariance of w under q, (B, d, d), in double precision where `exact`, else from single.

        In single precision the covariances of many cases come from one product of matrices, of the probabilities and of
        the products of coordinates i ≤ j.
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
    """A few items of each case's own, for the same questions as `Items`.

    Args:
        weight: (B, k, d).
        bias: (B, k); −∞ for what stands behind a case's last item.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.reach = weight.norm(dim=2).max()

    def rows(self, chosen: torch.Tensor) -> Self:
        """Return the items of some of the cases."""
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
        start: (B, d) float64, where to begin.
        radius: R; 0 leaves the state 0 alone.
    """
    result = _newton(items, mean, constant, start, radius)
    hard = (result.certificate > GAP).nonzero()[:, 0]
    if not len(hard):
        return result
    items, mean, constant, states = items.rows(hard), mean[hard], constant[hard], torch.zeros_like(mean[hard])
    wider = math.ceil(math.log(max(1.0, radius * float(items.reach)), WIDER))  # the first ball moves logits by 1 or so
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
    """Return as `nearest_states` what Newton's method finds from the start, if only after many steps.

    Each step goes to the minimum of the quadratic model over the ball, or as far as the divergence falls.
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
        near = alike & ~near  # one more step with the same curvature, which costs more than a step
        length = torch.minimum(length, _room(states, step, radius))[:, None]
        states = states + length * step
        logits = logits + length * change if iteration % 4 else items.scores(states) + items.bias
    return result


def _best_in_ball(
    model: torch.Tensor, gradient: torch.Tensor, states: torch.Tensor, radius: float, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return argmin over ‖x‖ ≤ R of g · (x − h) + ½ (x − h)ᵀ H (x − h), (B, d), and the shifts μ (B,).

    It is (H + μ)⁻¹ (H h − g), with the least μ ≥ 0 that brings it into the ball: Newton's method on 1 / ‖x‖ as a
    function of μ, by Cholesky factors (Moré & Sorensen, 1983).

    Args:
        model: H, (B, d, d) positive definite.
        gradient: g, (B, d).
        states: h, (B, d).
        radius: R.
        shift: (B,) where to begin with μ.
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
    """Return (B,) how much of a step to take, and (B,) whether it is so short that the curvature stays alike.

    A short step lowers the divergence, as the curvature stays below twice the model's. Any other is taken 1, 2, 4 …
    times while the divergence falls, or ½, ¼ … times until it does. Doubling serves where the least divergence is
    approached at infinity, as with items that can be copied exactly: a whole step only adds a constant to a margin.

    Args:
        logits: (B, n).
        norm: (B,) their logsumexp.
        change: (B, n) of the logits by a whole step.
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
    more = whole < 0.55 * slope[far]  # a quadratic function would fall by half of what its slope says
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
    """Return (B,) how often a step can be taken before it leaves the ball, 1 or more: t with ‖h + t · step‖ = R."""
    square = step.square().sum(1).clamp(min=TINY)
    half = (states * step).sum(1) / square
    rest = (radius**2 - states.square().sum(1)).clamp(min=0) / square
    return (((half**2 + rest).sqrt() - half) * (1 - 1e-12)).clamp(min=1)
