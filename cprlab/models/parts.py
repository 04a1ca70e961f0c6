"""The table of parts that a partitioned softmax can have in addition to its vocabulary.

Names, errors, ablation, the explorer and its page read this table. A new part needs a partition, a row and fields here,
and an equation in docs/method.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError
from cprlab.models.partitions import ContextPartition, Frequency, Partition, Pointer, Reranker, Shift


@dataclass(frozen=True)
class Part:
    """A part of a head.

    Attributes:
        letter: its letter in a head's name.
        field: field of `SoftmaxConfig` that says whether the head has it.
        label: its name in words.
        sentence: what it does.
        options: fields of `SoftmaxConfig` that apply only if the head has the part.
        weights: options that decide which weights exist, so that a trained head cannot change them.
        joined: whether it is written in one word with C, P and R, as in CPR:100.
        early: whether its partitions come before those of other parts, so that they see only the vocabulary's logits.
        limit: option with the number of vocabulary facets that have the part; empty if all have it.
        make: function of a head's settings and a suffix of facet names that returns its partitions; None if the part
            changes only what is read.
    """

    letter: str
    field: str
    label: str
    sentence: str
    options: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    joined: bool = False
    early: bool = False
    limit: str = ""
    make: "Callable[[SoftmaxConfig, str], list[Partition]] | None" = None


# In the order of names; partitions are applied in this order too, except early ones, which come first.
PARTS = (
    Part(
        "C",
        "context",
        "context partition",
        "the items of the history get logits from a hidden state of their own",
        options=("context_merge", "context_facets"),
        joined=True,
        limit="context_facets",
        make=lambda head, suffix: [ContextPartition(f"C{suffix}", head.context_merge)],
    ),
    Part(
        "P",
        "pointer",
        "pointer partition",
        "the items of the history also gain a product with a local embedding of each occurrence",
        options=("context_norm",),
        joined=True,
        limit="context_facets",
        make=lambda head, suffix: [Pointer(head.context_norm)],
    ),
    Part(
        "R",
        "rerank",
        "reranker partition",
        "the k most likely items so far get logits from a hidden state of their own, for each k, the largest first",
        options=("rerank_merge", "rerank_facets"),
        joined=True,
        early=True,
        limit="rerank_facets",
        make=lambda head, suffix: [Reranker(k, f"R{k}{suffix}", head.rerank_merge) for k in head.rerank[::-1]],
    ),
    Part(
        "B",
        "shift",
        "history's bias",
        "one learned number is added to the logits of the history's items",
        make=lambda head, suffix: [Shift()],
    ),
    Part(
        "F",
        "frequency",
        "frequency and recency",
        "the items of the history gain by how often and how recently they were consumed",
        options=("coefficients",),
        weights=("coefficients",),
        make=lambda head, suffix: [Frequency(head.coefficients == "linear")],
    ),
    Part(
        "Mi",
        "inputs",
        "multiple input hidden states",
        "the head reads several hidden states of the encoder instead of one",
        options=("window", "depth"),
        weights=("window", "depth"),
    ),
)

SEVERAL = ("mixture", "context_facets", "rerank_facets")  # options of a head with several vocabulary facets (MoS)


class BaseHeadConfig(Config):
    """Base class of all heads' settings.

    Attributes:
        post: whether the items of the history get probability 0 at inference.
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
        """Whether its scores are log-probabilities; False for a head that only ranks."""
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


class SoftmaxConfig(BaseHeadConfig):
    """Settings of a partitioned softmax: its parts (Chang et al., WSDM 2024, section 3), and what it reads.

    Options that do not apply to the head are refused.

    Attributes:
        facets: K, number of vocabulary facets; more than one make a mixture of softmaxes (MoS).
        mixture: how the K facets become one distribution: "max_logits", the elementwise maximum of their logits in one
            softmax; or K softmaxes with weights from the input ("dynamic"), learned ("static"), or equal ("uniform").
        context: C, the items of the history get logits from a separate hidden state.
        pointer: P, these items also gain a product with a local embedding of each occurrence; needs C.
        rerank: R, for each k the top k items get logits from a separate hidden state; largest k first.
        shift: B, one learned number is added to the logits of the history's items.
        frequency: F, the history's items gain by how often and how recently they were consumed.
        inputs: Mi, the head reads several hidden states of the encoder instead of one.
        context_merge: how C changes an item's logit so far: replace it, add to it, or halve it and add.
        context_norm: an item's pointer logit is the mean over its occurrences (True) or the sum (False).
        context_facets: number of the K facets, from the first, with C; None for all.
        rerank_merge: how R changes an item's logit so far.
        rerank_facets: number of the K facets, from the first, with R; None for all.
        coefficients: coefficients of F: learned and the same for all inputs, or linear in what the head reads.
        window: Mi reads the positions t, t − 1, …, t − window.
        depth: Mi reads the top `depth` layers, at most all.
        projection_bias: whether the linear maps to the facets have a bias.
        tied: whether output embeddings are the input embeddings.
        similarity: score by the dot product of hidden state and item embedding, or by their cosine times a learned
            number (Gupta et al., NISER, 2019; Hou et al., CORE, SIGIR 2022), so that an embedding's length has no
            effect.
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
    similarity: Literal["dot", "cosine"] = "dot"

    @pydantic.field_validator("rerank")
    @classmethod
    def _in_order(cls, rerank: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(rerank))

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.pointer and not self.context:
            raise ValueError("a pointer partition (P) adds to the context partition (C); use CP")
        if self.shift and self.frequency:
            raise ValueError("frequency and recency (F) includes a bias of the history (B); use F alone")
        if any(k < 1 for k in self.rerank) or len(set(self.rerank)) < len(self.rerank):
            raise ValueError("every k of a reranker partition must be at least 1, and none may be given twice")
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
        """Return the options of the parts that the head does not have, by the part in words."""
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


NAMED = ("kind", "facets", "mixture", "post", *(part.field for part in PARTS))  # part of the name itself
OPTIONS = tuple(field for field in SoftmaxConfig.model_fields if field not in NAMED)  # in brackets, if not default
