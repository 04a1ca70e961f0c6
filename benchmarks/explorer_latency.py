"""Measure the time from a click in the explorer to the repainted bars, in the browser with a real kernel.

    PYTHONPATH=. python benchmarks/explorer_latency.py --table docs/latency.md

Two GRU4Rec models with CPR heads over all items of complete-journey (13,343), in JupyterLab and in Voilà, in the
machine's Chromium, without a GPU. The time is from the event to the end of the frame in which the changed bars are laid
out and painted. The weights are random: only the verdict, which comes later, depends on them.
"""

import json
import platform
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import numpy as np
import pandas as pd
import torch
import typer

from cprlab.files import whole
from tests.browser import open_page
from tests.jupyter import jupyterlab, run_all, voila

KERNEL = """
import torch

from cprlab.loading import load_sequences
from cprlab.evaluation import evaluate
from cprlab.explorer import App, Explorer
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import Snapshot
from cprlab.subjects import Subject

torch.manual_seed(0)
sequences = load_sequences("complete-journey")
users = sequences.windows("test").user
subjects = []
for head in ("Softmax + CPR:100 + Mi", "Softmax + CPR:20,100,500 + Mi"):
    model = Recommender(GRU4RecConfig(), parse_head(head), sequences.n_items, max_len=sequences.max_len)
    snapshot = Snapshot.from_sequences(model, sequences)
    cases = evaluate(model, sequences)
    subjects.append(Subject(head, snapshot, cases, True, model, users, sequences.user_ids[users]))
App(Explorer(subjects, data="complete-journey"))
"""
HEADING = """# Latency of the explorer: from a click to the painted bars

Made by `PYTHONPATH=. python benchmarks/explorer_latency.py --table docs/latency.md`: two GRU4Rec models with CPR heads,
all 13,343 items of complete-journey, Chromium without a GPU. Actions are 0.2 to 2 seconds apart; in between, the kernel
works on verdicts and certificates.
"""
PAUSE = 0.2, 2.0  # seconds between two actions, while slow work continues
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


def actions(times: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return the actions as (kind, JavaScript), all kinds in turns."""
    done = []
    for turn in range(times):
        done += [
            ("choose a case", f"document.querySelectorAll('.cx-cases tbody tr')[{rng.integers(1, 45)}].click()"),
            ("remove an item", CHIP.format(1 + turn % 5)),
            ("undo", BUTTON.format("Undo")),
            ("drag a slider", SLIDER.format("toward", round(rng.uniform(-1, 2), 3), "input")),
            ("let a slider go", SLIDER.format("norm", round(rng.uniform(0.5, 2), 3), "change")),
            ("switch C off", BOX.format("C")),
            ("switch C on", BOX.format("C")),
            ("switch R off", BOX.format("R")),
            ("switch R on", BOX.format("R")),
        ]
    return done


def main(
    table: Annotated[Path | None, typer.Option(help="File for the table, Markdown.")] = None,
    times: Annotated[int, typer.Option(help="Number of times that each action is done.")] = 20,
) -> None:
    """Run the explorer in JupyterLab and in Voilà, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "notebooks" / "latency.ipynb"
        notebook.parent.mkdir()
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        cells = [nbformat.v4.new_code_cell(KERNEL)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebook)
        measured = [row for lab in (True, False) for row in drive(notebook, lab, times)]
    frame = pd.DataFrame(measured, columns=["in", "action", "ms"])
    rows = pd.concat([frame, frame.assign(action="all")]).groupby(["in", "action"])["ms"]
    summary = rows.quantile([0.5, 0.95]).unstack().set_axis(["median", "95th percentile"], axis=1)
    summary = summary.assign(n=rows.size()).round(0).astype(int).reset_index()
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [summary.columns, ["---"] * 5, *summary.to_numpy()]]
    about = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
    text = "\n".join([HEADING, *lines, "", f"Milliseconds; {about}, torch {torch.__version__}.", ""])
    print(text)
    if table:
        with whole(table) as file:
            file.write_text(text, encoding="utf-8")


def drive(notebook: Path, lab: bool, times: int) -> list[tuple[str, str, float]]:
    """Return the times of all actions, as (place, kind, milliseconds)."""
    rows = []
    with jupyterlab(notebook.parent.parent) if lab else voila(notebook) as address, open_page() as (page, complaints):
        page.goto(address.format(notebook.name))
        if lab:
            run_all(page)
        page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=300_000)
        page.wait_for_timeout(3_000)
        rng = np.random.default_rng(0)
        for name, act in actions(times, rng):
            rows.append(("JupyterLab" if lab else "Voilà", name, page.evaluate(MEASURE, act)))
            page.wait_for_timeout(1000 * rng.uniform(*PAUSE))
            assert page.locator(".cx-alert").is_hidden(), (name, page.locator(".cx-alert").inner_text())
        assert complaints == [], json.dumps(complaints)
    return rows


if __name__ == "__main__":
    typer.run(main)
