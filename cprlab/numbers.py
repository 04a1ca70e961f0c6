"""The content of a page as JSON and as Markdown, with text from data escaped."""

import html
import json
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from cprlab.data import Sequences
from cprlab.data.doubts import graded
from cprlab.files import whole
from cprlab.settings import PageConfig

MARKUP = re.compile(r"([\\`*_\[\]#|~$])")
VERSIONS = ("cprlab", "torch", "numpy", "scipy")


def write_numbers(name: str, config: PageConfig, content: Mapping[str, object]) -> None:
    """Write `settings`, `versions` and `content` to the file `name` in `config.out`, if it is set; nan becomes null."""
    if not config.out:
        return
    about = {
        "settings": config.model_dump(exclude={"out"}),
        "versions": {name: metadata.version(name) for name in VERSIONS} | {"python": platform.python_version()},
    }
    with whole(Path(config.out) / name) as file:
        file.write_text(json.dumps(plain({**about, **content}), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_metrics(summary: pd.DataFrame, config: PageConfig, sequences: Sequences) -> None:
    """Write rows of `evaluation.means`, with data and encoder, to `metrics.json` in `config.out`, if it is set."""
    if not config.out:
        return
    rows = summary.assign(data=Path(config.data).name, fingerprint=sequences.fingerprint, encoder=config.encoder)
    columns = ["data", "fingerprint", "encoder", "head", "ranking", "cases", "metric", "value", "low", "high", "n"]
    with whole(Path(config.out) / "metrics.json") as file:
        file.write_text(
            json.dumps(rows[columns].to_dict("records"), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def about_data(sequences: Sequences) -> str:
    """Return the name and fingerprint of the data, and the notes on the log, as Markdown."""
    changes = "which changes when users, items or their order do"
    about = f"{sequences.name} has the fingerprint {sequences.fingerprint}, {changes}."
    return "\n".join(f"- {as_text(line)}" for line in (about, *sequences.notes))


def doubts_first(*notes: tuple[str, ...]) -> str:
    """Return which notes on logs are doubts that change results, as Markdown for the top of a page; "" if none is."""
    found = graded(tuple(dict.fromkeys(chain(*notes))))["Changes results"]
    return "\n".join(["**In doubt, and changes results:**\n", *(f"- {as_text(one)}" for one in found)]) if found else ""


def as_text(words: str) -> str:
    """Return text, which may come from data, escaped as Markdown that shows it unchanged on one line."""
    return MARKUP.sub(r"\\\1", html.escape(" ".join(words.split()), quote=False))


def plain(value: object) -> object:
    """Return a value as JSON can represent it; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
