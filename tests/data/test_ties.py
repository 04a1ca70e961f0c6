"""Ties: what is told from a file's order, and what becomes of rows whose order is not known."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.catalogue import BUILTIN
from cprlab.data import Columns, InteractionLog, Sequences
from cprlab.data.ties import BACKWARDS, SORTED, keys, one_way, ranked
from cprlab.errors import ConfigError, DataError
from cprlab.loading import load_log, load_sequences, prepare
from cprlab.loading.check import check
from cprlab.settings import ReportConfig
from cprlab.sweeps import Grid
from tests.data.test_log import as_triples, write
from tests.data.test_sequences import assert_same_sequences


def mixed(place):
    """splitmix64 in plain integers."""
    z = (place + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


KEYS: dict[str, Callable[[int], int]] = {"file": int, "reversed": lambda place: -place, "shuffled": mixed}


def test_the_key_of_a_place_is_its_number_of_splitmix64():
    assert keys(np.arange(300), "shuffled").tolist() == [mixed(place) for place in range(300)]
    assert mixed(0) == 0xE220A8397B1DCDAF  # of the seed 0, as java.util.SplittableRandom and others print it
    assert len(set(keys(np.arange(10_000), "shuffled").tolist())) == 10_000


def by_hand(rows, order):
    """`(user, item)` of rows `(user, item, time, basket, rank)` in the order that they are to have."""
    first = {}
    for place, (user, *_) in enumerate(rows):
        first.setdefault(user, place)
    baskets = {}
    for place, (user, _, time, basket, _) in enumerate(rows):
        start, earliest = baskets.get((user, basket), (place, time))
        baskets[user, basket] = start, min(time, earliest)

    def key(place):
        user, _, _, basket, rank = rows[place]
        start, moment = baskets[user, basket]
        return first[user], moment, KEYS[order](start), rank, KEYS[order](place)

    return [(str(rows[place][0]), str(rows[place][1])) for place in sorted(range(len(rows)), key=key)]


ROWS = st.lists(st.tuples(*(st.integers(0, most) for most in (2, 5, 3, 3, 2))), min_size=1, max_size=40)


@given(ROWS, st.sampled_from(["file", "shuffle"]))
def test_rows_have_the_order_of_their_keys(rows, ties):
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "basket", "position"])
    log = InteractionLog.from_frame(frame, columns=Columns(basket="basket"), ties=ties)
    order = "file" if ties == "file" else "shuffled"
    assert as_triples(log) == by_hand(rows, order)
    log = InteractionLog.from_frame(frame.drop(columns="basket"), ties=ties)
    assert as_triples(log) == without_baskets(rows, order)


def without_baskets(rows, order):
    first = {row[0]: place for place, row in reversed(list(enumerate(rows)))}
    places = sorted(range(len(rows)), key=lambda at: (first[rows[at][0]], rows[at][2], rows[at][4], KEYS[order](at)))
    return [(str(rows[at][0]), str(rows[at][1])) for at in places]


def daily(users=40, seed=0):
    """Users with three days of four rows each, in random order within a day."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", item, 86_400 * day)
        for user in range(users)
        for day in range(3)
        for item in rng.choice(30, 4, replace=False)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def by_user(log):
    return {user: [item for one, item in as_triples(log) if one == user] for user in map(str, log.user_ids)}


SORTS = {
    "item ids rise": lambda frame: frame.sort_values(["user_id", "timestamp", "item_id"]),
    "item ids fall": lambda frame: frame.sort_values(
        ["user_id", "timestamp", "item_id"], ascending=[True, True, False]
    ),
    "titles rise": lambda frame: frame.sort_values(["user_id", "timestamp", "title"]),
}


@pytest.mark.parametrize("said", SORTS)
def test_ties_that_are_sorted_by_item_or_title_are_shuffled(said):
    frame = daily().assign(title=lambda frame: "T" + ((frame["item_id"] * 7) % 30).astype(str))
    log = InteractionLog.from_frame(SORTS[said](frame))
    assert f"their {said} in 100.0% of steps, so such ties are shuffled (seed 0)." in log.notes[-1]
    assert "360 of 480 interactions" in log.notes[-1]
    kept = InteractionLog.from_frame(SORTS[said](frame), ties="file")
    assert kept.notes[-1].startswith("Changes results: 360 of 480 interactions")
    assert kept.notes[-1].endswith(f"keep the order of the file, although their {said} in 100.0% of steps.")
    assert sorted(as_triples(log)) == sorted(as_triples(kept))
    assert as_triples(log) != as_triples(kept)
    for one in (log, kept):
        assert (np.diff(one.times)[np.diff(one.users) == 0] >= 0).all()
    again = [int(a < b) for a, b in itertools.pairwise(log.item_ids[log.items])]
    assert 0.4 < np.mean(again) < 0.6


def test_ids_are_compared_as_numbers_where_all_are_numbers():
    rows = daily().sort_values(["user_id", "timestamp", "item_id"])
    for ids, rise in (("{}", True), ("{}.0", True), ("x{}", False)):
        note = InteractionLog.from_frame(rows.assign(item_id=rows["item_id"].map(ids.format))).notes[-1]
        assert ("item ids rise in 100.0%" in note) == rise


@pytest.mark.parametrize("seed", range(20))
def test_random_ties_keep_the_order_of_the_file(seed):
    frame = daily(seed=seed)
    scattered = frame.sample(len(frame), random_state=seed)
    for rows in (frame, scattered):
        log = InteractionLog.from_frame(rows)
        assert as_triples(log) == as_triples(InteractionLog.from_frame(rows, ties="file"))
        assert log.notes[-1].endswith("keep the order of the file, which sorts them by neither item ids nor titles.")


def test_a_file_that_runs_newest_first_is_turned_round():
    frame = daily()
    for rows in (frame[::-1], pd.concat([of_user[::-1] for _, of_user in frame.groupby("user_id", sort=False)])):
        log = InteractionLog.from_frame(rows)
        assert by_user(log) == by_user(InteractionLog.from_frame(frame, ties="file"))
        assert log.notes[-1].endswith("such ties are reversed, since the file runs newest first.")
        kept = InteractionLog.from_frame(rows, ties="file")
        assert kept.notes[-1].startswith("Changes results: ")
        assert kept.notes[-1].endswith("keep the order of the file, although it runs newest first.")
    within = daily().sort_values(["user_id", "timestamp", "item_id"], ascending=[True, False, True])
    assert "item ids rise" in InteractionLog.from_frame(within).notes[-1]  # which order they had cannot be known


@pytest.mark.parametrize(("chance", "fewest"), [(SORTED, 10), (BACKWARDS, 5)])
def test_one_way_is_the_binomial_tail(chance, fewest):
    assert [one_way(n, n, chance) for n in range(15)] == [n >= fewest for n in range(15)]
    for of in range(1, 80):
        for steps in range(of + 1):
            tail = sum(math.comb(of, more) for more in range(steps, of + 1)) / 2**of
            assert one_way(steps, of, chance) == (3 * steps > 2 * of and tail < chance)


def test_a_column_of_positions_is_the_order_within_ties_or_else_of_the_rows():
    frame = daily()
    frame["add_to_cart_order"] = frame.groupby(["user_id", "timestamp"]).cumcount() + 1
    mixed_up = frame.sample(len(frame), random_state=1).sort_values("user_id", kind="stable")
    expected = by_user(InteractionLog.from_frame(frame, ties="file"))
    for name in ("add_to_cart_order", "Position", "SEQUENCE", "order"):
        rows = mixed_up.rename(columns={"add_to_cart_order": name})
        log = InteractionLog.from_frame(rows)
        assert by_user(log) == expected
        assert log.notes == (f"Rows with the same time or basket are ordered by the column {name!r}.",)
        alone = rows.assign(**{name: rows["timestamp"] + rows[name]}).drop(columns="timestamp")
        log = InteractionLog.from_frame(alone)
        assert by_user(log) == expected
        assert log.notes == (f"No column is named like a time; the column {name!r} gives the order instead.",)
        assert log.times is not None
        baskets = rows.assign(basket=rows["timestamp"]).sort_values("timestamp", kind="stable")
        log = InteractionLog.from_frame(baskets.drop(columns="timestamp"), columns=Columns(basket="basket"))
        assert by_user(log) == expected
    words = mixed_up.assign(add_to_cart_order="first")
    plain = mixed_up.drop(columns="add_to_cart_order")
    for columns in ([], ["timestamp"]):  # words are no order
        one, other = (InteractionLog.from_frame(rows.drop(columns=columns)) for rows in (words, plain))
        assert as_triples(one) == as_triples(other)
        assert one.times is None if columns else "column" not in one.notes[-1]


def test_only_numbers_are_ranks():
    assert ranked(pd.Series(["1", " 2.5 ", "1e3"])).tolist() == [1, 2.5, 1000]
    for wrong in (["1", ""], ["1", "nan"], ["1", "inf"], ["1", "x"], [None, 1], [[1], 2]):
        assert ranked(pd.Series(wrong)) is None
    assert ranked(pd.Series([1, None], dtype="Int64")) is None


@settings(max_examples=25)
@given(ROWS, st.sampled_from(["file", "shuffle", "auto"]), st.booleans(), st.booleans(), st.randoms())
def test_a_prepared_log_has_the_same_order(tmp_path_factory, rows, ties, baskets, descending, random):
    """Whatever is decided: most of these logs are sorted, or run newest first."""
    rows = [*rows, *[(0, item, time, 0, 0) for item, time in itertools.product(range(6), range(3))]]
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "basket", "position"])
    how = random.choice([["item"], ["time"], ["user", "time", "item"], ["position"]])
    frame = frame.sort_values(how, ascending=not descending, kind="stable")
    frame = frame.drop(columns=random.choice([[], ["position"], ["time"], ["time", "position"]]))
    folder = tmp_path_factory.mktemp("log")
    frame.to_csv(folder / "log.csv", index=False)
    columns = Columns(basket="basket" if baskets else "")
    expected = Sequences.from_log(load_log(folder / "log.csv", columns, ties=ties))
    assert_same_sequences(prepare(folder / "log.csv", folder / "prepared", columns, ties=ties), expected)


def test_words_late_in_a_column_of_positions_are_found_by_both_ways(tmp_path, monkeypatch):
    for module in ("data.readers", "loading.large"):
        monkeypatch.setattr(f"cprlab.{module}.CHUNK", 50)
    frame = daily().assign(position=range(480, 0, -1)).astype({"position": object})
    for columns in ([], ["timestamp"]):
        for late in (None, "last"):
            frame.loc[479, "position"] = late or 1
            frame.drop(columns=columns).to_csv(tmp_path / "log.csv", index=False)
            expected = Sequences.from_log(load_log(tmp_path / "log.csv"))
            assert ("the column 'position'" in expected.notes[0]) == (late is None)
            assert_same_sequences(prepare(tmp_path / "log.csv", tmp_path / "prepared"), expected)


def test_check_says_what_was_done_and_takes_the_setting(tmp_path):
    path = write(tmp_path, SORTS["item ids rise"](daily()).to_csv(index=False))
    assert any("item ids rise in 100.0% of steps" in doubt for doubt in check(path).doubts)
    assert any("keep the order of the file, although" in doubt for doubt in check(path, ties="file").doubts)
    path = write(tmp_path, daily().assign(position=range(480)).to_csv(index=False))
    assert check(path).columns["used as"].tolist() == ["user", "item", "time", "order"]
    path = write(tmp_path, daily().drop(columns="timestamp").assign(position=range(480)).to_csv(index=False))
    assert check(path).columns["used as"].tolist() == ["user", "item", "time"]


def test_the_setting_reaches_reports_and_grids_and_is_refused_where_it_is_none(tmp_path):
    path = write(tmp_path, SORTS["item ids rise"](daily()).to_csv(index=False))
    prints = {
        ties: {
            load_sequences(path, ties=ties).fingerprint,
            ReportConfig(data=str(path), ties=ties).sequences().fingerprint,
        }
        for ties in ("auto", "file", "shuffle")
    }
    assert prints["auto"] == prints["shuffle"] != prints["file"]
    assert {len(found) for found in prints.values()} == {1}
    (of_grid,) = Grid(data=(str(path),), ties="file").logs().values()
    assert "keep the order of the file, although" in " ".join(of_grid.notes)
    bad: Any = "files"
    for wrong in (lambda: load_log(path, ties=bad), lambda: prepare(path, tmp_path / "p", ties=bad)):
        with pytest.raises(ConfigError, match="Unknown ties 'files': did you mean 'file'"):
            wrong()
    with pytest.raises(ConfigError, match="Unknown ties 'files'"):
        ReportConfig(ties="files")
    prepare(path, tmp_path / "prepared", ties="shuffle")
    with pytest.raises(DataError, match="whose columns and order are fixed"):
        load_sequences(tmp_path / "prepared", ties="file")


def test_built_in_logs_shuffle_their_baskets():
    log = load_log("complete-journey-types")
    assert log.notes[-1].endswith("such ties are shuffled (seed 0).")
    kept = BUILTIN["complete-journey-types"]("file")
    assert (log.items != kept.items).mean() > 0.7
    np.testing.assert_array_equal(log.times, kept.times)
