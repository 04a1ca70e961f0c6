"""The table of parts, what heads say of themselves, and B and F against closed forms, loops and finite differences."""

import math
import re
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch

from cprlab.models import PARTS, Context, HeadConfig, Recommender, SoftmaxConfig, parse_head
from cprlab.models.partitions import Frequency
from cprlab.training.kernel import chunked
from cprlab.training.loss import CrossEntropy
from tests.models import brute
from tests.models.test_recommender import ENCODERS, HEADS, N_ITEMS, build

METHOD = (Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8")
HISTORY = [3, 3, 7, 1, 7, 3]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.letter)
def test_every_part_is_a_field_and_an_equation(part):
    assert SoftmaxConfig.model_fields[part.field].default in (False, ())
    assert set(part.weights) <= set(part.options) <= set(SoftmaxConfig.model_fields)
    assert re.search(rf"\b{part.letter}(:k)?(\*\*|:|,)", METHOD)
    assert all(f"`{option}" in METHOD for option in part.options)


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_a_union_told_apart_by_their_kind(name):
    head = parse_head(name)
    assert pydantic.TypeAdapter(HeadConfig).validate_python(head.model_dump()) == head


@pytest.mark.parametrize(
    ("head", "plain", "vocabulary", "states"),
    [
        ("Softmax", True, "V", "V"),
        ("Softmax + Mi (tied=False)", True, "V", "V"),
        ("Softmax (post)", False, "V", "V"),
        ("Softmax + B", False, "V", "V"),
        ("Softmax + CPR:4 + F", False, "V", "V R4 C P"),
        ("Softmax + F (coefficients=linear)", False, "V", "V"),
        ("MoS:2", False, "V V_2", "V V_2"),
        ("MoS:2 dynamic + CP", False, "V V_2", "V C P V_2 C_2"),
        ("RepeatNet", False, "V", "V"),
    ],
)
def test_a_head_says_what_it_scores_with(head, plain, vocabulary, states):
    told = build(head).head
    assert (told.plain, told.vocabulary, told.states) == (plain, tuple(vocabulary.split()), tuple(states.split()))


def test_weights_are_drawn_for_each_softmax_before_those_that_all_share():
    """So that a seed means the same numbers, whatever else a head has."""
    maps = build("MoS:2 dynamic + CPR:4 + F (context_facets=1, coefficients=linear)").head.maps
    assert list(maps) == ["V", "R4", "C", "V_2", "R4_2", "P", "L", "F", "mixture"]


@pytest.mark.parametrize(
    "part", ["B", "F", "F (coefficients=linear)", "F (coefficients=linear, projection_bias=False)"]
)
def test_before_training_b_and_f_add_nothing_and_delta_is_a_half(part):
    head, models = parse_head(f"Softmax + {part}"), []
    for one in (head, head.switched(shift=False, frequency=False)):
        torch.manual_seed(0)
        models.append(Recommender(ENCODERS["GRU4Rec"], one, N_ITEMS, max_len=12).double())
    models[1].load_state_dict(models[0].state_dict(), strict=False)
    scores = [model.log_probs([HISTORY]) for model in models]
    np.testing.assert_array_equal(scores[0], scores[1])
    items, at, _ = models[0].collate([HISTORY])
    if "F" in part:
        assert torch.nn.functional.softplus(models[0](items, at)["F"][0, 0, 3]).item() == pytest.approx(0.5, rel=1e-6)


def context(histories, dtype=torch.int64):
    """What is seen of histories of one length at every position."""
    items = torch.tensor(histories, dtype=dtype)
    return Context(items, torch.arange(items.shape[1]).expand(len(items), -1), N_ITEMS)


def test_counts_and_ages_by_hand():
    """Of 3 3 7 1 7 3 after the last item: 3 is of the ages 1, 5 and 6, 7 of 2 and 4, 1 of 3; with δ = 1 ages divide."""
    seen = context([HISTORY])
    raw = math.log(math.expm1(1.0))
    facets = {"F": torch.tensor([10.0, 100.0, 1.0, raw], dtype=torch.float64).expand(1, 6, 4)}
    owned, scores = Frequency(False).score(torch.zeros(1, 6, N_ITEMS + 1, dtype=torch.float64), facets, None, seen)
    assert owned[0, -1].tolist() == [3, N_ITEMS, 7, 1, N_ITEMS, N_ITEMS]
    expected = {3: (3, 1 + 1 / 5 + 1 / 6), 7: (2, 1 / 2 + 1 / 4), 1: (1, 1 / 3)}
    found = {int(item): value for item, value in zip(owned[0, -1], scores[0, -1].tolist(), strict=True)}
    for item, (count, kept) in expected.items():
        assert found[item] == pytest.approx(10 + 100 * math.log(1 + count) + math.log(kept), rel=1e-12)


@pytest.mark.parametrize("delta", [1e-3, 0.5, 5.0, 40.0, 500.0])
def test_in_single_precision_a_large_decay_is_not_lost(delta):
    """The item of the age 50 has 50^−δ of activation, which no float32 holds from δ = 27 on; its logarithm can."""
    history = [4, 4, *range(10, 28), *range(10, 28), 5, *range(10, 21)]
    seen = context([history])
    raw = torch.tensor(delta, dtype=torch.float64).expm1().log() if delta < 30 else torch.tensor(delta)
    facets = {"F": torch.tensor([0.0, 0.0, 1.0, float(raw)]).expand(1, len(history), 4).contiguous().requires_grad_()}
    owned, scores = Frequency(False).score(torch.zeros(1, len(history), N_ITEMS + 1), facets, None, seen)
    for item, score in zip(owned[0, -1].tolist(), scores[0, -1].tolist(), strict=True):
        if item < N_ITEMS:
            ages = np.array([len(history) - j for j, other in enumerate(history) if other == item])
            assert score == pytest.approx(np.logaddexp.reduce(-delta * np.log(ages)), rel=1e-5, abs=1e-5)
    scores.sum().backward()
    assert facets["F"].grad.isfinite().all()


@pytest.mark.parametrize("raw", [-30.0, 5.0, 19.0, 21.0, 30.0, 39.0, 41.0])
def test_in_double_precision_delta_is_the_softplus_of_its_number(raw):
    """An item read once, four positions before the last one, has the age 5 and the activation −δ log 5."""
    seen = context([[2, 0, 1, 3, 4]])
    facets = {"F": torch.tensor([0.0, 0.0, 1.0, raw], dtype=torch.float64).expand(1, 5, 4)}
    _, scores = Frequency(True).score(torch.zeros(1, 5, N_ITEMS + 1, dtype=torch.float64), facets, None, seen)
    assert scores[0, -1, 0].item() == pytest.approx(-np.logaddexp(0, raw) * math.log(5), rel=1e-14)


def test_gradients_of_f_are_finite_differences():
    seen = context([HISTORY, [5, 2, 5, N_ITEMS, N_ITEMS, N_ITEMS]])
    z = torch.zeros(2, 6, N_ITEMS + 1, dtype=torch.float64)
    torch.manual_seed(0)
    numbers = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)

    def scores(numbers):
        owned, scores = Frequency(True).score(z, {"F": numbers}, None, seen)
        return scores[owned < N_ITEMS]

    assert torch.autograd.gradcheck(scores, (numbers,))


@pytest.mark.parametrize("head", ["Softmax + B", "Softmax + F", "MoS:2 static + F", "MoS:3 + C + B"])
def test_the_kernels_gradients_of_the_learned_numbers_are_finite_differences_of_the_loops(head):
    recommender = build(head)
    (numbers,) = recommender.head.learned.values()
    targets = [5, 3, 3, 9, 7, 1]
    items, at, _ = recommender.collate([HISTORY])
    at = torch.arange(6)[None]
    facets, loss, wanted = recommender(items, at), CrossEntropy(), torch.tensor([targets])
    seen = Context(items, at, N_ITEMS)
    args = (loss, recommender.head, facets, recommender.outputs, seen, wanted, loss.draw(wanted))
    chunked(*args).backward()

    def by_loops():
        return -sum(brute.log_probs(recommender, HISTORY[: t + 1])[target] for t, target in enumerate(targets))

    for place in range(len(numbers)):
        around = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                numbers[place] += step
            around.append(by_loops())
        with torch.no_grad():
            numbers[place] += 1e-5
        expected = (around[0] - around[1]) / 2e-5
        assert numbers.grad[place].item() == pytest.approx(expected, rel=1e-6, abs=1e-7)
        assert abs(expected) > 1e-4


@pytest.mark.parametrize("repeats", [1, 4])
def test_where_nothing_else_is_known_the_best_b_is_that_of_the_share_of_repeats(repeats):
    """p = c eᵇ / (c eᵇ + n − c) for c distinct items of n: its gradient is 0 where p is the share of targets there."""
    recommender = build("Softmax + B")
    with torch.no_grad():
        for weight in recommender.head.maps.parameters():
            weight.zero_()
        p, c = repeats / 5, 3
        recommender.head.learned["B"][0] = math.log(p * (N_ITEMS - c) / ((1 - p) * c))
    items = torch.tensor([HISTORY] * 5)
    at, targets = torch.full((5, 1), 5), torch.tensor([[3]] * repeats + [[20]] * (5 - repeats))
    facets, loss = recommender(items, at), CrossEntropy()
    args = (facets, recommender.outputs, Context(items, at, N_ITEMS), targets, loss.draw(targets))
    chunked(loss, recommender.head, *args).backward()
    assert abs(recommender.head.learned["B"].grad.item()) < 1e-12
    assert np.exp(recommender.log_probs([HISTORY]))[0, [3, 7, 1]].sum() == pytest.approx(p)


def test_parts_tell_what_b_and_f_add():
    for letter in "BF":
        recommender = build(f"Softmax + CPR:4 + {letter}")
        (component,) = recommender.parts([HISTORY]).components
        assert component.names == ("V", "R:4", "C", "P", letter)
        added = component.contributions[-1, 0]
        numbers = recommender.head.learned[letter].detach().numpy()
        for item in range(N_ITEMS):
            by_hand = (
                numbers[0] if letter == "B" else brute.activation(HISTORY, item, numbers) if item in HISTORY else 0
            )
            assert added[item] == pytest.approx(by_hand if item in HISTORY else 0, abs=1e-12)
        assert {item for item in range(N_ITEMS) if component.owner[0, item] == letter} == set(HISTORY)
