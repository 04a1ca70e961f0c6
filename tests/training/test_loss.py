"""The chunked loss against loops over targets (brute.py), and its gradients against autograd and finite differences."""

import pytest
import torch

from cprlab.models import Context
from cprlab.training import exact_nll, loss
from tests.models import brute
from tests.models.test_recommender import HEADS, N_ITEMS, build

ITEMS = torch.tensor(
    [[3, 3, 7, 1, 7, 3], [2, 9, 2, 9, N_ITEMS, N_ITEMS], [5, N_ITEMS, N_ITEMS, N_ITEMS, N_ITEMS, N_ITEMS]]
)
AT = torch.tensor([[3, 4, 5], [1, 2, 3], [0, 0, 0]])
TARGETS = torch.tensor([[7, 3, 28], [2, 9, 9], [5, -1, -1]])


def a_loss(recommender, one_chunk):
    facets = recommender(ITEMS, AT)
    score = recommender.head.nll if one_chunk else lambda *args: exact_nll(recommender.head, *args)
    return score(facets, recommender.embedding.weight, Context(ITEMS, AT, N_ITEMS), TARGETS)


@pytest.fixture
def chunks_of_one_window(monkeypatch):
    monkeypatch.setattr(loss, "CHUNK_ROWS", 1)


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize("head", HEADS)
def test_the_loss_is_minus_the_log_probability_of_each_target(head):
    recommender = build(head)
    expected = 0.0
    total = a_loss(recommender, one_chunk=False)
    for items, places, targets in zip(ITEMS.tolist(), AT.tolist(), TARGETS.tolist(), strict=True):
        for place, target in zip(places, targets, strict=True):
            if target >= 0:
                expected -= brute.log_probs(recommender, items[: place + 1])[target]
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize("head", HEADS)
def test_chunks_change_no_gradient(head):
    recommender = build(head)
    gradients = []
    for one_chunk in (True, False):
        recommender.zero_grad()
        (a_loss(recommender, one_chunk) / 7).backward()
        gradients.append([weight.grad.clone() for weight in recommender.parameters()])
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-12)
        assert whole.abs().max() > 0


@pytest.mark.usefixtures("chunks_of_one_window")
@pytest.mark.parametrize("head", HEADS)
def test_gradients_are_those_of_finite_differences(head):
    recommender = build(head)
    names = sorted(recommender(ITEMS, AT))
    facets = recommender(ITEMS, AT)
    weight = recommender.embedding.weight.detach().clone().requires_grad_()
    inputs = [weight] + [facets[name].detach().clone().requires_grad_() for name in names]

    def total(weight, *given):
        facets = dict(zip(names, given, strict=True))
        return exact_nll(recommender.head, facets, weight, Context(ITEMS, AT, N_ITEMS), TARGETS)

    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_nothing_is_differentiated_when_nothing_asks_for_it():
    with torch.no_grad():
        assert not a_loss(build("Softmax"), one_chunk=False).requires_grad
