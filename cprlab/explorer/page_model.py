"""Models for a page, whose `static/predict.js` computes their predictions without Python."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from cprlab.errors import ConfigError
from cprlab.explorer import payload
from cprlab.explorer.explorer import MERGES, Explorer
from cprlab.explorer.model import Model
from cprlab.models import PARTS, Recommender, SoftmaxConfig
from cprlab.models.counting import Counting
from cprlab.models.encoders import GRU4Rec, SASRec
from cprlab.models.partitions import Partition
from cprlab.models.parts import OPTIONS

LARGEST = 16_000_000  # numbers in all models together, which are sent as 64 MB
MOST_COUNTS = 100_000  # of a counting model: how many pairs of items one of which followed the other


def models(shown: Explorer) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message with the models, and the tensors of those that a page can compute; a note names the others.

    Of those it has `maxLen` alone. If there are too many weights, there are no models.
    """
    found, names, computed = [], [], []
    for place, model in enumerate(shown.models):
        try:
            found.append(described(shown, place))
            computed.append(model)
        except ConfigError:
            found.append({"maxLen": model.max_len})
            names.append(model.name)
    numbers = sum(weight.numel() for model in computed for weight in model.recommender.state_dict().values())
    message: dict[str, Any] = {"type": "models", "models": found, "grammar": grammar(), "note": ""}
    if numbers > LARGEST:
        note = f"Edits are shown when the kernel has answered: {numbers:,} weights are more than {LARGEST:,}."
        return message | {"models": [], "note": note}, []
    note = f"After an edit the kernel computes {', '.join(names)}." if names else ""
    return message | {"note": note}, [packed(model, {}) for model in computed]


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


def grammar() -> dict[str, Any]:
    """Return how heads are named and switched, for `static/heads.js`."""
    fields = SoftmaxConfig.model_fields
    parts = [
        {"letter": part.letter, "field": part.field, "joined": part.joined, "options": part.options}
        | {"off": fields[part.field].default}
        for part in PARTS
    ]
    return {"parts": parts, "defaults": {option: fields[option].default for option in OPTIONS}, "merges": MERGES}


def described(shown: Explorer, place: int) -> dict[str, Any]:
    """Return what `static/predict.js` needs of a model besides its tensors.

    Raises:
        ConfigError: as `describe`.
    """
    recommender = shown.models[place].recommender
    message, _ = payload.points(shown.at(shown.state.but(space=place, projection="pca")))
    return {"description": describe(recommender), "name": str(recommender.head.config), "note": message["note"]}


def packed(model: Model, more: dict[str, np.ndarray]) -> bytes:
    """Return a model's tensors for `static/predict.js`, and more of them, as a .safetensors file."""
    arrays = ({"axes": model.axes} if model.has_states else {}) | more
    if model.has_states and min(model.snapshot.item_embeddings.shape) >= 2:
        linear = model.plane.linear
        assert linear is not None
        arrays |= {"points": model.plane.points, "mean": linear.mean_, "plane": linear.components_}
    own = {f"page.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    weights = {name: weight.cpu().contiguous() for name, weight in model.recommender.state_dict().items()}
    return save(weights | own)
