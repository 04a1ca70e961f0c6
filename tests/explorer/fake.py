"""The explorer's front end on a page without a kernel: a model object that records what is sent, and made messages."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

from cprlab.explorer import frontend
from cprlab.explorer.payload import POST
from cprlab.models import PARTS

HOSTILE = [
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>',
    "🎬🏳️‍🌈 emoji 👩‍👩‍👧‍👦 title",
    "‮שלום עולם مرحبا",
    "W" * 10_000,
    "a\x00b\x1b &amp; \"quoted\" 'title'",
]
STATIC = Path(frontend.__file__).parent / "static"
MODULES = "http://localhost/static"  # where `serve_modules` answers
MODELS = ["SASRec", "GRU4Rec", "MF", "a foreign model"]
DARK = """<style>:root {--jp-layout-color1: #111; --jp-layout-color2: #2a2a2a; --jp-border-color2: #555;
--jp-content-font-color1: #f0f0f0; --jp-content-font-color2: #b8b8b8;
--jp-brand-color1: #64b5f6} body {background: #111}</style>"""
MODEL = """
window.sent = []; window.handlers = [];
window.model = {
    send: (content) => sent.push(structuredClone(content)),
    on: (name, handler) => handlers.push(handler),
    off: (name, handler) => (handlers = handlers.filter((other) => other !== handler)),
};
window.emit = (content, buffers = []) => [...handlers].forEach((handler) => handler(content, buffers));
window.acts = () => sent.filter((content) => content.type === "act");
"""


def base(titles: list[str], models: int = 2) -> dict:
    parts = {"C": True, "P": False, "R": [100], "B": False, "F": False, "Mi": True}
    words = [{"key": part.letter, "label": part.label, "sentence": part.sentence} for part in PARTS]
    options = {**parts, "merges": ["replace", "add", "half"]}
    options["rerankMerges"] = ["replace", "add"]
    trained = "Softmax + CPR:100 + Mi"
    return {
        "type": "base",
        "titles": titles,
        "counts": [1] * len(titles),
        "cases": 40,
        "models": [
            {"letter": letter, "name": name, "encodes": True, "trained": trained, "options": options, "stateless": "",
             "ordered": ""}
            for letter, name in zip("ABCD", MODELS[:models], strict=False)
        ],
        "kinds": {
            "other": ["#BBBBBB", "circle"], "history": ["#0072B2", "circle"], "interfering": ["#E69F00", "triangle-up"],
            "target": ["#D55E00", "star"], "hidden state": ["#000000", "x"], "new": ["#BBBBBB", "circle"],
        },
        "parts": [*words, POST],
        "remedies": [["F", "the history's items gain"]],
        "edits": ["remove the last item", "reverse the order"], "few": 20,
        "observed": 0.397, "presets": ["all", "repeats", "new items"],
        "uncopyable": "new items",
        "projections": [["local", "neighbourhood: PCA"], ["pca", "all items: PCA"], ["tsne", "all items: t-SNE"]],
    }  # fmt: skip


def setting() -> dict:
    return {"head": "", "temperature": 1, "toward": 0, "axes": [0, 0, 0], "scale": 1, "best": False}


def pin(models: int = 2) -> dict:
    return {"history": [0, 1, 2], "settings": [setting()] * models}


def state(models: int = 2, **changes) -> dict:
    query = {"preset": "all", "search": "", "items": [], "sort": "case", "descending": False, "page": 0}
    plain = {
        "data": "ml-1m", "models": MODELS[:models], "case": 7, "history": None, "settings": [setting()] * models,
        "pinned": None, "kept": [], "selection": [], "query": query, "edit": "", "projection": "pca", "space": 0,
        "lines": False, "levels": True, "shaded": False, "colour": "kind", "k": 10,
    }  # fmt: skip
    return {**plain, **changes}


def view(answers: int = 0, history: tuple[int, ...] = (0, 1, 2, 3, 4), models: int = 2, **changes) -> dict:
    """A view; `changes` that are keys of the state go there."""
    present = state(models)
    present.update({key: changes.pop(key) for key in list(changes) if key in present})
    pinned = present["pinned"] is not None
    top = [
        {
            "item": item, "place": item + 1, "p": 0.21 / (item + 1), "kind": kind,
            "partition": ("V", "C", "R:100")[item % 3],
            "moved": (None, 0, 3, -2)[item % 4] if pinned else None,
            "was": 0.15 / (item + 1) if pinned and item % 4 else None,
        }
        for item, kind in zip(range(10), ["history"] * 5 + ["new", "target"] + ["new"] * 3, strict=True)
    ]  # fmt: skip
    prediction = {
        "rank": 7,
        "copy": 0.52,
        "target": 0.03,
        "top": top,
        "settled": "",
        "repeat": False,
        "lost": [0.65, None],
    }
    prediction["given"] = "gives these 5 different items 52.0% and has the next item, which is new, at rank 7."
    prediction["pinned"] = {"rank": 9, "copy": 0.31, "target": 0.02} if pinned else None
    head = {
        "C": True,
        "P": False,
        "R": [100],
        "B": False,
        "F": False,
        "Mi": True,
        "post": False,
        "name": "Softmax + CPR:100 + Mi",
    }
    return {
        "type": "view", "id": answers, "state": present, "undo": False, "redo": False, "error": "", "notice": "Case 7.",
        "case": {"user": "u7", "target": 6, "edited": False, "note": ""},
        "history": list(history), "predictions": [prediction] * models,
        "heads": [{**head, "context_merge": "replace", "rerank_merge": "replace"}] * models,
        "selected": [0.031, 0.052, 0.01, 0.2][:models],
        "kept": [[{"rank": 7, "copy": 0.52, "target": 0.03}] * models for _ in present["kept"]],
        **changes,
    }  # fmt: skip


def stories(models: int = 2) -> dict:
    plain = {"history": None, "settings": [setting()] * models, "pinned": None}
    told = [
        {"label": f"Story {case}", "text": f"Look at case {case}. Here it is.", "set": {"case": case, **plain}}
        for case in (3, 4)
    ]
    return {"type": "stories", "stories": told}


def marks() -> dict:
    found = [{"item": i, "kind": "history", "label": "label", "x": i, "y": i * i % 5} for i in range(5)]
    return {
        "type": "marks",
        "marks": found,
        "lines": [{"kind": "history", "points": [[0, 0], [1, 1]]}],
        "levels": {"gradient": [0.5, 0.25], "share": 0.4},
        "note": "",
    }


def scores(models: int = 2) -> tuple[dict, list[list[float]]]:
    """The message, and the log-probabilities of 1,000 items, of which the first are the history and the next item."""
    values = [-3 - 0.01 * place for place in range(1000)]
    kinds = ["history"] * 5 + ["interfering", "target"]
    found = [
        {"item": item, "kind": kind, "score": values[item], "alone": values[item] - 2, "rank": item + 1}
        for item, kind in enumerate(kinds)
    ]
    return {"type": "scores", "models": [{"marks": found, "constant": 5.5}] * models}, [values] * models


def cases(rows: int = 50, titles: list[str] | None = None, found: int = 1234, start: int = 0) -> dict:
    columns = [
        ("case", "int"),
        ("user", "text"),
        ("next item", "text"),
        ("items", "int"),
        ("repeat", "flag"),
        ("copy", "percent"),
    ]
    shown = range(start, start + rows)
    table = [[i, f"u{i}", (titles or ["item"])[i % len(titles or [1])], 12, i % 2 == 0, 0.31] for i in shown]
    described = [{"key": key, "label": key, "format": form, "meaning": f"the {key}"} for key, form in columns]
    note = "copy is the probability of the history's items."
    counts = {"total": 1234, "found": found, "start": start, "size": 50}
    return {"type": "cases", "columns": described, "rows": table, "note": note, **counts}


def cohort(edit: str = "", models: int = 2, **changes) -> dict:
    cell = {"value": 0.12, "after": 0.10 if edit else None, "change": -0.02 if edit else None}
    cell |= {"low": -0.03 if edit else 0.11, "high": -0.01 if edit else 0.13}
    counts = {"cases": 1234, "users": 800, "changed": 900 if edit else 0, "left_out": 3 if edit else 0}
    cells = [[cell] * models] * 3 + [[None] * models]
    return {"type": "cohort", "edit": edit, "moved": False, "cells": cells} | counts | changes


def verdict(answers: int = 0, title: str = "Alien", history: tuple[int, ...] = (0, 1, 2, 3, 4), note: str = "") -> dict:
    taken = [
        {"item": 3, "title": title, "takes": 0.125, "rank": 4},
        {"item": 5, "title": "Up", "takes": 0.00001, "rank": 1234},
    ]
    possible = "No single state in reach gives them more than 60.0% in the trained model's proportions."
    model = {"possible": possible, "least": [0.51, 0.1], "can": ["no", "yes"]}
    return {
        "type": "verdict", "id": answers, "case": 7, "history": list(history), "note": note, "models": [model, model],
        "interfering": [{"model": "SASRec", "items": taken}, {"model": "GRU4Rec", "items": taken[1:]}],
    }  # fmt: skip


def titles(first: Sequence[str] = ()) -> list[str]:
    return [
        *first,
        *(f"Film {place}, a title of the usual length ({1950 + place % 70})" for place in range(len(first), 1000)),
    ]


def serve_modules(page: Page) -> None:
    """Let a page import each file of the front end as it is, from `MODULES`."""
    page.route(
        f"{MODULES}/*.js",
        lambda route: route.fulfill(
            path=STATIC / Path(route.request.url).name,
            headers={"Content-Type": "text/javascript", "Access-Control-Allow-Origin": "*"},
        ),
    )


def open_explorer(page: Page, folder: Path, width: int = 1280, head: str = "", module: str = "") -> None:
    """Render the widget, of the joined script or of a module's address; it waits for its messages."""
    module = module or f"data:text/javascript;base64,{b64encode(frontend.script().encode()).decode()}"
    html = f"""<!doctype html><meta charset="utf-8"><title>explorer</title>{head}<style>{frontend.style()}</style>
<body style="margin:0"><div id="place"></div><script>{MODEL}</script></body>"""
    (folder / "page.html").write_text(html, encoding="utf-8")
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto((folder / "page.html").as_uri())
    page.evaluate("(module) => import(module).then((module) => { window.explorer = module.default ?? module })", module)
    page.evaluate("() => { window.dispose = explorer.render({model, el: document.getElementById('place')}) }")
    page.wait_for_selector(".cprlab-explorer")


def emit(page: Page, *messages: dict) -> None:
    """Send messages to the page, and wait until it has drawn them: the bars at once, the rest after a frame."""
    for message in messages:
        page.evaluate("(message) => emit(message)", message)
    for _ in range(3):  # a busy machine may be idle between two views
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestIdleCallback(drawn)))")


def acts(page: Page) -> list[dict]:
    return page.evaluate("acts()")


def answer(page: Page, **changes) -> None:
    """Answer the latest act with a view."""
    emit(page, view(acts(page)[-1]["id"], **changes))
