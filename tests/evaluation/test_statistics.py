"""Values and intervals of many runs, against loops, closed forms and SciPy."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cprlab.errors import ConfigError
from cprlab.evaluation import gains, geometric_mean_gains, means, signed_ranks
from cprlab.evaluation.bootstrap import USERS_AT_ONCE, resampled_means
from cprlab.sweeps import comparable, tuned
from cprlab.sweeps.results import Results

HEADS = ("Softmax", "Softmax + C", "Softmax + CP")
BASE = {"head": "Softmax"}


def made_up(data=("a", "b", "c"), seeds=2, users=40, seed=0) -> pd.DataFrame:
    """Cases of runs that nobody trained: in log "a" nothing repeats, and what repeats has no rank in post."""
    rng = np.random.default_rng(seed)
    rows = []
    for log in data:
        repeat = rng.random(users) < (0 if log == "a" else 0.4)
        for head, run in itertools.product(HEADS, range(seeds)):
            rank = rng.integers(1, 30, users)
            rows.append(
                pd.DataFrame(
                    {
                        "data": log, "encoder": "GRU4Rec", "head": head, "seed": run, "user": range(users),
                        "repeat": repeat, "rank": rank, "rank_post": np.where(repeat, np.nan, np.maximum(1, rank - 3)),
                        "log_loss": rng.exponential(5, users), "copy_probability": rng.random(users),
                    }
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def ndcg(rank):
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0  # of nan, 0


def mean_of(cases, rank, group, **labels):
    """The mean NDCG@10 in a loop."""
    values = []
    for row in cases.to_dict("records"):
        in_group = group == "all" or row["repeat"] == (group == "repeat")
        if in_group and all(row[name] == value for name, value in labels.items()):
            values.append(ndcg(row[rank]))
    return sum(values) / len(values)


def test_each_gain_has_its_verdict():
    """Thirty users move from the third place to the first; with the history left out they stay."""
    user = np.arange(30)
    base = pd.DataFrame({"head": "A", "seed": 0, "user": user, "repeat": user < 12, "rank": 3, "rank_post": 3})
    base = base.assign(log_loss=2.0, copy_probability=0.5)
    other = base.assign(head="B", rank=1, rank_post=3, log_loss=1.5, copy_probability=0.6)
    found = gains(pd.concat([base, other]), {"head": "A"}, ("NDCG@10", "log-loss", "copy probability"))
    verdicts = {(row.metric, row.ranking, row.cases): row.verdict for row in found.itertuples()}
    assert verdicts["NDCG@10", "raw", "all"] == "better"
    assert verdicts["NDCG@10", "raw", "repeat"] == verdicts["NDCG@10", "raw", "new"] == "too few users to tell"
    assert verdicts["NDCG@10", "post", "all"] == "no difference shown"
    assert verdicts["log-loss", "raw", "all"] == "better"
    assert verdicts["copy probability", "raw", "all"] == "more"
    turned = gains(pd.concat([base, other]), {"head": "B"}, ("NDCG@10", "log-loss"), groups=("all",))
    assert turned["verdict"].tolist() == ["worse", "no difference shown", "worse"]


def test_means_are_those_of_a_loop():
    cases = made_up()
    table = means(cases, ("NDCG@10", "log-loss"))
    assert set(table[table["data"] == "a"]["cases"]) == {"all", "new"}  # nothing repeats there
    assert set(table[table["metric"] == "log-loss"]["ranking"]) == {"raw"}
    for row in table[table["metric"] == "NDCG@10"].itertuples():
        rank = {"raw": "rank", "post": "rank_post"}[row.ranking]
        assert row.value == pytest.approx(mean_of(cases, rank, row.cases, data=row.data, head=row.head), rel=1e-12)
        assert row.low <= row.value <= row.high
    everyone = table[(table["cases"] == "all") & (table["metric"] == "log-loss")].set_index(["data", "head"])["value"]
    expected = cases.groupby(["data", "head"])["log_loss"].mean()
    pd.testing.assert_series_equal(everyone.sort_index(), expected, check_names=False)


def test_gains_are_paired_differences_and_quotients():
    cases = made_up()
    for row in gains(cases, BASE).itertuples():
        rank = {"raw": "rank", "post": "rank_post"}[row.ranking]
        of_head, of_base = (mean_of(cases, rank, row.cases, data=row.data, head=head) for head in (row.head, "Softmax"))
        assert row.value == pytest.approx(of_head - of_base, abs=1e-12)
        if of_base:
            assert row.ratio == pytest.approx(of_head / of_base, rel=1e-12)
            if row.cases == "all":
                assert row.ratio_low <= row.ratio <= row.ratio_high  # few users may give a resampled base of 0
        else:
            assert np.isnan([row.ratio, row.ratio_low, row.ratio_high]).all()


def test_equal_runs_gain_exactly_nothing():
    cases = made_up()
    same = cases[cases["head"] == "Softmax"]
    found = gains(pd.concat([same, same.assign(head="the same")], ignore_index=True), BASE)
    assert len(found) > 0
    assert (found[["value", "low", "high"]] == 0).all(axis=None)
    assert (found["ratio"].dropna() == 1).all()
    averaged = geometric_mean_gains(pd.concat([same, same.assign(head="the same")], ignore_index=True), BASE)
    assert (averaged[["value", "low", "high"]] == 0).all(axis=None)


def test_the_geometric_mean_of_gains_is_scipys_over_each_kind_of_log():
    cases = made_up()
    table = geometric_mean_gains(cases, BASE)
    kinds = {"with repeats": "bc", "without repeats": "a", "all": "abc"}
    assert len(table) == 2 * 2 * 3  # heads, rankings, kinds of log
    for row in table.itertuples():
        rank = {"raw": "rank", "post": "rank_post"}[row.ranking]
        ratios = [
            mean_of(cases, rank, "all", data=data, head=row.head)
            / mean_of(cases, rank, "all", data=data, head="Softmax")
            for data in kinds[row.logs]
        ]
        assert row.value == pytest.approx(stats.gmean(ratios) - 1, rel=1e-9)
        assert row.n == len(ratios)
        assert row.low < row.value < row.high


def test_the_interval_of_a_geometric_mean_is_that_of_logs_drawn_apart():
    """With many users, log ratios are about normal: their variances add up, over the logs squared."""
    cases = made_up(data=("b", "c"), seeds=1, users=2000)
    (row,) = (
        geometric_mean_gains(cases[cases["head"] != "Softmax + CP"], BASE)
        .query("ranking == 'raw' and logs == 'all'")
        .itertuples()
    )
    variance = 0.0
    for _, of_log in cases.groupby("data"):
        of_head, of_base = (
            np.array([ndcg(rank) for rank in of_log.loc[of_log["head"] == head, "rank"]])
            for head in ("Softmax + C", "Softmax")
        )
        variance += np.var(of_head / of_head.mean() - of_base / of_base.mean()) / len(of_head) / 4  # the delta method
    width = math.log1p(row.high) - math.log1p(row.low)
    assert width == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.1)


def test_a_log_on_which_the_base_scores_nothing_has_no_ratio():
    cases = made_up(data=("b", "c"))
    zero = cases.assign(rank=cases["rank"].where((cases["head"] != "Softmax") | (cases["data"] != "b"), 1000))
    table = geometric_mean_gains(zero, BASE).query("ranking == 'raw'")
    assert table[["value", "low", "high"]].isna().all(axis=None)
    of_c = geometric_mean_gains(zero[zero["data"] == "c"], BASE)
    assert np.isfinite(of_c.query("ranking == 'raw'")[["value", "low", "high"]]).all(axis=None)


def test_a_setting_that_scores_nothing_is_worse_by_all():
    cases = made_up(data=("b",))
    cases.loc[cases["head"] != "Softmax", "rank"] = 1000
    table = geometric_mean_gains(cases, BASE).query("ranking == 'raw'")
    assert (table[["value", "low", "high"]] == -1).all(axis=None)


def test_what_cannot_be_paired_is_refused_in_a_sentence():
    cases = made_up()
    with pytest.raises(ConfigError, match=r"There is no run .*'head': 'Sofmax'"):
        gains(cases, {"head": "Sofmax"})
    few = cases[(cases["head"] == "Softmax") | (cases["seed"] == 0)]
    with pytest.raises(ConfigError, match="have different seeds or users"):
        geometric_mean_gains(few, BASE)


def test_signed_ranks_are_scipys_with_holms_correction():
    logs = [f"log {place}" for place in range(8)]
    found = gains(made_up(logs), BASE).query("cases == 'all'")
    table = signed_ranks(found)
    for _, rows in table.groupby("ranking"):
        p = []
        for row in rows.itertuples():
            values = found.query("head == @row.head and ranking == @row.ranking")["value"]
            assert (row.better, row.worse, row.n) == ((values > 0).sum(), (values < 0).sum(), 8)
            assert row.p == stats.wilcoxon(values).pvalue
            p.append(row.p)
        small, large = sorted(p)
        assert sorted(rows["p_holm"]) == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])


def test_signed_ranks_of_few_logs_are_not_given():
    logs = [f"log {place}" for place in range(6)]
    found = gains(made_up(logs), BASE).query("cases == 'all'")
    assert signed_ranks(found)["p"].notna().all()
    few = signed_ranks(found[found["data"] != "log 5"])
    assert few[["p", "p_holm"]].isna().all(axis=None)
    assert signed_ranks(found.assign(value=0.0))["p"].eq(1).all()


@pytest.mark.parametrize("users", [400, USERS_AT_ONCE + 1])
def test_resampled_means_spread_as_the_closed_form_says(users):
    """One seed: the standard error of the mean. Seeds too, without an interaction: their variance is added."""
    rng = np.random.default_rng(0)
    of_users, of_seeds = rng.exponential(1, users), np.array([0.0, 0.3, 0.5, 1.0])
    one = resampled_means(of_users[None])
    assert one.shape == (1000,)
    assert one.mean() == pytest.approx(of_users.mean(), abs=4 * one.std() / 1000**0.5)
    assert one.std() == pytest.approx(of_users.std() / users**0.5, rel=0.1)
    both = resampled_means(of_users + of_seeds[:, None])
    assert both.std() == pytest.approx((of_users.var() / users + of_seeds.var() / 4) ** 0.5, rel=0.1)
    np.testing.assert_array_equal(resampled_means(of_users[None] * 2), 2 * one)  # the same draw again
    assert not np.array_equal(resampled_means(of_users[None], (0, 1)), one)


def test_the_best_setting_is_chosen_by_validation_among_those_with_all_seeds():
    rows = [
        # data, head, d, seed, validation
        ("a", "Softmax", 8, 0, 0.1), ("a", "Softmax", 8, 1, 0.3),
        ("a", "Softmax", 16, 0, 0.2), ("a", "Softmax", 16, 1, 0.1),
        ("a", "Softmax + C", 8, 0, 0.9), ("a", "Softmax + C", 16, 0, 0.3), ("a", "Softmax + C", 16, 1, 0.3),
        ("b", "Softmax + C", 8, 0, 0.5), ("b", "Softmax + C", 8, 1, 0.5),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["data", "head", "d", "seed", "validation"])
    table.insert(1, "encoder", "GRU4Rec")
    cases = table.drop(columns="validation").assign(user=0, rank=range(len(table)))
    best = tuned(comparable(Results(table, cases), BASE), ["d"])
    assert best.table[["data", "head", "d", "seed"]].to_numpy().tolist() == [
        ["a", "Softmax", 8, 0], ["a", "Softmax", 8, 1], ["a", "Softmax + C", 16, 0], ["a", "Softmax + C", 16, 1]
    ]  # log "b" has no base, and d = 8 lacks a seed  # fmt: skip
    assert list(best.cases.columns) == ["data", "encoder", "head", "seed", "user", "rank"]
    assert best.cases["rank"].tolist() == [0, 1, 5, 6]


def counted(cases):
    """The cases with a rival that counts: no encoder, and one seed."""
    rival = cases[(cases["head"] == "Softmax + CP") & (cases["seed"] == 0)].assign(encoder="", head="Counts")
    return pd.concat([cases[cases["head"] != "Softmax + CP"], rival], ignore_index=True)


def test_a_rival_that_counts_is_paired_with_each_seed():
    cases = counted(made_up(seeds=3))
    found = gains(cases, {"head": "Counts", "encoder": ""}, groups=("all",))
    assert set(found["head"]) == {"Softmax", "Softmax + C"}
    for row in found.query("ranking == 'raw'").itertuples():
        of_head, of_rival = (mean_of(cases, "rank", "all", data=row.data, head=head) for head in (row.head, "Counts"))
        assert row.value == pytest.approx(of_head - of_rival, abs=1e-12)
        assert row.ratio == pytest.approx(of_head / of_rival, rel=1e-12)
    alone = cases[cases["head"].isin(["Softmax", "Counts"])].assign(encoder="")
    turned = gains(alone, {"head": "Softmax"}, groups=("all",))
    there = gains(alone, {"head": "Counts"}, groups=("all",))
    np.testing.assert_allclose(turned[["value", "low", "high"]], -there[["value", "high", "low"]], atol=1e-12)
    with pytest.raises(ConfigError, match="have different seeds or users"):  # one that is trained has chance in it
        gains(cases[(cases["head"] == "Softmax") | (cases["seed"] == 0)].query("encoder != ''"), BASE)


def test_only_the_groups_that_are_asked_for_are_computed():
    cases = made_up()
    for table, chosen in (
        (means(cases), means(cases, groups=("new",))),
        (gains(cases, BASE), gains(cases, BASE, groups=("new",))),
    ):
        pd.testing.assert_frame_equal(table[table["cases"] == "new"].reset_index(drop=True), chosen)


def test_the_interval_over_logs_holds_how_logs_differ():
    """With many users the logs alone make it: the standard error of the mean of their logarithms."""
    gained = {f"log {place}": 1 + share for place, share in enumerate((0.0, 0.1, 0.2, 0.4, 0.5))}
    rows = []
    for data, ratio in gained.items():
        for head, hits in (("Softmax", 1000), ("Softmax + C", round(1000 * ratio))):
            rank = np.where(np.arange(4000) < hits, 1, 100)
            rows.append(
                pd.DataFrame(
                    {
                        "data": data,
                        "encoder": "MF",
                        "head": head,
                        "seed": 0,
                        "user": np.arange(4000),
                        "repeat": False,
                        "rank": rank,
                        "rank_post": rank.astype(float),
                    }
                )
            )
    cases = pd.concat(rows, ignore_index=True)
    logarithms = np.log(list(gained.values()))
    (within,), (over,) = (
        geometric_mean_gains(cases, BASE, over_logs=over).query("ranking == 'raw' and logs == 'all'").itertuples()
        for over in (False, True)
    )
    assert within.value == over.value == pytest.approx(math.exp(logarithms.mean()) - 1, rel=1e-9)
    width = math.log1p(over.high) - math.log1p(over.low)
    of_users = (math.log1p(within.high) - math.log1p(within.low)) / 2 / 1.96
    expected = math.hypot(np.std(logarithms) / math.sqrt(len(gained)), of_users)
    assert width == pytest.approx(2 * 1.96 * expected, rel=0.15)
    assert width > 3 * (math.log1p(within.high) - math.log1p(within.low))


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_counts_that_are_kept_give_the_means_of_a_loop(share, monkeypatch):
    rng = np.random.default_rng(1)
    values = np.where(rng.random((2, USERS_AT_ONCE + 5)) < share, rng.random((2, USERS_AT_ONCE + 5)), 0.0)
    quick = resampled_means(values, 3)
    monkeypatch.setattr("cprlab.evaluation.bootstrap.USERS_COUNTED", 0)
    np.testing.assert_allclose(quick, resampled_means(values, 3), rtol=1e-12)
