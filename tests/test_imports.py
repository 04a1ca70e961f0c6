"""Nothing imports upward: modules and rooms (the packages of cprlab) form no circles, and the stair is as drawn."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import cprlab

ROOT = Path(__file__).parent.parent
STAIR = re.findall(r"^ +→ cprlab\.(\w+)", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
SERVANTS = ["errors", "config", "system", "files"]  # they serve all rooms


def imports_of(root):
    """The modules that each module below `root/cprlab` imports, anywhere in it; a package is its `__init__`."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / "cprlab").rglob("*.py")
    }
    found = {}
    for module, path in files.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} has a relative import"
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                named |= {full if full in files else node.module for full in inner.values()}
        found[module] = (named & set(files)) - {module}
    return found


def rooms_of(modules):
    """The rooms that each room imports."""
    rooms = {}
    for module, imported in modules.items():
        for one, other in ((module.split(".")[1:2], name.split(".")[1:2]) for name in imported):
            if one and other and one != other:
                rooms.setdefault(one[0], set()).add(other[0])
    return rooms


def circles(graph):
    """The sets of names each of which leads to all others."""
    reached = {}
    for start in graph:
        seen, ahead = set(), [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        reached[start] = seen
    found = []
    for name in sorted(graph):
        circle = {other for other in reached[name] if name in reached.get(other, ())}
        if circle and circle not in found:
            found.append(circle)
    return found


@pytest.fixture(scope="module")
def modules():
    return imports_of(ROOT)


def test_no_modules_import_each_other(modules):
    assert circles(modules) == []


def test_no_rooms_import_each_other(modules):
    assert circles(rooms_of(modules)) == []


def test_each_room_imports_only_those_above_it_in_the_drawn_stair(modules):
    place = {name: step for step, name in enumerate(SERVANTS + STAIR)}
    for room, imported in rooms_of(modules).items():
        if room not in ("cli", "__main__"):
            assert all(place[other] < place[room] for other in imported), f"{room} imports {sorted(imported)}"


def test_a_circle_is_found_wherever_its_imports_stand(tmp_path):
    """Three modules in two rooms, one import inside a function and one for types alone."""
    texts = {
        "one/a.py": "def f():\n    from cprlab.one.b import g\n",
        "one/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cprlab.two.c\n",
        "two/c.py": "from cprlab.one import a\n",
    }
    for name, text in texts.items():
        (tmp_path / "cprlab" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cprlab" / name).write_text(text)
    names = ["cprlab.one.a", "cprlab.one.b", "cprlab.two.c"]
    found = imports_of(tmp_path)
    assert all(found[one] == {other} for one, other in pairwise([*names, names[0]]))
    assert circles(found) == [set(names)]
    assert circles(rooms_of(found)) == [{"one", "two"}]


def test_packages_are_attributes_of_cprlab_that_are_imported_when_used():
    assert set(cprlab.__all__) <= set(STAIR)
    assert {name for name in cprlab.__all__ if getattr(cprlab, name) is not import_module(f"cprlab.{name}")} == set()
    assert set(cprlab.__all__) <= set(dir(cprlab))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cprlab.nonsense  # noqa: B018


@pytest.mark.slow
def test_cprlab_itself_imports_no_library():
    lines = ["import sys", "before = set(sys.modules)", "import cprlab"]
    lines += ["print({name.partition('.')[0] for name in sys.modules if name not in before} - sys.stdlib_module_names)"]
    code = "\n".join([*lines, "print(cprlab.data.Sequences.__name__)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'cprlab'}\nSequences\n"
