"""A recommender's description, with which `static/model.js` computes its predictions in a page, without Python."""

from dataclasses import asdict
from typing import Any

from cprlab.errors import ConfigError
from cprlab.models import Recommender
from cprlab.models.counting import Counting
from cprlab.models.encoders import GRU4Rec, SASRec
from cprlab.models.partitions import Partition

MOST_COUNTS = 100_000  # of a counting model: how many pairs of items one of which followed the other


def describe(recommender: Recommender) -> dict[str, Any]:
    """Return what `static/model.js` needs besides the weights, ready for JSON.

    Returns:
        `n_items`, `max_len`, the `weights`' shapes by name, the settings of `encoder` and `head`, and the head's
        `components` as they are applied, also those of `ablated`.

    Raises:
        ConfigError: the model has another encoder, or none, reads another library's padding, or has too many counts.
    """
    head, encoder = recommender.head, recommender.encoder
    if isinstance(head, Counting):
        return _counting(recommender, head)
    if type(recommender) is not Recommender or not isinstance(encoder, (GRU4Rec, SASRec)):
        raise ConfigError(f"A page can compute cprlab's GRU4Rec and SASRec, and this model, {head.config}, is neither.")
    components = [
        {"vocabulary": component.vocabulary, "partitions": list(map(_described, component.partitions))}
        for component in head.components
    ]
    return {
        "n_items": recommender.n_items,
        "max_len": recommender.max_len,
        "weights": {name: list(weight.shape) for name, weight in recommender.state_dict().items()},
        "encoder": encoder.config.model_dump(),
        "head": head.config.model_dump() | {"components": components},
    }


def _counting(recommender: Recommender, head: Counting) -> dict[str, Any]:
    if len(head.values) > MOST_COUNTS:
        raise ConfigError(f"{head.config} has {len(head.values):,} counts, and a page takes at most {MOST_COUNTS:,}.")
    return {
        "n_items": recommender.n_items,
        "max_len": recommender.max_len,
        "counts": [component.vocabulary for component in head.components],
        "ordered": not head.config.probabilities,
        "head": head.config.model_dump() | {"components": []},
    }


def _described(partition: Partition) -> dict[str, Any]:
    own: dict[str, Any] = asdict(partition)  # type: ignore[call-overload]
    facets = [asdict(facet) for facet in partition.reads]
    return own | {"kind": type(partition).__name__, "name": partition.name, "reads": facets}
