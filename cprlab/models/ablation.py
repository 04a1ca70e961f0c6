"""ablated, extended: a trained recommender with fewer, other or more parts in its head, without training it again."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from cprlab.errors import ConfigError
from cprlab.models.heads import Head, PartitionedSoftmax
from cprlab.models.names import HeadConfig
from cprlab.models.partitions import Partition, Reranker
from cprlab.models.parts import SoftmaxConfig
from cprlab.models.recommender import Recommender, unallocated

# Options that decide which weights exist, or how they score.
FIXED = ("kind", "facets", "mixture", "tied", "similarity")


def ablated(recommender: Recommender, head: HeadConfig) -> Recommender:
    """Return the same model with another head, made from the weights of the trained head.

    Parts may be removed, (post) may be removed or added, and a reranker's k, a merge or the pointer's norm may change.
    Rerankers are matched in order of size; if fewer are asked for than were trained, those with the same k keep their
    weights and the others are matched in order. Without Mi, the maps read [h ; 0] instead of [h ; GELU(…)]. Maps
    without biases may get them, of 0. RepeatNet may only gain or lose (post).

    Args:
        recommender: the model. Its embeddings, encoder and linear maps are shared, not copied.
        head: the new head.

    Raises:
        ConfigError: the trained head lacks the weights, or a k is above the number of items.
    """
    return extended(recommender, head, {})


def extended(recommender: Recommender, head: HeadConfig, more: Mapping[str, nn.Linear | nn.Parameter]) -> Recommender:
    """Return the same model with another head, made from the weights of the trained head and others.

    Args:
        recommender: as for `ablated`.
        head: the new head.
        more: by the name of a facet that the trained head lacks, its map from what the head reads, or its numbers.

    Raises:
        ConfigError: as for `ablated`.
    """
    head.check_items(recommender.n_items)
    other = copy.copy(recommender)
    other._modules = recommender._modules | {"head": _head(recommender.head, head, more)}
    return other


def _head(trained: Head, config: HeadConfig, more: Mapping[str, nn.Linear | nn.Parameter]) -> Head:
    own = trained.config
    shared = [option for part in own.parts if part in config.parts for option in part.weights]
    kept = FIXED if getattr(config, "projection_bias", False) else (*FIXED, "projection_bias")
    for option in (*kept, *shared):
        if getattr(config, option, None) != getattr(own, option, None):
            raise ConfigError(
                f"{config} cannot be made from the trained head {own}: {option} decides which weights exist; "
                f"keep {option}={getattr(own, option)}."
            )
    if not (isinstance(trained, PartitionedSoftmax) and isinstance(config, SoftmaxConfig)):  # only (post) may differ
        head = copy.copy(trained)
        head.config = config
        return head
    own = trained.config
    with unallocated():  # its weights are never used
        head = PartitionedSoftmax(config, trained.width, trained.depth)
    pairs = _pairs(config.rerank, own.rerank)
    sources = {name: name for name in (*head.maps, *head.learned)}
    for component in head.components:
        for reranker in _rerankers(component.partitions):
            sources[reranker.facet] = reranker.facet.replace(str(reranker.k), str(pairs.get(reranker.k)), 1)
    weights = {**trained.maps, **trained.learned, **more}
    missing = [name for name, source in sources.items() if source not in weights]
    missing += ["Mi"] * (config.inputs and not own.inputs)
    if missing:
        there = [name for name in weights if name not in ("L", "mixture")] + ["Mi"] * own.inputs
        raise ConfigError(
            f"{config} needs {', '.join(missing)}, for which the trained head {own} has no weights. Possible are "
            f"{', '.join(there)} or fewer of these, with another k or merge, with or without (post)."
        )
    narrow = own.inputs and not config.inputs
    for name in head.learned:
        head.learned[name] = weights[name]
    for name in head.maps:
        layer = weights[sources[name]]
        assert isinstance(layer, nn.Linear)
        layer = _first_columns(layer, trained.width) if narrow else layer
        head.maps[name] = layer if layer.bias is not None or not config.projection_bias else _with_bias(layer)
    head.mix = trained.mix if config.inputs else None
    if head.cosine:
        head.log_scale = trained.log_scale
    if config.mixture == "static":
        head.weights = trained.weights
    head.training = trained.training
    _order(head, trained, pairs)
    return head


def _pairs(asked: tuple[int, ...], trained: tuple[int, ...]) -> dict[int, int]:
    """Return the trained k whose weights each requested k gets; empty if more are requested than were trained."""
    if len(asked) > len(trained):
        return {}
    kept = set(asked) & set(trained) if len(asked) < len(trained) else set()
    rest = ([k for k in sizes if k not in kept] for sizes in (asked, trained))
    return {k: k for k in kept} | dict(zip(*rest, strict=False))


def _rerankers(partitions: Sequence[Partition]) -> list[Reranker]:
    return [partition for partition in partitions if isinstance(partition, Reranker)]


def _order(head: Head, trained: Head, pairs: dict[int, int]) -> None:
    """Apply rerankers in the trained head's own order, if that is not the largest first (as in RecBole)."""
    for index, (new, old) in enumerate(zip(head.components, trained.components, strict=True)):
        sizes = [reranker.k for reranker in _rerankers(old.partitions)]
        if sizes != sorted(sizes, reverse=True):
            rerankers = _rerankers(new.partitions)
            ordered = sorted(rerankers, key=lambda reranker: sizes.index(pairs[reranker.k]))
            head.components[index] = replace(new, partitions=(*ordered, *new.partitions[len(rerankers) :]))


def _with_bias(layer: nn.Linear) -> nn.Linear:
    """Return the same linear map with a bias of 0; it shares the memory of the weights."""
    other = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
    other.weight = layer.weight
    other.bias = nn.Parameter(layer.weight.new_zeros(layer.out_features), requires_grad=layer.weight.requires_grad)
    return other


def _first_columns(layer: nn.Linear, d: int) -> nn.Linear:
    """Return a linear map that reads only the first d inputs and shares the memory of the weights."""
    with unallocated():
        narrow = nn.Linear(d, layer.out_features, bias=False)
    narrow.weight = nn.Parameter(layer.weight.detach()[:, :d], requires_grad=layer.weight.requires_grad)
    narrow.bias = layer.bias
    return narrow
