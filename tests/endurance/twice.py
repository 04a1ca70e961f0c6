"""Notebooks and the report of `make report`, run twice from nothing: are their numbers the same, digit by digit?

Each is run in two folders of its own, where everything is trained anew; of those that train for minutes, a copy that
takes seconds. Of a notebook all texts and tables are compared (not figures, nor what tells seconds), of the report
`metrics.json`, and of both the weights of all runs, bit for bit. Prints a table; ends with 1 if anything differs.
Without arguments: the report and all notebooks.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from cprlab.pages.run import execute, run_report
from cprlab.settings import ReportConfig
from tests.smoke import SMOKE, texts

ROOT = Path(__file__).parents[2]
REPORT = "report"  # of `make report`; the notebooks have numbers, or other names


def outputs(name: str) -> dict[str, str]:
    """Run a notebook here, or the report, and return what it says by place, and the digests of the runs' weights."""
    if name == REPORT:
        run_report(ReportConfig(epochs=3), "report")
        said = {"metrics.json": Path("report/metrics.json").read_text()}
    else:
        said = texts(execute(f"{name}.ipynb", SMOKE.get(name, {})))
    weights = sorted(Path("runs").rglob("model.safetensors"))
    return said | {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in weights}


def main() -> None:
    """Print a row for each of the names given."""
    numbered = sorted(path.stem for path in (ROOT / "notebooks").rglob("*.ipynb") if path.stem != "explorer")
    print("| what | compared | weights among them | the same |\n| --- | --- | --- | --- |")
    different = 0
    for name in sys.argv[1:] or numbered:
        twice = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                twice.append(outputs(name))
                os.chdir(ROOT)
        one, other = twice
        same = sum(other.get(place) == said for place, said in one.items())
        different += len(one.keys() | other.keys()) - same
        trained = sum(place.startswith("runs") for place in one)
        print(f"| {name} | {len(one)} | {trained} | {same} of {len(one.keys() | other.keys())} |", flush=True)
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
