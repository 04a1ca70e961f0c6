"""Forms of logs: each is the same log, read whole or in chunks, or is refused in a sentence that helps."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprlab.data import Columns, Sequences, load_prepared, readers
from cprlab.errors import DataError
from cprlab.loading import load_log, load_sequences, prepare
from cprlab.loading.check import check
from cprlab.settings import ReportConfig
from cprlab.sweeps import Grid
from tests.data.test_log import as_triples, write
from tests.data.test_sequences import assert_same_sequences

N = 60
FRAME = pd.DataFrame(
    {
        "user_id": [f"u{n % 4}" for n in range(N)],
        "item_id": [f"i{n * 7 % 11}" for n in range(N)],
        "timestamp": [1_500_000_000 - 60 * (n % 28) for n in range(N)],
    }
)


def lines(frame):
    return frame.to_json(orient="records", lines=True).encode()


FORMS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".feather": lambda frame, path: pa.feather.write_feather(pa.Table.from_pandas(frame), path, chunksize=13),
    ".jsonl": lambda frame, path: path.write_bytes(lines(frame)),
    ".ndjson": lambda frame, path: path.write_bytes(lines(frame)),
    ".json.gz": lambda frame, path: path.write_bytes(gzip.compress(lines(frame))),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("cprlab.data.readers.CHUNK", 17)


@pytest.fixture(scope="module")
def expected():
    by_time = FRAME.sort_values("timestamp", kind="stable")
    return [row for user in FRAME["user_id"].unique() for row in by_time[by_time["user_id"] == user].values.tolist()]


def same(path, expected, columns=Columns()):
    """Whether a log's rows are the expected ones, in memory and on disk."""
    log = load_log(path, columns, ties="file")
    assert as_triples(log) == [(user, item) for user, item, _ in expected]
    assert log.times is not None
    assert log.times.tolist() == [time for *_, time in expected]
    prepared = prepare(path, Path("prepared"), columns, ties="file")
    assert_same_sequences(prepared, Sequences.from_log(log))
    return log


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_is_the_same_log_and_so_are_its_parts(tmp_path, monkeypatch, expected, form):
    monkeypatch.chdir(tmp_path)
    FORMS[form](FRAME, Path(f"log{form}"))
    same(f"log{form}", expected)
    parts = Path("parts")
    parts.mkdir()
    for n in range(12):  # part-10 comes after part-9
        FORMS[form](FRAME[5 * n : 5 * n + 5], parts / f"part-{n}{form}")
    (parts / "_SUCCESS").write_text("")
    (parts / f"._part-0{form}").write_text("junk")
    assert same("parts", expected).name == "parts"
    assert same(f"parts/part-*{form}", expected).name == "parts"
    assert (load_sequences("parts").fingerprint, check("parts/*").facts["value"][0].split(",")[0]) == (
        load_sequences(f"log{form}").fingerprint,
        form.split(".")[1],
    )
    assert ReportConfig(data=f"parts/*{form}").folder == Path("reports/parts")
    assert list(Grid(data=(f"parts/*{form}",)).logs()) == ["parts"]


def test_folders_named_for_a_column_give_its_values(tmp_path, monkeypatch, expected):
    monkeypatch.chdir(tmp_path)
    for day, rows in FRAME.assign(day=np.arange(N) // 20).groupby("day"):
        folder = Path(f"log/day={day}/who=a%20b")
        folder.mkdir(parents=True)
        rows.drop(columns="day").to_parquet(folder / "0.parquet")
    for path in ("log", "log/**/*.parquet", "log/*"):
        same(path, expected)
        assert readers.read_table(Path(path))["day"].tolist() == [str(n // 20) for n in range(N)]
    log = load_log("log", Columns(user="who", time="day"))
    assert log.user_ids.tolist() == ["a b"]
    assert_same_sequences(prepare("log", "prepared", Columns(user="who", time="day")), Sequences.from_log(log))


def test_parts_that_do_not_fit_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Path("log")
    log.mkdir()
    ways = (load_log, lambda path: prepare(path, "prepared"))
    with pytest.raises(DataError, match="log is not a file, nor a folder or glob that holds logs"):
        load_log("log")
    with pytest.raises(DataError, match="is not a complete prepared log"):
        load_sequences("log")
    FRAME.to_parquet("log/1.parquet")
    for other, said in (
        (FRAME.rename(columns={"timestamp": "ts"}), r"differ in their columns or types \(timestamp, ts\); the 2 parts"),
        (FRAME.assign(item_id=range(N)), r"differ in their columns or types \(item_id\)"),
    ):
        other.to_parquet("log/2.parquet")
        for read in ways:
            with pytest.raises(DataError, match=f"log/2.parquet and log/1.parquet {said}"):
                read("log")
    FRAME[["timestamp", "item_id", "user_id"]].to_parquet("log/2.parquet")  # in another order
    assert len(load_log("log")) == 2 * N
    FRAME.to_csv("log/3.csv")
    with pytest.raises(DataError, match=r"log holds files of several types \(\.csv, \.parquet\); name one, such as \*"):
        load_log("log")
    (log / "2.parquet").write_bytes(b"PAR1 and no more")
    for read in ways:
        with pytest.raises(DataError, match=r"log/2.parquet cannot be read as \.parquet"):
            read("log/*.parquet")
    FRAME.to_csv("log[1].csv", index=False)  # a file's own name comes first
    assert len(load_log("log[1].csv")) == N


def test_a_damaged_prepared_folder_is_not_read_as_parts(tmp_path):
    pd.DataFrame({"user_id": [1] * 5, "item_id": range(5)}).to_parquet(tmp_path / "log.parquet")
    prepare(tmp_path / "log.parquet", tmp_path / "prepared")
    assert load_sequences(tmp_path / "prepared").fingerprint == load_prepared(tmp_path / "prepared").fingerprint
    (tmp_path / "prepared" / "sequences.json").unlink()
    with pytest.raises(DataError, match="is not a complete prepared log"):
        load_sequences(tmp_path / "prepared")


CELLS = st.text(st.sampled_from('ab,"\n\r ;'), max_size=8).filter(lambda text: text.count(",") != 2 * text.count("\n"))


@given(st.lists(CELLS, min_size=1, max_size=20))
def test_fields_of_valid_csv_may_contain_line_breaks(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("log")
    text = io.StringIO()
    rows = [["1", str(n), cell] for n, cell in enumerate(cells)]
    csv.writer(text).writerows([["user_id", "item_id", "title"], *rows])
    (folder / "log.csv").write_bytes(text.getvalue().encode())
    log = load_log(folder / "log.csv", Columns(title="title"))
    assert log.titles.tolist() == [cell if cell.strip() else str(n) for n, cell in enumerate(cells)]


SWALLOWED = [  # of rows u,a,…
    'u,"Big,1\nu,b,2\nu,Small",3\n',
    'u,"a,1\nu,b,2\n',
    'u,"a,1\nu,b"c,2\nu,c,3\n',
    'u,a,"1\nu,b,2\nu,c,"3"\n',
]


@pytest.mark.parametrize("rows", SWALLOWED)
def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(tmp_path, rows):
    path = write(tmp_path, f"user_id,item_id,n\nu,x,0\n{rows}")
    for read in (load_log, lambda path: prepare(path, tmp_path / "prepared", min_interactions=4)):
        with pytest.raises(DataError, match=r"a quotation mark on line 3 is not closed on that line|EOF inside string"):
            read(path)


def test_json_keeps_ids_as_they_are_written(tmp_path):
    rows = [{"user_id": "007", "item_id": 2**62 + n, "date": f"2024-01-0{9 - n}", "tags": [n]} for n in range(6)]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "log.jsonl")
    log = load_log(path)
    assert (log.user_ids.tolist(), log.item_ids[log.items].tolist()) == (["007"], [2**62 + n for n in range(5, -1, -1)])
    assert log.unit == "microseconds"
    path = write(tmp_path, path.read_text().replace("date", "day"), "log.jsonl")
    as_ids = load_log(path, Columns(item="day"))
    assert as_ids.item_ids.tolist() == [f"2024-01-0{9 - n}" for n in range(6)]  # text, not moments
    for text, said in (
        ("[" + ",".join(map(json.dumps, rows)) + "]", "it is one JSON array; write one object on each line"),
        ('{"user_id": 1, "item_id": 2}\n{"user_id": 1, "item_id": "a"}', "changed from number to string in row 1"),
        ('{"user_id": 1, "item_id": 2}\n{"user_id": 1, ', "cannot be read as \\.jsonl"),
    ):
        with pytest.raises(DataError, match=said):
            load_log(write(tmp_path, text, "log.jsonl"))


@pytest.mark.parametrize(
    ("bad", "line"),
    [("u,,3,x", 7), ("u,c,soon,x", 7), ("u,c,3,x\n ,c,4,x", 8), (f"{'u,c,3,x' + chr(10)}" * 30 + "u,,3,x", 37)],
)
def test_a_sentence_names_the_line_also_after_fields_with_line_ends(tmp_path, bad, line):
    path = write(tmp_path, f'user_id,item_id,timestamp,note\nu,a,1,"two\r\nlines"\nu,b,2,"\n\n"\n{bad}\n')
    for read in (load_log, lambda path: prepare(path, tmp_path / "prepared")):
        with pytest.raises(DataError, match=rf"log\.csv, line {line}\b"):
            read(path)


def test_a_long_field_with_line_ends_is_read(tmp_path):
    """Python's own reader of csv refuses fields of more than 131,072 characters."""
    long = "long\n" * 40_000
    path = write(tmp_path, f'user_id,item_id,title\nu,a,"{long}"\n' + "u,b,x\n" * 5)
    before = csv.field_size_limit(131_072)
    try:
        assert load_log(path).titles[0] == long
        assert csv.field_size_limit() == 131_072
    finally:
        csv.field_size_limit(before)


def test_what_is_no_log_is_refused_with_what_to_do(tmp_path):
    for name in ("log.xlsx", "log.XLS", "log.ods"):
        with pytest.raises(
            DataError, match=r"is a workbook, .* Save the sheet as csv .* dates written like 2024-01-31"
        ):
            load_log(write(tmp_path, "x", name))
    with pytest.raises(DataError, match=r"ends in '.feather.gz'; cprlab reads"):
        load_log(write(tmp_path, "x", "log.feather.gz"))
    spaces = write(tmp_path, "user_id:token item_id:token timestamp:float\nu a 1\n", "log.inter")
    with pytest.raises(DataError, match=r"its fields are separated by ' '; in \.inter files it is '.t'"):
        load_log(spaces)
    histories = write(tmp_path, "user_id:token\titem_id_list:token_seq\titem_id:token\n1\t3 5\t7\n", "log.inter")
    with pytest.raises(
        DataError, match=r"its column 'item_id_list:token_seq' holds histories.*use the .inter file that"
    ):
        load_log(histories, Columns(item="item_id_list"))
    tags = write(tmp_path, "user_id:token\titem_id:token\ttags:token_seq\n" + "1\t3\ta b\n" * 5, "log.inter")
    assert len(load_log(tags)) == 5


@pytest.mark.parametrize(
    "text", ["u,a,1600000001\nu,b,1600000002\n", "12,34\n12,35\n", "u,a\nu,b\n", "x,2024-01-31\ny,2\n"]
)
def test_a_first_line_that_is_a_row_is_not_taken_for_names(tmp_path, text):
    path = write(tmp_path, text)
    first = text.split("\n")[0].split(",")
    for columns in (Columns(), Columns(user=first[0], item=first[1])):  # obeying would lose a row
        for read in (load_log, lambda path, columns: prepare(path, tmp_path / "prepared", columns), check):
            with pytest.raises(
                DataError, match=r"its first line \(.*\) looks like a row; put a line with the names of"
            ):
                read(path, columns)


@pytest.mark.parametrize("header", ["0,1,2", "kunde,artikel,zeit", "user_id,2020,event"])
def test_names_that_are_no_row_are_names(tmp_path, header):
    user, item, _ = header.split(",")
    assert len(load_log(write(tmp_path, f"{header}\n" + "u,event,3\n" * 6), Columns(user=user, item=item))) == 6


def test_parquet_parts_of_other_widths_are_one_column(tmp_path):
    for n, kind in enumerate((pa.int32(), pa.int64())):
        table = pa.table({"user_id": pa.array([1] * 5, kind), "item_id": pa.array(range(5), kind)})
        pq.write_table(table, tmp_path / f"{n}.parquet")
    assert load_log(tmp_path).item_ids.tolist() == list(range(5))
