"""Compare the probabilities of RecBole's models, faithful and corrected, with those that RecBole computes.

PYTHONPATH=. python benchmarks/parity.py > docs/parity.md
"""

import json
from pathlib import Path

import numpy as np
import typer

from benchmarks.tables import stamp
from cprlab.adapters.recbole import Fidelity, from_state_dict
from cprlab.errors import ConfigError
from cprlab.studies.reference import probabilities

DATA = Path(__file__).parent.parent / "tests" / "adapters" / "data"
TABLES = {"reference_heads": "Full histories", "reference_padded": "Short histories, unusual settings"}
FIDELITIES: tuple[Fidelity, ...] = ("reference", "corrected")
HEADING = """# Parity with RecBole

{made}
The tables compare probabilities over all items, in float64.
*reference* is the largest absolute difference from what RecBole 1.2.1 computed. *corrected* is the largest difference
from it when RecBole's faults are fixed ([method.md](method.md) lists them). In the first table all histories are full;
in the second some are short."""


def table(file: Path) -> None:
    """Print a row for each case in a file of RecBole's probabilities."""
    print("| class | model | reference | corrected |\n| --- | --- | --- | --- |")
    with np.load(file) as read:
        arrays = dict(read)
    histories, close = arrays["item_seq"].tolist(), 0
    cases = json.loads(arrays["cases"].tobytes())
    for case in cases:
        prefix = f"{case['key']}/state/"
        state = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        cells = []
        for fidelity in FIDELITIES:
            try:
                recommender = from_state_dict(case["reference_class"], case["config"], state, fidelity)
                p = probabilities(recommender, histories)
                cells.append(np.abs(p - arrays[f"{case['key']}/prob"]).max())
            except ConfigError:
                cells.append(np.nan)
        close += bool(cells[0] < 1e-9)
        shown = ["refused" if np.isnan(cell) else f"{cell:.1e}" for cell in cells]
        print(f"| {case['reference_class']} | {case['name']} | {shown[0]} | {shown[1]} |")
    print(f"\n{close} of {len(cases)} within 1e-9.")


def main() -> None:
    """Print the page in Markdown."""
    print(HEADING.format(made=stamp("PYTHONPATH=. python benchmarks/parity.py > docs/parity.md")))
    for name, title in TABLES.items():
        print(f"\n## {title}\n")
        table(DATA / f"{name}.npz")


if __name__ == "__main__":
    typer.run(main)
