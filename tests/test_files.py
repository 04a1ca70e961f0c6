import errno
import multiprocessing
import time

import pytest

from cprlab.errors import DataError
from cprlab.files import locked, scratch, whole


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


def make_slowly(path, log, seconds):
    """Make `path` unless it is there, and note when the lock was held."""
    with locked(path):
        begun = time.monotonic()
        if not path.exists():
            time.sleep(seconds)
            path.write_text("made")
        with log.open("a") as lines:
            lines.write(f"{begun} {time.monotonic()}\n")


def test_of_two_processes_that_make_a_file_the_second_waits(tmp_path):
    start = multiprocessing.get_context("fork").Process
    both = [start(target=make_slowly, args=(tmp_path / "file", tmp_path / "log", 0.3)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=30)
        assert process.exitcode == 0
    (begun, ended), (began, _) = sorted(tuple(map(float, line.split())) for line in (tmp_path / "log").open())
    assert ended - begun >= 0.3
    assert began >= ended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]  # and no lock is left


def test_a_killed_process_lets_the_next_one_in(tmp_path):
    start = multiprocessing.get_context("fork").Process
    holder = start(target=make_slowly, args=(tmp_path / "file", tmp_path / "log", 600))
    holder.start()
    while not (tmp_path / ".file.lock").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    holder.kill()
    holder.join()
    begun = time.monotonic()
    make_slowly(tmp_path / "file", tmp_path / "log", 0)
    assert time.monotonic() - begun < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]


def test_a_lock_where_nothing_can_be_written_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"), locked(tmp_path / "file" / "inside"):
        pass
