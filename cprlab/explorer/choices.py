"""Choices: the table of test cases to choose from, and their certificates, computed in the background."""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import log_softmax, xlogy

from cprlab.errors import ConfigError, suggestion
from cprlab.explorer.model import Model
from cprlab.explorer.state import UNCOPYABLE, Preset, Query, Setting
from cprlab.probes import Snapshot, copying_states, separable

AT_ONCE = 2  # cases certified in one step
SHOWN = 50  # rows of a page of the table; many more would slow down every click
WHOLE = re.compile(r"[0-9]+")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Choices:
    """All test cases of models of the same log.

    Attributes:
        table: a row for each case: `case`, `next` (title of the next item), `repeat` (whether it is among the items
            read), for each model with probabilities `copy A`, `copy B`, … (its copy probability), `apart`
            (largest minus smallest copy probability of the models), `off` (largest distance of a copy probability from
            the truth, which is 1 for a repeat and 0 for a new item), for each model `rank A`, … (of the next item),
            `length` (number of items read), `user`, `least` (nats that the best single state in reach loses if all
            probability is wanted on the history, as `CaseVerdict.least_copying`: the largest of the models that have
            states, NaN if not computed yet), `least A`, … (the same of each of these models), `copyable` (whether a
            single hidden state can rank the history above all other items: "yes" if it can in every model that has
            states, "no" if it cannot in one of them, "undecided", or "" if not computed yet).
        histories: item codes of each case, oldest first.
        targets: (cases,) item codes.

    Raises:
        ConfigError: the models are of different logs.
    """

    def __init__(self, models: Sequence[Model], user_ids: np.ndarray | None) -> None:
        first = models[0].held_out
        for model in models[1:]:
            _check(models[0], model)
        self.models = models
        self.targets = first.targets
        self.histories = [
            max((model.held_out.histories[case] for model in models), key=len) for case in range(len(first))
        ]
        self.titles = np.array([title.casefold() for title in first.titles], dtype=object)
        self.users = np.full(len(first), "", dtype=object) if user_ids is None else user_ids.astype(str).astype(object)
        self.table = self._table(first.titles)
        self.observed = float(self.table["repeat"].mean())

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of cases whose histories have each item, (n,)."""
        return np.bincount(np.concatenate([np.unique(one) for one in self.histories]), minlength=len(self.titles))

    def _table(self, titles: np.ndarray) -> pd.DataFrame:
        lengths = [len(history) for history in self.histories]
        repeat = self.models[0].cases["repeat"].to_numpy(bool)
        copied = {
            f"copy {letter}": model.cases["copy_probability"] for letter, model in self.lettered() if not model.ordered
        }
        numbers = {name: np.asarray(column, dtype=float) for name, column in copied.items()}
        shares = pd.DataFrame(numbers, index=range(len(lengths))).clip(0, 1)
        columns = {"case": np.arange(len(lengths)), "next": titles[self.targets], "repeat": repeat}
        columns |= dict(shares)
        columns["apart"] = shares.max(axis=1) - shares.min(axis=1)
        columns["off"] = shares.sub(repeat.astype(float), axis=0).abs().max(axis=1)
        columns |= {f"rank {letter}": np.asarray(model.cases["rank"]) for letter, model in self.lettered()}
        least = dict.fromkeys(["least", *(f"least {letter}" for letter, _ in self.with_states())], np.nan)
        return pd.DataFrame(columns | {"length": lengths, "user": self.users} | least | {"copyable": ""})

    def lettered(self) -> Iterator[tuple[str, Model]]:
        """Yield the letter of each model in the column names, and the model."""
        return zip(LETTERS, self.models, strict=False)

    def with_states(self) -> Iterator[tuple[str, Model]]:
        """Yield those of `lettered` that have hidden states."""
        return ((letter, model) for letter, model in self.lettered() if model.has_states)

    @property
    def telling(self) -> str:
        """The column whose large values mark the most informative cases.

        It is "apart" for several models with probabilities, "off" for one, and "rank A" for none.
        """
        likely = [model for model in self.models if not model.ordered]
        return ("rank A", "off", "apart")[min(len(likely), 2)]

    def find(self, query: Query) -> pd.DataFrame:
        """Return the rows that match a query, in its order, whatever its page.

        Text is sorted as it is read: whole numbers by their size and before other text, and upper and lower case are
        the same. What is not known comes last.

        Raises:
            ConfigError: the column to sort by does not exist.
        """
        if query.sort not in self.table.columns:
            raise ConfigError(
                f"There is no column {query.sort!r} to sort by: {suggestion(query.sort, self.table.columns)}"
            )
        found = self.table[self._preset(query.preset) & self._search(query.search) & self._having(query.items)]
        return found.sort_values(query.sort, ascending=not query.descending, kind="stable", key=_as_read)

    def place(self, case: int, query: Query) -> int | None:
        """Return the page of a query on which a case is; None if it does not match."""
        places = np.flatnonzero(self.find(query)["case"] == case)
        return int(places[0]) // SHOWN if len(places) else None

    def named(self, text: str) -> int:
        """Return the case of a number, or the first case of a user's id; "user 7" is the user with the id 7.

        Raises:
            ConfigError: there is no such case.
        """
        text = text.strip()
        if WHOLE.fullmatch(text) and int(text) < len(self.targets):
            return int(text)
        found = np.flatnonzero(np.isin(self.users, [text, text.removeprefix("user").strip()]) & (self.users != ""))
        if not len(found):
            last = len(self.targets) - 1
            raise ConfigError(f"There is no case {text!r}: give a number from 0 to {last:,}, or a user's whole id.")
        return int(found[0])

    def _preset(self, preset: Preset) -> np.ndarray:
        """Return a mask of the cases of a preset; for "should copy" and "should not copy", of any model's misses."""
        repeat = self.table["repeat"].to_numpy()
        copied = self.table.filter(regex="^copy ")
        return {
            "all": np.ones(len(repeat), dtype=bool),
            "should copy, but does not": repeat & (copied.min(axis=1) < self.observed).to_numpy(),
            "should not copy, but does": ~repeat & (copied.max(axis=1) > self.observed).to_numpy(),
            UNCOPYABLE: (self.table["copyable"] == "no").to_numpy(),
            "next item is in the history": repeat,
            "next item is new": ~repeat,
        }[preset]

    def _search(self, search: str) -> np.ndarray:
        """Return a mask of the cases that contain this text in the user's id or in the title of an item, past or next.

        Upper and lower case are the same.
        """
        letters = search.strip().casefold()
        if not letters:
            return np.ones(len(self.targets), dtype=bool)
        items = np.flatnonzero([letters in title for title in self.titles])
        return self._with(items) | np.array([letters in user.casefold() for user in self.users])

    def _having(self, items: Sequence[int]) -> np.ndarray:
        """Return a mask of the cases whose history or next item is one of these items; all if there are none."""
        return self._with(items) if len(items) else np.ones(len(self.targets), dtype=bool)

    def _with(self, items: Sequence[int] | np.ndarray) -> np.ndarray:
        wanted = np.isin(np.arange(len(self.titles)), items)
        return np.array([wanted[history].any() for history in self.histories]) | wanted[self.targets]

    def certify(self) -> Iterator[int]:
        """Compute least losses and certificates of a few cases at a time; yield the number of cases done."""
        letters = [letter for letter, _ in self.with_states()]
        models = [model for _, model in self.with_states()]
        n_items = len(self.titles) if models else 0
        open_ = np.flatnonzero([len(np.unique(history)) < n_items for history in self.histories])
        for start in range(0, len(open_), AT_ONCE):
            cases = open_[start : start + AT_ONCE]
            parts = [model.snapshot.take(cases) for model in models]
            outcomes = [[found.outcome for found in separable(part, part.distinct)] for part in parts]
            losses = [_least_losses(model, cases, part) for model, part in zip(models, parts, strict=True)]
            self.table.loc[cases, "least"] = np.max(losses, axis=0)
            self.table.loc[cases, [f"least {letter}" for letter in letters]] = np.transpose(losses)
            for case, found in zip(cases, zip(*outcomes, strict=True), strict=True):
                self.table.loc[case, "copyable"] = worst(found)
            yield int(cases[-1]) + 1


def _as_read(column: pd.Series) -> pd.Series:
    """Return the keys by which a column is sorted as it is read."""

    def key(text: str) -> tuple[int, int, str] | None:
        if not text:
            return None
        return (0, int(text), "") if WHOLE.fullmatch(text) else (1, 0, text.lower())

    return column if pd.api.types.is_numeric_dtype(column) else column.astype(object).map(key)


def worst(outcomes: Collection[str]) -> str:
    """Return the worst of some certificates' outcomes."""
    return next(outcome for outcome in ("no", "undecided", "yes") if outcome in outcomes)


def _least_losses(model: Model, cases: np.ndarray, part: Snapshot) -> np.ndarray:
    """Return (m,) the losses of the best single states where all probability is wanted on the histories."""
    pairs = zip(cases.tolist(), part.histories, strict=True)
    wanted = np.stack([model.predict(case, history, Setting()).wanted(copied=True) for case, history in pairs])
    states = copying_states(part, model.radius, wanted)
    bias = 0 if part.bias is None else part.bias
    given = log_softmax(states @ part.item_embeddings.T.astype(float) + bias, axis=1)
    return (xlogy(wanted, wanted) - wanted * given).sum(1).clip(min=0)


def _check(first: Model, other: Model) -> None:
    one, two = first.held_out, other.held_out
    same = len(one) == len(two) and np.array_equal(one.targets, two.targets)
    if not same or not np.array_equal(one.item_ids.astype(str), two.item_ids.astype(str)):
        raise ConfigError(
            f"{first.name} and {other.name} are of different logs: their items, or their cases, differ. Give models "
            "that were trained on the same file, with the same --users."
        )
