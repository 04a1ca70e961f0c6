"""Ablated heads against the equations in loops (brute.py), on weights that the test moves to their places by hand."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from cprlab.adapters.recbole import Reference
from cprlab.errors import ConfigError
from cprlab.models import GRU4RecConfig, ablated, parse_head
from tests.models import brute
from tests.models.test_recommender import HEADS, N_ITEMS, build

HISTORIES = [[3, 3, 7, 1, 7, 3], [5], [0, 8, 29, 29]]

# A trained head, what is asked of it, and the trained facets behind those that have another name.
CHANGES = [
    ("Softmax + CPR:10", "Softmax", {}),
    ("Softmax + CPR:10", "Softmax + C", {}),
    ("Softmax + CPR:10", "Softmax + CP", {}),
    ("Softmax + CPR:10", "Softmax + R:10", {}),
    ("Softmax + CPR:10", "Softmax + CR:10 (post)", {}),
    ("Softmax + CPR:10", "Softmax + CPR:4", {"R4": "R10"}),
    ("Softmax + CPR:10", "Softmax + CPR:10 (context_merge=half, context_norm=False, rerank_merge=add)", {}),
    ("Softmax + CP (context_merge=add)", "Softmax + CP", {}),
    ("Softmax + CPR:3,8,25 + Mi", "Softmax + CPR:8,25,30 + Mi", {"R8": "R3", "R25": "R8", "R30": "R25"}),
    ("Softmax + CPR:3,8,25 + Mi", "Softmax + CPR:8 + Mi", {}),
    ("Softmax + CPR:3,8,25 + Mi", "Softmax + CPR:5,25 + Mi", {"R5": "R3"}),
    ("Softmax + CPR:3,8,25 + Mi", "Softmax + CPR:3,8,25", {}),
    ("Softmax + CPR:3,8,25 + Mi", "Softmax + R:25", {}),
    ("Softmax + Mi (projection_bias=False)", "Softmax (projection_bias=False)", {}),
    ("Softmax + CP (similarity=cosine)", "Softmax + C (similarity=cosine)", {}),
    ("Softmax + CP (tied=False)", "Softmax + C (tied=False)", {}),
    ("MoS:3 static (post)", "MoS:3 static", {}),
    ("MoS:2 + CPR:10", "MoS:2 + CPR:5", {"R5": "R10", "R5_2": "R10_2"}),
    ("MoS:2 dynamic + CPR:4,10 + Mi", "MoS:2 dynamic + CP", {}),
    ("MoS:2 dynamic + CPR:4,10 + Mi", "MoS:2 dynamic + R:4,10 + Mi (rerank_facets=1)", {}),
    ("Softmax + B", "Softmax", {}),
    ("Softmax + CPR:10 + F + Mi", "Softmax + C + F + Mi", {}),
    ("Softmax + CPR:10 + F + Mi (coefficients=linear)", "Softmax + CPR:10 + F (coefficients=linear)", {}),
    ("MoS:2 dynamic + C + F", "MoS:2 dynamic + C", {}),
    ("RepeatNet", "RepeatNet (post)", {}),
    ("RepeatNet (post)", "RepeatNet", {}),
]


def by_hand(trained, name, sources):
    """A recommender built with the asked head, with the trained one's numbers copied to their places."""
    wanted, numbers = build(name), trained.state_dict()
    with torch.no_grad():
        for key, weight in wanted.state_dict().items():
            *before, facet, kind = key.split(".")
            number = numbers[".".join([*before, sources.get(facet, facet), kind])]
            weight.copy_(number[:, : weight.shape[1]] if weight.ndim == 2 else number)  # without Mi, the first half
    return wanted


@pytest.mark.parametrize(("head", "asked", "sources"), CHANGES)
def test_an_ablated_head_is_the_equations_on_the_weights_that_were_trained(head, asked, sources):
    trained = build(head)
    other = ablated(trained, parse_head(asked))
    assert str(other.head.config) == asked
    expected = [brute.log_probs(by_hand(trained, asked, sources), history) for history in HISTORIES]
    np.testing.assert_allclose(other.log_probs(HISTORIES), expected, rtol=0, atol=1e-9)
    assert np.abs(np.exp(other.log_probs(HISTORIES)) - np.exp(trained.log_probs(HISTORIES))).max() > 1e-3


@pytest.mark.parametrize("head", HEADS)
def test_the_heads_own_name_changes_nothing(head):
    trained = build(head)
    assert (
        ablated(trained, trained.head.config).log_probs(HISTORIES).tobytes() == trained.log_probs(HISTORIES).tobytes()
    )


def test_without_c_the_logits_are_those_before_it():
    trained = build("Softmax + CPR:10 + Mi")
    (parts,) = trained.parts(HISTORIES).components
    before = parts.logits[parts.names.index("C") - 1]
    other = ablated(trained, parse_head("Softmax + R:10 + Mi"))
    np.testing.assert_allclose(other.log_probs(HISTORIES), log_softmax(before, axis=1), rtol=0, atol=1e-12)


def test_without_mi_the_second_half_of_what_is_read_is_zero():
    trained = build("MoS:2 dynamic + CPR:4,10 + Mi")
    other = ablated(trained, parse_head("MoS:2 dynamic + CPR:4,10"))
    with torch.no_grad():
        scores = other.log_probs(HISTORIES)
        for number in trained.head.mix.parameters():
            number.zero_()  # GELU(0) = 0
    np.testing.assert_allclose(scores, trained.log_probs(HISTORIES), rtol=0, atol=1e-12)


def test_weights_are_shared_and_the_trained_model_stays_as_it_is():
    trained = build("Softmax + CPR:10 + Mi")
    before = trained.log_probs(HISTORIES)
    other = ablated(trained, parse_head("Softmax + C"))
    assert other.embedding is trained.embedding
    assert other.encoder is trained.encoder
    layer = "head.maps.C"
    weight, copied = (model.get_parameter(f"{layer}.weight") for model in (trained, other))
    assert copied.data_ptr() == weight.data_ptr()
    assert ablated(trained, parse_head("Softmax + C + Mi")).get_submodule(layer) is trained.get_submodule(layer)
    assert str(trained.head.config) == "Softmax + CPR:10 + Mi"
    assert trained.log_probs(HISTORIES).tobytes() == before.tobytes()
    assert {name for name, _ in other.get_submodule("head.maps").named_children()} == {"V", "C"}


def test_maps_may_get_biases_but_not_lose_them():
    trained, with_biases = build("MoS:2 + CP + Mi (projection_bias=False)"), build("MoS:2 + CP + Mi")
    other = ablated(trained, with_biases.head.config)
    assert np.array_equal(other.log_probs(HISTORIES), trained.log_probs(HISTORIES))
    with_biases.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(with_biases.log_probs(HISTORIES), trained.log_probs(HISTORIES))
    assert all(layer.bias is None for name, layer in trained.get_submodule("head.maps").named_children())
    with pytest.raises(ConfigError, match="keep projection_bias=True"):
        ablated(with_biases, trained.head.config)


def sizes(partitions):
    return [partition.k for partition in partitions]


def test_rerankers_keep_an_order_of_their_own():
    torch.manual_seed(0)
    head = parse_head("Softmax + R:3,8,25")
    models = [
        Reference(GRU4RecConfig(d=6), head, N_ITEMS, max_len=8, at_end=True, rerank=order).double().eval()
        for order in itertools.permutations((3, 8, 25))
    ]
    with torch.no_grad():
        for weight in models[0].parameters():
            weight.normal_()
    for model in models:
        model.load_state_dict(models[0].state_dict())
    histories = [[4, 9, 9, 2], [1]]
    scores = {model.log_probs(histories).tobytes() for model in models}
    assert len(scores) > 1
    for model in models:
        other = ablated(model, model.head.config)
        assert type(other) is Reference
        assert other.log_probs(histories).tobytes() == model.log_probs(histories).tobytes()
        larger = ablated(model, parse_head("Softmax + R:4,9,26")).head.components[0].partitions
        assert [k - 1 for k in sizes(larger)] == sizes(model.head.components[0].partitions)


@pytest.mark.parametrize(
    ("head", "asked", "sentence"),
    [
        (
            "Softmax",
            "Softmax + C",
            "Softmax .* needs C, for which the trained head Softmax has no .* Possible are V or",
        ),
        ("Softmax + C", "Softmax + CP", "needs P, L, for which .* Possible are V, C or fewer"),
        ("Softmax + C", "Softmax + C + Mi", "needs Mi, for which"),
        ("Softmax + R:10", "Softmax + R:5,10", "needs R10, R5, for which .* Possible are V, R10 or"),
        ("MoS:2 + C (context_facets=1)", "MoS:2 + C", "needs C_2, for which .* Possible are V, C, V_2 or"),
        ("Softmax + B", "Softmax + F", "needs F, for which .* Possible are V, B or"),
        ("Softmax + F", "Softmax + F (coefficients=linear)", "keep coefficients=learned"),
        ("Softmax (similarity=cosine)", "Softmax", "keep similarity=cosine"),
        ("MoS:2", "MoS:3", "facets decides which weights exist; keep facets=2"),
        ("MoS:2", "MoS:2 dynamic", "keep mixture=max_logits"),
        ("RepeatNet", "Softmax", "keep kind=RepeatNet"),
        ("Softmax", "RepeatNet", "keep kind=Softmax"),
        ("Softmax + Mi", "Softmax + Mi (window=1)", "keep window=2"),
        ("Softmax", "Softmax (tied=False)", "keep tied=True"),
        ("Softmax + R:10", "Softmax + R:31", "must not be above the number of items, 30"),
    ],
)
def test_what_the_trained_head_has_no_weights_for_is_refused(head, asked, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ablated(build(head), parse_head(asked))
