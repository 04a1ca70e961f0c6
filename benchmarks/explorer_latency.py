"""Measure the time from a click in the explorer to the repainted bars, in the browser.

    PYTHONPATH=. python benchmarks/explorer_latency.py --page docs/latency.md

Two GRU4Rec models with CPR heads over 2,242 and 13,343 items, in an offline page, in JupyterLab and in Voilà, in the
machine's Chromium, without a GPU. The time is from the event to the end of the frame in which the changed bars are laid
out and painted. The weights are random: only the verdict, which comes later, depends on them.
"""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import nbformat
import numpy as np
import pandas as pd
import torch
import typer

from benchmarks.tables import fill, stamp
from cprlab.explorer import App, Explorer, offline
from cprlab.loading import load_sequences
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import HeldOut, Snapshot, copy_probability
from cprlab.subjects import Subject
from tests.browser import open_page
from tests.jupyter import jupyterlab, run_all, voila

LOGS = "complete-journey-types", "complete-journey"
CASES = 2_000
SHIPPED = 50  # cases in the offline page
ROOT = Path(__file__).parents[1]
CODE = f"""import sys

sys.path.insert(0, {str(ROOT)!r})
from benchmarks.explorer_latency import untrained

untrained({{log!r}})"""
PAUSE = 0.2, 2.0  # seconds between two actions, while slow work continues
PATIENCE = 600_000  # ms
# From an event on the page to the frame in which the bars it changes are on the screen.
MEASURE = """async (act) => {
    const bars = document.querySelector('.cx-models');
    const grid = document.querySelector('.cx-grid');
    while (grid.ariaBusy === 'true') await new Promise((go) => setTimeout(go, 5));
    const begin = performance.now();
    const painted = new Promise((done, fail) => {
        const observer = new MutationObserver(() => {
            observer.disconnect();
            const frame = new MessageChannel(); // its task comes when the frame has been laid out and painted
            frame.port1.onmessage = () => done(performance.now() - begin);
            requestAnimationFrame(() => frame.port2.postMessage(null));
        });
        observer.observe(bars, {subtree: true, attributes: true, childList: true, characterData: true});
        setTimeout(() => fail(new Error('the bars did not change')), 20000);
    });
    eval(act);
    return painted;
}"""
CHIP = "document.querySelector('.cx-chips li:nth-child({}) .cx-remove').click()"
SLIDER = """{{ const slider = [...document.querySelectorAll('.cx-slider')].find((one) => one.offsetParent
    && one.textContent.startsWith('{}')).querySelector('[type=range]');
    slider.value = {}; slider.dispatchEvent(new Event('{}', {{bubbles: true}})); }}"""
BOX = """[...document.querySelectorAll('.cx-states [role=tabpanel]:not([hidden]) [type=checkbox]')]
    .find((one) => one.ariaLabel?.startsWith('{}: ')).click()"""
BUTTON = "[...document.querySelectorAll('.cprlab-explorer button')].find((one) => one.textContent === '{}').click()"


def untrained(log: str) -> App:
    """Return an explorer of two models of a log, with random weights."""
    torch.manual_seed(0)
    sequences = load_sequences(log)
    held_out = HeldOut.of_log(sequences)
    histories, targets = held_out.histories[:CASES], held_out.targets[:CASES]
    subjects = []
    for head in ("Softmax + CPR:100 + Mi", "Softmax + CPR:20,100,500 + Mi"):
        model = Recommender(GRU4RecConfig(), parse_head(head), sequences.n_items, max_len=sequences.max_len).eval()
        snapshot = Snapshot.from_recommender(
            model, histories, targets, item_ids=held_out.item_ids, titles=held_out.titles
        )
        subjects.append(Subject(head, snapshot, copy_probability(snapshot), True, model))
    return App(Explorer(subjects, data=log))


def actions(times: int, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yield the actions as (kind, JavaScript), all kinds in turns."""
    for turn in range(times):
        row = 1 + 7 * turn % 44
        yield "choose a case", f"document.querySelectorAll('.cx-cases tbody tr')[{row}].click()"
        yield "remove an item", CHIP.format(1 + turn % 3)
        yield "undo", BUTTON.format("Undo")
        yield "drag a slider", SLIDER.format("toward", round(rng.uniform(-1, 2), 3), "input")
        yield "let a slider go", SLIDER.format("norm", round(rng.uniform(0.5, 2), 3), "change")
        for part in ("C", "R"):
            yield f"switch {part} off", BOX.format(part)
            yield f"switch {part} on", BOX.format(part)


def main(
    page: Annotated[Path | None, typer.Option(help="Markdown page whose tables are replaced.")] = None,
    times: Annotated[int, typer.Option(help="Number of times that each action is done.")] = 20,
) -> None:
    """Use the explorer in an offline page, in JupyterLab and in Voilà, and print tables."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for log in LOGS:
            shown = untrained(log).shown
            items = f"{len(shown.titles):,}"
            html = Path(folder) / f"{log}.html"
            html.write_text(offline.page(shown, SHIPPED), encoding="utf-8")
            notebook = Path(folder) / log / "notebooks" / "latency.ipynb"
            notebook.parent.mkdir(parents=True)
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            cells = [nbformat.v4.new_code_cell(CODE.format(log=log))]
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebook)
            for place in ("offline page", "JupyterLab", "Voilà"):
                measured += [(place, items, *row) for row in drive(place, html, notebook, times)]
    frame = pd.DataFrame(measured, columns=["in", "items", "action", "ms"])
    load = f"load {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors"
    about = (
        f"Milliseconds; {platform.machine()}, {load}, Python {platform.python_version()}, torch {torch.__version__}."
    )
    tables = {
        "latency": f"{summary(frame, ['in', 'items'])}\n\n{about}",
        "by action": summary(frame, ["in", "items", "action"]),
    }
    for name, text in tables.items():
        print(text, end="\n\n")
        if page:
            fill(page, name, text, stamp("PYTHONPATH=. python benchmarks/explorer_latency.py --page docs/latency.md"))


def summary(frame: pd.DataFrame, by: list[str]) -> str:
    """Return the median and the 95th percentile of each group, as a Markdown table."""
    groups = frame.groupby(by, sort=False)["ms"]
    table = groups.quantile([0.5, 0.95]).unstack().round(1).set_axis(["median", "95th percentile"], axis=1)
    rows = table.assign(n=groups.size()).reset_index()
    lines = [rows.columns, ["---"] * len(rows.columns), *rows.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def drive(place: str, html: Path, notebook: Path, times: int) -> list[tuple[str, float]]:
    """Return the times of all actions in a place, as (kind, milliseconds)."""
    rows = []
    with ExitStack() as stack:
        address = html.as_uri()
        if place != "offline page":
            served = jupyterlab(notebook.parent.parent) if place == "JupyterLab" else voila(notebook)
            address = stack.enter_context(served).format(notebook.name)
        page, _ = stack.enter_context(open_page())
        page.goto(address, timeout=PATIENCE)
        if place == "JupyterLab":
            run_all(page)
        page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=PATIENCE)
        page.wait_for_timeout(5_000)
        rng = np.random.default_rng(0)
        for name, act in actions(times, rng):
            rows.append((name, page.evaluate(MEASURE, act)))
            page.wait_for_timeout(1000 * rng.uniform(*PAUSE))
            assert page.locator(".cx-alert").is_hidden(), (name, page.locator(".cx-alert").inner_text())
    return rows


if __name__ == "__main__":
    typer.run(main)
