"""The bench of recipes: each change is what it says, and the table of docs/accuracy.md is made of its rows."""

import json

import numpy as np
import pytest
import torch

from benchmarks.against_recbole import ROOT
from benchmarks.recipes import Recipe, build, read_recipe, table, train
from benchmarks.tables import filled
from cprlab.data import Sequences
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from tests.conftest import random_log

SEQUENCES = Sequences.from_log(random_log(users=20, items=30), max_len=10)


def test_the_table_of_the_page_is_made_of_the_rows():
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert f"<!-- recipes -->\n\n{table(ROOT / 'results' / 'recipes.jsonl')}\n\nMade by `" in page


def test_a_cell_is_the_mean_over_seeds(tmp_path):
    scores = {"validation raw": 0.5, "test raw": 0.25, "test post": 0.3, "best_epoch": 4}
    rows = [
        {"asked": {"data": "a", "encoder": "GRU4Rec", "recipe": "norm", "seed": seed}} | scores | {"test raw": value}
        for seed, value in enumerate((0.25, 0.35))
    ]
    (tmp_path / "rows").write_text("\n".join(map(json.dumps, rows)))
    page = filled("before\n<!-- recipes -->\nold\n<!-- end -->\nafter", "recipes", table(tmp_path / "rows"))
    assert page.startswith("before\n<!-- recipes -->\n")
    assert page.endswith("<!-- end -->\nafter")
    assert "old" not in page
    assert "| GRU4Rec | norm | 0.5000; 0.3000, 0.3000; 4; 2 |" in page


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        ("GRU4Rec", "hidden=7 norm root init=0.5 rate=1e-3"),
        ("SASRec", "postnorm plain inner=8 heads=1 activation=relu warmup=3 falling decay=0.1 fixed averaging=0"),
    ],
)
def test_every_change_trains(encoder, text):
    found = train(read_recipe(text), encoder, "Softmax", SEQUENCES, seed=1, epochs=2, patience=5)
    assert found["epochs"] == 2
    assert np.isfinite([found["test raw"], found["validation post"], found["test log-loss"]]).all()


@pytest.mark.parametrize("config", [GRU4RecConfig(), SASRecConfig()])
def test_without_a_change_the_model_is_the_one_that_cprlab_builds(config):
    items, at, scores = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[3]]), []
    for recipe in (None, Recipe(), Recipe(root=True)):
        torch.manual_seed(0)
        if recipe is None:
            recommender = Recommender(config, parse_head("Softmax"), 30, max_len=10)
        else:
            recommender = build(recipe, config.name, "Softmax", SEQUENCES)
        scores.append(recommender.eval().score(items, at))
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
