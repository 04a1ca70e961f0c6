"""The kernel against the dense logits of the same head under plain autograd: random shapes, precisions, extremes."""

import copy
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cprlab.models import Context, GRU4RecConfig, Recommender, parse_head
from cprlab.models.partitions import GROUP, MANY, largest
from cprlab.training import fused, kernel
from cprlab.training.kernel import FLOOR, chunked, softmax_
from cprlab.training.loss import CrossEntropy

KINDS = (
    "Softmax",
    "Softmax + CP",
    "Softmax + CPR:{0}",
    "Softmax + CPR:{0},{1} + Mi",
    "Softmax + CPR:{1} (context_merge=add, rerank_merge=add)",
    "Softmax + CPR:{0} (context_merge=half, tied=False)",
    "MoS:3 + CPR:{0}",
    "MoS:2 dynamic + CPR:{0},{1} + Mi",
    "MoS:3 static + C (context_facets=2)",
    "Softmax + CPR:{0} (similarity=cosine)",
    "Softmax + B",
    "Softmax + F",
    "Softmax + CPR:{0} + F + Mi (coefficients=linear)",
    "MoS:3 uniform + C + B",
    "MoS:2 + B",
    "MoS:2 static + CPR:{1} + F",
    "RepeatNet",
)


def build(head, n_items, biased, dtype=torch.float64, spread=0.5):
    torch.manual_seed(n_items)
    recommender = Recommender(GRU4RecConfig(d=8, hidden=6, dropout=0), parse_head(head), n_items).to(dtype)
    if biased:
        recommender.item_bias = torch.nn.Parameter(torch.zeros(n_items + 1, dtype=dtype))
    with torch.no_grad():
        for weight in recommender.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64) * spread)
    return recommender


def a_batch(n_items, n_windows, length, few):
    """Histories over `few` items, so that they repeat, of any length up to `length`; every position has a target."""
    items = torch.randint(min(few, n_items), (n_windows, length))
    lengths = torch.randint(1, length + 1, (n_windows, 1))
    places = torch.arange(length).expand(n_windows, -1).contiguous()
    targets = torch.randint(n_items, (n_windows, length)).masked_fill(places >= lengths, -1)
    return items.masked_fill(places >= lengths, n_items), places.clamp(max=lengths - 1), targets


def gradients(recommender, batch, kernel):
    """The loss, and its gradients by every weight, from the kernel or from dense logits."""
    recommender.zero_grad()
    items, at, targets = batch
    facets, context = recommender(items, at), Context(items, at, recommender.n_items)
    if kernel:
        ce = CrossEntropy()
        loss = chunked(ce, recommender.head, facets, recommender.outputs, context, targets, ce.draw(targets))
    else:
        log_p = recommender.distribution(facets, context).flatten(0, 1)
        loss = torch.nn.functional.nll_loss(log_p, targets.flatten(), ignore_index=-1, reduction="sum")
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in recommender.named_parameters()}


def assert_alike(found, expected, within):
    """Every gradient deviates by less than `within` of its largest entry; one that is 0 but for rounding, hardly."""
    (loss, grads), (expected_loss, expected_grads) = found, expected
    assert loss.item() == pytest.approx(expected_loss.item(), rel=within)
    sizes = {name: grad.abs().max().item() for name, grad in expected_grads.items() if grad is not None}
    for name, grad in expected_grads.items():
        if grad is None:
            assert grads[name] is None
        else:
            deviation = (grads[name].double() - grad).abs().max().item()
            assert deviation < within * max(sizes[name], 1e-5 * max(sizes.values())), name


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n_items=st.sampled_from((3, 4, 17, 90, 1000)),
    share=st.floats(0, 1),
    n_windows=st.integers(1, 7),
    length=st.integers(1, 12),
    few=st.integers(1, 40),
    biased=st.booleans(),
)
@example("Softmax + CPR:{0},{1} + Mi", 50_000, 0.002, 9, 12, 40, True)  # more items than codes are reranked
@example("Softmax + CPR:{0},{1} + Mi", 5_000, 0.02, 30, 12, 40, True)  # two chunks
@example("MoS:3 + CPR:{0}", 50_000, 0.01, 3, 12, 40, False)
@example("Softmax + CPR:{0}", 17, 1.0, 5, 12, 17, True)  # every item is C's or R's
def test_loss_and_gradients_are_those_of_dense_logits(kind, n_items, share, n_windows, length, few, biased):
    k = 1 + int(share * (n_items - 2))
    recommender = build(kind.format(k, k + 1), n_items, biased)
    batch = a_batch(n_items, n_windows, length, few)
    found = gradients(recommender, batch, True)
    assert_alike(found, gradients(recommender, batch, False), 1e-10)
    for name in ("embedding.weight", "output_embedding.weight", "item_bias"):
        if found[1].get(name) is not None:
            assert (found[1][name][n_items] == 0).all()  # padding's


@pytest.mark.parametrize("kind", ["Softmax", "Softmax + CPR:{0},{1} + Mi", "MoS:3 + CPR:{0}"])
def test_frozen_item_embeddings_have_no_gradient_and_all_else_has_the_same(kind):
    recommender, batch = build(kind.format(3, 9), 90, biased=True), a_batch(90, 7, 12, 40)
    loss, grads = gradients(recommender, batch, False)
    recommender.freeze_items(recommender.embedding.weight[:-1].detach().numpy())
    assert_alike(gradients(recommender, batch, True), (loss, grads | {"embedding.weight": None}), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_agrees_with_double(kind):
    head, n_items = kind.format(20, 100), 5000
    recommender = build(head, n_items, biased=True)
    single = copy.deepcopy(recommender).float()
    recommender.load_state_dict(single.state_dict())  # the same numbers, so that both choose the same top items
    batch = a_batch(n_items, 6, 12, 40)
    assert_alike(gradients(single, batch, True), gradients(recommender, batch, False), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_the_loss_is_near_and_its_gradients_point_the_same_way(kind):
    recommender = build(kind.format(20, 100), 3000, biased=True, dtype=torch.float32, spread=0.3)
    batch = a_batch(3000, 6, 12, 40)
    loss, grads = gradients(recommender, batch, False)
    with torch.autocast("cpu", torch.bfloat16):
        low_loss, low_grads = gradients(recommender, batch, True)
    assert low_loss.dtype == torch.float32
    assert low_loss.item() == pytest.approx(loss.item(), rel=5e-3)
    for name in ("embedding.weight", "output_embedding.weight", "item_bias"):
        if grads.get(name) is not None:
            assert low_grads[name].dtype == torch.float32
            assert torch.cosine_similarity(low_grads[name].flatten(), grads[name].flatten(), dim=0) > 0.98


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e4, 1e-42])
def test_extreme_embeddings_give_numbers(kind, scale):
    recommender = build(kind.format(5, 20), 300, biased=False, dtype=torch.float32)
    with torch.no_grad():
        for embedding in (recommender.embedding, recommender.output_embedding):
            if embedding is not None:
                embedding.weight.mul_(scale)
    loss, grads = gradients(recommender, a_batch(300, 5, 12, 40), True)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in grads.values() if grad is not None)


def test_of_equal_logits_one_facet_alone_gets_the_gradient():
    recommender = build("MoS:3 + CPR:5", 90, biased=True)
    for layer in ("V_2", "V_3"):
        recommender.head.maps[layer].load_state_dict(recommender.head.maps["V"].state_dict())
    batch = a_batch(90, 5, 12, 40)
    (_, grads), (_, expected) = gradients(recommender, batch, True), gradients(recommender, batch, False)
    for name in ("embedding.weight", "item_bias"):  # whichever facet it goes to
        torch.testing.assert_close(grads[name], expected[name], rtol=1e-10, atol=1e-12)


def rows_of_logits(dtype, n=9001):
    """Logits of every size, −inf among them, in rows of two of Triton's blocks and a bit."""
    z = torch.randn(2, 5, n, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 20
    z[0, 1, :5000] = z[0, 2, 1:] = -torch.inf
    z[0, 3] = -torch.inf
    z[1, 0, 7], z[1, 1, -1] = 1e4, -1e4
    z[1, 2] *= 500
    z[1, 3, 5000] = z[1, 4] = torch.nan
    return z


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="no Triton on this machine")
@pytest.mark.parametrize("span", [1, 2, fused.SPAN])  # a row in three spans, in two, and in one
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_tritons_softmax_is_the_eager_one(dtype, within, span, monkeypatch):
    monkeypatch.setattr(fused, "SPAN", span)
    z = rows_of_logits(dtype)
    there = torch.cat([z, torch.full_like(z[..., :3], 5.0)], dim=-1)  # what stands behind a row stays as it is
    weights = torch.randn(z.shape[:-1], dtype=dtype, generator=torch.Generator().manual_seed(1))
    norms, weigh = fused.softmax_(there[..., : z.shape[-1]], FLOOR)
    weigh(weights)
    expected, weigh = softmax_(z)
    weigh(weights)
    assert expected[1, 3:].isnan().all()
    torch.testing.assert_close(norms, expected, rtol=within, atol=0, equal_nan=True)
    torch.testing.assert_close(there[..., : z.shape[-1]], z, rtol=100 * within, atol=0, equal_nan=True)
    assert (there[..., z.shape[-1] :] == 5).all()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="no Triton on this machine")
@pytest.mark.parametrize("kind", KINDS)
def test_with_tritons_softmax_loss_and_gradients_are_those_of_dense_logits(kind, monkeypatch):
    recommender = build(kind.format(3, 7), 40, biased=True)
    batch = a_batch(40, 3, 5, 12)
    expected = gradients(recommender, batch, False)
    monkeypatch.setattr(fused, "usable", lambda device: True)
    assert_alike(gradients(recommender, batch, True), expected, 1e-10)


def test_without_a_gpu_triton_is_not_used():
    assert not fused.usable(torch.device("cpu"))


def test_the_softmax_in_place_holds_no_denormal_number():
    z = torch.tensor([[0.0, -60.0, -90.0, -1e4, -torch.inf], [-torch.inf] * 5, [1e4, -1e4, 1e4, 0.0, 9990.0]])
    expected = z.double()
    norms, weigh = softmax_(z)
    weigh(torch.ones(3))
    torch.testing.assert_close(norms, expected.logsumexp(1).float())
    rows = torch.tensor([0, 2])
    torch.testing.assert_close(z[rows].double(), expected[rows].softmax(1), atol=2e-30, rtol=1e-6)
    assert (z >= torch.finfo(z.dtype).tiny).all()


@given(st.data())
def test_the_largest_are_found_in_groups(data):
    n = data.draw(st.integers(1, 3 * MANY * GROUP**2))
    k = data.draw(st.integers(1, n) | st.integers(1, 1 + n // (MANY * GROUP)))  # too many for groups, or few
    z = torch.randn(3, n, generator=torch.Generator().manual_seed(n * 1000 + k))
    assert (largest(z, k).sort().values == z.argsort(descending=True)[:, :k].sort().values).all()


@pytest.mark.parametrize("n", [60, 2000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_of_equal_numbers_as_many_are_the_largest_as_are_asked_for(n, dtype):
    z = torch.randint(4, (50, n), generator=torch.Generator().manual_seed(0)).to(dtype)
    z[0], z[1, 5:] = 1.0, -torch.inf
    found = largest(z, 7).sort().values
    assert (found.diff() > 0).all()  # each once
    assert (z.gather(1, found).sort(descending=True).values == z.sort(descending=True).values[:, :7]).all()


def test_halves_of_a_batch_side_by_side_have_the_same_digits(sequences, monkeypatch):
    recommender = Recommender(
        GRU4RecConfig(d=8, hidden=8, dropout=0), parse_head("Softmax + CPR:5 + Mi"), sequences.n_items
    )
    batch = sequences.batch(sequences.windows("train"), np.arange(7))
    shares = []

    def step(together):
        def in_turn(work, halves):
            shares.append([list(half) for half in halves])
            return together(work, halves)

        monkeypatch.setattr(kernel, "in_turn", in_turn)
        facets, context = recommender(batch.items, batch.at), Context(batch.items, batch.at, sequences.n_items)
        loss, outputs = CrossEntropy(), recommender.outputs
        total = chunked(loss, recommender.head, facets, outputs, context, batch.targets, loss.draw(batch.targets))
        return total, *torch.autograd.grad(total, list(recommender.parameters()))

    with ThreadPoolExecutor(2) as pool:
        for one, other in zip(step(map), step(pool.map), strict=True):
            assert torch.equal(one, other)
    monkeypatch.setitem(kernel.CHUNK, "cpu", (2**21, 256, 2**21))  # there is no room for two
    step(map)
    assert shares == [[[0, 1, 2, 3], [4, 5, 6]]] * 2 + [[[0, 1, 2, 3, 4, 5, 6]]]
