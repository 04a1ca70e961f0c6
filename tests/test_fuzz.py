"""A sample of the bad input that `make fuzz` tries, and each kind of fault that it has found."""

import sys

import pytest

from cprlab import cli
from cprlab.errors import visible
from tests.fuzz import KINDS, judge, random

SAMPLE = 25  # cases of each kind
COMMANDS = 3  # refused cases of each kind that a command line is given too


@pytest.mark.parametrize("name", KINDS)
def test_bad_input_is_read_as_by_a_plain_reader_or_refused_in_a_sentence(name, tmp_path, monkeypatch, capsys):
    make, _ = KINDS[name]
    came = []
    for number in range(SAMPLE):
        folder = tmp_path / str(number)
        folder.mkdir()
        came.append(judge(make, random(name, number), folder))
    assert {"equal", "refused"} == set(came)  # sound files are read, and not all is
    refused = [number for number, how in enumerate(came) if how == "refused"][:COMMANDS]
    monkeypatch.chdir(tmp_path)
    for number in refused:
        folder = tmp_path / f"{number} again"
        folder.mkdir()
        case = make(random(name, number), folder)
        monkeypatch.setattr(sys, "argv", ["cprlab", *case.command])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2
        assert said.startswith("cprlab: ")
        assert said.isprintable()


def test_what_is_quoted_is_shown_in_visible_characters():
    assert visible("plain − é 中 “text”.") == "plain − é 中 “text”."
    assert visible("\x1b[2Ja\nb\r\t\0\x9b\u202e\u2028\ud800\ufeff") == (
        r"\x1b[2Ja\nb\r\t\x00\x9b\u202e\u2028\ud800\ufeff"
    )
    assert len(visible("x" * 10**7)) < 2_000
