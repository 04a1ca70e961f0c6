"""ExplorerState: all that an explorer shows, in one small value that a line of text can hold."""

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
UNCOPYABLE = PRESETS[3]  # lists the cases for which a certificate has said so
Projection = Literal["pca", "tsne", "local"]
PROJECTIONS: dict[Projection, str] = {
    "pca": "all items: PCA",
    "tsne": "all items: t-SNE",
    "local": "this history's neighbourhood: PCA",
}

Code = Annotated[int, pydantic.Field(ge=0)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Setting(Config):
    """What was done to one model.

    Attributes:
        head: the name of the head, of which partitions may have been switched; "" as trained.
        temperature: T of p ∝ exp(log p / T).
        toward: how far f_V is moved to the mean embedding of the history's items: 0 not, 1 all the way.
        axes: moves of f_V along the item embeddings' first three principal axes, in lengths of f_V.
        scale: what the moved f_V is multiplied by.
        best: f_V is first put where it best copies the history uniformly.
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
        search: letters of a user's id or of an item's title.
        sort: the column of the table of cases.
        descending: the largest first.
    """

    preset: Preset = "all"
    search: str = ""
    sort: str = "case"
    descending: bool = False


class Pin(Config):
    """A prediction kept to compare others with: what it was made from.

    Attributes:
        history: item codes, oldest first.
        settings: one a model.
    """

    history: tuple[Code, ...]
    settings: tuple[Setting, ...]


class ExplorerState(Config):
    """What an explorer shows; every view renders it, every control makes a new one.

    Attributes:
        data: the log, the models' or the files' name, to tell what the state was of.
        models: the models' names.
        case: a place in the table of all cases.
        history: the edited history, item codes, oldest first; None is the case's own.
        settings: what was done to each model.
        pinned: a prediction to compare with, of the same case.
        selection: item codes.
        query: which cases are listed.
        projection: of the map, a key of `PROJECTIONS`.
        space: whose item embeddings the map shows, a place in `models`.
        colour: bars are coloured by the items' kind, or by the partition that scored them last.
        k: how many items of each prediction are shown.
    """

    data: str = ""
    models: tuple[str, ...]
    case: Code = 0
    history: tuple[Code, ...] | None = None
    settings: tuple[Setting, ...]
    pinned: Pin | None = None
    selection: tuple[Code, ...] = ()
    query: Query = Query()
    projection: Projection = "pca"
    space: Code = 0
    colour: Literal["kind", "partition"] = "kind"
    k: int = pydantic.Field(10, ge=1, le=50)

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.settings) != len(self.models):
            raise ValueError(f"there must be a setting for each of the {len(self.models)} models")
        if self.pinned and len(self.pinned.settings) != len(self.models):
            raise ValueError(f"the pin must have a setting for each of the {len(self.models)} models")
        if self.space >= len(self.models):
            raise ValueError(f"space must be the place of one of the {len(self.models)} models, from 0")
        return self

    def patched(self, patch: dict[str, Any]) -> Self:
        """Return the state with some attributes changed; another case starts with its own history, nothing pinned."""
        changes = {"history": None, "pinned": None} | patch if patch.get("case", self.case) != self.case else patch
        return self.but(**changes)

    def to_json(self) -> str:
        """Return the state as a line of JSON, which `from_json` reads."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: it is no JSON, or not of a state.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"The explorer's state is no JSON ({error}); paste the whole text that was saved."
            ) from None
        if not isinstance(values, dict):
            raise ConfigError("The explorer's state must be a JSON object; paste the whole text that was saved.")
        state = cls(**values)
        try:
            state.to_json()
        except ValueError:
            raise ConfigError("The explorer's state holds halves of characters, which are no text.") from None
        return state
