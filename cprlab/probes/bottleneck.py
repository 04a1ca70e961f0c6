"""The bottleneck gap and the copy dial: how far a single hidden state stays from wanted distributions.

Item embeddings are held fixed, so these floors belong to a trained model, not to an architecture.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cprlab.errors import ConfigError, DataError
from cprlab.probes.snapshot import Snapshot
from cprlab.probes.states import Items, Nearest, OwnItems, nearest_states

AT_ONCE = 64  # cases whose probabilities of all items are in memory
FREE = 1000  # radii that count as unbounded; beyond, rounding dominates the logits
ROUNDED = 1e-4  # nats by which a score may be rounded
NEAR = 0.01  # nats within which a context partition must reach 0 or 1, which no finite state reaches exactly


def bottleneck_gap(
    snapshot: Snapshot, wanted: np.ndarray | None = None, radius: float | None = None, *, progress: bool = False
) -> pd.DataFrame:
    """Return how far the best single hidden state stays from a wanted distribution.

    The gap is min over h of KL(p ‖ softmax(W h + b)); exp(gap) is the factor by which the wanted probability is
    diluted. Over all h, it is the dual of maximum entropy under the mean Σ p w. Ganea et al. (ICML 2019) ask what the
    rank of a softmax costs in cross-entropy; this answers it for given W and p.

    Args:
        snapshot: W, b, and the histories.
        wanted: (m, n) wanted distribution p of each case; uniform on the history's distinct items if None, which is
            the same for all models.
        radius: of the ball, ρ, for example of the snapshot from which these cases were taken; `snapshot.radius` if
            None.
        progress: whether to show a progress bar.

    Returns:
        One row per case: `case`, `gap_free` (nats, over all h with ‖h‖ up to 1,000 ρ), `gap_ball`
        (nats, over ‖h‖ ≤ ρ, the reach of this model), `certificate` (nats by which either may be too
        large, from the duality gap), `interfering` (number of items outside the history that score above its lowest
        item at the best h in the ball).

    Raises:
        ConfigError: `wanted` is not a distribution over the items for each case.
        DataError: as in `copy_dial`.
    """
    rows = []
    for batch in _batches(snapshot, radius, "bottleneck gap" * progress):
        free, ball = batch.solve(*batch.target(batch.uniform() if wanted is None else batch.given(wanted)))
        certificate = torch.maximum(free.certificate, ball.certificate)
        columns = (free.divergence, ball.divergence, certificate, (batch.excess(ball.states) > 0).sum(1))
        rows.append(np.stack([column.double().numpy() for column in columns], axis=1))
    table = pd.DataFrame(np.concatenate(rows), columns=["gap_free", "gap_ball", "certificate", "interfering"])
    table.insert(0, "case", np.arange(len(table)))
    return table.astype({"interfering": int})


def copying_states(snapshot: Snapshot, radius: float | None = None, wanted: np.ndarray | None = None) -> np.ndarray:
    """Return the states in the ball ‖h‖ ≤ ρ that best copy the histories, (m, d) float64.

    Unless `wanted` says otherwise, they have the least divergence from p_C, the model's own softmax restricted to the
    history: `floor_ball` of `copy_dial` at α = 1.

    Args:
        snapshot: W, b, states and histories.
        radius: as in `bottleneck_gap`.
        wanted: (m, n) other wanted distributions.

    Raises:
        ConfigError: as in `bottleneck_gap`.
    """
    return np.concatenate([states.numpy() for _, states in _copied(snapshot, radius, wanted)])


def interference(snapshot: Snapshot, radius: float | None = None, wanted: np.ndarray | None = None) -> pd.DataFrame:
    """Return the items outside a history that score high at the state that copies it best, with their titles.

    Args:
        snapshot: W, b, states and histories.
        radius: as in `bottleneck_gap`.
        wanted: as in `copying_states`, whose states are taken.

    Returns:
        One row per case and item that scores above the history's lowest item there, the strongest first: `case, item,
        title, excess` (nats above that item), `takes` (probability).

    Raises:
        ConfigError: as in `bottleneck_gap`.
    """
    rows = []
    for batch, states in _copied(snapshot, radius, wanted):
        excess, taken = batch.excess(states), (batch.items.scores(states) + batch.items.bias).softmax(1)
        for case, item in (excess > 0).nonzero().tolist():
            numbers = float(excess[case, item]), float(taken[case, item])
            rows.append((batch.start + case, item, snapshot.titles[item], *numbers))
    table = pd.DataFrame(rows, columns=["case", "item", "title", "excess", "takes"])
    return table.sort_values(["case", "excess"], ascending=[True, False], ignore_index=True)


def _copied(
    snapshot: Snapshot, radius: float | None, wanted: np.ndarray | None
) -> Iterator[tuple["_Batch", torch.Tensor]]:
    for batch in _batches(snapshot, radius):
        yield batch, batch.solve_ball(*batch.target(batch.own() if wanted is None else batch.given(wanted))).states


def copy_dial(
    snapshot: Snapshot,
    alphas: Sequence[float | np.ndarray] = (0, 0.5, 1),
    radius: float | None = None,
    *,
    progress: bool = False,
) -> pd.DataFrame:
    """Return the loss of a single state, and of a context partition, at wanted shares of probability on the history.

    Let p_C and p_V be the model's own softmax restricted to the history's items and to all others. The wanted
    distribution is α p_C + (1 − α) p_V: α = 0 is perfect exclusion, α = 1 pure copying.

    Args:
        snapshot: W, b, states and histories.
        alphas: wanted copy shares from 0 to 1, each one number for all cases, or (m,).
        radius: as in `bottleneck_gap`.
        progress: whether to show a bar.

    Returns:
        One row per case and α: `case`, `alpha`, `stay` (nats lost at the model's own state), `floor_free` and
        `floor_ball` (nats lost at the best single state, as in `bottleneck_gap`; `stay` is at least `floor_ball` if the
        model's state is in the ball), `certificate` (nats by which either floor may be too large), `floor_context`
        (nats lost with a context partition, at most: at the best f_C in the same ball, if the model's own state scores
        the rest, or at the best single state for both, if that is better), `context_norm` (least ‖f_C‖ that reaches α
        exactly, or within 0.01 nats for 0 and 1; infinite if no f_C does).

    Raises:
        ConfigError: an α is not a share, or a history holds every item.
        DataError: the scores are so large that float64 rounds them by more than `ROUNDED` nats.
    """
    shares = [np.broadcast_to(np.asarray(alpha, dtype=np.float64), len(snapshot)) for alpha in alphas]
    if any(not ((share >= 0) & (share <= 1)).all() for share in shares):
        raise ConfigError("The wanted copy shares must be numbers from 0 to 1.")
    if any(len(history) == snapshot.n_items for history in snapshot.distinct):
        raise ConfigError("A history contains every item, so no items are left to exclude; leave this case out.")
    rows = []
    for batch in _batches(snapshot, radius, "copy dial" * progress):
        dial = _Dial(batch)
        for share in shares:
            alpha = torch.from_numpy(share[batch.cases].copy())
            free, ball = batch.solve(*dial.wanted(alpha))
            columns = {
                "case": torch.arange(len(share))[batch.cases],
                "alpha": alpha,
                "stay": dial.stay(alpha),
                "floor_free": free.divergence,
                "floor_ball": ball.divergence,
                "certificate": torch.maximum(free.certificate, ball.certificate),
                "floor_context": torch.minimum(dial.context(alpha).divergence, ball.divergence),
                "context_norm": dial.context_norm(alpha),
            }
            rows.append(pd.DataFrame({name: column.numpy() for name, column in columns.items()}))
    return pd.concat(rows).sort_values("case", kind="stable", ignore_index=True)


class _Batch(NamedTuple):
    """A batch of cases.

    Attributes:
        items: W and b.
        start: index of the first case.
        states: (B, d) the model's own states.
        codes: (B, L) the history's distinct items, padded with 0.
        valid: (B, L) bool, False for padding.
        radius: ρ.
    """

    items: Items
    start: int
    states: torch.Tensor
    codes: torch.Tensor
    valid: torch.Tensor
    radius: float

    @property
    def cases(self) -> slice:
        return slice(self.start, self.start + len(self.states))

    def inside(self) -> torch.Tensor:
        """Return (B, n) bool: whether each item is in the history."""
        empty = torch.zeros(len(self.codes), len(self.items.weight), dtype=torch.int8)
        return empty.scatter_add_(1, self.codes, self.valid.to(torch.int8)).bool()

    def uniform(self) -> torch.Tensor:
        """Return (B, n) the uniform distributions on the histories."""
        return self.inside().double() / self.valid.sum(1, keepdim=True)

    def own(self) -> torch.Tensor:
        """Return (B, n) p_C, the model's own softmax restricted to the history."""
        logits = self.items.scores(self.states) + self.items.bias
        return logits.masked_fill(~self.inside(), -torch.inf).softmax(1)

    def given(self, wanted: np.ndarray) -> torch.Tensor:
        """Return (B, n) these cases' wanted distributions.

        Raises:
            ConfigError: they are not distributions over the items.
        """
        p = torch.from_numpy(np.asarray(wanted[self.cases], dtype=np.float64))
        whole = p.shape == (len(self.states), len(self.items.weight)) and bool((p >= 0).all())
        if not whole or not bool(((p.sum(1) - 1).abs() < 1e-6).all()):
            raise ConfigError("wanted must be probabilities (cases, items) that sum to 1 for each case.")
        return p

    def target(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return p̄ (B, d) and the constant (B,) of wanted distributions (B, n)."""
        return p @ self.items.weight, torch.xlogy(p, p).sum(1) - p @ self.items.bias

    def solve_ball(self, mean: torch.Tensor, constant: torch.Tensor) -> Nearest:
        """Return the nearest states in the ball."""
        return nearest_states(self.items, mean, constant, self.states, self.radius)

    def solve(self, mean: torch.Tensor, constant: torch.Tensor) -> tuple[Nearest, Nearest]:
        """Return the nearest states without bound, and in the ball."""
        ball = self.solve_ball(mean, constant)
        return nearest_states(self.items, mean, constant, ball.states, FREE * self.radius), ball

    def excess(self, states: torch.Tensor) -> torch.Tensor:
        """Return (B, n) how far each item scores above the history's lowest item; −∞ for the history's items."""
        scores = self.items.scores(states) + self.items.bias
        lowest = scores.gather(1, self.codes).masked_fill(~self.valid, torch.inf).amin(1, keepdim=True)
        return (scores - lowest).masked_fill(self.inside(), -torch.inf)


def _batches(snapshot: Snapshot, radius: float | None = None, bar: str = "") -> Iterator[_Batch]:
    radius = snapshot.radius if radius is None else radius
    weight = torch.from_numpy(snapshot.item_embeddings).double()
    bias = torch.zeros(len(weight)) if snapshot.bias is None else torch.from_numpy(snapshot.bias)
    items = Items(weight, bias.double())
    states = torch.from_numpy(snapshot.states).double()
    largest = float(weight.norm(dim=1).max() * states.norm(dim=1).max() + bias.abs().max())
    if largest * torch.finfo(torch.float64).eps > ROUNDED:
        raise DataError(
            f"The scores may reach {largest:.1e}, and float64 rounds such a number by more than {ROUNDED} nats; use "
            "smaller item_embeddings, states and bias."
        )
    with tqdm(total=len(snapshot), desc=bar, unit="case", disable=not bar) as shown:
        for start in range(0, len(snapshot), AT_ONCE):
            histories = [torch.from_numpy(history) for history in snapshot.distinct[start : start + AT_ONCE]]
            codes = torch.nn.utils.rnn.pad_sequence(histories, batch_first=True, padding_value=-1)
            now = states[start : start + AT_ONCE]
            yield _Batch(items, start, now, codes.clamp(min=0), codes >= 0, radius)
            shown.update(len(now))


class _Dial:
    """The model's own softmax, restricted to the history and to the rest, and mixed with new weights."""

    def __init__(self, batch: _Batch) -> None:
        self.batch = batch
        bias = batch.items.bias
        logits = batch.items.scores(batch.states) + bias
        of_history = logits.gather(1, batch.codes).masked_fill(~batch.valid, -torch.inf)
        rest = logits.masked_fill(batch.inside(), -torch.inf)
        self.norms = of_history.logsumexp(1), rest.logsumexp(1)
        self.embedded = batch.items.weight[batch.codes] * batch.valid[..., None]  # (B, L, d)
        self.inverse = torch.linalg.pinv(self.embedded)
        self.bias = bias[batch.codes].masked_fill(~batch.valid, -torch.inf)
        p_history, p_rest = (of_history - self.norms[0][:, None]).exp(), (rest - self.norms[1][:, None]).exp()
        self.means = (p_history[:, None] @ self.embedded)[:, 0], p_rest @ batch.items.weight
        # Σ p (log p − b) = p̄ · h − norm, since log p = w · h + b − norm
        self.constants = tuple(
            (mean * batch.states).sum(1) - norm for mean, norm in zip(self.means, self.norms, strict=True)
        )

    def wanted(self, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return p̄ (B, d) and the constant (B,) of α p_C + (1 − α) p_V."""
        mean = alpha[:, None] * self.means[0] + (1 - alpha)[:, None] * self.means[1]
        own = alpha * self.constants[0] + (1 - alpha) * self.constants[1]
        return mean, own - _entropy(alpha)

    def stay(self, alpha: torch.Tensor) -> torch.Tensor:
        """Return (B,) KL(α ‖ P_copy), the loss at the model's own state."""
        norm = torch.logaddexp(*self.norms)
        cross = -alpha * (self.norms[0] - norm) - (1 - alpha) * (self.norms[1] - norm)
        return (cross - _entropy(alpha)).clamp(min=0)

    def context(self, alpha: torch.Tensor) -> Nearest:
        """Return the best f_C in the ball: a softmax over the history's items and one item that represents the rest."""
        rest = self.embedded.new_zeros(len(alpha), 1, self.embedded.shape[2])
        items = OwnItems(torch.cat([self.embedded, rest], 1), torch.cat([self.bias, self.norms[1][:, None]], 1))
        mean = alpha[:, None] * self.means[0]
        constant = alpha * self.constants[0] - (1 - alpha) * self.norms[1] - _entropy(alpha)
        return nearest_states(items, mean, constant, self.batch.states, self.batch.radius)

    def context_norm(self, alpha: torch.Tensor) -> torch.Tensor:
        """Return (B,) the least norm of an f_C that shifts all scores of the history equally, to reach α."""
        share = alpha.where(alpha > 0, -np.expm1(-NEAR)).where(alpha < 1, np.exp(-NEAR))
        shift = torch.logit(share) - (self.norms[0] - self.norms[1])
        scores = (self.embedded @ self.batch.states[..., None])[..., 0] + shift[:, None] * self.batch.valid
        facet = self.inverse @ scores[..., None]
        reached = (self.embedded @ facet)[..., 0]
        exact = (reached - scores).abs().amax(1) <= 1e-6 * scores.abs().amax(1).clamp(min=1)
        return facet.norm(dim=1)[:, 0].where(exact, torch.inf)


def _entropy(alpha: torch.Tensor) -> torch.Tensor:
    """Return the binary entropy H(α) in nats."""
    return -torch.xlogy(alpha, alpha) - torch.xlogy(1 - alpha, 1 - alpha)
