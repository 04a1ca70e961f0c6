"""The losses, in chunks, against loops over targets and negatives (with brute.py), and their gradients."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from cprlab.errors import ConfigError
from cprlab.models import Context
from cprlab.training import kernel, loss
from tests.models import brute
from tests.models.test_recommender import HEADS, N_ITEMS, build

ITEMS = torch.tensor(
    [[3, 3, 7, 1, 7, 3], [2, 9, 2, 9, N_ITEMS, N_ITEMS], [5, N_ITEMS, N_ITEMS, N_ITEMS, N_ITEMS, N_ITEMS]]
)
AT = torch.tensor([[3, 4, 5], [1, 2, 3], [0, 0, 0]])
TARGETS = torch.tensor([[7, 3, 28], [2, 9, 9], [4, -1, -1]])
COUNTS = np.array([0, 5, 5, 100, 1] + [3] * (N_ITEMS - 5))
LOSSES = ["CE", "BPR", "BCE", "gBCE", "sampled"]
MIXED = ["Softmax + CPR:3,8,25 + Mi", "MoS:2 dynamic + CPR:4,10 + Mi", "RepeatNet"]
TRAINED = [head for head in HEADS if "post" not in head]  # in training, post excludes nothing


def build_loss(name):
    return loss.build_loss(name, COUNTS, negatives=4, t=0.7)


def negatives_for(name):
    torch.manual_seed(3)
    negatives = build_loss(name).draw(TARGETS)
    assert negatives.shape == (*TARGETS.shape, 0 if name == "CE" else 4)
    if name == "sampled":
        negatives[0, 0, 1] = TARGETS[0, 0]  # a sample may hold the target
    return negatives


def a_loss(recommender, name, dense=False):
    head, facets, of_name = recommender.head, recommender(ITEMS, AT), build_loss(name)
    context, negatives = Context(ITEMS, AT, N_ITEMS), negatives_for(name)
    if dense:
        z = head.logits(facets, recommender.outputs, context)
        return of_name.total(z.gather(2, loss.compared(TARGETS, negatives)), z.logsumexp(2), TARGETS, negatives)
    return kernel.chunked(of_name, head, facets, recommender.outputs, context, TARGETS, negatives)


def by_hand(name, z, target, negatives):
    """The loss of one target, from the logits z (n,) of all items."""
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    n, m = len(z), len(negatives)
    match name:
        case "CE":
            return -math.log(math.exp(z[target]) / sum(math.exp(x) for x in z))
        case "BPR":
            return -sum(math.log(sigmoid(z[target] - z[v])) for v in negatives) / m
        case "BCE" | "gBCE":
            alpha, t = m / (n - 1), 0.7 if name == "gBCE" else 0
            beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)  # Petrov & Macdonald, equation 12
            total = math.log(sigmoid(z[target]) ** beta) + sum(math.log(1 - sigmoid(z[v])) for v in negatives)
            return -total / (m + 1)
        case "sampled":
            ranks = {v: r for r, v in enumerate(sorted(range(n), key=lambda v: (-COUNTS[v], v)))}
            q = {v: math.log((r + 2) / (r + 1)) / math.log(n + 1) for v, r in ranks.items()}
            compared = [target] + [v for v in negatives if v != target]
            return -math.log(math.exp(z[target]) / q[target] / sum(math.exp(z[v]) / q[v] for v in compared))


@pytest.fixture
def chunks_of_one_window(monkeypatch):
    monkeypatch.setitem(kernel.CHUNK, "cpu", (0, 1, 2**20))


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize(
    ("head", "name"),
    [(head, "CE") for head in TRAINED] + [(head, name) for head in MIXED for name in LOSSES if name != "CE"],
)
def test_a_loss_is_the_sum_over_its_targets(head, name):
    recommender, negatives, expected = build(head), negatives_for(name).tolist(), 0.0
    for row, (items, places, targets) in enumerate(zip(ITEMS.tolist(), AT.tolist(), TARGETS.tolist(), strict=True)):
        for column, (place, target) in enumerate(zip(places, targets, strict=True)):
            if target >= 0:
                z = brute.logits(recommender, items[: place + 1])
                expected += by_hand(name, z, target, negatives[row][column])
    assert a_loss(recommender, name).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("head", MIXED)
def test_chunks_change_no_gradient(head, name):
    recommender = build(head)
    gradients = []
    for dense in (True, False):
        recommender.zero_grad()
        (a_loss(recommender, name, dense) / 7).backward()
        gradients.append([weight.grad.clone() for weight in recommender.parameters()])
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-12)
        assert whole.abs().max() > 0


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize(
    ("head", "name"), [(head, "CE") for head in TRAINED] + [(MIXED[0], name) for name in LOSSES if name != "CE"]
)
def test_gradients_are_those_of_finite_differences(head, name):
    recommender = build(head)
    facets, outputs = recommender(ITEMS, AT), recommender.outputs
    names, context, negatives = list(facets), Context(ITEMS, AT, N_ITEMS), negatives_for(name)
    inputs = [outputs.weight.detach().clone()] + [facet.detach().clone() for facet in facets.values()]

    def total(weight, *given):
        facets = dict(zip(names, given, strict=True))
        new = outputs._replace(weight=weight)
        return kernel.chunked(build_loss(name), recommender.head, facets, new, context, TARGETS, negatives)

    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=True)  # a random direction


@pytest.mark.parametrize(("name", "never_the_target"), [("BPR", True), ("gBCE", True), ("sampled", False)])
def test_negatives_come_from_the_distribution_that_the_loss_assumes(name, never_the_target):
    torch.manual_seed(0)
    draws = 20_000
    of_loss = build_loss(name)
    drawn = Counter(of_loss.draw(torch.full((draws // 4, 1), 3)).flatten().tolist())
    expected = np.full(N_ITEMS, draws / (N_ITEMS - 1))
    expected[3] = 0
    if not never_the_target:
        expected = draws * of_loss.log_q.exp().numpy()
        assert expected.sum() == pytest.approx(draws, rel=1e-12)
        assert int(expected.argmax()) == 3  # the most popular
    assert drawn[3] == 0 or not never_the_target
    kept = expected > 0
    assert chisquare([drawn[v] for v in np.flatnonzero(kept)], expected[kept]).pvalue > 0.001


def test_a_loss_that_compares_items_needs_two():
    with pytest.raises(ConfigError, match="BPR compares items, and there is only one"):
        loss.build_loss("BPR", np.array([3]), 4, 0.75)
    assert loss.build_loss("BPR", np.array([3, 1]), 4, 0.75).draw(torch.tensor([[0]])).tolist() == [[[1, 1, 1, 1]]]
    assert isinstance(loss.build_loss("CE", np.array([3]), 4, 0.75), loss.CrossEntropy)


def test_nothing_is_differentiated_when_nothing_asks_for_it():
    with torch.no_grad():
        assert not a_loss(build("Softmax"), "CE").requires_grad
