"""The copy probability against loops and `evaluate`, and its scores as a forecast against closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax

from cprlab.errors import DataError
from cprlab.evaluation import SUMMARY, by_bins, calibration, evaluate, gains, means, stacked
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.probes import Snapshot, copy_probability, copy_scores


def random_snapshot(seed, n=25, d=4, m=30, biased=True):
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, n, rng.integers(1, 9)).tolist() for _ in range(m)]
    targets = [rng.choice(history) if rng.random() < 0.5 else rng.integers(n) for history in histories]
    return Snapshot(
        rng.normal(size=(n, d)),
        rng.normal(size=(m, d)),
        histories,
        np.array(targets),
        rng.normal(size=n) if biased else None,
    )


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans())
def test_each_column_is_that_of_a_loop(seed, biased):
    snapshot = random_snapshot(seed, biased=biased)
    cases = copy_probability(snapshot)
    assert cases["case"].tolist() == list(range(len(snapshot)))
    for row, state, history, target in zip(
        cases.itertuples(), snapshot.states, snapshot.histories, snapshot.targets, strict=True
    ):
        scores = snapshot.item_embeddings @ state + (snapshot.bias if biased else 0)
        p = softmax(scores)
        seen = set(history.tolist())
        new = [item for item in range(len(p)) if item not in seen]
        best = sorted(range(len(p)), key=lambda item: -p[item])
        assert (row.length, row.target, row.repeat) == (len(history), target, target in seen)
        assert row.copy_probability == pytest.approx(sum(p[item] for item in seen), rel=1e-10)
        assert row.log_loss == pytest.approx(-np.log(p[target]), rel=1e-10)
        assert row.rank == best.index(target) + 1
        if target in seen:
            assert np.isnan(row.rank_post)
        else:
            assert row.rank_post == 1 + sum(p[item] > p[target] for item in new)
        assert row.copied == pytest.approx(sum(item in seen for item in best[:10]) / 10)


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        (GRU4RecConfig(d=8, hidden=8), "Softmax"),
        (SASRecConfig(d=8, layers=1, heads=2, inner=8), "Softmax (tied=False)"),
    ],
)
def test_it_agrees_with_evaluate_case_by_case(sequences, encoder, head):
    torch.manual_seed(0)
    model = Recommender(encoder, parse_head(head), sequences.n_items, max_len=sequences.max_len).double()
    with torch.no_grad():
        model.embedding.weight *= 8  # so that probabilities differ
    cases = copy_probability(Snapshot.from_sequences(model, sequences))
    expected = evaluate(model, sequences)
    for column in ("target", "repeat", "rank", "rank_post", "copied"):
        np.testing.assert_array_equal(cases[column], expected[column], err_msg=column)
    for column in ("log_loss", "copy_probability"):
        np.testing.assert_allclose(cases[column], expected[column], rtol=1e-10, err_msg=column)
    assert cases["length"].tolist() == np.minimum(expected["length"], 20).tolist()  # what is read
    assert list(cases.columns[1:]) == list(expected.columns[1:])
    pd.testing.assert_frame_equal(means(stacked({"a": cases}), SUMMARY), means(stacked({"a": expected}), SUMMARY))
    assert gains(stacked({"a": cases, "b": cases}), {"head": "a"}, SUMMARY)["value"].eq(0).all()
    assert len(by_bins(stacked({"a": cases}), "length"))
    assert len(calibration(cases))


def test_tied_scores_count_against_the_target():
    snapshot = Snapshot(np.ones((4, 1)), np.ones((2, 1)), [[0, 1], [2]], [3, 2])
    cases = copy_probability(snapshot)
    assert cases["rank"].tolist() == [4, 4]
    assert cases["rank_post"].tolist()[0] == 2
    assert cases["copy_probability"].tolist() == pytest.approx([0.5, 0.25])
    assert cases["log_loss"].tolist() == pytest.approx([np.log(4)] * 2)


def frame(predicted, repeat):
    return pd.DataFrame({"copy_probability": np.array(predicted, float), "repeat": np.array(repeat, bool)})


def scores(cases, **options):
    table = copy_scores(cases, **options)
    assert table["measure"].tolist() == [
        "copy probability",
        "repeats",
        "calibration error",
        "Brier score",
        "AUC",
        "loss on the history",
        "loss off the history",
    ]
    return table.set_index("measure")


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_the_scores_are_those_of_loops(seed):
    rng = np.random.default_rng(seed)
    m = 10 * int(rng.integers(2, 20))
    predicted = np.round(rng.beta(2, 3, m), 2).clip(0.01, 0.99)  # with ties
    repeat = rng.random(m) < predicted
    repeat[:2] = True, False
    found = scores(frame(predicted, repeat))["value"]

    order = sorted(range(m), key=lambda case: predicted[case])  # stable, so ties keep their order
    size = m // 10
    gaps = [
        abs(sum(predicted[case] - repeat[case] for case in order[start : start + size])) / size
        for start in range(0, m, size)
    ]
    assert found["calibration error"] == pytest.approx(sum(gaps) / 10, abs=1e-12)
    assert found["Brier score"] == pytest.approx(sum((p - y) ** 2 for p, y in zip(predicted, repeat, strict=True)) / m)
    on, off = predicted[repeat], predicted[~repeat]
    u = stats.mannwhitneyu(on, off).statistic
    assert found["AUC"] == pytest.approx(u / (len(on) * len(off)))
    assert found["loss on the history"] == pytest.approx(sum(-np.log(p) for p in on) / len(on))
    assert found["loss off the history"] == pytest.approx(sum(-np.log(1 - p) for p in off) / len(off))
    assert found["copy probability"] == pytest.approx(sum(predicted) / m)
    assert found["repeats"] == pytest.approx(len(on) / m)


def test_a_forecast_that_is_right_on_average_has_the_scores_of_theory():
    m = 100
    predicted = np.repeat([0.2, 0.6], m)
    repeat = np.concatenate([np.arange(m) < 20, np.arange(m) < 60])
    repeat = repeat.reshape(2, 10, 10).swapaxes(1, 2).ravel()  # so each bin of 20 has its share
    found = scores(frame(predicted, repeat))
    assert found["value"]["calibration error"] == pytest.approx(0, abs=1e-12)
    assert found["value"]["Brier score"] == pytest.approx((0.2 * 0.8 + 0.6 * 0.4) / 2)
    # of a repeat and a new item: P(0.6 against 0.2) + P(equal) / 2
    assert found["value"]["AUC"] == pytest.approx((60 * 80 + (20 * 80 + 60 * 40) / 2) / (80 * 120))
    assert found["value"]["loss on the history"] == pytest.approx(-(20 * np.log(0.2) + 60 * np.log(0.6)) / 80)
    assert found["value"]["loss off the history"] == pytest.approx(-(80 * np.log(0.8) + 40 * np.log(0.4)) / 120)
    assert found["n"].tolist() == [200, 200, 200, 200, 200, 80, 120]


def test_intervals_are_the_bootstraps_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.1, 0.9, 400)
    cases = frame(predicted, rng.random(400) < predicted)
    found = scores(cases)
    pd.testing.assert_frame_equal(found, scores(cases, seed=0))
    assert not found.equals(scores(cases, seed=1))
    for measure, values in (
        ("copy probability", predicted),
        ("Brier score", (predicted - cases["repeat"]) ** 2),
        ("loss off the history", -np.log(1 - predicted[~cases["repeat"]])),
    ):
        arm = 1.96 * np.std(values) / np.sqrt(len(values))
        low, high = found.loc[measure, ["low", "high"]]
        assert low == pytest.approx(np.mean(values) - arm, abs=0.2 * arm)
        assert high == pytest.approx(np.mean(values) + arm, abs=0.2 * arm)
    assert found.loc[["AUC", "calibration error"], ["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("all_repeat", [True, False])
def test_where_all_repeat_or_none_what_is_not_defined_is_nan(all_repeat):
    found = scores(frame([0.3, 0.4, 0.5], [all_repeat] * 3))
    there, missing = ("on", "off") if all_repeat else ("off", "on")
    assert np.isnan(found["value"]["AUC"])
    assert np.isnan(found["value"][f"loss {missing} the history"])
    assert found["n"][f"loss {missing} the history"] == 0
    p = np.array([0.3, 0.4, 0.5])
    assert found["value"][f"loss {there} the history"] == pytest.approx(-np.log(p if all_repeat else 1 - p).mean())
    assert found["value"]["calibration error"] == pytest.approx(np.mean(1 - p if all_repeat else p))


def test_a_certain_forecast_that_is_wrong_costs_without_end():
    found = scores(frame([0.0, 1.0, 1.0 + 1e-7, 0.5], [True, False, True, False]))  # rounding may pass 1
    assert found["value"]["loss on the history"] == found["value"]["loss off the history"] == np.inf
    assert found.loc["loss on the history", ["low", "high"]].isna().all()
    assert found["value"]["Brier score"] == pytest.approx((1 + 1 + 0 + 0.25) / 4)


def test_scores_that_overflow_are_refused():
    weight = np.array([[1e30, 1e30], [0, 1e30], [1e30, -1e30]], np.float32)
    with pytest.raises(DataError, match="case 0 overflow float32"):
        copy_probability(Snapshot(weight, np.array([[1e30, 0]] * 2, np.float32), [[0], [1]], [0, 0]))
