"""A feedback loop: simulated users consume what is recommended, and the recommender is trained on what they consumed.

Every assumption about the users is a parameter of `Population`. Their appetites are known, so lists are judged by them,
without held-out items and noise, and an oracle that sees them shows what is possible.

A user has an appetite for each item, between 0 and 1. On a visit, the user either chooses an item independently, with
probability proportional to the appetite for it, or goes down a list: looks at the item at rank r with probability
attention^(r − 1), and takes it, when looked at, with probability accept · appetite. A user takes at most one item per
visit. (Looking depends only on the rank and accepting only on the item, as in the position-based model; see Chuklin,
Markov and de Rijke, Click Models for Web Search, 2015, section 3.2.)
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pydantic

from cprlab.config import Config
from cprlab.data import Sequences
from cprlab.data.splits import FEWEST
from cprlab.evaluation.diversity import gini
from cprlab.training import RunConfig, build, fit
from cprlab.training.loop import Device

OF_USERS = ("engagement", "accuracy", "repeats recommended")
OF_ALL = ("repeats consumed", "distinct items", "Gini")
EVERYBODY = -1  # instead of a user, for measures over all users

Histories = list[list[int]]
Scorer = Callable[[Histories, np.ndarray], np.ndarray]  # histories, appetites (users, items) → scores (users, items)
Retrain = Callable[[Histories], Scorer]  # histories so far → scorer of the next round


class Population(Config):
    """Assumptions about users and items.

    Attributes:
        users: number of users.
        items: number of items.
        factors: size of the user and item vectors; their product determines an appetite.
        sharpness: how much appetites differ. The appetite for an item not consumed before is exp(sharpness · (s −
            s_max)), where s is the product of the user's and the item's vectors divided by √factors; it is 1 for the
            favourite item.
        consumables: share of the items that are bought repeatedly; for the others, such as films, a user's appetite is
            0 forever after consuming them.
        again: appetite for a consumable that was consumed before, and is due.
        period: visits after a consumption until a consumable is due again; until then the appetite for it is 0.
        accept: probability that an item with appetite 1 is taken when it is looked at.
        attention: factor by which the probability of a look decreases with each rank.
        organic: share of the visits in which users choose independently of the recommendations.
        first: visits before the first recommendation, in which all users choose independently.
        seed: seed of the vectors, and of the choice of consumables.
    """

    users: int = pydantic.Field(60, ge=1)
    items: int = pydantic.Field(80, ge=2)
    factors: int = pydantic.Field(6, ge=1)
    sharpness: float = pydantic.Field(2.0, ge=0)
    consumables: float = pydantic.Field(0.5, ge=0, le=1)
    again: float = pydantic.Field(0.7, ge=0, le=1)
    period: int = pydantic.Field(6, ge=1)
    accept: float = pydantic.Field(0.8, ge=0, le=1)
    attention: float = pydantic.Field(0.8, ge=0, le=1)
    organic: float = pydantic.Field(0.3, ge=0, le=1)
    first: int = pydantic.Field(20, ge=FEWEST)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Population":
        if self.first >= self.items:
            raise ValueError(f"{self.first} first visits may empty a catalogue of {self.items} items; use more items")
        return self

    def likes(self) -> np.ndarray:
        """Return (users, items) appetites for items that were not consumed before; each user's maximum is 1."""
        rng = np.random.default_rng(self.seed)
        tastes, kinds = (rng.normal(size=(count, self.factors)) for count in (self.users, self.items))
        products = tastes @ kinds.T / np.sqrt(self.factors)
        return np.exp(self.sharpness * (products - products.max(1, keepdims=True)))

    def consumable(self) -> np.ndarray:
        """Return (items,) bool, which items are consumables."""
        order = np.random.default_rng((self.seed, 1)).permutation(self.items)
        return order < round(self.consumables * self.items)


class Users:
    """A population over time.

    Attributes:
        histories: the items that each user consumed so far, in order.
    """

    def __init__(self, population: Population, seed: int = 0) -> None:
        """Simulate the first visits, without recommendations; `seed` is the seed of all that users do."""
        self.population, self.seed = population, seed
        self.histories: Histories = [[] for _ in range(population.users)]
        self._likes, self._consumable = population.likes(), population.consumable()
        self._last = np.full(self._likes.shape, -1)
        self._visits = 0
        for _ in range(population.first):
            self.visit()

    def appetites(self) -> np.ndarray:
        """Return the current appetites (users, items), between 0 and 1."""
        due = self._consumable & (self._visits - self._last >= self.population.period)
        return np.where(self._last < 0, self._likes, np.where(due, self.population.again, 0.0))

    def chances(self, lists: np.ndarray) -> np.ndarray:
        """Return (users, k) the probability that the item at each rank is looked at and accepted.

        Args:
            lists: (users, k) item codes, best first.
        """
        looked = self.population.attention ** np.arange(lists.shape[1])
        return self.population.accept * looked * np.take_along_axis(self.appetites(), lists, axis=1)

    def visit(self, lists: np.ndarray | None = None) -> np.ndarray:
        """Simulate one visit of every user, and return the consumed items (users,); −1 for none.

        Random numbers depend on the seed and the number of visits so far, not on the lists, so that recommenders are
        compared under the same chance.

        Args:
            lists: (users, k) item codes, best first; without lists, all users choose independently.
        """
        rng = np.random.default_rng((self.population.seed, self.seed, self._visits))
        itself, choice = rng.random(len(self.histories)), rng.random((len(self.histories), 1))
        upto = self.appetites().cumsum(1)
        consumed = np.where(upto[:, -1] > 0, (upto > choice * upto[:, -1:]).argmax(1), -1)
        if lists is not None:
            taken = rng.random(lists.shape) < self.chances(lists)
            of_list = np.where(taken.any(1), lists[np.arange(len(lists)), taken.argmax(1)], -1)
            consumed = np.where(itself < self.population.organic, consumed, of_list)
        who = np.flatnonzero(consumed >= 0)
        self._last[who, consumed[who]] = self._visits
        for user in who:
            self.histories[user].append(int(consumed[user]))
        self._visits += 1
        return consumed


def simulate(
    population: Population, retrain: Retrain, rounds: int, visits: int, k: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Simulate a feedback loop: before each round, the recommender is retrained on everything consumed so far.

    Args:
        population: users and items.
        retrain: returns the recommender of a round.
        rounds: number of rounds.
        visits: visits of each user per round; before each visit a list is made from the history so far.
        k: length of the lists.
        seed: seed of what users do.

    Returns:
        Rows `round` (from 1), `user`, `measure`, `value`. For each user, the mean over visits of "engagement"
        (probability that the user takes an item of the list), "accuracy" (NDCG@k of the list with appetites as gains)
        and "repeats recommended" (share of the list that the user consumed before). For `EVERYBODY`, "repeats consumed"
        (share of the consumed items that the same user consumed before), "distinct items" (share of the catalogue that
        was consumed by any user) and "Gini" (Gini index of the items' numbers of consumptions).
    """
    users, rows = Users(population, seed), []
    discounts = 1 / np.log2(np.arange(2, k + 2))
    for round_ in range(1, rounds + 1):
        score = retrain(users.histories)
        measured, counts, repeats = [], np.zeros(population.items), 0
        for _ in range(visits):
            appetites = users.appetites()
            lists = np.argsort(-score(users.histories, appetites), axis=1, kind="stable")[:, :k]
            ideal = -np.sort(-appetites, axis=1)[:, :k] @ discounts
            gained = np.take_along_axis(appetites, lists, axis=1) @ discounts
            seen = [np.isin(of_list, history).mean() for of_list, history in zip(lists, users.histories, strict=True)]
            engagement = 1 - np.prod(1 - users.chances(lists), axis=1)
            measured.append((engagement, np.divide(gained, ideal, out=np.ones_like(ideal), where=ideal > 0), seen))
            consumed = users.visit(lists)
            counts += np.bincount(consumed[consumed >= 0], minlength=population.items)
            repeats += sum(
                item >= 0 and item in history[:-1] for item, history in zip(consumed, users.histories, strict=True)
            )
        for measure, values in zip(OF_USERS, np.mean(measured, axis=0), strict=True):
            rows += [(round_, user, measure, value) for user, value in enumerate(values)]
        whole = (repeats / max(1, counts.sum()), np.mean(counts > 0), gini(counts))
        rows += [(round_, EVERYBODY, measure, value) for measure, value in zip(OF_ALL, whole, strict=True)]
    return pd.DataFrame(rows, columns=["round", "user", "measure", "value"])


def oracle(histories: Histories) -> Scorer:
    """Rank by the appetites themselves: with no other list is an item more likely to be taken at the next visit."""
    return lambda histories, appetites: appetites


def popular(histories: Histories) -> Scorer:
    """Recommend to all users the items consumed most often so far."""
    consumed = np.concatenate(histories)
    return lambda histories, appetites: np.broadcast_to(
        np.bincount(consumed, minlength=appetites.shape[1]), appetites.shape
    )


def learner(config: RunConfig, n_items: int, device: Device = "auto") -> Retrain:
    """Return a function that trains a model from scratch on all histories, and ranks by its probabilities.

    Args:
        config: what to train, and how; with "(post)" the items of the history are never recommended.
        n_items: number of items in the catalogue.
        device: where to train.
    """

    def retrain(histories: Histories) -> Scorer:
        log = Sequences.pack(
            np.concatenate(histories).astype(np.int32),
            np.array([len(history) for history in histories]),
            np.arange(len(histories)),
            np.arange(n_items),
            np.array([f"item {item}" for item in range(n_items)], dtype=object),
            max_len=50,
            name="simulated",
            notes=(),
            only_consumed=False,
        )
        model = build(config, log)
        fit(model, log, config.training, device)
        users = range(len(histories))
        return lambda histories, appetites: model.log_probs(histories, users=users)

    return retrain
