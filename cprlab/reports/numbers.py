"""write_numbers: what a page shows, as JSON, with the settings and the versions that it came from."""

import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from cprlab.files import whole
from cprlab.reports.config import ReportConfig

VERSIONS = ("cprlab", "torch", "numpy", "scipy")


def write_numbers(name: str, config: ReportConfig, content: dict[str, object]) -> None:
    """Write `settings`, `versions` and `content` to the file `name` in `config.out`, if any; nan becomes null."""
    if not config.out:
        return
    about = {
        "settings": config.model_dump(exclude={"out"}),
        "versions": {name: metadata.version(name) for name in VERSIONS} | {"python": platform.python_version()},
    }
    with whole(Path(config.out) / name) as file:
        file.write_text(json.dumps(_plain(about | content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    """Return what JSON can hold: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
