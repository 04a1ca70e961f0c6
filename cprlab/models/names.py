"""The paper's names of heads, read and written: `Softmax + CPR:20,100 + Mi`."""

import re
from typing import Annotated, Any, Literal, Self, get_args

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError, suggestion
from cprlab.models.parts import PARTS, Part

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

SEVERAL = ("mixture", "context_facets", "rerank_facets")  # options of a head with several vocabulary facets (MoS)


class _HeadConfig(Config):
    """What heads of all kinds have in common.

    Attributes:
        post: the items of the history get probability 0 at inference.
    """

    post: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the table that the head has."""
        return ()

    def switched(self, **changes: Any) -> Self:
        """Return a copy with some values changed, and without the options of parts that it has no longer.

        Raises:
            ConfigError: as for a new one.
        """
        return self.but(**changes)

    @property
    def probabilities(self) -> bool:
        """Whether its scores are log-probabilities; those of an ordering are not."""
        return True

    def check_items(self, n_items: int) -> None:
        """Refuse a reranker that would hold more items than there are.

        Raises:
            ConfigError: a k is above `n_items`.
        """

    def fitted(self, n_items: int) -> Self:
        """Return the head with those of its k that there are items for; with a tenth of the items if there is none."""
        return self

    def _changed(self, options: Any) -> list[str]:
        fields = type(self).model_fields
        return [name for name in fields if name in options and getattr(self, name) != fields[name].default]


class SoftmaxConfig(_HeadConfig):
    """A partitioned softmax: which parts it has (Chang et al., WSDM 2024, section 3), and what it reads.

    An option that its head has no use for is refused.

    Attributes:
        facets: K, vocabulary facets; more than one make a mixture of softmaxes (MoS).
        mixture: how the K facets become one distribution: the elementwise maximum of their logits in one softmax, or K
            softmaxes weighted by the input, by learned weights, or alike.
        context: C, the items of the history get logits of their own.
        pointer: P, these logits also see a local embedding of each occurrence; needs C.
        rerank: R, for each k the top k items get logits of their own; largest k first.
        shift: B, one learned number is added to the logits of the history's items.
        frequency: F, these gain by how often and how lately they were consumed.
        inputs: Mi, the head reads several hidden states of the encoder instead of one.
        context_merge: what C does with an item's logit so far: replace it, add to it, or halve it and add.
        context_norm: an item's pointer logit is the mean over its occurrences; off: the sum.
        context_facets: how many of the K facets, from the first, have C; all when None.
        rerank_merge: what R does with an item's logit so far.
        rerank_facets: how many of the K facets, from the first, have R; all when None.
        coefficients: those of F are learned, the same for all inputs, or linear in what the head reads.
        window: Mi reads the positions t, t − 1, …, t − window.
        depth: Mi reads the top `depth` layers, or as many as there are.
        projection_bias: the linear maps to the facets have a bias.
        tied: output embeddings are the input embeddings.
    """

    kind: Literal["Softmax"] = "Softmax"
    facets: int = pydantic.Field(1, ge=1, le=100)
    mixture: Literal["max_logits", "dynamic", "static", "uniform"] = "max_logits"
    context: bool = False
    pointer: bool = False
    rerank: tuple[int, ...] = ()
    shift: bool = False
    frequency: bool = False
    inputs: bool = False
    context_merge: Literal["replace", "add", "half"] = "replace"
    context_norm: bool = True
    context_facets: int | None = pydantic.Field(None, ge=1)
    rerank_merge: Literal["replace", "add"] = "replace"
    rerank_facets: int | None = pydantic.Field(None, ge=1)
    coefficients: Literal["learned", "linear"] = "learned"
    window: int = pydantic.Field(2, ge=0, le=1000)
    depth: int = pydantic.Field(2, ge=1, le=1000)
    projection_bias: bool = True
    tied: bool = True

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.pointer and not self.context:
            raise ValueError("a pointer partition (P) adds to the context partition (C); ask for CP")
        if self.shift and self.frequency:
            raise ValueError("frequency and recency (F) has a bias of the history (B) in it; ask for F alone")
        if any(k < 1 for k in self.rerank) or len(set(self.rerank)) < len(self.rerank):
            raise ValueError("every k of a reranker partition must be at least 1, and none given twice")
        object.__setattr__(self, "rerank", tuple(sorted(self.rerank)))
        for name, options in self._missing().items():
            if changed := self._changed(options):
                raise ValueError(f"{changed[0]} is an option of {name}, which this head does not have")
        for option in ("context_facets", "rerank_facets"):
            if (getattr(self, option) or 0) > self.facets:
                raise ValueError(f"{option} must not be above the number of facets, {self.facets}")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the table that the head has."""
        return tuple(part for part in PARTS if getattr(self, part.field))

    def switched(self, **changes: Any) -> Self:
        """Return a copy with some values changed, and without the options of parts that it has no longer.

        Raises:
            ConfigError: as for a new one.
        """
        other, fields = self.model_copy(update=changes), type(self).model_fields
        lost = {option: fields[option].default for options in other._missing().values() for option in options}
        return self.but(**(changes | lost))

    def _missing(self) -> dict[str, tuple[str, ...]]:
        """Return the options of each part that the head does not have, by the part in words."""
        missing = {f"the {part.label} ({part.letter})": part.options for part in PARTS if not getattr(self, part.field)}
        return missing if self.facets > 1 else missing | {"several facets (MoS)": SEVERAL}

    def __str__(self) -> str:
        first = f"MoS:{self.facets}" if self.facets > 1 else "Softmax"
        first += f" {self.mixture}" * bool(self._changed(["mixture"]))
        joined = "".join(part.letter for part in self.parts if part.joined)
        sizes = ":" + ",".join(map(str, self.rerank)) if self.rerank else ""
        alone = [part.letter for part in self.parts if not part.joined]
        name = " + ".join([first] + [joined + sizes] * bool(joined) + alone)
        options = ["post"] * self.post + [f"{option}={getattr(self, option)}" for option in self._changed(OPTIONS)]
        return name + f" ({', '.join(options)})" * bool(options)

    def check_items(self, n_items: int) -> None:
        """Refuse a reranker that would hold more items than there are.

        Raises:
            ConfigError: a k is above `n_items`.
        """
        if self.rerank and self.rerank[-1] > n_items:
            raise ConfigError(
                f"{self}: the reranker's k = {self.rerank[-1]} must not be above the number of items, {n_items}; "
                f"choose a smaller one, such as {self.fitted(n_items)}."
            )

    def fitted(self, n_items: int) -> Self:
        """Return the head with those of its k that there are items for; with a tenth of the items if there is none."""
        held = tuple(k for k in self.rerank if k <= n_items)
        return self if held == self.rerank else self.but(rerank=held or (max(1, n_items // 10),))


def _refuse_foreign(kind: type[_HeadConfig], values: Any) -> Any:
    """Return the values; raise a ValueError if one is of a field that a head without parts does not have."""
    if foreign := [name for name in values if name not in kind.model_fields]:
        name = values.get("kind", kind.model_fields["kind"].default)
        raise ValueError(f"{name} is a head of its own and has no {foreign[0]}")
    return values


class RepeatNetConfig(_HeadConfig):
    """RepeatNet's two decoders instead of a softmax (Ren et al., AAAI 2019), with output embeddings twice as wide."""

    kind: Literal["RepeatNet"] = "RepeatNet"
    tied: Literal[False] = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_parts(cls, values: Any) -> Any:
        return _refuse_foreign(cls, values)

    def __str__(self) -> str:
        return "RepeatNet" + " (post)" * self.post


class CountingConfig(_HeadConfig):
    """A rival that counts and trains nothing (see `models.counting`).

    Attributes:
        kind: Popular, Recent and Frequent order the items; Markov and Counts give probabilities.
    """

    kind: CountingName = "Counts"
    tied: Literal[True] = True

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_parts(cls, values: Any) -> Any:
        return _refuse_foreign(cls, values)

    @property
    def probabilities(self) -> bool:
        """Whether its scores are log-probabilities."""
        return self.kind in ("Markov", "Counts")

    def __str__(self) -> str:
        return self.kind + " (post)" * self.post


HeadConfig = Annotated[SoftmaxConfig | RepeatNetConfig | CountingConfig, pydantic.Field(discriminator="kind")]
COUNTING: tuple[str, ...] = get_args(CountingName)
# Heads that have no parts, by name.
ALONE: dict[str, type[RepeatNetConfig | CountingConfig]] = {
    "RepeatNet": RepeatNetConfig,
    **dict.fromkeys(COUNTING, CountingConfig),
}

NAMED = ("kind", "facets", "mixture", "post", *(part.field for part in PARTS))  # stand in the name itself
OPTIONS = tuple(field for field in SoftmaxConfig.model_fields if field not in NAMED)  # in brackets, if not the default


def parse_head(name: str, **options: Any) -> HeadConfig:
    """Read a head's name; `str()` of what comes back is the name again.

    Args:
        name: parts joined by `+`; options may follow in brackets, as in `Softmax + CP (context_merge=add)`.
        options: further fields of `HeadConfig`, by keyword.

    Raises:
        ConfigError: the name or an option is not understood; the sentence says which part, and what is possible.
    """
    if not isinstance(name, str):
        raise ConfigError(f"A head is asked for by its name, such as 'Softmax + CPR:100'; {name!r} is not one.")
    whole = re.fullmatch(r"(?P<parts>[^()]*)(\((?P<options>[^()]*)\)\s*)?", name)
    if not whole:
        raise ConfigError(f"Unknown head {name!r}: {suggestion(name, EXAMPLES)}")
    first, *parts = [part.strip() for part in whole["parts"].split("+")]
    settings = _read_first(name, first)
    for part in parts:
        new = _read_part(name, part)
        if settings.keys() & new.keys():
            raise ConfigError(
                f"The head {name!r} has a part too many, {part!r}; write C, P and R as one, as in CPR:100; each once."
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
        raise ConfigError(f"The head {name!r} cannot be: {str(error).removeprefix(f'{kind.__name__}: ')}") from None


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
