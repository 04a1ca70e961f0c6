"""A temperature and a shift of the history, against dense arithmetic and a grid search."""

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab.data import Sequences
from cprlab.errors import ConfigError
from cprlab.evaluation import Scaling, evaluate, fit_shift, fit_temperature
from cprlab.models import GRU4RecConfig, Recommender, parse_head


def recommender(sequences, head="Softmax + CP"):
    torch.manual_seed(0)
    made = Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(head), sequences.n_items).double()
    with torch.no_grad():
        made.embedding.weight[:-1].normal_()
    return made


def dense(made, sequences, split):
    """All log-probabilities (m, n), which items were read (m, n), and the targets (m,)."""
    windows = sequences.windows(split)
    histories = [sequences.items[a:b] for a, b in zip(windows.start, windows.stop, strict=True)]
    inside = np.zeros((len(histories), sequences.n_items), dtype=bool)
    for row, history in zip(inside, histories, strict=True):
        row[history] = True
    return made.log_probs(histories), inside, sequences.items[windows.stop]


@pytest.mark.parametrize("head", ["Softmax", "MoS:2 dynamic + C", "Softmax (post)"])
@pytest.mark.parametrize(("temperature", "shift"), [(2.5, 0.0), (0.4, 0.0), (1.0, -1.5), (0.7, 2.0)])
def test_scaled_cases_are_those_of_scaled_probabilities(sequences, head, temperature, shift):
    made = recommender(sequences, head)
    log_p, inside, targets = dense(made, sequences, "test")
    p = np.exp(log_p) ** (1 / temperature) * np.exp(shift * inside)
    p /= p.sum(1, keepdims=True)
    found = evaluate(made, sequences, scale=Scaling(temperature, shift))
    places = np.arange(len(p))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found["log_loss"], -np.log(p[places, targets]), rtol=1e-9)
    np.testing.assert_allclose(found["copy_probability"], (p * inside).sum(1), rtol=1e-9)
    np.testing.assert_array_equal(found["rank"], (p >= p[places, targets][:, None]).sum(1))


def test_a_temperature_keeps_the_order_and_a_shift_the_proportions(sequences):
    made = recommender(sequences)
    plain, hot, shifted = (evaluate(made, sequences, scale=scale) for scale in (None, Scaling(3.0), Scaling(shift=1.0)))
    pd.testing.assert_series_equal(hot["rank"], plain["rank"])
    pd.testing.assert_series_equal(shifted["rank_post"], plain["rank_post"])
    assert (shifted["copy_probability"] > plain["copy_probability"]).all()


@pytest.mark.parametrize("head", ["Softmax", "Softmax + CP", "MoS:2 dynamic"])
def test_no_temperature_of_a_grid_does_better(sequences, head):
    made = recommender(sequences, head)
    log_p, _, targets = dense(made, sequences, "validation")

    def loss(temperature):
        scaled = log_p / temperature
        return (np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(scaled)), targets]).mean()

    found = fit_temperature(made, sequences).temperature
    grid = np.exp(np.linspace(np.log(0.02), np.log(50), 300))
    assert loss(found) <= min(map(loss, grid)) + 1e-5
    assert loss(found) < loss(1.0) - 1e-3


def test_the_shift_makes_the_mean_copy_probability_the_share_of_repeats(sequences):
    made = recommender(sequences)
    log_p, inside, targets = dense(made, sequences, "validation")
    p = (np.exp(log_p) * inside).sum(1)
    repeat = inside[np.arange(len(p)), targets]
    assert 0 < repeat.sum() < len(repeat)
    found = fit_shift(made, sequences).shift
    moved = 1 / (1 + np.exp(-np.log(p / (1 - p)) - found))
    assert moved.mean() == pytest.approx(repeat.mean(), abs=1e-3)  # where the derivative of the loss is zero


def test_where_nobody_repeats_the_best_shift_leaves_the_history_out():
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(30)[:8] for _ in range(20)]).astype(np.int32)
    names = np.arange(30), np.array([str(item) for item in range(30)], dtype=object)
    sequences = Sequences.pack(items, np.full(20, 8), np.arange(20), *names, max_len=20, name="first", notes=())
    made = recommender(sequences)
    scale = fit_shift(made, sequences)
    assert scale.shift == -30
    cases = evaluate(made, sequences, scale=scale)
    assert cases["copy_probability"].max() < 1e-9
    np.testing.assert_array_equal(cases["rank"], cases["rank_post"])


def test_a_head_that_excludes_the_history_has_no_temperature(sequences):
    with pytest.raises(ConfigError, match=r"Softmax \(post\) gives a validation item probability 0"):
        fit_temperature(recommender(sequences, "Softmax (post)"), sequences)
