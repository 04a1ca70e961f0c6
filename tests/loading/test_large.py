"""`prepare`, whose oracle is the same log read and sorted in memory."""

import re
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.data import Columns, Sequences, load_prepared, readers
from cprlab.data.splits import SplitBy
from cprlab.errors import DataError
from cprlab.loading import load_log, load_sequences, prepare
from tests.data.test_log import BAD, write
from tests.data.test_sequences import assert_same_sequences

ENDINGS = ("parquet", "csv", "tsv", "inter")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='",'), max_size=3)
NAMES = TEXT.map(lambda text: f"x{text}")  # never empty
TIMES = {
    "none": None,
    "whole": st.integers(0, 5) | st.integers(-(2**62), 2**62),
    "number": st.sampled_from([-1.5, -0.0, 0.0, 1.0, 1.25, 2.0]),
    "mixed": st.sampled_from(["1", "2", "2.0", "1e1", " 3 ", "-0.5"]),
    "date": st.sampled_from(["2017-01-31", "2017-02-01", "2017-02-01 09:00", "2017-02-01T10:00:00+02:00", "1969-12"]),
    "datetime": st.datetimes(pd.Timestamp("1960-01-01"), pd.Timestamp("2020-01-01")),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for module in ("data.readers", "loading.large"):
        monkeypatch.setattr(f"cprlab.{module}.CHUNK", 20)


@st.composite
def tables(draw):
    """Up to 60 rows of a few users and items, in no order, with ties."""
    columns = {}
    ids = [st.integers(-3, 3), NAMES]
    users, items = (draw(st.lists(draw(st.sampled_from(ids)), min_size=1, max_size=5, unique=True)) for _ in range(2))
    n_rows = draw(st.integers(7, 60))
    columns["user_id"] = draw(st.lists(st.sampled_from(users), min_size=n_rows, max_size=n_rows))
    columns["item_id"] = draw(st.lists(st.sampled_from(items), min_size=n_rows, max_size=n_rows))
    if (times := TIMES[draw(st.sampled_from(list(TIMES)))]) is not None:
        columns["timestamp"] = draw(st.lists(times, min_size=n_rows, max_size=n_rows))
    if draw(st.booleans()):
        columns["order"] = draw(st.lists(st.integers(0, 9), min_size=n_rows, max_size=n_rows))
    if draw(st.booleans()):
        columns["position"] = draw(st.lists(st.integers(0, 2), min_size=n_rows, max_size=n_rows))
    if draw(st.booleans()):
        columns["title"] = draw(st.lists(st.sampled_from(["", " ", "One", "Two"]), min_size=n_rows, max_size=n_rows))
    columns["user_id"][-7:] = users[:1] * 7  # one of the users is long enough, whatever was drawn
    return pd.DataFrame(columns)


def write_table(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".inter":
        table.rename(columns=lambda name: f"{name}:token").to_csv(path, sep="\t", index=False)
    else:
        table.to_csv(path, sep="," if path.suffix == ".csv" else "\t", index=False)


@settings(max_examples=25)
@given(tables(), st.sampled_from(ENDINGS), st.integers(4, 7), st.integers(1, 9), st.sampled_from(get_args(SplitBy)))
def test_a_prepared_log_is_the_one_made_in_memory(tmp_path_factory, table, ending, min_interactions, max_len, split):
    folder = tmp_path_factory.mktemp("log")
    path = folder / f"log.{ending}"
    write_table(table, path)
    settings: dict[str, Any] = {"max_len": max_len, "min_interactions": min_interactions, "split": split}
    columns = Columns(basket="order" if "order" in table else "")
    try:
        expected = Sequences.from_log(load_log(path, columns), **settings)
    except DataError as error:  # the temporal split is not always possible
        with pytest.raises(DataError, match=re.escape(str(error))):
            prepare(path, folder / "prepared", columns, **settings)
        return
    prepared = prepare(path, folder / "prepared", columns, **settings)
    assert_same_sequences(prepared, expected)
    assert isinstance(prepared.items, np.memmap)
    assert sorted(path.name for path in folder.iterdir()) == [f"log.{ending}", "prepared"]


def test_a_real_log_with_ties_titles_and_short_users(tmp_path, monkeypatch):
    monkeypatch.setattr("cprlab.data.readers.CHUNK", 30_000)
    log = load_log("complete-journey-types")
    frame = pd.DataFrame(
        {
            "household_id": log.user_ids[log.users],
            "product_id": log.item_ids[log.items],
            "event_time": log.times.astype("datetime64[us]"),
            "name": log.titles[log.items],
        }
    ).sample(100_000, random_state=0)
    frame.to_parquet(tmp_path / "journey.parquet", row_group_size=40_000)
    expected = Sequences.from_log(load_log(tmp_path / "journey.parquet"))
    copies, ties, short = expected.notes
    again = frame.duplicated(["household_id", "product_id", "event_time"]).sum()
    assert copies.startswith(f"Changes results: {again:,} of 100,000 rows have the user, item and time of an earlier")
    assert "have the time or basket of the same user's previous one" in ties
    assert "fewer than 5" in short
    assert_same_sequences(prepare(tmp_path / "journey.parquet", tmp_path / "prepared"), expected)


@pytest.mark.parametrize("kind", ["int32", "uint64", "category", "date"])
def test_ids_keep_the_types_of_the_file(tmp_path, kind):
    ids = pd.Series([3, 1, 2, 3, 1] * 4)
    columns = {
        "int32": ids.astype("int32"),
        "uint64": ids.astype("uint64") + 2**63,
        "category": ids.map("item {}".format).astype("category"),
        "date": ids.map(lambda day: pd.Timestamp(2017, 1, day).date()),
    }
    pd.DataFrame({"user": [1] * 20, "item": columns[kind]}).to_parquet(tmp_path / "log.parquet")
    expected = Sequences.from_log(load_log(tmp_path / "log.parquet"))
    assert_same_sequences(prepare(tmp_path / "log.parquet", tmp_path / "prepared"), expected)


def test_a_title_may_come_after_many_rows_without(tmp_path):
    titles = [None] * 45 + [" ", "One", *["One"] * 50, "Two"]
    table = pd.DataFrame({"user": 1, "item": [7] * 97 + [8], "title": titles})
    table.to_parquet(tmp_path / "log.parquet")
    prepared = prepare(tmp_path / "log.parquet", tmp_path / "prepared")
    assert prepared.titles.tolist() == ["One", "Two"]


def test_how_much_a_model_reads_is_as_asked_or_as_prepared_or_50(tmp_path):
    pd.DataFrame({"user": 1, "item": range(90)}).to_parquet(tmp_path / "log.parquet")
    prepare(tmp_path / "log.parquet", tmp_path / "prepared", max_len=20)
    for place, asked, read in (
        ("log.parquet", 0, 50),
        ("log.parquet", 7, 7),
        ("prepared", 0, 20),
        ("prepared", 70, 70),
    ):
        found = load_sequences(tmp_path / place, max_len=asked)
        assert found.max_len == found.windows("test").lengths[0] == read


@pytest.mark.parametrize("times", [["1", "2.{}"], ["2.{}", "1"], ["5", "2017-01-01"], ["2017-01-01", "5"]])
def test_what_times_are_is_known_from_the_whole_column(tmp_path, times):
    """Whichever chunk comes first: whole numbers among others are numbers, and dates among numbers are refused."""
    rows = [f"a,{n},{times[n // 30].format(99 - n)}" for n in range(60)]
    path = write(tmp_path, "\n".join(["user_id,item_id,timestamp", *rows]))
    if "2.{}" in times:
        assert_same_sequences(prepare(path, tmp_path / "prepared"), Sequences.from_log(load_log(path)))
    else:
        with pytest.raises(DataError, match=r"line \d+, column 'timestamp': '2017-01-01' is not a time"):
            prepare(path, tmp_path / "prepared")


def test_titles_beside_an_inter_file_go_before_its_own_and_a_named_column_before_them(tmp_path):
    rows = [f"a\t{n % 6}\tOwn {n}" for n in range(20)]
    path = write(tmp_path, "\n".join(["user_id:token\titem_id:token\ttitle:token", *rows]), "films.inter")
    write(tmp_path, "item_id:token\tmovie_title:token_seq\n2\tHeat\n", "films.item")
    for title in ("", "title"):
        expected = Sequences.from_log(load_log(path, Columns(title=title)))
        assert ("Heat" in expected.titles) == (not title)
        assert_same_sequences(prepare(path, tmp_path / "prepared", Columns(title=title)), expected)


@pytest.mark.parametrize(("text", "said"), BAD)
def test_bad_logs_are_refused_as_in_memory(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        prepare(path, tmp_path / "prepared")
    for words in said:
        assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,,1", r"line 42: the column 'item_id' is empty"),
        ("a,1,soon", r"line 42, column 'timestamp': 'soon' is not a time"),
        (f"a,1,{2**63}", r"line 42, column .*: the time '9223372036854775808' does not fit in 64 bits"),
        ('a,"1,3\na,"2,3', r"a quotation mark on line 42 is not closed"),
        ("a,1,2,3", r"line 42"),
    ],
)
def test_the_line_is_named_wherever_the_chunks_end(tmp_path, row, said):
    rows = [f"a,{n},{n}" for n in range(50)]
    rows[40] = row
    path = write(tmp_path, "\n".join(["user_id,item_id,timestamp", *rows]))
    for read in (load_log, lambda path: prepare(path, tmp_path / "prepared")):
        with pytest.raises(DataError, match=said):
            read(path)


def test_what_cannot_be_prepared_is_refused_in_a_sentence(tmp_path):
    path = write(tmp_path, "user_id,item_id\n" + "a,1\n" * 9)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("mine")
    refused = [
        ({"path": "complete-journey"}, "built in and fits in memory"),
        ({"path": tmp_path / "nowhere.csv"}, "is not a file"),
        ({"folder": tmp_path / "mine"}, "holds other files"),
        ({"folder": path}, "is a file"),
        ({"folder": path / "inside"}, "cannot be written"),
        ({"memory": "much"}, "The memory limit 'much' is invalid.* write it like 2GB"),
        ({"memory": "1MB"}, r"log\.csv cannot be sorted with 1MB of memory"),
        ({"memory": "-1GB"}, "The memory limit '-1GB' is below 0.* write it like 2GB"),
        ({"min_interactions": 3}, "at least 4 interactions"),
        ({"max_len": 2**31}, r"both below 2\^31; got 5 and 2147483648"),
        ({"min_interactions": 2**31}, r"both below 2\^31"),
        ({"min_interactions": 10}, "the longest history has 9"),
        ({"columns": Columns(item="product")}, "has no column 'product'"),
    ]
    for changes, said in refused:
        with pytest.raises(DataError, match=said):
            prepare(**({"path": path, "folder": tmp_path / "prepared"} | changes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "mine"]
    pd.DataFrame({"user_id": [[1]], "item_id": [1]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="an id is a list"):
        prepare(tmp_path / "lists.parquet", tmp_path / "prepared")


def test_decimals_may_be_longer_than_those_of_the_first_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("cprlab.data.readers.CHUNK", 5)
    ids = [Decimal(number) for number in [1, 2, 3, 4, 5, 600, 700]]
    pd.DataFrame({"user_id": [1] * 7, "item_id": ids}).to_parquet(tmp_path / "decimals.parquet")
    expected = Sequences.from_log(load_log(tmp_path / "decimals.parquet"))
    assert_same_sequences(prepare(tmp_path / "decimals.parquet", tmp_path / "prepared"), expected)


def test_a_folder_in_use_is_refused_before_any_time_is_spent(tmp_path, monkeypatch):
    path = write(tmp_path, "user_id,item_id\n" + "a,1\n" * 9)
    monkeypatch.setattr("cprlab.loading.large._fill", None)
    with pytest.raises(DataError, match="holds other files"):
        prepare(path, tmp_path)


def test_an_interruption_leaves_the_earlier_folder(tmp_path, monkeypatch):
    path = write(tmp_path, "user_id,item_id\n" + "a,1\n" * 9)
    before = prepare(path, tmp_path / "prepared")
    monkeypatch.setattr("cprlab.loading.large._sort", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(path, tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "prepared"]
    assert_same_sequences(load_prepared(tmp_path / "prepared"), before)


def test_chunks_of_parquet_are_not_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK", 1_000)
    table = pd.DataFrame(np.random.default_rng(0).random((200_000, 3)), columns=["a", "b", "c"])
    table.to_parquet(tmp_path / "log.parquet", row_group_size=1_000)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in readers.read_chunks(tmp_path / "log.parquet", ["a", "b", "c"])]
    assert len(held) == 200
    assert max(held) < 1_000_000  # of 4,800,000 bytes


def test_data_are_a_name_a_file_or_a_prepared_folder(tmp_path):
    path = write(tmp_path, "who,item_id\na,1\na,2\na,3\na,4\na,5\n" + "b,1\n" * 4)
    prepared = prepare(path, tmp_path / "prepared", Columns(user="who"))
    assert_same_sequences(load_sequences(path, Columns(user="who")), prepared)
    assert_same_sequences(load_sequences(tmp_path / "prepared"), prepared)
    with pytest.raises(DataError, match="prepared is a prepared log, whose columns and order are fixed"):
        load_sequences(tmp_path / "prepared", Columns(user="who"))
    with pytest.raises(DataError, match="holds files of several types"):
        load_sequences(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        load_sequences(tmp_path / "nowhere.csv")
