"""Explorer: a state, what was done and undone, and what the models and the probes say of it."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pydantic

from cprlab.errors import ConfigError
from cprlab.explorer import tables
from cprlab.explorer.cases import Cases
from cprlab.explorer.maps import Plane, Tsne, local
from cprlab.explorer.model import KEPT, Model, Prediction
from cprlab.explorer.state import ExplorerState, Query, Setting
from cprlab.explorer.verdict import CaseVerdict, case_verdict, sentence
from cprlab.models import PARTS, HeadConfig
from cprlab.probes import NO_STATES
from cprlab.settings import PageConfig
from cprlab.subjects import ModelsConfig, Subject

if TYPE_CHECKING:
    from cprlab.explorer.widget import ExplorerWidget

UNDOABLE = ("case", "history", "settings", "pinned")
MOST = 4  # models
MERGES = ("context_merge", "rerank_merge")  # options of a head's parts that can be changed, each with its part before _
SWITCHED = (*(part.field for part in PARTS), "post", *MERGES)  # fields of a head


class ExplorerConfig(ModelsConfig):
    """The parameters of `notebooks/explorer.ipynb`."""

    state: str = pydantic.Field(
        "", description="What to show first: a state's line of JSON, or a .json file that holds it."
    )


class CaseConfig(ExplorerConfig, PageConfig):
    """The parameters of `notebooks/case.ipynb`."""

    state: str = pydantic.Field(description="The explorer's state: a line of JSON, or a .json file that holds it.")


def explore(config: ExplorerConfig) -> "Explorer":
    """Open, or train, the models of a configuration in an explorer, which shows itself as a widget in a notebook.

    Raises:
        CprlabError: a model or the log cannot be read, the models are not of one log, or the state is not of them.
    """
    return Explorer(config.subjects(facet="V"), config.state, Path(config.data).name)


class Explorer:
    """One to four models of one log, and a state that says what is shown of them.

    Args:
        subjects: the models, as `open_subject` opens them.
        state: as `ExplorerConfig.state`.
        data: what to call the log in the state.

    Raises:
        ConfigError: there are none or too many models, they are not of one log, or the state is not of them.
    """

    def __init__(self, subjects: Sequence[Subject], state: str = "", data: str = "") -> None:
        if not 1 <= len(subjects) <= MOST:
            raise ConfigError(f"The explorer shows from one to {MOST} models side by side, not {len(subjects)}.")
        self.models = [Model(subject) for subject in subjects]
        users = next((subject.user_ids for subject in subjects if subject.user_ids is not None), None)
        self.cases = Cases(self.models, users)
        self.titles = subjects[0].held_out.titles
        self.changed: list[Callable[[], None]] = []  # called after each change of the state
        self._predict = lru_cache(KEPT)(self._make_prediction)
        self._tsne = Tsne()
        self._verdicts: dict[tuple, CaseVerdict] = {}
        self._past: list[ExplorerState] = []
        self._future: list[ExplorerState] = []
        self._dragging = False
        self._widget: ExplorerWidget | None = None
        names = tuple(model.name for model in self.models)
        telling = Query(sort=self.cases.telling, descending=True)  # the cases that tell most stand first
        self._state = ExplorerState(
            data=data,
            models=names,
            case=int(self.cases.find(telling)["case"].iloc[0]),
            settings=(Setting(),) * len(names),
            query=telling,
            space=next((place for place, model in enumerate(self.models) if model.has_states), 0),
        )
        if state:
            self._state = self._checked(ExplorerState.from_json(state))
            self.predicted(), self.pinned()  # refuses heads that cannot be

    # What is shown, for Python

    @property
    def state(self) -> ExplorerState:
        """What is shown; another one may be set, and can be undone."""
        return self._state

    @state.setter
    def state(self, state: ExplorerState) -> None:
        self.change(state)

    @property
    def selection(self) -> pd.DataFrame:
        """The selected items: `item` (code), `id`, `title`, and for each model, by its name, their probability."""
        items = list(self._state.selection)
        columns = {"item": items, "id": self.models[0].held_out.item_ids[items], "title": self.titles[items]}
        for model, prediction in zip(self.models, self.predicted(), strict=True):
            columns[model.name] = np.nan if prediction is None else prediction.probabilities(items)
        return pd.DataFrame(columns)

    def predictions(self) -> pd.DataFrame:
        """Return the k best items of each model.

        Returns:
            Rows `model, place` (from 1), `item` (code), `title, probability` (NaN of a model that only orders the
            items), `kind` ("history", "new", or "target" for the true next item), `partition` (that scored it last),
            and with a pin `pinned_probability, pinned_place`.
        """
        return tables.predictions(self)

    def table(self, view: str) -> pd.DataFrame:
        """Return what a view shows as a table.

        Args:
            view: "cases", "history", "predictions", "map", "states" or "verdict"; the verdict is worked out, which may
                take a second.

        Raises:
            ConfigError: there is no such view.
        """
        if view not in tables.VIEWS:
            raise ConfigError(f"There is no view {view!r}; possible are {', '.join(tables.VIEWS)}.")
        return tables.VIEWS[view](self)

    # The case shown

    @property
    def history(self) -> tuple[int, ...]:
        """The item codes shown, oldest first: the case's own, or the edited ones."""
        edited = self._state.history
        return tuple(self.cases.histories[self._state.case].tolist()) if edited is None else edited

    @property
    def target(self) -> int:
        """The code of the true next item."""
        return int(self.cases.targets[self._state.case])

    def predicted(self) -> list[Prediction | None]:
        """Return each model's prediction; None for an empty history."""
        return self._predictions(self.history, self._state.settings)

    def pinned(self) -> list[Prediction | None]:
        """Return each model's pinned prediction, None where nothing is pinned."""
        pin = self._state.pinned
        return self._predictions(pin.history if pin else (), pin.settings if pin else self._state.settings)

    def kinds(self, items: np.ndarray) -> np.ndarray:
        """Return for each item "target", "history" or "new"."""
        return np.where(items == self.target, "target", np.where(np.isin(items, self.history), "history", "new"))

    def heads(self) -> list[HeadConfig]:
        """Return each model's head as it is now."""
        settings = zip(self.models, self._state.settings, strict=True)
        return [model.head(setting.head).head.config for model, setting in settings]

    # Changes

    def change(self, state: ExplorerState, live: bool = False) -> None:
        """Show another state, which can be undone; nothing happens where it cannot be shown.

        Args:
            state: to be shown.
            live: one of many on the way of a slider; all of them are undone at once.

        Raises:
            CprlabError: it cannot be shown.
        """
        before, self._state = self._state, self._checked(state)
        try:
            self.predicted(), self.pinned()
        except Exception:
            self._state = before
            raise
        other = any(getattr(state, name) != getattr(before, name) for name in UNDOABLE)
        if other:
            if not self._dragging:
                self._past.append(before)
            self._future.clear()
        self._dragging = live and (other or self._dragging)
        self._tell()

    def patch(self, changes: dict, live: bool = False) -> None:
        """Change some attributes of the state.

        Raises:
            CprlabError: one is not possible.
        """
        self.change(self._state.patched(changes), live)

    def undo(self) -> None:
        """Take back the last change of case, history, settings or pin."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._step(self._future, self._past)

    @property
    def undoable(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and to redo."""
        return bool(self._past), bool(self._future)

    def pin(self) -> None:
        """Keep the predictions shown to compare the next ones with."""
        self.patch({"pinned": {"history": self.history, "settings": self._state.settings}})

    def switch(self, model: int, **options: object) -> None:
        """Change the head of a model.

        Args:
            model: its place.
            options: new values of `HeadConfig`'s fields.

        Raises:
            ConfigError: there is no such head, or the model has no weights for it.
        """
        head, trained = self.heads()[model], self.models[model].recommender.head.config
        if options.get("context") is False:
            options["pointer"] = False
        if options.get("pointer"):
            options["context"] = True
        kept = {field: getattr(head, field) for field in SWITCHED if field in type(head).model_fields}
        for merge in MERGES:
            part = merge.removesuffix("_merge")
            if options.get(part) and kept.get(part) in (False, ()):  # switched on again: as it was trained
                options.setdefault(merge, getattr(trained, merge))
        name = str(trained.switched(**(kept | options)))
        settings = list(self._state.settings)
        settings[model] = settings[model].but(head="" if name == str(trained) else name)
        self.patch({"settings": settings})

    # Slow work, in small steps

    def verdict(self) -> Iterator[None]:
        """Work out the verdicts on the case shown, and give way between their parts; `verdicts` then has them."""
        for place, model in enumerate(self.models):
            key = place, self._state.case, self.history
            if model.has_states and self.history and key not in self._verdicts and self.open:
                own = self._predict(*key, Setting())  # as the model has it, whatever was moved
                self._verdicts[key] = yield from case_verdict(model, *key[1:], own.states["V"])
                yield

    @property
    def open(self) -> bool:
        """Whether there is an item that is not in what is read of the history, so that they can be told apart."""
        return all(0 < len(np.unique(model.read(self.history))) < len(self.titles) for model in self.models)

    def verdicts(self) -> list[CaseVerdict | None]:
        """Return each model's verdict on the case shown, None where it has not been worked out or has no states."""
        return [self._verdicts.get((place, self._state.case, self.history)) for place in range(len(self.models))]

    def sentence(self) -> str:
        """Return what the verdicts say, in a sentence for each model; "" as long as one is missing."""
        if not self.history:
            return "The history is empty, so there is nothing to copy or to exclude."
        if not self.open:
            return "The history holds every item there is, so there is nothing to tell it apart from."
        known = [
            sentence(model, verdict, prediction, self.target in prediction.history)
            for model, verdict, prediction in self.known_verdicts()
        ]
        return " ".join(known) if len(known) == len(self.models) else ""

    def known_verdicts(self) -> Iterator[tuple[Model, CaseVerdict | None, Prediction]]:
        """Yield what is known of each model; no verdict of one without states, and nothing where one is missing."""
        for model, verdict, prediction in zip(self.models, self.verdicts(), self.predicted(), strict=True):
            if prediction is not None and (verdict is not None or not model.has_states):
                yield model, verdict, prediction

    def plane(self) -> Plane | None:
        """Return the map's plane; None as long as a t-SNE is being made.

        Raises:
            ConfigError: there are too few items or dimensions for one, or the model has no item embeddings.
        """
        place, weights = self._state.space, self.models[self._state.space].snapshot.item_embeddings
        if min(weights.shape) < 2:
            raise ConfigError("A map needs two or more items, with embeddings of two or more dimensions.")
        if self._state.projection == "tsne":
            return self._tsne.plane(place, weights)
        if self._state.projection == "pca" or not self.history:
            return self.models[place].plane
        return local(weights, self.history, list(self.marked()))

    @property
    def map_key(self) -> tuple:
        """What the map's points are made from: others mean other points."""
        state = self._state
        own = (self.history, *self.marked()) if state.projection == "local" else ()
        return state.projection, state.space, own

    def marked(self) -> dict[int, str]:
        """Return the items that the map marks, and as what: a kind of `plots.KINDS`, the most telling of an item's."""
        prediction, verdict = self.predicted()[self._state.space], self.verdicts()[self._state.space]
        kinds = {
            "new": () if prediction is None else np.setdiff1d(prediction.top(self._state.k), self.history).tolist(),
            "interfering": verdict.interfering if verdict else (),
            "history": self.history,
            "target": (self.target,),
        }
        return {item: kind for kind, items in kinds.items() for item in items}  # the last kind of an item counts

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget, where a notebook shows this."""
        from cprlab.explorer.widget import ExplorerWidget  # which needs this module

        if self._widget is None:
            self._widget = ExplorerWidget(self)
        return self._widget._repr_mimebundle_(**options)

    # Private parts

    def _predictions(self, history: tuple[int, ...], settings: tuple[Setting, ...]) -> list[Prediction | None]:
        if not history:
            return [None] * len(self.models)
        return [self._predict(place, self._state.case, history, setting) for place, setting in enumerate(settings)]

    def _make_prediction(self, place: int, case: int, history: tuple[int, ...], setting: Setting) -> Prediction:
        return self.models[place].predict(case, history, setting)

    def _step(self, source: list[ExplorerState], other: list[ExplorerState]) -> None:
        if not source:
            return
        self._dragging = False
        other.append(self._state)
        past = source.pop()
        self._state = self._state.but(**{name: getattr(past, name) for name in UNDOABLE})
        self._tell()

    def _tell(self) -> None:
        for changed in self.changed:
            changed()

    def _checked(self, state: ExplorerState) -> ExplorerState:
        names, n_items = tuple(model.name for model in self.models), len(self.titles)
        if state.models != names:
            raise ConfigError(
                f"The state is of {' and '.join(state.models)}, and these models are {' and '.join(names)}; "
                "open those models, or leave the state out."
            )
        if state.case >= len(self.cases.targets):
            raise ConfigError(f"There is no case {state.case}; cases go from 0 to {len(self.cases.targets) - 1}.")
        for settings in (state.settings, state.pinned.settings if state.pinned else ()):
            for model, setting in zip(self.models, settings, strict=False):
                if not model.has_states and setting.but(head="") != Setting():
                    raise ConfigError(f"{NO_STATES.format(model.name)} So nothing can be moved.")
        pinned = state.pinned.history if state.pinned else ()
        if wrong := [item for item in (*(state.history or ()), *state.selection, *pinned) if item >= n_items]:
            raise ConfigError(f"There is no item {wrong[0]}; codes go from 0 to {n_items - 1}.")
        if state.query != self._state.query:  # as looking takes some time
            self.cases.find(state.query)
        return state
