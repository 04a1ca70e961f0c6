"""What the pages name exists: options, functions, files and make targets; and tables say what made them."""

import ast
import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from benchmarks.tables import stamp
from cprlab import cli

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PACKAGES = {path.stem if path.suffix else path.name for path in (ROOT / "cprlab").iterdir() if path.name[0] not in "_."}
FOLDERS = "benchmarks", "tests", "cprlab", "docs", "notebooks", "figures", "results"
FILE = re.compile(rf"(?:^|[\s(])((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|md|ipynb|js|html|png|jsonl?))\b")


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


def options(command):
    """The options of a command of typer."""
    context = command.make_context("program", [], resilient_parsing=True)
    return {option for one in context.command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}


def commands():
    """The options of each command of cprlab, by its words."""
    group: Any = typer.main.get_command(cli.app)
    nested = group.commands.pop("data")
    alone = {(name,): one for name, one in group.commands.items()}
    return {
        name: options(one)
        for name, one in (alone | {("data", name): one for name, one in nested.commands.items()}).items()
    }


def options_of_script(path):
    """The options of a script: those of argparse, or of the function that typer runs."""
    text = path.read_text()
    if "\n    typer.run(main)" not in text:
        return set(re.findall(r'add_argument\(\s*"(--[\w-]+)', text))
    app = typer.Typer()
    app.command()(import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)).main)
    return options(typer.main.get_command(app))


COMMANDS = commands()
WORDS = {
    word
    for folder in ("cprlab", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".js", ".json")
    for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
}
SCRIPTS = {
    path.relative_to(ROOT).as_posix(): options_of_script(path)
    for folder in ("benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
}
DEFINED = {
    node.name
    for path in (ROOT / "cprlab").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
}


def wrong_option(line):
    """The option of a command line that its program does not have; "" if there is none."""
    try:
        words = shlex.split(line.replace("…", " "), comments=True)
    except ValueError:
        return ""
    files = [word if word in SCRIPTS else f"{word.replace('.', '/')}.py" for word in words]
    known = set.union(*COMMANDS.values(), *SCRIPTS.values()) if words and words[0].startswith("--") else None
    for place, (word, file) in enumerate(zip(words, files, strict=True)):
        if Path(word).name == "cprlab":
            names = [name for name in COMMANDS if tuple(words[place + 1 :][: len(name)]) == name]
            known = COMMANDS[names[0]] if names else set.union(*COMMANDS.values())
        elif file in SCRIPTS:
            known = SCRIPTS[file]
        elif known is not None and re.match("--[a-z]", word) and word.partition("=")[0] not in known:
            return word
    return ""


def names_nothing(span):
    """Whether a file, a function or a name that is written as code does not exist."""
    if any(not (ROOT / name).exists() for name in FILE.findall(span)):
        return True
    if found := re.fullmatch(r"(?:cprlab\.)?(\w+)((?:\.(?!parquet|json)\w+)+)(\(.*\))?", span):
        return found[1] in PACKAGES and not resolves(f"cprlab.{found[1]}", found[2].strip(".").split("."))
    if found := re.match(r"(\w+)\(", span):
        return found[1] not in {*DEFINED, *vars(torch.nn)}
    return bool(re.fullmatch(r"[A-Za-z]\w*[_A-Z]\w*", span)) and span not in WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_files_functions_and_targets_that_a_page_names_exist(page):
    wrong = [f"{option} in {line}" for line in lines(page) if (option := wrong_option(line))]
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for line in lines(page):
        for target in re.findall(r"(?:^|&& |; )make ([a-z-]+)", line):
            if target not in targets:
                wrong.append(f"make {target}")
    assert not [*wrong, *(span for span in spans(page) if names_nothing(span))]


def test_tables_that_commands_write_carry_the_command_the_version_and_the_day():
    made = re.compile(r"Made\s+by\s+`[^`]+`\s+\(cprlab\s[^)]*\d{4}-\d\d-\d\d\)")
    pages = {page.stem: page.read_text() for page in (ROOT / "docs").glob("*.md")}
    for name in ("latency", "parity", "recbole", "retrofit", "scale", "serving", "speed"):
        assert made.search(pages[name]), name
    blocks = re.compile(r"<!-- (?!end|results: NAME)([^\n]+) -->\n(.*?)<!-- end -->", re.DOTALL)
    found = [(page, name, block) for page, text in pages.items() for name, block in blocks.findall(text)]
    assert {name for _, name, _ in found} >= {"latency", "by action", "gpu", "recipes", "retrofit", "results: logs"}
    for page, name, block in found:
        if name.startswith("results: "):  # a test makes these again
            assert f"`cprlab results --write docs/{page}.md`" in pages[page]
        else:
            assert made.search(block), f"{page}: {name}"
    assert made.fullmatch(stamp("python x.py", "torch 2").rstrip("."))


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
