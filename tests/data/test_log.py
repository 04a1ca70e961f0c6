import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprlab.data import Columns, InteractionLog
from cprlab.errors import DataError
from cprlab.loading import load_log

ROWS = "user_id,item_id,timestamp\n"


def write(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def as_triples(log):
    return [(str(log.user_ids[u]), str(log.item_ids[i])) for u, i in zip(log.users, log.items, strict=True)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(-(2**62), 2**62)), min_size=1, max_size=60))
def test_rows_are_grouped_by_user_and_sorted_by_time_with_ties_in_file_order(rows):
    log = InteractionLog.from_frame(pd.DataFrame(rows, columns=["user", "item", "time"]), ties="file")
    expected = []
    for user in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == user]
        for _ in range(len(own)):  # a selection sort: the earliest of the earliest rows first
            earliest = min(range(len(own)), key=lambda place: (own[place][2], place))
            expected.append((str(user), str(own.pop(earliest)[1])))
    assert as_triples(log) == expected


def test_times_are_exact_beyond_float_precision(tmp_path):
    late, early = 2**60 + 1, 2**60
    log = load_log(write(tmp_path, f"{ROWS}a,x,{late}\na,y,{early}\n"))
    assert as_triples(log) == [("a", "y"), ("a", "x")]
    assert log.times.tolist() == [early, late]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3", "20"),
        ("1.5", "1.75"),
        ("2017-01-31", "2017-02-01"),
        ("2017-01-31 09:00:00", "2017-01-31T10:00:00Z"),
    ],
)
def test_times_are_read_as_times_and_not_as_text(tmp_path, first, second):
    log = load_log(write(tmp_path, f"{ROWS}a,x,{second}\na,y,{first}\n"))
    assert as_triples(log) == [("a", "y"), ("a", "x")]


def test_text_ids_stay_text(tmp_path):
    log = load_log(write(tmp_path, f"{ROWS}007,NA,1\n7,01,2\n"))
    assert as_triples(log) == [("007", "NA"), ("7", "01")]


def test_parquet_csv_tsv_and_inter_give_the_same_log(tmp_path):
    rows = [("b", "y", 2), ("a", "x", 1), ("b", "x", 1), ("a", "x", 1)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    frame.to_parquet(tmp_path / "log.parquet")
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    atomic = frame.rename(columns=lambda name: f"{name}:{'float' if name == 'timestamp' else 'token'}")
    atomic.to_csv(tmp_path / "log.inter", index=False, sep="\t")
    logs = [load_log(tmp_path / f"log.{ending}") for ending in ("parquet", "csv", "tsv", "inter")]
    for log in logs:
        assert as_triples(log) == [("b", "x"), ("b", "y"), ("a", "x"), ("a", "x")]


def test_an_inter_file_takes_its_titles_from_the_item_file_beside_it(tmp_path):
    path = write(tmp_path, "user_id:token\titem_id:token\na\t1\na\t2\na\t3\n", "films.inter")
    write(tmp_path, 'item_id:token\tmovie_title:token_seq\n2\tThe "Best" <b>Film</b>\n1\tHeat\n', "films.item")
    assert load_log(path).titles.tolist() == ["Heat", 'The "Best" <b>Film</b>', "3"]


def test_a_log_without_times_says_that_it_takes_the_file_order(tmp_path):
    log = load_log(write(tmp_path, "user_id,item_id\na,2\na,1\n"))
    assert as_triples(log) == [("a", "2"), ("a", "1")]
    assert "file order" in " ".join(log.notes)


BAD = [
    ("", ["log.csv", "is empty"]),
    (ROWS, ["log.csv", "no rows"]),
    ("who,item_id\na,1\n", ["log.csv", "looks like the user", "who, item_id", "--user"]),
    ("user_id,what\na,1\n", ["log.csv", "looks like the item", "--item"]),
    (f"{ROWS}a,1,1\na,,2\n", ["log.csv", "line 3", "'item_id'", "empty"]),
    (f"{ROWS}a,1,1\n ,2,2\n", ["log.csv", "line 3", "'user_id'"]),
    (f"{ROWS}a,1,2017-01-01\na,2,yesterday\n", ["log.csv", "line 3", "'yesterday'", "not a time"]),
    (f"{ROWS}a,1,12\na,2,soon\n", ["log.csv", "line 3", "'soon'"]),
    (f"{ROWS}a,1,2017-01-01\na,2,today\n", ["log.csv", "line 3", "'today'", "not a time"]),
    (f"{ROWS}a,1,now\na,2,now\n", ["log.csv", "line 2", "'now'", "not a time"]),
    (f"{ROWS}a,1,１２\na,2,１３\n", ["log.csv", "line 2", "'１２'", "not a time"]),
    (f"{ROWS}a,1,12\na,2,١٢\n", ["log.csv", "line 3", "'١٢'", "not a time"]),
    ("user_id,item_id, item_id\na,1,2\n", ["log.csv", "two columns 'item_id'", "rename one"]),
    (f"{ROWS}a,1,{'9' * 5000}\n", ["log.csv", "line 2", "'9999", "not a time"]),
    (f"{ROWS}a,1,5\na,2,{2**63}\n", ["log.csv", "line 3", "64 bits"]),
    (f"{ROWS}a,1,1.5\na,2,inf\n", ["log.csv", "line 3", "'inf'"]),
    (f"{ROWS}a,1,1\na,2,\n", ["log.csv", "line 3", "not a time"]),
    (f"{ROWS}a,1,1,9\n", ["log.csv"]),
    (f"{ROWS}a,1,1.5\na,2,{2**53 + 1}\n", ["log.csv", "fractions", "2^53"]),
    (f'{ROWS}a,"1,1\na,2",2\n', ["log.csv", "quotation mark", "line 2"]),
    (f'{ROWS}a,"1,1\na,2,2\n', ["log.csv"]),
    (b"user_id,item_id\na,\xff\xfe\n", ["log.csv", "UTF-8"]),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_bad_logs_are_refused_in_a_sentence(tmp_path, text, said):
    with pytest.raises(DataError) as caught:
        load_log(write(tmp_path, text))
    for words in said:
        assert words in str(caught.value)


def test_one_column_cannot_be_two_things(tmp_path):
    for named, clash in (
        ({"item": "user_id"}, "'user_id' has two roles, user and item; name another one with --user or --item."),
        ({"item": "timestamp"}, "'timestamp' has two roles, item and time; name another one with --item or --time."),
        ({"basket": "item_id"}, "'item_id' has two roles, item and basket; name another one"),
    ):
        with pytest.raises(DataError, match=f"the column {clash}"):
            load_log(write(tmp_path, f"{ROWS}a,1,1\n"), Columns(**named))
    with pytest.raises(DataError, match="two columns 'item_id'"):
        load_log(write(tmp_path, "user_id:token\titem_id:token\titem_id:float\na\t1\t2\n", "log.inter"))


def test_ids_that_are_lists_and_times_beyond_64_bits_are_refused(tmp_path):
    frame = pd.DataFrame({"user_id": [[1], [2]], "item_id": [1, 2]})
    with pytest.raises(DataError, match="an id is a list"):
        InteractionLog.from_frame(frame, "lists")
    frame = pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": np.array([5, 2**63 + 5], dtype=np.uint64)})
    with pytest.raises(DataError, match="does not fit in 64 bits"):
        InteractionLog.from_frame(frame, "late")
    frame["time"] = np.array([5, 10**13], "datetime64[s]")  # 10^13 s are no microseconds of 64 bits
    with pytest.raises(DataError, match="late, column 'time': a time is too far from 1970"):
        InteractionLog.from_frame(frame, "late")
    with pytest.raises(DataError, match="late must be a DataFrame with a row for each interaction, not a list"):
        InteractionLog.from_frame([[1, 2]], "late")


def test_spaces_around_column_names_do_not_matter(tmp_path):
    assert len(load_log(write(tmp_path, "user_id, item_id , timestamp\na,1,1\n"))) == 1


def test_titles_fall_back_to_a_later_row_and_a_named_column_goes_first(tmp_path):
    path = write(tmp_path, "user_id:token\titem_id:token\tlabel:token\na\t1\t\nb\t1\tOne\nb\t2\tTwo\n", "films.inter")
    write(tmp_path, "item_id:token\ttitle:token_seq\n1\tFirst\n", "films.item")
    assert load_log(path, Columns(title="label")).titles.tolist() == ["One", "Two"]
    assert load_log(path).titles.tolist() == ["First", "2"]


def test_missing_unknown_and_broken_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        load_log(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="did you mean 'complete-journey-types'"):
        load_log("complete-journy-types")
    with pytest.raises(DataError, match=r"log\.xls is a workbook"):
        load_log(write(tmp_path, "x", "log.xls"))
    with pytest.raises(DataError, match=r"log\.parquet cannot be read"):
        load_log(write(tmp_path, "not parquet", "log.parquet"))
    with pytest.raises(DataError, match="has no column 'buyer'"):
        load_log(write(tmp_path, f"{ROWS}a,1,1\n"), Columns(user="buyer"))
