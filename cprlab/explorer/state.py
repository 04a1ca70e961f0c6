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
Projection = Literal["pca", "tsne", "local"]
PROJECTIONS: dict[Projection, str] = {
    "pca": "all items: PCA",
    "tsne": "all items: t-SNE",
    "local": "this history's neighbourhood: PCA",
}

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
        sort: column of the table of cases.
        descending: whether the largest come first.
    """

    preset: Preset = "all"
    search: str = ""
    sort: str = "case"
    descending: bool = False


class Pin(Config):
    """What a pinned prediction, kept for comparison, was made from.

    Attributes:
        history: item codes, oldest first.
        settings: one for each model.
    """

    history: tuple[Code, ...]
    settings: tuple[Setting, ...]


class ExplorerState(Config):
    """What an explorer shows; every view draws it, and every control makes a new one.

    Attributes:
        data: name of the log or file, for information.
        models: names of the models.
        case: index in the table of all cases.
        history: the edited history as item codes, oldest first; None for the case's own.
        settings: changes to each model.
        pinned: a prediction of the same case to compare with.
        selection: codes of the selected items.
        query: which cases are listed.
        projection: projection of the map, a key of `PROJECTIONS`.
        space: index in `models` of the model whose item embeddings the map shows.
        colour: whether bars are coloured by the items' kind, or by the partition that scored them last.
        k: number of items shown of each prediction.
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
            raise ValueError(f"space must be the index of one of the {len(self.models)} models, from 0")
        return self

    def patched(self, patch: dict[str, Any]) -> Self:
        """Return the state with some attributes changed; another case starts with its own history and no pin."""
        changes = {"history": None, "pinned": None} | patch if patch.get("case", self.case) != self.case else patch
        return self.but(**changes)

    def to_json(self) -> str:
        """Return the state as a line of JSON, for `from_json`."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the state of a text from `to_json`.

        Raises:
            ConfigError: the text is not JSON, or not a state.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"The explorer's state is not JSON ({error}); paste the whole text that was saved."
            ) from None
        if not isinstance(values, dict):
            raise ConfigError("The explorer's state must be a JSON object; paste the whole text that was saved.")
        try:
            state = cls(**values)
        except ConfigError as error:
            raise ConfigError(f"The explorer's state: {error}") from None
        try:
            state.to_json()
        except ValueError:
            raise ConfigError("The explorer's state contains halves of characters, which are not text.") from None
        return state
