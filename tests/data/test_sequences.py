import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.data import InteractionLog, Sequences, repeat_curve, repeat_statistics
from cprlab.errors import DataError


def sequences_of(lists, max_len):
    rows = [(user, item) for user, items in enumerate(lists) for item in items]
    return Sequences.from_log(InteractionLog.from_frame(pd.DataFrame(rows, columns=["user", "item"])), max_len=max_len)


def read_back(sequences, split):
    """Every (user, what is read up to and with the position, target) of a split, through padded batches."""
    windows = sequences.windows(split)
    for chosen in np.array_split(np.arange(len(windows)), max(1, len(windows) // 3)):
        batch = sequences.batch(windows, chosen)
        for row, window in enumerate(chosen):
            for at, target in zip(batch.at[row].tolist(), batch.targets[row].tolist(), strict=True):
                assert batch.users[row] == windows.user[window]
                if target >= 0:
                    yield int(windows.user[window]), batch.items[row, : at + 1].tolist(), target


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=40), min_size=1, max_size=5), st.integers(1, 9))
def test_every_split_is_the_protocol(lists, max_len):
    sequences = sequences_of(lists, max_len)
    own = [[int(np.flatnonzero(sequences.item_ids == item)[0]) for item in items] for items in lists]
    for split, place in (("test", -1), ("validation", -2)):
        expected = [(user, items[:place][-max_len:], items[place]) for user, items in enumerate(own)]
        assert list(read_back(sequences, split)) == expected
    counts = [sum(items[:-2].count(v) for items in own) for v in range(sequences.n_items)]
    assert sequences.training_counts().tolist() == counts
    trained = list(read_back(sequences, "train"))
    assert sorted((user, target) for user, _, target in trained) == sorted(
        (user, target) for user, items in enumerate(own) for target in items[1:-2]
    )
    for user, items in enumerate(own):
        of_user = [(read, target) for who, read, target in trained if who == user]
        for place, (read, target) in enumerate(of_user, start=1):  # windows come in order of time
            assert target == items[place]
            assert read == items[place - len(read) : place]
            assert min(place, max_len - max(1, max_len // 2) + 1) <= len(read) <= max_len


def test_padding_is_the_code_behind_the_last_item():
    sequences = sequences_of([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 1, 2, 3]], 10)
    batch = sequences.batch(sequences.windows("test"), np.array([0, 1]))
    assert batch.items[0].tolist() == [0, 1, 2, 3, 5, 5, 5]


def test_short_users_and_items_only_they_know_are_left_out():
    sequences = sequences_of([[1, 2, 3, 4], [5, 6, 7, 8, 9]], 10)
    assert sequences.item_ids.tolist() == [5, 6, 7, 8, 9]
    assert sequences.user_ids.tolist() == [1]
    assert "1 of 2 users have fewer than 5" in sequences.notes[-1]


def test_a_log_of_short_histories_is_refused():
    with pytest.raises(DataError, match=r"no user has 5 interactions .* holds 3"):
        sequences_of([[1, 2], [1, 2, 3]], 10)


@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=20), min_size=1, max_size=6))
def test_repeat_curve_counts_what_a_loop_counts(lists):
    counts = {}
    for items in lists:
        for place in range(1, len(items)):
            before = items[:place]
            prefix = "has repeats" if len(set(before)) < len(before) else "no repeat yet"
            hits, n = counts.get((place + 1, prefix), (0, 0))
            counts[place + 1, prefix] = hits + (items[place] in before), n + 1
    curve = repeat_curve(sequences_of(lists, 50))
    found = {(row.position, row.prefix): (row.share, row.n) for row in curve.itertuples()}
    assert found == {key: (hits / n, n) for key, (hits, n) in counts.items()}


def test_repeat_statistics_by_hand():
    table = repeat_statistics(sequences_of([[1, 2, 1, 3, 1], [4, 5, 6, 4, 7, 5]], 3)).set_index("fact")["value"]
    assert table["share of interactions that repeat an earlier item of the user"] == "36.4%"  # 4 of 11
    assert table["share that repeat one of the user's last 3 items"] == "27.3%"  # the 5 is four places ago
    assert table["share of test items among the 3 items before them"] == "50.0%"
