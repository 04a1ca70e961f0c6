"""The explorer under random edits from several pages at once, for an hour: is each answer its act's, is memory flat?

    python -m tests.endurance.explorer [MINUTES] [PAGES]

Voilà serves two models with random weights, and each page has a kernel of its own. After each edit the page must show,
once the kernel has answered, the history that the edit makes and the probability of copying that Python computes, and
no error. Each minute a row tells the number of edits so far, the slowest answer, and the memory of all kernels, of
Voilà and of the browser. Ends with 1 if an answer was wrong, or if memory grew by more than 10% in the second half.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
from playwright.sync_api import Page

from benchmarks.explorer_latency import BUTTON, CHIP, CODE, LOGS, SLIDER, untrained
from cprlab.probes import Snapshot, copy_probability
from tests.browser import open_browser, open_page
from tests.jupyter import voila

LOG = LOGS[0]
GROWTH = 1.1
ANSWERED = """() => document.querySelector('.cx-grid').ariaBusy !== 'true'
    && !document.querySelector('.cx-models [aria-busy=true]')"""
SHOWN = """() => ({
    history: [...document.querySelectorAll('.cx-chips .cx-chip')].map((chip) => Number(chip.dataset.code)),
    copied: [...document.querySelectorAll('.cx-models .cx-gauge')].map((one) => Number(one.ariaValueNow)),
    alert: document.querySelector('.cx-alert').hidden ? '' : document.querySelector('.cx-alert').textContent,
})"""
ROW = "document.querySelectorAll('.cx-cases tbody tr')[{}].click()"
RESET = "[...document.querySelectorAll('.cx-states button')].filter((one) => one.textContent === 'Reset the state')"


class Visitor:
    """A page, and what it must show: the history after each of its acts."""

    def __init__(self, page: Page, models: list, rng: np.random.Generator):
        self.page, self.models, self.rng = page, models, rng
        self.slowest = 0.0
        self.act(ROW.format(0))
        self.history = self.shown["history"]

    def act(self, script: str) -> None:
        begin = time.monotonic()
        self.page.evaluate("(act) => eval(act)", script)
        self.page.wait_for_function(ANSWERED, timeout=60_000)
        self.slowest = max(self.slowest, time.monotonic() - begin)
        self.shown = self.page.evaluate(SHOWN)
        assert not self.shown["alert"], self.shown["alert"]

    def edit(self) -> None:
        """Act at random; raise an AssertionError if what is shown is not what the act makes."""
        kind = self.rng.choice(["remove", "undo", "case", "slide"], p=[0.5, 0.2, 0.1, 0.2])
        if kind == "case" or len(self.history) < 3:
            self.act(ROW.format(self.rng.integers(40)))
            self.history = self.shown["history"]
        elif kind == "slide":
            self.act(SLIDER.format("toward", round(self.rng.uniform(-1, 2), 3), "change"))
            self.act(f"{RESET}[0].click()")
        else:
            place = int(self.rng.integers(len(self.history)))
            self.act(CHIP.format(place + 1))
            removed = self.history[:place] + self.history[place + 1 :]
            assert self.shown["history"] == removed, (self.shown, removed)
            if kind == "undo":
                self.act(BUTTON.format("Undo"))
            else:
                self.history = removed
        assert self.shown["history"] == self.history, (self.shown, self.history)
        for model, shown in zip(self.models, self.shown["copied"], strict=True):
            snapshot = Snapshot.from_recommender(model, [np.array(self.history)], [0])
            copied = 100 * copy_probability(snapshot).item()
            assert abs(copied - shown) < 0.06, (copied, shown)  # the page rounds to one decimal


def memory(server: psutil.Process) -> dict[str, float]:
    """Return the resident memory of all processes that this one has started, in MiB by kind."""
    sizes = {"kernels": 0.0, "Voilà": 0.0, "browser": 0.0}
    for process in server.children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            kind = "kernels" if "ipykernel" in line else "browser" if "hrom" in line else "Voilà"
            sizes[kind] += process.memory_info().rss / 2**20
        except psutil.Error:  # it has ended
            continue
    return sizes


def main(minutes: int = 60, pages: int = 10) -> None:
    """Let `pages` visitors edit in turns, and print a row each minute."""
    models = [model.recommender for model in untrained(LOG).shown.models]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(CODE.format(log=LOG))]
    rows: list[dict[str, float]] = []
    edits = 0
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "explorer.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebook)
        with voila(notebook) as address, open_browser() as browser:
            visitors = []
            for seed in range(pages):
                page, complaints = open_page(browser).__enter__()
                page.goto(address, timeout=600_000)
                page.wait_for_selector(".cprlab-explorer .cx-grid:not([hidden])", timeout=600_000)
                visitors.append((Visitor(page, models, np.random.default_rng(seed)), complaints))
            print("| minute | edits | slowest answer, s | kernels, MiB | Voilà | browser |\n|" + " --- |" * 6)
            begin = time.monotonic()
            while len(rows) < minutes:
                for visitor, complaints in visitors:
                    visitor.edit()
                    edits += 1
                    assert not complaints, complaints
                if time.monotonic() - begin >= 60 * (len(rows) + 1):
                    rows.append(memory(psutil.Process()))
                    slowest = max(visitor.slowest for visitor, _ in visitors)
                    sizes = " | ".join(f"{size:,.0f}" for size in rows[-1].values())
                    print(f"| {len(rows)} | {edits:,} | {slowest:.1f} | {sizes} |", flush=True)
    grown = [kind for kind in rows[-1] if rows[-1][kind] > GROWTH * rows[len(rows) // 2][kind]]
    if grown:
        sys.exit(f"The memory of {' and '.join(grown)} grew by more than 10% in the second half.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
