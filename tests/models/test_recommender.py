"""The heads, batched and padded, against the equations in loops (brute.py), in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.errors import ConfigError
from cprlab.models import Context, EncoderConfig, Recommender, parse_head
from tests.models import brute
from tests.models.test_names import NAMES

N_ITEMS = 30
HEADS = [name.replace("20,100,500", "3,8,25").replace("100", "10") for name in NAMES]


def build(head, layers=1, seed=0, n_items=N_ITEMS, d=6):
    torch.manual_seed(seed)
    recommender = Recommender(EncoderConfig(d=d, hidden=5, layers=layers), parse_head(head), n_items).double()
    with torch.no_grad():
        for weight in recommender.parameters():
            weight.normal_(std=0.7)
        recommender.embedding.weight[n_items] = 1e3  # padding is never looked at, so its value has no effect
    return recommender.eval()


histories_of_any_length = st.lists(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=50), min_size=1, max_size=4
)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=8, deadline=None)
@given(histories=histories_of_any_length, few=st.booleans(), seed=st.integers(0, 99))
def test_scores_are_the_equations(head, layers, histories, few, seed):
    if few:  # many duplicates
        histories = [[item % 4 for item in history] for history in histories]
    recommender = build(head, layers, seed)
    with torch.no_grad():
        expected = torch.stack([brute.log_probs(recommender, history) for history in histories]).numpy()
    np.testing.assert_allclose(recommender.log_probs(histories), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_every_position_sees_only_what_came_before(head):
    recommender = build(head)
    history = [3, 3, 7, 1, 7, 3, 9, 1]
    items, at = torch.tensor([history]), torch.arange(len(history))[None]
    together = recommender.score(items, at)[0].detach().numpy()
    for place in range(len(history)):
        alone = recommender.log_probs([history[: place + 1]])[0]
        np.testing.assert_allclose(together[place], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_padding_is_never_scored(head):
    recommender = build(head)
    histories = [[1, 2, 3, 3], [4], [5, 6]]
    scores = recommender.log_probs(histories)
    for value in (0.0, -1e3):
        with torch.no_grad():
            recommender.embedding.weight[N_ITEMS] = value
        np.testing.assert_array_equal(recommender.log_probs(histories), scores)
    assert scores.shape == (3, N_ITEMS)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(histories_of_any_length)
def test_only_history_items_change_with_the_context_facet(histories):
    recommender = build("Softmax + CP")
    items = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(history) for history in histories], batch_first=True, padding_value=N_ITEMS
    )
    at = torch.tensor([[len(history) - 1] for history in histories])
    facets, weight, context = (
        recommender(items, at),
        recommender.embedding.weight,
        Context(items, at, N_ITEMS),
    )
    before = recommender.head.logits(facets, weight, context)
    after = recommender.head.logits(facets | {"C": facets["C"] + 1}, weight, context)
    changed = (before != after)[:, 0].detach().numpy()
    for row, history in enumerate(histories):
        assert set(np.flatnonzero(changed[row])) == set(history)


def test_equal_facets_make_a_plain_softmax():
    recommender = build("Softmax + CR:5")
    items, at = torch.tensor([[1, 2, 1]]), torch.tensor([[2]])
    facets, weight = recommender(items, at), recommender.embedding.weight
    same = dict.fromkeys(facets, facets["V"])
    scores = recommender.head.log_probs(same, weight, Context(items, at, N_ITEMS))[0, 0]
    plain = torch.log_softmax(weight[:-1] @ facets["V"][0, 0], dim=0)
    torch.testing.assert_close(scores, plain, rtol=0, atol=1e-12)


def test_unusable_histories_and_rerankers_are_refused_in_a_sentence():
    recommender = build("Softmax")
    with pytest.raises(ConfigError, match="History 1 is empty"):
        recommender.log_probs([[1], []])
    with pytest.raises(ConfigError, match="History 0 holds an item outside 0 … 29"):
        recommender.log_probs([[30]])
    with pytest.raises(ConfigError, match="History 0 holds something that is not a whole number"):
        recommender.log_probs([[1.7]])
    assert recommender.log_probs([]).shape == (0, N_ITEMS)
    with pytest.raises(ConfigError, match=r"such as Softmax \+ CPR:3"):
        build("Softmax + CPR:30")
    with pytest.raises(ConfigError, match="k = 30 must be below the number of items, 30"):
        build("Softmax + CPR:30")
