"""Can any single hidden state rank one set of items above another? Exact answers, each with a proof.

A state h ranks S above T if w_x · h + b_x > w_v · h + b_v for all x in S and v in T. By the theorem of the alternative
(Farkas), either such an h exists, or there are non-negative weights α on S and β on T, each summing to 1, with
Σ α w = Σ β w and Σ α b ≤ Σ β b: then a mean of S scores no higher than a mean of T for every h. Both answers are
checked in double precision. For one item instead of a set, the question is that of Demeter et al. (ACL 2020) and
Grivas et al. (ACL 2022).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from tqdm import tqdm

from cprlab.errors import ConfigError
from cprlab.models.recommender import Codes, Histories
from cprlab.probes.snapshot import Snapshot

FIRST, MORE = 200, 60  # columns in the first round, and worst violators added in later rounds
ROUNDS = 200
TOLERANCE = 1e-9  # of a margin, for embeddings with norms around 1
NEGLIGIBLE = 1e-12  # relative to the largest weight; smaller weights are rounding errors
AT_ONCE = 128

Outcome = Literal["yes", "no", "undecided"]


@dataclass(frozen=True)
class Certificate:
    """The answer for one case, and its proof.

    Attributes:
        outcome: "yes", "no" or "undecided" at the tolerance.
        margin: for "yes", the witness's lowest score of S minus highest score of T, divided by ‖h‖, or by ‖(h, 1)‖ with
            biases. For "no" and "undecided", an upper bound of every state's margin.
        seconds: computing time.
        rounds: number of least squares problems solved; 0 if the starting point was already a witness.
        witness: (d,) h, for "yes".
        above: weights α by item code, for "no".
        below: weights β by item code, for "no".
    """

    outcome: Outcome
    margin: float
    seconds: float
    rounds: int = 0
    witness: np.ndarray | None = None
    above: dict[int, float] | None = None
    below: dict[int, float] | None = None


def copyable(snapshot: Snapshot, *, progress: bool = False) -> pd.DataFrame:
    """Return whether any single hidden state ranks a case's whole history above all other items.

    Returns:
        One row per case: `case`, `size` (distinct items of the history), `outcome` ("yes", "no" or "undecided"),
        `margin` and `seconds`, as in `Certificate`.
    """
    certificates = separable(snapshot, snapshot.distinct, progress=progress)
    rows = [
        (case, len(history), found.outcome, found.margin, found.seconds)
        for case, (history, found) in enumerate(zip(snapshot.distinct, certificates, strict=True))
    ]
    return pd.DataFrame(rows, columns=["case", "size", "outcome", "margin", "seconds"])


def argmaxable(snapshot: Snapshot, *, progress: bool = False) -> tuple[pd.DataFrame, list[Certificate]]:
    """Return for each item whether any single hidden state ranks it above all others, with a proof.

    An item that no state ranks first has its probability stolen (Demeter et al., ACL 2020, 2005.02433), or is
    unargmaxable (Grivas et al., ACL 2022, 2203.06462). Without biases these are the items whose embedding is a convex
    combination of others.

    The state that fits the scores 1 for the item and 0 for all others best, in squares, is tried first. It is the
    item's embedding, centred and divided by the covariance of all. Only the items for which it fails are searched for.

    Args:
        snapshot: W and b.
        progress: whether to show a progress bar.

    Returns:
        A table with one row per item, and its certificates. Columns: `item` (code), `title`, `argmaxable` ("yes", "no"
        or "undecided"), `how` ("screen" if the state tried first is the witness, else "certificate"), `margin` and
        `seconds`, as in `Certificate`. `above` is the item itself, `below` the convex combination.

    Raises:
        ConfigError: there is only one item.
    """
    n = snapshot.n_items
    if n == 1:
        raise ConfigError("There is only one item, so there is nothing to rank it above.")
    space = _Space(snapshot)
    directions = np.linalg.pinv(space.weight).T
    if space.biased:
        directions[:, -1] = directions[:, -1].clip(min=0)  # no state has a negative share of the biases
    items = np.arange(n)
    searches = (_Search(space, items[[item]], items != item, directions[item]) for item in items)
    certificates = _decide(space, searches, n, "item", progress)
    rows = [
        (item, title, found.outcome, "certificate" if found.rounds else "screen", found.margin, found.seconds)
        for item, (title, found) in enumerate(zip(snapshot.titles, certificates, strict=True))
    ]
    return pd.DataFrame(rows, columns=["item", "title", "argmaxable", "how", "margin", "seconds"]), certificates


def separable(
    snapshot: Snapshot,
    S: Histories,
    from_: Histories | None = None,
    *,
    progress: bool = False,
) -> list[Certificate]:
    """Return for each case whether any single hidden state ranks the items S above the items `from_`, with a proof.

    Non-negative least squares searches for the Farkas weights among a few items of `from_`. A nonzero residual is a
    state, which is tried on all items, and the worst violators are added.

    Args:
        snapshot: W and b; its states are starting points.
        S: m sets of item codes, one per case, such as the histories or only the targets.
        from_: m sets of item codes; all items that are not in S if None.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: a set is empty or has invalid item codes, an item is in both sets, or the number of sets is not the
            number of cases.
    """
    n = snapshot.n_items
    above = [_codes(chosen, n, f"S of case {case}") for case, chosen in enumerate(S)]
    below = None if from_ is None else [_codes(chosen, n, f"from_ of case {case}") for case, chosen in enumerate(from_)]
    if len(above) != len(snapshot) or (below is not None and len(below) != len(snapshot)):
        raise ConfigError(f"There must be a set for each of the {len(snapshot):,} cases.")
    space = _Space(snapshot)

    def searches() -> Iterator[_Search]:
        for case, chosen in enumerate(above):
            others = np.ones(n, dtype=bool)
            if below is not None:
                others = np.zeros(n, dtype=bool)
                others[below[case]] = True
                if others[chosen].any():
                    raise ConfigError(f"An item is in both sets of case {case}; remove it from one of them.")
            others[chosen] = False
            if not others.any():
                raise ConfigError(f"S of case {case} contains every item, so there is nothing to rank it above.")
            start = np.append(snapshot.states[case].astype(np.float64), np.ones(int(space.biased)))
            yield _Search(space, chosen, others, start)

    return _decide(space, searches(), len(above), "case", progress)


class _Space:
    """Item embeddings, centred and scaled to a root mean square norm of 1, with the bias as last coordinate."""

    def __init__(self, snapshot: Snapshot) -> None:
        weight = snapshot.item_embeddings.astype(np.float64)
        self.d, self.biased = weight.shape[1], snapshot.bias is not None
        if snapshot.bias is not None:
            weight = np.column_stack([weight, snapshot.bias])
        self.original = weight
        weight = np.where(np.ptp(weight, axis=0) == 0, 0, weight - weight.mean(0))  # exactly 0 if all are equal
        self.scale = float(np.sqrt((weight[:, : self.d] ** 2).sum(1).mean())) or 1.0
        self.weight = weight / self.scale

    def witness(self, direction: np.ndarray, margin: float) -> np.ndarray:
        """Return h, or (h, 1) if there are biases, in this direction of `weight`'s coordinates.

        The bias has coefficient 1, so the direction is divided by its last coordinate; half of the margin, at most, is
        used to make that positive.
        """
        if not self.biased:
            return direction
        state = direction.copy()
        state[-1] += margin / max(2 * np.ptp(self.weight[:, -1]), margin / np.linalg.norm(state))
        return state / state[-1]


class _Search:
    """The search for one case's certificate, from a direction in the space's coordinates."""

    def __init__(self, space: _Space, above: np.ndarray, others: np.ndarray, direction: np.ndarray) -> None:
        self.space, self.above, self.others, self.direction = space, above, others, direction
        self.below = np.empty(0, dtype=np.int64)  # the columns: items to rank below S
        self.bound = np.inf  # upper bound of every state's margin per unit norm
        self.seconds, self.rounds = 0.0, 0
        self.found: Certificate | None = None

    def look(self, scores: np.ndarray) -> None:
        """Answer "yes" if the scores (n,) of the direction rank S above all others; else add columns."""
        size = np.linalg.norm(self.direction)
        margin = scores[self.above].min() - scores[self.others].max()
        if margin > TOLERANCE * size and self._witness(margin):
            return
        masked = np.where(self.others, scores, -np.inf)
        masked[self.below] = -np.inf
        count = min(MORE if len(self.below) else FIRST, len(masked))
        worst = np.argpartition(-masked, count - 1)[:count]
        worst = worst[np.isfinite(masked[worst])]
        if self.bound < np.inf:  # items that already score below S change nothing
            worst = worst[masked[worst] > scores[self.above].min()]
        if len(worst):
            self.below = np.concatenate([self.below, worst])
        else:
            self._answer("undecided", self.bound)

    def solve(self) -> None:
        """Find the best Farkas weights for the columns; answer "no" if they are exact, else update the direction."""
        self.rounds += 1
        weight, n_above = self.space.weight, len(self.above)
        columns = np.concatenate([weight[self.above], -weight[self.below]]).T
        sums = np.zeros((2, columns.shape[1]))
        sums[0, :n_above] = sums[1, n_above:] = 1
        columns = np.concatenate([columns, sums])
        if self.space.biased:  # Σ α b may fall short of Σ β b
            columns = np.column_stack([columns, np.eye(len(columns))[self.space.d]])
        wanted = np.zeros(len(columns))
        wanted[-2:] = 1
        weights, _ = nnls(columns, wanted, maxiter=50 * columns.shape[1])
        self.direction = (columns @ weights - wanted)[:-2]
        alpha, beta = weights[:n_above], weights[n_above : n_above + len(self.below)]
        alpha, beta = (side * (side > NEGLIGIBLE * side.max(initial=0)) for side in (alpha, beta))
        if alpha.any() and beta.any():
            alpha, beta = alpha / alpha.sum(), beta / beta.sum()
            differences = alpha @ weight[self.above] - beta @ weight[self.below]
            if self.space.biased:
                differences[-1] = max(differences[-1], 0)
            self.bound = float(np.linalg.norm(differences))
        if self.bound <= TOLERANCE:
            self._answer("no", self.bound, above=_weights(self.above, alpha), below=_weights(self.below, beta))
        self.below = self.below[beta > 0]  # the others do not matter; dropping them speeds up the next round

    def _witness(self, margin: float) -> bool:
        """Answer "yes" if the witness ranks S above all others in the original embeddings."""
        state = self.space.witness(self.direction, margin)
        scores = self.space.original @ state
        margin = (scores[self.above].min() - scores[self.others].max()) / np.linalg.norm(state)
        if margin > 0:
            self._answer("yes", margin / self.space.scale, witness=state[: self.space.d])
        return margin > 0

    def certificate(self) -> Certificate:
        """Return the answer, "undecided" if there is none yet, with the computing time."""
        found = self.found or Certificate("undecided", self.bound * self.space.scale, seconds=0)
        return replace(found, seconds=self.seconds, rounds=self.rounds)

    def _answer(self, outcome: Outcome, margin: float, **proof: Any) -> None:
        self.found = Certificate(outcome, float(margin) * self.space.scale, seconds=0, **proof)


def _decide(space: _Space, searches: Iterator[_Search], total: int, unit: str, progress: bool) -> list[Certificate]:
    """Return all certificates, with one matrix product per round for the scores that some searches need."""
    certificates: list[Certificate] = []
    with tqdm(total=total, desc="certificates", unit=unit, disable=not progress) as bar:
        while batch := list(islice(searches, AT_ONCE)):
            waiting = batch
            for _ in range(ROUNDS):
                began = time.perf_counter()
                scores = np.stack([search.direction for search in waiting]) @ space.weight.T
                share = (time.perf_counter() - began) / len(waiting)
                for search, row in zip(waiting, scores, strict=True):
                    began = time.perf_counter()
                    search.look(row)
                    if search.found is None:
                        search.solve()
                    search.seconds += share + time.perf_counter() - began
                waiting = [search for search in waiting if search.found is None]
                if not waiting:
                    break
            certificates += [search.certificate() for search in batch]
            bar.update(len(batch))
    return certificates


def _weights(items: np.ndarray, weights: np.ndarray) -> dict[int, float]:
    kept = weights > 0
    return dict(zip(items[kept].tolist(), weights[kept].tolist(), strict=True))


def _codes(values: Codes, n: int, name: str) -> np.ndarray:
    codes = np.unique(np.asarray(values))
    if not codes.size or codes.dtype.kind not in "iu" or codes[0] < 0 or codes[-1] >= n:
        raise ConfigError(f"{name} must be one or more item codes from 0 to {n - 1}.")
    return codes
