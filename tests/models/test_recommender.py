"""The heads on all encoders, batched and padded, against the equations in loops (brute.py), in float64."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cprlab.errors import ConfigError
from cprlab.models import Context, EncoderConfig, GRU4RecConfig, MFConfig, Recommender, SASRecConfig, parse_head
from cprlab.models.partitions import Attention
from cprlab.models.recommender import SCORES_AT_ONCE
from tests.models import brute

N_ITEMS, N_USERS = 30, 3
HEADS = [
    "Softmax",
    "Softmax + Mi",
    "Softmax + C",
    "Softmax + CP",
    "Softmax + R:3",
    "Softmax + CPR:10",
    "Softmax + CPR:10 + Mi",
    "Softmax + CPR:3,8,25 + Mi",
    "Softmax (post)",
    "Softmax + CPR:10 (post)",
    "Softmax + CP (context_norm=False)",
    "Softmax + CP (context_merge=add)",
    "Softmax + CP (context_merge=half, tied=False)",
    "Softmax + CPR:10 (rerank_merge=add)",
    "Softmax + Mi (window=4, depth=3, projection_bias=False)",
    "MoS:3",
    "MoS:3 dynamic",
    "MoS:3 static (post)",
    "MoS:3 uniform",
    "MoS:2 + CPR:10",
    "MoS:2 dynamic + CPR:4,10 + Mi",
    "MoS:3 static + CPR:10 (context_facets=2, rerank_facets=1)",
    "Softmax + B",
    "Softmax + F",
    "Softmax + F + Mi (coefficients=linear)",
    "Softmax + CPR:10 + F + Mi",
    "Softmax + C + B (post, context_merge=add)",
    "MoS:2 + CPR:10 + B",
    "MoS:3 static + B",
    "MoS:2 dynamic + C + F + Mi (context_facets=1, coefficients=linear)",
    "Softmax (similarity=cosine)",
    "MoS:2 dynamic + CPR:10 + F + Mi (tied=False, similarity=cosine)",
    "RepeatNet",
]
ENCODERS: dict[str, EncoderConfig] = {
    "GRU4Rec": GRU4RecConfig(d=6, hidden=5),
    "GRU4Rec, 3 layers": GRU4RecConfig(d=6, hidden=5, layers=3, recurrent_bias=True),
    "SASRec": SASRecConfig(d=6, inner=7, heads=3, layers=3),
    "SASRec, post-norm": SASRecConfig(d=6, inner=7, heads=3, layers=2, norm_first=False),
    "MF": MFConfig(d=6),
}


def build(head, encoder="GRU4Rec", seed=0, n_items=N_ITEMS):
    torch.manual_seed(seed)
    recommender = Recommender(ENCODERS[encoder], parse_head(head), n_items, n_users=N_USERS, max_len=12).double()
    with torch.no_grad():
        for weight in recommender.parameters():
            weight.normal_(std=0.7)
        recommender.embedding.weight[n_items] = 1e3  # padding is never looked at, so its value has no effect
    return recommender.eval()


def users_of(histories):
    return [row % N_USERS for row in range(len(histories))]


a_history = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=12)
some_histories = st.lists(a_history, min_size=1, max_size=4)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=4)
@given(histories=some_histories, few=st.booleans(), seed=st.integers(0, 99))
def test_scores_are_the_equations(head, encoder, histories, few, seed):
    if few:  # many duplicates
        histories = [[item % 4 for item in history] for history in histories]
    recommender, users = build(head, encoder, seed), users_of(histories)
    expected = [brute.log_probs(recommender, history, user) for history, user in zip(histories, users, strict=True)]
    np.testing.assert_allclose(recommender.log_probs(histories, users=users), expected, rtol=0, atol=1e-9)


@settings(max_examples=20)
@given(st.sampled_from(HEADS), st.sampled_from(sorted(ENCODERS)), some_histories, st.randoms())
def test_probabilities_sum_to_1_whatever_the_order_and_the_padding(head, encoder, histories, random):
    recommender, users = build(head, encoder), users_of(histories)
    scores = recommender.log_probs(histories, users=users)
    assert scores.shape == (len(histories), N_ITEMS)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-12)
    with torch.no_grad():
        recommender.embedding.weight[N_ITEMS] = -1e3
    items, at, codes = recommender.collate(histories, users)
    longer = torch.nn.functional.pad(items, (0, 12 - items.shape[1]), value=N_ITEMS)
    with torch.no_grad():
        np.testing.assert_allclose(recommender.score(longer, at, codes)[:, 0], scores, rtol=0, atol=1e-12)
    order = random.sample(range(len(histories)), len(histories))
    for some in (order, order[:1]):  # alone, a history has less padding
        again = recommender.log_probs([histories[row] for row in some], users=[users[row] for row in some])
        np.testing.assert_allclose(again, scores[some], rtol=0, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("head", HEADS)
def test_a_position_does_not_see_what_comes_later(head, encoder):
    recommender = build(head, encoder)
    history = [3, 3, 7, 1, 7, 3, 9, 1]
    items, at, user = torch.tensor([history]), torch.arange(len(history))[None], torch.tensor([2])
    together = recommender.score(items, at, user)[0].detach().numpy()
    for place in range(len(history)):
        alone = recommender.log_probs([history[: place + 1]], users=[2])[0]
        np.testing.assert_allclose(together[place], alone, rtol=0, atol=1e-12)


def pieces(head, histories):
    """A recommender, and what its head scores with."""
    recommender = build(head)
    items, at, _ = recommender.collate(histories)
    return recommender, recommender(items, at), Context(items, at, N_ITEMS)


@settings(max_examples=20)
@given(st.sampled_from(["Softmax + C", "Softmax + CPR:10"]), some_histories)
def test_only_history_items_change_with_the_context_facet(head, histories):
    recommender, facets, context = pieces(head, histories)
    before = recommender.head.logits(facets, recommender.outputs, context)
    after = recommender.head.logits(facets | {"C": facets["C"] + 1}, recommender.outputs, context)
    changed = (before != after)[:, 0].detach().numpy()
    for row, history in enumerate(histories):
        assert set(np.flatnonzero(changed[row])) == set(history)


@settings(max_examples=10)
@given(a_history)
def test_only_the_top_k_change_with_the_reranker_facet(history):
    recommender, facets, context = pieces("Softmax + R:3", [history])
    before = recommender.head.logits(facets, recommender.outputs, context)[0, 0].detach().numpy()
    after = recommender.head.logits(facets | {"R3": facets["R3"] + 1}, recommender.outputs, context)[0, 0]
    base = (recommender.outputs.weight[:-1] @ facets["V"][0, 0]).detach().numpy()
    assert set(np.flatnonzero(before != after.detach().numpy())) == set(np.argsort(-base)[:3])


@settings(max_examples=10)
@given(a_history, st.sampled_from(["Softmax + CR:5", "MoS:2 + CR:5", "MoS:3 dynamic + C"]))
def test_equal_facets_and_no_partitions_make_a_plain_softmax(history, head):
    recommender, facets, context = pieces(head, [history])
    weight = recommender.outputs.weight
    plain = torch.log_softmax(weight[:-1] @ facets["V"][0, 0], dim=0)
    same = {name: facets["V"] if name != "mixture" else facet for name, facet in facets.items()}
    scores = recommender.head.log_probs(same, recommender.outputs, context)[0, 0]
    torch.testing.assert_close(scores, plain, rtol=0, atol=1e-12)


@settings(max_examples=10)
@given(a_history)
def test_a_reranker_of_all_items_is_a_softmax_by_its_facet(history):
    recommender, facets, context = pieces("Softmax + R:30", [history])
    z = recommender.outputs.weight[:-1] @ facets["R30"][0, 0]
    scores = recommender.head.log_probs(facets, recommender.outputs, context)[0, 0]
    torch.testing.assert_close(scores, z.log_softmax(0), rtol=0, atol=1e-12)


@settings(max_examples=10)
@given(a_history)
def test_a_reranker_of_all_items_but_one_is_a_softmax_by_its_facet_on_these(history):
    recommender, facets, context = pieces("Softmax + R:29", [history])
    weight = recommender.outputs.weight[:-1]
    z = weight @ facets["R29"][0, 0]
    last = int((weight @ facets["V"][0, 0]).argmin())
    z = z.index_fill(0, torch.tensor(last), float((weight[last] @ facets["V"][0, 0]).detach()))
    scores = recommender.head.log_probs(facets, recommender.outputs, context)[0, 0]
    torch.testing.assert_close(scores, z.log_softmax(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("history", [[4], [4, 4, 4], [0, 1, 2, 3, 4, 4, 1]], ids=["one", "one, often", "all"])
def test_repeatnet_and_post_where_little_is_left(history):
    recommender = build("RepeatNet", n_items=5)
    everything = len(set(history)) == 5
    assert (recommender.parts([history]).weights[0, 1] == 0) == everything
    np.testing.assert_allclose(recommender.log_probs([history])[0], brute.log_probs(recommender, history), atol=1e-12)
    assert (build("MoS:3 dynamic (post)", n_items=5).log_probs([history]) == -np.inf).all() == everything


def test_repeatnet_knows_the_probability_of_a_repeat_that_attention_has_all_but_lost():
    facets = {"repeat": torch.tensor([[[0.0, -50.0, -200.0]]], requires_grad=True)}
    context = Context(torch.tensor([[0, 1, 2]]), torch.tensor([[2]]), 5)
    _, scores = Attention().score(torch.zeros(1, 1, 6), facets, None, context)
    torch.testing.assert_close(scores[0, 0], facets["repeat"][0, 0], rtol=0, atol=1e-6)
    scores[0, 0, 2].backward()
    assert facets["repeat"].grad[0, 0].tolist() == [0, 0, 1]


@settings(max_examples=20)
@given(some_histories, st.sampled_from(HEADS), st.integers(1, N_ITEMS), st.data())
def test_candidates_and_topk_are_read_off_all_scores(histories, head, k, data):
    recommender = build(head)
    scores = recommender.log_probs(histories)
    rows = [data.draw(st.lists(st.integers(0, N_ITEMS - 1), min_size=3, max_size=3)) for _ in histories]
    np.testing.assert_array_equal(recommender.log_probs(histories, rows), np.take_along_axis(scores, np.array(rows), 1))
    np.testing.assert_array_equal(recommender.log_probs(histories, rows[0]), scores[:, rows[0]])
    items, values = recommender.topk(histories, k)
    np.testing.assert_array_equal(values, np.sort(scores, axis=1)[:, ::-1][:, :k])
    np.testing.assert_array_equal(np.take_along_axis(scores, items, axis=1), values)
    assert all(len(set(row)) == k for row in items.tolist())
    assert np.sort(recommender.topk(histories, N_ITEMS)[0]).tolist() == [list(range(N_ITEMS))] * len(histories)


def test_of_one_item_all_is_known():
    np.testing.assert_array_equal(build("Softmax + CP", n_items=1).log_probs([[0], [0, 0]]), 0)


@pytest.mark.parametrize("bias", [True, False])
def test_the_maps_to_the_facets_have_a_bias_unless_it_is_off(bias):
    maps = build(f"MoS:2 + CP (projection_bias={bias})").head.maps
    assert {facet: each.bias is not None for facet, each in maps.items()} == dict.fromkeys(maps, bias)


def test_many_histories_are_scored_a_few_at_a_time(monkeypatch):
    recommender, histories = build("Softmax + CPR:3"), [[1, 2, 1], [3], [4, 5], [6, 6], [7]]
    scores, top = recommender.log_probs(histories), recommender.topk(histories, 2)[0]
    monkeypatch.setattr("cprlab.models.recommender.HISTORIES_AT_ONCE", 3)
    monkeypatch.setitem(SCORES_AT_ONCE, "cpu", 2 * N_ITEMS)
    np.testing.assert_allclose(recommender.log_probs(histories), scores, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(recommender.topk(histories, 2)[0], top)
    asked = np.arange(10).reshape(5, 2)
    chosen = recommender.log_probs(histories, candidates=asked)
    np.testing.assert_allclose(chosen, np.take_along_axis(scores, asked, axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["MoS:2 dynamic + C", "RepeatNet"])
def test_an_item_that_cannot_be_has_no_gradient_that_is_not_a_number(head):
    recommender = build(head)
    recommender.item_bias = torch.nn.Parameter(
        torch.zeros(N_ITEMS + 1, dtype=torch.float64).index_fill(0, torch.tensor(3), -torch.inf)
    )
    items, at, _ = recommender.collate([[1, 2, 1]])
    scores = recommender.score(items, at)[0, 0]
    assert scores[3] == -torch.inf
    scores[[1, 5]].sum().backward()
    for name, weight in recommender.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all() or name == "item_bias"


@pytest.mark.parametrize("head", ["Softmax", "Softmax + C (tied=False)", "RepeatNet"])
def test_output_embeddings_are_the_input_embeddings_only_when_tied(head):
    recommender = build(head)
    before = recommender.log_probs([[1, 2]])
    with torch.no_grad():
        recommender.embedding.weight[5] += 1  # an item that was not read
    assert (recommender.log_probs([[1, 2]]) != before).any() == (head == "Softmax")


def test_frozen_item_embeddings_are_read_and_scored_and_not_trained():
    embeddings, recommender = np.random.default_rng(0).normal(size=(N_ITEMS, 6)), build("Softmax + CPR:10")
    recommender.freeze_items(embeddings)
    with torch.no_grad():
        np.testing.assert_array_equal(recommender.embedding(torch.arange(N_ITEMS)), embeddings)
        np.testing.assert_array_equal(recommender.outputs.weight[:-1], embeddings)
        assert (recommender.embedding.weight[N_ITEMS] == 1e3).all()
    assert [name for name, weight in recommender.named_parameters() if not weight.requires_grad] == ["embedding.weight"]
    with pytest.raises(ConfigError, match=r"must be of shape \(30, 6\), not \(31, 6\)"):
        recommender.freeze_items(np.zeros((31, 6)))
    for head in ("Softmax + C (tied=False)", "RepeatNet"):
        with pytest.raises(ConfigError, match="has separate output embeddings"):
            build(head).freeze_items(embeddings)


@settings(max_examples=10)
@given(a_history, a_history, st.sampled_from(sorted(ENCODERS)))
def test_of_a_long_history_the_last_max_len_items_are_read(first, last, encoder):
    assume(len(first + last) >= 12)
    recommender = build("Softmax + CP", encoder)
    history = first + last
    users = [1]
    np.testing.assert_array_equal(
        recommender.log_probs([history], users=users), recommender.log_probs([history[-12:]], users=users)
    )


def test_unusable_questions_are_refused_in_a_sentence():
    recommender = build("Softmax")
    with pytest.raises(ConfigError, match="History 1 is empty"):
        recommender.log_probs([[1], []])
    with pytest.raises(ConfigError, match="History 0 contains an item outside 0 … 29"):
        recommender.log_probs([[30]])
    with pytest.raises(ConfigError, match="History 0 contains values that are not whole numbers"):
        recommender.log_probs([[1.7]])
    for odd in ([3, 4], ["a"], [[[1]]], [[1, [2]]], [[True]]):
        with pytest.raises(ConfigError, match="History 0 contains values that are not whole numbers"):
            recommender.log_probs(odd)
    reversed_and_foreign = [np.array([1, 2], ">i2")[::-1], (2, 1), np.array([2, 1], np.uint8)]
    scores = recommender.log_probs(reversed_and_foreign)
    np.testing.assert_allclose(scores, scores[[0, 0, 0]], rtol=0, atol=1e-12)
    assert recommender.log_probs([]).shape == (0, N_ITEMS)
    assert recommender.log_probs([]).dtype == recommender.log_probs([[1]], [[]]).dtype == np.float64
    assert recommender.log_probs([], [1, 2]).shape == (0, 2)
    assert recommender.topk([], 4)[0].shape == (0, 4)
    with pytest.raises(ConfigError, match="at least one"):
        recommender.parts([])
    with pytest.raises(ConfigError, match="2 rows of candidates for 1 histories"):
        recommender.log_probs([[1]], [[1], [2]])
    with pytest.raises(ConfigError, match="candidate is outside 0 … 29"):
        recommender.log_probs([[1]], [30])
    with pytest.raises(ConfigError, match="the same number for each history"):
        recommender.log_probs([[1], [2]], [[1], [2, 3]])
    with pytest.raises(ConfigError, match="k = 31 is not possible; there are 30 items"):
        recommender.topk([[1]], 31)
    with pytest.raises(ConfigError, match=r"k = 2\.5 is not possible"):
        recommender.topk([[1]], 2.5)
    with pytest.raises(ConfigError, match="k = True is not possible"):
        recommender.topk([[1]], True)
    with pytest.raises(ConfigError, match=r"call model\.float\(\) first"):
        build("Softmax").to(torch.bfloat16).topk([[1]], 2)
    by_user = build("Softmax", "MF")
    with pytest.raises(ConfigError, match="users=…"):
        by_user.log_probs([[1]])
    with pytest.raises(ConfigError, match="user is outside 0 … 2"):
        by_user.log_probs([[1]], users=[3])
    with pytest.raises(ConfigError, match="one user code for each of the 1 histories"):
        by_user.log_probs([[1]], users=[0, 1])
    with pytest.raises(ConfigError, match="one user code for each of the 1 histories"):
        by_user.log_probs([[1]], users=["a"])
    assert by_user.log_probs([], users=[]).shape == (0, N_ITEMS)
    assert by_user.log_probs([[1]], users=np.array([2], np.uint8)).shape == (1, N_ITEMS)


def test_unusable_recommenders_are_refused_in_a_sentence():
    with pytest.raises(ConfigError, match=r"such as Softmax \+ CPR:3"):
        build("Softmax + CPR:31")
    with pytest.raises(ConfigError, match="k = 31 must not be above the number of items, 30"):
        build("Softmax + CPR:31")
    with pytest.raises(ConfigError, match="n_users=…"):
        Recommender(MFConfig(), parse_head("Softmax"), 5)
    for n_items, max_len in ((0, 5), (-1, 5), (5, 0), (5, -1)):
        with pytest.raises(ConfigError, match=f"n_items={n_items} and max_len={max_len} must both be at least 1"):
            Recommender(GRU4RecConfig(), parse_head("Softmax"), n_items, max_len=max_len)
    with pytest.raises(ConfigError, match="3 heads cannot share d = 64"):
        SASRecConfig(heads=3)
    with pytest.raises(ConfigError, match="'layers' cannot be 2"):
        MFConfig(layers=2)
    with pytest.raises(ConfigError, match="SASRec has 12 positions and cannot read 13"):
        build("Softmax", "SASRec").score(torch.zeros(1, 13, dtype=torch.int64), torch.tensor([[12]]))


@pytest.mark.slow
def test_a_model_without_memory_has_its_shapes_and_needs_no_compiler():
    code = """
import sys
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.models.recommender import unallocated

for encoder in (GRU4RecConfig(), SASRecConfig()):
    with unallocated():
        model = Recommender(encoder, parse_head("Softmax + CPR:20 + F + Mi (tied=False)"), 10**9)
    weights = model.state_dict()
    assert all(weight.is_meta for weight in weights.values())
    assert weights["output_embedding.weight"].shape == (10**9 + 1, encoder.d)
assert "torch._dynamo" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
