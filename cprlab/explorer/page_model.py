"""A recommender's description, with which `static/model.js` computes its predictions in a page, without Python."""

from dataclasses import asdict
from typing import Any

from cprlab.errors import ConfigError
from cprlab.models import Recommender
from cprlab.models.encoders import GRU4Rec, SASRec
from cprlab.models.partitions import Partition


def describe(recommender: Recommender) -> dict[str, Any]:
    """Return what `static/model.js` needs besides the weights, ready for JSON.

    Returns:
        `n_items`, `max_len`, the `weights`' shapes by name, the settings of `encoder` and `head`, and the head's
        `components` as they are applied, also those of `ablated`.

    Raises:
        ConfigError: the model has another encoder, or none, or reads another library's padding.
    """
    head, encoder = recommender.head, recommender.encoder
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


def _described(partition: Partition) -> dict[str, Any]:
    own: dict[str, Any] = asdict(partition)  # type: ignore[call-overload]
    facets = [asdict(facet) for facet in partition.reads]
    return own | {"kind": type(partition).__name__, "name": partition.name, "reads": facets}
