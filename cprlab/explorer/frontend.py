"""The explorer's front end: one script and one style sheet, made from the ES modules and sheets in `static`."""

import re
from graphlib import TopologicalSorter
from importlib.resources import files

IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|const) (\w+))", re.MULTILINE)
ENTRY = "explorer.js"


def script() -> str:
    """Return the widget as an ES module, whose default export is anywidget's `{render}`."""
    return f'{joined(ENTRY)}\nexport default {{ render: modules["{ENTRY}"].render }};\n'


def joined(entry: str) -> str:
    """Return a script that defines `modules`, the exports of a file in `static`, and of those that it needs, by name.

    Each file is a module. Here it becomes a function that returns its exports, after the modules that it imports.
    """
    texts, ahead = _texts(".js"), [entry]
    needed: dict[str, list[str]] = {}
    while ahead:
        name = ahead.pop()
        needed[name] = [other for _, other in IMPORT.findall(texts[name])]
        ahead += [other for other in needed[name] if other not in needed]
    order = TopologicalSorter(needed)
    return "\n".join(["const modules = {};", *(_scoped(name, texts[name]) for name in order.static_order())])


def style() -> str:
    """Return the style sheet; every rule is scoped below `.cprlab-explorer`."""
    return "\n".join(_texts(".css").values())


def _scoped(name: str, text: str) -> str:
    exported = ", ".join(EXPORT.findall(text))
    body = EXPORT.sub("", IMPORT.sub(r'const \1 = modules["\2"];', text))
    return f'modules["{name}"] = (() => {{\n{body}return {{ {exported} }};\n}})();'


def _texts(suffix: str) -> dict[str, str]:
    found = sorted((files(__package__) / "static").iterdir(), key=lambda file: file.name)
    return {file.name: file.read_text(encoding="utf-8") for file in found if file.name.endswith(suffix)}
