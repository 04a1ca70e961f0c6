"""Repeats, gaps and thinned logs against loops over each user's items."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cprlab.data import Sequences, count_repeats, repeat_curve, repeat_gaps, thin_repeats
from cprlab.errors import ConfigError, DataError
from tests.data.test_sequences import sequences_of

LISTS = st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=30), min_size=1, max_size=6)


def by_user(sequences: Sequences) -> dict:
    """Each user's items, by the log's own ids."""
    user = np.repeat(sequences.user_ids, np.diff(sequences.offsets))
    frame = pd.DataFrame({"user": user, "item": sequences.item_ids[sequences.items]})
    return {name: of_user.tolist() for name, of_user in frame.groupby("user")["item"]}


def gaps_of(items: list) -> list[int]:
    """How many places ago each item was there last; 0 if never."""
    return [
        next((back for back in range(1, place + 1) if items[place - back] == item), 0)
        for place, item in enumerate(items)
    ]


@given(LISTS, st.integers(1, 9))
def test_counts_and_gaps_are_what_a_loop_counts(lists, max_len):
    sequences = sequences_of(lists, max_len)
    gaps = [gaps_of(items) for items in lists]
    every = [gap for of_user in gaps for gap in of_user]
    counts = count_repeats(sequences)
    assert counts._asdict() == {
        "users": len(lists),
        "interactions": len(every),
        "repeats": sum(gap > 0 for gap in every),
        "near": sum(0 < gap <= max_len for gap in every),
        "tested": sum(0 < of_user[-1] <= max_len for of_user in gaps),
        "cases": len(gaps),
    }
    table = repeat_gaps(sequences)
    assert table["gap"].tolist() == [1, 2, 5, 10, 20, 50][: len(table)]
    for row in table.itertuples():
        assert row.n == sum(0 < gap <= row.gap for gap in every)
        assert row.share == row.n / counts.repeats
    if counts.repeats:
        assert table["share"].iloc[-1] == 1
        assert (table["share"].iloc[:-1] < 1).all()
    else:
        assert table.empty


def test_each_position_has_its_wilson_interval():
    curve = repeat_curve(sequences_of([[1, 2, 1, 3, 1], [4, 5, 6, 4, 7], [1, 1, 2, 3, 4]], 50))
    row = curve.set_index(["position", "prefix"]).loc[(4, "has repeats")]
    interval = binomtest(0, 2).proportion_ci(method="wilson")  # users 1 and 3, whose fourth item is new
    assert (row["share"], row["n"], row["low"], row["high"]) == (0, 2, interval.low, interval.high)


@given(LISTS, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 3))
def test_thinning_removes_that_share_of_the_repeats_and_nothing_else(lists, share, seed):
    lists = [[0, 1, 2, 3, 0], *lists]  # one user at the least has four different items
    sequences = sequences_of(lists, 10)
    before = {user: items for user, items in by_user(sequences).items() if len(set(items)) >= 4}
    thin = thin_repeats(sequences, share, seed=seed)
    after, control = by_user(thin), by_user(thin_repeats(sequences, share, "all", seed=seed))
    assert list(after) == list(control) == list(before)
    repeats = sum(len(items) - len(set(items)) for items in before.values())
    removed = round(share * repeats)
    assert sum(map(len, before.values())) - sum(map(len, after.values())) == removed
    for user, items in before.items():
        firsts = list(dict.fromkeys(items))
        assert list(dict.fromkeys(after[user])) == firsts  # so whatever is gone was a repeat
        assert len(control[user]) == len(after[user]) >= 4
        for kept in (after[user], control[user]):
            rest = iter(items)
            assert all(item in rest for item in kept)  # in the order in which they were consumed
    more = by_user(thin_repeats(sequences, (1 + share) / 2, seed=seed))
    for user, items in more.items():
        assert not pd.Series(items).value_counts().gt(pd.Series(after[user]).value_counts()).any()
    assert thin.item_ids.tolist() == sequences.item_ids.tolist()
    assert f"{removed:,} repeats are removed" in thin.notes[-1]
    assert f"{len(lists) - len(before):,} of {len(lists):,} users" in thin.notes[-1]


def test_the_control_removes_repeats_no_more_often_than_the_rest():
    sequences = sequences_of([[*range(1, 21), *[0] * 21]] * 300, 10)  # 20 items once each, and one 21 times
    control = thin_repeats(sequences, 0.5, "all")
    assert len(control.items) == 300 * (41 - 10)
    assert np.count_nonzero(control.item_ids[control.items]) == pytest.approx(300 * 20 * (1 - 10 / 41), rel=0.02)


def test_the_whole_log_comes_back_where_nothing_is_removed_and_the_seed_decides():
    sequences = sequences_of([[1, 2, 1, 3, 1, 4], [4, 5, 6, 4, 7, 5]], 5)
    for among in ("repeats", "all"):
        assert thin_repeats(sequences, 0, among).fingerprint == sequences.fingerprint
    drawn = {thin_repeats(sequences, 0.5, "all", seed=seed).fingerprint for seed in range(20)}
    assert len(drawn) > 5
    assert count_repeats(thin_repeats(sequences, 1)).repeats == 0


def test_shares_and_logs_that_cannot_be_thinned_are_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="from 0 to 1"):
            thin_repeats(sequences_of([[1, 2, 3, 4, 5]], 5), share)
    with pytest.raises(DataError, match="without repeats: no user has 4"):
        thin_repeats(sequences_of([[1, 2, 3, 1, 2]], 5), 0.5)
