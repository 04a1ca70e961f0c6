import errno
import multiprocessing
import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cprlab.errors import DataError
from cprlab.files import locked, missing, name_of, scratch, whole


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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_what_is_written_follows_from_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with whole(tmp_path / "folder") as folder:
            folder.mkdir()
            (folder / "plain").touch()
            save_file({"zeros": np.zeros(3)}, folder / "model.safetensors")
        with whole(tmp_path / "arrays.safetensors") as file:
            save_file({"zeros": np.zeros(3)}, file)
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [mode] * 3
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


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


def test_what_is_kept_is_named_by_the_first_digits_of_its_sha_256():
    assert name_of("abc") == "ba7816bf8f01"  # FIPS 180-2, appendix B.1


def make_slowly(path, log, seconds):
    """Make `path` unless it is there, and note when it was being made, or seen to be there."""
    with missing(path) as wanted:
        begun = time.monotonic()
        if wanted:
            time.sleep(seconds)
            path.open("x").close()  # fails where another has made it
        with log.open("a") as lines:
            lines.write(f"{begun} {time.monotonic()}\n")


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    left = [".file.0123abcd.partial", ".file.89abcdef.replaced"]
    others = [".file.csv.0123abcd.partial", ".other.0123abcd.partial", ".file.notes.partial", "file.0123abcd.partial"]
    for name in left + others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").touch()
    (tmp_path / "file").write_text("old")
    with whole(tmp_path / "file") as new:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "file", ".file.lock"])
        new.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "file"])


def test_what_a_writer_leaves_that_is_killed_after_it_wrote_is_removed_too(tmp_path, monkeypatch):
    """The umask is read off a new file, which stays if the process is killed before it is removed."""

    def touch_and_die(path, touch=Path.touch):
        touch(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Path, "touch", touch_and_die)
        with pytest.raises(KeyboardInterrupt), whole(tmp_path / "file") as new:
            new.write_text("new")
    assert len(list(tmp_path.iterdir())) == 1
    with whole(tmp_path / "file") as new:
        new.write_text("newer")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("system", [sys.platform, "another"])
def test_a_folder_takes_the_place_of_another_on_any_system(tmp_path, monkeypatch, system):
    monkeypatch.setattr("cprlab.files.sys.platform", system)
    for text in ("one", "two"):
        with whole(tmp_path / "folder") as folder:
            folder.mkdir()
            (folder / text).touch()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["folder", "folder/two"]


def test_a_folder_that_was_moved_away_and_not_replaced_is_put_back(tmp_path):
    """Its writer was killed between the two renames that some systems need."""
    for name in (".folder.0123abcd.replaced", ".folder.89abcdef.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / ".folder.0123abcd.replaced" / "old").touch()
    with pytest.raises(InterruptedError):
        stop_halfway(tmp_path / "folder", lambda new: new.mkdir())
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["folder", "folder/old"]


def replace_again_and_again(path):
    for _ in range(300):
        with whole(path) as new:
            new.mkdir()
            (new / "inside").touch()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders in one step")
@pytest.mark.slow
def test_there_is_no_moment_without_a_folder_that_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    writer = multiprocessing.get_context("fork").Process(target=replace_again_and_again, args=(tmp_path / "folder",))
    writer.start()
    looks = 0
    while writer.is_alive():
        assert (tmp_path / "folder" / "inside").exists()
        looks += 1
    assert writer.exitcode == 0
    assert looks > 100


def test_who_holds_a_path_may_write_it_and_others_wait(tmp_path):
    path, seen = tmp_path / "file", []

    def other():
        with whole(path) as new:
            seen.append(path.read_text())
            new.write_text("second")

    with locked(path):
        thread = threading.Thread(target=other)
        thread.start()
        with whole(path) as new:
            new.write_text("half")
            time.sleep(0.2)
            new.write_text("first")
        time.sleep(0.2)
        assert seen == []
    thread.join(timeout=30)
    assert seen == ["first"]
    assert path.read_text() == "second"
