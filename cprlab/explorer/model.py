"""Model: a subject with edits of its history, moves of its hidden state and switches of its partitions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax, softmax
from sklearn.decomposition import PCA

from cprlab.evaluation.cases import NO_PROBABILITIES, measure
from cprlab.explorer.maps import Plane, pca
from cprlab.explorer.state import Setting
from cprlab.models import Context, Recommender, SoftmaxConfig, ablated, parse_head
from cprlab.models.encoders import MFConfig
from cprlab.models.partitions import Facets
from cprlab.models.recommender import Codes, Parts, inference
from cprlab.probes import Snapshot, copying_states
from cprlab.subjects import Subject

AXES = 3
KEPT = 64  # predictions, and copying states


@dataclass(frozen=True)
class Prediction:
    """A model's prediction after a history.

    Attributes:
        scores: (n,) log-probabilities, or scores of a head that only orders the items.
        partitions: (n,) str, the partition that scored each item last; for a mixture, in the component that gives the
            item most probability.
        states: (d,) hidden state of each partition, by name, V first; only those of the embeddings' dimension.
        history: distinct codes of the items read.
        ordered: whether the scores only order the items, so that probabilities are NaN.
        alone: (n,) scores that f_V alone would give, with the normaliser of `scores`; None if several softmaxes are
            mixed or the head has no f_V.
        constant: what a logit, divided by the temperature, is above the log-probability; NaN where `alone` is None.
    """

    scores: np.ndarray
    partitions: np.ndarray
    states: dict[str, np.ndarray]
    history: np.ndarray
    ordered: bool = False
    alone: np.ndarray | None = None
    constant: float = np.nan

    @property
    def copy(self) -> float:
        """The copy probability: the total probability of the history's items."""
        return float(self.probabilities(self.history).sum())

    def probabilities(self, items: Codes) -> np.ndarray:
        """Return the probabilities (m,) of m items; NaN if the scores only order them."""
        return np.full(len(items), np.nan) if self.ordered else np.exp(self.scores[list(items)])

    def outcome(self, target: int) -> dict[str, float]:
        """Return the copy probability, and the target's rank and probability."""
        rank, probability = int(self.ranks([target])[0]), float(self.probabilities([target])[0])
        return {"copy": self.copy, "rank": rank, "target": probability}

    def wanted(self, copied: bool) -> np.ndarray:
        """Return its own preferences among the history's items, or among the others: a distribution, (n,).

        If it gives none of these items any probability, they count the same. If there are none, all are 0.

        Args:
            copied: whether the history's items are wanted, or the others.
        """
        wanted = np.isin(np.arange(len(self.scores)), self.history) == copied
        scores = np.where(wanted, self.scores, -np.inf)
        return softmax(scores) if np.isfinite(scores).any() else wanted / max(1, wanted.sum())

    def ranks(self, items: Codes) -> np.ndarray:
        """Return the ranks (m,) of m items, from 1; tied items get the worst rank."""
        ordered = np.sort(self.scores)
        return len(ordered) - np.searchsorted(ordered, self.scores[list(items)], side="left")

    def top(self, k: int) -> np.ndarray:
        """Return the codes of the k best items, best first; ties in the order of the codes."""
        k = min(k, len(self.scores))
        least = np.partition(self.scores, -k)[-k]
        best = np.flatnonzero(self.scores >= least)
        return best[np.argsort(-self.scores[best], kind="stable")[:k]]


class Recorded(Recommender):
    """A Snapshot without an encoder as a recommender: the "user" is the case, which selects the recorded state.

    Args:
        snapshot: W, b and the states.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        longest = max(map(len, snapshot.histories))
        sizes = MFConfig(d=snapshot.states.shape[1])
        super().__init__(sizes, SoftmaxConfig(), snapshot.n_items, n_users=len(snapshot), max_len=longest)
        # As in `Snapshot.log_probs`, everything has the precision of the item embeddings.
        weights = torch.from_numpy(np.pad(snapshot.item_embeddings, [(0, 1), (0, 0)]))
        self.embedding = torch.nn.Embedding.from_pretrained(weights)
        self.states = torch.from_numpy(snapshot.states).to(weights)
        if snapshot.bias is not None:
            bias = torch.from_numpy(np.pad(snapshot.bias, (0, 1))).to(weights)
            self.item_bias = torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, items: torch.Tensor, at: torch.Tensor, users: torch.Tensor | None = None) -> Facets:
        """Return the recorded states of the cases `users`; the items are ignored."""
        return {"V": self.states[users][:, None]}


class Model:
    """A subject of the explorer.

    Args:
        subject: the opened model. A Snapshot without an encoder keeps its hidden state when the history is edited. A
            counting model has no hidden state; it predicts, but `snapshot` raises an error.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.name, self.held_out, self.cases = subject.name, subject.held_out, subject.cases
        self.fingerprint = subject.fingerprint
        self.has_states = subject.has_states
        self.encodes = subject.recommender is not None
        self.recommender = subject.recommender or Recorded(subject.snapshot)
        self.ordered = not self.recommender.head.config.probabilities
        self.users = subject.users if self.encodes else np.arange(len(subject.held_out))
        self.head = lru_cache(KEPT)(self._make_head)
        self._copying_state = lru_cache(KEPT)(self._find_copying_state)

    @property
    def snapshot(self) -> Snapshot:
        """The cases with the model's states.

        Raises:
            ConfigError: the model has no states.
        """
        return self._subject.snapshot

    @cached_property
    def radius(self) -> float:
        """ρ, the 99th percentile of the norms of the model's states, as in `Snapshot.radius`."""
        return self.snapshot.radius

    @property
    def max_len(self) -> int:
        """Maximum number of items read; of a longer history, the last ones."""
        return self.recommender.max_len

    @cached_property
    def plane(self) -> Plane:
        """The map of all item embeddings by PCA."""
        return pca(self.snapshot.item_embeddings)

    @cached_property
    def axes(self) -> np.ndarray:
        """The first principal axes of the item embeddings, (3, d), or fewer if n or d is smaller."""
        weights = self.snapshot.item_embeddings.astype(np.float64)
        return PCA(min(AXES, *weights.shape), svd_solver="covariance_eigh").fit(weights).components_

    def _make_head(self, name: str) -> Recommender:
        """Return the model with another head on the same weights; "" is the trained head.

        Raises:
            ConfigError: the name is invalid, or the trained head has no weights for it.
        """
        return ablated(self.recommender, parse_head(name)) if name else self.recommender

    def read(self, history: Codes) -> np.ndarray:
        """Return the items of a history that the model reads, (L,) int64."""
        return np.asarray(history, dtype=np.int64)[-self.max_len :]

    def predict(self, case: int, history: Codes, setting: Setting) -> Prediction:
        """Return the prediction for an edited history of a case.

        Args:
            case: index of the case, which determines the user or the recorded state.
            history: item codes, oldest first, at least one.
            setting: the head, and the moves of its first vocabulary facet f_V, if it has one.

        Raises:
            ConfigError: the head is not possible, or an item code does not exist.
        """
        recommender = self.head(setting.head)
        facets, context = self._facets(recommender, [case], [history], setting)
        parts = recommender.explain(facets, context)
        scores = parts.log_probs[0].astype(np.float64)
        if setting.temperature != 1 and np.isfinite(scores).any():  # (post) may leave nothing
            scores = log_softmax(scores / setting.temperature)
        hidden = {name: facets[name][0, 0].cpu().numpy() for name in recommender.head.states}
        return Prediction(
            scores,
            _owners(parts),
            {name: one for name, one in hidden.items() if len(one) == self.snapshot.item_embeddings.shape[1]},
            np.unique(self.read(history)),
            self.ordered,
            *_alone(parts, scores, setting.temperature),
        )

    def parts(self, case: int, history: Codes, setting: Setting) -> Parts:
        """Return the parts of a prediction, with the arguments and errors of `predict`."""
        recommender = self.head(setting.head)
        return recommender.explain(*self._facets(recommender, [case], [history], setting))

    def outcomes(self, cases: Sequence[int], histories: Sequence[Codes], setting: Setting) -> pd.DataFrame:
        """Return the outcomes for other histories of some cases, as `predict` gives them, but many at a time.

        A history that several cases of a user have, such as the items of one basket, is read once.

        Args:
            cases: (m,) their indices.
            histories: their histories, each with at least one item.
            setting: as in `predict`.

        Returns:
            A row for each case, with the columns of `evaluate` from `target` on, of this history.

        Raises:
            ConfigError: as `predict`.
        """
        recommender = self.head(setting.head)
        users = [None] * len(cases) if self.users is None else self.users[list(cases)].tolist()
        places: dict[tuple, int] = {}
        keys = zip(users, map(tuple, histories), strict=True)
        rows = [places.setdefault(key, len(places)) for key in keys]
        first = np.unique(rows, return_index=True)[1]
        read = [histories[one] for one in first]
        facets, context = self._facets(recommender, [cases[one] for one in first], read, setting)
        with inference(recommender):
            scores = recommender.distribution(facets, context)[:, 0].double()
        if setting.temperature != 1:
            warm = scores.isfinite().any(1)  # (post) may leave nothing
            scores[warm] = (scores[warm] / setting.temperature).log_softmax(1)
        targets = torch.from_numpy(self.held_out.targets[cases]).to(scores.device)[:, None]
        measured = measure(scores[rows], context.distinct[rows, 0], targets)
        return pd.DataFrame(measured | (NO_PROBABILITIES if self.ordered else {}))

    def _facets(
        self, recommender: Recommender, cases: Sequence[int], histories: Sequence[Codes], setting: Setting
    ) -> tuple[Facets, Context]:
        """Return the facets (m, 1, …) of some cases' histories, with moved f_V, and what was read."""
        users = None if self.users is None else self.users[list(cases)]
        items, at, codes = recommender.collate([np.asarray(one, dtype=np.int64) for one in histories], users)
        with inference(recommender):
            facets = recommender(items, at, codes)
        if self.has_states:
            states = facets["V"][:, 0]
            rows = zip(states.double().cpu().numpy(), cases, histories, strict=True)
            facets["V"] = torch.from_numpy(np.stack([self._moved(*row, setting) for row in rows])).to(states)[:, None]
        return facets, Context(items, at, recommender.n_items)

    def near(self, item: int, k: int) -> list[tuple[int, float]]:
        """Return the k items whose embeddings have the largest cosine with an item's, and the cosines.

        The cosines are rounded to six digits, so that ties are in the order of the codes on every machine.
        """
        weights = self.snapshot.item_embeddings.astype(np.float64)
        norms = np.linalg.norm(weights, axis=1)
        cosines = (weights @ weights[item] / np.maximum(norms * norms[item], np.finfo(float).tiny)).round(6)
        order = np.argsort(-cosines, kind="stable")
        return [(code, float(cosines[code])) for code in order[order != item][:k].tolist()]

    def edited(self, case: int, history: Codes, state: np.ndarray | None = None) -> Snapshot:
        """Return a Snapshot of one case with another history and optionally another hidden state (d,), for probes."""
        return replace(
            self.snapshot,
            states=self.snapshot.states[[case]] if state is None else state[None],
            histories=(self.read(history),),
            targets=self.snapshot.targets[[case]],
        )

    def _moved(self, state: np.ndarray, case: int, history: Codes, setting: Setting) -> np.ndarray:
        """Return s (h + t (mean w − h) + ‖h‖ Σ a_j u_j), where h is the state or the one that copies best, (d,)."""
        if setting.best:
            state = self._copying_state(case, tuple(self.read(history)))
        mean = self.snapshot.item_embeddings[np.unique(self.read(history))].mean(0)
        along = np.asarray(setting.axes[: len(self.axes)]) @ self.axes
        return setting.scale * (state + setting.toward * (mean - state) + np.linalg.norm(state) * along)

    def _find_copying_state(self, case: int, history: tuple[int, ...]) -> np.ndarray:
        wanted = self.predict(case, history, Setting()).wanted(copied=True)
        return copying_states(self.edited(case, history), self.radius, wanted[None])[0]


def _alone(parts: Parts, scores: np.ndarray, temperature: float) -> tuple[np.ndarray | None, float]:
    """Return `Prediction.alone` and `Prediction.constant` of one history."""
    component = parts.components[0]
    best = int(scores.argmax())
    if len(parts.components) > 1 or component.names[0] != "V" or not np.isfinite(scores[best]):
        return None, np.nan
    logits = component.logits[:, 0].astype(np.float64) / temperature
    constant = float(logits[-1, best] - scores[best])
    return logits[0] - constant, constant


def _owners(parts: Parts) -> np.ndarray:
    """Return the partition that scored each item last, in the component that gives it most, for one history, (n,)."""
    owners = np.stack([component.owner[0] for component in parts.components])
    scores = np.stack([component.logits[-1, 0] for component in parts.components])
    if parts.weights is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = log_softmax(scores, axis=1) + np.log(parts.weights[0])[:, None]
    most = np.nanargmax(scores, axis=0)  # NaN: a component of RepeatNet without items
    return np.take_along_axis(owners, most[None], axis=0)[0]
