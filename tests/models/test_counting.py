"""The rivals that count, batched and padded, against loops over a small log."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from cprlab.data import Sequences
from cprlab.errors import ConfigError
from cprlab.models import Context, GRU4RecConfig, Recommender, parse_head
from cprlab.training.counting import fit_counting
from tests.conftest import random_log

SEQUENCES = Sequences.from_log(random_log(users=12, items=25, longest=30), max_len=6)
HISTORIES = [[3], [1, 2, 1, 4], [5, 5, 6, 7, 5, 6], [9, 8, 7, 6, 5, 4, 3, 2, 9]]


def build(head, sequences=SEQUENCES):
    recommender = Recommender(
        GRU4RecConfig(), parse_head(head), sequences.n_items, n_users=sequences.n_users, max_len=sequences.max_len
    ).double()
    fit_counting(recommender, sequences)
    return recommender


def training_parts(sequences):
    parts = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [sequences.items[start : stop - 2].tolist() for start, stop in parts]


def popularity(sequences):
    counts = Counter(item for part in training_parts(sequences) for item in part)
    return [counts[item] for item in range(sequences.n_items)]


def mixture(sequences, history, weights, decays):
    """The equation of `Counting`, item by item."""
    n, counts = sequences.n_items, popularity(sequences)
    popular = [count / sum(counts) for count in counts]
    nexts = defaultdict(Counter)
    for part in training_parts(sequences):
        for item, behind in itertools.pairwise(part):
            nexts[item][behind] += 1
    frequency, markov = [0.0] * n, [0.0] * n
    for age, item in enumerate(reversed(history)):
        frequency[item] += decays[0] ** age
        for behind, count in nexts[item].items():
            markov[behind] += decays[1] ** age * count / nexts[item].total()
    markov = [one / sum(markov) for one in markov] if any(markov) else popular
    columns = {
        "frequency": [one / sum(frequency) for one in frequency],
        "Markov": markov,
        "popularity": popular,
        "uniform": [1 / n] * n,
    }
    return [sum(weight * columns[name][item] for name, weight in weights.items()) for item in range(n)]


@pytest.mark.parametrize("head", ["Markov", "Counts"])
def test_a_mixture_is_the_equation(head):
    recommender = build(head)
    decays = [0.6, 0.7]
    names = [component.vocabulary for component in recommender.head.components]
    shares = dict(zip(names, [0.4, 0.3, 0.2, 0.1][: len(names)], strict=True))
    shares = {name: share / sum(shares.values()) for name, share in shares.items()}
    recommender.head.weights = torch.tensor(list(shares.values()), dtype=torch.float64)
    recommender.head.decays = torch.tensor(decays, dtype=torch.float64)
    found = np.exp(recommender.log_probs(HISTORIES))
    for row, history in zip(found, HISTORIES, strict=True):
        np.testing.assert_allclose(row, mixture(SEQUENCES, history[-6:], shares, decays), rtol=1e-11)
    parts = recommender.parts(HISTORIES)
    mixed = sum(parts.weights[:, [k]] * np.exp(one.logits[-1]) for k, one in enumerate(parts.components))
    np.testing.assert_allclose(mixed, found, rtol=1e-11)
    assert [one.names[0] for one in parts.components] == names


@pytest.mark.parametrize("head", ["Markov", "Counts"])
def test_probabilities_sum_to_one_and_none_is_zero(head):
    found = np.exp(build(head).log_probs(HISTORIES))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert found.min() > 0


def test_an_item_that_nothing_followed_leaves_markov_to_popularity():
    recommender = build("Markov")
    recommender.head.starts = torch.zeros_like(recommender.head.starts)
    recommender.head.columns, recommender.head.values = torch.zeros(0, dtype=torch.int64), torch.zeros(0).double()
    counts = np.array(popularity(SEQUENCES))
    parts = recommender.parts([[1, 2]])
    np.testing.assert_allclose(np.exp(parts.components[0].logits[0, 0]), counts / counts.sum(), rtol=1e-12)


def order(head, history):
    """Sort all items, best first, by what the rival says."""
    counts, read = popularity(SEQUENCES), history[-6:]
    last = {item: place for place, item in enumerate(read)}
    keys = {
        "Popular": lambda item: counts[item],
        "Recent": lambda item: (last.get(item, -1), counts[item]),
        "Frequent": lambda item: (read.count(item), last.get(item, -1), counts[item]),
    }
    return [keys[head](item) for item in range(SEQUENCES.n_items)]


@pytest.mark.parametrize("head", ["Popular", "Recent", "Frequent"])
def test_an_ordering_ranks_as_plain_sorting_does(head):
    items, scores = build(head).topk(HISTORIES, SEQUENCES.n_items)
    for row, values, history in zip(items, scores, HISTORIES, strict=True):
        keys = order(head, history)
        assert [keys[item] for item in row] == sorted(keys, reverse=True)
        ties = [keys[one] == keys[two] for one, two in itertools.pairwise(row)]
        assert ties == (np.diff(values) == 0).tolist()


def test_an_ordering_gives_no_probabilities():
    with pytest.raises(ConfigError, match="Recent only ranks items and gives no probabilities; use topk"):
        build("Recent").log_probs([[1]])


def test_history_is_excluded_under_post():
    plain, post = build("Counts").log_probs([[1, 2]])[0], build("Counts (post)").log_probs([[1, 2]])[0]
    assert post[[1, 2]].tolist() == [-math.inf] * 2
    rest = np.delete(plain, [1, 2])
    np.testing.assert_allclose(np.delete(post, [1, 2]), rest - np.log(np.exp(rest).sum()), rtol=1e-12)


def test_every_position_is_scored_as_the_end_of_a_history():
    for head in ("Popular", "Recent", "Frequent", "Markov", "Counts"):
        recommender = build(head)
        items = torch.tensor([[1, 2, 1, 4], [5, 6, 24, 24]])
        at = torch.tensor([[0, 2], [1, 1]])
        scores = recommender.score(items, at)
        for row, column, history in ((0, 0, [1]), (0, 1, [1, 2, 1]), (1, 0, [5, 6])):
            alone = recommender.score(torch.tensor([history]), torch.tensor([[len(history) - 1]]))
            torch.testing.assert_close(scores[row, column], alone[0, 0], rtol=1e-13, atol=0)
        context = Context(items, at, 24)
        assert recommender.head.log_probs(recommender(items, at), recommender.outputs, context).shape == (2, 2, 24)
