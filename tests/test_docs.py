"""What the pages name exists: options, functions, files and make targets; and tables say what made them."""

import ast
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer

from cprlab import cli

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PACKAGES = {path.stem if path.suffix else path.name for path in (ROOT / "cprlab").iterdir() if path.name[0] not in "_."}
FOLDERS = ("benchmarks/", "tests/", "cprlab/", "docs/", "notebooks/", "figures/", "results/")


def markdown(page):
    """The text of a page, or of a notebook's markdown cells."""
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def spans(page):
    """What a page writes as code within its text."""
    text = FENCED.sub("", markdown(page))
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def lines(page):
    """The command lines of a page: those of its blocks of sh, and within its text."""
    blocks = [block for kind, block in FENCED.findall(markdown(page)) if kind == "sh"]
    found = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in (*found, *spans(page)) if line.strip() and not line.startswith("#")]


def options(name):
    """The options of a command of cprlab, as `("train",)` or `("data", "check")`."""
    group = typer.main.get_command(cli.app)
    for word in name:
        group = group.commands[word]
    context = group.make_context("cprlab", [], resilient_parsing=True)
    return {option for one in context.command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}


def commands():
    group = typer.main.get_command(cli.app)
    names = [(name,) for name in group.commands if name != "data"]
    return {name: options(name) for name in [*names, *(("data", one) for one in group.commands["data"].commands)]}


COMMANDS = commands()
SCRIPTS = {
    path.relative_to(ROOT).as_posix(): set(re.findall(r'add_argument\(\s*"(--[\w-]+)', path.read_text()))
    for path in (*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py"))
}
DEFINED = {
    node.name if hasattr(node, "name") else node.arg if hasattr(node, "arg") else node.id
    for path in [*(ROOT / "cprlab").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Name | ast.arg)
}


def wrong_option(line):
    """The option of a command line that its program does not have; "" if there is none."""
    try:
        words = shlex.split(line.replace("…", " "), comments=True)
    except ValueError:
        return ""
    given = [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]
    if not given:
        return ""
    programs = [place for place, word in enumerate(words) if Path(word).name == "cprlab"]
    scripts = [word for word in words if word in SCRIPTS]
    modules = [word.replace(".", "/") + ".py" for word in words if word.replace(".", "/") + ".py" in SCRIPTS]
    if programs:
        rest = words[programs[0] + 1 :]
        name = next((name for name in COMMANDS if tuple(rest[: len(name)]) == name), None)
        known = COMMANDS[name] if name else set.union(*COMMANDS.values())
    elif scripts or modules:
        known = SCRIPTS[(scripts or modules)[0]]
    elif words[0].startswith("--"):
        known = set.union(*COMMANDS.values(), *SCRIPTS.values())
    else:
        return ""
    return next((option for option in given if option not in known), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_files_functions_and_targets_that_a_page_names_exist(page):
    wrong = [f"{option} in {line}" for line in lines(page) if (option := wrong_option(line))]
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for line in lines(page):
        for target in re.findall(r"(?:^|&& |; )make ([a-z-]+)", line):
            if target not in targets:
                wrong.append(f"make {target}")
    for span in spans(page):
        for name in re.findall(r"(?:^|[\s(])((?:%s)[\w./-]+\.(?:py|md|ipynb|js|html|png|json))" % "|".join(FOLDERS), span):
            if not (ROOT / name).exists():
                wrong.append(name)
        if found := re.fullmatch(r"(?:cprlab\.)?(\w+)((?:\.\w+)+)(\(.*\))?", span):
            first, rest = found[1], found[2].strip(".").split(".")
            if first in PACKAGES and not resolves(f"cprlab.{first}", rest):
                wrong.append(span)
        elif (found := re.match(r"(\w+)\(", span)) and found[1] not in DEFINED:
            wrong.append(span)
    assert not wrong


def resolves(module, names):
    """Whether the names lead from a module to a module, or to what one of these defines."""
    found = import_module(module)
    for place, name in enumerate(names):
        if hasattr(found, name):
            found = getattr(found, name)
        elif name in getattr(found, "model_fields", {}):
            return True
        else:
            try:
                found = import_module(".".join([module, *names[: place + 1]]))
            except ModuleNotFoundError:
                return False
    return True
