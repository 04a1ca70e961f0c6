"""The paper's names of heads, read and written: `Softmax + CPR:20,100 + Mi`."""

import re
from typing import Self

import pydantic

from cprlab.config import Config
from cprlab.errors import ConfigError, suggestion

EXAMPLES = (
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + CPR:100",
    "Softmax + CPR:100 + Mi",
)


class HeadConfig(Config):
    """Which partitions a head has (Chang et al., WSDM 2024, section 3), and what it reads.

    Attributes:
        context: C, the items of the history get logits of their own.
        pointer: P, these logits also see a local embedding of each occurrence; needs C.
        rerank: R, for each k the top k items get logits of their own; largest k first.
        inputs: Mi, the head reads several hidden states of the encoder instead of one.
    """

    context: bool = False
    pointer: bool = False
    rerank: tuple[int, ...] = ()
    inputs: bool = False

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.pointer and not self.context:
            raise ValueError("a pointer partition (P) adds to the context partition (C); ask for CP")
        if any(k < 1 for k in self.rerank) or len(set(self.rerank)) < len(self.rerank):
            raise ValueError("every k of a reranker partition must be at least 1, and none given twice")
        object.__setattr__(self, "rerank", tuple(sorted(self.rerank)))
        return self

    def __str__(self) -> str:
        letters = "C" * self.context + "P" * self.pointer + "R" * bool(self.rerank)
        sizes = ":" + ",".join(map(str, self.rerank)) if self.rerank else ""
        return " + ".join(["Softmax"] + [letters + sizes] * bool(letters) + ["Mi"] * self.inputs)

    def check_items(self, n_items: int) -> None:
        """Refuse a reranker that would hold every item there is.

        Raises:
            ConfigError: a k is not below `n_items`.
        """
        if self.rerank and self.rerank[-1] >= n_items:
            raise ConfigError(
                f"{self}: the reranker's k = {self.rerank[-1]} must be below the number of items, {n_items}; "
                f"choose a smaller one, such as {self.but(rerank=(max(1, n_items // 10),))}."
            )


def parse_head(name: str) -> HeadConfig:
    """Read a head's name; `str()` of what comes back is the name again.

    Raises:
        ConfigError: the name is not understood; the sentence says which part, and what is possible.
    """
    first, *parts = [part.strip() for part in name.split("+")]
    if first.casefold() != "softmax":
        raise ConfigError(f"Unknown head {name!r}: {suggestion(name, EXAMPLES)}")
    settings: dict = {}
    for part in parts:
        match = re.fullmatch(r"(?i:(?P<mi>mi)|(?P<c>c?)(?P<p>p?)(?P<r>r:(?P<k>\d+(\s*,\s*\d+)*))?)", part)
        if not match or not part:
            raise ConfigError(f"Unknown part {part!r} of the head {name!r}: {suggestion(name, EXAMPLES)}")
        if match["mi"]:
            new = {"inputs": True}
        else:
            sizes = tuple(int(k) for k in match["k"].split(",")) if match["k"] else ()
            new = {"context": bool(match["c"]), "pointer": bool(match["p"]), "rerank": sizes}
        if settings.keys() & new.keys():
            raise ConfigError(f"The head {name!r} has a part twice ({part!r}); give each once.")
        settings |= new
    try:
        return HeadConfig(**settings)
    except ConfigError as error:
        raise ConfigError(f"The head {name!r} cannot be: {str(error).removeprefix('HeadConfig: ')}") from None
