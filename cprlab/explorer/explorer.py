"""Explorer: what models and probes give for one state."""

import itertools
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import pydantic

from cprlab.errors import ConfigError, suggestion
from cprlab.explorer.choices import Choices
from cprlab.explorer.edits import EDITS
from cprlab.explorer.maps import MOST as MOST_OF_TSNE
from cprlab.explorer.maps import Plane, Tsne, local
from cprlab.explorer.model import KEPT, Model, Prediction
from cprlab.explorer.state import PROJECTIONS, ExplorerState, Projection, Query, Setting
from cprlab.explorer.verdict import CaseVerdict, case_verdict, sentence
from cprlab.models import PARTS, HeadConfig
from cprlab.probes import NO_STATES
from cprlab.settings import PageConfig
from cprlab.subjects import ModelsConfig, Subject

MOST = 4  # models
MERGES = ("context_merge", "rerank_merge")  # options of a head's parts that can be changed; the part is before the _
SWITCHED = (*(part.field for part in PARTS), "post", *MERGES)  # fields of a head


class ExplorerConfig(ModelsConfig):
    """The parameters of `notebooks/pages/explorer.ipynb`."""

    state: str = pydantic.Field(
        "",
        description="What to show first: a state's line of JSON, or a .json file that holds it. It may leave out what "
        "is not changed, but then not name the models.",
    )


class CaseConfig(ExplorerConfig, PageConfig):
    """The parameters of `notebooks/pages/case.ipynb`."""

    state: str = pydantic.Field("", description="What to show, as for cprlab explore --state; the models may follow.")


def opened(config: ExplorerConfig) -> "Explorer":
    """Return an Explorer of a configuration's models, which are opened or trained, in its state.

    Raises:
        CprlabError: a model or the log cannot be read, the models are of different logs, or the state is of other
            models.
    """
    return Explorer(config.subjects(facet="V"), config.state, Path(config.data).name)


class Explorer:
    """One to four models of one log in a state, which determines all that is shown.

    Slow results are cached and shared with the Explorers that `at` makes of this one: predictions, the t-SNE, and the
    verdicts and certificates computed so far.

    Args:
        subjects: the models, as `open_subject` opens them.
        state: as `ExplorerConfig.state`.
        data: name of the log in the state.

    Attributes:
        state: what is shown.
        models: the models.
        choices: the cases to choose from.
        titles: (n,) titles of the items.

    Raises:
        ConfigError: there are no models or too many, they are of different logs, or the state is of other models.
    """

    def __init__(self, subjects: Sequence[Subject], state: str = "", data: str = "") -> None:
        if not 1 <= len(subjects) <= MOST:
            raise ConfigError(f"The explorer shows from one to {MOST} models side by side, not {len(subjects)}.")
        self.models = [Model(subject) for subject in subjects]
        users = next((subject.user_ids for subject in subjects if subject.user_ids is not None), None)
        self.choices = Choices(self.models, users)
        self.titles = subjects[0].held_out.titles
        self._predict = lru_cache(KEPT)(lambda place, *made_from: self.models[place].predict(*made_from))
        self._tsne = Tsne()
        self._local = lru_cache(KEPT)(lambda place, items: local(self.models[place].snapshot.item_embeddings, items))
        self._verdicts: dict[tuple, CaseVerdict] = {}
        names = tuple(model.name for model in self.models)
        telling = Query(sort=self.choices.telling, descending=True)  # the most informative cases come first
        self.state = ExplorerState(
            data=data,
            models=names,
            case=int(self.choices.find(telling)["case"].iloc[0]),
            settings=(Setting(),) * len(names),
            query=telling,
            space=next((place for place, model in enumerate(self.models) if model.has_states), 0),
        )
        if state:
            self.state = self.at(ExplorerState.from_json(state, self.state)).state

    # Other states

    def at(self, state: ExplorerState) -> Self:
        """Return the Explorer of the same models in another state.

        Raises:
            CprlabError: the state cannot be shown.
        """
        self._check(state)
        other = copy(self)
        other.state = state
        other.predicted(), other.pinned(), other.kept()  # refuses heads that are not possible
        return other

    def with_pin(self) -> ExplorerState:
        """Return the state with the predictions shown now as its pin, to compare later ones with."""
        return self.state.patched({"pinned": {"history": self.history, "settings": self.state.settings}})

    def switched(self, model: int, **options: object) -> ExplorerState:
        """Return the state with another head of a model.

        Args:
            model: its index.
            options: new values of `HeadConfig`'s fields.

        Raises:
            ConfigError: there is no such head.
        """
        head, trained = self.heads()[model], self.models[model].recommender.head.config
        if options.get("context") is False:
            options["pointer"] = False
        if options.get("pointer"):
            options["context"] = True
        kept = {field: getattr(head, field) for field in SWITCHED if field in type(head).model_fields}
        for merge in MERGES:
            part = merge.removesuffix("_merge")
            if options.get(part) and kept.get(part) in (False, ()):  # switched on again, as it was trained
                options.setdefault(merge, getattr(trained, merge))
        name = str(trained.switched(**(kept | options)))
        settings = list(self.state.settings)
        settings[model] = settings[model].but(head="" if name == str(trained) else name)
        return self.state.patched({"settings": settings})

    # The case shown

    @property
    def history(self) -> tuple[int, ...]:
        """The item codes shown, oldest first: the case's own history, or the edited one."""
        edited = self.state.history
        return tuple(self.choices.histories[self.state.case].tolist()) if edited is None else edited

    @property
    def target(self) -> int:
        """The code of the true next item."""
        return int(self.choices.targets[self.state.case])

    def predicted(self) -> list[Prediction | None]:
        """Return each model's prediction; None for an empty history."""
        return self._predictions(self.history, self.state.settings)

    def trained(self) -> list[Prediction | None]:
        """Return each model's prediction as it was trained; None for an empty history."""
        return self._predictions(self.history, (Setting(),) * len(self.models))

    def pinned(self) -> list[Prediction | None]:
        """Return each model's pinned prediction; None if nothing is pinned."""
        pin = self.state.pinned
        return self._predictions(pin.history if pin else (), pin.settings if pin else self.state.settings)

    def kept(self) -> list[list[Prediction | None]]:
        """Return each model's prediction in each snapshot."""
        return [self._predictions(kept.history, kept.settings) for kept in self.state.kept]

    def kinds(self, items: np.ndarray) -> np.ndarray:
        """Return for each item "target", "history" or "new"."""
        return np.where(items == self.target, "target", np.where(np.isin(items, self.history), "history", "new"))

    def heads(self) -> list[HeadConfig]:
        """Return each model's head as it is now."""
        settings = zip(self.models, self.state.settings, strict=True)
        return [model.head(setting.head).head.config for model, setting in settings]

    # Slow work, in small steps

    def verdict(self) -> Iterator[None]:
        """Compute the verdicts on the case shown for `verdicts`, and yield between their parts."""
        for place, model in enumerate(self.models):
            key = place, self.state.case, self.history
            if model.has_states and self.history and key not in self._verdicts and self.open:
                self._verdicts[key] = yield from case_verdict(model, *key[1:], self._predict(*key, Setting()))
                yield

    @property
    def open(self) -> bool:
        """Whether each model reads at least one item of the history, but not all items."""
        return all(0 < len(np.unique(model.read(self.history))) < len(self.titles) for model in self.models)

    def verdicts(self) -> list[CaseVerdict | None]:
        """Return each model's verdict on the case shown; None if it is not computed yet or the model has no states."""
        return [self._verdicts.get((place, self.state.case, self.history)) for place in range(len(self.models))]

    def unjudged(self) -> str:
        """Return why there can be no verdict on the case shown; "" if there can."""
        if not self.history:
            return "The history is empty, so there is nothing to copy or to exclude."
        if not self.open:
            return "The history contains every item, so there are no other items to separate it from."
        return ""

    def sentence(self) -> str:
        """Return the verdicts in words, for each model; "" until all are computed."""
        known = list(self.known_verdicts())
        if self.unjudged() or len(known) < len(self.models):
            return self.unjudged()
        return " ".join(
            sentence(*one, head, self.target, self.state.k) for one, head in zip(known, self.heads(), strict=True)
        )

    def known_verdicts(self) -> Iterator[tuple[Model, CaseVerdict | None, Prediction, Prediction]]:
        """Yield each model, its verdict (None if it has no states), and its predictions as trained and as shown.

        Models that lack one are skipped.
        """
        for model, verdict, trained, shown in zip(
            self.models, self.verdicts(), self.trained(), self.predicted(), strict=True
        ):
            if trained and shown and (verdict or not model.has_states):
                yield model, verdict, trained, shown

    def plane(self) -> Plane | None:
        """Return the map's plane; None while a t-SNE is computed.

        Raises:
            ConfigError: there are too few items or dimensions, too many items for a t-SNE, or the model has no item
                embeddings.
        """
        place, weights = self.state.space, self.models[self.state.space].snapshot.item_embeddings
        if min(weights.shape) < 2:
            raise ConfigError("A map needs two or more items, with embeddings of two or more dimensions.")
        if self.state.projection not in self.projections:
            raise ConfigError(
                f"A t-SNE of {len(weights):,} items would take too long; it is made of at most {MOST_OF_TSNE:,}. "
                "Choose another projection."
            )
        if self.state.projection == "tsne":
            return self._tsne.plane(place, weights)
        if self.state.projection == "pca" or not self.history:
            return self.models[place].plane
        return self._local(place, self.history)

    @property
    def projections(self) -> dict[Projection, str]:
        """The map's projections that these items can have, as in `PROJECTIONS`."""
        few = len(self.titles) <= MOST_OF_TSNE
        return {name: label for name, label in PROJECTIONS.items() if few or name != "tsne"}

    @property
    def map_key(self) -> tuple:
        """A key of the map's points, which change only if the key does."""
        state = self.state
        return state.projection, state.space, self.history if state.projection == "local" else ()

    def marked(self, place: int) -> dict[int, str]:
        """Return the items that views of a model mark, each with its kind in `plots.KINDS`.

        Args:
            place: the model's index.

        Returns:
            The kinds by item; of an item of several kinds, the most specific one.
        """
        prediction, verdict = self.predicted()[place], self.verdicts()[place]
        kinds = {
            "new": () if prediction is None else np.setdiff1d(prediction.top(self.state.k), self.history).tolist(),
            "interfering": verdict.interfering if verdict else (),
            "history": self.history,
            "target": (self.target,),
        }
        return {item: kind for kind, items in kinds.items() for item in items}  # the last kind of an item counts

    # Private parts

    def _predictions(self, history: tuple[int, ...], settings: tuple[Setting, ...]) -> list[Prediction | None]:
        if not history:
            return [None] * len(self.models)
        return [self._predict(place, self.state.case, history, setting) for place, setting in enumerate(settings)]

    def _check(self, state: ExplorerState) -> None:
        names, n_items = tuple(model.name for model in self.models), len(self.titles)
        if state.models != names:
            raise ConfigError(
                f"The state is of {' and '.join(state.models)}, but these models are {' and '.join(names)}; "
                "open the state's models, or leave the state out."
            )
        if state.case >= len(self.choices.targets):
            raise ConfigError(f"There is no case {state.case}; cases go from 0 to {len(self.choices.targets) - 1}.")
        pins = [*filter(None, [state.pinned]), *state.kept]
        for settings in (state.settings, *(pin.settings for pin in pins)):
            for model, setting in zip(self.models, settings, strict=False):
                if not model.has_states and setting.but(head="") != Setting():
                    raise ConfigError(f"{NO_STATES.format(model.name)} So nothing can be moved.")
        chosen = (state.history or (), state.selection, state.query.items, *(pin.history for pin in pins))
        if wrong := [item for item in itertools.chain(*chosen) if item >= n_items]:
            raise ConfigError(f"There is no item {wrong[0]}; codes go from 0 to {n_items - 1}.")
        if state.edit and state.edit not in EDITS:
            raise ConfigError(f"There is no edit {state.edit!r}: {suggestion(state.edit, EDITS)}")
        if state.query != self.state.query:  # because a search takes time
            self.choices.find(state.query)
