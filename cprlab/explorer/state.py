"""ExplorerState: what an explorer shows, as one small value that fits in a line of text."""

import json
from typing import Annotated, Any, Literal, Self, get_args

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError

Preset = Literal[
    "all",
    "should copy, but does not",
    "should not copy, but does",
    "cannot be copied by one hidden state",
    "next item is in the history",
    "next item is new",
]
PRESETS: tuple[Preset, ...] = get_args(Preset)
UNCOPYABLE = PRESETS[3]  # needs certificates
Projection = Literal["local", "pca", "tsne"]
PROJECTIONS: dict[Projection, str] = {
    "local": "this history's neighbourhood: PCA",
    "pca": "all items: PCA",
    "tsne": "all items: t-SNE",
}

MOST_KEPT = 8  # snapshots; each costs predictions in every view

Code = Annotated[int, pydantic.Field(ge=0)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Setting(Config):
    """Changes to one model.

    Attributes:
        head: name of the head, perhaps with other partitions than the trained one; "" for the trained head.
        temperature: T of p ∝ exp(log p / T).
        toward: how far f_V is moved to the mean embedding of the history's items, from 0 (not) to 1 (completely).
        axes: moves of f_V along the first three principal axes of the item embeddings, in units of ‖f_V‖.
        scale: factor of the moved f_V.
        best: whether f_V is first replaced by the state in the ball that best copies the history with the model's own
            preferences among its items (`Prediction.wanted`).
    """

    head: str = ""
    temperature: Number = pydantic.Field(1, ge=0.01, le=100)
    toward: Number = 0
    axes: tuple[Number, Number, Number] = (0, 0, 0)
    scale: Number = pydantic.Field(1, ge=0)
    best: bool = False


class Query(Config):
    """Which cases are listed, in which order.

    Attributes:
        preset: one of `PRESETS`.
        search: part of a user's id or of an item's title.
        items: item codes; only cases whose history or next item is one of them. () for all cases.
        sort: column of the table of cases.
        descending: whether the largest come first.
        page: which part of the table is listed, from 0; the last part if there are fewer.
    """

    preset: Preset = "all"
    search: str = ""
    items: tuple[Code, ...] = ()
    sort: str = "case"
    descending: bool = False
    page: Code = 0


class Pin(Config):
    """What a pinned prediction, kept for comparison, was made from.

    Attributes:
        history: item codes, oldest first.
        settings: one for each model.
    """

    history: tuple[Code, ...]
    settings: tuple[Setting, ...]


class Kept(Pin):
    """A snapshot of the case shown, to return to.

    Attributes:
        name: what it is called.
    """

    name: str = pydantic.Field(max_length=60)


class ExplorerState(Config):
    """What an explorer shows; every view draws it, and every control makes a new one.

    Attributes:
        data: name of the log or file, for information.
        models: names of the models.
        case: index in the table of all cases.
        history: the edited history as item codes, oldest first; None for the case's own.
        settings: changes to each model.
        pinned: a prediction of the same case to compare with.
        kept: snapshots of the same case, which can be returned to.
        selection: codes of the selected items.
        query: which cases are listed.
        edit: name of an edit of all these cases' histories, as in `cohort.EDITS`; "" for none.
        projection: projection of the map, a key of `PROJECTIONS`.
        space: index in `models` of the model whose item embeddings the map shows.
        lines: whether the map joins the items of the history in their order, and the hidden states.
        levels: whether the map has the lines on which the hidden state's scores are equal.
        shaded: whether the map's items are coloured by their probability.
        colour: whether bars are coloured by the items' kind, or by the partition that scored them last.
        k: number of items shown of each prediction.
    """

    data: str = ""
    models: tuple[str, ...]
    case: Code = 0
    history: tuple[Code, ...] | None = None
    settings: tuple[Setting, ...]
    pinned: Pin | None = None
    kept: tuple[Kept, ...] = pydantic.Field((), max_length=MOST_KEPT)
    selection: tuple[Code, ...] = ()
    query: Query = Query()
    edit: str = ""
    projection: Projection = "local"
    space: Code = 0
    lines: bool = False
    levels: bool = True
    shaded: bool = False
    colour: Literal["kind", "partition"] = "kind"
    k: int = pydantic.Field(10, ge=1, le=50)

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.settings) != len(self.models):
            raise ValueError(f"there must be a setting for each of the {len(self.models)} models")
        if self.pinned and len(self.pinned.settings) != len(self.models):
            raise ValueError(f"the pin must have a setting for each of the {len(self.models)} models")
        if any(len(kept.settings) != len(self.models) for kept in self.kept):
            raise ValueError(f"each snapshot must have a setting for each of the {len(self.models)} models")
        if self.space >= len(self.models):
            raise ValueError(f"space must be the index of one of the {len(self.models)} models, from 0")
        return self

    def patched(self, patch: dict[str, Any]) -> Self:
        """Return the state with some attributes changed; another case starts as it is, without pin or snapshots."""
        changes = (
            {"history": None, "pinned": None, "kept": ()} | patch
            if patch.get("case", self.case) != self.case
            else patch
        )
        return self.but(**changes)

    def to_json(self) -> str:
        """Return the state as a line of JSON, for `from_json`."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str, default: Self | None = None) -> Self:
        """Return the state of a text from `to_json`, or one that changes some attributes of another state.

        Args:
            text: a JSON object.
            default: what a text that names no models leaves out; without it, the text must name them.

        Raises:
            ConfigError: the text is not JSON, or not a state.
        """
        values = attributes(text)
        known = default.model_dump() if default and "models" not in values else {}
        try:
            state = cls(**known | values)
        except ConfigError as error:
            raise ConfigError(f"The explorer's state: {error}") from None
        try:
            state.to_json()
        except ValueError:
            raise ConfigError("The explorer's state contains halves of characters, which are not text.") from None
        return state


def attributes(text: str) -> dict[str, Any]:
    """Return what a state's text says, which is not checked.

    Raises:
        ConfigError: the text is not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The explorer's state is not JSON ({error}); paste the whole text that was saved.") from None
    if not isinstance(values, dict):
        raise ConfigError("The explorer's state must be a JSON object; paste the whole text that was saved.")
    return values
