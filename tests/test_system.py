"""Standard output and standard error take all text, wherever they lead, and no name is mistaken for another."""

import os
import subprocess
import sys
from io import StringIO

import pytest

from cprlab.errors import PlaceError
from cprlab.files import refuse_unreadable, whole
from cprlab.system import _text, refuse_name, writable

FULL = "/dev/full"
full_device = pytest.mark.skipif(not os.path.exists(FULL), reason="this system has no device that is always full")


@pytest.fixture
def full():
    number = os.open(FULL, os.O_WRONLY)
    yield number
    os.close(number)


@full_device
def test_a_full_output_is_said_once_and_what_else_is_written_is_lost(full):
    stream = _text(full, None, lossy=False)
    with pytest.raises(PlaceError, match=r"The output cannot be written \(No space left on device\)"):
        print("the path of a run", file=stream)
    stream.flush()


@full_device
def test_messages_that_cannot_be_written_stop_nothing(full):
    stream = _text(full, None, lossy=True)
    print("50%", file=stream)
    stream.flush()


def test_a_reader_that_has_read_enough_is_no_full_disk():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        print("a table", file=_text(writer, None, lossy=False))
    os.close(writer)


def test_streams_that_were_exchanged_stay(monkeypatch):
    mine = StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    with writable():
        print("kept")
    assert sys.stdout is mine
    assert mine.getvalue() == "kept\n"


HELP = "-m cprlab --help"
PRINT = "-c 'from cprlab.system import writable\nwith writable(): print(chr(233) + chr(26085))'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "command", "code", "out", "err"),
    [
        ("ascii", PRINT, 0, r"\xe9\u65e5", ""),
        ("cp1252", PRINT, 0, "\xe9" + r"\u65e5", ""),
        ("utf-8", PRINT, 0, "\xe9\u65e5", ""),
        ("utf-8", f"{HELP} >&-", 0, "", ""),
        ("utf-8", f"{HELP} 2>&-", 0, "Usage: ", ""),
        pytest.param("utf-8", f"{HELP} >{FULL}", 2, "", "cprlab: The output cannot be written", marks=full_device),
        pytest.param("utf-8", f"-m cprlab no 2>{FULL}", 2, "", "", marks=full_device),
        ("utf-8", "-m cprlab no 2>&-", 2, "", ""),
        ("utf-8", "-m cprlab train --data $(printf 'a\\377')", 2, "", r"cprlab: a\udcff is not a name in UTF-8"),
    ],
)
def test_a_command_ends_well_whatever_its_streams_are(encoding, command, code, out, err):
    shell = f"{sys.executable} {command}"
    done = subprocess.run(
        ["/bin/sh", "-c", shell], capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": encoding}
    )
    assert done.returncode == code
    assert done.stdout.decode(encoding).strip().startswith(out)
    assert done.stderr.decode().startswith(err)
    assert bool(done.stderr) == bool(err)
    assert bool(done.stdout) == bool(out)


def test_a_name_that_is_no_text_is_refused_before_anything_is_read_or_written(tmp_path):
    for name in ("plain", "caf\xe9", "\u65e5\u672c"):
        refuse_name(tmp_path / name)
    wrong = tmp_path / "a\udcff"
    for act in (lambda: refuse_name(wrong), lambda: refuse_unreadable(wrong, ValueError())):
        with pytest.raises(PlaceError, match=r"a\\udcff is not a name in UTF-8"):
            act()
    with pytest.raises(PlaceError, match="is not a name in UTF-8"), whole(wrong) as new:
        new.mkdir()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_locale_writes_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr("cprlab.system.os.fsencode", lambda name: name.encode("latin-1"))
    refuse_name("plain")
    with pytest.raises(PlaceError, match="PYTHONUTF8=1"):
        refuse_name("caf\xe9")
