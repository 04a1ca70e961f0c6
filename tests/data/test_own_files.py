"""Own training, validation and test files: what is held out, and the leaks between them, by hand."""

import numpy as np
import pandas as pd
import pytest

from cprlab.data import Columns, load_prepared, save_prepared
from cprlab.data.doubts import CHANGES
from cprlab.errors import ConfigError, DataError
from cprlab.loading import load_sequences, prepare
from cprlab.settings import TrainConfig
from cprlab.studies.config import StudyConfig
from cprlab.sweeps import Grid
from tests.data.test_sequences import assert_same_sequences

SECOND = 1_500_000_000


def rows(*triples):
    return pd.DataFrame(triples, columns=["user_id", "item_id", "timestamp"]).assign(
        timestamp=lambda frame: frame["timestamp"] + SECOND
    )


TRAIN = rows(*[(user, f"i{n}", 10 * n) for user in ("a", "b", "c") for n in (3, 1, 0, 2)], ("d", "i0", 1))
VALID = rows(("b", "i4", 40), ("a", "i5", 40))
TEST = rows(("c", "i9", 60), ("a", "i8", 70), ("a", "i7", 60), ("new", "i0", 60), ("b", "i6", 50))


def written(folder, **tables):
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in tables}


def cases(sequences, split):
    """`(user, history, target)` of a split, as ids."""
    windows = sequences.windows(split)
    ids = sequences.item_ids[sequences.items]
    return [
        (sequences.user_ids[user], ids[start:stop].tolist(), ids[first])
        for user, start, stop, first in zip(windows.user, windows.start, windows.stop, windows.first, strict=True)
    ]


def test_the_files_are_what_is_trained_on_chosen_by_and_tested_on(tmp_path):
    paths = written(tmp_path, train=TRAIN, validation=VALID, test=TEST)
    found = load_sequences(paths["train"], validation=paths["validation"], test=paths["test"])
    assert found.split == "files"
    known = ["i0", "i1", "i2", "i3"]
    assert cases(found, "validation") == [("a", known, "i5"), ("b", known, "i4")]
    assert cases(found, "test") == [("a", [*known, "i5"], "i7"), ("b", [*known, "i4"], "i6"), ("c", known, "i9")]
    trained = found.windows("train")
    assert (trained.stop - trained.start).tolist() == [3, 3, 3]  # the last of them only as targets
    assert not [note for note in found.notes if note.startswith(CHANGES)]
    said = " ".join(found.notes)
    assert "validation.csv for validation, test.csv for test." in said
    assert "2 validation and 3 test cases of 3 users; 1 later rows of test.csv are not used" in said
    assert "1 of 4 users of test.csv are in no other file, such as 'new'; they give no case." in said
    assert "4 of 5 items of test.csv are in no other file, such as 'i9'; they cannot be learned." in said
    without = load_sequences(paths["train"], test=paths["test"])
    assert cases(without, "validation") == [(user, known[:3], "i3") for user in "abc"]
    assert cases(without, "test")[0] == ("a", known, "i7")
    assert without.fingerprint != found.fingerprint
    kept = found.sample(2)
    assert kept.split == found.recent(5).split == "files"
    save_prepared(found, tmp_path / "prepared")
    assert load_prepared(tmp_path / "prepared").split == load_sequences(tmp_path / "prepared").split == "files"
    config = TrainConfig(data=str(paths["train"]), test=str(paths["test"]), validation=str(paths["validation"]))
    assert config.sequences().fingerprint == found.fingerprint


def test_leaks_are_counted_with_an_example_and_change_results(tmp_path):
    paths = written(tmp_path, train=pd.concat([TRAIN, TEST.head(2), VALID.head(1)]), validation=VALID, test=TEST)
    found = load_sequences(paths["train"], validation=paths["validation"], test=paths["test"])
    leaks = [note.removeprefix(f"{CHANGES}Leak: ") for note in found.notes if note.startswith(f"{CHANGES}Leak")]
    assert [leak.split(", such as")[0] for leak in leaks] == [
        "1 of 2 rows of validation.csv have the user, item and time of a row of train.csv",
        "1 of 2 users of validation.csv have later rows in train.csv",
        "2 of 5 rows of test.csv have the user, item and time of a row of train.csv",
        "1 of 4 users of test.csv have later rows in train.csv",
    ]
    assert "such as user 'c', item 'i9', 2017-07-14 02:41:00. Remove them from train.csv." in leaks[2]
    assert "such as user 'a', so they are tested on what lies before." in leaks[3]


def test_random_files_are_split_as_loops_say(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(5):
        frame = rows(*[(f"u{rng.integers(8)}", f"i{rng.integers(12)}", n) for n in range(150)])
        part = np.sort(rng.choice(3, len(frame), p=[0.7, 0.15, 0.15]))
        paths = written(tmp_path, **{f"{name}{trial}": frame[part == n] for n, name in enumerate("abc")})
        found = load_sequences(paths[f"a{trial}"], validation=paths[f"b{trial}"], test=paths[f"c{trial}"], max_len=200)
        for n, split in ((1, "validation"), (2, "test")):
            expected = []
            for user, own in frame.assign(part=part).groupby("user_id", sort=False):
                known, target = own[own["part"] < n], own[own["part"] == n]
                if len(own) >= 5 and len(known) and len(target):
                    expected.append((user, known["item_id"].tolist(), target["item_id"].iloc[0]))
            assert sorted(cases(found, split)) == sorted(expected)


def test_files_of_ones_own_can_be_prepared_as_the_one_folder_of_a_sweep(tmp_path):
    paths = written(tmp_path, train=TRAIN, validation=VALID, test=TEST)
    expected = load_sequences(paths["train"], validation=paths["validation"], test=paths["test"])
    prepared = prepare(paths["train"], tmp_path / "own", validation=paths["validation"], test=paths["test"])
    assert_same_sequences(prepared, expected)
    assert prepared.split == "files"
    grid = Grid(data=(str(tmp_path / "own"),), head=("Softmax",))
    (log,) = grid.logs().values()
    assert cases(log, "test") == cases(expected, "test")
    assert prepare(paths["train"], tmp_path / "own", test=paths["test"], min_interactions=6).n_users == 1
    with pytest.raises(DataError, match="needs a test file"):
        prepare(paths["train"], tmp_path / "own", validation=paths["validation"])
    for kind in (Grid, StudyConfig):
        with pytest.raises(ConfigError, match="cprlab prepare TRAIN FOLDER --test TEST"):
            kind(**{"test": str(paths["test"])})


def test_what_does_not_fit_is_refused(tmp_path):
    TRAIN.assign(user_id=range(len(TRAIN))).to_parquet(tmp_path / "numbers.parquet")
    paths = written(tmp_path, train=TRAIN, test=TEST, other=TEST.assign(user_id="x"))
    for given, said in (
        ({"validation": paths["test"]}, "A validation file needs a test file; name it with --test"),
        ({"test": paths["test"], "split": "temporal"}, "the files are the split; leave out --split temporal"),
        ({"test": tmp_path / "numbers.parquet"}, "The user ids are numbers in numbers.parquet and text in train.csv"),
        (
            {"test": paths["other"]},
            "train.csv: the files leave no target to train on; the files need",
        ),
        ({"test": tmp_path / "none.csv"}, "none.csv is not a file"),
        ({"test": paths["test"], "columns": Columns(time="when")}, "has no column 'when'"),
    ):
        with pytest.raises(DataError, match=said):
            load_sequences(paths["train"], **given)
