"""The table of parts: what a partitioned softmax can have beside its vocabulary, each part told once.

Names, errors, ablation, the explorer and its page read it. A new part is a partition, a row here, and an equation in
docs/method.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cprlab.models.partitions import ContextPartition, Frequency, Partition, Pointer, Reranker, Shift


@dataclass(frozen=True)
class Part:
    """A part of a head.

    Attributes:
        letter: what it is called in a head's name.
        field: of `SoftmaxConfig`, which says whether the head has it.
        label: what it is called in words.
        sentence: what it does.
        options: fields of `SoftmaxConfig` that mean something only where the head has the part.
        weights: those of the options that say which weights there are, so that a trained head cannot change them.
        joined: it is written in one word with C, P and R, as in CPR:100; others stand alone.
        early: its partitions come before those of other parts, so that they see the vocabulary's logits alone.
        limit: the option that says how many of several vocabulary facets have the part; all where there is none.
        make: returns its partitions for a head, and for the ending of the names of its facets. None changes what is
            read and not what is scored.
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
    make: Callable[[Any, str], list[Partition]] | None = None


# In the order in which names have them, and in which partitions are applied but for the early ones.
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
        "the k likeliest items so far get logits from a hidden state of their own, for each k, the largest first",
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
        "the items of the history gain by how often and how lately they were consumed",
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
