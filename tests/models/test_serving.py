"""topk from the list of an index against topk over all items, whose scores test_recommender.py checks."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.errors import ConfigError
from cprlab.models import MFConfig, Recommender, SoftmaxConfig, parse_head
from cprlab.models.names import COUNTING
from tests.models.test_recommender import ENCODERS, HEADS, build, users_of

N_ITEMS = 150
SUITED = [
    name
    for name in [*HEADS, "MoS:2 + CPR:3,10 + F + Mi (tied=False, similarity=cosine)", "Softmax + R:4 (post)"]
    if isinstance(head := parse_head(name), SoftmaxConfig) and head.mixture == "max_logits"
]
OTHERS = [name for name in HEADS if name not in SUITED] + list(COUNTING)
a_history = st.lists(st.integers(0, N_ITEMS - 1) | st.integers(0, 5), min_size=1, max_size=12)


def exact(recommender, seed=0, asked=None):
    """An index that scores everything; its lists are shuffled, and ties go to any item."""
    rng, vectors = np.random.default_rng(seed), recommender.item_vectors()

    def retrieve(queries, m):
        if asked is not None:
            asked.append(m)
        products = queries @ vectors.T
        order = rng.permutation(len(vectors))
        first = order[np.argsort(-products[:, order], axis=1, kind="stable")[:, :m]]
        return rng.permuted(first, axis=1)

    return retrieve


def assert_same(recommender, histories, k, users=None, seed=0):
    """The same items in the same order, one constant between their scores; those of probability 0 in any order."""
    items, values = recommender.topk(histories, k, users)
    found, scores = recommender.topk(histories, k, users, retrieve=exact(recommender, seed))
    possible = values > -np.inf
    np.testing.assert_array_equal(scores > -np.inf, possible)
    np.testing.assert_array_equal(np.where(possible, found, -1), np.where(possible, items, -1))
    assert found.dtype == np.int64
    assert scores.dtype == values.dtype
    for ours, theirs, there in zip(scores, values, possible, strict=True):
        np.testing.assert_allclose(ours[there] - theirs[there], max(ours[0] - theirs[0], 0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", SUITED)
@settings(max_examples=15)
@given(
    st.sampled_from(sorted(ENCODERS)),
    st.lists(a_history, min_size=1, max_size=4),
    st.integers(1, 12),
    st.booleans(),
    st.integers(0, 99),
)
def test_an_exact_list_gives_the_exact_answer(head, encoder, histories, k, biased, seed):
    recommender = build(head, encoder, seed, N_ITEMS)
    if biased:
        recommender.item_bias = torch.nn.Parameter(torch.randn(N_ITEMS + 1, dtype=torch.float64))
    assert recommender.item_vectors().shape == (N_ITEMS, 6 + biased)
    assert_same(recommender, histories, k, users_of(histories), seed)


def test_all_items_can_be_asked_for():
    recommender = build("Softmax + CPR:10 + F", n_items=20)
    assert_same(recommender, [[1, 2, 1]], 20)
    assert recommender.topk([], 4, retrieve=exact(recommender))[0].shape == (0, 4)


class ByHand(Recommender):
    """A recommender with item vectors (n, d), whose facets are the same for every history."""

    def __init__(self, head, weight, **facets):
        super().__init__(MFConfig(d=weight.shape[1]), parse_head(head), len(weight), n_users=1)
        self.double().eval().embedding.weight.data[:-1] = torch.as_tensor(weight)
        self.fixed = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in facets.items()}

    def forward(self, items, at, users=None):
        return {name: value.expand(len(items), 1, -1) for name, value in self.fixed.items()}


def test_a_list_shorter_by_one_would_miss_the_answer():
    """R:5 lowers items 0 … 4, so R:2 lowers 5 and 6, and C lowers 7 and 8. The best is then item 9, tenth by V."""
    recommender = ByHand("Softmax + CR:2,5", np.arange(40.0, 0, -1)[:, None], V=[1.0], R5=[-1.0], R2=[-1.0], C=[-1.0])
    asked = []
    items, _ = recommender.topk([[7, 8, 7]], 1, retrieve=exact(recommender, asked=asked))
    assert (items.tolist(), asked) == ([[9]], [10])
    assert recommender.topk([[7, 8, 7]], 1)[0].tolist() == [[9]]


@settings(max_examples=40)
@given(
    st.lists(a_history, min_size=1, max_size=3),
    st.integers(1, 30),
    st.sampled_from(["Softmax", "Softmax + C", "Softmax + B", "Softmax + C + B (context_merge=add)", "MoS:2 + C"]),
    st.integers(0, 99),
)
def test_of_ties_any_may_come_first_and_nothing_else_changes(histories, k, head, seed):
    """Small whole numbers, so that sums are exact and most items are tied."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-1, 2, (N_ITEMS, 3)).astype(float)
    facets = {name: rng.integers(-1, 2, 3).astype(float) for name in ("V", "V_2", "C", "C_2")}
    recommender = ByHand(head, weight, **facets, B=[1.0])
    items, values = recommender.topk(histories, k, retrieve=exact(recommender, seed))
    everything = recommender.log_probs(histories)
    best = np.sort(everything, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(np.take_along_axis(everything, items, axis=1), best, rtol=0, atol=1e-12)
    np.testing.assert_allclose(values - values[:, :1], best - best[:, :1], rtol=0, atol=1e-12)
    assert all(len(set(row)) == k for row in items.tolist())


def test_many_histories_are_encoded_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("cprlab.models.recommender.HISTORIES_AT_ONCE", 2)
    recommender = build("Softmax + CPR:3", n_items=N_ITEMS)
    assert_same(recommender, [[1, 2, 1], [3], [4, 5], [6, 6], [7]], 4)


@pytest.mark.parametrize("head", OTHERS)
def test_a_head_that_cannot_be_served_is_refused_in_a_sentence(head):
    with pytest.raises(ConfigError, match=r"cannot be served from inner products: it .*Call topk without retrieve\."):
        build(head).topk([[1]], 2, retrieve=lambda queries, m: np.zeros((len(queries), m), int))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda m: [range(m - 1)], r"item codes \(whole numbers\) of shape \(1, 6\), not an array of shape \(1, 5\)"),
        (lambda m: range(m), r"of shape \(1, 6\), not an array of shape \(6,\)"),
        (lambda m: ([[0.5] * m], [range(m)]), "not something else"),
        (lambda m: [[*range(m - 1), -1]], "a code outside 0 … 29; an index that gives −1 found too few"),
        (lambda m: [[*range(m - 1), 30]], "a code outside 0 … 29"),
        (lambda m: [[*range(m - 1), 3]], "item 3 twice for one query"),
        (lambda m: None, "not something else"),
    ],
)
def test_a_wrong_list_is_refused_in_a_sentence(found, message):
    with pytest.raises(ConfigError, match=message):
        build("Softmax + C").topk([[1, 2, 1]], 4, retrieve=lambda queries, m: found(m))


def test_the_index_of_faiss_on_the_page_serves():
    """Of so few items its graph reaches all."""
    pytest.importorskip("faiss")
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "faiss" in block]
    recommender, histories = build("Softmax + CPR:10 + F", n_items=N_ITEMS).float(), [[1, 2, 1], [140]]
    names = {"recommender": recommender, "histories": histories}
    exec(code, names)
    np.testing.assert_array_equal(names["items"], recommender.topk(histories, 10)[0])
