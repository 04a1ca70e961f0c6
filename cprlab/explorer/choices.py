"""Choices: the table of test cases from which one is chosen, and the certificates that come in while nobody waits."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cprlab.errors import ConfigError, suggestion
from cprlab.explorer.model import Model
from cprlab.explorer.state import UNCOPYABLE, Preset, Query
from cprlab.probes import separable

AT_ONCE = 4  # certificates between two looks at what else there is to do
SHOWN = 50  # rows of the table on the page; many more make every click slower
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Choices:
    """All test cases of the models, which are of one log.

    Attributes:
        table: a row a case: `case`, `user`, `next` (title of the next item), `repeat` (it is among the items read), for
            each model with probabilities `copy A`, `copy B`, … (its copy probability), `apart` (largest less smallest
            copy probability of the models), `off` (the largest distance of a copy probability to the truth, 1 for a
            repeat and 0 for a new item), for each model `rank A`, … (of the next item), `length` (items read),
            `copyable` (whether a single hidden state can rank the history above all else: "yes" for every model that
            has states, "no" for one, "undecided", or "" as long as nobody has looked).
        histories: each case's item codes, oldest first.
        targets: (cases,) codes.

    Raises:
        ConfigError: the models are not of one log.
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

    def _table(self, titles: np.ndarray) -> pd.DataFrame:
        lengths = [len(history) for history in self.histories]
        repeat = self.models[0].cases["repeat"].to_numpy(bool)
        copied = {
            f"copy {letter}": model.cases["copy_probability"] for letter, model in self.lettered() if not model.ordered
        }
        numbers = {name: np.asarray(column, dtype=float) for name, column in copied.items()}
        shares = pd.DataFrame(numbers, index=range(len(lengths))).clip(0, 1)
        columns = {"case": np.arange(len(lengths)), "user": self.users, "next": titles[self.targets], "repeat": repeat}
        columns |= dict(shares)
        columns["apart"] = shares.max(axis=1) - shares.min(axis=1)
        columns["off"] = shares.sub(repeat.astype(float), axis=0).abs().max(axis=1)
        columns |= {f"rank {letter}": np.asarray(model.cases["rank"]) for letter, model in self.lettered()}
        return pd.DataFrame(columns | {"length": lengths, "copyable": ""})

    def lettered(self) -> Iterator[tuple[str, Model]]:
        """Yield each model and the letter that the columns call it by."""
        return zip(LETTERS, self.models, strict=False)

    @property
    def telling(self) -> str:
        """The column of which large values tell most: of models apart, of one off the truth, of orderings the rank."""
        likely = [model for model in self.models if not model.ordered]
        return ("rank A", "off", "apart")[min(len(likely), 2)]

    def find(self, query: Query) -> pd.DataFrame:
        """Return the rows that a query lists, in its order.

        Raises:
            ConfigError: there is no such column to sort by.
        """
        if query.sort not in self.table.columns:
            raise ConfigError(
                f"There is no column {query.sort!r} to sort by: {suggestion(query.sort, self.table.columns)}"
            )
        found = self.table[self._preset(query.preset) & self._search(query.search)]
        return found.sort_values(query.sort, ascending=not query.descending, kind="stable")

    def _preset(self, preset: Preset) -> np.ndarray:
        """Return which cases a preset lists; where the wanted copying is missed, the largest miss is worth a look."""
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
        """Return which cases have these letters in their user's id, or in the title of an item they took or take."""
        letters = search.strip().casefold()
        if not letters:
            return np.ones(len(self.targets), dtype=bool)
        items = np.array([letters in title for title in self.titles])
        taken = np.array([items[history].any() for history in self.histories])
        return taken | items[self.targets] | np.array([letters in user.casefold() for user in self.users])

    def certify(self) -> Iterator[int]:
        """Look for certificates, of a few cases at a time, and yield how many of all cases have theirs."""
        snapshots = [model.snapshot for model in self.models if model.has_states]
        n_items = len(self.titles) if snapshots else 0
        open_ = np.flatnonzero([len(np.unique(history)) < n_items for history in self.histories])
        for start in range(0, len(open_), AT_ONCE):
            cases = open_[start : start + AT_ONCE]
            outcomes = [
                [found.outcome for found in separable(part, part.distinct)]
                for part in (snapshot.take(cases) for snapshot in snapshots)
            ]
            for case, found in zip(cases, zip(*outcomes, strict=True), strict=True):
                worst = next(outcome for outcome in ("no", "undecided", "yes") if outcome in found)
                self.table.loc[case, "copyable"] = worst
            yield int(cases[-1]) + 1


def _check(first: Model, other: Model) -> None:
    one, two = first.held_out, other.held_out
    same = len(one) == len(two) and np.array_equal(one.targets, two.targets)
    if not same or not np.array_equal(one.item_ids.astype(str), two.item_ids.astype(str)):
        raise ConfigError(
            f"{first.name} and {other.name} are not of one log: their items, or their cases, differ. Give models that "
            "were trained on the same file, with the same --users."
        )
