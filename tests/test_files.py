import errno

import pytest

from cprlab.errors import DataError
from cprlab.files import scratch, whole


def test_a_file_or_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    for text in ("one", "two"):
        with whole(tmp_path / "file") as file:
            file.write_text(text)
        with whole(tmp_path / "folder") as folder:
            folder.mkdir()
            (folder / text).write_text(text)
    assert (tmp_path / "file").read_text() == "two"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def stop_halfway(path, make):
    with whole(path) as new:
        make(new)
        raise InterruptedError


@pytest.mark.parametrize("make", [lambda new: new.write_text("half"), lambda new: new.mkdir(), lambda new: None])
def test_an_interrupted_write_leaves_the_old_one(tmp_path, make):
    (tmp_path / "here").write_text("old")
    with pytest.raises(InterruptedError):
        stop_halfway(tmp_path / "here", make)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert (tmp_path / "here").read_text() == "old"


def test_a_place_that_is_no_folder_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"), whole(tmp_path / "file" / "inside") as new:
        new.write_text("never")


def test_a_scratch_folder_stands_beside_and_is_gone_afterwards(tmp_path):
    with scratch(tmp_path / "new" / "result") as folder:
        (folder / "work").write_text("half")
        assert folder.parent == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(DataError, match="result cannot be written"), scratch(tmp_path / "new" / "result"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list((tmp_path / "new").iterdir()) == []
