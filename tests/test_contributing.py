"""CONTRIBUTING.md is true: one data set, metric, head part, probe and notebook, added to a copy as its table says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = re.search(r"\| to add a .*?\n\n", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[0]

# By what is added: the file of the table, the text before which it goes ("" is the end), and what goes there.
ADDED = {
    "data set": [
        (
            "cprlab/catalogue/data_sets.py",
            '    DataSet(\n        "complete-journey",',
            '    DataSet("tiny", None, layout=Layout(Table("tiny.csv", ("user_id", "item_id", "timestamp"), ","))),\n',
        )
    ],
    "metric": [
        (
            "cprlab/evaluation/metrics.py",
            '        Metric("log-loss"',
            '        _in_list("NDCG", lambda rank: 1 / np.log2(1 + rank), k=20),\n',
        )
    ],
    "head part": [
        (
            "cprlab/models/partitions.py",
            "",
            '''

@dataclass(frozen=True)
class Latest:
    """L: one learned number is added to the logit of the item read last."""

    merge: Merge = "add"
    name: str = "L"
    reads: tuple[Facet, ...] = (Facet("L", width=1, shared=True, learned=True, start=(2.0,)),)

    def score(self, z: torch.Tensor, facets: Facets, outputs: Embeddings, context: Context) -> Scored:
        """See `Partition`."""
        last = context.distinct == context.items.gather(1, context.at).unsqueeze(2)
        return context.distinct, facets["L"] * last
''',
        ),
        ("cprlab/models/parts.py", "from cprlab.models.partitions", "from cprlab.models.partitions import Latest\n"),
        ("cprlab/models/parts.py", "    inputs: bool = False", "    latest: bool = False\n"),
        (
            "cprlab/models/parts.py",
            '    Part(\n        "Mi",',
            '    Part("L", "latest", "latest bias", "the latest item gains", make=lambda head, suffix: [Latest()]),\n',
        ),
        ("docs/method.md", "", "\nL adds b to the logit of the item read last.\n"),
    ],
    "probe": [
        (
            "cprlab/probes/lengths.py",
            "",
            "def mean_length(snapshot):\n    return sum(map(len, snapshot.histories)) / len(snapshot)\n",
        ),
        ("cprlab/probes/__init__.py", "from cprlab.probes.snapshot", "from cprlab.probes.lengths import mean_length\n"),
        ("docs/probes.md", "", "\n`mean_length` is the mean length of the histories.\n"),
    ],
}
# Printed as JSON by a Python that imports the copy.
USED = """
import json
import numpy as np, pandas as pd, torch
from cprlab.catalogue import list_catalogue
from cprlab.data import InteractionLog, Sequences
from cprlab.evaluation import SUMMARY, evaluate, means, stacked
from cprlab.models import GRU4RecConfig, Recommender, ablated, parse_head
from cprlab.probes import Snapshot, mean_length

columns = {"user": np.repeat(range(30), 8), "item": np.arange(240) * 7 % 40, "time": np.tile(range(8), 30)}
sequences = Sequences.from_log(InteractionLog.from_frame(pd.DataFrame(columns)))
torch.manual_seed(0)
model = Recommender(GRU4RecConfig(), parse_head("Softmax + L"), sequences.n_items).double()
gain = model.log_probs([[3, 5, 7]])[0] - ablated(model, parse_head("Softmax")).log_probs([[3, 5, 7]])[0]
print(json.dumps({
    "data set": list_catalogue().index.tolist(),
    "metric": means(stacked({"L": evaluate(model, sequences)}), SUMMARY)["metric"].unique().tolist(),
    "head part": [str(parse_head("softmax + C + L + Mi")), (gain - gain[0]).round(9).tolist()],
    "probe": mean_length(Snapshot.from_sequences(model, sequences)),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory, slow):
    """What cprlab says of the additions."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("cprlab", "docs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, before, added in (change for changes in ADDED.values() for change in changes):
        file = copy / path
        text = file.read_text() if file.exists() else ""
        assert before in text, f"{path} no longer has {before!r}"
        place = text.index(before) if before else len(text)
        file.write_text(text[:place] + added + text[place:])
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", USED], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_data_set_is_listed(told):
    assert "tiny" in told["data set"]


def test_a_metric_is_in_the_tables(told):
    assert {"NDCG@10", "NDCG@20"} <= set(told["metric"])


def test_a_head_part_has_a_name_and_scores(told):
    """Of three items read the last one gains the two nats that the part starts with, and no other."""
    name, gain = told["head part"]
    assert name == "Softmax + C + L + Mi"
    assert gain == [2.0 if item == 7 else 0.0 for item in range(40)]


def test_a_probe_is_exported(told):
    assert told["probe"] == 7  # all of eight items but the last


def test_a_notebook_is_found_by_its_place():
    """All notebooks are tested and listed in the README."""
    names = {path.name for path in (ROOT / "notebooks").rglob("*.ipynb")}
    assert names == set(re.findall(r"\(notebooks/(?:\w+/)?([\w.]+\.ipynb)\)", (ROOT / "README.md").read_text()))


def test_the_table_names_each_addition_and_files_that_exist():
    rows = [line for line in TABLE.splitlines()[2:] if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows] == [*ADDED, "notebook"]
    for path in re.findall(r"`([\w/]+(?:/|\.py|\.md))`", TABLE):
        assert (ROOT / path).exists(), path
    for kind, changes in ADDED.items():
        (row,) = [row for row in rows if row.startswith(f"| {kind} |")]
        for path, _, _ in changes:
            assert f"`{path}`" in row or f"`{Path(path).parent}/`" in row, f"{kind}: {path} is not in the table"
