"""Parse and print the paper's names of heads, such as `Softmax + CPR:20,100 + Mi`."""

import re
from typing import Annotated, Any, ClassVar, Literal, get_args

import pydantic

from cprlab.errors import ConfigError, suggestion
from cprlab.models.parts import OPTIONS, PARTS, BaseHeadConfig, SoftmaxConfig

EXAMPLES = (
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + CPR:100",
    "Softmax + CPR:20,100,500 + Mi",
    "Softmax + B",
    "Softmax + F",
    "Softmax + CPR:100 + F + Mi",
    "Softmax (post)",
    "MoS:3",
    "MoS:3 dynamic",
    "MoS:3 static",
    "MoS:3 uniform",
    "MoS:2 dynamic + CPR:100 + Mi",
    "RepeatNet",
    "Popular",
    "Recent",
    "Frequent",
    "Markov",
    "Counts",
)
CountingName = Literal["Popular", "Recent", "Frequent", "Markov", "Counts"]


class _AloneConfig(BaseHeadConfig):
    """A head without parts; its `kind` is its name."""

    kind: str

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_parts(cls, values: Any) -> Any:
        if foreign := [name for name in values if name not in cls.model_fields]:
            name = values.get("kind", cls.model_fields["kind"].default)
            raise ValueError(f"{name} is a head of its own and has no {foreign[0]}")
        return values

    def __str__(self) -> str:
        return self.kind + " (post)" * self.post


class RepeatNetConfig(_AloneConfig):
    """RepeatNet's two decoders instead of a softmax (Ren et al., AAAI 2019), with output embeddings twice as wide."""

    kind: Literal["RepeatNet"] = "RepeatNet"
    tied: ClassVar[bool] = False


class CountingConfig(_AloneConfig):
    """A baseline that counts and trains nothing (see `models.counting`).

    Attributes:
        kind: Popular, Recent and Frequent only rank; Markov and Counts give probabilities.
    """

    kind: CountingName = "Counts"
    tied: ClassVar[bool] = True

    @property
    def probabilities(self) -> bool:
        """Whether its scores are log-probabilities."""
        return self.kind in ("Markov", "Counts")


HeadConfig = Annotated[SoftmaxConfig | RepeatNetConfig | CountingConfig, pydantic.Field(discriminator="kind")]
COUNTING: tuple[str, ...] = get_args(CountingName)
# Heads that have no parts, by name.
ALONE: dict[str, type[RepeatNetConfig | CountingConfig]] = {
    "RepeatNet": RepeatNetConfig,
    **dict.fromkeys(COUNTING, CountingConfig),
}


def parse_head(name: str, **options: Any) -> HeadConfig:
    """Parse a head's name; `str()` of the result is the name again.

    Args:
        name: parts joined by `+`; options may follow in brackets, as in `Softmax + CP (context_merge=add)`.
        options: further fields of `HeadConfig`.

    Raises:
        ConfigError: the name or an option is unknown; the message names it and lists what is possible.
    """
    if not isinstance(name, str):
        raise ConfigError(f"A head must be a name, such as 'Softmax + CPR:100', not {name!r}.")
    whole = re.fullmatch(r"(?P<parts>[^()]*)(\((?P<options>[^()]*)\)\s*)?", name)
    if not whole:
        raise ConfigError(f"Unknown head {name!r}: {suggestion(name, EXAMPLES)}")
    first, *parts = [part.strip() for part in whole["parts"].split("+")]
    settings = _read_first(name, first)
    for part in parts:
        new = _read_part(name, part)
        if settings.keys() & new.keys():
            raise ConfigError(
                f"The head {name!r} has a part too many, {part!r}. Write each part once, and C, P and R as one word, "
                "as in CPR:100."
            )
        settings |= new
    for option in (whole["options"] or "").split(",") if whole["options"] is not None else ():
        key, equals, value = (piece.strip() for piece in option.partition("="))
        key = key.lower()  # as all names are
        if key in settings:
            raise ConfigError(f"The head {name!r} gives {key} twice; give each option once.")
        if key == "post" and not equals:
            settings["post"] = True
        elif key in OPTIONS and value:
            settings[key] = value
        else:
            hint = suggestion(key, ("post", *OPTIONS))
            raise ConfigError(f"Unknown option {option.strip()!r} of the head {name!r}: {hint}")
    kind = ALONE.get(settings.get("kind", ""), SoftmaxConfig)
    try:
        return kind(**(settings | options))
    except ConfigError as error:
        raise ConfigError(f"The head {name!r} is not valid: {str(error).removeprefix(f'{kind.__name__}: ')}") from None


def canonical(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return heads' names as `str()` of the heads writes them.

    Raises:
        ConfigError: one is not understood.
    """
    return tuple(str(parse_head(name)) for name in names)


def _read_first(name: str, first: str) -> dict[str, Any]:
    for alone in ALONE:
        if first.casefold() == alone.casefold():
            return {"kind": alone}
    match = re.fullmatch(r"(?i:softmax|mos:(?P<facets>\d+)(\s+(?P<mixture>\w+))?)", first)
    if not match or match["facets"] in ("0", "1"):
        raise ConfigError(f"Unknown head {name!r}: {suggestion(name, EXAMPLES)}")
    return {key: match[key] for key in ("facets", "mixture") if match[key]}


def _read_part(name: str, part: str) -> dict[str, Any]:
    for known in PARTS:
        if not known.joined and part.casefold() == known.letter.casefold():
            return {known.field: True}
    match = re.fullmatch(r"(?i:(?P<c>c?)(?P<p>p?)(?P<r>r:(?P<k>\d{1,18}(\s*,\s*\d{1,18})*))?)", part)
    if not match or not part:
        raise ConfigError(f"Unknown part {part!r} of the head {name!r}: {suggestion(name, EXAMPLES)}")
    sizes = tuple(int(k) for k in match["k"].split(",")) if match["k"] else ()
    return {"context": bool(match["c"]), "pointer": bool(match["p"]), "rerank": sizes}
