"""Text logs, packed or not, against a plain reader of the same files; and ids of every type."""

import csv
import datetime
import gzip
import io
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.data import Columns, InteractionLog, Sequences, load_prepared
from cprlab.data.log import candidates
from cprlab.data.times import show_time
from cprlab.errors import DataError
from cprlab.loading import load_log, prepare
from tests.data.test_log import as_triples, write
from tests.data.test_sequences import assert_same_sequences

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda text: pa.Codec("zstd").compress(text, asbytes=True),
}
ALONE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=4)
IDS = ALONE | st.tuples(ALONE, ALONE).map(" ".join) | st.sampled_from(["007", "7", "NA", "1,5", '"', "=cmd()", "ü;ß"])
MOMENTS = {
    "seconds": st.integers(1_400_000_000, 1_400_000_009).map(str),
    "decimals": st.sampled_from(["0.5", "1", "1.25", "2.0", "-3", "1e2"]),
    "dates": st.sampled_from(["2017-01-31", "2017-02-01", "2016-12-31"]),
    "zones": st.sampled_from(["2017-01-31T23:30:00Z", "2017-02-01T00:15:00+02:00", "2017-01-31T20:00:00-05:00"]),
    "none": None,
}


def dialect(kind):
    """How the csv module is to read and write this kind."""

    class Kind(csv.excel):
        delimiter = "," if kind == ".csv" else "\t"
        quoting = csv.QUOTE_NONE if kind == ".inter" else csv.QUOTE_MINIMAL

    return Kind


@st.composite
def files(draw):
    """The bytes of a text log before they are packed, and the ending of its kind."""
    kind = draw(st.sampled_from([".csv", ".tsv", ".inter"]))
    ids = IDS.filter(lambda one: '"' not in one and "\t" not in one) if kind == ".inter" else IDS
    users, items = (draw(st.lists(ids, min_size=1, max_size=4, unique=True)) for _ in range(2))
    moments = MOMENTS[draw(st.sampled_from(list(MOMENTS)))]
    timed = ["timestamp"] if moments is not None else []
    header = ["user_id", "item_id", "label", *timed]
    columns = [st.sampled_from(users), st.sampled_from(items), st.sampled_from(["", " ", "One", "Zwölf"])]
    rows = draw(st.lists(st.tuples(*columns, *[moments for _ in timed]), min_size=1, max_size=40))
    text = io.StringIO()
    named = [f"{name}:token" for name in header] if kind == ".inter" else header
    csv.writer(text, dialect(kind), lineterminator="\n").writerows([named, *rows])
    return text.getvalue().encode(), kind


def plain_log(content, kind):
    """Rows `user, item`, grouped by user and in order of time, and the titles, by the csv module alone."""
    table = csv.reader(io.StringIO(content.decode()), dialect(kind))
    header = [name.removesuffix(":token") for name in next(table)]
    rows = [dict(zip(header, row, strict=True)) for row in table]

    def moment(row):
        text = row.get("timestamp", "0")
        try:
            return Decimal(text)
        except ArithmeticError:
            parsed = datetime.datetime.fromisoformat(text)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)

    users = list(dict.fromkeys(row["user_id"] for row in rows))
    rows.sort(key=lambda row: (users.index(row["user_id"]), moment(row)))  # stable: ties stay in file order
    return [(row["user_id"], row["item_id"]) for row in rows]


@settings(max_examples=40)
@given(files(), st.sampled_from(list(PACKED)))
def test_a_text_log_is_what_a_plain_reader_makes_of_it(tmp_path_factory, file, packed):
    content, kind = file
    path = tmp_path_factory.mktemp("log") / f"log{kind}{packed}"
    path.write_bytes(PACKED[packed](content))
    assert as_triples(load_log(path)) == plain_log(content, kind)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_may_have_several_parts_and_are_refused_where_they_are_cut_or_changed(tmp_path, packed):
    rows = "user_id:token\titem_id:token\n" + "".join(f"u{n % 50}\ti{n % 977}\n" for n in range(50_000))
    parts = [PACKED[packed](text.encode()) for text in (rows[:200_000], rows[200_000:])]
    whole = write(tmp_path, rows, "whole.inter")
    write(tmp_path, PACKED[packed](b"item_id:token\ttitle:token\ni1\tHeat\n"), f"log.item{packed}")
    path = write(tmp_path, b"".join(parts), f"log.inter{packed}")
    log = load_log(path)
    assert as_triples(log) == as_triples(load_log(whole))
    assert sorted(log.titles)[0] == "Heat"
    assert_same_sequences(prepare(path, tmp_path / "prepared"), Sequences.from_log(log))
    changed = bytearray(parts[0])
    changed[len(changed) // 2] ^= 64
    for content in (parts[0][:-5], parts[0] + b"junk", bytes(changed), rows.encode()):
        path.write_bytes(content)
        for read in (load_log, lambda path: prepare(path, tmp_path / "prepared")):
            with pytest.raises(DataError, match=rf"log\.inter\{packed} cannot be read as \.inter"):
                read(path)


def test_other_signs_and_other_packed_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"its fields are separated by ';'; in \.csv files it is ','"):
        load_log(write(tmp_path, "user;item;price\na;b;1,5\n"))
    for name in ("log.parquet.gz", "log.xls.gz", "log.gz"):
        with pytest.raises(
            DataError, match=r"reads \.parquet, \.csv, .*, \.json, and text files compressed as \.gz or"
        ):
            load_log(write(tmp_path, "x", name))


NUMBERS = [3, 1, 2, 30, 1, 100, 7, 3] * 3
COLUMNS = {
    "boolean": pa.array([n % 2 == 0 for n in NUMBERS]),
    "int8": pa.array(NUMBERS, pa.int8()),
    "uint64": pa.array([2**63 + n for n in NUMBERS], pa.uint64()),
    "float16": pa.array(np.array(NUMBERS, np.float16)),
    "float64": pa.array([n / 3 for n in NUMBERS]),
    "decimal": pa.array([Decimal(n) / 4 for n in NUMBERS], pa.decimal128(20, 2)),
    "long decimal": pa.array([Decimal(n) * 10**50 for n in NUMBERS], pa.decimal256(60, 2)),
    "text": pa.array([f"ü{n}" for n in NUMBERS], pa.large_string()),
    "bytes": pa.array([b"\0\xff%d" % n for n in NUMBERS]),
    "UUID": pa.array([uuid.UUID(int=n).bytes for n in NUMBERS], pa.uuid()),
    "date": pa.array([datetime.date(2017, 1, n % 28 + 1) for n in NUMBERS]),
    "time with a zone": pa.array(NUMBERS, pa.timestamp("us", "Europe/Berlin")),
    "nanoseconds": pa.array([10**18 + n for n in NUMBERS], pa.timestamp("ns")),
    "duration": pa.array(NUMBERS, pa.duration("us")),
    "category": pa.array([f"a{n}" for n in NUMBERS]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_ids_of_every_type_are_kept_in_memory_and_on_disk(tmp_path, monkeypatch, kind):
    for module in ("data.readers", "loading.large"):
        monkeypatch.setattr(f"cprlab.{module}.CHUNK", 7)
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": [1] * 24, "item_id": COLUMNS[kind], "name": COLUMNS[kind]}), path)
    own = COLUMNS[kind].to_pylist() if kind != "nanoseconds" else COLUMNS[kind].to_pandas().tolist()
    for title in ("", "name"):
        expected = Sequences.from_log(load_log(path, Columns(title=title)))
        assert (
            expected.item_ids[expected.items].astype(object).tolist()
            == np.array(pd.Series(own)).astype(object).tolist()
        )
        assert len(set(expected.titles)) == len(set(map(str, own)))
        prepared = prepare(path, tmp_path / "prepared", Columns(title=title))
        assert_same_sequences(prepared, expected)


def test_bytes_are_shown_as_their_text_or_in_hexadecimal_digits():
    log = InteractionLog.from_frame(pd.DataFrame({"user": [1, 1], "item": ["ü".encode(), b"\0\xff"]}))
    assert log.titles.tolist() == ["ü", "00ff"]


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, np.array([1])])
def test_what_cannot_be_an_id_is_refused_in_a_sentence(value):
    frame = pd.DataFrame({"user": [1, 1], "item": [value, value]})
    with pytest.raises(DataError, match="column 'item': an id is a list or a table"):
        InteractionLog.from_frame(frame)


UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


@pytest.mark.parametrize(("unit", "factor"), UNITS.items())
@pytest.mark.parametrize("kind", [int, float, str])
def test_the_unit_of_an_epoch_is_seen_from_its_magnitude(unit, factor, kind):
    moments = pd.date_range("1980-01-01", "2090-01-01", periods=50).astype("datetime64[s]")
    seconds = moments.astype("int64")
    log = InteractionLog.from_frame(pd.DataFrame({"user": 1, "item": 1, "time": [kind(n * factor) for n in seconds]}))
    assert log.unit == unit
    assert [show_time(time, log.unit) for time in log.times.tolist()] == [
        str(moment).removesuffix(" 00:00:00") for moment in moments
    ]
    assert log.notes == ()


def test_dates_count_microseconds_and_small_numbers_nothing():
    for times, unit in ((["2017-01-31", "2018-01-31"], "microseconds"), ([0, 99_999_999], "")):
        assert InteractionLog.from_frame(pd.DataFrame({"user": 1, "item": 1, "time": times})).unit == unit
    assert show_time(1234, "") == "1,234"


def test_times_in_several_units_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("cprlab.data.readers.CHUNK", 10)
    rows = [f"a,{n},{1_500_000_000 + n}" for n in range(30)]
    rows[25] += "000"
    path = write(tmp_path, "\n".join(["user_id,item_id,timestamp", *rows]))
    log = load_log(path)
    assert "different units since 1970 (29 like seconds and 1 like milliseconds)" in " ".join(log.notes)
    assert prepare(path, tmp_path / "prepared").notes == log.notes


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("ns"), pa.timestamp("ms", "UTC")])
def test_arrows_dates_are_times(kind):
    times = pd.Series(pd.to_datetime(["2020-01-02", "2020-01-01"]).date, dtype=pd.ArrowDtype(pa.date32()))
    frame = pd.DataFrame({"user": ["a", "a"], "item": ["x", "y"], "time": times.astype(pd.ArrowDtype(kind))})
    log = InteractionLog.from_frame(frame)
    assert as_triples(log) == [("a", "y"), ("a", "x")]
    assert log.times.tolist() == [1_577_836_800_000_000, 1_577_923_200_000_000]


def test_whole_numbers_as_titles_keep_their_digits_where_some_are_missing(tmp_path):
    columns = {"user_id": ["a"] * 6, "item_id": [1, 2, 3, 4, 1, 2], "title": [5, 2**60 + 1, 2**60 + 2, None, 5, None]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    log = load_log(tmp_path / "log.parquet")
    assert log.titles.tolist() == ["5", str(2**60 + 1), str(2**60 + 2), "4"]
    assert prepare(tmp_path / "log.parquet", tmp_path / "prepared").titles.tolist() == log.titles.tolist()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_folder_may_be_called_like_the_home_folder(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    path = Path("~") / f"log{ending}"
    path.parent.mkdir()
    frame = pd.DataFrame({"user_id": ["a"] * 6, "item_id": list("xyzxyz")})
    frame.to_parquet(path.absolute()) if ending == ".parquet" else frame.to_csv(path.absolute(), index=False)
    assert len(load_log(path)) == 6
    assert prepare(path, "~/prepared").titles.tolist() == ["x", "y", "z"]
    assert len(load_prepared("~/prepared").items) == 6


def test_names_are_known_however_they_are_spelled():
    assert candidates(pd.Index(["movieId", "Item ID", "item_id", "rating"]), "item") == [
        "item_id",
        "Item ID",
        "movieId",
    ]
    assert candidates(pd.Index(["userId", "user"]), "user") == ["user", "userId"]
    with pytest.raises(DataError, match="two columns 'user'"):
        InteractionLog.from_frame(pd.DataFrame([[1, 2, 3]], columns=["user", "user", "item"]))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 6), st.sampled_from("xyz")),
        min_size=1,
        max_size=40,
    )
)
def test_rows_of_a_basket_follow_each_other_at_its_earliest_time(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "order"])
    for timed in (True, False):
        log = InteractionLog.from_frame(frame if timed else frame.drop(columns="time"), columns=Columns(basket="order"))
        expected, times, baskets = [], [], []
        for user in dict.fromkeys(row[0] for row in rows):
            own = [row for row in rows if row[0] == user]
            orders = {order: [row for row in own if row[3] == order] for order in dict.fromkeys(row[3] for row in own)}
            order_times = {order: min(row[2] for row in lines) if timed else 0 for order, lines in orders.items()}
            for order in sorted(orders, key=order_times.get):  # stable: the one that begins first in the file
                expected += [(str(user), str(row[1])) for row in orders[order]]
                times += [order_times[order]] * len(orders[order])
                baskets += [(user, order)] * len(orders[order])
        assert as_triples(log) == expected
        assert (log.times.tolist() == times) if timed else (log.times is None)
        numbers = {basket: number for number, basket in enumerate(dict.fromkeys(baskets))}
        assert log.baskets.tolist() == [numbers[basket] for basket in baskets]
        assert f"{len(numbers)} baskets (column 'order')" in log.notes[0]
