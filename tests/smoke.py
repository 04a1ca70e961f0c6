"""Notebooks that train: a copy that takes seconds, and the numbers that it must find again, in `tests/notebooks`.

What a visitor sees of these notebooks took minutes of training. `python -m tests.smoke NAME…` runs the copies and keeps
their numbers again; without names, all.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from cprlab.pages.run import execute

KEPT = Path(__file__).parent / "notebooks"
IGNORED = "nbval-ignore-output"
FIGURE = "application/vnd.plotly.v1+json"
SMOKE: dict[str, dict[str, Any]] = {
    "06_ablation": {
        "size": "smoke",
        "users": 60,
        "epochs": 1,
        "data": "complete-journey-types",
        "encoder": "GRU4Rec",
        "device": "cpu",
    },
    "08_your_model": {"size": "smoke", "device": "cpu", "cases": 60},
    "diversity": {"size": "smoke", "epochs": 2},
    "dose": {"size": "smoke", "epochs": 2},
    "feedback": {"size": "smoke"},
    "planted": {"users": 300, "epochs": 1, "cases": 10},
    "reference": {"size": "smoke", "epochs": 2},
}


def texts(notebook: NotebookNode) -> dict[str, str]:
    """Return the texts and tables of an executed notebook by cell and output, but for those that may differ."""
    return {
        f"cell {place}.{number}": output.data.get("text/markdown") or output.data["text/plain"]
        for place, cell in enumerate(notebook.cells)
        if IGNORED not in cell.metadata.get("tags", [])
        for number, output in enumerate(cell.get("outputs", []))
        if {"text/markdown", "text/plain"} & set(output.get("data", {})) and FIGURE not in output.data
    }


def main() -> None:
    """Run copies, and keep their numbers."""
    for name in sys.argv[1:] or SMOKE:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found = texts(execute(f"{name}.ipynb", SMOKE[name]))
        (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, len(found), flush=True)


if __name__ == "__main__":
    main()
