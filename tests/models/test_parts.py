"""The parts of a prediction: which partition scores which item, what each adds, and the weights of a mixture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from tests.models import brute
from tests.models.test_recommender import HEADS, N_ITEMS, build, pieces, some_histories, users_of


@settings(max_examples=20)
@given(st.sampled_from(HEADS), st.sampled_from(["GRU4Rec", "MF"]), some_histories)
def test_the_parts_of_a_prediction_add_up_to_it(head, encoder, histories):
    recommender, users = build(head, encoder), users_of(histories)
    parts = recommender.parts(histories, users)
    scores = recommender.log_probs(histories, users=users)
    np.testing.assert_allclose(parts.log_probs, scores, rtol=0, atol=1e-12)
    finals = [component.logits[-1] for component in parts.components]
    for component, final in zip(parts.components, finals, strict=True):
        assert component.logits.shape == (len(component.names), len(histories), N_ITEMS)
        np.testing.assert_allclose(component.contributions.sum(0), final, rtol=0, atol=1e-12)
    settings = recommender.head.config
    assert (parts.weights is None) == (getattr(settings, "mixture", "") == "max_logits" and len(finals) > 1)
    if parts.weights is None:
        z = np.max(finals, axis=0)
        together = z - np.log(np.exp(z).sum(1, keepdims=True))
    else:
        np.testing.assert_allclose(parts.weights.sum(1), 1, rtol=1e-12)
        softmaxes = [np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in finals]
        with np.errstate(divide="ignore"):
            together = np.log(sum(parts.weights[:, [k]] * p for k, p in enumerate(softmaxes)))
    if recommender.head.config.post:
        together = np.array([log_softmax(brute.without(*row)) for row in zip(histories, together, strict=True)])
    np.testing.assert_allclose(together, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", ["Softmax", "Softmax + C", "Softmax + CP", "MoS:2 + C"])
def test_an_items_bias_is_added_once_whichever_partition_scores_it(head):
    recommender = build(head)
    without = recommender.parts([[1, 2, 1]]).components
    bias = torch.linspace(-3, 4, N_ITEMS + 1, dtype=torch.float64)
    recommender.item_bias = torch.nn.Parameter(bias, requires_grad=False)
    for component, before in zip(recommender.parts([[1, 2, 1]]).components, without, strict=True):
        np.testing.assert_allclose(component.logits[-1] - before.logits[-1], bias[None, :-1], rtol=0, atol=1e-12)


def test_parts_say_who_scored_what():
    recommender = build("Softmax + CPR:3,8")
    (component,) = recommender.parts([[1, 2, 1]]).components
    assert component.names == ("V", "R:8", "R:3", "C", "P")
    owner = component.owner[0]
    assert {item for item in range(N_ITEMS) if owner[item] == "C"} == {1, 2}
    base, after_8 = component.logits[0, 0], component.logits[1, 0]
    top_8, top_3 = set(np.argsort(-base)[:8]), set(np.argsort(-after_8)[:3])
    assert {item for item in range(N_ITEMS) if owner[item] == "R:3"} == top_3 - {1, 2}
    assert {item for item in range(N_ITEMS) if owner[item] == "R:8"} == top_8 - top_3 - {1, 2}
    assert {item for item in range(N_ITEMS) if owner[item] == "V"} == set(range(N_ITEMS)) - top_8 - top_3 - {1, 2}
    only_2_added = np.flatnonzero(component.contributions[component.names.index("P"), 0])
    assert set(only_2_added) == {1, 2}


@pytest.mark.parametrize("head", ["Softmax", "Softmax + C (post)"])
def test_a_facet_that_is_moved_is_explained_again(head):
    history = [1, 2, 1]
    recommender, facets, context = pieces(head, [history])
    moved = facets["V"] + torch.linspace(-2, 2, 6, dtype=torch.float64)
    parts = recommender.train().explain(facets | {"V": moved}, context)
    weight = recommender.embedding.weight.detach().numpy()[:-1]
    by_hand = np.array([sum(w * f for w, f in zip(row, moved[0, 0].tolist(), strict=True)) for row in weight])
    (component,) = parts.components
    np.testing.assert_allclose(component.logits[0, 0], by_hand, rtol=0, atol=1e-12)
    if "C" in facets:
        by_hand[[1, 2]] = -np.inf  # whatever C gives them, (post) takes away
        np.testing.assert_allclose(
            component.logits[1, 0, [1, 2]], weight[[1, 2]] @ facets["C"][0, 0].detach().numpy(), rtol=0, atol=1e-12
        )
    np.testing.assert_allclose(parts.log_probs[0], log_softmax(by_hand), rtol=0, atol=1e-12)
    assert recommender.training


def test_parts_of_repeatnet_are_a_repeat_and_an_explore_softmax():
    repeat, explore = build("RepeatNet").parts([[1, 2, 1]]).components
    assert set(np.flatnonzero(np.isfinite(repeat.logits[-1, 0]))) == {1, 2}
    assert set(np.flatnonzero(np.isinf(explore.logits[-1, 0]))) == {1, 2}
    assert repeat.names == ("repeat",)
    assert explore.names == ("V", "excluded")
    assert {"excluded"} == set(explore.owner[0, [1, 2]])
    assert set(repeat.owner[0, [1, 2]]) == {"repeat"}
    assert set(np.delete(repeat.owner[0], [1, 2])) == {""}
