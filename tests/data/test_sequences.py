import functools
import signal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.data import InteractionLog, Sequences, load_prepared, repeat_curve, repeat_statistics, save_prepared
from cprlab.data.prepared import BASKETS, FILES
from cprlab.errors import DataError


def sequences_of(lists, max_len):
    rows = [(user, item) for user, items in enumerate(lists) for item in items]
    return Sequences.from_log(InteractionLog.from_frame(pd.DataFrame(rows, columns=["user", "item"])), max_len=max_len)


def assert_same_sequences(one, other):
    for name in ("items", "offsets", "user_ids", "item_ids", "titles"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    for name in ("max_len", "name", "fingerprint", "notes"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.before, other.before)


def some_shift(sequences, seed):
    return np.random.default_rng(seed).integers(sequences.largest_shift + 1, size=sequences.n_users)


def read_back(sequences, split, shift=0):
    """Every (user, what is read up to and with the position, target) of a split, through padded batches."""
    windows = sequences.windows(split, shift)
    for chosen in np.array_split(np.arange(len(windows)), max(1, len(windows) // 3)):
        batch = sequences.batch(windows, chosen)
        for row, window in enumerate(chosen):
            for at, target in zip(batch.at[row].tolist(), batch.targets[row].tolist(), strict=True):
                assert batch.users[row] == windows.user[window]
                if target >= 0:
                    yield int(windows.user[window]), batch.items[row, : at + 1].tolist(), target


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=40), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_every_split_is_the_protocol(lists, max_len, seed):
    sequences = sequences_of(lists, max_len)
    own = [[int(np.flatnonzero(sequences.item_ids == item)[0]) for item in items] for items in lists]
    for split, place in (("test", -1), ("validation", -2)):
        expected = [(user, items[:place][-max_len:], items[place]) for user, items in enumerate(own)]
        assert list(read_back(sequences, split)) == expected
    counts = [sum(items[:-2].count(v) for items in own) for v in range(sequences.n_items)]
    assert sequences.training_counts().tolist() == counts
    shift = some_shift(sequences, seed)
    trained = list(read_back(sequences, "train", shift))
    assert sorted((user, target) for user, _, target in trained) == sorted(
        (user, target) for user, items in enumerate(own) for target in items[1:-2]
    )
    for user, items in enumerate(own):
        of_user = [(read, target) for who, read, target in trained if who == user]
        for place, (read, target) in enumerate(of_user, start=1):  # windows come in order of time
            assert target == items[place]
            assert read == items[place - len(read) : place]
            assert min(place, max_len - max(1, max_len // 2) + 1) <= len(read) <= max_len
        first = sequences.windows("train", shift).lengths[sequences.windows("train", shift).user == user]
        if len(items) - 3 > max_len:
            assert first[0] == max_len - shift[user]


def test_padding_is_the_code_behind_the_last_item():
    sequences = sequences_of([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 1, 2, 3]], 10)
    batch = sequences.batch(sequences.windows("test"), np.array([0, 1]))
    assert batch.items[0].tolist() == [0, 1, 2, 3, 5, 5, 5]


def test_short_users_and_items_only_they_know_are_left_out():
    sequences = sequences_of([[1, 2, 3, 4], [5, 6, 7, 8, 9]], 10)
    assert sequences.item_ids.tolist() == [5, 6, 7, 8, 9]
    assert sequences.user_ids.tolist() == [1]
    assert "1 of 2 users have fewer than 5" in sequences.notes[-1]


def test_a_catalogue_can_keep_what_nobody_consumed(tmp_path):
    codes, ids = [3, 1, 3, 4, 1], np.array(list("abcdef"), dtype=object)
    pack = functools.partial(Sequences.pack, max_len=10, name="log", notes=())
    kept = pack(np.array(codes, np.int32), np.array([5]), np.array([7]), ids, ids, only_consumed=False)
    assert kept.items.tolist() == codes
    assert kept.titles.tolist() == ids.tolist()
    assert kept.training_counts().tolist() == [0, 1, 0, 2, 0, 0]
    only = pack(np.array(codes, np.int32), np.array([5]), np.array([7]), ids, ids)
    assert only.item_ids.tolist() == ["b", "d", "e"]
    assert only.fingerprint != kept.fingerprint
    save_prepared(kept, tmp_path / "log")
    assert_same_sequences(load_prepared(tmp_path / "log"), kept)


def test_a_log_of_short_histories_is_refused():
    with pytest.raises(DataError, match=r"no user has 5 interactions .* has 3"):
        sequences_of([[1, 2], [1, 2, 3]], 10)


def test_the_fingerprint_follows_the_content_and_not_its_form():
    rows = pd.DataFrame({"user": [1, 1, 1, 1, 2, 2, 2, 2, 2], "item": [5, 6, 7, 8, 5, 6, 7, 8, 9]})

    def fingerprint(frame):
        return Sequences.from_log(InteractionLog.from_frame(frame), min_interactions=4).fingerprint

    others = [rows.iloc[::-1], rows.replace({"item": {8: 4}}), rows.replace({"user": {2: 3}})]
    others.append(rows.assign(user=[1] * 5 + [2] * 4))
    assert len({fingerprint(frame) for frame in (rows, *others)}) == 5
    assert fingerprint(rows.astype(str)) == fingerprint(rows)


def test_a_sample_holds_whole_users_and_their_items_only():
    sequences = sequences_of([[n, n + 1, n + 2, n, n + 5 * (n % 3)] for n in range(20)], 10)
    sample = sequences.sample(6, seed=3)
    assert sample.n_users == 6
    for place, user in enumerate(sample.user_ids):
        own = sample.item_ids[sample.items[sample.offsets[place] : sample.offsets[place + 1]]]
        assert own.tolist() == [user, user + 1, user + 2, user, user + 5 * (user % 3)]
    assert sorted(set(sample.items)) == list(range(sample.n_items))
    assert sample.fingerprint != sequences.fingerprint
    assert "6 of 20 users are drawn at random (seed 3)" in sample.notes[-1]
    assert sequences.sample(20) is sequences


@pytest.mark.parametrize("ids", [lambda n: n, lambda n: f"ü{n}\n"])
def test_a_folder_gives_back_what_was_saved_without_reading_it(tmp_path, ids):
    lists = [[ids(item) for item in items] for items in ([1, 2, 3, 4, 5, 1], [5, 4, 3, 2, 1, 9, 2])]
    sequences = sequences_of(lists, 4)
    save_prepared(sequences, tmp_path / "new" / "log")
    loaded = load_prepared(tmp_path / "new" / "log")
    assert_same_sequences(loaded, sequences)
    assert isinstance(loaded.items, np.memmap)
    assert isinstance(loaded.offsets, np.memmap)
    assert not loaded.items.flags.writeable
    for split in ("train", "validation", "test"):
        assert list(read_back(loaded, split)) == list(read_back(sequences, split))
    assert loaded.training_counts().tolist() == sequences.training_counts().tolist()
    pd.testing.assert_frame_equal(repeat_statistics(loaded), repeat_statistics(sequences))
    pd.testing.assert_frame_equal(repeat_curve(loaded), repeat_curve(sequences))
    save_prepared(loaded.sample(1), tmp_path / "new" / "log")  # in place of the one that is open
    assert load_prepared(tmp_path / "new" / "log").n_users == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["log"]


def test_what_is_worked_on_in_parts_does_not_depend_on_the_parts(monkeypatch):
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, 9, rng.integers(5, 30)).tolist() for _ in range(20)]
    whole = sequences_of(lists, 6)
    facts = [repeat_statistics(whole), repeat_curve(whole), pd.DataFrame(whole.training_counts())]
    for at_once in (1, 7, 40):
        monkeypatch.setattr("cprlab.data.sequences.AT_ONCE", at_once)
        monkeypatch.setattr("cprlab.data.repeats.AT_ONCE", at_once)
        parts = sequences_of(lists, 6)
        assert_same_sequences(parts, whole)
        again = [repeat_statistics(parts), repeat_curve(parts), pd.DataFrame(parts.training_counts())]
        for one, other in zip(facts, again, strict=True):
            pd.testing.assert_frame_equal(one, other)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def change(array):
    def harm(path):
        np.save(path, array(np.load(path)))

    return harm


def rewrite(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("file", "harm", "said"),
    [(name, lambda path: path.unlink(), name) for name in FILES if name != BASKETS]
    + [(name, cut, "") for name in FILES if name != BASKETS]
    + [(name, lambda path: path.write_bytes(b""), "") for name in FILES if name != BASKETS]
    + [
        ("items.npy", change(lambda a: a[:-1]), "does not divide"),
        ("items.npy", change(lambda a: a + 1), "codes outside"),
        ("items.npy", change(lambda a: a - 1), "codes outside"),
        ("items.npy", change(lambda a: a.astype(np.int64)), "int64"),
        ("items.npy", change(lambda a: a.reshape(1, -1)), "shape"),
        ("offsets.npy", change(lambda a: a[:-1]), "2 users"),
        ("offsets.npy", change(lambda a: a.astype(np.int32)), "int32"),
        ("offsets.npy", change(lambda a: np.append(a[:-1], a[-1] + 1)), "does not divide"),
        ("offsets.npy", change(lambda a: a - [0, 3, 0]), "at least 4 each"),
        ("offsets.npy", change(lambda a: a + (np.arange(3) == 0)), "does not divide"),
        ("users.parquet", lambda path: pd.DataFrame({"id": [1]}).to_parquet(path), "1 users"),
        ("items.parquet", lambda path: pd.DataFrame({"id": [1], "title": ["1"]}).to_parquet(path), "codes outside"),
        ("items.parquet", lambda path: pd.DataFrame({"id": range(9)}).to_parquet(path), "title"),
        ("sequences.json", rewrite('"format": 1', '"format": 5'), "format is 5"),
        ("sequences.json", rewrite('"format": 1', '"format": 2'), "before_validation"),
        ("sequences.json", rewrite("max_len", "maxlen"), "max_len"),
        ("sequences.json", lambda path: path.write_text("[]"), "list"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(tmp_path, file, harm, said):
    save_prepared(sequences_of([[1, 2, 3, 4, 5, 1], [5, 4, 3, 2, 1]], 4), tmp_path / "log")
    harm(tmp_path / "log" / file)
    with pytest.raises(DataError, match=f"log is not a complete prepared log .*{said}.*prepare it again"):
        load_prepared(tmp_path / "log")


def test_nothing_but_a_prepared_log_is_replaced(tmp_path):
    sequences = sequences_of([[1, 2, 3, 4, 5]], 4)
    (tmp_path / "keep.txt").write_text("mine")
    for place, said in ((tmp_path, "other files"), (tmp_path / "keep.txt", "is a file")):
        with pytest.raises(DataError, match=said):
            save_prepared(sequences, place)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "items.parquet").write_text("a log of that name")
    with pytest.raises(DataError, match="other files"):
        save_prepared(sequences, tmp_path / "raw")
    mixed = Sequences.from_log(InteractionLog.from_frame(pd.DataFrame({"user": [1] * 5, "item": [1, "a", 2, 3, 4]})))
    with pytest.raises(DataError, match="ids have mixed types"):
        save_prepared(mixed, tmp_path / "log")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["items.parquet", "keep.txt", "raw"]


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


def test_a_disk_that_is_full_halfway_is_said_in_a_sentence(tmp_path):
    resource = pytest.importorskip("resource")
    sequences = sequences_of([[1, 2, 3, 4, 5] * 10_000], 4)
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DataError, match="log cannot be written"):
            save_prepared(sequences, tmp_path / "log")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


@given(
    lists=st.lists(st.lists(st.integers(0, 12), min_size=5, max_size=40), min_size=1, max_size=6),
    longest=st.integers(4, 45),
)
@settings(max_examples=30)
def test_recent_keeps_the_last_interactions_of_each_user(lists, longest):
    whole = sequences_of(lists, max_len=10)
    cut = whole.recent(longest)
    np.testing.assert_array_equal(cut.user_ids, whole.user_ids)
    for user, items in enumerate(lists):
        mine = cut.item_ids[cut.items[cut.offsets[user] : cut.offsets[user + 1]]]
        assert mine.tolist() == items[-longest:]
    assert sorted(cut.item_ids.tolist()) == sorted({item for items in lists for item in items[-longest:]})
    if max(map(len, lists)) <= longest:
        assert cut is whole
    else:
        assert cut.fingerprint != whole.fingerprint
        kept, all_of = sum(min(len(items), longest) for items in lists), sum(map(len, lists))
        assert cut.notes[-1] == f"Each user's last {longest} interactions are kept, {kept} of {all_of} in all."


def test_recent_refuses_to_keep_too_few_to_split():
    with pytest.raises(DataError, match="at least 4 interactions"):
        sequences_of([[1, 2, 3, 4, 5]], max_len=10).recent(3)
