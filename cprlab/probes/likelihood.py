"""likelihood: the likelihood of a part on a frozen model, and its maximum; see `probes.retrofit` for the equations."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.model_selection import GroupKFold

from cprlab.errors import DataError
from cprlab.probes.snapshot import AT_ONCE, Snapshot

Part = Literal["B", "F", "C", "C + F"]
PARTS: tuple[Part, ...] = get_args(Part)  # the cheapest first
FREE = {"B": [0], "F": [0, 1, 2, 3], "C": [0, 1], "C + F": [0, 1, 2, 3]}  # which of b, s, w₁ and w₂ are fitted
DECAY = 0.5  # of ages, as is usual in ACT-R (Anderson & Schooler, Psychological Science 1991)
RIDGES = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)  # the strongest first
FOLDS = 5
FLATTEST = 1e-6  # curvature along b, s, w₁ and w₂ that counts
COARSE = 1e-6  # of the loss, while ridges are compared
FEWEST = 2 * FOLDS  # users to fit on
NUMBERS_AT_ONCE = 2**18  # of double precision, which a core's cache holds


class Fitted(NamedTuple):
    """The numbers of a part; attributes as of `Retrofit`."""

    numbers: np.ndarray
    matrix: np.ndarray
    vector: np.ndarray
    parameters: int
    ridge: float


def occurrences(history: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct items of a history (L,), their log(1 + count) and log Σ_j age_j^−½, each (k,)."""
    items, place, counts = np.unique(history, return_inverse=True, return_counts=True)
    age = np.arange(len(history), 0, -1.0)
    return items, np.log1p(counts), np.log(np.bincount(place, age**-DECAY))


def fitted(snapshot: Snapshot, part: Part, users: np.ndarray, seed: int = 0) -> Fitted:
    """Fit a part on all cases of a snapshot, each user weighing the same, with the ridge that predicts folds best.

    Args:
        snapshot: m cases of the frozen model.
        part: what to fit.
        users: (m,) whose each case is.
        seed: of the folds.

    Raises:
        DataError: there are fewer users than `FEWEST`.
    """
    if (found := len(np.unique(users))) < FEWEST:
        raise DataError(f"A retrofit is fitted on {FEWEST} users or more, and here are {found}; give more cases.")
    problem = Likelihood(snapshot, part, users)
    everyone = np.ones(len(problem.users), bool)
    if not problem.wide:
        return problem.meaning(problem.fit(everyone, 0.0, np.zeros(problem.size)), 0.0)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(problem.users, groups=problem.users)
    held = [np.isin(np.arange(len(everyone)), left) for _, left in folds]
    theta, best = np.zeros(problem.size), (np.inf, 0.0, np.zeros(problem.size))
    for ridge in RIDGES:
        theta = problem.fit(everyone, ridge, theta, COARSE)
        loss = sum(problem.loss(problem.fit(~left, ridge, theta, COARSE), left)[0] for left in held)
        if loss > best[0]:
            break  # weaker ridges fit the folds closer still
        best = loss, ridge, theta
    return problem.meaning(problem.fit(everyone, best[1], best[2]), best[1])


class _Chunk(NamedTuple):
    """Some queries: cases of one user with one state and history are one query with several targets.

    Attributes:
        queries: (c,) which.
        states: (c, d) h.
        items: (c, k) the distinct items of the history, 0 where there are fewer.
        before: (c, k) their scores, −∞ where there are fewer.
        known: (c, k, 4) what b, s, w₁ and w₂ are factors of.
        rest: (c,) log Σ exp z_v over all other items.
        weight: (c,) of its targets in all.
        repeats: (c, k) of each target in the history.
        new: (c,) the weighted sum of the scores of all other targets.
    """

    queries: np.ndarray
    states: np.ndarray
    items: np.ndarray
    before: np.ndarray
    known: np.ndarray
    rest: np.ndarray
    weight: np.ndarray
    repeats: np.ndarray
    new: np.ndarray


class _Units(NamedTuple):
    """Units of θ for the minimiser, in which the loss is about equally curved in all directions.

    The curvature of (A, a) is nearly a Kronecker product of the covariance of the item embeddings under the model and
    the second moments of the states with a 1 appended, as in K-FAC (Martens & Grosse, ICML 2015).

    Attributes:
        numbers: (4, free) b, s, w₁ and w₂ of a step of 1 in each.
        left: (d, d) eigenvectors of the covariance; d is 0 without C.
        right: (d + 1, d + 1) eigenvectors of the second moments.
        scale: (d, d + 1) 1 / √curvature in these directions.
    """

    numbers: np.ndarray
    left: np.ndarray
    right: np.ndarray
    scale: np.ndarray

    def theta(self, steps: np.ndarray) -> np.ndarray:
        """Return θ of steps in these units."""
        free = self.numbers.shape[1]
        both = self.left @ (steps[free:].reshape(self.scale.shape) * self.scale) @ self.right.T
        return np.concatenate([self.numbers @ steps[:free], both[:, :-1].ravel(), both[:, -1]])

    def gradient(self, of_theta: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to steps, of one with respect to θ."""
        end = 4 + len(self.left) ** 2
        both = np.hstack([of_theta[4:end].reshape(self.left.shape), of_theta[end:, None]])
        return np.concatenate([self.numbers.T @ of_theta[:4], (self.left.T @ both @ self.right * self.scale).ravel()])


class Likelihood:
    """The loss of a part on some cases, as a function of θ: b, s, w₁, w₂, and for C then A and a in their own units.

    In these units a ridge means the same for models of any scale: A is in units of 1 / (σ_h σ_w) and a of 1 / σ_w, with
    the root mean squares of the entries of states and item embeddings.
    """

    def __init__(self, snapshot: Snapshot, part: Part, users: np.ndarray) -> None:
        self.part, self.weights, self.bias = part, snapshot.item_embeddings, snapshot.bias
        self.d = snapshot.states.shape[1]
        self.wide = "C" in part
        self.size = 4 + (self.d**2 + self.d) * self.wide
        self.free = np.isin(np.arange(self.size), FREE[part]) | (np.arange(self.size) > 3)
        unit_h, unit_w = (_root_mean_square(values) for values in (snapshot.states, self.weights))
        self.scales = 1 / (unit_h * unit_w), 1 / unit_w
        keys = pd.Series(
            [
                (user, state.tobytes(), np.asarray(history, np.int64).tobytes())
                for user, state, history in zip(users, snapshot.states, snapshot.histories, strict=True)
            ]
        )
        query, _ = pd.factorize(keys)
        _, first = np.unique(query, return_index=True)
        _, place, counts = np.unique(users, return_inverse=True, return_counts=True)
        self.users, cases = users[first], pd.Series(np.arange(len(users))).groupby(query).indices
        weights = 1 / counts[place] / len(counts)
        lengths = np.array([len(snapshot.distinct[case]) for case in first])
        order, self.chunks = np.argsort(lengths, kind="stable"), []
        while len(order):
            width = lengths[order[min(len(order), AT_ONCE) - 1]]
            some, order = np.split(order, [max(1, min(AT_ONCE, NUMBERS_AT_ONCE // (width * self.d)))])
            targets = [(snapshot.targets[cases[one]], weights[cases[one]]) for one in some]
            self.chunks.append(self._chunk(snapshot, some, first[some], targets))

    def _chunk(
        self, snapshot: Snapshot, queries: np.ndarray, first: np.ndarray, targets: list[tuple[np.ndarray, np.ndarray]]
    ) -> _Chunk:
        read = [occurrences(snapshot.histories[case]) for case in first]
        shape = len(queries), max(len(items) for items, _, _ in read)
        items, there = np.zeros(shape, np.int64), np.zeros(shape, bool)
        known, repeats, new = np.zeros((*shape, 4)), np.zeros(shape), np.zeros(len(queries))
        h = snapshot.states[first].astype(np.float64)
        product = h @ self.weights.T
        z = product if self.bias is None else product + self.bias
        for row, ((own, count, age), (wanted, weight)) in enumerate(zip(read, targets, strict=True)):
            k = len(own)
            items[row, :k], there[row, :k] = own, True
            known[row, :k] = np.stack([np.ones(k), product[row, own], count, age], axis=1)
            at = np.searchsorted(own, wanted).clip(max=k - 1)
            repeat = own[at] == wanted
            np.add.at(repeats[row], at[repeat], weight[repeat])
            new[row] = weight[~repeat] @ z[row, wanted[~repeat]]
        before = np.where(there, np.take_along_axis(z, items, 1), -np.inf)
        z[np.nonzero(there)[0], items[there]] = -np.inf
        weight = np.array([weight.sum() for _, weight in targets])
        return _Chunk(queries, h, items, before, known, logsumexp(z, axis=1), weight, repeats, new)

    def _facet(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return A (d, d) and a (d,)."""
        if not self.wide:
            return np.zeros((self.d, self.d)), np.zeros(self.d)
        return theta[4 : -self.d].reshape(self.d, self.d) * self.scales[0], theta[-self.d :] * self.scales[1]

    def _some(self, chosen: np.ndarray) -> Iterator[tuple[_Chunk, np.ndarray]]:
        """Yield the chunks that have `chosen` queries, and which of theirs are (bool)."""
        for chunk in self.chunks:
            if (some := chosen[chunk.queries]).any():
                yield chunk, some

    def _scores(self, chunk: _Chunk, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z (c, k) of the histories' items, and their embeddings (c, k, d), or none (c, k, 0) without C."""
        z = chunk.before + chunk.known @ theta[:4]
        if not self.wide:
            return z, np.zeros((*z.shape, 0))
        matrix, vector = self._facet(theta)
        owned = self.weights[chunk.items]
        return z + (owned @ (chunk.states @ matrix.T + vector)[..., None])[..., 0], owned

    def loss(self, theta: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """Return Σ −log p over the targets of the `chosen` queries (bool), weighted, and its gradient."""
        total, gradient = 0.0, np.zeros(self.size)
        of_matrix, of_vector = np.zeros((self.d, self.d)), np.zeros(self.d)
        for chunk, some in self._some(chosen):
            z, owned = self._scores(chunk, theta)
            norm = np.logaddexp(chunk.rest, logsumexp(z, axis=1))
            of_repeats = (chunk.repeats * np.where(chunk.repeats > 0, z, 0)).sum(1)  # z may be −∞ elsewhere
            total += some @ (chunk.weight * norm - chunk.new - of_repeats)
            slope = (np.exp(z - norm[:, None]) * chunk.weight[:, None] - chunk.repeats) * some[:, None]
            gradient[:4] += np.einsum("ck,cki->i", slope, chunk.known)
            if self.wide:
                of_facet = (slope[:, None] @ owned)[:, 0]
                of_matrix += of_facet.T @ chunk.states
                of_vector += of_facet.sum(0)
        if self.wide:
            gradient[4:] = np.concatenate([of_matrix.ravel() * self.scales[0], of_vector * self.scales[1]])
        return total, gradient

    def fit(self, chosen: np.ndarray, ridge: float, start: np.ndarray, tolerance: float = 1e-10) -> np.ndarray:
        """Return the θ of the least loss and ridge · |(A, a)|² / 2; steps end at a relative gain below `tolerance`."""
        units = self._units(start, chosen, ridge)

        def objective(steps: np.ndarray) -> tuple[float, np.ndarray]:
            theta = start + units.theta(steps)
            loss, gradient = self.loss(theta, chosen)
            gradient[4:] += ridge * theta[4:]
            return float(loss + ridge / 2 * theta[4:] @ theta[4:]), units.gradient(gradient)

        options = {"ftol": tolerance, "gtol": 1e-7, "maxiter": 1000}
        origin = np.zeros(units.numbers.shape[1] + units.scale.size)
        found = minimize(objective, origin, jac=True, method="L-BFGS-B", options=options)
        return start + units.theta(found.x)

    def _units(self, theta: np.ndarray, chosen: np.ndarray, ridge: float) -> _Units:
        """Return units for steps from θ."""
        d = self.d * self.wide
        of_known, of_owned, of_states, weights = np.zeros((4, 4)), np.zeros((d, d)), np.zeros((d + 1, d + 1)), 0.0
        for chunk, some in self._some(chosen):
            z, owned = self._scores(chunk, theta)
            p = np.exp(z - np.logaddexp(chunk.rest, logsumexp(z, axis=1))[:, None])
            weight = chunk.weight * some
            weights += weight.sum()
            of_known += _covariance(chunk.known, p, weight)
            if self.wide:
                h = np.hstack([chunk.states * self.scales[0], np.full((len(some), 1), self.scales[1])])
                of_states += h.T @ (h * weight[:, None])
                of_owned += _covariance(owned, p, weight)
        free = np.flatnonzero(self.free[:4])
        values, vectors = np.linalg.eigh(of_known[np.ix_(free, free)])
        numbers = np.zeros((4, len(free)))
        numbers[free] = vectors / np.sqrt(values.clip(min=FLATTEST))
        (rows, left), (columns, right) = np.linalg.eigh(of_owned), np.linalg.eigh(of_states / weights)
        return _Units(numbers, left, right, 1 / np.sqrt(np.outer(rows.clip(min=0), columns.clip(min=0)) + ridge))

    def meaning(self, theta: np.ndarray, ridge: float) -> Fitted:
        """Return what θ means."""
        matrix, vector = self._facet(theta)
        b, scale, *by = theta[:4]
        parameters = len(FREE[self.part]) - self.wide + (self.size - 4)  # s is one direction of A
        return Fitted(np.array([b, *by]), matrix + (1 + scale) * np.eye(self.d), vector, parameters, ridge)


def _covariance(values: np.ndarray, p: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return Σ weight · Cov (j, j) of `values` (c, k, j), which have the probabilities `p` (c, k), and 0 the rest."""
    mean, flat = (p[:, None] @ values)[:, 0], values.reshape(-1, values.shape[2])
    return flat.T @ (flat * (weight[:, None] * p).reshape(-1, 1)) - mean.T @ (mean * weight[:, None])


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0
