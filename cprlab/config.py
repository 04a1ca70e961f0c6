"""The base class of all configurations: frozen and typed; an invalid value gives one sentence."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

import pydantic

from cprlab.errors import ConfigError, suggestion


def names_in(value: Any) -> Any:
    """Split a text into names at semicolons; return any other value unchanged."""
    return tuple(name.strip() for name in value.split(";") if name.strip()) if isinstance(value, str) else value


SEVERAL = pydantic.BeforeValidator(names_in)
# Names as a text separated by semicolons, or as a list; serialised as a text, for papermill and JSON.
Names = Annotated[tuple[str, ...], SEVERAL, pydantic.PlainSerializer("; ".join)]


class Config(pydantic.BaseModel):
    """A frozen set of named, typed values.

    Raises:
        ConfigError: a name is unknown, or a value is missing or not possible; the message names the field.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise ConfigError(_sentence(type(self), error)) from None

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Self:
        """Take the values of variables with the names of the fields, such as a notebook's `globals()`."""
        return cls(**{name: variables[name] for name in cls.model_fields if name in variables})

    def but(self, **changes: Any) -> Self:
        """Return a copy with some values changed; it is checked like a new one."""
        return type(self)(**(dict(self) | changes))


def _sentence(config: type[Config], error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"Unknown setting {name!r}: {suggestion(name, config.model_fields)}"
    if first["type"] == "missing":
        return f"The setting {name!r} is missing; give it a value."
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        choices = re.split(", | or ", first["ctx"]["expected"].replace("'", ""))
        return f"Unknown {first['loc'][0]} {first['input']!r}: {suggestion(first['input'], choices)}"
    if first["type"] == "union_tag_invalid":
        choices = first["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"Unknown {name} {first['ctx']['tag']!r}: {suggestion(first['ctx']['tag'], choices)}"
    reason = first["msg"].removeprefix("Value error, ")
    if not name:
        return f"{config.__name__}: {reason}."
    return f"The setting {name!r} cannot be {_shown(first['input'])}: {reason[0].lower()}{reason[1:]}."


def _shown(value: Any) -> str:
    """Return a number or text as written, and only the type of anything else, which may be of any size."""
    small = value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 1000)
    return repr(value) if small else f"a value of type {type(value).__name__}"
