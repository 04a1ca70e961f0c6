"""Metrics, intervals and calibration against loops, closed forms and simulated coverage."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from sklearn.calibration import calibration_curve as sklearn_calibration

from cprlab.evaluation import (
    BY_LENGTH,
    METRICS,
    RANKING,
    SUMMARY,
    by_bins,
    calibration,
    choose_examples,
    describe_cases,
    estimate,
    evaluate,
    gains,
    mean,
    means,
    readable,
    side_by_side,
    stacked,
)
from cprlab.evaluation.cases import measure
from cprlab.evaluation.statistics import quantile_bins
from cprlab.models import GRU4RecConfig, MFConfig, Recommender, parse_head
from cprlab.models.recommender import SCORES_AT_ONCE


@pytest.fixture(scope="module")
def recommenders(sequences):
    torch.manual_seed(0)
    made = {
        head: Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(head), sequences.n_items)
        for head in ("Softmax", "Softmax + CP", "Softmax (post)")
    }
    made["MF"] = Recommender(MFConfig(d=8), parse_head("Softmax + C"), sequences.n_items, n_users=sequences.n_users)
    with torch.no_grad():
        for recommender in made.values():
            recommender.embedding.weight[:-1].normal_()
    return made


@pytest.fixture(scope="module")
def cases(recommenders, sequences):
    return {head: evaluate(recommenders[head], sequences) for head in ("Softmax", "Softmax + CP")}


def slow_case(recommender, sequences, user, held_out):
    """What `evaluate` says of a user, counted item by item."""
    items = sequences.items[sequences.offsets[user] : sequences.offsets[user + 1]].tolist()
    before, target = items[:-held_out], items[-held_out]
    history = before[-sequences.max_len :]
    scores = recommender.log_probs([history], users=[user])[0].astype(float)
    rank = sum(scores[v] >= scores[target] for v in range(sequences.n_items))
    allowed = [v for v in range(sequences.n_items) if v not in history]
    best = sorted(range(sequences.n_items), key=lambda v: -scores[v])[:10]
    return {
        "user": user,
        "length": len(before),
        "target": target,
        "repeat": target in history,
        "rank": rank,
        "rank_post": math.nan if target in history else sum(scores[v] >= scores[target] for v in allowed),
        "log_loss": -scores[target],
        "copy_probability": sum(math.exp(scores[v]) for v in set(history)),
        "copied": sum(v in history for v in best) / 10,
    }


@pytest.mark.parametrize(("split", "held_out"), [("test", 1), ("validation", 2)])
@pytest.mark.parametrize("head", ["Softmax", "Softmax + CP", "Softmax (post)", "MF"])
def test_every_case_is_what_a_loop_counts(recommenders, sequences, head, split, held_out):
    found = evaluate(recommenders[head], sequences, split)
    slow = pd.DataFrame([slow_case(recommenders[head], sequences, u, held_out) for u in range(sequences.n_users)])
    assert slow["repeat"].nunique() == 2
    pd.testing.assert_frame_equal(found, slow, check_dtype=False, rtol=1e-5)


def test_small_batches_change_nothing(recommenders, sequences, cases, monkeypatch):
    monkeypatch.setitem(SCORES_AT_ONCE, "cpu", 3 * sequences.n_items)
    found = evaluate(recommenders["Softmax"], sequences)
    pd.testing.assert_frame_equal(found, cases["Softmax"], rtol=1e-5)


def test_ties_count_against_the_target(sequences):
    recommender = Recommender(GRU4RecConfig(d=4, hidden=4), parse_head("Softmax"), sequences.n_items)
    with torch.no_grad():
        recommender.embedding.weight.zero_()
    cases = evaluate(recommender, sequences)
    assert (cases["rank"] == sequences.n_items).all()
    assert cases["copied"].max() <= 1


def test_a_target_without_any_probability_is_last_whatever_of_the_history_is_removed():
    scores = torch.tensor([[0.0, -1.0, -2.0, -torch.inf]]).log_softmax(1)
    measured = measure(scores, torch.tensor([[0, 4, 4, 4]]), torch.tensor([[3]]))  # item 0, and padding
    assert (measured["rank"], measured["rank_post"]) == (4, 3)


def frame(rank, repeat, **more):
    base = {
        "rank": rank,
        "repeat": repeat,
        "rank_post": rank,
        "log_loss": 1.0,
        "copy_probability": 0.5,
        "copied": 0.1,
    }
    return pd.DataFrame({"user": np.arange(len(rank)), "length": np.arange(len(rank))} | base | more)


def test_metrics_by_hand():
    table = means(stacked({"A": frame([1, 2, 10, 11], [True, True, False, False])}), SUMMARY)
    value = table[table["ranking"] == "raw"].set_index(["head", "cases", "metric"])["value"]
    assert value["A", "all", "HIT@10"] == pytest.approx(3 / 4)
    assert value["A", "repeat", "MRR@10"] == pytest.approx((1 + 1 / 2) / 2)
    assert value["A", "all", "NDCG@10"] == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(11)) / 4)
    assert value["A", "new", "NDCG@10"] == pytest.approx(1 / math.log2(11) / 2)
    assert set(table["n"]) == {2, 4}
    assert "log-loss" not in set(table[table["ranking"] == "post"]["metric"])  # infinite for repeats


@pytest.mark.parametrize("head", ["Softmax", "Softmax + CP"])
def test_metrics_are_those_of_scikit_learn(recommenders, sequences, cases, head):
    """From the scores of all items, not from the ranks."""
    windows = sequences.windows("test")
    histories = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    probabilities = np.exp(recommenders[head].log_probs(histories).astype(float))
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # which rounding moved from one
    targets, items = sequences.items[sequences.offsets[1:] - 1], np.arange(sequences.n_items)
    taken = targets[:, None] == items
    hits = metrics.top_k_accuracy_score(targets, probabilities, k=10, labels=items, normalize=False)
    inverse = [
        metrics.label_ranking_average_precision_score([row], [of]) for row, of in zip(taken, probabilities, strict=True)
    ]
    repeat = np.array([target in history for target, history in zip(targets, histories, strict=True)])
    copied = np.array([of[np.unique(history)].sum() for of, history in zip(probabilities, histories, strict=True)])
    slow = {
        "NDCG@10": metrics.ndcg_score(taken, probabilities, k=10),
        "HIT@10": hits / len(targets),
        "MRR@10": np.where(np.array(inverse) >= 0.1, inverse, 0).mean(),
        "log-loss": metrics.log_loss(targets, probabilities, labels=items),
        "copy probability": copied.mean(),
        "observed repeats": repeat.mean(),
        "copy excess": copied.mean() - repeat.mean(),
        "copied in top 10": np.mean(
            [
                np.isin(np.argsort(-of)[:10], history).mean()
                for of, history in zip(probabilities, histories, strict=True)
            ]
        ),
        "Brier score": metrics.brier_score_loss(repeat, copied),
        "loss on whether": metrics.log_loss(repeat, copied),
        "loss on which": metrics.log_loss(targets, probabilities, labels=items) - metrics.log_loss(repeat, copied),
    }
    assert slow.keys() == METRICS.keys()
    for name, value in slow.items():
        assert METRICS[name](cases[head], "rank").mean() == pytest.approx(value, rel=1e-5), name
    observed, predicted = sklearn_calibration(repeat, copied, n_bins=5, strategy="quantile")
    table = calibration(cases[head], bins=5)
    assert table["predicted"].to_numpy() == pytest.approx(predicted, rel=1e-5)
    assert table["observed"].to_numpy() == pytest.approx(observed)


def test_post_scores_a_repeat_as_missed():
    ranks = frame([1, 1], [True, False], rank_post=[math.nan, 1])
    value = means(stacked({"A": ranks}), SUMMARY).set_index(["ranking", "cases", "metric"])["value"]
    assert value["post", "all", "HIT@10"] == 0.5
    assert value["post", "repeat", "HIT@10"] == 0


def test_a_group_without_cases_has_no_rows():
    assert set(means(stacked({"A": frame([1, 2, 3], [False] * 3)}), SUMMARY)["cases"]) == {"all", "new"}


def test_intervals_are_those_of_the_normal_law_for_many_users():
    values = np.random.default_rng(0).normal(2, 3, 4000)
    _, low, high, _ = estimate(values)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_hold_the_mean_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    held = sum(found.low <= 0.3 <= found.high for found in (estimate(rng.binomial(1, 0.3, 300)) for _ in range(200)))
    assert 180 <= held <= 198


def test_the_difference_is_paired():
    rng = np.random.default_rng(0)
    rank = rng.integers(1, 9, 500)
    one, other = frame(rank, rank > 4), frame(rank + 1, rank > 4)
    cases, metrics = stacked({"A": one, "B": other}), (*RANKING, "log-loss")
    table = gains(cases, {"head": "A"}, metrics)
    row = table[(table["ranking"] == "raw") & (table["cases"] == "all") & (table["metric"] == "MRR@10")].iloc[0]
    assert row["value"] == pytest.approx(np.mean(1 / (rank + 1) - 1 / rank))
    alone = (
        means(stacked({"A": one}), SUMMARY).query("metric == 'MRR@10' and cases == 'all' and ranking == 'raw'").iloc[0]
    )
    shift = 1 / rank - 1 / (rank + 1)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * shift.std() / math.sqrt(500), rel=0.15)
    assert row["high"] - row["low"] < alone["high"] - alone["low"]
    assert row["head"] == "B"
    pd.testing.assert_frame_equal(gains(cases, {"head": "A"}, metrics), table)  # nothing is drawn anew
    assert table.groupby(["ranking", "metric"])["n"].first().unique().tolist() == [500]
    assert table["ranking"].unique().tolist() == ["raw", "post"]


def test_calibration_of_a_forecaster_who_knows():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=20_000)
    repeat = rng.uniform(size=20_000) < truth
    table = calibration(frame(np.ones(20_000), repeat, copy_probability=truth))
    assert table["n"].tolist() == [2000] * 10
    assert table["predicted"].to_numpy() == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.02)
    assert table["observed"].to_numpy() == pytest.approx(table["predicted"].to_numpy(), abs=0.04)
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).mean() >= 0.8


def test_lengths_are_cut_into_bins_that_hold_everyone(cases, sequences):
    table = by_bins(stacked(cases), "length", BY_LENGTH, bins=4)
    assert set(table["metric"]) == {"NDCG@10", "copy probability", "observed repeats"}
    for _, rows in table.groupby(["head", "metric"]):
        assert rows["n"].sum() == sequences.n_users
        assert rows["n"].between(sequences.n_users / 4 - 3, sequences.n_users / 4 + 3).all()
        assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()
        assert (rows["low"] < rows["high"]).any()
    everyone = table[table["metric"] == "copy probability"].groupby("head")
    for head, rows in everyone:
        assert np.average(rows["value"], weights=rows["n"]) == pytest.approx(cases[head]["copy_probability"].mean())


def test_users_of_one_length_are_one_bin():
    table = by_bins(stacked({"A": frame([1, 2, 3], [True, False, False], length=7)}), "length", BY_LENGTH)
    assert table["n"].tolist() == [3, 3, 3]
    assert set(table["length"]) == {7}


@pytest.mark.parametrize("bins", [1, 2, 5, 8])
def test_bins_are_those_of_pandas(bins):
    values = np.random.default_rng(0).poisson(6, 200)
    assert quantile_bins(values, bins).tolist() == pd.qcut(values, bins, labels=False, duplicates="drop").tolist()


def test_examples_are_all_that_qualify_strongest_first(recommenders, cases, sequences):
    found = {}
    for example in choose_examples(recommenders, cases, sequences, each=1000):
        found.setdefault((example.kind, example.wrong), []).append(example.user)
    expected = {}
    for wrong, right in ("Softmax", "Softmax + CP"), ("Softmax + CP", "Softmax"):
        for user in range(sequences.n_users):
            one, other = cases[wrong].loc[user], cases[right].loc[user]
            less = one["copy_probability"] < other["copy_probability"]
            if one["rank"] > 10 >= other["rank"] and less == one["repeat"]:
                kind = "fails to copy" if less else "copies wrongly"
                gap = abs(one["copy_probability"] - other["copy_probability"])
                expected.setdefault((kind, wrong), []).append((-gap, sequences.user_ids[user]))
    assert found == {key: [user for _, user in sorted(users)] for key, users in expected.items()}
    assert len([user for users in found.values() for user in users]) >= 3


@pytest.mark.parametrize("heads", [("Softmax", "Softmax + CP"), ("Softmax", "MF")])
def test_examples_follow_the_rule(recommenders, sequences, heads):
    chosen = {head: recommenders[head] for head in heads}
    cases = {head: evaluate(recommender, sequences) for head, recommender in chosen.items()}
    examples = choose_examples(chosen, cases, sequences, each=3)
    assert len(examples) >= 3
    for example in examples:
        ranks = {head: (scores >= scores[example.target]).sum() for head, scores in example.log_probs.items()}
        assert ranks[example.wrong] > 10 >= ranks[example.right]
        copying = {head: np.exp(scores[np.unique(example.history)]).sum() for head, scores in example.log_probs.items()}
        if example.kind == "fails to copy":
            assert example.target in example.history
            assert copying[example.wrong] < copying[example.right]
        else:
            assert example.target not in example.history
            assert copying[example.wrong] > copying[example.right]


def test_the_readable_table_says_every_number(cases):
    summary = means(stacked(cases), SUMMARY)
    text = readable(summary, digits=2)
    row = summary.query("head == 'Softmax + CP' and metric == 'HIT@10' and cases == 'new' and ranking == 'raw'").iloc[0]
    assert (
        text.loc[("HIT@10", "Softmax + CP", "raw"), "new"]
        == f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    )
    assert list(text.columns) == ["all", "repeat", "new"]
    assert readable(summary).equals(readable(summary, digits=3))


def test_the_readable_table_keeps_the_order_of_metrics_and_of_rows_and_leaves_out_what_is_missing():
    rows = [("B", "HIT@10", "new"), ("A", "NDCG@10", "new"), ("B", "NDCG@10", "all"), ("A", "HIT@10", "all")]
    table = pd.DataFrame(rows, columns=["head", "metric", "cases"]).assign(value=[1, 2, 3, 4], low=np.nan, high=np.nan)
    text = readable(table, digits=0)
    assert text.index.names == ["metric", "head"]
    assert text.columns.name is None
    assert text.reset_index().to_numpy().tolist() == [
        ["HIT@10", "B", "", "1"],
        ["HIT@10", "A", "4", ""],
        ["NDCG@10", "A", "", "2"],
        ["NDCG@10", "B", "3", ""],
    ]


def test_tables_stand_side_by_side_as_text():
    first = pd.DataFrame({"part": ["a", "b"], "value": [1.0, 2.0], "low": [0.5, np.nan], "high": [1.5, np.nan]})
    second = pd.DataFrame({"part": ["b", "c"], "value": [3.0, np.nan], "low": [2.5, np.nan], "high": [3.25, np.nan]})
    table = side_by_side({"x": first, "y": second}, "part", digits=2)
    assert table.to_dict("index") == {
        "a": {"x": "1.00 [0.50, 1.50]", "y": ""},
        "b": {"x": "2.00", "y": "3.00 [2.50, 3.25]"},
        "c": {"x": "", "y": ""},
    }
    assert side_by_side({"x": first}, "part").loc["b", "x"] == "2.000"


def test_the_loss_is_that_on_whether_and_that_on_which():
    cases = frame(
        np.ones(5),
        [True, False, False, False, True],
        copy_probability=[0.25, 0.25, 1.0, -1e-9, 1 + 1e-9],  # sums of rounded probabilities
        log_loss=[3.0, 2.0, 30.0, 4.0, 5.0],
    )
    whether, which = (METRICS[name](cases, "rank") for name in ("loss on whether", "loss on which"))
    assert whether.tolist() == [-math.log(0.25), -math.log(0.75), 30.0, 0.0, 0.0]  # 1 − P rounded to nothing: its bound
    assert (whether + which).tolist() == pytest.approx([3.0, 2.0, 30.0, 4.0, 5.0])
    assert METRICS["Brier score"](cases, "rank").tolist() == pytest.approx([0.75**2, 0.25**2, 1.0, 0.0, 0.0])


@pytest.mark.parametrize(("split", "held_out"), [("test", 1), ("validation", 2)])
def test_cases_are_described_as_a_loop_describes_them(sequences, cases, split, held_out):
    found = describe_cases(sequences, split).set_index("user")
    users = [sequences.items[a:b].tolist() for a, b in zip(sequences.offsets, sequences.offsets[1:], strict=False)]
    training = [item for items in users for item in items[:-2]]
    for user, items in enumerate(users):
        *before, target = items[: len(items) + 1 - held_out]
        read = before[-sequences.max_len :]
        gap = read[::-1].index(target) + 1 if target in read else math.nan
        popular = [training.count(item) for item in read]
        expected = {"gap": gap, "target_popularity": training.count(target), "history_popularity": np.median(popular)}
        assert found.loc[user].to_dict() == pytest.approx(expected, nan_ok=True)
    if split == "test":
        pd.testing.assert_frame_equal(describe_cases(sequences).set_index("user"), found)
        assert (found["gap"].notna() == cases["Softmax"]["repeat"]).all()


def several_cases(seed=0):
    """A table with one to four cases a user, and what each metric is worth by plain loops."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    repeat = rng.random(len(users)) < 0.5
    rank = rng.integers(1, 15, len(users))
    return pd.DataFrame(
        {
            "user": users, "length": 5 + users % 7, "target": 0, "repeat": repeat, "rank": rank,
            "rank_post": np.where(repeat, np.nan, rank), "log_loss": rng.random(len(users)) + 3,
            "copy_probability": rng.random(30)[users], "copied": 0.1,
        }
    )  # fmt: skip


def test_a_metric_is_a_mean_over_a_users_cases_and_then_over_users():
    cases = several_cases()
    table = means(stacked({"a": cases}), SUMMARY).query("ranking == 'raw'")
    table = table.set_index(["head", "cases", "metric"])
    for group, rows in (("all", cases), ("repeat", cases[cases["repeat"]]), ("new", cases[~cases["repeat"]])):
        of_user = [
            np.mean([1 / np.log2(1 + rank) if rank <= 10 else 0 for rank in rows.loc[rows["user"] == user, "rank"]])
            for user in rows["user"].unique()
        ]
        found = table.loc[("a", group, "NDCG@10")]
        assert found["value"] == pytest.approx(np.mean(of_user), abs=1e-12)
        assert found["n"] == len(of_user)
        assert found[["low", "high"]].tolist() == pytest.approx(estimate(np.array(of_user))[1:3], abs=1e-12)
    other = cases.assign(rank=cases["rank"] + 1)
    gain = gains(stacked({"a": cases, "b": other}), {"head": "a"}, ("log-loss",), groups=("all",))
    assert gain["n"].item() == 30
    assert mean(cases, "HIT@10") == pytest.approx(
        np.mean([(rows["rank"] <= 10).mean() for _, rows in cases.groupby("user")])
    )
    assert calibration(cases)["n"].sum() == 30
    assert by_bins(stacked({"a": cases}), "length")["n"].sum() == 30
