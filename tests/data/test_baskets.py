"""The next-basket split against plain loops: windows, targets, what is seen of a basket, and what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cprlab.adapters.padded import Padded
from cprlab.data import Columns, InteractionLog, Sequences, load_prepared, save_prepared, thin_repeats
from cprlab.data.sequences import Split
from cprlab.errors import DataError
from cprlab.evaluation import METRICS, evaluate
from cprlab.loading import load_sequences, prepare
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.training.loop import Training, TrainingConfig
from tests.data.test_sequences import some_shift

baskets = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=7), min_size=1, max_size=9)
ENOUGH = [[[1, 2], [3], [4, 5, 1], [2, 7]], [[0, 1], [2], [0, 1, 2], [0]]]


def a_log(users, column="basket"):
    rows = [
        (f"u{user}", f"i{item}", time, f"b{user}-{time}")
        for user, of_user in enumerate(users)
        for time, basket in enumerate(of_user)
        for item in basket
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "basket"])
    return InteractionLog.from_frame(frame.drop(columns="basket"), "log", ties="file") if column == "time" else (
        InteractionLog.from_frame(frame.drop(columns="time"), "log", Columns(basket="basket"), ties="file")
    )  # fmt: skip


def once(basket):
    return list(dict.fromkeys(basket))


@given(
    st.lists(baskets, max_size=4),
    st.sampled_from([1, 2, 3, 8, 50]),
    st.sampled_from(["basket", "time"]),
    st.integers(0, 9),
)
def test_windows_are_those_of_plain_loops(users, max_len, column, seed):
    users = [*users, *ENOUGH]
    sequences = Sequences.from_log(a_log(users, column), max_len=max_len, split="next-basket")
    kept = [[once(basket) for basket in of_user] for of_user in users]
    kept = [of_user for of_user in kept if sum(map(len, of_user)) >= 5]
    assert sequences.n_users == len(kept)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    expected: dict[Split, dict] = {split: {} for split in splits}
    for user, of_user in enumerate(kept):
        for place, basket in enumerate(of_user):
            before = [item for earlier in of_user[:place] for item in earlier]
            back = len(of_user) - place
            split = splits[max(0, 3 - back)]
            for nth, item in enumerate(basket if before else ()):
                expected[split][user, len(before) + nth] = (item, before)
    for split, cases in expected.items():
        windows = sequences.windows(split, some_shift(sequences, seed))
        batch = sequences.batch(windows, np.arange(len(windows)))
        found = {}
        for row in range(len(windows)):
            for nth in range(windows.n_targets[row]):
                user, at, target = windows.user[row], int(batch.at[row, nth]), int(batch.targets[row, nth])
                seen = [sequences.item_ids[item] for item in batch.items[row, : at + 1].tolist()]
                key = user, int(windows.first[row] + nth - sequences.offsets[user])
                assert key not in found
                found[key] = sequences.item_ids[target], seen
            assert (batch.targets[row, windows.n_targets[row] :] == -1).all()
            assert windows.lengths[row] <= max_len
        assert found.keys() == cases.keys()
        for key, (item, before) in cases.items():
            target, seen = found[key]
            assert target == f"i{item}"
            assert seen == [f"i{one}" for one in before[len(before) - len(seen) :]]
            least = min(len(before), max_len if split != "train" else max_len - max(1, max_len // 2) + 1)
            assert least <= len(seen)


@pytest.mark.parametrize("encoder", [GRU4RecConfig(d=6, hidden=5), SASRecConfig(d=6, inner=7)])
def test_the_items_of_a_basket_do_not_see_each_other(encoder):
    sequences = Sequences.from_log(a_log(ENOUGH), split="next-basket")
    recommender = Recommender(encoder, parse_head("Softmax + CP"), sequences.n_items, max_len=50).double().eval()
    windows = sequences.windows("train")
    (row,) = np.flatnonzero(windows.user == 1)
    batch = sequences.batch(windows, np.array([row]))
    first = recommender.score(batch.items, batch.at)[0]
    items = sequences.items.copy()
    items[windows.stop[row] :] = items[windows.stop[row] :][::-1]
    other = dataclasses.replace(sequences, items=items).batch(windows, np.array([row]))
    assert (recommender.score(other.items, other.at)[0] == first).all()
    assert batch.at[0].tolist() == [1]  # one target, after the basket of two


def test_a_row_is_a_case_and_scores_are_those_of_the_history():
    users = [[[(u + 3 * b + i) % 13 for i in range(1 + (u + b) % 4)] for b in range(7)] for u in range(9)]
    sequences = Sequences.from_log(a_log(users), max_len=6, split="next-basket")
    recommender = Recommender(GRU4RecConfig(d=6, hidden=5), parse_head("Softmax + C"), sequences.n_items).double()
    cases = evaluate(recommender, sequences)
    rows = []
    for user, of_user in enumerate(users):
        history = [sequences.item_ids.tolist().index(f"i{item}") for basket in of_user[:-1] for item in once(basket)]
        scores = recommender.log_probs([history[-6:]])[0]
        for item in once(of_user[-1]):
            target = sequences.item_ids.tolist().index(f"i{item}")
            rows.append((user, len(history), target, target in history[-6:], (scores >= scores[target]).sum()))
            assert cases["log_loss"][len(rows) - 1] == pytest.approx(-scores[target])
            expected = np.exp(scores[list(set(history[-6:]))]).sum()
            assert cases["copy_probability"][len(rows) - 1] == pytest.approx(expected)
    found = cases[["user", "length", "target", "repeat", "rank"]]
    assert list(found.itertuples(index=False, name=None)) == rows


def test_training_scores_each_item_once_and_learns():
    users = [[[0, 1], [2, 3], [4, 5], [0, 1], [2, 3], [4, 5]]] * 30
    sequences = Sequences.from_log(a_log(users), split="next-basket")
    assert sequences.windows("train").n_targets.sum() == 30 * 6
    torch.manual_seed(0)
    recommender = Recommender(GRU4RecConfig(d=8, hidden=8), parse_head("Softmax"), sequences.n_items)
    training = Training(recommender, sequences, TrainingConfig(batch_size=8, learning_rate=0.02), "cpu")
    for epoch in range(20):
        list(training.epoch(epoch))
    cases = evaluate(recommender, sequences)
    assert METRICS["HIT@10"](cases, "rank").mean() == 1
    assert cases["rank"].max() == 2


def test_the_split_is_kept_and_drawn_from(tmp_path):
    users = [[[(u * b + i) % 11 for i in range(1 + (u + b) % 3)] for b in range(5)] for u in range(12)]
    sequences = Sequences.from_log(a_log(users), split="next-basket")
    save_prepared(sequences, tmp_path / "kept")
    again = load_prepared(tmp_path / "kept")
    assert (again.split, again.fingerprint) == ("next-basket", sequences.fingerprint)
    np.testing.assert_array_equal(again.basket_start, sequences.basket_start)
    drawn = sequences.sample(5, seed=3)
    alone = [users[int(str(user)[1:])] for user in drawn.user_ids]
    np.testing.assert_array_equal(
        drawn.basket_start, Sequences.from_log(a_log(alone), split="next-basket").basket_start
    )
    recent = sequences.recent(9)
    for user in range(recent.n_users):
        part = slice(*recent.offsets[user : user + 2])
        length = recent.offsets[user + 1] - recent.offsets[user]
        whole = (sequences.basket_start - np.repeat(sequences.offsets[1:], np.diff(sequences.offsets)))[
            sequences.offsets[user + 1] - length : sequences.offsets[user + 1]
        ]
        np.testing.assert_array_equal(recent.basket_start[part] - recent.offsets[user + 1], np.maximum(whole, -length))
    (tmp_path / "kept" / "basket_start.npy").write_bytes((tmp_path / "kept" / "offsets.npy").read_bytes())
    with pytest.raises(DataError, match="not a complete prepared log"):
        load_prepared(tmp_path / "kept")


def test_a_prepared_file_is_the_log_in_memory(tmp_path):
    users = [[[(u * b + i) % 11 for i in range(1 + (u + b) % 3)] for b in range(5)] for u in range(12)]
    rows = [
        (u, item, time) for u, of_user in enumerate(users) for time, basket in enumerate(of_user) for item in basket
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(tmp_path / "log.csv", index=False)
    prepared = prepare(tmp_path / "log.csv", tmp_path / "folder", split="next-basket")
    own = load_sequences(tmp_path / "log.csv", split="next-basket")
    assert (prepared.split, prepared.fingerprint) == ("next-basket", own.fingerprint)
    assert load_sequences(tmp_path / "folder", split="next-basket").fingerprint == own.fingerprint


def test_what_is_not_for_baskets_refuses_them():
    users = [[[(u * b + i) % 11 for i in range(1 + (u + b) % 3)] for b in range(5)] for u in range(12)]
    sequences = Sequences.from_log(a_log(users), split="next-basket")
    with pytest.raises(DataError, match=r"next-basket split.*use leave-one-out"):
        thin_repeats(sequences, 0.5)
    with pytest.raises(DataError, match=r"next-basket split.*use leave-one-out"):
        Padded.of(sequences, at_end=True)


def test_a_log_without_baskets_is_refused():
    frame = pd.DataFrame({"user": ["a"] * 6, "item": list("abcdef"), "time": range(6)})
    with pytest.raises(DataError, match="has no baskets for the next-basket split"):
        Sequences.from_log(InteractionLog.from_frame(frame), split="next-basket")
    with pytest.raises(DataError, match="has no baskets"):
        Sequences.from_log(InteractionLog.from_frame(frame.drop(columns="time")), split="next-basket")
    with pytest.raises(DataError, match="leaves no target to train on, since no user has enough baskets"):
        Sequences.from_log(a_log([[[1, 2, 3], [1, 2], [4]]]), split="next-basket")


def test_the_note_counts_what_is_left_out():
    sequences = Sequences.from_log(a_log([*ENOUGH, [[1, 1, 1], [2, 2], [1], [3], [4]]]), split="next-basket")
    assert "3 of 23 rows repeat an item within a basket" in sequences.notes[-1]
