"""A feedback loop: simulated users consume what is recommended, and the recommender is trained on what they consumed.

All that is assumed of the users is a parameter of `Population`. Their appetites are known, so that a list can be judged
by them, with no held-out item and no noise, and an oracle that sees them shows what is possible.

A user has an appetite for each item, between 0 and 1. At a visit he either chooses by himself, each item in proportion
to his appetite for it, or he goes down a list, and looks at the item at rank r with probability attention^(r − 1), and
takes it, if he looks, with probability accept · appetite; he takes one item at the most. (That a look depends on the
rank and an acceptance on the item alone is the position-based model; see Chuklin, Markov and de Rijke, Click Models for
Web Search, 2015, section 3.2.)
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
EVERYBODY = -1  # in the place of a user, for what is measured over all of them

Histories = list[list[int]]
Scorer = Callable[[Histories, np.ndarray], np.ndarray]  # histories, appetites (users, items) → scores (users, items)
Retrain = Callable[[Histories], Scorer]  # what was consumed so far → how items are scored in the next round


class Population(Config):
    """What is assumed of users and items.

    Attributes:
        users: how many.
        items: how many.
        factors: size of the vectors of which an appetite is the product.
        sharpness: how much appetites differ: an unknown item's is exp(sharpness · (s − s_max)), where s is the product
            of user's and item's vectors over √factors, so that the favourite's is 1.
        consumables: share of the items that are bought again; for the others a user's appetite is gone for good once
            he consumed them, as with films.
        again: appetite for a consumable that was consumed before, and is due.
        period: visits after a consumption until a consumable is due again; until then the appetite for it is 0.
        accept: probability that an item of appetite 1 is taken when it is looked at.
        attention: by which factor each further rank is less likely to be looked at.
        organic: share of the visits in which users choose by themselves, whatever is recommended.
        first: visits before the first recommendation, in all of which users choose by themselves.
        seed: of the vectors, and of which items are consumables.
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
            raise ValueError(f"{self.first} first visits may empty a catalogue of {self.items} items; have more items")
        return self

    def likes(self) -> np.ndarray:
        """Return (users, items) the appetites for items that were never consumed; a user's largest is 1."""
        rng = np.random.default_rng(self.seed)
        tastes, kinds = (rng.normal(size=(count, self.factors)) for count in (self.users, self.items))
        products = tastes @ kinds.T / np.sqrt(self.factors)
        return np.exp(self.sharpness * (products - products.max(1, keepdims=True)))

    def consumable(self) -> np.ndarray:
        """Return (items,) bool, which are bought again."""
        order = np.random.default_rng((self.seed, 1)).permutation(self.items)
        return order < round(self.consumables * self.items)


class Users:
    """A population in the course of time.

    Attributes:
        histories: what each user consumed so far.
    """

    def __init__(self, population: Population, seed: int = 0) -> None:
        """Let everybody consume by themselves for the first visits; `seed` is of all that they do."""
        self.population, self.seed = population, seed
        self.histories: Histories = [[] for _ in range(population.users)]
        self._likes, self._consumable = population.likes(), population.consumable()
        self._last = np.full(self._likes.shape, -1)
        self._visits = 0
        for _ in range(population.first):
            self.visit()

    def appetites(self) -> np.ndarray:
        """Return (users, items), between 0 and 1, as of now."""
        due = self._consumable & (self._visits - self._last >= self.population.period)
        return np.where(self._last < 0, self._likes, np.where(due, self.population.again, 0.0))

    def chances(self, lists: np.ndarray) -> np.ndarray:
        """Return (users, k), the probability that the item at each rank of (users, k) lists is looked at and liked."""
        looked = self.population.attention ** np.arange(lists.shape[1])
        return self.population.accept * looked * np.take_along_axis(self.appetites(), lists, axis=1)

    def visit(self, lists: np.ndarray | None = None) -> np.ndarray:
        """Let everybody come once, and return what each consumes, (users,) codes, −1 for nothing.

        What chance decides depends on the seed and on how many visits there were, not on the lists, so that two
        recommenders are compared on the same luck.

        Args:
            lists: (users, k) codes, best first; without them everybody chooses by himself.
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
    """Return what happens while a recommender is trained anew before each round, on all that was consumed.

    Args:
        population: who consumes.
        retrain: makes the recommender of a round.
        rounds: how many.
        visits: of each user in a round; a list is made for each of them, from the history so far.
        k: length of the lists.
        seed: of what users do.

    Returns:
        Rows `round (from 1), user, measure, value`. Of a user, the mean over his visits: "engagement" (probability that
        he takes an item of the list), "accuracy" (NDCG@k of the list with the appetites as gains), "repeats
        recommended" (share of the list that he consumed before). Of `EVERYBODY`: "repeats consumed" (share of what was
        consumed that the same user had consumed before), "distinct items" (share of the catalogue that anybody
        consumed), "Gini" (of how often each item was consumed).
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
    """Rank by the appetites themselves: no other list is likelier to be taken from at the next visit."""
    return lambda histories, appetites: appetites


def popular(histories: Histories) -> Scorer:
    """Recommend to everybody what was consumed most often so far."""
    consumed = np.concatenate(histories)
    return lambda histories, appetites: np.broadcast_to(
        np.bincount(consumed, minlength=appetites.shape[1]), appetites.shape
    )


def learner(config: RunConfig, n_items: int, device: Device = "auto") -> Retrain:
    """Return what trains a model from scratch on all that was consumed, and ranks by its probabilities.

    Args:
        config: what to train, and how; under "(post)" the history is never recommended.
        n_items: of the catalogue.
        device: where.
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
