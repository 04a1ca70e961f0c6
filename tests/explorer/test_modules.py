"""The front end's files are ES modules that can be read apart, and the script joined of them does what they do."""

import re
import subprocess
from pathlib import Path

import playwright
import pytest

from cprlab.explorer import frontend
from tests.browser import open_page
from tests.explorer import fake
from tests.test_imports import circles

NODE = Path(playwright.__file__).parent / "driver" / "node"  # which Playwright brings
PAGE = {  # of the offline page, not of the widget
    *("model.js", "heads.js", "neighbourhood.js", "predict.js", "judged.js", "outcomes.js", "shown.js", "offline.js"),
    *("flip.js", "counting.js"),
    "page.js",
}
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in fake.STATIC.glob("*.js")}


def node(*arguments):
    return subprocess.run([NODE, *arguments], capture_output=True, text=True, check=False, timeout=60)


def imports_of(text):
    """By file, the names that a module imports from it, word by word."""
    statements = [re.findall(r"[\w.]+", one) for one in re.findall(r"^import[^;]*;", text, re.MULTILINE)]
    return {source: names for _, *names, _, _, source in statements}  # import … from . …


def exports_of(text):
    return set(re.findall(r"^export .*?(\w+)(?:\(| =)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files where Node takes them for modules, and the script that is joined of them."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for name, text in {**TEXTS, "joined.mjs": frontend.script()}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_there_are_modules_and_they_import_each_other_in_no_circle():
    graph = {name: set(imports_of(text)) for name, text in TEXTS.items()}
    assert all(f'modules["{name}"] = ' in frontend.script() for name in set(TEXTS) - PAGE)
    assert graph["model.js"] == graph["heads.js"] == set()
    assert not any(f'modules["{name}"]' in frontend.script() for name in PAGE)
    assert all(f'modules["{name}"] = ' in frontend.joined("page.js") for name in TEXTS)
    assert circles(graph) == []


def test_each_import_names_an_export_that_exists_and_that_is_used():
    imported = {"render", "open", "PARTITIONS", "differences"}  # by the widget, the page and tests
    for name, text in TEXTS.items():
        for source, names in imports_of(text).items():
            assert set(names) <= exports_of(TEXTS[source]), name
            assert [word for word in names if len(re.findall(rf"(?<![\w.]){word}\b", text)) < 2] == [], name
            imported |= set(names)
    assert imported == set().union(*map(exports_of, TEXTS.values()))


def test_what_is_called_of_another_module_is_imported():
    shared = exports_of(TEXTS["base.js"])
    for name, text in TEXTS.items():
        own = exports_of(text) | set(re.findall(r"\b(?:function|const) (\w+)", text))
        called = set(re.findall(r"(?<![\w.])(\w+)\(", text)) & shared
        assert called <= own | set(imports_of(text).get("base.js", ())), name


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TEXTS, "joined.mjs"])
def test_each_module_is_one_that_node_reads_apart(folder, name):
    assert node("--check", folder / name).stderr == ""
    imported = node("--input-type=module", "-e", f"import '{(folder / name).as_uri()}'")  # and all that it imports
    assert (imported.returncode, imported.stderr) == (0, "")


@pytest.mark.slow
def test_the_joined_script_needs_no_other_file_and_exports_what_anywidget_asks_for(folder):
    script = frontend.script()
    assert script == frontend.script()
    assert not re.search(r"^import |\bimport\(|\bfrom \"", script, re.MULTILINE)
    shown = f"import * as joined from '{(folder / 'joined.mjs').as_uri()}'; console.log(joined)"
    said = node("--input-type=module", "-e", shown).stdout
    assert said == "[Module: null prototype] { default: { render: [Function: render] } }\n"


def test_the_modules_and_the_joined_script_draw_the_same(browser, tmp_path):
    drawn = []
    for module in ("", f"{fake.MODULES}/explorer.js"):
        with open_page(browser) as (page, complaints):
            fake.serve_modules(page)
            fake.open_explorer(page, tmp_path, module=module)
            titles = fake.titles(fake.HOSTILE)
            fake.emit(page, fake.base(titles), fake.view(), fake.marks(), fake.cases(titles=titles[:9]), fake.verdict())
            page.locator(".cx-map-marks g[data-kind]").first.wait_for(state="attached")
            page.locator(".cx-chips .cx-chip").first.press("Delete")
            html = page.locator(".cprlab-explorer").evaluate("(root) => root.outerHTML")
            drawn.append((re.sub(r"cx-(items|panel|said)-(\d+)-\w+", r"\1 \2", html), fake.acts(page)[-1]["set"]))
            assert complaints == []
    assert drawn[0] == drawn[1]
    assert drawn[0][1] == {"history": [1, 2, 3, 4]}
