"""What publishers give out becomes a log that --data NAME finds; what is something else is refused in a sentence."""

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cprlab.catalogue import CATALOGUE, describe, describe_sizes, import_data, list_catalogue
from cprlab.catalogue.local import located, measure, read_about
from cprlab.errors import CprlabError, DataError
from cprlab.loading import load_log, load_sequences, prepare
from cprlab.sweeps.config import SweepConfig
from tests.catalogue import publishers
from tests.catalogue.publishers import FILES, FILMS, LATIN, ROWS, folder_of, gz_of, seconds, tar_of, zip_of

TITLES = {
    "ml-100k": LATIN,
    "ml-1m": LATIN,
    "ml-10m": FILMS,
    "Twitch-100k": {item: f"streamer{item}" for _, item, _ in ROWS},
    "steam": {"10": "Ball '97"},
    "yelp2018": {"12": "Café"},
}


@pytest.fixture(autouse=True)
def _stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_publishers_layout_is_tried():
    assert set(FILES) == {data_set.name for data_set in CATALOGUE if data_set.layout is not None}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [folder_of, zip_of, tar_of, gz_of])
def test_a_publishers_file_is_read_row_by_row(tmp_path, name, packed):
    frame = pd.read_parquet(import_data(name, packed(name, tmp_path)))
    expected = pd.DataFrame(ROWS, columns=["user_id", "item_id", "day"])
    if name == "algebra2008_2009":
        expected.loc[len(expected)] = ("3", "10", 9)  # which has its first transaction's time
        expected["item_id"] = "P<x=" + expected["item_id"]
    assert frame[["user_id", "item_id"]].equals(expected[["user_id", "item_id"]].astype(str))
    days = expected["day"].to_numpy()
    times = frame["timestamp"]
    if pd.api.types.is_integer_dtype(times):
        known = {"Twitch-100k": days, "tmall-buy": 20150513 + days}
        assert times.tolist() == known.get(name, np.array([seconds(day) for day in days])).tolist()
    else:
        assert times.dt.normalize().tolist() == [
            pd.Timestamp("2014-05-13", tz="UTC") + pd.Timedelta(days=d) for d in days
        ]
    if packed is not gz_of or name == "Twitch-100k":
        titled = frame["title"].fillna("").tolist() if "title" in frame else [""] * len(frame)
        assert titled == [TITLES.get(name, {}).get(item, "") for item in expected["item_id"]]


def test_recboles_file_is_read_by_the_names_it_has_for_each_data_set(tmp_path):
    for data_set in CATALOGUE:
        if data_set.layout is None:
            continue
        path, key = tmp_path / f"{data_set.name}.inter", "id" if data_set.name == "steam" else "item_id"
        path.write_text(publishers.atomic(data_set.user, data_set.item, data_set.time))
        path.with_suffix(".item").write_text(f"{key}:token\tmovie_name:token_seq\n10\tTen\n")
        frame = pd.read_parquet(import_data(data_set.name, path))
        assert list(frame) == ["user_id", "item_id", "timestamp", "title"]
        triples = list(frame[["user_id", "item_id", "timestamp"]].itertuples(index=False, name=None))
        assert triples == [(user, item, seconds(day)) for user, item, day in ROWS]
        assert frame["title"].fillna("").tolist() == ["Ten" if item == "10" else "" for _, item, _ in ROWS]


def test_a_log_is_found_by_its_name_with_its_source_and_what_was_left_out(tmp_path):
    path = zip_of("tmall-buy", tmp_path)
    about = read_about(import_data("TMALL-buy", path))
    assert about.name == "tmall-buy"
    assert about.sources == ((path.name, hashlib.sha256(path.read_bytes()).hexdigest()),)
    assert about.notes[0].startswith("6 of 12 rows of the publisher's file do not belong to tmall-buy")
    with pytest.raises(DataError, match="leaves none of 6 interactions"):
        load_log("tmall-buy")
    import_data("ml-1m", folder_of("ml-1m", tmp_path))
    log = load_log("ML-1M")
    assert (log.name, len(log), set(log.titles)) == ("ml-1m", len(ROWS), set(LATIN.values()))
    assert located("ml-1m") == "data/ml-1m.parquet"


def big(seed=0):
    """A log in which the filter of gowalla bites in several rounds."""
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.geometric(0.05, 3000), 120)
    users = rng.integers(0, 600, 3000) // rng.integers(1, 4, 3000)
    times = rng.permutation(3000) // 3  # with ties
    return pd.DataFrame({"user": users.astype(str), "item": items.astype(str), "time": times})


def core(frame, fewest):
    """The paper's filter, items and users in turn."""
    while True:
        rare = frame["item"].value_counts()
        short = frame["user"].value_counts()
        if (rare < fewest).any():
            frame = frame[~frame["item"].isin(rare.index[rare < fewest])]
        elif (short < 5).any():
            frame = frame[~frame["user"].isin(short.index[short < 5])]
        else:
            return frame


def test_the_papers_filter_is_applied_and_said_and_prepare_does_the_same(tmp_path):
    frame = big()
    text = "".join(
        f"{u}\t{pd.Timestamp(int(t), unit='s').isoformat()}Z\t0\t0\t{i}\n" for u, i, t in frame.itertuples(index=False)
    )
    (tmp_path / "loc-gowalla_totalCheckins.txt").write_text(text)
    file = import_data("gowalla", tmp_path / "loc-gowalla_totalCheckins.txt")
    log, expected = load_log("gowalla"), core(frame, 20)
    once = frame["item"].map(frame["item"].value_counts()) >= 20
    assert len(log) == len(expected) < once.sum()  # one round would not do
    expected = expected.sort_values("time", kind="stable")
    for user, rows in expected.groupby("user"):
        own = log.item_ids[log.items[log.user_ids[log.users] == user]]
        assert own.tolist() == rows["item"].tolist()
    assert f"removes {len(frame) - len(expected):,} of 3,000 interactions" in " ".join(log.notes)
    assert load_log(file).notes == log.notes  # by whatever name it is found
    for ties in ("auto", "shuffle"):  # by the place among the rows that are left
        sequences, prepared = load_sequences("gowalla", ties=ties), prepare("gowalla", tmp_path / ties, ties=ties)
        assert (prepared.name, prepared.notes) == ("gowalla", sequences.notes)
        assert prepared.fingerprint == sequences.fingerprint


def test_sizes_are_counted_before_any_filter_and_stand_beside_the_published_ones(tmp_path):
    import_data("ml-1m", zip_of("ml-1m", tmp_path))
    assert measure(tmp_path / "data" / "ml-1m.parquet") == (3, 3, 6, 1)
    said = describe_sizes("ml-1m")
    assert "6,040 users, 3,952 items, 1,000,209 interactions (RecBole)" in said
    assert "3 users, 3 items, 6 interactions, 16.7% of them repeats: data/ml-1m.parquet" in said
    assert said in describe("ml-1m")
    assert "ratings.dat: user_id::item_id::rating::timestamp" in describe("ml-1m")
    table = list_catalogue()
    assert table.loc["ml-1m", ["repeats (paper)", "licence", "fetch", "here"]].tolist() == [
        "no",
        "GroupLens",
        "yes",
        "6 interactions",
    ]
    assert table.loc["steam", "here"] == ""
    assert table.loc["complete-journey", "here"] == "built in"


def test_times_that_are_fractions_only_later_are_read_anew_as_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("cprlab.catalogue.layouts.BLOCK", 64)  # a few rows a chunk
    rows = "".join(f"a\ti{n}\t{n}{'.5' if n > 20 else ''}\n" for n in range(40))
    (tmp_path / "ml-1m.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)
    frame = pd.read_parquet(import_data("ml-1m", "ml-1m.inter"))
    assert frame["timestamp"].tolist() == [n + 0.5 * (n > 20) for n in range(40)]
    rows = "".join(f"a\ti{n}\t{2**60 + n}{'.5' if n > 20 else ''}\n" for n in range(40))
    (tmp_path / "ml-1m.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)
    with pytest.raises(DataError, match="lose precision"):
        import_data("ml-1m", "ml-1m.inter")
    few = "".join(f"a\ti{n}\n" for n in range(40))
    (tmp_path / "ml-1m.inter").write_text(f"user_id:token\titem_id:token\n{few}a\ti1\t5\n")
    with pytest.raises(DataError, match="on line 42 is 3, not 2"):
        import_data("ml-1m", "ml-1m.inter")
    monkeypatch.setattr("cprlab.catalogue.layouts.LONGEST", 50)
    (tmp_path / "ml-1m.inter").write_text(f"user_id:token\titem_id:token\n{few}{'a' * 200}\ti1\n")
    with pytest.raises(DataError, match="a row of more than 50 bytes"):
        import_data("ml-1m", "ml-1m.inter")
    assert len(pd.read_parquet("data/ml-1m.parquet")) == 40  # the earlier import stays
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["ml-1m.parquet"]


REFUSED = {
    "no such data set": ("ml-1k", "ml-1m.zip", "did you mean 'ml-100k'"),
    "built in": ("complete-journey", "ml-1m.zip", "comes with cprlab"),
    "missing": ("ml-1m", "nowhere.zip", "nowhere.zip does not exist"),
    "another data set": ("ml-10m", "ml-1m.inter", "has the name of ml-1m"),
    "a folder without it": ("gowalla", "ml-1m", "contains neither gowalla.inter nor the publisher's loc-gowalla_total"),
    "an archive without it": ("gowalla", "ml-1m.zip", "contains neither gowalla.inter"),
    "two of them": ("ml-1m", "two", "contains several logs"),
    "a table of another kind": (
        "ml-1m",
        "own.csv",
        "on line 1 is 1, not 7: 'who,what,when'); ratings.dat should have user_id::item_id::rating::timestamp",
    ),
    "other columns": ("tmall-buy", "own.csv", "no column looks like the user"),
    "too few columns": ("Amazon_Books", "own.csv", "on line 1 is 3, not 4: 'who,what,when'"),
    "wrong times": ("gowalla", "ml-1m/u.data", "on line 1 is 4, not 5"),
    "broken JSON": ("yelp2018", "own.csv", "line 1 is not a JSON object"),
    "code": ("steam", "code.json", "line 1 is not a Python dict"),
    "a list": ("yelp2018", "list.json", "line 1 is not a JSON object"),
    "not text": ("ml-100k", "noise", "has the wrong layout"),
    "no rows": ("ml-1m", "empty.inter", "contains no interactions"),
    "nothing": ("ml-1m", "zero.dat", "contains no interactions"),
    "an empty id": ("ml-100k", "gap.inter", "gap.inter, line 3: the column 'item_id' is empty"),
    "no time": ("ml-100k", "when.inter", "column 'timestamp': 'soon' is not a time"),
    "the same column twice": ("ml-100k", "twice.inter", "two columns 'item_id'"),
    "spaces": ("ml-1m", "spaces.inter", r"separated by ' '; in .inter files it is '\t'); *.inter should have a header"),
    "histories": ("ml-1m", "histories.inter", "'item_id_list:token_seq' holds histories"),
    "Parquet": ("ml-1m", "own.parquet", "needs no import"),
    "7z": ("yoochoose-clicks", "yoochoose-data.7z", "7z archive"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_something_else_is_refused_in_a_sentence_and_leaves_nothing(tmp_path, case):
    name, path, said = REFUSED[case]
    zip_of("ml-1m", tmp_path)
    shutil.copytree(folder_of("ml-1m", tmp_path), tmp_path / "two" / "again")
    (tmp_path / "two" / "ratings.dat").write_text("1::2::3::4\n")
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    texts = {
        "ml-1m.inter": publishers.atomic(),
        "own.csv": "who,what,when\na,1,2\n",
        "ml-1m/u.data": publishers.ratings("\t"),
        "code.json": "__import__('os').mkdir('ran')\n",
        "list.json": "[1, 2]\n",
        "empty.inter": header,
        "zero.dat": "",
        "gap.inter": f"{header}a\t1\t1\na\t\t2\n",
        "when.inter": f"{header}a\t1\t1\na\t2\tsoon\n",
        "spaces.inter": "user_id:token item_id:token\na 1\n",
        "histories.inter": "user_id:token\titem_id_list:token_seq\titem_id:token\na\t1\t2\na\t1 2\t3\n",
        "twice.inter": "user_id:token\titem_id:token\titem_id:float\na\t1\t1\n",
    }
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "yoochoose-data.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50))
    pd.DataFrame({"user_id": [1]}).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(CprlabError) as caught:
        import_data(name, path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob("*")) if (tmp_path / "data").exists() else True
    assert not (tmp_path / "ran").exists()


def test_what_an_import_did_not_make_is_never_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    own = pd.DataFrame({"user_id": [1, 1], "item_id": [2, 3]})
    own.to_parquet("data/ml-1m.parquet")
    with pytest.raises(DataError, match="move it elsewhere"):
        import_data("ml-1m", zip_of("ml-1m", tmp_path))
    assert pd.read_parquet("data/ml-1m.parquet").equals(own)
    with pytest.raises(DataError, match="cprlab data fetch ml-1m"):
        load_log("ml-1m")
    assert len(load_log("data/ml-1m.parquet")) == 2


def test_a_name_that_is_not_imported_says_how_to_get_it_unless_something_is_called_so(tmp_path):
    with pytest.raises(DataError, match="cprlab data fetch gowalla"):
        load_log("gowalla")
    with pytest.raises(DataError, match=r"Yelp's agreement .* cprlab data import yelp2018 PATH"):
        load_sequences("yelp2018")
    with pytest.raises(DataError, match="did you mean 'gowalla'"):
        load_log("gowala")
    frame = pd.DataFrame({"user_id": ["a"] * 6, "item_id": range(6)})
    frame.to_csv("own.csv", index=False)
    prepare("own.csv", "gowalla")
    assert load_sequences("gowalla").name == "own.csv"


def test_a_name_means_the_same_file_for_workers_that_stand_elsewhere(tmp_path):
    file = import_data("ml-1m", zip_of("ml-1m", tmp_path)).absolute()
    sweep = SweepConfig(name="mine", data=["ml-1m", "complete-journey"], head=["Softmax"])
    assert sweep.data == (str(file), "complete-journey")


@pytest.mark.slow
def test_a_refused_import_ends_in_its_sentence_and_no_thread_aborts_it(tmp_path):
    """A thread of Arrow that still read a Python stream aborted one process in three."""
    (tmp_path / "own.csv").write_text("u,a,1\n")
    for _ in range(6):
        done = subprocess.run(
            [sys.executable, "-m", "cprlab", "data", "import", "ml-100k", "own.csv"], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 2, done.stderr
