"""Benchmarks and tests of endurance can be imported, and both sides of that with RecBole train when asked to."""

import importlib
import runpy
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.against_recbole import PAIRS, ROOT, Side
from tests.conftest import random_log

FILES = [path for folder in ("benchmarks", "tests/endurance") for path in (ROOT / folder).rglob("*.py")]
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)
STARTED = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text()]
RECBOLE = ROOT / ".venv-recbole" / "bin" / "python"


def test_none_is_overlooked():
    assert {"benchmarks.speed", "benchmarks.sides.ours", "tests.endurance.crash"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_is_imported_without_running(module, monkeypatch, capfd):
    """Where neither RecBole nor a GPU is there."""
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    importlib.import_module(module)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", STARTED, ids=lambda path: path.stem)
def test_the_help_of_a_benchmark_starts_nothing(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.lstrip().startswith("Usage:")
    assert "--help" in printed


(_, THEIR_SIZES), (_, OUR_SIZES, _) = PAIRS[0]
SIDES = {
    "ours": {"encoder": "GRU4Rec", "sizes": OUR_SIZES, "head": "Softmax + CPR:5 + Mi", "batch_size": 4},
    "theirs": {"model": "GRU4Rec", "sizes": THEIR_SIZES, "best": True, "batch_size": 64},
}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.slow
def test_a_side_trains_as_many_targets_as_it_is_asked_for_and_says_what_one_cost(name, tmp_path):
    python = Path(sys.executable) if name == "ours" else RECBOLE
    if not python.exists():
        pytest.skip("RecBole has no environment here (benchmarks/against_recbole.py)")
    log = tmp_path / "log" / "log.inter"
    log.parent.mkdir()
    drawn = random_log()
    rows = zip(drawn.users, drawn.items, range(len(drawn.items)), strict=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(map(str, row)) for row in rows)]
    log.write_text("\n".join(lines))
    with closing(Side(python, name, SIDES[name] | {"data": str(log)}, tmp_path)) as side:
        few, many = side.train(1), side.train(3_000)
    for cost in (few, many):
        assert cost.keys() == {"wall", "cpu", "memory"}
        assert all(value > 0 for value in cost.values())
    assert side.process.returncode == 0
