"""The models and cases of an offline page, opened again in Python."""

import gzip
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load

from cprlab.models import Recommender, parse_head
from cprlab.models.encoders import CONFIGS
from cprlab.probes import Snapshot
from cprlab.subjects import Subject, of_recommender


def read_page(path: Path) -> list[Subject]:
    """Return the models of a page that `offline.page` wrote, with its cases, numbered from 0.

    The weights are those of the page, bit for bit. A case's items have its titles and no other ids, and the reach of a
    model is that of the page's cases alone. Only for pages of one's own: a damaged one raises any error.
    """
    text = path.read_text(encoding="utf-8")
    data = json.loads(part(text, "data"))
    return [_model(data, place, _file(part(text, f"weights-{place}"))) for place in range(len(data["models"]))]


def _model(data: dict[str, Any], place: int, file: bytes) -> Subject:
    name, model, cases = data["base"]["models"][place]["name"], data["models"][place], data["cases"]
    description = model["description"]
    weights = {name: tensor for name, tensor in load(file).items() if not name.startswith("page.")}
    encoder = CONFIGS[description["encoder"]["name"]](**description["encoder"])
    sizes = {"n_items": description["n_items"], "max_len": description["max_len"]}
    recommender = Recommender(encoder, parse_head(model["name"]), **sizes).to(next(iter(weights.values())).dtype)
    recommender.load_state_dict(weights)
    histories, targets = ([case[key] for case in cases] for key in ("history", "target"))
    snapshot = Snapshot.from_recommender(recommender, histories, targets, titles=data["base"]["titles"], facet="V")
    return of_recommender(name, recommender, snapshot, np.array([case["user"] for case in cases]))


def part(text: str, name: str) -> bytes:
    """Return a packed part of a page: "data", or "weights-0" and so on."""
    packed = text.partition(f'id="cprlab-{name}">')[2].partition("</script>")[0]
    return gzip.decompress(b64decode(packed))


def _file(parted: bytes) -> bytes:
    """Return the .safetensors file, of which the page has the first bytes of all groups of four first."""
    quads = len(parted) // 4 * 4
    together = np.frombuffer(parted[:quads], dtype=np.uint8).reshape(4, -1).T
    return together.tobytes() + parted[quads:]
