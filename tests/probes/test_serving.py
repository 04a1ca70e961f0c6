"""The lines of docs/serving.md that add a retrofit to a service, against the retrofit and the model."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import Snapshot
from cprlab.probes.likelihood import PARTS
from cprlab.probes.retrofit import Retrofit, fit

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
(CODE,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "safetensors" in block]
N_ITEMS, D, MAX_LEN = 60, 6, 8


def served(found, folder, monkeypatch):
    """What the lines define, with an index that scores all items, and how long the lists were that it gave."""
    monkeypatch.chdir(folder)
    found.save("retrofit.safetensors")
    names, asked = {}, []

    def search(h, m):
        asked.append(m)
        return np.argsort(-(names["W"] @ h + names["bias"]))[:m]

    names["search"] = search
    exec(CODE, names)
    return names, asked


def test_they_are_twenty_lines_of_numpy_and_safetensors():
    assert sum(bool(line.strip()) for line in CODE.splitlines()) == 20
    imported = [node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported]
    assert names == ["numpy", "safetensors.numpy"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("biased", [False, True])
def test_they_rank_as_the_retrofit_and_as_the_models_topk(part, biased, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=D, hidden=8), parse_head("Softmax"), N_ITEMS, max_len=MAX_LEN).double().eval()
    if biased:
        model.item_bias = torch.nn.Parameter(torch.randn(N_ITEMS + 1, dtype=torch.float64))
    rng = np.random.default_rng(0)
    histories = [rng.integers(N_ITEMS, size=rng.integers(1, 12)) for _ in range(40)]
    targets = [rng.choice(history[-MAX_LEN:]) if rng.random() < 0.6 else rng.integers(N_ITEMS) for history in histories]
    snapshot = Snapshot.from_recommender(model, histories, np.array(targets))
    found = fit(snapshot, part, np.arange(40))
    names, asked = served(found, tmp_path, monkeypatch)
    answers = [
        names["recommend"](h, history, 5)
        for h, history in zip(snapshot.states, snapshot.histories, strict=True)  # of a history, what is read
    ]
    items, scores = (np.stack(each) for each in zip(*answers, strict=True))
    assert asked == [5 + len(set(history[-MAX_LEN:].tolist())) for history in histories]
    log_probs = found.log_probs(snapshot.states, snapshot.histories)
    np.testing.assert_array_equal(items, np.argsort(-log_probs, axis=1)[:, :5])
    best = np.take_along_axis(log_probs, items, axis=1)
    np.testing.assert_allclose(scores - scores[:, :1], best - best[:, :1], rtol=0, atol=1e-9)
    whole = found.recommender(model)
    np.testing.assert_array_equal(items, whole.topk(histories, 5)[0])
    vectors = whole.item_vectors()
    listed = whole.topk(histories, 5, retrieve=lambda queries, m: np.argsort(-(queries @ vectors.T), axis=1)[:, :m])
    np.testing.assert_array_equal(items, listed[0])


def test_a_history_that_is_lowered_leaves_exactly_the_next_items(tmp_path, monkeypatch):
    """The three items of the history are the first of the list; with a bias of −100 the next two are the answer."""
    weights = np.arange(9.0, 0, -1)[:, None]
    found = Retrofit("B", weights, None, np.array([-100.0, 0, 0]), np.eye(1), np.zeros(1), 1, 0.0)
    names, asked = served(found, tmp_path, monkeypatch)
    items, scores = names["recommend"](np.ones(1), [2, 0, 1, 2], 2)
    assert (items.tolist(), scores.tolist(), asked) == ([3, 4], [6.0, 5.0], [5])
    short = names["rerank"](np.ones(1), [2, 0, 1, 2], names["search"](np.ones(1), 4), 2)[0]
    assert short.tolist() != items.tolist()
