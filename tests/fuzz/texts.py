"""What people write or paste: the YAML file of a sweep, and the explorer's state."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cprlab.catalogue import BUILTIN
from cprlab.explorer import Explorer, ExplorerState, payload, tables
from cprlab.explorer.run import read_state
from cprlab.subjects import open_subject
from cprlab.sweeps.config import read_sweep
from tests.fuzz.damage import WORDS, as_json, changed, damaged, nested, pick
from tests.fuzz.judge import Case
from tests.fuzz.models import trained

ODD_YAML = (
    "a: &a [x, x]\nb: &b [*a, *a, *a]\ndata: [*b, *b, *b]",
    "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(12)),
    "name: &n x\nout: *n\nruns: *n",
    "settings: &s\n  learning_rate: *s",
    "<<: {name: y}",
    "name: !!python/object/apply:os.system ['true']",
    "name: !!timestamp 2001-99-99",
    "name: 2001-99-99",
    "name: !!int x",
    "name: !!float x",
    "name: !!binary '%%%'",
    "name: !!set {x, y}",
    "name: " + "9" * 5_000,
    "seeds: " + "9" * 5_000,
    "seeds: 1000000000",
    "settings: {d: [1, 2, 3], hidden: [1.0, 1, true]}",
    "settings: {d: [[1], {a: 1}]}",
    "settings: {epochs: " + str(list(range(1, 2_000))) + ", batch_size: " + str(list(range(1, 2_000))) + "}",
    "settings: {learning_rate: [.nan, .inf, -.inf, 1e400]}",
    "settings: {? [a, b] : 1}",
    "? {a: 1}\n: 2",
    "data: " + "[" * 3_000,
    "data: " + "{a: " * 3_000,
    "name: '" + "x" * 2_000_000 + "'",
    "head: [" + ", ".join(["Softmax + " + "C + " * 500] * 3) + "]",
    "head: ['MoS:1000000000']",
    "head: ['Softmax + CPR:" + "9" * 5_000 + "']",
    "--- a\n--- b",
    "%YAML 9.9\n--- {}",
    "\tname: x",
    "name: \x85\u2028",
    "- 1",
    "{}",
    "42",
    "~",
)


def grid(rng: np.random.Generator, folder: Path) -> Case:
    """A sweep's YAML file."""
    log, _, _ = trained()
    path = folder / "grid.yaml"
    values: dict[str, Any] = {
        "name": "grid",
        "data": str(log),
        "encoder": ["GRU4Rec", "MF"],
        "head": ["Softmax", "Softmax + C"],
        "settings": {"learning_rate": [0.01, 0.004], "d": 8},
        "seeds": 2,
        "size": "smoke",
        "notebooks": [],
        "out": str(folder / "out"),
    }
    for _ in range(int(rng.integers(0, 3))):
        values = changed(rng, values)
    if rng.random() < 0.05:
        values = {"name": "grid", "settings": {"d": nested(rng)}}
    if not isinstance(values, dict):
        values = {"name": values}
    if rng.random() < 0.5:
        data = as_json(values)  # is YAML
    else:
        data = yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
    if rng.random() < 0.25:
        data += b"\n" + pick(rng, ODD_YAML).encode() if rng.random() < 0.3 else b""
    if rng.random() < 0.2:
        data = pick(rng, ODD_YAML).encode()
    path.write_bytes(damaged(rng, data, text=True) if rng.random() < 0.3 else data)

    def read() -> dict[str, Any]:
        config = read_sweep(path)
        config.trials()
        return {"trials": len(config.trials())} | config.model_dump()

    def plain() -> dict[str, Any]:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        several = {name: _names(given[name]) for name in ("data", "encoder", "head", "notebooks") if name in given}
        settings = {name: _several(values) for name, values in given.get("settings", {}).items()}
        full: dict[str, Any] = {
            "data": ["complete-journey-types"],
            "size": "smoke",
            "encoder": ["GRU4Rec"],
            "head": ["Softmax", "Softmax + CPR:100 + Mi"],
            "seeds": 1,
            "users": 0,
            "epochs": 0,
            "split": "leave-one-out",
            "ties": "auto",
            "max_len": 0,
            **dict.fromkeys(("user", "item", "time", "title", "basket"), ""),
            "notebooks": [],
            "device": "auto",
            "runs": "runs",
            "out": "",
        }
        full |= given | several | {"settings": settings}
        full["data"] = [name if name in BUILTIN else str(Path(name).absolute()) for name in full["data"]]
        full["name"] = full["name"].decode() if isinstance(full["name"], bytes) else full["name"]
        full["runs"] = str(Path(full["runs"]).absolute())
        full |= {name: int(full[name]) for name in ("seeds", "users", "epochs")}
        full["head"] = [" ".join(name.split()) for name in full["head"]]
        parts = (full["data"], full["encoder"], full["head"], *settings.values())
        return {"trials": int(np.prod([*map(len, parts)])) * full["seeds"]} | full

    return Case(read, plain, ["sweep", str(path)])


def _names(value: Any) -> list:
    return [name.strip() for name in value.split(";") if name.strip()] if isinstance(value, str) else value


def _several(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def explorer_state(rng: np.random.Generator, folder: Path) -> Case:
    """A state as JSON, shown by an explorer of two models."""
    log, sequences, runs = trained()
    path = folder / "state.json"
    explorer = Explorer([open_subject(str(run), sequences, facet="V") for run in (runs[0], runs[2])], data="log.csv")
    setting = {"head": "", "temperature": 2.0, "toward": 0.5, "axes": [0.0, 1.0, 0.0], "scale": 1.5, "best": False}
    values: Any = {
        "data": "log.csv",
        "models": list(explorer.state.models),
        "case": 1,
        "history": [1, 2, 2],
        "settings": [setting, setting],
        "pinned": {"history": [3], "settings": [setting, setting]} if rng.random() < 0.5 else None,
        "selection": [0, 4],
        "query": {"preset": "all", "search": "", "sort": "case", "descending": True},
        "projection": "pca",
        "space": 0,
        "colour": "kind",
        "k": 5,
    }
    for _ in range(int(rng.integers(0, 3))):
        values = changed(rng, values)
    data = as_json(values)
    if rng.random() < 0.1:
        odd = (b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', b"9" * 5_000, b"", b"NaN", data + b"x", b"\0" * 9)
        data = pick(rng, odd)
    if rng.random() < 0.05:
        data = data.replace(b'"case"', b'"case": 3, "case"')
    if rng.random() < 0.1:
        data = data.replace(b'""', as_json(pick(rng, WORDS)))
    path.write_bytes(damaged(rng, data, text=True) if rng.random() < 0.25 else data)

    def read() -> dict[str, Any]:
        shown = explorer.at(ExplorerState.from_json(read_state(str(path))))
        for view in ("predictions", "states", "history", "cases", "map"):
            tables.table(shown, view)
        payload.view(shown)
        payload.cases(shown)
        return json.loads(shown.state.to_json())

    def plain() -> dict[str, Any]:
        given = json.loads(path.read_text(encoding="utf-8"))
        empty = {"data": "", "case": 0, "history": None, "pinned": None, "selection": [], "projection": "local"}
        new = {"kept": [], "edit": "", "lines": False, "levels": True, "shaded": False}
        full = empty | new | {"space": 0, "colour": "kind", "k": 10} | given
        plain = {"preset": "all", "search": "", "items": [], "sort": "case", "descending": False, "page": 0}
        full["query"] = plain | given.get("query", {})
        full["settings"] = [_setting(one) for one in given["settings"]]
        if full["pinned"]:
            full["pinned"] = full["pinned"] | {"settings": [_setting(one) for one in full["pinned"]["settings"]]}
        for name in ("history", "selection"):
            full[name] = full[name] and [float(code) if isinstance(code, str) else code for code in full[name]]
        return full

    return Case(read, plain, ["explore", "--state", str(path), *map(str, (runs[0], runs[2])), "--data", str(log)])


def _setting(given: dict) -> dict:
    known = {"head": "", "temperature": 1, "toward": 0, "axes": [0, 0, 0], "scale": 1, "best": False}
    return known | given
